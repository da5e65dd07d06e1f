"""Inotify watches, queues, instances and descriptors run out, for real, and can be had again."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitwatchd.wire.rpc import RemoteError
from tests.scenarios.commands import children_of
from tests.zoo import namespace
from tests.zoo.commands import Git, judge, new_repository
from tests.zoo.comparison import compare_all, difference
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

Start = Callable[..., Daemon]
LIMIT = 118
"""With an eighth left to others there is room for three of `fleet`."""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def fleet(root: Path) -> list[Path]:
    """Six repositories of some 31 watches each."""
    return [new_repository(root / f"r{n}", {f"d{d}/f": b"1\n" for d in range(20)}).path for n in range(6)]


DISCOVERY = "no watches are left for places where new repositories may appear"


def watch_of(client: Client, path: Path) -> dict[str, Any]:
    """How it is watched, without asking about it in a way that could change that."""
    (report,) = client.reports(path, wait_s=0)
    return report


def watched(client: Client, paths: list[Path]) -> list[str]:
    return [path.name for path in paths if watch_of(client, path)["watch"] == "watched"]


def problems(client: Client) -> dict[str, tuple[str, str]]:
    """What `doctor` says is wrong, and the cure, by path."""
    told = client.call("doctor")["problems"]
    return {problem["what"].partition(": ")[0]: (problem["what"], problem["hint"]) for problem in told}


def edit_all(paths: list[Path], text: bytes) -> None:
    for path in paths:
        (path / "d7/f").write_bytes(text)
        (path / f"new-{len(text)}").write_bytes(text)


def test_the_least_recently_asked_are_polled_and_all_are_watched_again_when_the_limit_rises(
    start_daemon: Start, fleet: list[Path], root: Path
) -> None:
    """Our own share of the kernel's limit."""
    namespace.require()
    daemon = start_daemon(before=namespace.entering({"watches": LIMIT}))
    with daemon.connect() as client:
        for path in fleet:
            assert difference(client, path) is None
        assert watched(client, fleet) == ["r3", "r4", "r5"]
        edit_all(fleet, b"22\n")
        assert compare_all(client, fleet) == []
        assert watched(client, fleet) == ["r3", "r4", "r5"], "to be asked once is no reason to throw another out"
        facts = client.call("doctor")
        assert facts["watches"]["used"] <= facts["watches"]["budget"] == LIMIT - LIMIT // 8
        assert facts["watches"]["wanted"] > facts["watches"]["budget"]
        assert set(facts["watches_by_repository"]) == {str(path) for path in fleet[3:]}
        told = problems(client)
        told.pop(
            DISCOVERY, None
        )  # it comes last, and may be refused a watch while a walk tries for more than there are
        assert set(told) == {str(path) for path in fleet[:3]}
        assert all("watches went to repositories asked more recently" in what for what, _hint in told.values())
        (hint,) = {hint for _what, hint in told.values()}
        name, _, enough = hint.removeprefix("sudo sysctl ").partition("=")
        assert name == "user.max_inotify_watches"
        namespace.limit(daemon.pid, "watches", int(enough))
        wait_until(lambda: len(watched(client, fleet)) == len(fleet), what="all are watched")
        edit_all(fleet, b"333\n")
        assert compare_all(client, fleet) == []
        wait_until(lambda: problems(client) == {}, what="discovery has its watches again")


def test_a_repository_asked_about_often_takes_the_place_of_one_that_is_not(
    start_daemon: Start, fleet: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """After its stay (a minute, cut short here)."""
    namespace.require()
    daemon = start_daemon(before=(*namespace.entering({"watches": LIMIT}), sys.executable, "-c", _IMPATIENT))
    with daemon.connect() as client:
        assert compare_all(client, fleet) == []
        assert watched(client, fleet) == ["r3", "r4", "r5"]
        for turn in range(4):
            (fleet[0] / "d1/f").write_bytes(b"%d\n" % turn)
            assert difference(client, fleet[0]) is None
        assert watched(client, fleet) == ["r0", "r4", "r5"]
        edit_all(fleet, b"22\n")
        assert compare_all(client, fleet) == []


_IMPATIENT = """
import os, runpy, sys
from gitwatchd.engine import budget
budget.STAY_S = 0.0
sys.argv = ["gitwatchd", *sys.argv[4:]]
runpy.run_module("gitwatchd", run_name="__main__")
"""


def test_discovery_gives_way_first_and_new_repositories_are_still_found(
    start_daemon: Start, fleet: list[Path], root: Path
) -> None:
    namespace.require()
    for number in range(60):
        (root / f"empty/{number}").mkdir(parents=True)
    daemon = start_daemon(before=namespace.entering({"watches": 250}))
    with daemon.connect() as client:
        assert len(client.reports(root)) == len(fleet)
        assert watched(client, fleet) == [path.name for path in fleet]
        assert client.call("doctor")["watches"]["discovery"] == 0
        new = new_repository(root / "empty/7/new", {"a": b"1\n"}).path
        assert str(new) in [report["path"] for report in client.reports(root)]
        assert difference(client, new) is None
        namespace.limit(daemon.pid, "watches", 4000)
        wait_until(lambda: client.call("doctor")["watches"]["discovery"] > 60, what="discovery watches again")
        unasked = new_repository(root / "empty/8/new", {"a": b"1\n"}).path
        wait_until(lambda: str(unasked) in [r["path"] for r in client.reports(root, wait_s=0)], what="it appears")


@pytest.fixture
def hog() -> Iterator[Callable[[int, int, Path], subprocess.Popen[bytes]]]:
    """Another program of the same user that takes so many watches."""
    running: list[subprocess.Popen[bytes]] = []

    def take(pid: int, number: int, directory: Path) -> subprocess.Popen[bytes]:
        for n in range(number):
            (directory / str(n)).mkdir(parents=True)
        program = [sys.executable, "-c", _HOG, str(directory)]
        running.append(subprocess.Popen([*namespace.joining(pid), *program], stdout=subprocess.PIPE))
        assert running[-1].stdout is not None
        assert running[-1].stdout.readline() == b"%d\n" % number
        return running[-1]

    yield take
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


_HOG = """
import os, sys, time
from gitwatchd.watch.inotify import InotifyQueue
queue = InotifyQueue()
print(len([queue.add(os.fsencode(entry.path)) for entry in os.scandir(sys.argv[1])]), flush=True)
time.sleep(600)
"""


def test_another_program_takes_the_watches_and_gives_them_back(
    start_daemon: Start,
    fleet: list[Path],
    tmp_path: Path,
    hog: Callable[[int, int, Path], subprocess.Popen[bytes]],
) -> None:
    """ENOSPC from the kernel."""
    namespace.require()
    daemon = start_daemon(before=namespace.entering({"watches": 390}))
    other = hog(daemon.pid, 290, tmp_path / "other")
    with daemon.connect() as client:
        for path in fleet:
            assert difference(client, path) is None
        assert watched(client, fleet) == ["r3", "r4", "r5"]
        edit_all(fleet, b"22\n")
        assert compare_all(client, fleet) == []
        other.kill()
        other.wait()
        client.call("refresh", [str(path) for path in fleet])
        assert compare_all(client, fleet) == []
        assert watched(client, fleet) == [path.name for path in fleet]


def test_no_inotify_instance_for_us_and_then_one_and_then_more(start_daemon: Start, fleet: list[Path]) -> None:
    namespace.require()
    daemon = start_daemon(before=namespace.entering({"instances": 0}))
    with daemon.connect() as client:
        assert compare_all(client, fleet) == []
        assert watched(client, fleet) == []
        told = problems(client)
        assert "no inotify instance left" in told[str(fleet[0])][0]
        assert told[str(fleet[0])][1] == "sudo sysctl user.max_inotify_instances=1024"
        edit_all(fleet, b"22\n")
        assert compare_all(client, fleet) == []
        for instances, queues in ((1, 1), (128, 4)):
            namespace.limit(daemon.pid, "instances", instances)
            wait_until(lambda queues=queues: client.call("doctor")["watches"]["descriptors"] == queues)
            wait_until(lambda: len(watched(client, fleet)) == len(fleet), what="all are watched")
            edit_all(fleet, b"3" * instances)
            assert compare_all(client, fleet) == []


def test_out_of_descriptors_no_answer_is_wrong_and_it_recovers(
    start_daemon: Start, fleet: list[Path], root: Path
) -> None:
    daemon = start_daemon()
    with daemon.connect() as client:
        assert compare_all(client, fleet) == []
        for worker in children_of(daemon.pid):  # the one for a first scan, which would end in the middle of this
            os.kill(worker, signal.SIGKILL)
        wait_until(lambda: not children_of(daemon.pid), what="no worker is left")
        soft, hard = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
        open_now = set(map(int, os.listdir(f"/proc/{daemon.pid}/fd")))
        free = [number for number in range(len(open_now) + 10) if number not in open_now]
        lied: list[str] = []
        states: Counter[str] = Counter()
        for spare in (0, 1, 2, 3, 5, 8):
            resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (free[spare], hard))
            for number, path in enumerate(fleet):
                (path / f"n{spare}").mkdir()
                (path / f"n{spare}/f").write_bytes(b"")
                (path / ".gitignore").write_bytes(b"n%d\n" % spare)
                if number % 2:
                    Git(path)("add", ".gitignore")
                    Git(path)("commit", "-qm", f"{spare}")
                try:
                    if number % 3 == 0:
                        client.call("refresh", [str(path)])
                    answer = client.entries(path)
                except RemoteError:
                    states["refused"] += 1
                    continue
                states[answer.state] += 1
                if answer.state not in ("failed", "stale") and answer.stdout != judge(path):
                    lied.append(f"{spare} spare, {path.name}: {answer}")
        assert states["fresh"] and states["failed"], "neither too many nor too few"
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert lied == []
        wait_until(lambda: compare_all(client, fleet) == [], what="all are right again")
        wait_until(lambda: len(watched(client, fleet)) == len(fleet), what="all are watched again")
        edit_all(fleet, b"4444\n")
        assert compare_all(client, fleet) == []


def test_an_overflow_of_the_queue_is_counted_and_all_on_it_are_rescanned(
    start_daemon: Start, fleet: list[Path], root: Path
) -> None:
    """50,000 touches while nobody reads, in a queue of 16,384."""
    busy = new_repository(root / "busy", {f"f{n}": b"" for n in range(10)}).path
    daemon = start_daemon()
    with daemon.connect() as client:
        assert compare_all(client, [*fleet, busy]) == []
        before = client.call("doctor")["watches"]["overflows"]
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            for n in range(50_000):
                os.utime(busy / f"f{n % 10}", ns=(n * 10**9, n * 10**9))
            # The changes themselves come after it: their events are lost.
            for path in (*fleet, busy):
                (path / "after").write_bytes(b"")
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        assert compare_all(client, [*fleet, busy]) == []
        assert client.call("doctor")["watches"]["overflows"] > before
        for path in (*fleet, busy):
            (path / "after").unlink()
        assert compare_all(client, [*fleet, busy]) == []
