"""One state of git's index, and reading it from its file.

Owns: nothing. Runs: any thread. Never writes, never locks, starts no git.
Invariant: an `Index` never changes, its lists and arrays included: successors share them.
Invariant: what is not understood exactly is said to be so: `Index.inexact` (git must judge) or IndexDamaged
(git will most likely refuse too). The trailing checksum is not verified: git does not either, and skipHash
writes zeros.

Compact on purpose: raw bytes, names, one offset and one byte for each entry: 16-20 MB for 100,000.
"""

from __future__ import annotations

import os
import re
import stat
import struct
from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import repeat
from operator import lt
from typing import NamedTuple

from gitwatchd.git.files import open_unblocked
from gitwatchd.git.index_format import (
    ASSUME_VALID_BIT,
    EXTENDED_BIT,
    MAX_INDEX_BYTES,
    STAGE_BITS,
    STAT_FIELDS,
    is_readable_size,
    parse_cache_tree,
    parse_compressed,
    parse_extensions,
    parse_header,
    parse_padded,
)
from gitwatchd.git.index_format import IndexDamaged as IndexDamaged  # what this module raises is had from it

ASSUME_VALID = 0x8000
STAGE_MASK = 0x3000
SKIP_WORKTREE = 0x4000_0000
INTENT_TO_ADD = 0x2000_0000

_READ_ATTEMPTS = 5
_FLAGGED = re.compile(rb"[^\x00-\x0f]")
_KIND_AT = 26
"""The byte of an entry's mode that tells a submodule (0o160000) from all else."""
_GITLINK = re.compile(rb"\xe0")
_MTIME = struct.Struct(">8xII")
_CTIME = struct.Struct(">I")


class IndexEntry(NamedTuple):
    """One entry, unpacked. A named tuple: a frozen dataclass sets its 16 fields one call at a time."""

    name: bytes
    ctime_s: int
    ctime_ns: int
    mtime_s: int
    mtime_ns: int
    """Nanoseconds within `mtime_s`."""
    dev: int
    ino: int
    mode: int
    uid: int
    gid: int
    size: int
    oid: bytes
    """Raw, 20 or 32 bytes."""
    stage: int
    assume_valid: bool
    skip_worktree: bool
    intent_to_add: bool


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Index:
    """The entries in git's order: by name as bytes, then by stage."""

    raw: bytes
    version: int
    oid_bytes: int
    mtime_ns: int
    """Of the index file; 0 when there is none. git calls an entry racy by this time's whole seconds."""
    names: list[bytes]
    offsets: array[int]
    """Where each entry begins in `raw`, and one more: where the entries end. Its length is len(names) + 1."""
    flag_bytes: bytes
    """First byte of each entry's flags (bits as in index_format; the low 4 belong to the name's length)."""
    inexact: str | None
    """Why only git can judge by this index; None when what is here is all there is."""
    _cache_tree_root: bytes | None
    _gitlinks: list[list[bytes]] = field(default_factory=list)
    """What `gitlinks` found, once it was asked."""

    def __len__(self) -> int:
        return len(self.names)

    def find(self, path: bytes) -> int | None:
        """Row of the first (lowest stage) entry of that name."""
        names = self.names
        row = bisect_left(names, path)
        return row if row < len(names) and names[row] == path else None

    def rows(self, path: bytes) -> range:
        """All rows of that name: none, one, or one for each stage of a conflict."""
        names = self.names
        first = last = bisect_left(names, path)
        while last < len(names) and names[last] == path:
            last += 1
        return range(first, last)

    def tracks_below(self, directory: bytes) -> bool:
        """Whether any entry lies beneath that directory (no trailing slash; b"" is the top)."""
        if not directory:
            return bool(self.names)
        prefix = directory + b"/"
        row = bisect_left(self.names, prefix)
        return row < len(self.names) and self.names[row].startswith(prefix)

    def stat_fields(self, row: int) -> tuple[int, ...]:
        """ctime s, ns, mtime s, ns, dev, ino, mode, uid, gid, size, as recorded (each modulo 2**32)."""
        return STAT_FIELDS.unpack_from(self.raw, self.offsets[row])

    def oid(self, row: int) -> bytes:
        """Raw object id."""
        at = self.offsets[row] + STAT_FIELDS.size
        return self.raw[at : at + self.oid_bytes]

    def flags(self, row: int) -> int:
        """ASSUME_VALID, STAGE_MASK (stage << 12), SKIP_WORKTREE, INTENT_TO_ADD; other bits are never set."""
        high = self.flag_bytes[row]
        if high < 0x10:
            return 0
        flags = (high & (ASSUME_VALID_BIT | STAGE_BITS)) << 8
        if high & EXTENDED_BIT:
            at = self.offsets[row] + STAT_FIELDS.size + self.oid_bytes + 2
            flags |= self.raw[at] << 24
        return flags

    def entry(self, row: int) -> IndexEntry:
        flags = self.flags(row)
        return IndexEntry._make(
            (
                self.names[row],
                *self.stat_fields(row),
                self.oid(row),
                (flags & STAGE_MASK) >> 12,
                bool(flags & ASSUME_VALID),
                bool(flags & SKIP_WORKTREE),
                bool(flags & INTENT_TO_ADD),
            )
        )

    def flagged_rows(self) -> list[int]:
        """Rows whose `flags` are not 0, in order; nearly always none."""
        return [match.start() for match in _FLAGGED.finditer(self.flag_bytes)]

    def conflicts(self) -> list[bytes]:
        """Names that have stages, in order."""
        return list(dict.fromkeys(self.names[row] for row in self.flagged_rows() if self.flag_bytes[row] & STAGE_BITS))

    def tallies(self) -> tuple[int, int, int]:
        """Number of entries, of those with skip-worktree, of those with assume-unchanged."""
        skipped = assumed = 0
        for row in self.flagged_rows():
            flags = self.flags(row)
            skipped += bool(flags & SKIP_WORKTREE)
            assumed += bool(flags & ASSUME_VALID)
        return len(self.names), skipped, assumed

    def tracked_directories(self) -> set[bytes]:
        """Every directory with an entry at any depth beneath it, no trailing slash; always b"", the top."""
        directories = {b""}
        for parent in {name.rpartition(b"/")[0] for name in self.names}:
            directory = parent
            while directory not in directories:
                directories.add(directory)
                directory = directory.rpartition(b"/")[0]
        return directories

    def gitlinks(self) -> list[bytes]:
        """Names of the entries that are submodules (at any stage, each once), in order."""
        if not self._gitlinks:  # 10 ms for 100,000 entries, and whoever has an index asks several times
            kinds = bytes(map(memoryview(self.raw)[_KIND_AT:].__getitem__, self.offsets[:-1]))
            self._gitlinks.append(list(dict.fromkeys(self.names[m.start()] for m in _GITLINK.finditer(kinds))))
        return self._gitlinks[0]

    def newest_ctime_s(self) -> int:
        """Newest recorded ctime in whole seconds, which is what git compares; 0 when there is no entry."""
        return max((ctime_s for (ctime_s,) in map(_CTIME.unpack_from, repeat(self.raw), self.offsets[:-1])), default=0)

    def cache_tree_root(self) -> bytes | None:
        """Raw oid of the tree that the index as a whole stands for, where git left one that is valid."""
        return self._cache_tree_root

    def cache_tree_agrees(self, *, whole: bool = True) -> bool:
        """Whether each of the trees that git noted (not `whole`: that of the top) has as many entries as git counted.

        git compares by its notes. `git rebase` without an index notes the trees of the commit that it rebases onto,
        whatever it put into the new index, and what is not in there does not show as deleted.
        """
        names = self.names
        try:
            for prefix, entries in parse_cache_tree(self.raw, self.offsets[-1], self.oid_bytes):
                first = bisect_left(names, prefix)
                end = first + entries
                if entries >= 0 and (
                    end > len(names)
                    or (entries and not names[end - 1].startswith(prefix))
                    or (end < len(names) and names[end].startswith(prefix))
                ):
                    return False
                if not whole:
                    break
        except (ValueError, IndexError):
            return False
        return True


def read_index(path: bytes, oid_bytes: int) -> Index:
    """Read and parse. No such file is an empty index, as for git. Raises IndexDamaged."""
    raw, mtime_ns = read_index_bytes(path, oid_bytes)
    try:
        return parse_index(raw, oid_bytes, mtime_ns)
    except IndexDamaged as damage:
        raise IndexDamaged(f"{_shown(path)}: {damage.message}", damage.hint) from None


def read_index_bytes(path: bytes, oid_bytes: int) -> tuple[bytes, int]:
    """The file's bytes and its mtime_ns, of one moment. No such file: an empty index and 0.

    Raises IndexDamaged.
    """
    for _ in range(_READ_ATTEMPTS):
        try:
            with open_unblocked(path) as file:
                before = os.fstat(file.fileno())
                if not stat.S_ISREG(before.st_mode):
                    raise IndexDamaged(f"{_shown(path)}: the index is not a file")
                if not is_readable_size(before):
                    raise IndexDamaged(
                        f"{_shown(path)}: the index is larger than {MAX_INDEX_BYTES >> 20} MiB, or full of holes"
                    )
                raw = file.read(before.st_size + 1)
                after = os.fstat(file.fileno())
        except FileNotFoundError:
            return struct.pack(">4sII", b"DIRC", 2, 0) + bytes(oid_bytes), 0
        except OSError as error:
            raise IndexDamaged(f"{_shown(path)}: cannot be read: {error.strerror}") from error
        # git renames a whole new file into place; other tools write in place, and a read can then be torn.
        if (before.st_mtime_ns, len(raw)) == (after.st_mtime_ns, after.st_size):
            return raw, after.st_mtime_ns
    raise IndexDamaged(f"{_shown(path)}: keeps changing while it is read")


def parse_index(raw: bytes, oid_bytes: int, mtime_ns: int) -> Index:
    """Parse a whole index file. `oid_bytes` is 20 (sha1) or 32 (sha256). Raises IndexDamaged."""
    version, count = parse_header(raw, oid_bytes)
    names: list[bytes] = []
    offsets = array("I")
    flag_bytes = bytearray()
    try:
        if version == 4:
            parse_compressed(raw, oid_bytes, count, names, offsets, flag_bytes)
        else:
            parse_padded(raw, oid_bytes, count, names, offsets, flag_bytes)
    except IndexError:
        raise IndexDamaged("the index ends within an entry") from None
    return assemble(
        raw,
        version,
        oid_bytes,
        mtime_ns,
        names,
        offsets,
        bytes(flag_bytes),
        ordered=_ordered(names, flag_bytes),
    )


def _ordered(names: list[bytes], flag_bytes: bytes | bytearray) -> bool:
    """Whether the entries stand in git's order, each once: `find` needs it."""
    if all(map(lt, names, names[1:])):
        return True
    keys = [(name, high & STAGE_BITS) for name, high in zip(names, flag_bytes, strict=True)]
    return all(map(lt, keys, keys[1:]))


def assemble(
    raw: bytes,
    version: int,
    oid_bytes: int,
    mtime_ns: int,
    names: list[bytes],
    offsets: array[int],
    flag_bytes: bytes,
    *,
    ordered: bool,
) -> Index:
    """An index of entries already parsed; looks at the extensions behind them. Raises IndexDamaged."""
    root, inexact = parse_extensions(raw, offsets[-1], oid_bytes)
    if inexact is None and names and not names[0]:
        raise IndexDamaged("the index has a malformed name")
    if inexact is None and not ordered:
        inexact = "the index's entries are not in order"
    return Index(raw, version, oid_bytes, mtime_ns, names, offsets, flag_bytes, inexact, root)


def _shown(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")
