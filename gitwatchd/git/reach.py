"""How far this process follows what a repository's files name.

A `.git` file, a symbolic link, core.worktree, an include or an alternate may name any path. Who follows one onto a
mount whose server is dead sleeps until that is back, and nothing can end him.

Owns: what this process keeps away from. By default nothing: who works for such a mount, and a command of the user's
own, follow everything, as git does. Runs: any thread.
"""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.mounts import Mounts

T = TypeVar("T")

_MOST_LINKS = 40
"""As the kernel has it."""

_PASSES_FOR_S = 0.005
"""One look at a repository checks its configuration half a dozen times, each time 10 us, and takes about that long.
What leads away since then is met in this time only by who also turned a link onto a mount that was dead before."""
_MOST_PASSED = 4096

_passed_until: dict[tuple[bytes, tuple[bytes, ...]], float] = {}
"""Checked paths, each with the mounts that it was checked against, to monotonic seconds."""
_mounts: Callable[[], Mounts] | None = None
_thread = threading.local()


class LeadsAway(EnvironmentFailure):
    """What is to be read lies on a mount that this process keeps away from. `mount`: its mount point."""

    def __init__(self, path: bytes, mount: bytes) -> None:
        shown, where = path.decode(errors="replace"), mount.decode(errors="replace")
        super().__init__(f"{shown} leads onto the file system at {where}, which may not answer")
        self.mount = mount


def keep_local(mounts: Callable[[], Mounts] | None) -> None:
    """From now on `check` refuses what lies on a remote mount of these; None: nothing. For the whole process."""
    global _mounts
    _mounts = mounts


def follow_everything(work: Callable[[], T]) -> T:
    """Do `work` as if nothing were kept away from: it is about a remote mount, which answered a moment ago."""
    _thread.follows_everything = True
    try:
        return work()
    finally:
        _thread.follows_everything = False


def is_kept_local() -> bool:
    """Whether `check` can refuse anything at present."""
    return bool(_remote())


def check(path: bytes) -> None:
    """To be asked before whatever a repository's files name is looked at. `path` is absolute; a link at its end counts
    as followed.

    Raises LeadsAway. Touches nothing that it refuses.
    """
    remote = _remote()
    if not remote:
        return
    now = time.monotonic()
    if _passed_until.get((path, remote), 0.0) > now:
        return
    if not _find_end(path, remote).there:
        return  # where a directory was moved away, a link is what often comes next
    if len(_passed_until) >= _MOST_PASSED:
        _passed_until.clear()
    _passed_until[path, remote] = now + _PASSES_FOR_S


def may_be_there(path: bytes) -> bool:
    """False: nothing is at `path` (absolute), and what is there the next moment may be a link, so nobody is to look.
    For who comes because an event told that a directory was moved away. Raises LeadsAway.
    """
    return not _remote() or follow_if_there(path) is not None


def follow_if_there(path: bytes) -> bytes | None:
    """As `follow`, and None where `may_be_there` is False."""
    remote = _remote()
    if not remote:
        return os.path.realpath(path)
    end = _find_end(path, remote)
    return end.path if end.there else None


def follow(path: bytes) -> bytes:
    """Where `path` (absolute) leads, as `os.path.realpath` has it. Raises LeadsAway.

    For `check` and `realpath` one after the other: a link that is turned between the two would be followed.
    """
    remote = _remote()
    if not remote:
        return os.path.realpath(path)
    return _find_end(path, remote).path


def check_if_link(path: bytes) -> None:
    """`check` at the price of one system call, where all that is above `path` was checked."""
    if _remote() and os.path.islink(path):
        check(path)


def check_links_in(directory: bytes, *below: bytes) -> None:
    """`check` for every symbolic link in a directory (itself checked), and in these directories in it."""
    if not _remote():
        return
    for place in (directory, *(directory + b"/" + name for name in below)):
        try:
            with os.scandir(place) as entries:
                links = [entry.path for entry in entries if entry.is_symlink()]
        except OSError:
            continue  # whoever reads in it meets the same error, and knows what that means
        for link in links:
            check(link)


def _remote() -> tuple[bytes, ...]:
    if _mounts is None or getattr(_thread, "follows_everything", False):
        return ()
    return _mounts().remote


def resolve_links(path: bytes, is_local: Callable[[bytes], bool], *, strict: bool = False) -> bytes:
    """`path` (absolute) as `os.path.realpath` has it, as far as that leads onto no mount that may hang: from there on
    it stays as it is. Raises OSError when `strict` and something on the way is missing or closed."""
    return _follow(path, is_local, strict=strict).path


class _End(NamedTuple):
    path: bytes
    away: bytes | None
    """The first place on the way that is not local."""
    there: bool
    """Something local is there."""


def _find_end(path: bytes, remote: tuple[bytes, ...]) -> _End:
    """Raises LeadsAway."""
    end = _follow(path, lambda here: here not in remote, strict=False)
    if end.away is not None:
        raise LeadsAway(path, end.away)
    return end


def _follow(path: bytes, is_local: Callable[[bytes], bool], *, strict: bool) -> _End:
    so_far, rest = b"/", path.split(b"/")[:0:-1]
    links = 0
    missing = 0
    """How many of the last names of `so_far` are below what is not there. None of those is looked up: a link may take
    the place of what is missing, and lead away, between two of our looks."""
    while rest:
        name = rest.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            so_far = os.path.dirname(so_far)
            missing = max(0, missing - 1)
            continue
        here = so_far.rstrip(b"/") + b"/" + name
        if not is_local(here):
            return _End(os.path.normpath(b"/".join([here, *reversed(rest)])), here, there=False)
        if missing:
            so_far = here
            missing += 1
            continue
        try:
            target = os.readlink(here)
        except OSError as error:
            if strict and error.errno != errno.EINVAL:  # EINVAL: it is no link
                raise
            so_far = here
            missing = int(error.errno in (errno.ENOENT, errno.ENOTDIR))
            continue
        links += 1
        if links > _MOST_LINKS:
            if strict:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
            return _End(path, None, there=False)
        if target.startswith(b"/"):
            so_far = b"/"
        rest += target.split(b"/")[::-1]
    return _End(so_far, None, there=not missing)
