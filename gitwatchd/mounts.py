"""Which mounts there are, which of them can be watched, and which come and go.

Owns: nothing but what a `MountWatch` has. Runs: any thread; a `MountWatch` belongs to one. Reads /proc/self/mountinfo
only: it never touches a mount, because a dead network mount hangs whoever looks at it.
"""

from __future__ import annotations

import os
import re
import select
from dataclasses import dataclass, field

MOUNTINFO = "/proc/self/mountinfo"

# File systems on which changes made elsewhere raise no inotify event here, or whose server may be gone.
REMOTE_TYPES = frozenset(
    {
        "nfs", "nfs4", "cifs", "smb3", "smbfs", "ncpfs", "afs", "coda", "9p", "drvfs", "ceph", "glusterfs", "lustre",
        "gpfs", "ocfs2", "gfs2", "davfs", "vboxsf", "prl_fs", "vmhgfs", "orangefs", "beegfs", "virtiofs",
    }
)  # fmt: skip

_OCTAL = re.compile(rb"\\([0-7]{3})")


@dataclass(frozen=True, slots=True)
class Mounts:
    """A snapshot of the mount table: mount point (bytes) to file system type."""

    types: dict[bytes, str]
    layers: dict[bytes, tuple[tuple[bytes, ...], ...]] = field(default_factory=dict)
    """What is mounted at each point, one above the other: number of the mount, device, directory of it that shows."""
    remote: tuple[bytes, ...] = field(init=False)
    """The points whose changes the kernel may not report, and where looking may hang."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "remote", tuple(p for p, kind in self.types.items() if _is_remote(kind)))

    def mount_of(self, path: bytes) -> bytes:
        """The mount point that holds the absolute path."""
        while path not in self.types and path not in (b"/", b""):
            path = path.rpartition(b"/")[0] or b"/"
        return path or b"/"

    def type_of(self, path: bytes) -> str:
        return self.types.get(self.mount_of(path), "")

    def is_local(self, path: bytes) -> bool:
        """Whether the kernel tells of every change there, and looking cannot hang."""
        return not self.remote or self.mount_of(path) not in self.remote

    def find_remote(self, path: bytes) -> bytes | None:
        """The remote mount that holds `path`, or one that is mounted somewhere below it."""
        if not self.remote:
            return None
        if not self.is_local(path):
            return self.mount_of(path)
        return next((point for point in self.remote if lies_below(point, path)), None)

    def changed_since(self, before: Mounts) -> set[bytes]:
        """Mount points at which something else is mounted than in `before`, or nothing any more."""
        points = self.layers.keys() | before.layers.keys()
        return {point for point in points if self.layers.get(point) != before.layers.get(point)}


def lies_below(path: bytes, directory: bytes) -> bool:
    """Whether `path` is `directory` or lies below it, by their names."""
    return path == directory or path.startswith(directory if directory == b"/" else directory + b"/")


def _is_remote(kind: str) -> bool:
    """`fuseblk`, too: a local disk, but served by a process that can die or hang. `fusectl` is the kernel's own."""
    return kind in REMOTE_TYPES or (kind.startswith("fuse") and kind != "fusectl")


def read_mounts() -> Mounts:
    """Where there is no mount table (another system than Linux): one mount, of no type."""
    try:
        with open(MOUNTINFO, "rb") as file:
            return parse_mounts(file.read())
    except FileNotFoundError:
        return Mounts({b"/": ""})


def parse_mounts(raw: bytes) -> Mounts:
    types: dict[bytes, str] = {}
    layers: dict[bytes, tuple[tuple[bytes, ...], ...]] = {}
    for line in raw.splitlines():
        before, separator, after = line.partition(b" - ")
        fields = before.split(b" ")
        if separator and len(fields) > 4:
            point = _OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), fields[4])
            types[point] = after.split(b" ", 1)[0].decode("ascii", "replace")
            layers[point] = (*layers.get(point, ()), (fields[0], fields[2], fields[3]))
    return Mounts(types, layers)


class MountWatch:
    """Notices mounts that come and go: what lies at and below a mount point is then other files, and no event tells so.

    Owns: two descriptors of the mount table, the snapshot last read, and the points that changed since somebody took
    them. Other threads may look at `mounts`, a snapshot that is replaced, never changed.
    Invariant: what was mounted or unmounted before `look` is called is known when it returns: the kernel raises the
    mark of a descriptor before `mount` and `umount` return (the same promise as an inotify queue's).
    Raises OSError where there is no mount table to wait for.
    """

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
