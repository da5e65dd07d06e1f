"""The form of number that git has for offsets: seven bits a byte, each byte but the last with its top bit set.

How far back the base of a delta lies is one (gitformat-pack), and how much index version 4 cuts from a name
(gitformat-index). What one more byte means begins where one less ends, so that no number has two forms.

Owns nothing. Pure.
"""

from __future__ import annotations

import mmap

_LONGEST_BYTES = 10
"""Of 64 bits. A megabyte that goes on and on would else keep us for an hour: each byte makes the number longer."""


def parse_offset(raw: bytes | mmap.mmap, at: int) -> tuple[int, int]:
    """The number at `at`, and where it ends. Raises ValueError when it is too long, IndexError if `raw` breaks off."""
    byte = raw[at]
    value = byte & 0x7F
    last = at + _LONGEST_BYTES - 1
    while byte & 0x80:
        if at == last:
            raise ValueError("a number of more than 64 bits")
        at += 1
        byte = raw[at]
        value = (value + 1) << 7 | byte & 0x7F
    return value, at + 1
