"""Real workers on a real loop: right results, one outcome a job, and no fault reaches further than its job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from gitwatchd import loop as loop_module
from gitwatchd.analysis import pool as pool_module
from gitwatchd.analysis.drivers import drivers_digest, find_drivers
from gitwatchd.analysis.pool import PREFETCH, Pool, pool_ceiling
from gitwatchd.analysis.process import WorkerProcess
from gitwatchd.analysis.worker import (
    Frames,
    encode_frame,
    outcome_from_wire,
    outcome_to_wire,
    work_from_wire,
    work_to_wire,
)
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import read_config
from gitwatchd.loop import Loop
from gitwatchd.model.report import Counts, Facts, Tracking
from gitwatchd.model.repository import Analysed, Failed, Gone, Job, Location, Outcome, RepoPath, Unsafe
from tests.zoo.commands import Git

Make = Callable[..., Git]
Judge = Callable[[Path], bytes]
WaitUntil = Callable[..., object]


def _allowed(location: Location) -> bytes:
    """What `gitwatch trust` would write down now."""
    return drivers_digest(find_drivers(location, read_config(location), time.monotonic() + 10))


class Running:
    """A pool, its loop, and what came out."""

    def __init__(self, ceiling: int, cache: Path) -> None:
        self.bugs: list[BaseException] = []
        self.outcomes: list[tuple[Job, Outcome]] = []
        self.loop = Loop(self.bugs.append)
        self.pool = Pool(self.loop, ceiling, lambda job, outcome: self.outcomes.append((job, outcome)))
        self.cache = os.fsencode(cache)

    def job(self, git: Git, *, trusted: bool = False, timeout_s: float = 30) -> Job:
        location = read_location(os.fsencode(git.path))
        assert location is not None
        return Job(location, self.cache, timeout_s, _allowed(location) if trusted else None)

    def submit(self, git: Git, *, trusted: bool = False, timeout_s: float = 30) -> None:
        self.pool.submit(self.job(git, trusted=trusted, timeout_s=timeout_s))

    def run_until(self, condition: Callable[[], object], timeout_s: float = 30) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            self.loop.run_once(0.02)
        assert self.bugs == []

    def results(self, n: int) -> list[Outcome]:
        self.run_until(lambda: len(self.outcomes) >= n)
        return [outcome for _, outcome in self.outcomes]

    def by_name(self, n: int) -> dict[str, Outcome]:
        self.results(n)
        return {os.fsdecode(os.path.basename(job.location.path)): outcome for job, outcome in self.outcomes}


@pytest.fixture(autouse=True)
def _idle_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (0.0, 0.0, 0.0))


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(ceiling: int = 2) -> Running:
        started.append(Running(ceiling, tmp_path / "indexes"))
        return started[-1]

    yield start
    for one in started:
        pids = one.pool.pids()
        one.pool.close()
        one.loop.close()
        assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gated(git: Git, gate: Path) -> Git:
    """git status in there runs a filter that says it has begun (its pid in GATE.pid) and waits for GATE."""
    wait = f"echo $$ >> {gate}.pid; while [ ! -e {gate} ]; do sleep 0.02; done; cat"
    git("config", "filter.gate.clean", wait)
    (git.path / ".git/info").mkdir(exist_ok=True)
    (git.path / ".git/info/attributes").write_text("* filter=gate\n")
    os.utime(git.path / "f", ns=(10**18, 10**18))
    return git


def pids_at(gate: Path) -> list[int]:
    try:
        return [int(line) for line in Path(f"{gate}.pid").read_text().split()]
    except FileNotFoundError:
        return []


def worker_at(gate: Path) -> int:
    """The one whose git was the last to come there: all that a worker starts is of its session."""
    return os.getsid(pids_at(gate)[-1])


def test_many_jobs_one_right_outcome_each(repository: Make, judge: Judge, running: Callable[..., Running]) -> None:
    one = running(2)
    gits = [repository({"f": b"%d" % n}, f"r{n}") for n in range(12)]
    for n, git in enumerate(gits):
        (git.path / f"new{n}").write_bytes(b"")
        one.submit(git)
    assert one.outcomes == [], "never from within submit"
    one.results(len(gits))
    one.run_until(lambda: one.pool.pending() == 0)
    by_path = {job.location.path: outcome for job, outcome in one.outcomes}
    assert len(one.outcomes) == len(by_path) == len(gits)
    for git in gits:
        outcome = by_path[RepoPath(os.fsencode(git.path))]
        assert isinstance(outcome, Analysed) and outcome.entries == judge(git.path)


def test_an_answer_larger_than_any_buffer(repository: Make, judge: Judge, running: Callable[..., Running]) -> None:
    one = running(1)
    git = repository({"f": b"1"})
    for n in range(1500):
        (git.path / f"{n:0240}").touch()
    one.submit(git)
    (outcome,) = one.results(1)
    assert isinstance(outcome, Analysed) and outcome.entries == judge(git.path)
    assert len(outcome.entries) > 300_000  # a Unix socket takes some 200 KB


def test_the_pool_grows_with_the_backlog_up_to_the_ceiling(
    repository: Make, running: Callable[..., Running], tmp_path: Path
) -> None:
    one = running(3)
    gate = tmp_path / "gate"
    gits = [gated(repository({"f": b"1"}, f"r{n}"), gate) for n in range(8)]
    assert one.pool.capacity() == 3 * PREFETCH
    sizes = []
    for git in gits:
        one.submit(git, trusted=True)
        sizes.append(len(one.pool.pids()))
    assert sizes == [1, 1, 2, 2, 3, 3, 3, 3]
    assert one.pool.capacity() == 0 and one.pool.pending() == 8
    gate.touch()
    one.results(8)


def test_a_busy_machine_halves_the_pool(
    repository: Make, running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (1000.0, 0.0, 0.0))
    one = running(4)
    for n in range(6):
        one.submit(repository({"f": b"1"}, f"r{n}"))
    assert len(one.pool.pids()) == 2
    one.results(6)


def test_a_ceiling_of_nothing_is_one_at_a_time(repository: Make, running: Callable[..., Running]) -> None:
    one = running(0)
    for n in range(5):
        one.submit(repository({"f": b"1"}, f"r{n}"))
    assert len(one.pool.pids()) == 1
    one.results(5)


def test_a_killed_worker_costs_one_retry_and_leaves_no_git_behind(
    repository: Make, judge: Judge, running: Callable[..., Running], tmp_path: Path, wait_until: WaitUntil
) -> None:
    one = running(1)
    gate = tmp_path / "gate"
    git = gated(repository({"f": b"1"}, "gated"), gate)
    one.submit(git, trusted=True)
    one.submit(repository({"f": b"1"}, "behind"))
    one.run_until(lambda: pids_at(gate))
    worker = worker_at(gate)
    assert worker in one.pool.pids()
    os.kill(worker, signal.SIGKILL)
    one.run_until(lambda: len(pids_at(gate)) == 2)  # the second attempt
    assert worker not in one.pool.pids()
    wait_until(lambda: not alive(pids_at(gate)[0]))
    gate.touch()
    found = one.by_name(2)
    retried = found["gated"]
    assert isinstance(retried, Analysed) and retried.entries == judge(git.path)
    assert isinstance(found["behind"], Analysed)


def test_a_job_that_kills_its_worker_twice_has_failed_and_the_pool_goes_on(
    repository: Make, running: Callable[..., Running], tmp_path: Path
) -> None:
    one = running(1)
    gate = tmp_path / "gate"
    one.submit(gated(repository({"f": b"1"}, "deadly"), gate), trusted=True)
    one.submit(repository({"f": b"1"}, "behind"))
    for attempt in (1, 2):
        one.run_until(lambda attempt=attempt: len(pids_at(gate)) == attempt)
        os.kill(worker_at(gate), signal.SIGKILL)
    found = one.by_name(2)
    assert found["deadly"] == Failed("the process that analysed it died, twice", "see: gitwatch doctor")
    assert isinstance(found["behind"], Analysed)


def test_a_worker_that_hangs_is_killed_at_the_deadline(
    repository: Make, running: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The loop's clock is set forward, so that no attempt is given up before it has come to where it hangs.
    passed_s = [0.0]
    monkeypatch.setattr(loop_module, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + passed_s[0]))
    one = running(1)
    gate = tmp_path / "gate"
    one.submit(gated(repository({"f": b"1"}, "hangs"), gate), trusted=True, timeout_s=600)
    for attempt in (1, 2):
        one.run_until(lambda attempt=attempt: len(pids_at(gate)) == attempt)
        os.kill(worker_at(gate), signal.SIGSTOP)
        passed_s[0] += 600 + pool_module._MARGIN_S
    (outcome,) = one.results(1)
    assert isinstance(outcome, Failed) and "did not end in time, twice" in outcome.reason
    one.run_until(lambda: not any(alive(pid) for pid in pids_at(gate)))


def test_a_hanging_git_fails_its_job_only(
    repository: Make, running: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin/git"
    program.parent.mkdir()
    real = subprocess.run(["sh", "-c", "command -v git"], capture_output=True, check=True).stdout.decode().strip()
    program.write_text(f'#!/bin/sh\ncase "$PWD $*" in *hangs*status*) sleep 600;; esac\nexec {real} "$@"\n')
    program.chmod(0o755)
    gits = [repository({"f": b"1"}, name) for name in ("hangs", "fine", "well")]
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(pool_module, "_MARGIN_S", 60.0)  # the worker has to start within it, too
    one = running(1)
    for git in gits:
        one.submit(git, timeout_s=1 if git.path.name == "hangs" else 30)
    found = one.by_name(3)
    hung = found["hangs"]
    assert isinstance(hung, Failed) and "did not end within" in hung.reason
    assert isinstance(found["fine"], Analysed) and isinstance(found["well"], Analysed)


def test_jobs_that_take_long_hold_up_no_others(
    repository: Make, running: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither those behind them at their workers, nor those for which there would be no worker."""
    monkeypatch.setattr(pool_module, "SLOW_S", 0.2)
    one = running(2)
    gate = tmp_path / "gate"
    slow = [gated(repository({"f": b"1"}, f"slow{n}"), gate) for n in range(3)]
    quick = [repository({"f": b"1"}, f"quick{n}") for n in range(6)]
    for git in slow:
        one.submit(git, trusted=True)
    for git in quick:
        one.submit(git)
    found = one.by_name(6)
    assert sorted(found) == [git.path.name for git in quick]
    pids = one.pool.pids()
    assert len(pids) <= 4 and one.pool.pending() == 3
    gate.touch()
    assert len(one.by_name(9)) == 9
    one.run_until(lambda: not any(worker.tasks for worker in one.pool._workers))
    assert len(one.outcomes) == 9, "what was given to another worker is told once"
    one.run_until(lambda: sum(Path(f"/proc/{pid}").exists() for pid in pids) <= 2)


def test_a_slow_worker_that_dies_takes_nothing_with_it(
    repository: Make, running: Callable[..., Running], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "SLOW_S", 0.2)
    one = running(1)
    gate = tmp_path / "gate"
    one.submit(gated(repository({"f": b"1"}, "slow"), gate), trusted=True)
    one.submit(repository({"f": b"1"}, "quick"))
    assert list(one.by_name(1)) == ["quick"]
    one.run_until(lambda: pids_at(gate))
    os.kill(worker_at(gate), signal.SIGKILL)
    one.run_until(lambda: len(pids_at(gate)) == 2)
    gate.touch()
    assert sorted(one.by_name(2)) == ["quick", "slow"]
    assert len(one.outcomes) == 2


def test_idle_workers_go(repository: Make, running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_S", 0.1)
    one = running(2)
    gits = [repository({"f": b"1"}, f"r{n}") for n in range(4)]
    for git in gits:
        one.submit(git)
    pids = one.pool.pids()
    one.results(4)
    one.run_until(lambda: one.pool.pids() == [] and not any(Path(f"/proc/{pid}").exists() for pid in pids))
    one.submit(gits[0])
    assert isinstance(one.results(5)[4], Analysed)


def test_a_worker_started_ahead_takes_the_first_job(repository: Make, running: Callable[..., Running]) -> None:
    one = running(2)
    ahead = WorkerProcess()
    one.pool.adopt(ahead)
    one.submit(repository({"f": b"1"}))
    assert one.pool.pids() == [ahead.process.pid]
    assert isinstance(one.results(1)[0], Analysed)


def test_a_worker_started_in_vain_goes(running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_IDLE_S", 0.1)
    one = running(2)
    ahead = WorkerProcess()
    one.pool.adopt(ahead)
    one.run_until(lambda: one.pool.pids() == [] and not Path(f"/proc/{ahead.process.pid}").exists())


def test_a_worker_that_cannot_be_killed_holds_a_place_and_bars_its_mount(
    repository: Make, running: Callable[..., Running], monkeypatch: pytest.MonkeyPatch
) -> None:
    # Uninterruptible sleep cannot be had here: a process that our signals do not reach stands in for it.
    monkeypatch.setattr(pool_module, "_MARGIN_S", 0.0)
    monkeypatch.setattr(pool_module, "_UNKILLABLE_S", 0.1)
    real_kill = pool_module._kill_session
    monkeypatch.setattr(pool_module, "_kill_session", lambda leader: None)
    one = running(1)
    git = repository({"f": b"1"}, "dead-mount")
    ahead = WorkerProcess()
    worker = ahead.process.pid
    os.kill(worker, signal.SIGSTOP)  # before it has anything to answer
    one.pool.adopt(ahead)
    one.submit(git, timeout_s=0.0)
    (outcome,) = one.results(1)
    dead = Failed("its file system does not answer", "see: gitwatch doctor")
    assert outcome == dead, "and no second worker was lost to it"
    monkeypatch.setattr(pool_module, "_MARGIN_S", 5.0)
    one.submit(git)
    one.submit(repository({"f": b"1"}, "other"))
    found = one.by_name(3)
    assert found["dead-mount"] == dead and isinstance(found["other"], Analysed)
    monkeypatch.setattr(pool_module, "_kill_session", real_kill)
    one.run_until(lambda: not alive(worker) and not one.pool._stuck)
    one.submit(git)
    assert isinstance(one.results(4)[3], Analysed)


def test_workers_and_their_git_die_with_the_daemon(repository: Make, tmp_path: Path, wait_until: WaitUntil) -> None:
    gate = tmp_path / "gate"
    git = gated(repository({"f": b"1"}), gate)
    location = read_location(os.fsencode(git.path))
    assert location is not None
    allowed = _allowed(location)
    script = f"""
import os
from gitwatchd.analysis.pool import Pool
from gitwatchd.git.layout import read_location
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Job
loop = Loop(print)
pool = Pool(loop, 1, print)
pool.submit(Job(read_location({os.fsencode(git.path)!r}), {os.fsencode(tmp_path)!r}, 600, {allowed!r}))
print(*pool.pids(), flush=True)
loop.run()
"""
    daemon = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    worker = int(daemon.stdout.readline())
    wait_until(lambda: pids_at(gate))
    daemon.kill()
    daemon.wait()
    daemon.stdout.close()
    wait_until(lambda: not alive(worker) and not any(alive(pid) for pid in pids_at(gate)))


@pytest.mark.parametrize(("cores", "ceiling"), [(1, 1), (2, 2), (3, 2), (8, 7), (9, 8), (64, 8)])
def test_ceiling_is_gitoverits_rule(cores: int, ceiling: int) -> None:
    assert pool_ceiling(cores) == ceiling


NESTED = Location(RepoPath(b"/r/n"), b"/r/n/.git", b"/r/n/.git", bare=False)
FACTS = Facts(
    oid=b"0" * 40,
    branch=b"caf\xe9",
    upstream=Tracking(b"o/m", b"o", None, 1, None, gone=False),
    counts=Counts(staged=2),
)


@pytest.mark.parametrize(
    "outcome",
    [
        Analysed(FACTS, b"? \xff\0"),
        Analysed(Facts(), None, b"fatal: \xff"),
        Analysed(Facts(), None, by_git=False, nested=(NESTED,), took_s=1.25),
        Unsafe("why", "do", FACTS),
        Failed("why"),
        Gone(),
    ],
)
def test_frames_round_trip_split_at_every_byte(outcome: Outcome) -> None:
    job = Job(Location(RepoPath(b"/r\xff"), b"/r\xff/.git", b"/c", bare=False), b"/cache", 1.5, trusted=b"digest")
    stream = encode_frame([1, work_to_wire(job)]) + encode_frame([2, outcome_to_wire(outcome), None])
    for cut in range(len(stream)):
        frames = Frames()
        first, second = [*frames.feed(stream[:cut]), *frames.feed(stream[cut:])]
        assert (first[0], work_from_wire(first[1])) == (1, job)
        assert (second[0], outcome_from_wire(second[1]), second[2]) == (2, outcome, None)
        assert repr(outcome_from_wire(second[1])) == repr(outcome)  # fields that do not count for equality, too
