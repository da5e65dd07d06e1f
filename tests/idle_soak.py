"""Does the daemon grow, and what does it cost? Hundreds of repositories, partly idle, partly with light edits.

`python -m tests.idle_soak --minutes N [--repositories 500] [--edits-per-minute 60] [--seed S]`. Prints samples and, of
the second half (the first is warming up), memory in MB, its slope in MB an hour, CPU in % of a core, wake-ups a
second; exit 1 when an answer differs from git's. A quarter of the edits is asked about at once and judged, all of them
at the end.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.zoo.commands import Git, judge, new_repository
from tests.zoo.daemon import Client, Daemon
from tests.zoo.isolation import isolated_environment, write_home

EDITED_SHARE = 0.1
"""Of the repositories; the others lie idle."""
SAMPLES = 60
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Sample:
    at: float
    """Seconds since the start."""
    rss_mb: float
    cpu_s: float
    """Of the daemon and its ended children."""
    wakeups: int
    """Voluntary context switches of the serving thread."""


def read_sample(pid: int, at: float) -> Sample:
    fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    cpu_s = sum(map(int, fields[11:15])) / _TICKS
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/task/{pid}/status").read_text().splitlines())
    rss_kb = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1024
    return Sample(at, rss_kb / 1024, cpu_s, int(status["voluntary_ctxt_switches"]))


def slope(samples: list[Sample]) -> float:
    """MB an hour, by least squares."""
    count = len(samples)
    mean_at, mean_mb = sum(s.at for s in samples) / count, sum(s.rss_mb for s in samples) / count
    spread = sum((s.at - mean_at) ** 2 for s in samples)
    return 3600 * sum((s.at - mean_at) * (s.rss_mb - mean_mb) for s in samples) / spread if spread else 0.0


def build(directory: Path, count: int) -> list[Path]:
    template = new_repository(directory / "template", {f"d{n % 7}/f{n}": b"%d\n" % n for n in range(60)})
    paths = [directory / f"root/g{number % 20}/r{number}" for number in range(count)]
    for path in paths:
        shutil.copytree(template.path, path, symlinks=True)
        Git(path)("update-index", "-q", "--refresh")
    return paths


def edit(random: Random, path: Path) -> None:
    git = Git(path)
    kind = random.randrange(5)
    if kind == 0:
        (path / f"d{random.randrange(7)}/new{random.randrange(4)}").write_bytes(b"%d\n" % random.randrange(1000))
    elif kind == 1:
        git("commit", "-qam", "edit", "--allow-empty")
    elif kind == 2:
        git("add", "-A")
    else:
        with (path / f"d{random.randrange(7)}/f").open("ab") as file:
            file.write(b"%d\n" % random.randrange(1000))


def compare(client: Client, path: Path) -> bool:
    answer = client.entries(path)
    if answer.state == "fresh" and answer.stdout == judge(path):
        return True
    print(f"WRONG {path}: {answer.state} {answer.reason}\n{answer.stdout!r}\n{judge(path)!r}", flush=True)
    return False


def soak(directory: Path, minutes: float, count: int, edits_per_minute: float, random: Random) -> bool:
    paths = build(directory, count)
    edited = paths[:: max(1, int(1 / EDITED_SHARE))]
    samples: list[Sample] = []
    wrong = asked = edits = 0
    with Daemon(directory / "state", deadline_s=60.0) as daemon, daemon.connect() as client:
        client.reports(directory / "root")
        began = time.monotonic()
        next_edit, next_sample = 0.0, 0.0
        while (now := time.monotonic() - began) < minutes * 60:
            if now >= next_sample:
                samples.append(read_sample(daemon.pid, now))
                last = samples[-1]
                print(f"{last.at:7.0f} s  {last.rss_mb:6.1f} MB  {last.cpu_s:7.2f} s CPU  {last.wakeups} wake-ups")
                sys.stdout.flush()
                next_sample += minutes * 60 / SAMPLES
            if edits_per_minute and now >= next_edit:
                path = random.choice(edited)
                edit(random, path)
                edits += 1
                if random.random() < 0.25:
                    asked += 1
                    wrong += not compare(client, path)
                next_edit += 60 / edits_per_minute
            time.sleep(min(1.0, max(0.0, min(next_sample, next_edit) - (time.monotonic() - began))))
        samples.append(read_sample(daemon.pid, time.monotonic() - began))
        for path in paths:
            asked += 1
            wrong += not compare(client, path)
        doctor = client.call("doctor")
    half = samples[len(samples) // 2 :]
    seconds = half[-1].at - half[0].at
    print(
        f"{minutes:g} minutes, {count} repositories, {edits} edits, {asked} answers compared, {wrong} wrong\n"
        f"memory {half[-1].rss_mb:.1f} MB (begin {samples[0].rss_mb:.1f}), slope {slope(half):+.2f} MB/h\n"
        f"CPU {100 * (half[-1].cpu_s - half[0].cpu_s) / seconds:.3f} % of a core\n"
        f"wake-ups of the serving thread {(half[-1].wakeups - half[0].wakeups) / seconds:.2f} a second\n"
        f"audits {doctor['audits']}, answers {doctor['answers']}"
    )
    return not wrong and not doctor["audits"]["wrong"]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.idle_soak")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--repositories", type=int, default=500)
    parser.add_argument("--edits-per-minute", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gw-idle-") as name:
        directory = Path(name)
        os.environ.update(isolated_environment(os.environ, directory / "home"))
        write_home(directory / "home")
        random = Random(options.seed)
        right = soak(directory, options.minutes, options.repositories, options.edits_per_minute, random)
    sys.exit(0 if right else 1)


if __name__ == "__main__":
    main()
