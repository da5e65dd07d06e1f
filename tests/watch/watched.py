"""A watcher on a real loop with its threads, and a listener that writes down what it is told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gitwatchd.git.layout import read_location
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.watch import watcher as watcher_module
from gitwatchd.watch.changes import Changes
from gitwatchd.watch.listener import WalkResult
from gitwatchd.watch.watcher import Watcher


def key(path: Path) -> RepoPath:
    return RepoPath(os.fsencode(path))


class Fleet:
    """The listener, and the loop it is called from."""

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self.root = os.fsencode(root.resolve())
        self.bugs: list[BaseException] = []
        self.loop = Loop(self.bugs.append)
        self.watcher = Watcher(self.loop, self, limit=limit)
        self.changes: dict[RepoPath, Changes] = {}
        self.walked: list[WalkResult] = []
        self.found: dict[RepoPath, Location] = {}
        self.discovered = 0
        self.left: set[bytes] = set()
        self.configurations = 0
        self.suspicions = 0

    def on_changed(self, path: RepoPath, changes: Changes) -> None:
        known = self.changes.setdefault(path, Changes())
        known.aspects |= changes.aspects
        known.paths |= changes.paths
        known.new_directories |= changes.new_directories

    def on_walked(self, result: WalkResult) -> None:
        self.walked.append(result)

    def on_found(self, location: Location) -> None:
        self.found[location.path] = location

    def on_discovered(self, root: bytes, unreadable: list[tuple[bytes, str]]) -> None:
        assert root == self.root and unreadable == []
        self.discovered += 1

    def on_left(self, path: bytes) -> None:
        self.left.add(path)

    def on_suspicion(self) -> None:
        self.suspicions += 1

    def on_appeared(self, directory: bytes) -> None:
        self.watcher.discover(directory, self.root)

    def on_configuration(self) -> None:
        self.configurations += 1

    def on_mounts(self, points: set[bytes]) -> None:
        raise AssertionError(f"nothing is mounted by this test: {points}")

    # ---- what a test does

    def until(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            self.loop.run_once(0.01)
        assert self.bugs == []

    def discover(self) -> None:
        before = self.discovered
        self.watcher.discover(self.root, self.root)
        self.watcher.start()
        self.until(lambda: self.discovered > before)

    def walk(self, path: Path, directories: frozenset[bytes] | None = None) -> WalkResult:
        location = read_location(os.fsencode(path))
        assert location is not None
        return self.walk_at(location, directories)

    def walk_at(self, location: Location, directories: frozenset[bytes] | None = None) -> WalkResult:
        before = len(self.walked)
        self.watcher.start()
        self.watcher.walk(location, directories)
        self.until(lambda: len(self.walked) > before)
        return self.walked[-1]

    def drained(self, path: Path) -> Changes:
        """What the kernel told about one repository by now."""
        key = RepoPath(os.fsencode(path.resolve()))
        self.watcher.drain((key,))
        return self.changes.pop(key, Changes())

    def flush(self) -> None:
        """Let everything that the threads were given before come to its end."""
        ended: list[str] = []
        walkers = threading.Barrier(watcher_module.WALKERS)  # each of them has to come to it

        def walked() -> None:
            walkers.wait(60.0)
            self.loop.call_from_thread(lambda: ended.append("walk"))

        for _ in range(watcher_module.WALKERS):
            self.watcher._walks.put(walked)
        self.watcher._discoveries.put(lambda: self.loop.call_from_thread(lambda: ended.append("discover")))
        self.until(lambda: len(ended) == 1 + watcher_module.WALKERS)
