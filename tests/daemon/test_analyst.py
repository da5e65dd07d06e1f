"""Who carries out a whole analysis: where the system has no thread to give, and where one takes long."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator

import pytest

from gitwatchd.analysis import job as job_module
from gitwatchd.daemon import analyst as analyst_module
from gitwatchd.daemon.analyst import Analyst
from gitwatchd.git.layout import read_location
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Analysed, Gone, Job, Location, Outcome, RepoPath
from tests.zoo.commands import Git, judge
from tests.zoo.waiting import wait_until


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(lambda bug: None)
    yield loop
    loop.close()


def analyst_of(loop: Loop, told: Callable[[Job, Outcome], None], on_room: Callable[[], None] = lambda: None) -> Analyst:
    return Analyst(loop, 1, told, lambda path: path, lambda _path: "ext4", on_room, lambda _path, _mount: None)


def test_without_a_thread_a_process_does_it(
    loop: Loop, repository: Callable[..., Git], tmp_path: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = repository({"a": b"1\n"})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    outcomes: list[Outcome] = []
    analyst = analyst_of(loop, lambda job, outcome: outcomes.append(outcome))

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    job = Job(location, os.fsencode(str(tmp_path)) + b"/indexes", 60.0, None)
    with monkeypatch.context() as patch:
        patch.setattr(analyst_module.threading, "Thread", NoThread)
        analyst.submit(job)

    def ended() -> bool:
        loop.run_once(0.01)
        return bool(outcomes)

    wait_until(ended)
    analyst.submit(job)  # by a thread again
    wait_until(lambda: ended() and len(outcomes) == 2)
    analyst.close()
    assert [outcome.entries for outcome in outcomes if isinstance(outcome, Analysed)] == [judge(git.path)] * 2


def test_analyses_that_take_long_keep_no_slot_from_others(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analyst_module, "SLOW_S", 0.05)
    go_on = threading.Event()

    def analyse(job: Job) -> Outcome:
        if job.location.path != b"/quick":
            go_on.wait(30)
        return Gone()

    monkeypatch.setattr(job_module, "try_to_analyse", analyse)
    ended: list[bytes] = []
    told_of_room: list[int] = []
    analyst = analyst_of(loop, lambda job, _outcome: ended.append(job.location.path), lambda: told_of_room.append(1))

    def submit(path: bytes) -> None:
        analyst.submit(Job(Location(RepoPath(path), path, path, False), b"/indexes", 60.0, None))

    def turn(condition: Callable[[], object]) -> Callable[[], bool]:
        def turned() -> bool:
            loop.run_once(0.01)
            return bool(condition())

        return turned

    try:
        submit(b"/slow")
        submit(b"/slower")
        assert analyst.room(0) == 0
        wait_until(turn(lambda: len(told_of_room) == 2))
        assert analyst.room(0) == 2
        submit(b"/quick")
        wait_until(turn(lambda: ended == [b"/quick"]))
        go_on.set()
        wait_until(turn(lambda: len(ended) == 3))
        assert analyst.room(0) == 2
        for number in range(analyst_module.MOST_DIRECT):
            go_on.clear()
            submit(b"/slow%d" % number)
            wait_until(turn(lambda told=2 + number: len(told_of_room) > told))
        assert analyst.room(0) == 0
    finally:
        go_on.set()
        analyst.close()
