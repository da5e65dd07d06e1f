"""What every scenario has: the registry, a daemon on a state directory of its own, hot connections, and the rivals.

The judge's command is what ours stands beside; beside that, git with its untracked cache.
"""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from bench.material import Material
from bench.measure import Row, run, timed
from tests.zoo.commands import JUDGE, Git
from tests.zoo.daemon import Client, Daemon

WITH_UNTRACKED_CACHE = ("git", "-c", "core.untrackedCache=true", *JUDGE[1:])


@dataclass(frozen=True, slots=True)
class Bench:
    material: Material
    rounds: int
    """How often the slow ones (whole processes) are repeated."""
    idle_s: float
    huge: bool
    notes: list[str] = field(default_factory=list)
    """Lines to be printed below the table."""


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

    def levels(self) -> dict[str, int]:
        """Answers so far, by the level that made them."""
        levels: dict[str, int] = self.client.call("doctor")["answers"]
        return levels

    def note(self, bench: Bench, name: str) -> None:
        """How the daemon's answers were made, and why git was asked, below the table."""
        facts = self.client.call("doctor")
        because = ", ".join(f"{reason}: {count}" for reason, count in facts["git_asked_because"].items()) or "never"
        answers = " ".join(f"{level} {count}" for level, count in facts["answers"].items())
        bench.notes.append(f"{name}: answers {answers}; git asked because: {because}")

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
