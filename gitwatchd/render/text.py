"""Text that is safe to show in a terminal, and how many columns it takes.

Owns nothing; pure. Runs: serving thread (and the client's process for `--direct`).
Invariant: what `shown` returns holds no control or formatting character: a file or branch name cannot move
the cursor, colour the screen or reverse the reading direction.
"""

from __future__ import annotations

from functools import lru_cache
from unicodedata import category, east_asian_width

ELLIPSIS = "…"

# Zero-width joiner and non-joiner are format characters (Cf), but emoji and Persian are written with them.
_JOINERS = "\u200c\u200d"
_HIDDEN_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
_ZERO_WIDTH_CATEGORIES = frozenset({"Mn", "Me", "Cf"})
# Hangul medial vowels and final consonants join the syllable before them.
_JAMO_JOINING = (0x1160, 0x11FF)


def shown(raw: bytes | str) -> str:
    r"""`raw` for the eye: bytes not UTF-8 and characters that could steer a terminal appear as `\xNN`."""
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    if text.isprintable():
        return text
    return "".join([_shown_character(c) for c in text])


@lru_cache(maxsize=4096)
def _shown_character(character: str) -> str:
    if character in _JOINERS or category(character) not in _HIDDEN_CATEGORIES:
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def width_of(text: str) -> int:
    """Terminal columns that `text` (already `shown`) takes."""
    if text.isascii():
        return len(text)
    return sum(map(_character_width, text))


@lru_cache(maxsize=4096)
def _character_width(character: str) -> int:
    if category(character) in _ZERO_WIDTH_CATEGORIES or _JAMO_JOINING[0] <= ord(character) <= _JAMO_JOINING[1]:
        return 0
    return 2 if east_asian_width(character) in "WF" else 1


def clip_end(text: str, width: int) -> str:
    """`text` in at most `width` columns, its end replaced by an ellipsis where it is longer."""
    if width_of(text) <= width:
        return text
    if width <= 0:
        return ""
    return _head(text, width - 1) + ELLIPSIS


def clip_start(text: str, width: int) -> str:
    """As `clip_end`, but what is cut is the beginning: a path's last part says most."""
    if width_of(text) <= width:
        return text
    if width <= 0:
        return ""
    room, start = width - 1, len(text)
    while start and (room := room - _character_width(text[start - 1])) >= 0:
        start -= 1
    # A combining mark whose base was cut would sit on the ellipsis.
    while start < len(text) and not _character_width(text[start]):
        start += 1
    return ELLIPSIS + text[start:]


def _head(text: str, width: int) -> str:
    for position, character in enumerate(text):
        width -= _character_width(character)
        if width < 0:
            return text[:position]
    return text
