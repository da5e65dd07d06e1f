"""How a playbook of the engine is written, and what it speaks of. A fake clock, no I/O."""

from __future__ import annotations

from gitwatchd.engine.engine import Engine
from gitwatchd.engine.events import (
    Analyse,
    Analysed,
    Asked,
    Changed,
    Complete,
    Effect,
    Event,
    Found,
    Level,
    Publish,
    QueryId,
    Walk,
    Walked,
)
from gitwatchd.engine.repository import Repository
from gitwatchd.model.report import Facts, State, Watch
from gitwatchd.model.repository import Analysed as Status
from gitwatchd.model.repository import Location, Outcome, RepoPath

A, B = RepoPath(b"/root/a"), RepoPath(b"/root/b")
Q, Q2, Q3 = QueryId(1), QueryId(2), QueryId(3)
CLEAN, DIRTY, DIRTIER = (Status(Facts(), entries) for entries in (b"", b"? x\0", b"? x\0? y\0"))
EVERYTHING = None
REWALK_A = Changed(A, rewalk=True)
BY_GIT_A = Analyse(A, whole=True, by_git=True)


class Play:
    """`play >> event << effect << effect`: every effect of an event has to be named before the next event."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = 1000.0
        self.effects: list[Effect] = []

    def __rshift__(self, event: Event) -> Play:
        assert self.effects == [], "effects nobody expected"
        self.effects = self.engine.handle(event, self.now)
        return self

    def __lshift__(self, effect: Effect) -> Play:
        assert self.effects, f"nothing more is wanted, expected {effect}"
        assert self.effects.pop(0) == effect
        if isinstance(effect, Complete):
            self.answered = self.engine.unanswered(effect.query)
            self.engine.close(effect.query)
        return self

    def later(self, seconds: float) -> Play:
        self.now += seconds
        return self

    def end(self) -> None:
        assert self.effects == []

    def __getitem__(self, path: RepoPath) -> Repository:
        return self.engine.repositories[path]

    def state(self, path: RepoPath, *, fresh: bool = True) -> State:
        return self[path].standing(fresh=fresh, epoch=0.0).state


def location(path: RepoPath) -> Location:
    return Location(path, path + b"/.git", path + b"/.git", bare=False)


def found(path: RepoPath, cached: Outcome | None = None, asked_at: float = 0.0) -> Found:
    return Found(location(path), cached, None if cached is None else 1.0, asked_at)


def walked(path: RepoPath, watch: Watch = Watch.WATCHED, reason: str = "") -> Walked:
    return Walked(location(path), watch, reason)


def analysed(path: RepoPath, outcome: Outcome = CLEAN) -> Analysed:
    return Analysed(path, outcome, Level.L3, 2.0)


def asked(query: QueryId, *paths: RepoPath, verify: bool = False, wait: bool = True) -> Asked:
    return Asked(query, (), paths, False, wait, verify, epoch=5.0)


def changed(path: RepoPath, *new: bytes) -> Changed:
    return Changed(path, new_directories=frozenset(new))


def settle(play: Play, path: RepoPath, watch: Watch = Watch.WATCHED) -> Play:
    """The repository is known, watched, clean; nobody asked."""
    play >> found(path) << Walk(path, EVERYTHING)
    play >> walked(path, watch) << Analyse(path, whole=True)
    return play >> analysed(path) << Publish(path)
