"""A queue on macOS's FSEvents, through watchdog.

Owns: one stream (and its thread) for each outermost directory, a directory for cookies. Runs: `add` and `remove` on any
thread, the rest on the serving thread; the streams' threads only append to what is to be read.
The barrier: a cookie, a file made in a directory that is part of every stream; a stream that tells of it has told of
all that happened before. One that does not in time has lost something (OVERFLOW).
Never run on macOS by its authors: the tests hold it against a stand-in for watchdog's extension module.
"""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from contextlib import suppress

from _watchdog_fsevents import Stream
from watchdog.observers.api import EventQueue as WatchdogQueue
from watchdog.observers.api import ObservedWatch
from watchdog.observers.fsevents import FSEventsEmitter

from gitwatchd.watch.events import CREATE, DELETE, DELETE_SELF, ISDIR, MODIFY, OVERFLOW, Event

LATENCY_S = 0.001
"""As git's own daemon has it."""
COOKIE_S = 2.0
"""Far more than a stream takes; a busy machine must not cost a whole rescan."""


class _Emitter(FSEventsEmitter):
    """watchdog's own `queue_events` leaves out what says that events were lost, and looks at the disk at each event."""

    def __init__(self, top: bytes, cookies: bytes, tell: Callable[[_Emitter, list[object]], None]) -> None:
        super().__init__(WatchdogQueue(), ObservedWatch(os.fsdecode(top), recursive=True), latency=LATENCY_S)
        self.top = top
        self._stream = Stream([os.fsdecode(top), os.fsdecode(cookies)], latency=LATENCY_S)
        self._tell = tell

    def queue_events(self, timeout: float, events: list[object]) -> None:  # type: ignore[override]
        self._tell(self, events)


class FSEventsQueue:
    def __init__(self) -> None:
        self._cookies = os.fsencode(os.path.realpath(tempfile.mkdtemp(prefix="gitwatchd-cookies-")))
        self._device = os.stat(self._cookies).st_dev
        self._count = itertools.count(1)
        self._changed = threading.Condition()
        """Held while any of the following changes."""
        self._seen: dict[_Emitter, int] = {}
        """The last cookie that each stream told of."""
        self._wds: dict[bytes, int] = {}
        self._paths: dict[int, bytes] = {}
        self._last_wd = 0
        self._events: list[Event] = []

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        with self._changed:
            emitters, self._seen = list(self._seen), {}
        for emitter in emitters:
            emitter.stop()
        shutil.rmtree(self._cookies, ignore_errors=True)

    def add(self, path: bytes) -> int:
        found = os.lstat(path)
        if not os.path.isdir(path) or os.path.islink(path):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        if found.st_dev != self._device:
            # Streams keep the order of one volume only: the cookie would say nothing of another.
            raise OSError(errno.EXDEV, "it is on another volume than the temporary directory", path)
        with self._changed:
            wd = self._wds.get(path)
            if wd is not None:
                return wd
            if not any(_is_below(path, emitter.top) for emitter in self._seen):
                self._begin(path)
            self._last_wd = wd = self._last_wd + 1
            self._wds[path], self._paths[wd] = wd, path
            return wd

    def _begin(self, top: bytes) -> None:
        for emitter in [emitter for emitter in self._seen if _is_below(emitter.top, top)]:
            # It goes on under the wider one; that no event is lost between the two is for the walk that follows to see.
            del self._seen[emitter]
            emitter.stop()
        emitter = _Emitter(top, self._cookies, self._take)
        emitter.start()
        self._seen[emitter] = 0

    def remove(self, wd: int) -> None:
        with self._changed:
            path = self._paths.pop(wd, None)
            if path is None:
                return
            del self._wds[path]
            idle = [e for e in self._seen if not any(_is_below(kept, e.top) for kept in self._wds)]
            for emitter in idle:
                del self._seen[emitter]
        for emitter in idle:
            emitter.stop()

    def queued_bytes(self) -> int:
        with self._changed:
            if self._seen:
                self._wait_for_cookie()
            return len(self._events)

    def read(self) -> tuple[list[Event], int]:
        with self._changed:
            events, self._events = self._events, []
        return events, len(events)

    def _wait_for_cookie(self) -> None:
        number = next(self._count)
        cookie = self._cookies + b"/%d" % number
        waiting = list(self._seen)
        try:
            os.close(os.open(cookie, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        except OSError:
            self._events.append((-1, OVERFLOW, b""))
            return
        arrived = self._changed.wait_for(
            lambda: all(self._seen.get(emitter, number) >= number for emitter in waiting), COOKIE_S
        )
        if not arrived:
            self._events.append((-1, OVERFLOW, b""))
        with suppress(OSError):
            os.unlink(cookie)

    def _take(self, emitter: _Emitter, events: list[object]) -> None:
        """On a stream's thread."""
        with self._changed:
            for event in events:
                self._take_one(emitter, event)
            self._changed.notify_all()

    def _take_one(self, emitter: _Emitter, event: object) -> None:
        if any(getattr(event, flag, False) for flag in ("must_scan_subdirs", "is_user_dropped", "is_kernel_dropped")):
            self._events.append((-1, OVERFLOW, b""))
            return
        path = os.fsencode(event.path)  # type: ignore[attr-defined]
        above, _, name = path.rpartition(b"/")
        if above == self._cookies:
            if emitter in self._seen and name.isdigit():
                self._seen[emitter] = max(self._seen[emitter], int(name))
            return
        if getattr(event, "is_root_changed", False):
            if (wd := self._wds.get(emitter.top)) is not None:
                self._events.append((wd, DELETE_SELF, b""))
            return
        wd = self._wds.get(above)
        if wd is None:
            return
        # Flags of several changes come in one: what is there now is looked at instead.
        there = os.path.lexists(path)
        if getattr(event, "is_directory", False):
            came_or_went = any(getattr(event, flag, False) for flag in ("is_created", "is_removed", "is_renamed"))
            if came_or_went:
                self._events.append((wd, DELETE | ISDIR, name))
                if there:
                    self._events.append((wd, CREATE | ISDIR, name))
            return
        self._events.append((wd, (CREATE | MODIFY) if there else DELETE, name))


def _is_below(path: bytes, top: bytes) -> bool:
    return path == top or path.startswith(top.rstrip(b"/") + b"/")
