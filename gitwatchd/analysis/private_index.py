"""Private copies of users' indexes, which git may refresh where the user's own must not be written.

`git status` that cannot write back hashes every stat-dirty or racily clean file again on each run, five times
the work. So it gets a copy to refresh, and the refreshed copy serves until the user's index changes.

Owns: the directory of copies (`Job.index_cache`), one subdirectory per index path, in it at most one copy,
named by the identity of the index it was made of. Runs: in the thread or worker that analyses; one analysis
of a repository at a time.
Invariant: a copy is used only while the user's index is the very file, unchanged, that it was made of.
Invariant: a copy has the mtime of the user's index until git rewrites it. With a younger mtime git would take
a same-size edit in the second of the last `git add` for clean.
Invariant: only copies that git refreshed are kept; others would be no quicker than the original.
Never: writes, locks or touches anything in the user's git dir or worktree.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from gitwatchd.git.files import open_unblocked
from gitwatchd.git.index_format import is_readable_size

MAX_KEPT_BYTES = 512 << 20
"""Of all copies together: some 5 million index entries."""

_CLOCK_TICK_S = 0.02
"""Longer than the tick of the clock that stamps files (10 ms at HZ=100)."""
_WHOLE_SECOND_TICK_S = 2.0
"""The same for file systems that keep whole (FAT: even) seconds."""


@dataclass(frozen=True, slots=True)
class IndexSnapshot:
    """The bytes of the user's index at one moment, and what tells whether it is still the same file."""

    path: bytes
    raw: bytes
    identity: tuple[int, int, int, int, int]
    """dev, ino, size, mtime_ns, ctime_ns"""

    @property
    def mtime_ns(self) -> int:
        return self.identity[3]

    def settled(self) -> bool:
        """Whether a later write must show in the identity: not one within the same tick of the file clock."""
        ctime_ns = self.identity[4]
        tick_s = _CLOCK_TICK_S if ctime_ns % 1_000_000_000 else _WHOLE_SECOND_TICK_S
        return time.time() - ctime_ns / 1e9 > tick_s


def read_snapshot(index_path: bytes) -> IndexSnapshot | None:
    """None when there is no index, it cannot be read, or somebody writes it in place right now."""
    try:
        with open_unblocked(index_path) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or not is_readable_size(status):
                return None
            before = _identity(status)
            raw = file.read()
            after = _identity(os.fstat(file.fileno()))
    except OSError:
        return None
    if before != after or len(raw) != before[2]:
        return None
    return IndexSnapshot(index_path, raw, before)


def _identity(s: os.stat_result) -> tuple[int, int, int, int, int]:
    return s.st_dev, s.st_ino, s.st_size, s.st_mtime_ns, s.st_ctime_ns


class PrivateCopy:
    __slots__ = ("_began_ns", "_inode", "_made_now", "_spoilt", "path")

    def __init__(self, path: bytes, *, made_now: bool) -> None:
        self.path = path
        self._made_now = made_now
        self._inode = os.stat(path).st_ino
        self._began_ns = time.time_ns()
        self._spoilt = False

    @property
    def began_s(self) -> int:
        """Epoch seconds at which git was about to look at the files."""
        return self._began_ns // 1_000_000_000

    def intact(self) -> bool:
        """To be asked after git ran: whether the copy is still there.

        If it went away (pruned, the user empties ~/.cache), git may have found no index at all, and then
        takes every file for deleted and untracked: such an answer must be thrown away.
        """
        return os.path.exists(self.path)

    def as_made(self) -> bool:
        """Whether it was made just now and git found nothing to refresh in it."""
        # git replaces an index that it refreshed by a rename: another inode.
        return self._made_now and os.stat(self.path).st_ino == self._inode

    def spoil(self) -> None:
        """Not to be used again: what git wrote into it is more than, or less than, what it will always find."""
        self._spoilt = True

    def settle(self) -> None:
        """Drop the copy unless it is worth keeping, and what an ended git left beside it."""
        with suppress(OSError):
            os.unlink(self.path + b".lock")
        with suppress(OSError):
            if self._spoilt or self.as_made():
                os.unlink(self.path)
                os.rmdir(os.path.dirname(self.path))
            elif os.stat(self.path).st_ino != self._inode:
                # git wrote it some time after it looked at the files. By that later time an edit made in between,
                # within
                # the second of an entry, would not count as racy and be taken for clean as long as the copy lives.
                os.utime(self.path, ns=(self._began_ns, self._began_ns))


@contextmanager
def private_copy(snapshot: IndexSnapshot, index_cache: bytes, *, reuse: bool = True) -> Iterator[PrivateCopy | None]:
    """The copy that belongs to `snapshot`: the kept one (with `reuse`) or a new one; None when there cannot be one now.

    The caller must know that git, allowed to write this index, writes nothing else (job.py).
    """
    try:
        copy = _find_or_make(snapshot, index_cache, reuse=reuse)
    except OSError:  # disk full, unwritable cache: slower, not wrong
        copy = None
    try:
        yield copy
    finally:
        if copy is not None:
            copy.settle()


def _find_or_make(snapshot: IndexSnapshot, index_cache: bytes, *, reuse: bool) -> PrivateCopy | None:
    directory = _directory_of(snapshot.path, index_cache)
    path = directory + b"/" + b"-".join(b"%x" % n for n in snapshot.identity)
    if reuse:
        with suppress(FileNotFoundError):
            return PrivateCopy(path, made_now=False)
    shutil.rmtree(directory, ignore_errors=True)  # copies of earlier states
    if not snapshot.settled():
        return None
    os.makedirs(index_cache, mode=0o700, exist_ok=True)
    os.mkdir(directory, mode=0o700)
    # Under another name first: a copy cut short by a crash must never be found.
    unfinished = path + b".new"
    with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(snapshot.raw)
    os.utime(unfinished, ns=(snapshot.mtime_ns, snapshot.mtime_ns))
    os.rename(unfinished, path)
    return PrivateCopy(path, made_now=True)


def _directory_of(index_path: bytes, index_cache: bytes) -> bytes:
    return index_cache + b"/" + hashlib.sha256(index_path).hexdigest()[:32].encode()


def prune(index_cache: bytes, index_paths: Iterable[bytes], max_bytes: int = MAX_KEPT_BYTES) -> None:
    """Remove the copies of all indexes but `index_paths`, and the oldest of those until `max_bytes` are
    left."""
    known = {_directory_of(path, index_cache) for path in index_paths}
    kept: list[tuple[float, int, bytes]] = []
    for directory in _directories(index_cache):
        if directory not in known:
            shutil.rmtree(directory, ignore_errors=True)
            continue
        with suppress(OSError), os.scandir(directory) as entries:
            kept.append((os.stat(directory).st_mtime, sum(e.stat().st_size for e in entries), directory))
    total = sum(size for _, size, _ in kept)
    for _, size, directory in sorted(kept):
        if total <= max_bytes:
            break
        shutil.rmtree(directory, ignore_errors=True)
        total -= size


def _directories(index_cache: bytes) -> list[bytes]:
    try:
        with os.scandir(index_cache) as entries:
            return [e.path for e in entries if e.is_dir(follow_symlinks=False)]
    except OSError:
        return []
