"""Offsets read back as git writes them; a number without end is none."""

from __future__ import annotations

import pytest

from gitwatchd.git.varint import parse_offset


def encoded(value: int) -> bytes:
    """As git's encode_varint does it: from the last byte to the first."""
    found = [value & 0x7F]
    while value := value >> 7:
        value -= 1
        found.append(value & 0x7F | 0x80)
    return bytes(reversed(found))


@pytest.mark.parametrize(
    "value", [0, 1, 127, 128, 16511, 16512, 2113663, 2113664, 1 << 32, (1 << 63) - 1, (1 << 64) - 1]
)
def test_what_was_written(value: int) -> None:
    raw = b"before" + encoded(value) + b"\xff"
    assert parse_offset(raw, 6) == (value, len(raw) - 1)


def test_without_end() -> None:
    with pytest.raises(ValueError, match="64 bits"):
        parse_offset(b"\xff" * 1000 + b"\0", 0)


def test_cut_off() -> None:
    with pytest.raises(IndexError):
        parse_offset(b"\xff\xff", 0)
