"""Which mounts there are and which of them can be watched.

Runs: any thread. Reads /proc/self/mountinfo only: it never touches a mount, because a dead network mount hangs whoever
looks at it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

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

    def mount_of(self, path: bytes) -> bytes:
        """The mount point that holds the absolute path."""
        while path not in self.types and path not in (b"/", b""):
            path = path.rpartition(b"/")[0] or b"/"
        return path or b"/"

    def type_of(self, path: bytes) -> str:
        return self.types.get(self.mount_of(path), "")

    def is_local(self, path: bytes) -> bool:
        """Whether the kernel tells of every change there, and looking cannot hang."""
        kind = self.type_of(path)
        return kind not in REMOTE_TYPES and not kind.startswith("fuse")


def read_mounts() -> Mounts:
    """Raises OSError where there is no /proc."""
    with open(MOUNTINFO, "rb") as file:
        return parse_mounts(file.read())


def parse_mounts(raw: bytes) -> Mounts:
    types: dict[bytes, str] = {}
    for line in raw.splitlines():
        before, separator, after = line.partition(b" - ")
        fields = before.split(b" ")
        if separator and len(fields) > 4:
            point = _OCTAL.sub(lambda match: bytes([int(match.group(1), 8)]), fields[4])
            types[point] = after.split(b" ", 1)[0].decode("ascii", "replace")
    return Mounts(types)
