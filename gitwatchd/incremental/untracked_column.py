"""The untracked entries of one repository, as git collapses them.

Owns: those entries. Runs: serving thread; what takes long yields between slices.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from gitwatchd.incremental.terms import Inexact
from gitwatchd.incremental.untracked import UntrackedSearch

STEP = 100
"""Paths between two chances to serve others: less than a millisecond."""


class UntrackedColumn:
    __slots__ = ("entries",)

    def __init__(self, entries: Iterable[bytes] = ()) -> None:
        self.entries = set(entries)
        """Relative paths; a slash at the end stands for a directory and all in it."""

    def stands_for(self, path: bytes) -> bool:
        """Whether an entry stands for what was at `path`."""
        at = len(path)
        while at > 0:
            if path[:at] + b"/" in self.entries:
                return True
            at = path.rfind(b"/", 0, at)
        return path in self.entries

    def drop(self, path: bytes) -> None:
        """No entry is called that any more, as a file or as a directory."""
        self.entries -= {path, path + b"/"}

    def set_unit(self, unit: bytes, search: UntrackedSearch) -> None:
        """Bring up to date what stands for `unit` (`UntrackedSearch.unit_of`)."""
        self.drop(unit)
        entry = search.entry_of(unit)
        if entry is not None:
            self.entries.add(entry)

    def relist(self, directory: bytes, search: UntrackedSearch) -> None:
        """What is untracked in a directory that holds tracked files (or in the top)."""
        if not directory:
            self.entries.clear()
        elif self.entries:
            prefix = directory + b"/"
            self.entries = {entry for entry in self.entries if not entry.startswith(prefix)}
        self.entries.update(search.entries_below(directory))

    def follow_index(self, touched: set[bytes], search: UntrackedSearch) -> Iterator[None]:
        """Directories that came to hold tracked files, or no longer do, collapse differently. Raises Inexact."""
        opened: set[bytes] = set()
        closed: set[bytes] = set()
        for number, path in enumerate(touched):
            at = path.find(b"/")
            while at >= 0:
                directory = path[:at]
                if not search.is_tracked_directory(directory):
                    closed.add(directory)
                    break
                if directory + b"/" in self.entries:
                    opened.add(directory)
                elif search.is_misnamed(directory):
                    # No entry stood for what it holds, nor was that looked at.
                    raise Inexact("a directory has the name of a file in conflict")
                at = path.find(b"/", at + 1)
            if number % STEP == STEP - 1:
                yield
        if closed:
            self.entries = {entry for entry in self.entries if not lies_below(entry, closed)}
        for directory in opened:
            self.entries.discard(directory + b"/")
            self.entries.update(search.entries_below(directory))
            yield


def lies_below(path: bytes, directories: set[bytes]) -> bool:
    """Whether one of `directories` holds `path`, which may be one of them itself."""
    at = path.rstrip(b"/").rfind(b"/")
    while at > 0:
        if path[:at] in directories:
            return True
        at = path.rfind(b"/", 0, at)
    return b"" in directories and bool(path)
