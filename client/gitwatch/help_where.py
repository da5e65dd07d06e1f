"""`--help-where`: the words of expressions. Imported only when they are asked for."""

from __future__ import annotations

_LANGUAGE = """\
The language is Python's, cut down to what asks questions; nothing else can be reached from it.

  == != < <= > >=          comparison; in, not in: part of a string, member of (a, b)
  and or not               logic; A if TEST else B
  + - * / // % **          arithmetic; + also joins strings
  "x" 'x' 12 1.5 True None literals; (a, b); f"{name:20} {branch}"
  s[0] s[1:]               parts of a string

  s.rx(pattern)            whether a regular expression is found in s; s.rxi(pattern) ignoring case
  rx(s, pattern)  rxi(s, pattern)
  s.startswith(x) s.endswith(x) s.lower() s.upper() s.strip() s.replace(a, b) s.split(x) s.count(x) s.find(x)
                           and Python's other questions to strings
  len str int float abs min max round

What is not known is None: a field of None is None, and comparing it with < or > is false. An expression has at
most 4,000 characters, and all of them together 5 seconds (or --timeout): then the command ends with an error.
"""

STATUS = f"""\
Expressions of `gitwatch status --where EXPR` (which repositories are shown) and `--print EXPR` (what is
printed for each; with -0 ended by NUL instead of newline).

Words, never None:
  path                     absolute path
  dir                      the same, from the current directory or from ~
  name                     its last part
  status                   "3m 1u 2d 1s 2↑ 1↓ !" (modified, untracked, deleted, submodules, ahead, behind, an
                           operation in progress, conflicts or a detached HEAD), "clean", or "?" with --metadata-only
  branch                   "main", or "DETACHED@1a2b3c4"
  remote                   the upstream, "origin/main", or "-"
  url                      the upstream's URL in short, "owner/repo", "gl:owner/repo", or "-"
  ident                    "name <email>" that a commit made now would carry, or ""
  mtime, latest_mtime      newest file that is not ignored, epoch seconds, or 0.0
  ahead behind             commits, 0 without upstream
  modified untracked deleted
                           entries of git's status
  dirty                    any staged, unstaged, untracked or conflicted entry

Fields of the report, None when not known:
  git_dir common_dir bare state reason hint watch as_of age_ms oid detached unborn summary tag stashes index_size
  skip_worktree assume_unchanged submodules worktrees fetched_at
  upstream.name .remote .url .ahead .behind .gone     push.(the same)
  counts.staged .unstaged .untracked .conflicted .staged_new .staged_modified ... (help report has all)
  action.name .step .total
  lines.added .removed     what git diff counts, staged and not
  fetch_failed pull_failed push_failed pulled pushed remote_reason     (with --fetch, --pull-safe, --push-safe)

{_LANGUAGE}
Examples:
  gitwatch status --where 'dirty and branch != "main"'
  gitwatch status --where 'ahead > 0 or stashes > 0' --sort age
  gitwatch status --where 'branch.rx("^(release|hotfix)/")'
  gitwatch status --where 'upstream.gone'
  gitwatch status --where 'action.name == "rebase-i"'
  gitwatch status --where '"myorg" in url and ident.rxi("alice")'
  gitwatch status --where dirty --print path -0 | xargs -0r du -sh
  gitwatch status --print 'f"{{name:30}} {{branch}}"'
"""

BRANCHES = f"""\
Expressions of `gitwatch branches --where EXPR` (which branches are shown) and `--print EXPR` (what is printed for
each; with -0 ended by NUL instead of newline).

Words, never None:
  repo, path               the repository's worktree
  branch                   "main"
  head, oid                the tip: 12 digits, all digits
  upstream                 "origin/main", or "-"
  url                      the upstream's URL in short, or "-"
  status                   "3m 1u 2d 2↑ 1↓ !" as in `status`, "clean"; "=" where it is checked out nowhere
  worktree                 "here", the path of another worktree that has it checked out, or "-"
  worktree_path            that worktree, absolute, or ""
  author subject           of the tip
  date                     its committer date, epoch seconds
  ahead behind             commits, 0 without upstream
  modified untracked deleted conflicted
                           entries in that worktree, 0 without one
  current                  checked out here
  gone                     it has an upstream, which is not there any more
  has_upstream dirty       true or false

None when not known:
  remote                   the upstream's remote
  submodules action        of that worktree

{_LANGUAGE}
Examples:
  gitwatch branches --where 'gone or ahead > 0'
  gitwatch branches --where 'not has_upstream and date < 1700000000'
  gitwatch branches --where 'worktree not in ("-", "here")'
  gitwatch branches --where 'gone and not current' --print branch -0 | xargs -0r git branch -D
"""
