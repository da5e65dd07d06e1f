"""One daemon at a time: a lock on a file, held for life.

Owns: the descriptor that holds the lock. Runs: serving thread. The kernel lets go of it however the process
ends, so there is no stale lock, and no pid to be mistaken for another process's.
Invariant: while `acquire` has returned True, nobody else's has, for the same path.
Never: unlinks the file (a second process may already wait on that inode); believes the pid written in it.
Somebody else's removing it does no harm: who locks a new one finds the socket answering (`bind_socket`), and ends.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress

from gitwatchd.errors import EnvironmentFailure


class DaemonLock:
    def __init__(self, path: bytes) -> None:
        self._path = path
        self._fd: int | None = None

    def acquire(self) -> bool:
        """False when another process holds it. Makes the directory (0700) and file (0600).

        Raises EnvironmentFailure where no lock can be made at all.
        """
        try:
            os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
            while self._fd is None:
                fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except OSError:
                    os.close(fd)
                    raise
                if _is_at(fd, self._path):
                    self._fd = fd
                else:
                    # Removed between open and flock: a lock on a file without a name excludes nobody.
                    os.close(fd)
        except BlockingIOError:
            return False
        except OSError as error:
            raise EnvironmentFailure(
                f"cannot lock {os.fsdecode(self._path)}: {error.strerror}",
                "see that its directory can be written, or name another one with --state-dir",
            ) from error
        with suppress(OSError):  # on a full disk people do not see who holds it; the lock holds all the same
            os.ftruncate(self._fd, 0)
            os.pwrite(self._fd, b"%d\n" % os.getpid(), 0)
        return True

    def release(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def read_holder(path: bytes) -> int | None:
    """The pid that the holder wrote, to be shown to people. It may have ended long ago: send it no signal."""
    try:
        with open(path, "rb") as file:
            return int(file.read(32))
    except (OSError, ValueError):
        return None


def _is_at(fd: int, path: bytes) -> bool:
    try:
        there = os.stat(path, follow_symlinks=False)
    except OSError:
        return False
    here = os.fstat(fd)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
