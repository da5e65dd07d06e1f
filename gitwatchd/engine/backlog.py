"""Repositories that wait for their turn, the most urgent first.

Owns: the order of one kind of work. Runs: serving thread, called by the engine only. No I/O, no clock.
Invariant: a repository is in it at most once, with the urgency that it was last put in with.
A heap, because a first scan of 2,000 repositories is 6,000 events: sorting those that wait after each took seconds.
"""

from __future__ import annotations

import heapq
from enum import Enum, auto

from gitwatchd.engine.repository import Repository
from gitwatchd.model.repository import RepoPath


class Least(Enum):
    """How urgent a repository must be to be taken out."""

    ANY = auto()
    WAITED_FOR = auto()


_Place = tuple[bool, float, RepoPath]
"""Sorts those that somebody waits for first, then the most recently asked."""


class Backlog:
    def __init__(self) -> None:
        self._heap: list[_Place] = []
        self._places: dict[RepoPath, _Place] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, path: RepoPath) -> bool:
        return path in self._places

    def is_waited_for(self) -> bool:
        """Whether somebody waits for any of them."""
        first = self._first()
        return first is not None and not first[0]

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

    def pop(self, least: Least) -> RepoPath | None:
        """Take the most urgent out; None when there is none that is as urgent as `least`."""
        first = self._first()
        if first is None or (first[0] and least is Least.WAITED_FOR):
            return None
        heapq.heappop(self._heap)
        path = first[2]
        del self._places[path]
        return path

    def _first(self) -> _Place | None:
        while self._heap:
            place = self._heap[0]
            if self._places.get(place[2]) == place:
                return place
            heapq.heappop(self._heap)
        return None
