"""`gitwatch help`, `--help`, `--version`: the words.

Owns: the help texts. Imported only when they are asked for.
"""

from __future__ import annotations

from gitwatch import output
from gitwatch.cli import nearest
from gitwatchd import __version__
from gitwatchd.errors import UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from gitwatch.cli import Invocation

_ALL = """\
gitwatch shows the git status of every repository, from a daemon that keeps it true.

usage: gitwatch [--state-dir DIR] COMMAND [OPTION...] [PATH...]

  status [PATH...]      what is unfinished where
  unsaved [PATH...]     what exists only here: not committed, not pushed, stashed
  branches [PATH]       the local branches of a repository
  roots add|rm|list     the directories that are watched for ever
  refresh [PATH...]     search and analyse again
  verify [PATH...]      compare the daemon's answers with git's
  trust [--remove] PATH
                        allow the filters that a repository's own configuration defines
  prompt [PATH]         one line for a shell prompt
  init zsh|bash|fish    what makes the shell show it
  gitstatusd            in place of gitstatusd, for gitstatus and powerlevel10k
  doctor                how the daemon is doing, and what limits it
  config                what is in force, and where each value comes from
  watch [PATH...]       the table, kept up to date
  events [PATH...]      a line of JSON for each change
  daemon start|stop|restart|status|logs
  service install|uninstall|status
  completion SHELL      what makes Tab complete
  help [COMMAND|TOPIC]  topics: where, report, exit-codes, protocol

  --state-dir DIR       a daemon of its own, with everything it keeps below DIR
  --version

Exit codes: 0 fine, 1 some repository failed, 2 usage, 3 refused, 4 no daemon, 130 interrupted.
"""

_TEXTS = {
    "status": """\
usage: gitwatch status [OPTION...] [PATH|@GROUP...]

A PATH inside a worktree means that worktree and the repositories beneath it, any other directory all
beneath it. @GROUP: the repositories of a group of the configuration. Without either: all known
repositories. A directory asked for is watched from then on, and forgotten after 14 days unasked.

Which, and in which order:
  -w, --where EXPR      only repositories for which EXPR is true; --help-where explains
  -d, --dirty           only dirty ones (also --dirty-only)
  --depth N             only those at most N directories below PATH
  -s, --sort FIELD      dir, path, name, status, branch, branch_remote, remote, url, mtime, age, ident, author, none
  -r, --reverse

Before they are looked at, with your own git, environment and hooks; nothing asks for a password:
  -f, --fetch           fetch from every remote
  -P, --pull-safe       fetch, then fast-forward those that are clean and only behind
  -U, --push-safe       fetch, then push the branch of those that are clean and only ahead to its upstream; never by
                        force, and not where your `git push` would not go

How they are shown:
  -c, --columns SPEC    `name` adds a column, `-name` takes it away, `-` takes all away; separated by commas:
                        dir branch changes tracking action stashes mtime fetched url note, which are there by
                        themselves, and name path status remote branch_remote ident oid tag summary submodules
                        worktrees lines state
  --json                an array of reports (also -o json, --format json; table is the other format)
  --jsonl               one report a line
  --lines               a column of what `git diff` counts as added and removed, staged and not; in reports `lines`.
                        An expression that names `lines` has it without this
  -p, --print EXPR      the value of EXPR for each repository, one a line
  -0, --print0          with --print: ended by NUL, not by newline
  --porcelain=v2 [-z]   what `git status --porcelain=v2 --branch --show-stash [-z]` prints, for one worktree
  --errors              name every repository that has no fresh answer; alike ones are one line otherwise

How they are looked at:
  --metadata-only       leave out whatever only files could tell: dirty, counts, mtime. Faster with --direct only: the
                        daemon knows them anyway
  --no-wait             what is known now, however old; it says so
  --verify              ask git
  --direct              no daemon: search and run git now, under the same configuration
  -I, --include-ignored search ignored directories for repositories, too
  -j, --jobs N          at most N analyses at a time (0: one after the other in one worker)
  --timeout S           answer within S seconds; what is not finished then says so
  --strict              exit 1 also for repositories that are unsafe, stale, pending or gone
  --no-progress         no progress on the terminal
""",
    "unsaved": """\
usage: gitwatch unsaved [OPTION...] [PATH|@GROUP...]

What would be lost with this disk: changes that are not committed, commits on no remote (of any branch, of a
detached HEAD), stashes, repositories without remote, in submodules and linked worktrees as well; what git status is
told to hide; repositories in ignored directories and far below PATH; a .git that git takes for none, a git dir without
its worktree (all directories below PATH are looked at each time, but not other mounts). What a remote has is known from
the last fetch.
Not looked at: tags, notes and other refs that are no branches, ignored files.

Exit 0: nothing. Exit 1: something, or something could not be checked or fetched.

  -f, --fetch           fetch from every remote first, with your own git (a branch that was deleted there is not pruned)
  --json                an array of {path, name, unsaved, state, fetched_at, reasons}
  --timeout S           answer within S seconds
  --no-progress         no progress on the terminal

A reason is a map with `kind`, and what that kind has:
  uncommitted           staged, unstaged, untracked, conflicted: entries of git's status
  hidden                unstaged, untracked: changes that git status does not show, because of the flags
                        assume-unchanged and skip-worktree, or of status.showUntrackedFiles=no
  action                note: the merge, rebase ... in progress
  stashed               count
  unpushed              branch, count, upstream, gone: commits of a branch that are on no remote
  no_remote             branch, count: commits of a branch in a repository without any remote
  detached              count, oid, worktree: commits of a detached HEAD that are on no branch, tag or remote; worktree
                        is the git dir of one that is not there any more
  unchecked             note: why it could not be looked at
With `submodule` it is about that one (its path, or its git dir when it is checked out nowhere; the path of a linked
worktree of it). Branches and stashes are told once for a repository with linked worktrees, which are looked at wherever
they lie. A remote on the same disk counts as a remote. What only the reflog still has is not looked at either.
""",
    "branches": """\
usage: gitwatch branches [OPTION...] [PATH]

The local branches of the repository that holds PATH (by default the current directory): upstream, ahead and
behind, worktree (* this one has it checked out, + another), author, age, subject of the tip.

  -g, --glob PATTERN    only branches whose name matches
  -r, --regex PATTERN   only branches in whose name it is found
  -w, --where EXPR      only branches for which EXPR is true; --help-where explains
  -s, --sort FIELD      branch (default), date, author, ahead, behind, status, upstream, current, head, subject,
                        worktree, gone, none
  --reverse
  -c, --columns SPEC    `name` adds a column, `-name` takes it away, `-` takes all away; separated by commas:
                        branch upstream tracking changes worktree author age subject, which are there by
                        themselves, and status head ahead behind gone current date
  -f, --fetch           fetch and prune first, with your own git
  -j, --json            an array of maps
  -p, --print EXPR      the value of EXPR for each branch, one a line
  -0, --print0          with --print: ended by NUL, not by newline
  --timeout S           answer within S seconds

In JSON, null where it is not known or does not apply: repo (the worktree asked about), branch, head, upstream, remote,
url, ahead, behind, gone, current, worktree (that has it checked out), author, date (of the committer, epoch seconds),
subject; and of that worktree dirty, staged, unstaged, modified, untracked, deleted, conflicted, submodules, action.
""",
    "roots": """\
usage: gitwatch roots add [--include-ignored] PATH
       gitwatch roots rm PATH
       gitwatch roots list

Directories whose repositories are watched for ever. (Those merely asked for are forgotten after 14 days.)
""",
    "refresh": """\
usage: gitwatch refresh [--timeout S] [--no-progress] [PATH|@GROUP...]

Search these directories again and analyse every repository in them, whatever the daemon believes; it returns when that
is done. Exit 1 when some repository failed, or was not finished in time.
""",
    "verify": """\
usage: gitwatch verify [--timeout S] [PATH|@GROUP...]

Compare the daemon's answer for each repository with git's own. Exit 1 when one differs: that is a bug.
""",
    "trust": """\
usage: gitwatch trust [--remove] PATH

Allow the filter drivers that the repository's own configuration defines: `git status` runs them. It lapses
when that configuration changes.

  --remove              allow them no more. Exit 1 when they were not allowed, or still are by `trust` of config.toml
""",
    "prompt": """\
usage: gitwatch-prompt [OPTION...] [PATH]
       gitwatch prompt [OPTION...] [PATH]

One line about the repository that PATH (the current directory) lies in, or nothing:

  main            branch, else #TAG, else @COMMIT
  ⇣1⇡2 ⇠3⇢4       commits behind and ahead of the upstream, and of the push target where that is another
  *5 merge        stashes, operation in progress
  ~6 +7 !8 ?9     conflicts, staged, unstaged, untracked
  …               an earlier answer, not confirmed in time

  --format F      text; zsh, bash, tmux: what they would expand is escaped; shell, fish: VCS_STATUS_* variables;
                  json: the report
  --template T    text with {FIELD}, {COLOUR} and [groups], which vanish when every field in them is empty or 0;
                  a \\ before a character takes its meaning. Fields: head branch tag commit summary name path upstream
                  remote behind ahead push_behind push_ahead stashes action conflicted staged unstaged untracked.
                  Colours: red, bright-red ... bold dim italic underline reverse, reset
  --timeout S     in place of [prompt] deadline_ms, 50

`gitwatch-prompt` is the same and starts five times as fast. It exits 0 and prints nothing when there is nothing to say.
""",
    "init": """\
usage: gitwatch init zsh|bash|fish

Prints what sets GITWATCH_PROMPT and gitstatus's VCS_STATUS_* variables before each prompt:

  .zshrc        eval "$(gitwatch init zsh)";   PROMPT='%~ ${GITWATCH_PROMPT:+$GITWATCH_PROMPT }%# '
  .bashrc       eval "$(gitwatch init bash)";  PS1='\\w ${GITWATCH_PROMPT:+$GITWATCH_PROMPT }\\$ '
  config.fish   gitwatch init fish | source;   echo -n $GITWATCH_PROMPT in fish_prompt
""",
    "gitstatusd": """\
usage: gitwatch gitstatusd [OPTION...]      (or gitwatch-gitstatusd; --help lists the options)

Speaks gitstatusd's protocol. GITSTATUS_DAEMON=/path/to/gitwatch-gitstatusd makes an unchanged gitstatus or
powerlevel10k use this daemon.
""",
    "doctor": """\
usage: gitwatch doctor [--json|--dump]

How the daemon is doing. Exit 1 when a repository failed, or an audited answer was wrong.
  --dump             what the daemon waits for and what happened last, as JSON: for a report of an answer that
                     was slow or did not come
""",
    "watch": """\
usage: gitwatch watch [PATH|@GROUP...]

The table of `gitwatch status`, drawn again when something changes, at most 5 times a second. `q` quits.
""",
    "events": """\
usage: gitwatch events [PATH|@GROUP...]

A line of JSON for each report that changes, as `gitwatch status --jsonl` has it, until it is interrupted, its reader
goes, or the daemon ends (exit 4).
""",
    "config": """\
usage: gitwatch config [--json]

What is in force, and where each value comes from: `default`, or a line of config.toml. Exit 1 when something is
wrong with that file; until it is put right, what it said before is in force.

  --json                {file, exists, values: {KEY: {value, origin}}, problems: [{where, what, hint}]}

The file is $XDG_CONFIG_HOME/gitwatch/config.toml (~/.config/gitwatch/config.toml), in TOML:

  roots = ["~/code"]             directories that are watched for ever
  ignore = ["vendor"]            globs of directories that are left out of searches and lists
  trust = ["~/code/mine/*"]      globs of repositories that may run filters of their own configuration
  columns = ["-url", "ident"]    of the status table, as --columns takes them
  [groups]
  NAME = ["api-*", "~/work"]     @NAME stands for the repositories that match
  [limits]
  jobs = 2                       analyses at once
  timeout_s = 120                an analysis that takes longer has failed
  idle_exit_hours = 8            the daemon ends when nobody asked for so long; 0: never
  [fetch]                        of --fetch, --pull-safe, --push-safe
  jobs = 4                       git children at once
  timeout_s = 60                 one that takes longer is ended
  [prompt]
  deadline_ms = 50               answer within this time, or with what was known before
  template = ""                  of `gitwatch prompt`; empty: the built-in line
  [colours]                      words such as "green", "bold bright-red", "dim", "none"
  title clean changed conflict tracking attention failure faint

A glob with a slash is matched against the whole path, one without against a name; `*` does not match a slash, `**`
does. One that matches a directory covers what is beneath it.
""",
    "daemon": """\
usage: gitwatch daemon start|stop|restart|status|logs

Commands start the daemon themselves when none runs. `status` exits 4 when none does.
""",
    "service": """\
usage: gitwatch service install|uninstall|status

The daemon as a systemd user service: its socket is opened at login, and the first command starts it. `install` writes
the units with the right path of this installation; doing it again brings them up to date. `uninstall` removes what
`install` made. `status` exits 1 when it is not installed. Units that somebody else wrote are left alone (exit 1).
""",
    "completion": """\
usage: gitwatch completion bash|zsh|fish

Print what makes Tab complete commands, options, their values, names of repositories (they become paths) and groups:

  bash   eval "$(gitwatch completion bash)"        in ~/.bashrc
  zsh    eval "$(gitwatch completion zsh)"         in ~/.zshrc, after compinit
  fish   gitwatch completion fish > ~/.config/fish/completions/gitwatch.fish

Names are those that the running daemon knows; none is started for them.
""",
    "help": "usage: gitwatch help [COMMAND|TOPIC]\n",
}


def topics() -> list[str]:
    from gitwatch.topics import TOPICS

    return sorted({*_TEXTS, *TOPICS})


def help_command(invocation: Invocation) -> int:
    text = _ALL
    if invocation.operands:
        from gitwatch.topics import TOPICS

        name = invocation.operands[0]
        texts = {**TOPICS, **_TEXTS}
        if name not in texts:
            raise UserError(
                f"no command or topic {name!r}", nearest(name, topics()) or f"one of: {', '.join(topics())}"
            )
        text = texts[name]
    output.write_text(text)
    return 0


def version(invocation: Invocation) -> int:
    output.write_text(f"gitwatch {__version__}\n")
    return 0
