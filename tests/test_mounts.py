"""The mount table, as Linux writes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitwatchd import mounts
from gitwatchd.mounts import parse_mounts, read_mounts

MOUNTINFO = rb"""22 1 254:1 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:40 / /home rw - nfs4 server:/home rw
31 30 8:1 / /home/local\040disk rw shared:5 master:2 - btrfs /dev/sdb rw
32 22 0:50 / /mnt/c rw - 9p drvfs rw
33 22 0:51 / /over rw - tmpfs none rw
34 33 0:52 / /over rw - fuse.sshfs host: rw
36 22 0:54 / /sys/fs/fuse/connections rw - fusectl fusectl rw
37 22 8:33 / /media/stick rw - fuseblk /dev/sdc1 rw
35 22 0:53 / /odd\134name\012 rw - ext4 /dev/vdb rw
"""


@pytest.mark.parametrize(
    ("path", "kind", "local"),
    [
        (b"/", "ext4", True),
        (b"/home/u/.cache", "nfs4", False),
        (b"/home/local disk/x", "btrfs", True),
        (b"/var/cache", "ext4", True),
        (b"/home2", "ext4", True),
        (b"/mnt/c/cache", "9p", False),
        (b"/over", "fuse.sshfs", False),  # of two on one place the later one is seen
        (b"/odd\\name\n/x", "ext4", True),
        (b"/sys/fs/fuse/connections", "fusectl", True),
        (b"/media/stick/x", "fuseblk", False),
    ],
)
def test_what_file_system_a_path_lies_on(path: bytes, kind: str, local: bool) -> None:
    table = parse_mounts(MOUNTINFO)
    assert (table.type_of(path), table.is_local(path)) == (kind, local)


def test_a_remote_mount_below_a_directory_is_found() -> None:
    table = parse_mounts(MOUNTINFO)
    assert table.find_remote(b"/mnt") == b"/mnt/c"
    assert table.find_remote(b"/home/u") == b"/home"
    assert table.find_remote(b"/home/local disk") is None


def test_without_a_mount_table_all_is_one_mount_of_no_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mounts, "MOUNTINFO", str(tmp_path / "none"))
    table = read_mounts()
    assert (table.type_of(b"/home"), table.is_local(b"/home")) == ("", True)
