"""Whether the chain of deltas that a packed object is made of comes to an end.

libgit2 follows a delta to its base, and that to its own, without looking whether it was there before: a pack that an
archive brings with it can send it in a circle, for ever and with the interpreter's lock held. So the chain is followed
here first, by its headers. An object that is no delta is read here: HEAD's commit and its tree, of most packs, and then
there is no need of libgit2 (its import takes as long as thirty repositories).

Owns: the pack indexes and packs of one object directory and its alternates, opened at first use and given back by
`close`. Runs: one thread at a time. Raises ChainUnknown, ChainEndless.
Invariant: what libgit2 may find the object by is what it is looked up by here: each index, and a multi-pack index. A
base that is named (and not so many bytes before) is one of the same pack.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.files import raise_if_exhausted
from gitwatchd.git.layout import object_directories
from gitwatchd.git.varint import parse_offset

_OID_BYTES = 20
_LONGEST = 10_000
"""Deltas in one chain; git makes 4,095 at most."""
_LONGEST_HEADER_BYTES = 10
"""Of an object's kind and size: 4 bits of it and 7 in each further byte are 67, git takes no more than 64."""
_MOST_PACKS = 64
"""With an index of their own: each takes a descriptor or two. git thinks of packing them together from 50 on."""
_MOST_KNOWN = 1 << 17
"""Places in packs that are known to be good: chains have most of their bases in common."""
_OFFSET_DELTA, _NAMED_DELTA = 6, 7
_WHOLE = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}
_TABLE_OF_CONTENTS = b"\xfftOc\0\0\0\2"
_LARGE = 1 << 31
_FEW = 32
"""Names among which one is looked for byte by byte, in C."""


class ChainUnknown(EnvironmentFailure):
    """It cannot be followed here: a pack or its index is damaged, or of a version that is long out of use."""


class ChainEndless(EnvironmentFailure):
    """It goes round in a circle."""


class _Table:
    """Object names in order, each with the pack and the place in it where that object is."""

    def __init__(self, raw: mmap.mmap, fan: int, names: int, places: int, width: int, large: int) -> None:
        self._raw, self._names, self._places, self._large = raw, names, places, large
        self._place = struct.Struct(f">{width}I")
        self._fan = struct.unpack_from(">256I", raw, fan)
        if max(self._fan) * _OID_BYTES + names > len(raw):
            raise ChainUnknown("an index of a pack is shorter than it says")

    def find(self, oid: bytes) -> tuple[int, int] | None:
        """Number of the pack (0 where there is but one) and place in it."""
        raw, names = self._raw, self._names
        low, high = (self._fan[oid[0] - 1] if oid[0] else 0), self._fan[oid[0]]
        while high - low > _FEW:
            middle = (low + high) // 2
            at = names + middle * _OID_BYTES
            if raw[at : at + _OID_BYTES] > oid:
                high = middle
            else:
                low = middle
        at, end = names + low * _OID_BYTES, names + high * _OID_BYTES
        while (at := raw.find(oid, at, end)) >= 0 and (at - names) % _OID_BYTES:
            at += 1  # the end of one name and the beginning of the next
        if at < 0:
            return None
        row = (at - names) // _OID_BYTES
        fields = self._place.unpack_from(raw, self._places + row * self._place.size)
        place = fields[-1]
        if place & _LARGE:
            (place,) = struct.unpack_from(">Q", raw, self._large + (place ^ _LARGE) * 8)
        return fields[0] if len(fields) == 2 else 0, place


class _Pack:
    def __init__(self, path: bytes) -> None:
        self.index = _read_index(_map(path[:-5] + b".idx"))
        self.good: set[int] = set()
        """Places from which every chain ends."""
        self._path = path

    @cached_property
    def raw(self) -> mmap.mmap:
        return _map(self._path)


class DeltaChains:
    def __init__(self, directory: bytes) -> None:
        """`directory`: objects."""
        self._directory = directory
        self._packs: dict[bytes, _Pack] | None = None
        """Those that an index of their own is for, and those of a multi-pack index that were needed."""
        self._alone: list[_Pack] = []
        self._multiple: list[tuple[_Table, list[bytes]]] = []
        """Multi-pack indexes, each with the paths of its packs in order."""

    def close(self) -> None:
        self._packs = None
        self._alone = []
        self._multiple = []

    def read_whole(self, oid: bytes, largest: int) -> tuple[bytes, bytes] | None:
        """Type and content of an object that a pack has as it is; None for a delta, for one that is larger, or that is
        not what its name says. Raises ChainUnknown. `oid`: raw."""
        with _damage_told():
            for pack, place in self._find(oid):
                found = _read_whole(pack.raw, place, largest)
                # As libgit2 does: an index can give any object any name.
                if found is not None and _name_of(*found) == oid:
                    return found
        return None

    def check(self, oid: bytes) -> None:
        """Raises unless it comes to an end in each pack that has the object. `oid`: raw."""
        with _damage_told():
            for pack, place in self._find(oid):
                _follow(pack, place)

    def _find(self, oid: bytes) -> list[tuple[_Pack, int]]:
        places = list(self._places(oid))
        if not places:
            # Loose in an alternate; or in a pack that was not there when the others were opened.
            self.close()
            places = list(self._places(oid))
        return places

    def _places(self, oid: bytes) -> Iterator[tuple[_Pack, int]]:
        if self._packs is None:
            self._packs = {}
            self._open(self._packs)
        for pack in self._alone:
            if (found := pack.index.find(oid)) is not None:
                yield pack, found[1]
        for table, paths in self._multiple:
            if (found := table.find(oid)) is not None:
                path = paths[found[0]]
                if path not in self._packs:
                    self._packs[path] = _Pack(path)
                yield self._packs[path], found[1]

    def _open(self, packs: dict[bytes, _Pack]) -> None:
        for directory in object_directories(self._directory):
            below = directory + b"/pack/"
            try:
                names = set(os.listdir(below))
            except OSError as error:
                raise_if_exhausted(error)
                continue
            if b"multi-pack-index" in names:
                table, common = _read_multiple(_map(below + b"multi-pack-index"))
                self._multiple.append((table, [below + name[:-4] + b".pack" for name in common]))
                names -= {name[:-4] + b".pack" for name in common}
            for name in names:
                if name.endswith(b".pack") and name[:-5] + b".idx" in names:
                    if len(packs) >= _MOST_PACKS:
                        raise ChainUnknown("there are too many packs")
                    packs[below + name] = _Pack(below + name)
        self._alone = list(packs.values())


@contextmanager
def _damage_told() -> Iterator[None]:
    try:
        yield
    except (struct.error, IndexError, KeyError, ValueError) as error:
        raise ChainUnknown(f"a pack or its index is damaged: {error}") from None
    except OSError as error:
        raise_if_exhausted(error)
        raise ChainUnknown(f"a pack cannot be opened: {error.strerror}") from None


def _header(raw: mmap.mmap, place: int) -> tuple[int, int, int]:
    """(type, size, where what follows begins)."""
    byte = raw[place]
    kind, size, shift, at = byte >> 4 & 7, byte & 0x0F, 4, place + 1
    while byte & 0x80:
        if at - place >= _LONGEST_HEADER_BYTES:
            raise ChainUnknown("a pack has an object that is larger than there can be one")
        byte = raw[at]
        size |= (byte & 0x7F) << shift
        shift, at = shift + 7, at + 1
    return kind, size, at


def _read_whole(raw: mmap.mmap, place: int, largest: int) -> tuple[bytes, bytes] | None:
    number, size, at = _header(raw, place)
    kind = _WHOLE.get(number)
    if kind is None or size > largest:
        return None
    stream = zlib.decompressobj()
    try:
        # No more of the pack than zlib makes of so many bytes at worst, and one byte more than there should be.
        content = stream.decompress(raw[at : at + size + (size >> 10) + 64], size + 1)
    except zlib.error:
        return None
    return (kind, content) if stream.eof and len(content) == size else None


def _name_of(kind: bytes, content: bytes) -> bytes:
    import hashlib

    return hashlib.sha1(b"%s %d\0%s" % (kind, len(content), content), usedforsecurity=False).digest()


def _follow(pack: _Pack, place: int) -> None:
    raw, good = pack.raw, pack.good
    seen: set[int] = set()
    while place not in good:
        if place in seen or len(seen) > _LONGEST:
            raise ChainEndless("a pack has an object that is made of itself")
        seen.add(place)
        kind, _, at = _header(raw, place)
        if kind == _OFFSET_DELTA:
            back, _ = parse_offset(raw, at)
            if not 0 < back < place:
                raise ChainUnknown("a pack has a delta to what is not there")
            place -= back
        elif kind == _NAMED_DELTA:
            found = pack.index.find(raw[at : at + _OID_BYTES])
            if found is None:
                break  # libgit2 looks nowhere else, and says so
            place = found[1]
        else:
            break
    if len(good) > _MOST_KNOWN:
        good.clear()
    good |= seen


def _map(path: bytes) -> mmap.mmap:
    with open(path, "rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _read_index(raw: mmap.mmap) -> _Table:
    if raw[:8] != _TABLE_OF_CONTENTS:
        raise ChainUnknown("an index of a pack of a version that is not read here")
    (count,) = struct.unpack_from(">I", raw, 8 + 255 * 4)
    names = 8 + 256 * 4
    places = names + count * (_OID_BYTES + 4)
    return _Table(raw, 8, names, places, 1, places + count * 4)


def _read_multiple(raw: mmap.mmap) -> tuple[_Table, list[bytes]]:
    """And the names of the packs' indexes."""
    magic, version, kind, chunks, base, packs = struct.unpack_from(">4sBBBBI", raw)
    if (magic, version, kind, base) != (b"MIDX", 1, 1, 0):
        raise ChainUnknown("a multi-pack index of a version that is not read here")
    at: dict[bytes, int] = dict(struct.iter_unpack(">4sQ", raw[12 : 12 + 12 * chunks]))
    names = raw[at[b"PNAM"] :].split(b"\0", packs)[:packs]
    return _Table(raw, at[b"OIDF"], at[b"OIDL"], at[b"OOFF"], 2, at.get(b"LOFF", len(raw))), names
