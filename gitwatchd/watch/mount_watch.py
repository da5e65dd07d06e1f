"""Notices mounts that come and go: what lies at and below a mount point is then other files, and no event tells so.

Owns: two descriptors of the mount table, the snapshot last read, and the points that changed since somebody took them.
Runs: serving thread; other threads may look at `mounts`, a snapshot that is replaced, never changed.
Invariant: what was mounted or unmounted before `look` is called is known when it returns: the kernel raises the mark of
a descriptor before `mount` and `umount` return (the same promise as an inotify queue's).
Never: touches a mount.
"""

from __future__ import annotations

import os
import select

from gitwatchd.mounts import MOUNTINFO, Mounts, parse_mounts, read_mounts


class MountWatch:
    """Raises OSError where there is no mount table to wait for."""

    def __init__(self) -> None:
        self._asked = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        # Each descriptor has a mark of its own, which asking takes away: who waits and who asks need one each.
        self._waited_for = os.open(MOUNTINFO, os.O_RDONLY | os.O_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._asked, select.POLLPRI)
        # The table can always be read, and selectors know of nothing else to wait for; an epoll can be waited for
        # itself, and wants only what is said here.
        self._epoll = select.epoll()
        self._epoll.register(self._waited_for, select.EPOLLPRI)
        self.mounts = self._read()
        self._changed: set[bytes] = set()

    def fileno(self) -> int | None:
        """Readable when something was mounted or unmounted; then call `look`."""
        return self._epoll.fileno()

    def look(self) -> Mounts:
        """The mounts as they are now. Costs half a microsecond while nothing changes."""
        if self._poll.poll(0):
            self._epoll.poll(0)
            before, self.mounts = self.mounts, self._read()
            self._changed |= self.mounts.changed_since(before)
        return self.mounts

    def _read(self) -> Mounts:
        """By the descriptor that is open already: there may be no other to be had."""
        os.lseek(self._asked, 0, os.SEEK_SET)
        raw = b""
        while part := os.read(self._asked, 1 << 16):
            raw += part
        return parse_mounts(raw)

    def take(self) -> set[bytes]:
        """The mount points that changed since this was last called."""
        changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        self._epoll.close()
        os.close(self._waited_for)
        os.close(self._asked)


class MountsOnce:
    """The same where nothing tells of mounts (another system than Linux): as they were at the start."""

    def __init__(self) -> None:
        self.mounts = read_mounts()

    def fileno(self) -> int | None:
        return None

    def look(self) -> Mounts:
        return self.mounts

    def take(self) -> set[bytes]:
        return set()

    def close(self) -> None:
        pass


def watch_mounts() -> MountWatch | MountsOnce:
    try:
        return MountWatch()
    except FileNotFoundError:
        return MountsOnce()
