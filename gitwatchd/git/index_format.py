"""The bytes of git's index file: versions 2, 3 and 4, sha1 and sha256 (git's Documentation/gitformat-index).

Owns: the format's constants. Runs: any thread. Pure: bytes in, rows out; raises IndexDamaged.
Invariant: an entry is parsed from its own bytes and, in version 4, the name before it; from nothing else.
Names may come out empty: in a split index those are replacements of the shared index's entries.
"""

from __future__ import annotations

import os
import struct
from array import array
from collections.abc import Iterator

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.varint import parse_offset

HEADER_BYTES = 12
STAT_FIELDS = struct.Struct(">10I")
"""An entry begins with: ctime s, ns, mtime s, ns, dev, ino, mode, uid, gid, size; each modulo 2**32."""

ASSUME_VALID_BIT = 0x80
EXTENDED_BIT = 0x40
STAGE_BITS = 0x30
"""These three are bits of the first of the two bytes of flags that every entry has."""

MAX_INDEX_BYTES = 1 << 27
"""Some 1.3 million entries, and four times as much memory while it is read; the daemon may read several at once. Git
reads what is larger, in a child with a limit of its own, or an archive with one index would take our memory."""

_SPARSENESS = 16
"""How many times larger than what is allocated for it a file of ours to read may be. File systems that compress make
an index a third; an archive makes a gigabyte of holes from nothing."""
_MOST_LONG_NAMES_BYTES = 1 << 24
"""Of names over 255 bytes in version 4, where a few bytes stand for a name as long as all that came before."""

_LONG_NAME = 0xFFF
"""The length that stands for "this long or longer"."""
_KNOWN_EXTENDED_FLAGS = 0x6000


class IndexDamaged(EnvironmentFailure):
    """The index cannot be read, or is not what its format says."""


def is_readable_size(status: os.stat_result) -> bool:
    """Whether a file of that size may be an index."""
    small = status.st_size < 1 << 20
    return small or status.st_size <= min(MAX_INDEX_BYTES, status.st_blocks * 512 * _SPARSENESS)


def parse_header(raw: bytes, oid_bytes: int) -> tuple[int, int]:
    """Version and number of entries. Raises IndexDamaged."""
    if len(raw) < HEADER_BYTES + oid_bytes:
        raise IndexDamaged("the index is shorter than its header")
    signature, version, count = struct.unpack_from(">4sII", raw)
    if signature != b"DIRC":
        raise IndexDamaged("the index has no signature")
    if version not in (2, 3, 4):
        raise IndexDamaged(f"index version {version} is not known")
    return version, count


def parse_entry(raw: bytes, at: int, version: int, oid_bytes: int, previous: bytes) -> tuple[bytes, int, int]:
    """Name, first flag byte and end of the entry at `at`; `previous` is the name before (for version 4).

    Raises IndexDamaged, or IndexError where the file ends first.
    """
    flags_at = at + STAT_FIELDS.size + oid_bytes
    high = raw[flags_at]
    length = (high & 0x0F) << 8 | raw[flags_at + 1]
    start = flags_at + 2
    if high & EXTENDED_BIT:
        if (raw[start] << 8 | raw[start + 1]) & ~_KNOWN_EXTENDED_FLAGS:
            raise IndexDamaged("the index has an entry with unknown flags")
        start += 2
    if version == 4:
        try:
            cut, start = parse_offset(raw, start)
        except ValueError:
            raise IndexDamaged("the index has a malformed name") from None
        end = raw.find(b"\0", start)
        if end < 0 or cut > len(previous):
            raise IndexDamaged("the index has a malformed name")
        name = previous[: len(previous) - cut] + raw[start:end]
        after = end + 1
    else:
        end = raw.find(b"\0", start) if length == _LONG_NAME else start + length
        if end < 0 or raw[end]:
            raise IndexDamaged("the index has a malformed name")
        name = raw[start:end]
        after = at + ((end - at + 8) & ~7)
    if min(len(name), _LONG_NAME) != length:
        raise IndexDamaged("the index has a malformed name")
    return name, high, after


def parse_padded(
    raw: bytes, oid_bytes: int, count: int, names: list[bytes], offsets: array[int], flag_bytes: bytearray
) -> None:
    """Versions 2 and 3. The loop that costs: plain entries with names below 256 bytes are taken inline."""
    at = HEADER_BYTES
    flags_offset = STAT_FIELDS.size + oid_bytes
    add_name, add_offset, add_flag = names.append, offsets.append, flag_bytes.append
    for _ in range(count):
        add_offset(at)
        flags_at = at + flags_offset
        high = raw[flags_at]
        if high & (EXTENDED_BIT | 0x0F):
            name, high, at = parse_entry(raw, at, 2, oid_bytes, b"")
            add_name(name)
        else:
            start = flags_at + 2
            end = start + raw[flags_at + 1]
            if raw[end]:
                raise IndexDamaged("the index has a malformed name")
            add_name(raw[start:end])
            # Entries are padded with 1 to 8 NULs to a multiple of 8, counted from the header's 12 bytes.
            at = ((end + 4) & -8) + 4
        add_flag(high)
    add_offset(at)


def parse_compressed(
    raw: bytes, oid_bytes: int, count: int, names: list[bytes], offsets: array[int], flag_bytes: bytearray
) -> None:
    """Version 4: each name is the previous one with its end cut off and another put there."""
    at = HEADER_BYTES
    flags_offset = STAT_FIELDS.size + oid_bytes
    add_name, add_offset, add_flag = names.append, offsets.append, flag_bytes.append
    find = raw.find
    name = b""
    long_names_bytes = 0
    for _ in range(count):
        add_offset(at)
        flags_at = at + flags_offset
        high = raw[flags_at]
        cut = raw[flags_at + 2]
        if high & (EXTENDED_BIT | 0x0F) or cut & 0x80:
            name, high, at = parse_entry(raw, at, 4, oid_bytes, name)
            long_names_bytes += len(name)
            if long_names_bytes > _MOST_LONG_NAMES_BYTES:
                raise IndexDamaged("the index has names that are too long to be read here")
        else:
            end = find(b"\0", flags_at + 3)
            kept = len(name) - cut
            if kept < 0 or end < 0:
                raise IndexDamaged("the index has a malformed name")
            name = name[:kept] + raw[flags_at + 3 : end]
            if len(name) != raw[flags_at + 1]:
                raise IndexDamaged("the index has a malformed name")
            at = end + 1
        add_name(name)
        add_flag(high)
    add_offset(at)


def parse_extensions(raw: bytes, at: int, oid_bytes: int) -> tuple[bytes | None, str | None]:
    """The valid root of the cache tree or None; why the index is inexact or None."""
    end = len(raw) - oid_bytes
    root: bytes | None = None
    inexact: str | None = None
    while at <= end - 8:
        signature = raw[at : at + 4]
        data = at + 8
        at = data + int.from_bytes(raw[at + 4 : data])
        if signature == b"TREE":
            root = _parse_cache_tree_root(raw, data, at, oid_bytes)
        elif signature == b"link":
            inexact = "split index"
        elif signature == b"sdir":
            inexact = "sparse index"
        elif not b"A" <= signature[:1] <= b"Z":
            # git refuses an extension it does not know unless its name begins with a capital.
            inexact = f"unknown index extension {signature!r}"
    if at != end:
        raise IndexDamaged("the index does not end where it should")
    return root, inexact


def _parse_cache_tree_root(raw: bytes, at: int, end: int, oid_bytes: int) -> bytes | None:
    """First record of the TREE extension: NUL, "ENTRIES SUBTREES\\n", oid; ENTRIES -1 means invalid.

    So does any other number than that of the index's entries: see `Index.cache_tree_agrees`.
    """
    line_end = raw.find(b"\n", at, end)
    entries = raw[at + 1 : line_end].partition(b" ")[0]
    if line_end < 0 or raw[at] or line_end + 1 + oid_bytes > end or entries != b"%d" % int.from_bytes(raw[8:12]):
        return None
    return raw[line_end + 1 : line_end + 1 + oid_bytes]


def parse_cache_tree(raw: bytes, at: int, oid_bytes: int) -> Iterator[tuple[bytes, int]]:
    """The records of the TREE extension behind the entries, which end at `at`: each directory's prefix (`b"a/b/"`, the
    top's b"") and how many entries git counted below it when it noted its tree, -1 where the tree is not known.

    Raises ValueError or IndexError where it is malformed.
    """
    # `above`: directories whose records have begun, with how many subdirectories' are still to come.
    end = len(raw) - oid_bytes
    while at <= end - 8 and raw[at : at + 4] != b"TREE":
        at += 8 + int.from_bytes(raw[at + 4 : at + 8])
    if at > end - 8:
        return
    at, end = at + 8, at + 8 + int.from_bytes(raw[at + 4 : at + 8])
    above: list[tuple[bytes, int]] = []
    while at < end:
        name_end = raw.index(b"\0", at, end)
        line_end = raw.index(b"\n", name_end, end)
        entries, subtrees = map(int, raw[name_end + 1 : line_end].split(b" "))
        prefix = above[-1][0] + raw[at:name_end] + b"/" if above else b""
        yield prefix, entries
        at = line_end + 1 + (oid_bytes if entries >= 0 else 0)
        if above:
            above[-1] = above[-1][0], above[-1][1] - 1
        above.append((prefix, subtrees))
        while above and not above[-1][1]:
            above.pop()
