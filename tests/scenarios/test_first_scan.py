"""A first scan of more repositories than the walks keep up with: answered from work done before the watches."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitwatchd.engine.engine import MANY_WALKS, WALK_SLOTS
from gitwatchd.wire.blocking import Connection
from tests.scenarios.commands import children_of, runs
from tests.zoo.commands import Git, ask_judge, new_repository
from tests.zoo.comparison import compare_all
from tests.zoo.daemon import Client, Daemon
from tests.zoo.nursery import append, write
from tests.zoo.waiting import wait_until

_WALKS_HELD = """
import os, runpy, sys, time
from gitwatchd.engine import engine
from gitwatchd.watch import watcher
from gitwatchd.watch.walk import RepositoryWalk
engine.SEARCH_S = 60.0  # the search finds all of them before the first walk begins, however slow it is
engine.WALK_SLOTS = watcher.WALKERS = 60  # none that is held keeps another from its turn
gate, everything = sys.argv[1], RepositoryWalk.everything
def held(walk):
    while not (os.path.exists(gate) or walk._watch.location.path.endswith(b"/nested")):
        time.sleep(0.02)
    everything(walk)
RepositoryWalk.everything = held
sys.argv = ["gitwatchd", *sys.argv[5:]]
runpy.run_module("gitwatchd", run_name="__main__")
"""


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "walks-go-on"


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon], gate: Path) -> Iterator[Daemon]:
    """None of its walks places a watch until `gate` is there, but those of what only an analysis finds: whether walks
    or workers are faster is the machine's affair."""
    yield start_daemon(before=(sys.executable, "-c", _WALKS_HELD, str(gate)))
    gate.touch()


@pytest.fixture
def fleet(tmp_path: Path) -> list[Path]:
    """More than wait for a walk before they are analysed."""
    top = tmp_path / "fleet"
    first = new_repository(top / "r000", {"a": b"1\n", "d/b": b"2\n", ".gitignore": b"*.o\n"}, "--template=").path
    paths = [first]
    for number in range(1, WALK_SLOTS + MANY_WALKS + 20):
        paths.append(top / f"r{number:03}")
        shutil.copytree(first, paths[-1], symlinks=True)
    last = paths[-1]
    write(paths[-2] / "d/untracked", b"")
    append(last / "a", b"changed\n")
    # Only who looks into the worktrees finds these: in one that we can judge, and in one whose filter we may not run.
    paths.append(new_repository(last / "nested", {"c": b"3\n"}, "--template=").path)
    unsafe = paths[-4]
    append(unsafe / ".git/config", b'[filter "x"]\n\tclean = touch ran\n')
    write(unsafe / ".gitattributes", b"* filter=x\n")
    paths.append(new_repository(unsafe / "nested", {"c": b"3\n"}, "--template=").path)
    return paths


def test_all_are_in_the_first_answer_as_git_has_them_and_then_all_are_watched(
    client: Client, fleet: list[Path], gate: Path
) -> None:
    top = fleet[0].parent
    reports = {report["path"]: report for report in client.reports(top)}
    assert sorted(reports) == sorted(map(str, fleet)), "the nested ones among them"
    unsafe = str(fleet[-1].parent)
    for path in fleet:
        report = reports[str(path)]
        if str(path) == unsafe:
            assert report["state"] == "unsafe"
            continue
        assert report["state"] == "fresh"
        lines = ask_judge(path).stdout.split(b"\0")
        assert report["counts"]["unstaged"] == sum(line.startswith(b"1 .M") for line in lines), path
        assert report["counts"]["untracked"] == sum(line.startswith(b"? ") for line in lines), path
    assert {Path(path).name for path, report in reports.items() if report["watch"] == "watched"} <= {"nested"}
    gate.touch()
    wait_until(lambda: all(r["watch"] == "watched" for r in client.reports(top, wait_s=0)), 60, "all are watched")
    for path in fleet:
        append(path / ("c" if path.name == "nested" else "a"), b"later\n")
    assert compare_all(client, [path for path in fleet if str(path) != unsafe]) == []


def test_a_terminal_is_told_rows_while_the_rest_is_looked_at(daemon: Daemon, fleet: list[Path]) -> None:
    told: list[dict[str, Any]] = []
    (worker,) = children_of(daemon.pid)
    os.kill(worker, signal.SIGSTOP)  # or all may be done before there is something to tell

    def note(_method: str, params: list[dict[str, Any]]) -> None:
        told.extend(params)
        if any("rows" in each for each in params):
            os.kill(worker, signal.SIGCONT)

    connection = Connection(daemon.places.socket, 30.0)
    try:
        options = {"paths": [str(fleet[0].parent)], "width": 80, "rows": 7, "progress": True}
        view = connection.call("render", "status", options, on_notification=note)
    finally:
        connection.close()
    rows = [line.split()[0] for each in told for line in each.get("rows", ())]
    # How many there is time for before the answer is this machine's affair; the bound is in test_early_rows.
    assert 1 <= len(rows) == len(set(rows)) <= 7
    assert set(rows) <= {line.split()[0] for line in view["text"].splitlines()[2:-1]}


def test_a_change_between_the_first_answer_and_the_watch_is_in_the_next_answer(
    client: Client, fleet: list[Path], gate: Path
) -> None:
    reports = client.reports(fleet[0].parent)
    early = [Path(report["path"]) for report in reports if report["watch"] != "watched" and report["state"] == "fresh"]
    assert len(early) >= len(fleet) - 3, "but for the nested ones, and for that whose filter may not be run"
    for path in early:
        Git(path)("rm", "-q", "--cached", "c" if path.name == "nested" else "a")
    gate.touch()
    assert compare_all(client, early) == []


def test_a_daemon_that_knows_nothing_yet_has_a_worker_ready(tmp_path: Path) -> None:
    git = new_repository(tmp_path / "one", {"a": b"1\n"}, "--template=")
    with Daemon(tmp_path / "state") as daemon:
        ((worker, command),) = children_of(daemon.pid).items()
        assert b"gitwatchd.analysis.worker" in command
        with daemon.connect() as client:
            client.reports(git.path)
    wait_until(lambda: not runs(worker), what="the worker's end")
    with Daemon(tmp_path / "state") as daemon:
        assert children_of(daemon.pid) == {}, "what it knows is asked for first"
