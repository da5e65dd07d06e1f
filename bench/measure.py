"""Clocks and tables. What is compared comes from one interleaved series: both sides meet the same noise."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

COLUMNS = ("name", "work", "ours", "beside", "ratio", "budget", "kept")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table. `kept` is None where there is no budget."""

    name: str
    work: str
    ours: str
    beside: str = ""
    ratio: float | None = None
    budget: str = ""
    kept: bool | None = None

    def cells(self) -> tuple[str, ...]:
        kept = {None: "", True: "yes", False: "NO"}[self.kept]
        ratio = "" if self.ratio is None else show_ratio(self.ratio)
        return (self.name, self.work, self.ours, self.beside, ratio, self.budget, kept)


@dataclass(slots=True)
class Series:
    """Durations in seconds of one thing measured again and again."""

    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def percentile(self, percent: float) -> float:
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def timed(action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def interleaved(rounds: int, **measures: Callable[[], float]) -> dict[str, Series]:
    """Call the measures in turn, `rounds` times; each returns the seconds that count (not its own preparation)."""
    series = {name: Series() for name in measures}
    for number in range(rounds):
        order = list(measures.items())
        for name, measure in order if number % 2 == 0 else reversed(order):
            series[name].seconds.append(measure())
    return series


def run(
    command: Sequence[str | os.PathLike[str]], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> bytes:
    """Output of a whole process; its failure ends the benchmark."""
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}: {done.stderr.decode(errors='replace')}")
    return done.stdout


def show_s(seconds: float) -> str:
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    milliseconds = seconds * 1e3
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:,.0f} ms"


def show_ratio(ratio: float) -> str:
    return f"{ratio:.2f}x" if ratio >= 0.01 else f"1/{1 / ratio:,.0f}"


def memory_mb(pid: int) -> tuple[float, float]:
    """RSS and PSS of a process and its descendants, in MB (10^6)."""
    rss = pss = 0
    for each in (pid, *descendants(pid)):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        for line in rollup.splitlines():
            word, _, value = line.partition(":")
            if word == "Rss":
                rss += int(value.split()[0])
            elif word == "Pss":
                pss += int(value.split()[0])
    return rss * 1024 / 1e6, pss * 1024 / 1e6


def cpu_s(pid: int) -> float:
    """CPU seconds of a process, its descendants and the children it has waited for."""
    ticks = 0
    for each in (pid, *descendants(pid)):
        try:
            fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += sum(int(number) for number in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def descendants(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # the thread has ended since it was listed
            for child in task.read_text().split():
                found += [int(child), *descendants(int(child))]
    return found


def machine() -> str:
    versions: Mapping[str, str] = {
        "Python": platform.python_version(),
        "git": run(["git", "version"]).decode().split()[2],
        "kernel": platform.release(),
        "cores": str(os.cpu_count()),
        "load": f"{os.getloadavg()[0]:.1f}",
    }
    return ", ".join(f"{name} {value}" for name, value in versions.items())


def render(rows: Sequence[Row], markdown: bool) -> str:
    table = [COLUMNS, *(row.cells() for row in rows)]
    widths = [max(len(line[column]) for line in table) for column in range(len(COLUMNS))]
    lines = [[cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in table]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in lines)
    lines.insert(1, ["-" * width for width in widths])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
