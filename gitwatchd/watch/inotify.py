"""The doorway to watchdog's inotify layer, used so that whoever answers a query drains the queue himself.

Owns: one inotify descriptor. The stock `Observer` is not used: its events pass three threads, so a query cannot know
what was read but not yet applied, and it hides queue overflows. Here nobody reads but `read`, on the serving thread;
adding and removing watches is safe from any thread (they are single system calls).
The names of watchdog's that are used are private to it: pyproject pins the version, tests/watch/test_inotify.py holds
them.
"""

from __future__ import annotations

import array
import ctypes
import errno
import fcntl
import os
import termios

from watchdog.observers.inotify_c import (
    InotifyConstants,
    InotifyFD,
    WatchDescriptor,
    inotify_add_watch,
    inotify_rm_watch,
    libc,
)

from gitwatchd.watch.events import (
    ATTRIB,
    CLOSE_WRITE,
    CREATE,
    DELETE,
    DELETE_SELF,
    MODIFY,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    Event,
    InstanceLimitReached,
    WatchLimitReached,
)

# Never OPEN, ACCESS or CLOSE_NOWRITE: a `git status` of ours opens every directory and would overflow the queue.
DIRECTORY_MASK = (
    MODIFY | CLOSE_WRITE | ATTRIB | CREATE | DELETE | MOVED_FROM | MOVED_TO | DELETE_SELF | MOVE_SELF
    | int(InotifyConstants.IN_DONT_FOLLOW) | int(InotifyConstants.IN_ONLYDIR) | int(InotifyConstants.IN_EXCL_UNLINK)
)  # fmt: skip

READ_BYTES = 1 << 18


class InotifyQueue(InotifyFD):
    """One inotify instance that is never started as a thread."""

    def __init__(self) -> None:
        super().__init__()
        # `close` of an instance that never ran waits for a reader to close the descriptors, unless told otherwise.
        self._is_reading = False

    @classmethod
    def _create_inotify_fd(cls) -> int:
        # Not InotifyConstants.IN_NONBLOCK and IN_CLOEXEC: those are octal values written as hexadecimal.
        libc.inotify_init1.argtypes = [ctypes.c_int]
        fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if fd == -1:
            # The plain call does not keep errno; EMFILE is the only failure that a running system shows.
            raise InstanceLimitReached(errno.EMFILE, "no inotify instance left")
        return int(fd)

    def fileno(self) -> int:
        return int(self._inotify_fd)

    def add(self, path: bytes) -> int:
        """Watch the directory `path`. Raises WatchLimitReached, or OSError (gone, not a directory, no permission)."""
        wd = int(inotify_add_watch(self._inotify_fd, path, DIRECTORY_MASK))
        if wd < 0:
            code = ctypes.get_errno()
            if code == errno.ENOSPC:
                raise WatchLimitReached(code, "inotify watch limit reached")
            raise OSError(code, os.strerror(code), path)
        return wd

    def remove(self, wd: int) -> None:
        """End a watch; one that the kernel has already ended is no error."""
        inotify_rm_watch(self._inotify_fd, WatchDescriptor(wd))

    def queued_bytes(self) -> int:
        """Size of what is in the queue now."""
        size = array.array("i", [0])
        fcntl.ioctl(self._inotify_fd, termios.FIONREAD, size)
        return size[0]

    def read(self) -> tuple[list[Event], int]:
        """The oldest events, and their size in bytes; none when the queue is empty. Serving thread only."""
        try:
            buffer = os.read(self._inotify_fd, READ_BYTES)
        except BlockingIOError:
            return [], 0
        events: list[Event] = [(wd, mask, name) for wd, mask, _cookie, name in InotifyFD._parse_event_buffer(buffer)]
        return events, len(buffer)
