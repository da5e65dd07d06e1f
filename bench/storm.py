"""Checkouts of 20,000 files in a loop in one repository, while 50 clients ask for others."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack

from bench.measure import Row, Series, show_s
from bench.subject import Bench, Started, borrowed, scenario
from tests.zoo.commands import Git, judge
from tests.zoo.daemon import Client
from tests.zoo.nursery import append

CLIENTS = 50
THINKING_S = 0.05
"""Between an answer and the same client's next question: a thousand questions a second in all."""
PHASE_S = 6.0
STORM_S = 30.0


@dataclass(slots=True)
class Asked:
    series: Series = field(default_factory=Series)
    not_fresh: int = 0

    def row(self, name: str, work: str) -> Row:
        return Row(
            name, f"{work}; {len(self.series.seconds)} answers",
            f"p50 {show_s(self.series.median)}, p99 {show_s(self.series.percentile(99))}",
        )  # fmt: skip


@scenario
def storm(bench: Bench) -> list[Row]:
    """What the checkouts cost everybody on this machine shows where the daemon does not watch them."""
    groups = sorted(bench.material.fleet.glob("group*/repository*"))
    asked, edited = groups[:CLIENTS], groups[CLIENTS : CLIENTS + 10]
    with Started() as ours, borrowed(bench.material.storm) as stormy:
        ours.client.reports(bench.material.fleet)
        clients = Clients(ours, asked)
        quiet = clients.ask_for(PHASE_S)
        with checkouts(stormy):
            unwatched = clients.ask_for(PHASE_S)
        ours.client.reports(stormy.path)
        comparison = Comparison(ours, edited)
        with checkouts(stormy) as done, comparison.running():
            stormed = clients.ask_for(STORM_S)
        clients.close()
        last_is_right = ours.client.entries(stormy.path).stdout == judge(stormy.path)
        ours.note(bench, "storm")
    wrong = comparison.wrong + (not last_is_right)
    share = stormed.not_fresh / len(stormed.series.seconds)
    p99 = stormed.series.percentile(99)
    return [
        Row(
            "storm", f"{len(done)} checkouts of 20k files, {CLIENTS} clients, {len(stormed.series.seconds)} answers",
            f"p50 {show_s(stormed.series.median)}, p99 {show_s(p99)}",
            f"checkouts not watched: p99 {show_s(unwatched.series.percentile(99))}",
            p99 / unwatched.series.percentile(99), "p99 <= 50 ms", p99 <= 0.05,
        ),
        Row(
            "storm, truth", f"{comparison.compared} answers after an edit elsewhere, compared with git",
            f"{wrong} wrong, {share:.2%} not fresh", budget="0 wrong, <= 1 %", kept=not wrong and share <= 0.01,
        ),
        unwatched.row("", "(checkouts not watched)"),
        quiet.row("", "(no checkouts)"),
    ]  # fmt: skip


class Clients:
    """Persistent connections served by one thread; each asks for a repository of its own, then thinks."""

    def __init__(self, ours: Started, paths: list[Path]) -> None:
        self._selector = selectors.DefaultSelector()
        self._lines: list[tuple[socket.socket, bytes]] = []
        for path in paths:
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(ours.daemon.places.socket)
            self._lines.append((sock, msgpack.packb([0, 1, "status", [[str(path)], {}]])))

    def ask_for(self, seconds: float) -> Asked:
        asked = Asked()
        now = time.perf_counter()
        end = now + seconds
        # Spread over the first period, as independent people would be.
        due = [(now + THINKING_S * n / len(self._lines), n) for n in range(len(self._lines))]
        began: dict[int, float] = {}
        unpackers: dict[int, Any] = {}
        while due or began:
            now = time.perf_counter()
            while due and due[0][0] <= now:
                number = due.pop(0)[1]
                if now >= end:
                    continue
                sock, frame = self._lines[number]
                began[number], unpackers[number] = time.perf_counter(), msgpack.Unpacker(strict_map_key=False)
                sock.sendall(frame)
                self._selector.register(sock, selectors.EVENT_READ, number)
            for key, _ in self._selector.select(max(0.0, due[0][0] - time.perf_counter()) if due else 60.0):
                number = key.data
                unpackers[number].feed(self._lines[number][0].recv(1 << 18))
                for _, _, error, result in unpackers[number]:
                    now = time.perf_counter()
                    asked.series.seconds.append(now - began.pop(number))
                    self._selector.unregister(key.fileobj)
                    if error is not None:
                        raise SystemExit(f"the daemon refuses: {error}")
                    asked.not_fresh += any(report["state"] != "fresh" for report in result["repos"])
                    due.append((now + THINKING_S, number))
        return asked

    def close(self) -> None:
        for sock, _ in self._lines:
            sock.close()


@contextmanager
def checkouts(git: Git) -> Iterator[list[str]]:
    """`git checkout` of the other branch, again and again; yields the names of those checked out so far."""
    done: list[str] = []

    def check_out() -> None:
        branch = "bench" if len(done) % 2 else "other"
        git("checkout", "-q", branch)
        done.append(branch)

    with again_and_again(check_out):
        yield done
    git("checkout", "-q", "bench")


class Comparison:
    """Edits repositories that nobody else touches, asks at once, and lets git judge the answer."""

    def __init__(self, ours: Started, paths: list[Path]) -> None:
        self._client: Client = ours.daemon.connect()
        self._paths = paths
        self._contents = {path: (path / "file003.txt").read_bytes() for path in paths}
        self.compared = self.wrong = 0

    @contextmanager
    def running(self) -> Iterator[None]:
        try:
            with again_and_again(self._compare):
                yield
        finally:
            self._client.close()
            for path, content in self._contents.items():
                (path / "file003.txt").write_bytes(content)

    def _compare(self) -> None:
        path = self._paths[self.compared % len(self._paths)]
        file = path / "file003.txt"
        if self.compared // len(self._paths) % 2:
            file.write_bytes(self._contents[path])
        else:
            append(file, b"more\n")
        answer = self._client.entries(path)
        self.wrong += answer.state == "fresh" and answer.stdout != judge(path)
        self.compared += 1
        time.sleep(0.1)


@contextmanager
def again_and_again(action: Callable[[], None]) -> Iterator[None]:
    """Call it on a thread until the block ends, whose failure is then the block's."""
    stopped = threading.Event()

    def repeat() -> None:
        while not stopped.is_set():
            action()

    with ThreadPoolExecutor(1) as threads:
        repeated = threads.submit(repeat)
        try:
            yield
        finally:
            stopped.set()
    repeated.result()
