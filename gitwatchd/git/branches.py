"""A repository's local branches, and which of their commits are on no remote that this repository knows of.

Owns nothing; two git children a repository. Runs: where it may block (a thread of `daemon.inquiries`).
What a remote has is known from remote-tracking refs: `refs/remotes`, and wherever else a fetch refspec of the
configuration puts what it fetches (a mirror's branches are such refs themselves). They are as old as the last fetch.
Raises EnvironmentFailure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.child import GitAnswer, run_git
from gitwatchd.git.files import read_regular
from gitwatchd.git.layout import linked_worktrees, read_format
from gitwatchd.git.remotes import fetch_url
from gitwatchd.git.repository_config import RepositoryConfig
from gitwatchd.model.repository import Location

_TIMEOUT_S = 60.0
_MOST_OF_FETCH_HEAD_BYTES = 1 << 20
_HEADS = b"refs/heads/"
_TAGS = b"refs/tags/"
_FROM_HERE = re.compile(rb"\t(?:.* of )?\.$")
_FIELDS = (
    "refname", "objectname", "upstream", "upstream:short", "upstream:remotename", "upstream:track,nobracket", "HEAD",
    "worktreepath", "authorname", "authoremail", "committerdate:unix", "subject",
)  # fmt: skip
_NOT_PUSHED = ("--not", "--remotes")
_AS_PUSHED = ("--no-replace-objects",)
"""What replaces a commit here does so nowhere else: what it joins to a pushed one was not pushed with that."""


@dataclass(frozen=True, slots=True)
class Branch:
    """`worktree`: the top of the worktree that has it checked out. `date`: the tip's committer date, epoch seconds."""

    name: bytes
    oid: bytes
    upstream: bytes | None
    remote: bytes | None
    url: bytes | None
    ahead: int | None
    behind: int | None
    gone: bool
    current: bool
    worktree: bytes | None
    author: bytes
    date: int
    subject: bytes


def read_branches(location: Location, config: RepositoryConfig) -> list[Branch]:
    """In order of their names; without those whose ref git cannot read."""
    return read_branches_and_warnings(location, config)[0]


def read_branches_and_warnings(location: Location, config: RepositoryConfig) -> tuple[list[Branch], list[str]]:
    """The same, and what git says of refs that it leaves out (a crash empties their files)."""
    answer = _ask(location, "for-each-ref", "--format=" + "".join(f"%({f})%00" for f in _FIELDS), "refs/heads")
    fields = answer.stdout.split(b"\0")[:-1]
    rows = [fields[start : start + len(_FIELDS)] for start in range(0, len(fields), len(_FIELDS))]
    said = answer.stderr.decode(errors="replace").splitlines()
    # Advice (`hint: Support for <GIT_DIR>/info/grafts is deprecated`) is about no ref.
    warnings = [line.removeprefix("warning: ") for line in said if line.strip() and not line.startswith("hint:")]
    return [_branch(row, config) for row in rows], warnings


def _branch(row: Sequence[bytes], config: RepositoryConfig) -> Branch:
    ref, oid, _, upstream, remote, track, head, worktree, author, email, date, subject = row
    ahead, behind = (None, None) if not upstream or track == b"gone" else _distance(track)
    return Branch(
        name=ref.lstrip(b"\n").removeprefix(_HEADS),  # the newline ends the record before
        oid=oid,
        upstream=upstream or None,
        remote=remote or None,
        url=fetch_url(config, remote) if remote else None,
        ahead=ahead,
        behind=behind,
        gone=track == b"gone",
        current=head == b"*",
        worktree=worktree or None,
        author=author + b" " + email if email else author,
        date=int(date) if date.isdigit() else 0,
        subject=subject,
    )


def _distance(track: bytes) -> tuple[int, int]:
    """`ahead 1, behind 2`, either of them, or nothing."""
    found = {part.split()[0]: int(part.split()[1]) for part in track.split(b",") if part.strip()}
    return found.get(b"ahead", 0), found.get(b"behind", 0)


def has_remote(config: RepositoryConfig) -> bool:
    return any(next(iter(config.get_all(b"remote." + name + b".url")), None) for name in config.subsections(b"remote"))


def count_unpushed(location: Location, config: RepositoryConfig, tips: Iterable[bytes]) -> dict[bytes, int]:
    """For each of these commits, how many that are reachable from it are on no remote."""
    wanted = list(dict.fromkeys(tips))
    if not wanted:
        return {}
    globs, shared = _other_tracking_refs(location, config)
    graph = _commits(location, wanted, *_NOT_PUSHED, *globs)
    if shared:
        _forget_fetched(graph, location)
    return {tip: _count_reachable(graph, tip) for tip in wanted}


def count_nowhere(location: Location, config: RepositoryConfig, commit: bytes) -> int:
    """How many commits reachable from `commit` are on no branch, no tag and no remote, and were never fetched."""
    globs, _ = _other_tracking_refs(location, config)
    graph = _commits(location, [commit], *_NOT_PUSHED, "--branches", "--tags", *globs)
    _forget_fetched(graph, location)
    return _count_reachable(graph, commit)


def _forget_fetched(graph: dict[bytes, list[bytes]], location: Location) -> None:
    # Not `--not FETCH_HEAD`: git fails where that names an object that was pruned since.
    for fetched in _fetched(location):
        for known in _reachable(graph, fetched):
            del graph[known]


def _fetched(location: Location) -> list[bytes]:
    """The commits that the last fetch brought, whatever it did with them: a submodule's are often on no ref. What was
    fetched from this repository itself (`git fetch . a:b`) came from nowhere."""
    try:
        lines = read_regular(location.git_dir + b"/FETCH_HEAD", _MOST_OF_FETCH_HEAD_BYTES).splitlines()
    except OSError:
        return []
    return [line.partition(b"\t")[0] for line in lines if not _FROM_HERE.search(line)]


def _other_tracking_refs(location: Location, config: RepositoryConfig) -> tuple[list[bytes], bool]:
    """`--glob` for what is fetched to elsewhere than `refs/remotes`; and whether branches are fetched to where commits
    are made, too, so that a branch does not tell that a remote has it.

    Nobody makes commits on the branches of a mirror, which is bare and has no worktree. Tags tell nothing: a fetch puts
    them beside those that were made here.
    """
    globs, shared = [], False
    mirrors = location.bare and not linked_worktrees(location.common_dir)
    for remote in config.subsections(b"remote"):
        for spec in config.get_all(b"remote." + remote + b".fetch"):
            destination = spec.removeprefix(b"+").partition(b":")[2]
            before, star, _ = destination.partition(b"*")
            if not star or spec.startswith(b"^") or before.startswith((b"refs/remotes/", _TAGS)):
                continue
            if not _HEADS.startswith(before):
                globs.append(b"--glob=" + destination)
            elif mirrors:
                globs.append(b"--glob=" + _HEADS + b"*")
            else:
                shared = True
    return globs, shared


def _commits(location: Location, tips: Sequence[bytes], *options: str | bytes) -> dict[bytes, list[bytes]]:
    """The commits reachable from `tips` but not from what `options` exclude, each with its parents."""
    graph = {}
    # The tips by standard input: there can be thousands. Options there are understood by newer versions only.
    listed = _ask(
        location, "rev-list", "--parents", "--stdin", *options, stdin=b"\n".join(tips) + b"\n", before=_AS_PUSHED
    )
    for line in listed.stdout.splitlines():
        commit, *parents = line.split()
        graph[commit] = parents
    return graph


def _reachable(graph: Mapping[bytes, Sequence[bytes]], tip: bytes) -> set[bytes]:
    seen: set[bytes] = set()
    waiting = [tip]
    while waiting:
        commit = waiting.pop()
        if commit in graph and commit not in seen:
            seen.add(commit)
            waiting += graph[commit]
    return seen


def _count_reachable(graph: Mapping[bytes, Sequence[bytes]], tip: bytes) -> int:
    return len(_reachable(graph, tip))


def _ask(location: Location, *arguments: str | bytes, stdin: bytes = b"", before: tuple[str, ...] = ()) -> GitAnswer:
    """`before`: options of git's own."""
    # A submodule's git dir may name a worktree that is not there any more: git would not get as far as its refs.
    astray = location.bare and read_format(location.common_dir).worktree is not None
    options = (*before, "--git-dir=.", "--work-tree=.") if astray else before
    answer = run_git((*options, *arguments), cwd=location.git_dir, timeout_s=_TIMEOUT_S, stdin=stdin)
    if answer.returncode:
        lines = answer.stderr.decode(errors="replace").strip().splitlines()
        raise EnvironmentFailure(f"git {arguments[0]!s}: {lines[-1] if lines else 'failed'}")
    return answer
