"""Scenarios of many repositories: scans, restart, idleness, memory."""

from __future__ import annotations

import os
import pty
import resource
import shutil
import subprocess
import sys
import tempfile
import termios
import time
from contextlib import suppress
from pathlib import Path

from bench.measure import Row, Series, cpu_s, descendants, interleaved, memory_mb, run, show_s, timed
from bench.subject import Bench, Started, scenario
from gitwatchd.wire.address import places
from tests.zoo.commands import JUDGE
from tests.zoo.daemon import Client
from tests.zoo.waiting import wait_until

GITWATCH = Path(sys.executable).with_name("gitwatch")


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
    first_rows, our_cpu, their_cpu = Series(), Series(), Series()

    def ours() -> float:
        directory = Path(tempfile.mkdtemp(prefix="gw-bench-"))
        try:
            before = children_cpu_s()
            first, whole, daemon_cpu_s = _first_scan(directory / "state", bench.material.fleet)
            first_rows.seconds.append(first)
            our_cpu.seconds.append(children_cpu_s() - before + daemon_cpu_s)
            return whole
        finally:
            shutil.rmtree(directory, ignore_errors=True)

    def xargs() -> float:
        before = children_cpu_s()
        seconds = fleet_by_xargs(bench.material.fleet)
        their_cpu.seconds.append(children_cpu_s() - before)
        return seconds

    measured = interleaved(bench.rounds, ours=ours, xargs=xargs)
    ratio = measured["ours"].median / measured["xargs"].median
    return [
        Row(
            "cold scan", "first `gitwatch status`, 500 repositories", show_s(measured["ours"].median),
            f"find | xargs git status: {show_s(measured['xargs'].median)}", ratio, "<= 1.0x", ratio <= 1.0,
        ),
        Row(
            "cold scan, CPU", "client, daemon and its workers until the answer", show_s(our_cpu.median),
            f"find | xargs git status: {show_s(their_cpu.median)}", our_cpu.median / their_cpu.median,
        ),
        Row(
            "cold scan, first row", "until the first row on a terminal", show_s(first_rows.median),
            budget="<= 500 ms", kept=first_rows.median <= 0.5,
        ),
    ]  # fmt: skip


def children_cpu_s() -> float:
    """Of all processes that we started and that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _first_scan(state_dir: Path, fleet: Path) -> tuple[float, float, float]:
    """Seconds to the first row on the terminal, to the client's end, and the daemon's CPU. It is shut down then."""
    terminal, their_end = pty.openpty()
    termios.tcsetwinsize(their_end, (24, 100))
    started = time.perf_counter()
    client = subprocess.Popen(
        [GITWATCH, "--state-dir", state_dir, "status", fleet],
        stdin=subprocess.DEVNULL,
        stdout=their_end,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "TERM": "xterm"},
    )
    os.close(their_end)
    first = 0.0
    with suppress(OSError):  # EIO: the other end is closed, which is how a terminal ends
        while shown := os.read(terminal, 1 << 16):
            if not first and b"repository" in shown and b"main" in shown:  # not only the line of progress
                first = time.perf_counter() - started
    exit_code = client.wait()
    whole = time.perf_counter() - started
    os.close(terminal)
    if exit_code:
        raise SystemExit(f"gitwatch status ended with {exit_code}")
    return first, whole, shut_down(state_dir)


def shut_down(state_dir: Path) -> float:
    """End the daemon that a client has started, and wait until it is gone. The CPU seconds it had used before."""
    socket_path = places(os.environ, os.getuid(), os.fsencode(state_dir)).socket
    with Client(socket_path) as client:
        pid = client.hello["pid"]
        used_s = cpu_s(pid)
        client.call("shutdown")
    wait_until(lambda: not _is_alive(pid), 20, "the daemon's end")
    return used_s


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


QUESTION = ("--where", 'branch.rx("^(ma|fe)") and untracked >= 0', "--sort", "mtime", "--json")


@scenario
def repeat_scan(bench: Bench) -> list[Row]:
    with Started() as ours:
        command: list[str | os.PathLike[str]] = [
            GITWATCH, "--state-dir", ours.daemon.state_dir, "status", bench.material.fleet,
        ]  # fmt: skip
        run(command)
        measured = interleaved(
            bench.rounds,
            ours=lambda: timed(lambda: run(command)),
            question=lambda: timed(lambda: run([*command, *QUESTION])),
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
        Row(
            "question", "the same with --where, --sort and --json", show_s(measured["question"].median),
            f"find | xargs git status: {show_s(measured['xargs'].median)}",
            measured["question"].median / measured["xargs"].median, "<= 100 ms", measured["question"].median <= 0.1,
        ),
        Row("", "(python -I -S -c pass)", show_s(measured["python"].median)),
    ]  # fmt: skip


@scenario
def restart(bench: Bench) -> list[Row]:
    with Started() as ours:
        ours.client.reports(bench.material.fleet)
        measured = interleaved(
            bench.rounds, ours=ours.restart, python=lambda: timed(lambda: run([sys.executable, "-c", "pass"]))
        )
    median, python = measured["ours"].median, measured["python"].median
    return [
        Row(
            "restart", "exec of the daemon to its first reply, 500 in the cache", show_s(median),
            f"python -c pass: {show_s(python)}", median / python, "<= 200 ms", median <= 0.2,
        ),
    ]  # fmt: skip


@scenario
def idle(bench: Bench) -> list[Row]:
    with Started() as ours:
        ours.client.reports(bench.material.fleet)
        # Write-behind, the workers' end and the first audits are work, not idleness.
        wait_until(lambda: _quiet(ours.daemon.pid), 120, "the daemon to become quiet")
        pid = ours.daemon.pid
        before, (rss_before, pss_before) = cpu_s(pid), memory_mb(pid)
        audits_before = ours.client.call("doctor")["audits"]["done"]
        time.sleep(bench.idle_s)
        percent = (cpu_s(pid) - before) / bench.idle_s * 100
        rss, pss = memory_mb(pid)
        audits = ours.client.call("doctor")["audits"]["done"] - audits_before
    return [
        Row(
            "idle", f"500 watched, {bench.idle_s:.0f} s, {audits} audits",
            f"{percent:.2f} % CPU, {rss - rss_before:+.1f} MB RSS, {pss - pss_before:+.1f} PSS",
            budget="<= 0.1 %, no growth", kept=percent <= 0.1 and rss - rss_before < 1,
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
