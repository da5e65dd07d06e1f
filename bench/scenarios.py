"""The budgets of DESIGN.md section 6, each as one scenario that returns its rows.

Each starts a daemon of its own, on a state directory of its own. The judge's command is what ours stands beside.
"""

from __future__ import annotations

import os
import pty
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack

from bench.material import Material, big_names
from bench.measure import Row, Series, cpu_s, descendants, interleaved, memory_mb, run, show_s, timed
from gitwatchd.wire.address import places
from tests.zoo.commands import JUDGE, Git
from tests.zoo.daemon import Client, Daemon
from tests.zoo.nursery import append
from tests.zoo.waiting import wait_until

GITWATCH = Path(sys.executable).with_name("gitwatch")


@dataclass(frozen=True, slots=True)
class Bench:
    material: Material
    rounds: int
    """How often the slow ones (whole processes) are repeated."""
    idle_s: float


Scenario = Callable[[Bench], list[Row]]
SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    SCENARIOS[function.__name__.replace("_", "-")] = function
    return function


class HotLine:
    """A persistent connection on which one prepared request is asked again and again."""

    def __init__(self, daemon: Daemon, method: str, *params: Any) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(daemon.places.socket)
        self._frame = msgpack.packb([0, 1, method, list(params)])

    def ask(self) -> Any:
        self._socket.sendall(self._frame)
        unpacker = msgpack.Unpacker(strict_map_key=False)
        while True:
            unpacker.feed(self._socket.recv(1 << 18))
            for _, _, error, result in unpacker:
                if error is not None:
                    raise SystemExit(f"the daemon refuses: {error}")
                return result

    def report(self) -> dict[str, Any]:
        answer = self.ask()
        if len(answer["repos"]) != 1 or answer["repos"][0]["state"] != "fresh":
            raise SystemExit(f"expected one fresh report: {answer}")
        report: dict[str, Any] = answer["repos"][0]
        return report

    def close(self) -> None:
        self._socket.close()


class Started:
    """A daemon on a temporary state directory, and one client."""

    def __init__(self) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="gw-bench-"))
        self.daemon = Daemon(self._directory / "state")
        self.client: Client = self.daemon.connect()

    def restart(self) -> float:
        """Stop, start again; seconds from exec to the first whole answer from the cache."""
        self.client.close()
        self.daemon.stop()
        started = time.perf_counter()
        process = Daemon(self._directory / "state")
        self.daemon, self.client = process, process.connect()
        self.client.call("status", [], {"wait_s": 0})
        return time.perf_counter() - started

    def line(self, path: Path) -> HotLine:
        """A hot line that asks for the status of the one repository at `path`, after a first answer."""
        line = HotLine(self.daemon, "status", [str(path)], {})
        line.report()
        return line

    def __enter__(self) -> Started:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.daemon.stop()
        shutil.rmtree(self._directory, ignore_errors=True)


def plain_status(path: Path) -> float:
    return timed(lambda: run(JUDGE, cwd=path))


def fleet_by_xargs(fleet: Path) -> float:
    """What one would type instead: find, and git in every worktree, as many at once as there are cores."""
    status = " ".join(JUDGE[1:-1])
    command = (
        f"find {fleet} -name .git -prune -printf '%h\\0' | "
        f"xargs -0 -P {os.cpu_count()} -I{{}} git -C {{}} {status} >/dev/null"
    )
    return timed(lambda: run(["sh", "-c", command]))


@scenario
def cold_scan(bench: Bench) -> list[Row]:
    """The first `gitwatch status DIR` ever: it starts the daemon, which discovers and analyses."""
    first_rows = Series()

    def ours() -> float:
        directory = Path(tempfile.mkdtemp(prefix="gw-bench-"))
        try:
            first, whole = _first_scan(directory / "state", bench.material.fleet)
            first_rows.seconds.append(first)
            return whole
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    measured = interleaved(bench.rounds, ours=ours, xargs=lambda: fleet_by_xargs(bench.material.fleet))
    ratio = measured["ours"].median / measured["xargs"].median
    return [
        Row(
            "cold scan", "first `gitwatch status`, 500 repositories", show_s(measured["ours"].median),
            f"find | xargs git status: {show_s(measured['xargs'].median)}", ratio, "<= 1.0x", ratio <= 1.0,
        ),
        Row(
            "cold scan, first row", "until the first byte on a terminal", show_s(first_rows.median),
            budget="<= 500 ms", kept=first_rows.median <= 0.5,
        ),
    ]  # fmt: skip


def _first_scan(state_dir: Path, fleet: Path) -> tuple[float, float]:
    """Seconds to the first byte on the terminal, and to the client's end. The daemon is shut down afterwards."""
    terminal, their_end = pty.openpty()
    started = time.perf_counter()
    client = subprocess.Popen(
        [GITWATCH, "--state-dir", state_dir, "status", fleet],
        stdin=subprocess.DEVNULL,
        stdout=their_end,
        stderr=subprocess.DEVNULL,
    )
    os.close(their_end)
    first = 0.0
    with suppress(OSError):  # EIO: the other end is closed, which is how a terminal ends
        while os.read(terminal, 1 << 16):
            first = first or time.perf_counter() - started
    exit_code = client.wait()
    whole = time.perf_counter() - started
    os.close(terminal)
    if exit_code:
        raise SystemExit(f"gitwatch status ended with {exit_code}")
    shut_down(state_dir)
    return first, whole


def shut_down(state_dir: Path) -> None:
    """End the daemon that a client has started, and wait until it is gone."""
    socket_path = places(os.environ, os.getuid(), os.fsencode(state_dir)).socket
    with Client(socket_path) as client:
        pid = client.hello["pid"]
        client.call("shutdown")
    wait_until(lambda: not _is_alive(pid), 20, "the daemon's end")


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


@scenario
def repeat_scan(bench: Bench) -> list[Row]:
    with Started() as ours:
        command = [GITWATCH, "--state-dir", ours.daemon.state_dir, "status", bench.material.fleet]
        run(command)
        measured = interleaved(
            bench.rounds,
            ours=lambda: timed(lambda: run(command)),
            xargs=lambda: fleet_by_xargs(bench.material.fleet),
            python=lambda: timed(lambda: run([sys.executable, "-I", "-S", "-c", "pass"])),
        )
    median = measured["ours"].median
    return [
        Row(
            "repeat scan", "`gitwatch status`, whole process, 500 repositories", show_s(median),
            f"find | xargs git status: {show_s(measured['xargs'].median)}", median / measured["xargs"].median,
            "<= 100 ms", median <= 0.1,
        ),
        Row("", "(python -I -S -c pass)", show_s(measured["python"].median)),
    ]  # fmt: skip


@scenario
def hot_query(bench: Bench) -> list[Row]:
    with Started() as ours:
        small, big = ours.line(bench.material.small), ours.line(bench.material.big)
        measured = interleaved(4000, small=lambda: timed(small.ask), big=lambda: timed(big.ask))
        small.report()
        big.report()
        plain = interleaved(bench.rounds, git=lambda: plain_status(bench.material.big))["git"]
    medians = {name: series.median for name, series in measured.items()}
    return [
        Row(
            "hot query, 100k files", "`status`, persistent connection, clean",
            f"{show_s(medians['big'])} (p99 {show_s(measured['big'].percentile(99))})",
            f"git status: {show_s(plain.median)}", medians["big"] / plain.median, "<= 150 us", medians["big"] <= 150e-6,
        ),
        Row(
            "hot query, big to small", "the same beside 100 files", show_s(medians["big"]),
            f"100 files: {show_s(medians['small'])} (p99 {show_s(measured['small'].percentile(99))})",
            medians["big"] / medians["small"], "<= 1.3x", medians["big"] <= 1.3 * medians["small"],
        ),
    ]  # fmt: skip


@scenario
def restart(bench: Bench) -> list[Row]:
    with Started() as ours:
        ours.client.reports(bench.material.fleet)
        series = Series([ours.restart() for _ in range(bench.rounds)])
    return [
        Row(
            "restart", "exec of the daemon to its first reply, 500 in the cache", show_s(series.median),
            budget="<= 200 ms", kept=series.median <= 0.2,
        ),
    ]  # fmt: skip


@scenario
def idle(bench: Bench) -> list[Row]:
    with Started() as ours:
        ours.client.reports(bench.material.fleet)
        # Write-behind, the workers' end and the first audits are work, not idleness.
        wait_until(lambda: _quiet(ours.daemon.pid), 120, "the daemon to become quiet")
        pid = ours.daemon.pid
        before, rss_before = cpu_s(pid), memory_mb(pid)[0]
        time.sleep(bench.idle_s)
        percent = (cpu_s(pid) - before) / bench.idle_s * 100
        growth = memory_mb(pid)[0] - rss_before
    return [
        Row(
            "idle", f"500 watched, {bench.idle_s:.0f} s", f"{percent:.2f} % CPU, {growth:+.1f} MB",
            budget="<= 0.1 %, no growth", kept=percent <= 0.1 and growth < 1,
        ),
    ]  # fmt: skip


def _quiet(pid: int) -> bool:
    """No workers left, and not a tick of CPU for a second."""
    if descendants(pid):
        return False
    before = cpu_s(pid)
    time.sleep(1)
    return cpu_s(pid) == before


@scenario
def memory(bench: Bench) -> list[Row]:
    with Started() as ours:
        ours.client.reports(bench.material.fleet)
        wait_until(lambda: _quiet(ours.daemon.pid), 120, "the daemon to become quiet")
        fleet_rss, fleet_pss = memory_mb(ours.daemon.pid)
        ours.client.reports(bench.material.big)
        ours.client.entries(bench.material.big)
        wait_until(lambda: _quiet(ours.daemon.pid), 120, "the daemon to become quiet")
        big_rss, big_pss = memory_mb(ours.daemon.pid)
    return [
        Row(
            "memory", "daemon, 500 small repositories", f"{fleet_rss:.0f} MB RSS, {fleet_pss:.0f} PSS",
            budget="<= 80 MB", kept=fleet_rss <= 80,
        ),
        Row(
            "memory, plus 100k", "and one of 100k files",
            f"{big_rss - fleet_rss:+.0f} MB RSS, {big_pss - fleet_pss:+.0f} PSS",
            budget="<= +30 MB", kept=big_rss - fleet_rss <= 30,
        ),
    ]  # fmt: skip


@contextmanager
def borrowed(big: Path) -> Iterator[Git]:
    """The big repository on a branch of its own; afterwards as it was built: on `main`, clean, its index not racy."""
    git = Git(big)
    git("checkout", "-q", "-B", "bench", "main")
    try:
        yield git
    finally:
        git("checkout", "-q", "-f", "main")
        git("branch", "-q", "-D", "bench")
        time.sleep(1.1)
        git("update-index", "-q", "--really-refresh")
        os.utime(git.path / ".git/index")


EDITS = 2000
EDITING_S = 60.0
"""An answer that costs a whole `git status` would take a quarter of an hour for all of them: enough is known before."""


@scenario
def edit_to_answer(bench: Bench) -> list[Row]:
    """Appends and their undoing in turn; an answer that does not show the last of them is stale."""
    series, stale = Series(), 0
    with borrowed(bench.material.big) as git, Started() as ours:
        line = ours.line(git.path)
        file = git.path / big_names()[50_000]
        content = file.read_bytes()
        until = time.monotonic() + EDITING_S
        while len(series.seconds) < EDITS and time.monotonic() < until:
            dirty = len(series.seconds) % 2 == 0
            if dirty:
                append(file, b"more\n")
            else:
                file.write_bytes(content)
            started = time.perf_counter()
            report = line.report()
            series.seconds.append(time.perf_counter() - started)
            stale += report["dirty"] is not dirty
        plain = interleaved(bench.rounds, git=lambda: plain_status(git.path))["git"]
    return [
        Row(
            "edit to answer", f"append or undo, then `status`; {stale} of {len(series.seconds)} stale",
            f"{show_s(series.median)} (p99 {show_s(series.percentile(99))})", f"git status: {show_s(plain.median)}",
            series.median / plain.median, "<= 1 ms, 0 stale", series.median <= 1e-3 and not stale,
        ),
    ]  # fmt: skip


def _after_git(bench: Bench, name: str, work: str, budget: float, change: Callable[[Git, int], None]) -> list[Row]:
    """One `change` by git, then our answer or git's, in turn; the change's own time does not count."""
    number = 0
    with borrowed(bench.material.big) as git, Started() as ours:
        line = ours.line(git.path)

        def after_change(ask: Callable[[], object]) -> float:
            nonlocal number
            number += 1
            change(git, number)
            seconds = timed(ask)
            line.report()  # both sides start the next change from a daemon that is up to date
            return seconds

        measured = interleaved(
            max(bench.rounds, 10),
            ours=lambda: after_change(line.report),
            git=lambda: after_change(lambda: run(JUDGE, cwd=git.path)),
        )
        if ours.client.entries(git.path).stdout != run(JUDGE, cwd=git.path):
            raise SystemExit(f"{name}: the last answer differs from git's")
    ratio = measured["ours"].median / measured["git"].median
    return [
        Row(
            name, work, show_s(measured["ours"].median), f"git status: {show_s(measured['git'].median)}", ratio,
            f"<= {budget}x", ratio <= budget,
        ),
    ]  # fmt: skip


def _stage_one(git: Git, number: int) -> None:
    name = big_names()[1000 + number]
    append(git.path / name, b"staged\n")
    git("add", name)


def _commit_one(git: Git, number: int) -> None:
    name = big_names()[2000 + number]
    append(git.path / name, b"committed\n")
    git("commit", "-qm", "one", "--only", "--", name)


def _switch(git: Git, number: int) -> None:
    git("checkout", "-q", "other" if number % 2 else "bench")


@scenario
def add(bench: Bench) -> list[Row]:
    return _after_git(bench, "add", "right after `git add` of one file, 100k files", 0.1, _stage_one)


@scenario
def commit(bench: Bench) -> list[Row]:
    return _after_git(bench, "commit", "right after `git commit` of one file, 100k files", 0.1, _commit_one)


@scenario
def switch(bench: Bench) -> list[Row]:
    return _after_git(bench, "switch", "right after a checkout that differs in 1,000 files", 0.6, _switch)
