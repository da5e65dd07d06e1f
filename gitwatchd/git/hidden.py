"""Work in a worktree that git's status keeps to itself: files that somebody told git not to show.

Owns nothing; one or two git children for a worktree that hides anything. Runs: where it may block (a thread of
`daemon.inquiries`). Raises EnvironmentFailure.
Two ways to hide: `status.showUntrackedFiles=no` (new files), and the index's flags assume-unchanged and skip-worktree
(changes to tracked ones). A file that a sparse checkout left out is not there, and nothing of it is lost.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.child import run_git
from gitwatchd.git.layout import find_start
from gitwatchd.model.repository import Location

_TIMEOUT_S = 60.0
_LINK = b"120000"
GITLINK = b"160000"


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """`tag` is that of `git ls-files -v`: a small letter is assume-unchanged, `S` skip-worktree."""

    tag: bytes
    mode: bytes
    oid: bytes
    path: bytes

    @property
    def hidden(self) -> bool:
        return self.tag.islower() or self.tag == b"S"


def list_index(location: Location) -> Iterator[IndexEntry]:
    """As git reads it, whatever its format."""
    for line in _git(location, "ls-files", "-z", "-v", "-s").split(b"\0")[:-1]:
        facts, _, path = line.partition(b"\t")
        tag, mode, oid, _ = facts.split(b" ")
        yield IndexEntry(tag, mode, oid, path)


def count_untracked(location: Location) -> int:
    """As many entries as git's status would have if it showed them."""
    listed = _git(location, "ls-files", "-z", "-o", "--exclude-standard", "--directory", "--no-empty-directory")
    return listed.count(b"\0")


def count_hidden_changes(location: Location, entries: Iterable[IndexEntry]) -> int:
    """Files that git takes for unchanged without a look, and that have other content than the index."""
    changed = 0
    suspects: list[tuple[bytes, bytes]] = []
    for entry in entries:
        if not entry.hidden or entry.mode == GITLINK:
            continue
        reach.check(os.path.dirname(location.path + b"/" + entry.path))
        try:
            mode = os.lstat(location.path + b"/" + entry.path).st_mode
        except OSError:
            continue  # a file that is not there holds nothing
        if stat.S_ISREG(mode) and entry.mode != _LINK:
            suspects.append((entry.path, entry.oid))
        elif stat.S_ISLNK(mode) and entry.mode == _LINK:
            target = os.readlink(location.path + b"/" + entry.path)
            changed += _git(location, "hash-object", "--stdin", stdin=target).strip() != entry.oid
        else:
            changed += 1
    # Without a work tree git takes a path as from where it was started.
    top = b"" if find_start(location) == location.path else location.path + b"/"
    by_stdin = [(path, oid) for path, oid in suspects if b"\n" not in path and not path.startswith(b'"')]
    if by_stdin:
        stdin = b"".join(top + path + b"\n" for path, _ in by_stdin)
        found = _git(location, "hash-object", "--stdin-paths", stdin=stdin).split()
        changed += sum(oid != other for (_, oid), other in zip(by_stdin, found, strict=True))
    for path, oid in suspects:
        if b"\n" in path or path.startswith(b'"'):
            changed += _git(location, "hash-object", "--", top + path).strip() != oid
    return changed


def _git(location: Location, *arguments: str | bytes, stdin: bytes = b"") -> bytes:
    start = find_start(location)
    if start is None:
        raise EnvironmentFailure("there is no repository any more")
    answer = run_git(arguments, cwd=start, timeout_s=_TIMEOUT_S, ceiling=os.path.dirname(start), stdin=stdin)
    if answer.returncode:
        lines = answer.stderr.decode(errors="replace").strip().splitlines()
        raise EnvironmentFailure(f"git {arguments[0]!s}: {lines[-1] if lines else 'failed'}")
    return answer.stdout
