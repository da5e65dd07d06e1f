"""Which is the newest file of a worktree, followed from change to change as far as that goes without looking at all.

Owns: the modification times of files that were looked at. Runs: serving thread. Does no I/O.
"""

from __future__ import annotations

from collections.abc import Iterable

_MOST_TIMES = 20_000
_SLACK_NS = 1_000
"""The newest time is handed about in seconds as a float."""


class NewestTime:
    def __init__(self) -> None:
        self.seen_ns = 0
        """Newest time among the files looked at since `settle`."""
        self.lost = False
        """Since `settle`, a file that may have been the newest went away or became older: all have to be looked at."""
        self._doubted = False
        self._known_ns = 0
        self._times: dict[bytes, int] = {}

    def looked_at(self) -> Iterable[bytes]:
        return self._times.keys()

    def settle(self, newest_s: float | None) -> None:
        """`newest_s`: the newest time of all files by now, epoch seconds."""
        self._known_ns = int((newest_s or 0.0) * 1e9)
        self.seen_ns, self.lost, self._doubted = 0, False, False

    def doubt(self) -> None:
        """Nobody knows which files count no longer. Those that began to count are told by `count`."""
        self._doubted = True

    def decide(self) -> None:
        """All was told that there is: what counted before is no newer than the newest was, so if something counts now
        that is newer, it does not matter what of the rest still does."""
        if self._doubted and self.seen_ns < self._known_ns + _SLACK_NS:
            self.lost = True

    def see(self, path: bytes, now_ns: int, recorded_ns: int | None) -> None:
        """A file that counts has this time. `recorded_ns`: what it had before, where the index tells; None: unknown."""
        was_ns = self._times.get(path, recorded_ns)
        self.count(path, now_ns)
        if was_ns is None:
            self.lost = self.lost or now_ns + _SLACK_NS < self._known_ns  # nobody knows that it was not the newest
        elif now_ns < was_ns:
            self._lose(was_ns)

    def count(self, path: bytes, now_ns: int) -> None:
        """A file counts that has this time; what it had before, if it did, does not matter."""
        if len(self._times) >= _MOST_TIMES:
            self._times.clear()  # of these the time recorded in the index is believed again
        self._times[path] = now_ns
        self.seen_ns = max(self.seen_ns, now_ns)

    def miss(self, path: bytes, recorded_ns: int | None, *, counted: bool) -> None:
        """There is no file at `path`. `counted`: there may have been one that counted, or many."""
        was_ns = self._times.pop(path, recorded_ns)
        if counted or was_ns is not None:
            self._lose(was_ns)

    def _lose(self, was_ns: int | None) -> None:
        if was_ns is None or was_ns + _SLACK_NS > self._known_ns:
            self.lost = True
