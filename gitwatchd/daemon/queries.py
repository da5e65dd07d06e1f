"""Requests that wait for their answer: what each is about, whom to tell, until when.

Owns: the open queries' scopes, callbacks and deadlines (what each still needs is the engine's). Runs: serving thread.
Invariant: whoever opened a query is told once, at its completion or its deadline.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass

from gitwatchd.engine.engine import Engine
from gitwatchd.engine.events import QueryId
from gitwatchd.engine.repository import Repository
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.report import Standing
from gitwatchd.model.repository import RepoPath


@dataclass(frozen=True, slots=True)
class Scope:
    """What a request is about. `tops`: directories; every repository at and below them counts."""

    tops: tuple[bytes, ...]
    only: tuple[RepoPath, ...] = ()
    """Exactly these, nothing beneath (when `tops` is empty)."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The repositories of a request with their standing, in order of their paths."""

    repositories: list[tuple[Repository, Standing]]


OnComplete = Callable[[Answer], None]


@dataclass(slots=True)
class _Open:
    scope: Scope
    on_complete: OnComplete
    deadline: Timer | None
    opened_at: float
    """Monotonic."""


class OpenQueries:
    """`hides(tops, path)`: whether a list of what lies below `tops` leaves `path` out."""

    def __init__(self, loop: Loop, engine: Engine, hides: Callable[[tuple[bytes, ...], bytes], bool]) -> None:
        self._loop = loop
        self._engine = engine
        self._hides = hides
        self._ids = itertools.count(1)
        self._open: dict[QueryId, _Open] = {}

    def __contains__(self, query: QueryId) -> bool:
        return query in self._open

    def open(
        self, scope: Scope, on_complete: OnComplete, wait_s: float | None, on_deadline: Callable[[QueryId], None]
    ) -> QueryId:
        """`wait_s`: seconds until `on_deadline` is called; None: never, 0: it is not to wait at all."""
        query = QueryId(next(self._ids))
        deadline = None
        if wait_s is not None and wait_s > 0:
            deadline = self._loop.call_later(wait_s, lambda: on_deadline(query))
        self._open[query] = _Open(scope, on_complete, deadline, time.monotonic())
        return query

    def waited_s(self, query: QueryId) -> float:
        """How long it has been open."""
        opened = self._open.get(query)
        return 0.0 if opened is None else time.monotonic() - opened.opened_at

    def progress(self, query: QueryId) -> tuple[bool, int, int]:
        """(looking for repositories still, answered, found)."""
        state = self._engine.queries.get(query)
        if state is None:
            return False, 0, 0
        found = len(state.members)
        return state.discovering, found - len(state.need), found

    def answered(self, query: QueryId) -> list[tuple[Repository, Standing]]:
        """The repositories of an open query that are answered already, in order of their paths."""
        state = self._engine.queries.get(query)
        paths = set() if state is None else state.members - state.need.keys()
        epoch = time.time()
        found = [r for path in sorted(paths) if (r := self._engine.repositories.get(path)) is not None]
        return [(repository, repository.standing(fresh=True, epoch=epoch)) for repository in found]

    def complete(self, query: QueryId) -> None:
        """The engine says that every repository is answered, or that it waited long enough: tell."""
        opened = self._open.pop(query, None)
        if opened is None or query not in self._engine.queries:
            return
        if opened.deadline is not None:
            opened.deadline.cancel()
        unanswered = self._engine.unanswered(query)
        members = self._engine.queries[query].members
        self._engine.close(query)
        opened.on_complete(self._answer(members, unanswered, opened.scope))

    def _answer(self, members: set[RepoPath], unanswered: frozenset[RepoPath], scope: Scope) -> Answer:
        epoch = time.time()
        in_list = not scope.only
        answer = []
        for path in sorted(members):
            repository = self._engine.repositories.get(path)
            if repository is None or (in_list and (repository.gone_shown or self._hides(scope.tops, path))):
                continue
            answer.append((repository, repository.standing(fresh=path not in unanswered, epoch=epoch)))
            # Shown once, in a list; whoever names it is told again.
            repository.gone_shown = repository.gone and in_list
        return Answer(answer)
