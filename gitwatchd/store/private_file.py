"""A file that nobody else may read, and whether it is still the same one."""

from __future__ import annotations

import errno
import os


def create_private(path: bytes) -> None:
    """Empty. Raises FileExistsError."""
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def make_ours(path: bytes) -> None:
    """Raises OSError for another user's file; closes ours to others."""
    found = os.stat(path)
    if found.st_uid != os.geteuid():
        raise PermissionError(errno.EPERM, f"it belongs to uid {found.st_uid}", path)
    if found.st_mode & 0o077:
        os.chmod(path, 0o600)


def identity_of(path: bytes) -> tuple[int, int] | None:
    """Device and inode; None when there is no such file."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
