"""Which mounts there are and which of them can be watched.

Runs: any thread. Reads /proc/self/mountinfo only: it never touches a mount, because a dead network mount hangs whoever
looks at it.
"""

from __future__ import annotations

import re
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
    return kind in REMOTE_TYPES or kind.startswith("fuse")


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
