"""Which directories one inotify queue watches, and for whom.

Owns: the map from watch descriptor to directory to owners. Runs: `drain` on the serving thread; `add`, `drop_tree` and
`release` on any thread, under the table's lock.
Invariant: reading events and applying them is one step, `drain`; nobody else reads the queue.
Invariant: a directory that was moved or deleted has no watch left once the event was applied. A moved directory keeps its
descriptor alive under the old path otherwise: it is dropped with all below it and walked anew where it turns up.
Never: follows a symbolic link, watches a file.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Iterator
from typing import Protocol

from gitwatchd.watch.changes import Role
from gitwatchd.watch.inotify import (
    DELETE,
    IGNORED,
    ISDIR,
    MOVED_FROM,
    OVERFLOW,
    UNMOUNT,
    InotifyQueue,
    WatchLimitReached,
)

_NAME_LEFT = MOVED_FROM | DELETE


class Sink(Protocol):
    """Somebody on whose behalf directories are watched. Called on the serving thread; collects, does no work."""

    def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        """Something happened to `name` (empty: to the directory itself) in a directory watched as `role`."""

    def lost(self) -> None:
        """Events were lost, or a file system went away."""


class _Directory:
    __slots__ = ("children", "owners", "path", "wd")

    def __init__(self, path: bytes, wd: int) -> None:
        self.path = path
        self.wd = wd
        self.owners: list[tuple[Sink, Role, bytes]] = []
        self.children: dict[bytes, _Directory] | None = None


class WatchTable:
    """`limit` caps the number of watches below what the kernel allows (tests, and fairness to other programs)."""

    def __init__(self, limit: int | None = None) -> None:
        self.queue = InotifyQueue()
        self.limit = limit
        self.lock = threading.RLock()
        self.touched: set[Sink] = set()
        """Sinks that noted something since the last `take_touched`."""
        self.events = 0
        self.overflows = 0
        self._closed = False
        self._by_wd: dict[int, list[_Directory]] = {}
        self._by_path: dict[bytes, _Directory] = {}
        self._of_sink: dict[Sink, set[bytes]] = {}

    def __len__(self) -> int:
        return len(self._by_wd)

    def count(self, sink: Sink) -> int:
        return len(self._of_sink.get(sink, ()))

    def watches(self, path: bytes) -> bool:
        return path in self._by_path

    def add(self, path: bytes, sink: Sink, role: Role, prefix: bytes) -> None:
        """Watch the directory `path` (absolute) for `sink`; again is harmless.

        Raises WatchLimitReached, or OSError when the directory is gone or may not be read.
        """
        with self.lock:
            if self._closed:
                raise OSError(errno.EBADF, "this table is closed")
            directory = self._by_path.get(path)
            if directory is None and self.limit is not None and len(self._by_wd) >= self.limit:
                raise WatchLimitReached(errno.ENOSPC, "own watch limit reached")
            wd = self.queue.add(path)
            if directory is not None and directory.wd != wd:
                # Another inode is there now, and the event that says so is still in the queue.
                self.drop_tree(path)
                directory = None
            if directory is None:
                directory = self._by_path[path] = _Directory(path, wd)
                self._by_wd.setdefault(wd, []).append(directory)
                parent = self._by_path.get(path.rpartition(b"/")[0])
                if parent is not None:
                    if parent.children is None:
                        parent.children = {}
                    parent.children[path] = directory
            owner = (sink, role, prefix)
            if owner not in directory.owners:
                directory.owners.append(owner)
                self._of_sink.setdefault(sink, set()).add(path)

    def drop_tree(self, path: bytes) -> None:
        """End the watches of `path` and of all below it, for every owner."""
        with self.lock:
            for directory in self._at_and_below(path):
                self._unlink(directory)
                self._forget(directory)

    def withdraw(self, path: bytes, sink: Sink) -> None:
        """End the watches of `path` and of all below it for `sink`; other owners keep theirs."""
        with self.lock:
            for directory in self._at_and_below(path):
                self._disown(directory, sink)

    def _at_and_below(self, path: bytes) -> list[_Directory]:
        top = self._by_path.get(path)
        found = [] if top is None else [top]
        for directory in found:
            if directory.children:
                found.extend(directory.children.values())
        return found

    def _disown(self, directory: _Directory, sink: Sink) -> None:
        directory.owners = [owner for owner in directory.owners if owner[0] is not sink]
        if (paths := self._of_sink.get(sink)) is not None:
            paths.discard(directory.path)
        if not directory.owners:
            self._unlink(directory)
            self._forget(directory)

    def release(self, sink: Sink) -> None:
        """End every watch that only `sink` wanted."""
        with self.lock:
            for path in self._of_sink.pop(sink, ()):
                if (directory := self._by_path.get(path)) is not None:
                    self._disown(directory, sink)
            self.touched.discard(sink)

    def _unlink(self, directory: _Directory) -> None:
        parent = self._by_path.get(directory.path.rpartition(b"/")[0])
        if parent is not None and parent.children is not None:
            parent.children.pop(directory.path, None)

    def _forget(self, directory: _Directory) -> None:
        if self._by_path.get(directory.path) is directory:
            del self._by_path[directory.path]
        for sink, _role, _prefix in directory.owners:
            if (paths := self._of_sink.get(sink)) is not None:
                paths.discard(directory.path)
        same = self._by_wd.get(directory.wd)
        if same is None:
            return
        # The same inode can be known under two paths for a moment: a walk may reach a moved directory before the event
        # of its move is read.
        same.remove(directory)
        if not same:
            del self._by_wd[directory.wd]
            self.queue.remove(directory.wd)

    def drain(self) -> bool:
        """Read and apply everything the kernel has queued; say whether there was anything. Serving thread only."""
        events = [] if self._closed else self.queue.read()
        if not events:
            return False
        while events:
            with self.lock:
                self._apply(events)
            self.events += len(events)
            events = self.queue.read()
        return True

    def _apply(self, events: list[tuple[int, int, bytes]]) -> None:
        by_wd = self._by_wd
        for wd, mask, name in events:
            directories = by_wd.get(wd)
            if directories is None:
                if mask & OVERFLOW:
                    self.overflows += 1
                    self._lose(list(self._of_sink))
                continue
            if mask & IGNORED:
                for directory in list(directories):
                    self._unlink(directory)
                    self._forget(directory)
                continue
            if mask & UNMOUNT:
                self._lose([owner[0] for directory in directories for owner in directory.owners])
                continue
            for directory in directories:
                for sink, role, prefix in directory.owners:
                    sink.note(role, prefix, mask, name)
                    self.touched.add(sink)
            if mask & ISDIR and mask & _NAME_LEFT:
                for path in [directory.path + b"/" + name for directory in directories]:
                    self.drop_tree(path)

    def _lose(self, sinks: list[Sink]) -> None:
        for sink in sinks:
            sink.lost()
            self.touched.add(sink)

    def take_touched(self) -> Iterator[Sink]:
        while self.touched:
            yield self.touched.pop()

    def close(self) -> None:
        with self.lock:
            self._closed = True
            self.queue.close()
