"""What happened last, for whoever has to explain why an answer was slow or did not come.

Owns: rings of the last events, requests and pieces of work; the work in flight with its beginning. Runs: serving
thread. Notes cost less than a microsecond and hold no report: they are taken on the way of every answer.
Never decides anything but what is overdue.
"""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gitwatchd.engine.engine import Engine
from gitwatchd.engine.events import Analysed, Event, QueryId, Walked
from gitwatchd.engine.repository import Repository
from gitwatchd.model.report import text_or_bytes
from gitwatchd.model.repository import RepoPath

_log = logging.getLogger(__name__)

T = TypeVar("T")

SLOW_REQUEST_S = 5.0
"""A request that nobody answered by then says what it waits for, when it ends."""
OVERDUE_S = 600.0
"""No piece of work takes longer: an analysis, given up by a thread and tried twice by workers, ends within 375 s."""
_KEPT_EVENTS = 400
_KEPT_REQUESTS = 60
_KEPT_WORK = 60
_SHOWN = 5
_SHOWN_EVENTS = 12
_PAUSE_S = 1.0
"""A loaded machine makes everything slow: one line in this time."""


class Recorder:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._events: deque[tuple[float, str, bytes | int]] = deque(maxlen=_KEPT_EVENTS)
        self._requests: deque[tuple[float, str, float]] = deque(maxlen=_KEPT_REQUESTS)
        self._work: deque[tuple[float, str, bytes, float]] = deque(maxlen=_KEPT_WORK)
        self._running: dict[RepoPath, tuple[float, str]] = {}
        self._told_at = -_PAUSE_S
        self.slow_callbacks = 0

    # ---- notes

    def note_event(self, event: Event, now: float) -> None:
        location = getattr(event, "location", None)
        path = getattr(event, "path", None) if location is None else location.path
        self._events.append((now, type(event).__name__, path if path is not None else getattr(event, "query", b"")))
        if isinstance(event, Walked | Analysed) and (begun := self._running.pop(path or RepoPath(b""), None)):
            self._work.append((begun[0], begun[1], path or b"", now - begun[0]))

    def note_work(self, path: RepoPath, what: str) -> None:
        self._running[path] = (time.monotonic(), what)

    def forget(self, path: RepoPath) -> None:
        self._running.pop(path, None)

    def note_request(self, method: str, seconds: float) -> None:
        self._requests.append((time.monotonic(), method, seconds))

    # ---- what says so by itself

    def note_slow_callback(self, callback: Callable[[], None], seconds: float) -> None:
        """The loop's: one callback held everybody else for that long."""
        self.slow_callbacks += 1
        now = time.monotonic()
        if now - self._told_at >= _PAUSE_S:
            self._told_at = now
            name = getattr(callback, "__qualname__", None) or repr(callback)
            _log.info("%s held the serving thread for %d ms", name, seconds * 1000)

    def explain(self, query: QueryId, waited_s: float, how: str) -> None:
        """A query ends after a long wait without having been answered: log what it waited for."""
        state = self._engine.queries.get(query)
        if state is None or waited_s < SLOW_REQUEST_S or not (state.need or state.discovering):
            return
        missing = sorted(state.need)
        looking = ", repositories being looked for" if state.discovering else ""
        _log.warning("a request %s after %.1f s, %d repositories unanswered%s", how, waited_s, len(missing), looking)
        for path in missing[:_SHOWN]:
            _log.warning("  needs generation %d of %s", state.need[path], self._told(path))

    def overdue(self) -> list[tuple[RepoPath, str]]:
        """Work that must have been lost, with its kind; logged with all that is known of it."""
        now = time.monotonic()
        lost = [(path, what) for path, (began, what) in self._running.items() if now - began > OVERDUE_S]
        for path, what in lost:
            _log.error("no end of the %s of %s", what, self._told(path))
            del self._running[path]
        return lost

    def _told(self, path: RepoPath) -> str:
        repository = self._engine.repositories.get(path)
        if repository is None:
            return f"{path!r}: not known"
        now = time.monotonic()
        last = [e for e in self._events if e[2] == path][-_SHOWN_EVENTS:]
        events = " ".join(f"{name}-{now - at:.2f}s" for at, name, _ in last)
        return f"{path!r}: {state_of(repository, self._running.get(path), now)}; events: {events or 'none'}"

    # ---- the whole

    def dump(self) -> dict[str, Any]:
        """The engine's state and the rings, as a map for the wire. Times are seconds ago, the newest last."""
        now = time.monotonic()
        engine = self._engine
        odd = [r for r in engine.repositories.values() if r.running or r.waiting or r.wanted or r.needs_walk]
        return {
            "pid": os.getpid(),
            "engine": {
                "repositories": len(engine.repositories), "queries": len(engine.queries), "slots": engine.slots,
                "analysing": engine.analysing, "backlog": engine.backlog, "walks": engine.walks,
                "wake_in_s": None if (due := engine.wake_at()) is None else round(due - now, 3),
            },
            "repositories": {
                _shown(r.path): state_of(r, self._running.get(r.path), now) for r in odd[:_KEPT_WORK]
            },
            "queries": {
                str(number): {
                    "discovering": query.discovering, "expired": query.expired,
                    "need": {_shown(path): generation for path, generation in _first(query.need.items())},
                }
                for number, query in _first(engine.queries.items())
            },
            "events": [[round(now - at, 3), name, _shown(what)] for at, name, what in self._events],
            "requests": [[round(now - at, 3), name, round(took, 6)] for at, name, took in self._requests],
            "work": [[round(now - at, 3), name, _shown(path), round(took, 6)] for at, name, path, took in self._work],
            "slow_callbacks": self.slow_callbacks,
            "threads": stacks(),
        }  # fmt: skip


def state_of(repository: Repository, begun: tuple[float, str] | None, now: float) -> str:
    """The engine's knowledge of one repository, in one line."""
    running = repository.running
    marks = [
        name
        for name in ("waiting", "wanted", "whole", "verify", "walk_all", "just_walked", "busy")
        if getattr(repository, name)
    ]
    work = "idle"
    if running is not None:
        kind = "walking" if running.walking else "analysing"
        work = f"{kind} from generation {running.generation} covering {running.covers}"
    since = "" if begun is None else f" ({begun[1]} for {now - begun[0]:.2f} s)"
    outcome = type(repository.outcome).__name__
    return (
        f"{work}{since}, generation {repository.generation}, covered {repository.covered}, {outcome}, "
        f"{repository.watch.value}, {len(repository.new_directories)} new directories, {' '.join(marks) or 'no marks'}"
    )


def stacks() -> dict[str, list[str]]:
    """Where every thread is now."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    return {
        f"{names.get(ident, '?')} {ident}": [line.strip() for line in traceback.format_stack(frame)]
        for ident, frame in sys._current_frames().items()
    }


def _shown(what: bytes | int) -> str:
    if isinstance(what, int):
        return str(what)
    text = text_or_bytes(what)
    return text if isinstance(text, str) else repr(text)


def _first(items: Iterable[T]) -> list[T]:
    return list(items)[:_KEPT_WORK]
