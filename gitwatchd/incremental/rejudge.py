"""Untracked entries by new ignore rules, without a look at what is tracked: that does not depend on rules.

Owns nothing. Runs: serving thread, in slices. Raises Inexact, as the search does.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from gitwatchd.incremental.newest import NewestTime
from gitwatchd.incremental.strays import Strays
from gitwatchd.incremental.terms import Inexact
from gitwatchd.incremental.untracked import UntrackedSearch
from gitwatchd.incremental.untracked_column import UntrackedColumn

MOST_TIMES = 5_000
"""Files that count by new rules, looked at for the newest one: some 30 ms. With more git is asked, and not here."""
STEP = 20
"""Directories between two chances to serve others: a millisecond ..."""
STEP_OF_TIMES = 200
"""... or files."""


class Times:
    """Has the newest time know of the files that count by new rules, `MOST_TIMES` of them at most."""

    def __init__(self, top: bytes, newest: NewestTime, search: UntrackedSearch) -> None:
        self._prefix = top + b"/"
        self._newest = newest
        self._search = search
        self._left = MOST_TIMES
        newest.doubt()  # others count no longer

    def count(self, entries: Iterable[bytes]) -> Iterator[None]:
        """The files that these untracked entries stand for."""
        for entry in entries:
            for path in self._search.files_below(entry[:-1]) if entry.endswith(b"/") else (entry,):
                self._left -= 1
                if self._left < 0:
                    raise Inexact("too many files to look at here")
                with suppress(OSError):  # it went meanwhile: its event is on its way
                    self._newest.count(path, os.lstat(self._prefix + path).st_mtime_ns)
                if self._left % STEP_OF_TIMES == 0:
                    yield

    def give_up(self) -> None:
        self._newest.lost = True


def judge_strays(
    directory: bytes, strays: Strays, holders: set[bytes], column: UntrackedColumn,
    search: UntrackedSearch, times: Times,
) -> Iterator[None]:  # fmt: skip
    """Bring all entries of `column` at and below `directory` up to date.

    `holders`: those of `strays` there, all of them: nothing untracked lies right in another directory that is tracked.
    """
    before = {entry for entry in column.entries if not directory or entry.startswith(directory + b"/")}
    column.entries -= before
    holders = holders | {entry.rstrip(b"/").rpartition(b"/")[0] for entry in before}
    units: set[bytes] = set()
    for number, holder in enumerate(holders):
        if number % STEP == STEP - 1:
            yield
        if not search.is_tracked_directory(holder):
            units.add(search.unit_of(holder))
            continue
        held = search.held_in(holder)
        column.entries.update(held.entries)
        if held.misnamed:
            times.give_up()  # their files count, although no entry stands for them
        elif not held.strays:
            strays.remove(holder)  # at once: an event that is read between may tell otherwise
        yield from times.count(held.entries)
    for unit in units:
        if unit.rpartition(b"/")[0] in holders:
            continue  # done with that
        entry = search.entry_of(unit)
        if entry is not None:
            column.entries.add(entry)
            yield from times.count((entry,))
        yield
