"""A queue for platforms that tell of nothing: directories are compared with what they were, when somebody asks.

Owns: a snapshot of every watched directory. Runs: `add` and `remove` on any thread, the rest on the serving thread.
The barrier: `queued_bytes` takes the snapshots itself, after the request. (Where a thread of its own takes them, one
may be under way at the request, and only the second complete one is a barrier.)
Invariant: a file that was changed less than `RACY_NS` before it was looked at counts as changed once more: a second
change in the same tick of the clock, of the same size, leaves no trace.
A comparison costs some 8 us an entry, so that what has more than `MOST_ENTRIES` is refused: there git, run for each
question outside of the serving thread, is as fast.
"""

from __future__ import annotations

import errno
import os
import stat
import threading
import time

from watchdog.utils.dirsnapshot import DirectorySnapshot

from gitwatchd.watch.events import (
    ATTRIB,
    CREATE,
    DELETE,
    DELETE_SELF,
    IGNORED,
    ISDIR,
    MODIFY,
    MOVED_TO,
    Event,
)

MOST_ENTRIES = 2000
RACY_NS = 2_000_000_000
"""FAT keeps even seconds; HFS+ whole ones."""

_Entries = dict[bytes, os.stat_result]


class _Watched:
    __slots__ = ("entries", "key", "looked_ns", "own", "path")

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.own, self.entries, self.looked_ns = _look(path)
        self.key = (self.own.st_dev, self.own.st_ino)


class PollingQueue:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._watched: dict[int, _Watched] = {}
        self._by_key: dict[tuple[int, int], int] = {}
        self._last_wd = 0
        self._entries = 0
        self._events: list[Event] = []

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        with self._lock:
            self._watched.clear()
            self._by_key.clear()

    def add(self, path: bytes) -> int:
        watched = _Watched(path)
        with self._lock:
            wd = self._by_key.get(watched.key)
            if wd is not None:
                # What changed since it was looked at is still to be told: only the path may be another.
                self._watched[wd].path = path
                return wd
            if self._entries + len(watched.entries) > MOST_ENTRIES:
                raise OSError(errno.EFBIG, "it is too large to be compared at every question", path)
            self._last_wd = wd = self._last_wd + 1
            self._watched[wd] = watched
            self._by_key[watched.key] = wd
            self._entries += len(watched.entries)
            return wd

    def remove(self, wd: int) -> None:
        with self._lock:
            self._forget(wd)

    def _forget(self, wd: int) -> None:
        watched = self._watched.pop(wd, None)
        if watched is not None:
            self._entries -= len(watched.entries)
            if self._by_key.get(watched.key) == wd:
                del self._by_key[watched.key]

    def queued_bytes(self) -> int:
        with self._lock:
            for wd, watched in list(self._watched.items()):
                self._compare(wd, watched)
            return len(self._events)

    def read(self) -> tuple[list[Event], int]:
        events, self._events = self._events, []
        return events, len(events)

    def _compare(self, wd: int, watched: _Watched) -> None:
        tell = self._events
        try:
            own, entries, looked_ns = _look(watched.path)
        except OSError:
            own, entries, looked_ns = watched.own, {}, 0
            gone = True
        else:
            gone = (own.st_dev, own.st_ino) != watched.key
        if gone:
            tell += [(wd, DELETE_SELF, b""), (wd, IGNORED, b"")]
            self._forget(wd)
            return
        if own.st_mode != watched.own.st_mode:
            tell.append((wd, ATTRIB | ISDIR, b""))
        before = watched.entries
        suspect_ns = watched.looked_ns - RACY_NS
        for name in before.keys() - entries.keys():
            tell.append((wd, DELETE | _is_dir(before[name]), name))
        for name, found in entries.items():
            known = before.get(name)
            if known is None:
                tell.append((wd, CREATE | _is_dir(found), name))
            elif (known.st_ino, known.st_dev, stat.S_IFMT(known.st_mode)) != (
                found.st_ino, found.st_dev, stat.S_IFMT(found.st_mode),
            ):  # fmt: skip
                tell += [(wd, DELETE | _is_dir(known), name), (wd, MOVED_TO | _is_dir(found), name)]
            elif _is_dir(found):
                if known.st_mode != found.st_mode:
                    tell.append((wd, ATTRIB | ISDIR, name))
            elif _signature(known) != _signature(found) or max(known.st_ctime_ns, known.st_mtime_ns) >= suspect_ns:
                tell.append((wd, MODIFY, name))
        self._entries += len(entries) - len(before)
        watched.own, watched.entries, watched.looked_ns = own, entries, looked_ns


def _look(path: bytes) -> tuple[os.stat_result, _Entries, int]:
    """Raises OSError where there is no directory, or none that may be listed."""
    looked_ns = time.time_ns()
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
    if not os.access(path, os.R_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
    # (Its annotations say str; bytes are what it hands to `lstat` and `scandir`, which take them as well.)
    snapshot = DirectorySnapshot(path, recursive=False, stat=os.lstat, listdir=os.scandir)  # type: ignore[arg-type]
    below = len(path.rstrip(b"/")) + 1
    entries = {os.fsencode(entry)[below:]: snapshot.stat_info(entry) for entry in snapshot.paths if entry != path}
    return snapshot.stat_info(path), entries, looked_ns


def _is_dir(found: os.stat_result) -> int:
    return ISDIR if stat.S_ISDIR(found.st_mode) else 0


def _signature(found: os.stat_result) -> tuple[int, ...]:
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_mode, found.st_nlink
