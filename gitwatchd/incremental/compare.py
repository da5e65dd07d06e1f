"""The worktree column of one tracked path, by git's own rules (ie_match_stat, ie_modified, check_removed).

Runs: serving thread. Reads the file only where stat cannot tell, and never more than `LARGEST_HASHED_BYTES` of it.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time

from gitwatchd.git import reach
from gitwatchd.git.files import read_regular
from gitwatchd.git.index_file import ASSUME_VALID, SKIP_WORKTREE, Index
from gitwatchd.incremental.terms import Conversion, Inexact, Terms

LARGEST_HASHED_BYTES = 64 * 1024
CLOCK_TICK_NS = 20_000_000
"""Longer than the tick of the clock that stamps files (10 ms at HZ=100): within it two contents can have one stat."""
_KIND = 0o170000
_REGULAR, _LINK, _GITLINK = 0o100000, 0o120000, 0o160000
_U32 = 0xFFFFFFFF

Verdict = tuple[bytes, int]
"""Letter of the worktree column (`M`, `D`, `T`) and the mode in the worktree (0: missing)."""

HashedClean = dict[bytes, tuple[bytes, int, int, int, int]]
"""Paths whose content was read and found clean: the oid it has, and (size, mtime_ns, ctime_ns, inode) at that time."""


def worktree_verdict(
    top: bytes, path: bytes, index: Index, row: int, terms: Terms, hashed_clean: HashedClean
) -> Verdict | None:
    """None: clean. `row` is the entry of `path` at stage 0, which is no gitlink. Raises Inexact.

    That no parent of `path` is a link is for the caller to know.
    """
    flags = index.flags(row) if index.flag_bytes[row] >= 0x10 else 0
    if flags:
        if flags & SKIP_WORKTREE and terms.sparse and os.path.lexists(top + b"/" + path):
            raise Inexact("a file outside of the sparse checkout is present")
        if flags & (ASSUME_VALID | SKIP_WORKTREE):
            return None
    try:
        found = os.lstat(top + b"/" + path)
    except (FileNotFoundError, NotADirectoryError):
        return b"D", 0
    except OSError as error:
        raise Inexact(f"a path cannot be looked at: {error.strerror}") from None
    ctime_s, ctime_ns, mtime_s, mtime_ns, _dev, ino, mode, uid, gid, size = index.stat_fields(row)
    kind, kind_now = mode & _KIND, stat.S_IFMT(found.st_mode)
    if kind_now != kind:
        return _other_kind(top, path, found.st_mode, terms)
    mode_now = _mode_of(found.st_mode, mode, terms)
    if kind == _REGULAR and mode_now != mode:
        return b"M", mode_now
    mtime_now_s, ctime_now_s = found.st_mtime_ns // 1_000_000_000, found.st_ctime_ns // 1_000_000_000
    seconds_equal = (
        size == found.st_size & _U32
        and mtime_s == mtime_now_s & _U32
        and ctime_s == ctime_now_s & _U32
        and ino == found.st_ino & _U32
        and uid == found.st_uid
        and gid == found.st_gid
    )
    racy = 0 < index.mtime_ns // 1_000_000_000 <= mtime_s  # second 0 is no time to git
    exactly_equal = (
        seconds_equal
        and mtime_ns == found.st_mtime_ns % 1_000_000_000
        and ctime_ns == found.st_ctime_ns % 1_000_000_000
    )
    if exactly_equal and not racy and (size or index.oid(row) == _empty_oid(index.oid_bytes)):
        return None
    if size and size != found.st_size & _U32:
        return b"M", mode_now
    oid = index.oid(row)
    key = (oid, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
    if hashed_clean.get(path) == key:
        return None
    if _content_oid(top, path, found, index.oid_bytes, terms) == oid:
        if time.time_ns() - found.st_ctime_ns > CLOCK_TICK_NS:
            hashed_clean[path] = key
        return None
    if seconds_equal and not exactly_equal and not racy and size:
        # Whether nanoseconds count depends on how git was built.
        raise Inexact("a file changed within the second that the index recorded")
    if exactly_equal and racy and index.mtime_ns > mtime_s * 1_000_000_000 + mtime_ns:
        raise Inexact("a file changed within the second in which the index was written")
    return b"M", mode_now


class Directories:
    """Which directories of a worktree are really there; kept for one advance. Beyond a link git sees nothing."""

    __slots__ = ("_known", "_top")

    def __init__(self, top: bytes) -> None:
        self._top = top
        self._known: dict[bytes, bool] = {b"": True}

    def hold(self, path: bytes) -> bool:
        """Whether every parent of `path` is a directory, and none a link. Raises Inexact."""
        return self.is_real(path.rpartition(b"/")[0])

    def is_real(self, directory: bytes) -> bool:
        known = self._known.get(directory)
        if known is None:
            known = self._known[directory] = self.hold(directory) and self._is_directory(directory)
        return known

    def _is_directory(self, directory: bytes) -> bool:
        try:
            return stat.S_ISDIR(os.lstat(self._top + b"/" + directory).st_mode)
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise Inexact(f"a path cannot be looked at: {error.strerror}") from None


def leads_through_link(prefix: bytes, directory: bytes, links: dict[bytes, bool]) -> bool:
    """Whether a symbolic link stands where `directory` or one above it is tracked: git takes what is beyond for
    missing, or, outside of a sparse checkout, for present. `prefix`: the top and a slash; `links` keeps what was seen
    and begins as `{b"": False}`."""
    known = links.get(directory)
    if known is None:
        known = os.path.islink(prefix + directory) or leads_through_link(prefix, directory.rpartition(b"/")[0], links)
        links[directory] = known
    return known


def refuse_unreachable(top: bytes, path: bytes) -> None:
    """Raises Inexact where git, too, can say nothing of `path`, which is missing or lies beyond a link; LeadsAway.

    A link that leads in a circle is neither to git: it complains, and then leaves the file out of its answer.
    """
    reach.check(top + b"/" + path)
    try:
        os.lstat(top + b"/" + path)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise Inexact(f"a path cannot be looked at: {error.strerror}") from None


def unmerged_mode(top: bytes, path: bytes, mode: int, terms: Terms) -> int:
    """Mode in the worktree of a path in conflict; `mode` is its first stage's. 0: missing, or a directory."""
    try:
        found = os.lstat(top + b"/" + path)
    except (FileNotFoundError, NotADirectoryError):
        return 0
    except OSError as error:
        raise Inexact(f"a path cannot be looked at: {error.strerror}") from None
    kind = stat.S_IFMT(found.st_mode)
    if kind == stat.S_IFDIR:
        if os.path.lexists(top + b"/" + path + b"/.git"):
            raise Inexact("a tracked path is a repository now")
        return 0
    if kind not in (_REGULAR, _LINK):
        raise Inexact("a tracked path is neither a file nor a link")
    return _mode_of(found.st_mode, mode, terms)


def _other_kind(top: bytes, path: bytes, st_mode: int, terms: Terms) -> Verdict:
    kind_now = stat.S_IFMT(st_mode)
    if kind_now == stat.S_IFDIR:
        if os.path.lexists(top + b"/" + path + b"/.git"):
            raise Inexact("a tracked path is a repository now")
        return b"D", 0
    if kind_now not in (_REGULAR, _LINK):
        raise Inexact("a tracked path is neither a file nor a link")
    return b"T", _mode_of(st_mode, 0, terms)


def _mode_of(st_mode: int, mode: int, terms: Terms) -> int:
    if stat.S_ISLNK(st_mode):
        return _LINK
    if not terms.file_mode:
        return mode if mode & _KIND == _REGULAR else 0o100644
    return 0o100755 if st_mode & 0o100 else 0o100644


def _content_oid(top: bytes, path: bytes, found: os.stat_result, oid_bytes: int, terms: Terms) -> bytes:
    if found.st_size > LARGEST_HASHED_BYTES:
        raise Inexact("a file is too large to be read here")
    try:
        if stat.S_ISLNK(found.st_mode):
            content = os.readlink(top + b"/" + path)
        else:
            if terms.conversion is Conversion.ANY:
                raise Inexact("a file may have a filter")
            content = read_regular(top + b"/" + path, LARGEST_HASHED_BYTES + 1, os.O_NOFOLLOW)
            if terms.conversion is Conversion.LINE_ENDS and b"\r" in content:
                raise Inexact("a file has carriage returns that git may convert")
    except OSError as error:
        raise Inexact(f"a file cannot be read: {error.strerror}") from None
    if len(content) != found.st_size:
        raise Inexact("a file changes while it is read")
    return object_id(b"blob", content, oid_bytes)


def object_id(kind: bytes, content: bytes, oid_bytes: int) -> bytes:
    """Raw oid of an object; 20 bytes: SHA-1, 32: SHA-256."""
    digest = hashlib.sha1(usedforsecurity=False) if oid_bytes == 20 else hashlib.sha256()
    digest.update(b"%b %d\0" % (kind, len(content)))
    digest.update(content)
    return digest.digest()


def _empty_oid(oid_bytes: int) -> bytes:
    return _EMPTY[oid_bytes]


_EMPTY = {size: object_id(b"blob", b"", size) for size in (20, 32)}
