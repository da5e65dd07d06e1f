"""Symbolic links followed by who must not hang.

Pure but for `readlink`. Runs: serving thread.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

_MOST_LINKS = 40
"""As the kernel has it."""


def resolve_links(path: bytes, is_local: Callable[[bytes], bool], *, strict: bool = False) -> bytes:
    """`path` (absolute) as `os.path.realpath` has it, as far as that leads onto no mount that may hang: from there on
    it stays as it is. Raises OSError when `strict` and something on the way is missing or closed."""
    so_far, rest = b"/", path.split(b"/")[:0:-1]
    links = 0
    while rest:
        name = rest.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            so_far = os.path.dirname(so_far)
            continue
        here = so_far.rstrip(b"/") + b"/" + name
        if not is_local(here):
            return os.path.normpath(b"/".join([here, *reversed(rest)]))
        try:
            target = os.readlink(here)
        except OSError as error:
            if strict and error.errno != errno.EINVAL:  # EINVAL: it is no link
                raise
            so_far = here
            continue
        links += 1
        if links > _MOST_LINKS:
            if strict:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            return path
        if target.startswith(b"/"):
            so_far = b"/"
        rest += target.split(b"/")[::-1]
    return so_far
