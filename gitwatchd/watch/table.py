"""Which directories one inotify queue watches, and for whom.

Owns: the map from watch descriptor to directory to owners. Runs: `drain` on the serving thread; `add`, `drop_tree` and
`release` on any thread, under the table's lock.
Invariant: reading events and applying them is one step, `drain`; nobody else reads the queue.
Invariant: a directory that was moved or deleted has no watch left once the event was applied. A moved directory keeps
its descriptor alive under the old path otherwise: it is dropped with all below it and walked anew where it turns up.
Never: follows a symbolic link, watches a file.
"""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Set as AbstractSet
from contextlib import suppress
from typing import Protocol

from gitwatchd.watch import platform
from gitwatchd.watch.changes import Role
from gitwatchd.watch.events import (
    DELETE,
    IGNORED,
    ISDIR,
    MOVED_FROM,
    OVERFLOW,
    UNMOUNT,
    EventQueue,
    InstanceLimitReached,
    WatchLimitReached,
)

_log = logging.getLogger(__name__)

_NAME_LEFT = MOVED_FROM | DELETE


def path_below(directory: bytes, name: bytes) -> bytes:
    """The absolute path of `name` in `directory`, which may be the root of the file system."""
    return (b"" if directory == b"/" else directory) + b"/" + name


def _parent_of(path: bytes) -> bytes:
    return path.rpartition(b"/")[0] or b"/"


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


class Allowance:
    """How many watches all tables may hold together. Any thread.

    `limit` None: as many as the kernel gives.
    """

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.used = 0
        self._lock = threading.Lock()

    def take(self) -> bool:
        with self._lock:
            if self.limit is not None and self.used >= self.limit:
                return False
            self.used += 1
            return True

    def give_back(self, watches: int) -> None:
        with self._lock:
            self.used -= watches


class WatchTable:
    """Where the kernel gives no queue the table is blind: it refuses every watch, and its repositories are polled."""

    def __init__(self, allowance: Allowance | None = None) -> None:
        self.queue: EventQueue | None = None
        self._allowance = Allowance() if allowance is None else allowance
        self.lock = threading.RLock()
        self.touched: set[Sink] = set()
        """Sinks that noted something since the last `take_touched`."""
        self.events = 0
        self.overflows = 0
        self._closed = False
        self._evicted: set[Sink] = set()
        """Sinks whose watch was ended before its last events were read: they are told that they lost some."""
        self._by_wd: dict[int, list[_Directory]] = {}
        self._by_path: dict[bytes, _Directory] = {}
        self._of_sink: dict[Sink, set[bytes]] = {}
        self.revive()

    def revive(self) -> bool:
        """Whether it has a queue now."""
        with self.lock:
            if self.queue is None and not self._closed:
                with suppress(OSError):
                    self.queue = platform.open_queue()
            return self.queue is not None

    def paths_of(self, sink: Sink) -> set[bytes]:
        with self.lock:
            return set(self._of_sink.get(sink, ()))

    def __len__(self) -> int:
        return len(self._by_wd)

    def count(self, sink: Sink) -> int:
        return len(self._of_sink.get(sink, ()))

    def watches(self, path: bytes, sink: Sink, role: Role | None = None) -> bool:
        """Whether `path` is watched for `sink` (as `role`: a directory can be watched for less than is needed now)."""
        if path not in self._of_sink.get(sink, ()):
            return False
        if role is None:
            return True
        directory = self._by_path.get(path)
        return directory is not None and any(o[0] is sink and o[1] is role for o in directory.owners)

    def add(self, path: bytes, sink: Sink, role: Role, prefix: bytes) -> None:
        """Watch the directory `path` (absolute) for `sink`; again is harmless.

        Raises WatchLimitReached, InstanceLimitReached, or OSError when the directory is gone or may not be read.
        """
        with self.lock:
            if self._closed:
                raise OSError(errno.EBADF, "this table is closed")
            if self.queue is None:
                raise InstanceLimitReached(errno.EMFILE, "no inotify instance left")
            directory = self._by_path.get(path)
            wd = self._watch(self.queue, path, known=directory is not None)
            if directory is not None and directory.wd != wd:
                # Another inode is there now. The events that say so are still in the queue, and nobody will know for
                # whom they are once its descriptor is forgotten.
                self._evicted |= self.drop_tree(path) - {sink}
                directory = None
            if directory is None:
                directory = self._by_path[path] = _Directory(path, wd)
                self._by_wd.setdefault(wd, []).append(directory)
                parent = self._by_path.get(_parent_of(path))
                if parent is not None and parent is not directory:
                    if parent.children is None:
                        parent.children = {}
                    parent.children[path] = directory
            owner = (sink, role, prefix)
            if owner not in directory.owners:
                directory.owners.append(owner)
                self._of_sink.setdefault(sink, set()).add(path)

    def _watch(self, queue: EventQueue, path: bytes, *, known: bool) -> int:
        """The descriptor of that directory's watch, paid for."""
        if known:
            wd = queue.add(path)
            if wd not in self._by_wd and not self._allowance.take():
                queue.remove(wd)
                raise WatchLimitReached(errno.ENOSPC, "own watch limit reached")
            return wd
        if not self._allowance.take():
            raise WatchLimitReached(errno.ENOSPC, "own watch limit reached")
        try:
            wd = queue.add(path)
        except BaseException:
            self._allowance.give_back(1)
            raise
        if wd in self._by_wd:
            self._allowance.give_back(1)
        return wd

    def drop_tree(self, path: bytes) -> set[Sink]:
        """End the watches of `path` and of all below it, for every owner: those are returned."""
        with self.lock:
            dropped = self._at_and_below(path)
            for directory in dropped:
                self._unlink(directory)
                self._forget(directory)
            return {owner[0] for directory in dropped for owner in directory.owners}

    def withdraw(self, path: bytes, sink: Sink, role: Role | None = None) -> None:
        """End the watches of `path` and of all below it for `sink` (as `role`); other owners keep theirs."""
        with self.lock:
            for directory in self._at_and_below(path):
                self._disown(directory, sink, role)

    def _at_and_below(self, path: bytes) -> list[_Directory]:
        top = self._by_path.get(path)
        found = [] if top is None else [top]
        for directory in found:
            if directory.children:
                found.extend(directory.children.values())
        return found

    def _disown(self, directory: _Directory, sink: Sink, role: Role | None = None) -> None:
        directory.owners = [
            owner for owner in directory.owners if owner[0] is not sink or (role is not None and owner[1] is not role)
        ]
        if any(owner[0] is sink for owner in directory.owners):
            return
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
            self._evicted.discard(sink)

    def _unlink(self, directory: _Directory) -> None:
        parent = self._by_path.get(_parent_of(directory.path))
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
            self._allowance.give_back(1)
            if self.queue is not None:
                self.queue.remove(directory.wd)

    def drain(self) -> bool:
        """Read and apply everything the kernel has queued; say whether there was anything. Serving thread only.

        What arrives meanwhile is left for the next time: who writes faster than this must not hold it for ever.
        """
        if self._closed or self.queue is None:
            return False
        unread = self.queue.queued_bytes()
        if not unread and not self._evicted:
            return False
        while unread > 0:
            events, size = self.queue.read()
            if not size:
                break
            unread -= size
            self.events += len(events)
            with self.lock:
                try:
                    self._apply(events)
                except Exception:  # noqa: BLE001
                    # A seam of errors.py. The rest of these events is lost with the one that showed the bug.
                    _log.exception("applying events")
                    self._lose(list(self._of_sink))
        with self.lock:
            self._lose(list(self._evicted))
            self._evicted.clear()
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
                # Who watches below it and not here is told of nothing else: the directory's own event comes later, for
                # a descriptor that is forgotten by then, and what was further down has none.
                told = {owner[0] for directory in directories for owner in directory.owners}
                for path in [path_below(directory.path, name) for directory in directories]:
                    self._lose(list(self.drop_tree(path) - told))

    def _lose(self, sinks: list[Sink]) -> None:
        for sink in sinks:
            sink.lost()
            self.touched.add(sink)

    def take_touched(self) -> AbstractSet[Sink]:
        with self.lock:
            taken, self.touched = self.touched, set()
        return taken

    def close(self) -> None:
        with self.lock:
            self._closed = True
            self._allowance.give_back(len(self._by_wd))
            self._by_wd.clear()
            if self.queue is not None:
                self.queue.close()
