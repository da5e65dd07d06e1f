"""Reading a small file that a repository names, without trusting what it is.

Runs: any thread, the serving thread too. A FIFO in a file's place would hold a plain `open` for ever; a sparse file of
a terabyte fits into an archive of a kilobyte.
"""

from __future__ import annotations

import errno
import io
import os
import stat

from gitwatchd.errors import is_exhaustion


def raise_if_exhausted(error: OSError) -> None:
    """Raise it again if it says nothing of the path (`is_exhaustion`).

    To be asked wherever a file that cannot be opened counts as absent: taken for absent, an exclude file, a ref or a
    whole repository would be missing from an answer that claims to be true.
    """
    if is_exhaustion(error):
        raise error


_SMALL_BYTES = 4095
"""Files of /proc say that they are empty, and want to be read in one go."""


def open_unblocked(path: bytes, flags: int = 0) -> io.FileIO:
    """For reading, unbuffered; it may be no regular file: `os.fstat` tells. `flags` as of `os.open`. Raises OSError.

    Not `open(os.open(path))`: where that is a directory, nobody closes its descriptor.
    """
    return io.FileIO(path, "r", opener=lambda path, usual: os.open(path, usual | os.O_NONBLOCK | flags))


def read_regular(path: bytes, limit: int, flags: int = 0) -> bytes:
    """The file's first bytes, at most `limit`; links are followed unless `flags` has O_NOFOLLOW.

    Raises OSError, also for what is no regular file.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    try:
        found = os.fstat(fd)
        mode = found.st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):  # a directory refuses to be read in better words
            raise OSError(errno.EINVAL, "not a regular file", path)
        # Not `limit` at once: the interpreter takes that much memory for it, and 64 MB to map, cut short and unmap are
        # most of what a small file costs.
        wanted = min(limit, max(found.st_size, _SMALL_BYTES) + 1)
        raw = os.read(fd, wanted)
        if len(raw) == wanted < limit:
            raw += os.read(fd, limit - wanted)  # it has grown since
        return raw
    finally:
        os.close(fd)


def read_if_there(path: bytes, limit: int) -> bytes:
    """As `read_regular`; empty when it is missing or unreadable. Raises OSError only as `raise_if_exhausted` does."""
    try:
        return read_regular(path, limit)
    except OSError as error:
        raise_if_exhausted(error)
        return b""


def read_whole(path: bytes, largest: int, flags: int = 0) -> bytes:
    """All of the file. `flags` as of `read_regular`. Raises OSError, with EFBIG where it has more than `largest`
    bytes."""
    raw = read_regular(path, largest + 1, flags)
    if len(raw) > largest:
        raise OSError(errno.EFBIG, "too big to be read here", path)
    return raw
