"""Reading a small file that a repository names, without trusting what it is.

Runs: any thread, the serving thread too. A FIFO in a file's place would hold a plain `open` for ever.
"""

from __future__ import annotations

import errno
import os
import stat


def read_regular(path: bytes, limit: int = -1) -> bytes:
    """The file's bytes, at most `limit`; links are followed. Raises OSError, also for what is no regular file."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with open(fd, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return file.read(limit) or b""
