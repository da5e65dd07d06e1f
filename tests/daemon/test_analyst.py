"""Who carries out a whole analysis, where the system has no thread to give."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from gitwatchd.daemon import analyst as analyst_module
from gitwatchd.daemon.analyst import Analyst
from gitwatchd.git.layout import read_location
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Analysed, Job, Outcome
from tests.zoo.commands import Git, judge
from tests.zoo.waiting import wait_until


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(lambda bug: None)
    yield loop
    loop.close()


def test_without_a_thread_a_process_does_it(
    loop: Loop, repository: Callable[..., Git], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = repository({"a": b"1\n"})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    outcomes: list[Outcome] = []
    analyst = Analyst(loop, 1, lambda job, outcome: outcomes.append(outcome), lambda path: path, lambda _path: "ext4")

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    job = Job(location, os.fsencode(str(tmp_path)) + b"/indexes", 60.0, None)
    with monkeypatch.context() as patch:
        patch.setattr(analyst_module.threading, "Thread", NoThread)
        analyst.submit(job, local=True)

    def ended() -> bool:
        loop.run_once(0.01)
        return bool(outcomes)

    wait_until(ended)
    analyst.submit(job, local=True)  # by a thread again
    wait_until(lambda: ended() and len(outcomes) == 2)
    analyst.close()
    assert [outcome.entries for outcome in outcomes if isinstance(outcome, Analysed)] == [judge(git.path)] * 2
