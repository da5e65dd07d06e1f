"""What a queue of any platform tells, in the words of Linux's inotify, and how it refuses.

Pure. The numbers are those of the kernel's interface; tests/watch/test_inotify.py holds them against watchdog's.
"""

from __future__ import annotations

from typing import Protocol

MODIFY = 0x2
ATTRIB = 0x4
CLOSE_WRITE = 0x8
MOVED_FROM = 0x40
MOVED_TO = 0x80
CREATE = 0x100
DELETE = 0x200
DELETE_SELF = 0x400
MOVE_SELF = 0x800
UNMOUNT = 0x2000
OVERFLOW = 0x4000
IGNORED = 0x8000
ISDIR = 0x40000000

Event = tuple[int, int, bytes]
"""(watch descriptor, mask, name in that directory or empty)."""


class WatchLimitReached(OSError):
    """fs.inotify.max_user_watches is used up (ENOSPC)."""


class InstanceLimitReached(OSError):
    """fs.inotify.max_user_instances, or the descriptors of this process, are used up (EMFILE)."""


class EventQueue(Protocol):
    """What a platform has to offer: four functions, and two for whoever waits.

    What happened before `queued_bytes` is called is in the events that `read` gives afterwards, or they say OVERFLOW:
    that is the barrier on which every `fresh` answer rests.
    """

    def add(self, path: bytes) -> int:
        """Watch a directory; the same descriptor for the same directory. Any thread. Raises WatchLimitReached, or
        OSError when it is gone, no directory, or not to be watched here."""

    def remove(self, wd: int) -> None:
        """End a watch; one that has ended by itself is no error. Any thread."""

    def queued_bytes(self) -> int:
        """How much there is to read. Serving thread."""

    def read(self) -> tuple[list[Event], int]:
        """The oldest events, and their size as `queued_bytes` counts. Serving thread."""

    def fileno(self) -> int | None:
        """Readable when there are events; None: there is no such descriptor, look now and then."""

    def close(self) -> None: ...
