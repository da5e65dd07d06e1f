"""What explains an answer that was slow or did not come."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace

import pytest

from gitwatchd import loop as loop_module
from gitwatchd.daemon.recorder import Recorder
from gitwatchd.engine.engine import Engine
from gitwatchd.engine.events import Asked, Found, QueryId
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Location, RepoPath

A = RepoPath(b"/root/a")


def test_a_callback_that_holds_the_loop_is_told_and_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    now_s = [0.0]
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: now_s[0]))
    loop = Loop(lambda bug: None, lambda callback, seconds: told.append(callback.__qualname__), slow_s=0.01)

    def slow() -> None:
        now_s[0] += 0.02

    loop.call_soon(slow)
    loop.call_soon(told.clear)
    loop.run_once(0)
    assert told == []  # the other came after it
    loop.call_soon(slow)
    loop.run_once(0)
    loop.close()
    assert len(told) == 1 and told[0].endswith(".slow")


def test_a_request_that_ends_unanswered_says_what_it_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    engine = Engine()
    recorder = Recorder(engine)
    for event in (
        Found(Location(A, A + b"/.git", A + b"/.git", bare=False)),
        Asked(QueryId(1), (), (A,), False),
    ):
        recorder.note_event(event, time.monotonic())
        engine.handle(event, time.monotonic())
    recorder.note_work(A, "walk")
    recorder.explain(QueryId(1), 0.5, "ends")
    assert caplog.text == "", "not for a short wait"
    with caplog.at_level(logging.INFO):
        recorder.explain(QueryId(1), 9.0, "ends")
    assert "after 9.0 s, 1 repositories unanswered" in caplog.text
    assert "b'/root/a': walking from generation 0" in caplog.text and "(walk for " in caplog.text
    assert "events: Found-" in caplog.text
