"""Repositories that wait for their turn, the most urgent first.

Owns: the order of one kind of work. Runs: serving thread, called by the engine only. No I/O, no clock.
Invariant: a repository is in it at most once, with the urgency that it was last put in with.
A heap, because a first scan of 2,000 repositories is 6,000 events: sorting those that wait after each took seconds.
"""

from __future__ import annotations

import heapq

from gitwatchd.engine.repository import Repository
from gitwatchd.model.repository import RepoPath

_Place = tuple[bool, float, RepoPath]
"""Sorts those that somebody waits for first, then the most recently asked."""


class Backlog:
    def __init__(self) -> None:
        self._heap: list[_Place] = []
        self._places: dict[RepoPath, _Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def put(self, repository: Repository) -> None:
        """Add it, or move it to where it belongs now."""
        place = (not repository.waiting, -repository.asked_at, repository.path)
        if self._places.get(repository.path) == place:
            return
        self._places[repository.path] = place
        heapq.heappush(self._heap, place)
        if len(self._heap) > 64 + 2 * len(self._places):
            # Places that were left stay in the heap until they come up, which those of idle repositories never do.
            self._heap = list(self._places.values())
            heapq.heapify(self._heap)

    def discard(self, path: RepoPath) -> None:
        self._places.pop(path, None)

    def pop(self) -> RepoPath | None:
        """Take the most urgent out; None when there is none."""
        while self._heap:
            place = heapq.heappop(self._heap)
            path = place[2]
            if self._places.get(path) == place:
                del self._places[path]
                return path
        return None
