"""In which directories of a worktree something lies that the index does not name: all that new ignore rules can change.

Owns: that set, of one repository. Runs: walks begin, fill and read it on a walking thread, events and the state change
it on the serving thread; locked, since both may at once.
Invariant: while it is whole, each directory that was entered and holds something untracked, ignored or not, is in it: a
walk listed it, or an event told of what came since. Rather too many than too few: what is gone is not looked for.
Invariant: while it agrees with an index, that holds for what this index does not name; whoever takes in the next one
says what that names no longer.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Iterable

from gitwatchd.git.index_file import Index

MOST_HOLDERS = 5_000
"""With more, rules are cheaper to follow by listing all that there is."""


class Strays:
    __slots__ = ("_holders", "_lock", "_stamp", "_too_many", "_whole")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._holders: set[bytes] = set()
        self._whole = self._too_many = False
        self._stamp: tuple[int, int, bytes] | None = None

    # ---- what there is

    def begin(self) -> None:
        """All directories are about to be listed."""
        with self._lock:
            self._holders.clear()
            self._whole = self._too_many = False
            self._stamp = None

    def complete(self, index: Index) -> None:
        """They were, and compared with `index`."""
        with self._lock:
            self._whole = not self._too_many
            self._stamp = _stamp_of(index) if self._whole and index.inexact is None else None

    def add(self, directories: Iterable[bytes]) -> None:
        """Relative; b"" is the top."""
        with self._lock:
            self._add(directories)

    def _add(self, directories: Iterable[bytes]) -> None:
        if self._too_many:
            return
        self._holders.update(directories)
        if len(self._holders) > MOST_HOLDERS:
            self._holders.clear()
            self._whole, self._too_many, self._stamp = False, True, None

    def remove(self, directory: bytes) -> None:
        """There is nothing of that kind right in it. Serving thread, with no event read since that was seen."""
        with self._lock:
            self._holders.discard(directory)

    def below(self, directory: bytes) -> set[bytes] | None:
        """Those at and below `directory`; None when not all are known."""
        with self._lock:
            if not self._whole:
                return None
            if not directory:
                return set(self._holders)
            prefix = directory + b"/"
            return {holder for holder in self._holders if holder == directory or holder.startswith(prefix)}

    # ---- by which index

    def agree(self, index: Index) -> bool:
        return self._stamp is not None and self._stamp == _stamp_of(index)

    def expect(self, index: Index) -> None:
        """It is `index` that will be followed: what was compared with another is to be listed anew."""
        with self._lock:
            if self._stamp != _stamp_of(index):
                self._whole, self._stamp = False, None

    def follow(self, old: Index, new: Index, left: Iterable[bytes]) -> None:
        """`new` took the place of `old`; it no longer names something right in each of the directories `left`."""
        with self._lock:
            if self.agree(old):
                self._add(left)
                if self._whole:
                    self._stamp = _stamp_of(new)


def _stamp_of(index: Index) -> tuple[int, int, bytes]:
    checksum = index.raw[-index.oid_bytes :]
    if not any(checksum):  # index.skipHash
        checksum = zlib.crc32(index.raw).to_bytes(4, "big")
    return index.mtime_ns, len(index.raw), checksum
