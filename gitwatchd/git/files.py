"""Reading a small file that a repository names, without trusting what it is.

Runs: any thread, the serving thread too. A FIFO in a file's place would hold a plain `open` for ever; a sparse file of
a terabyte fits into an archive of a kilobyte.
"""

from __future__ import annotations

import errno
import os
import stat


def raise_if_exhausted(error: OSError) -> None:
    """Raise it again if it says nothing of the path: this process has no descriptor left, or the machine has none.

    To be asked wherever a file that cannot be opened counts as absent: taken for absent, an exclude file, a ref or a
    whole repository would be missing from an answer that claims to be true.
    """
    if error.errno in (errno.EMFILE, errno.ENFILE):
        raise error


def read_regular(path: bytes, limit: int) -> bytes:
    """The file's first bytes, at most `limit`; links are followed. Raises OSError, also for what is no regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read(limit) or b""


def read_whole(path: bytes, largest: int) -> bytes:
    """All of the file. Raises OSError, with EFBIG where it has more than `largest` bytes."""
    raw = read_regular(path, largest + 1)
    if len(raw) > largest:
        raise OSError(errno.EFBIG, "too big to be read here", path)
    return raw
