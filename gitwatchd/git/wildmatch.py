"""git's wildmatch in path mode, as regular expressions over bytes.

Owns: the translation of one glob. Runs: anywhere; pure.
Invariant: `fullmatch` of the expression equals git's `wildmatch(pattern, text, WM_PATHNAME)` for text without NUL.
Invariant: no pattern makes the expression backtrack more than about (length of text)^2. A repository brings its own
patterns and `re` holds the GIL, so a plain translation of `*a*a*a*a*b` would let it freeze the daemon.

How that holds: with `/` out of reach of `*`, `?` and brackets, the piece between two stars may take its first place
(nothing later can need another one), and what stands between two `**/` covers a known number of segments. Both are
written as atomic groups; only the last `*` and the last `**` of a pattern look for their place from the end.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SLASH = 0x2F
_SPACES = b" \t\n\r"
_CLASSES: dict[bytes, frozenset[int]] = {
    # git's own character tables (ASCII, no locale): \v and \f are not space, but they are control characters.
    b"alnum": frozenset(b for b in range(1, 128) if chr(b).isalnum()),
    b"alpha": frozenset(b for b in range(1, 128) if chr(b).isalpha()),
    b"blank": frozenset(b" \t"),
    b"cntrl": frozenset((*range(1, 32), 127)),
    b"digit": frozenset(b"0123456789"),
    b"graph": frozenset(range(0x21, 0x7F)),
    b"lower": frozenset(range(ord("a"), ord("z") + 1)),
    b"print": frozenset(range(0x20, 0x7F)),
    b"punct": frozenset(b for b in range(0x21, 0x7F) if not chr(b).isalnum()),
    b"space": frozenset(_SPACES),
    b"upper": frozenset(range(ord("A"), ord("Z") + 1)),
    b"xdigit": frozenset(b"0123456789abcdefABCDEF"),
}
_LOWER = _CLASSES[b"lower"]
_GLOB_SPECIAL = re.compile(rb"[*?\[\\]")

_STAR = b"*"
_STARSTAR = b"**"
_STARSTAR_SLASH = b"**/"
_Token = tuple[bytes, bytes]
"""(kind, source): kind is _STAR, _STARSTAR, _STARSTAR_SLASH (source empty) or b"" for one byte's expression."""


def literal_prefix_length(pattern: bytes) -> int:
    """How many bytes stand before the first of `* ? [ \\`."""
    found = _GLOB_SPECIAL.search(pattern)
    return found.start() if found else len(pattern)


@lru_cache(maxsize=1024)
def _compiled(pattern: bytes, casefold: bool) -> re.Pattern[bytes] | None:
    source = translate(pattern, casefold=casefold)
    return None if source is None else re.compile(source, re.DOTALL)


def wildmatch(pattern: bytes, text: bytes, *, casefold: bool = False) -> bool:
    """Whether the whole `text` matches; `*` and `?` never match `/`."""
    compiled = _compiled(pattern, casefold)
    return compiled is not None and compiled.fullmatch(text.lower() if casefold else text) is not None


def translate(pattern: bytes, *, casefold: bool = False) -> bytes | None:
    """The source of an expression (for re.DOTALL) whose full match is git's match; None if nothing can match.

    Groups in it do not capture. With `casefold` the text must be lowered (ASCII) by the caller, as git lowers it.
    """
    tokens = _tokenise(pattern, casefold)
    if tokens is None:
        return None
    stretches: list[list[_Token]] = [[]]
    skips: list[bytes] = []
    for token in tokens:
        if token[0] in (_STARSTAR, _STARSTAR_SLASH):
            skips.append(token[0])
            stretches.append([])
        else:
            stretches[-1].append(token)
    parts = [_stretch(stretches[0])]
    last = len(stretches) - 1
    for number, (skip, stretch) in enumerate(zip(skips, stretches[1:], strict=True), start=1):
        source = _stretch(stretch)
        if number == last:
            parts.append((b"(?:.*/)?" if skip == _STARSTAR_SLASH else b".*") + source)
        elif skip == _STARSTAR_SLASH:
            parts.append(b"(?>(?:[^/]*/)*?" + source + b")")
        else:
            parts.append(b"(?>.*?" + source + b")")
    return b"".join(parts)


def _stretch(tokens: list[_Token]) -> bytes:
    """The expression of what stands between two `**`: single bytes and `*`."""
    pieces: list[list[bytes]] = [[]]
    for kind, source in tokens:
        if kind == _STAR:
            pieces.append([])
        else:
            pieces[-1].append(source)
    parts = [b"".join(pieces[0])]
    for number, piece in enumerate(pieces[1:], start=1):
        ends_segment = number == len(pieces) - 1 or b"/" in piece
        body = b"".join(piece)
        parts.append(b"[^/]*" + body if ends_segment else b"(?>[^/]*?" + body + b")")
    return b"".join(parts)


def _tokenise(pattern: bytes, casefold: bool) -> list[_Token] | None:
    tokens: list[_Token] = []
    at, end = 0, len(pattern)
    while at < end:
        char = pattern[at]
        if char == 0x5C:  # a backslash; at the end of the pattern it matches nothing at all
            at += 1
            if at == end:
                return None
            # git does not lower an escaped letter, so with casefold `\A` matches neither `a` nor `A`.
            tokens.append((b"", re.escape(pattern[at : at + 1])))
            at += 1
        elif char == 0x3F:
            tokens.append((b"", b"[^/]"))
            at += 1
        elif char == 0x2A:
            stars_end = at
            while stars_end < end and pattern[stars_end] == 0x2A:
                stars_end += 1
            whole_segment = at == 0 or pattern[at - 1] == _SLASH
            rest = pattern[stars_end : stars_end + 2]
            if stars_end - at == 1 or not whole_segment or not (rest[:1] in (b"", b"/") or rest == b"\\/"):
                tokens.append((_STAR, b""))
            elif rest[:1] == b"/":
                tokens.append((_STARSTAR_SLASH, b""))
                stars_end += 1
            else:
                tokens.append((_STARSTAR, b""))
            at = stars_end
        elif char == 0x5B:
            bracket = _bracket(pattern, at, casefold)
            if bracket is None:
                return None
            source, at = bracket
            tokens.append((b"", source))
        else:
            one = pattern[at : at + 1]
            tokens.append((b"", re.escape(one.lower() if casefold else one)))
            at += 1
    return tokens


def _bracket(pattern: bytes, at: int, casefold: bool) -> tuple[bytes, int] | None:
    """The expression of the bracket that opens at `at`, and where it ends; None if malformed (git: no match)."""
    end = len(pattern)
    members: set[int] = set()
    at += 1
    negated = pattern[at : at + 1] in (b"!", b"^")
    if negated:
        at += 1
    first = at
    previous = 0  # 0 = no start for a range: at the beginning, after a range and after a class
    while True:
        if at >= end:
            return None
        char = pattern[at]
        if char == 0x5D and at != first:
            break
        if char == 0x5C:
            at += 1
            if at >= end:
                return None
            char = previous = pattern[at]
            members.add(char)
        elif char == 0x2D and previous and at + 1 < end and pattern[at + 1] != 0x5D:
            at += 1
            if pattern[at] == 0x5C:
                at += 1
                if at >= end:
                    return None
            span = range(previous, pattern[at] + 1)
            members.update(span)
            if casefold:
                members.update(b for b in _LOWER if b - 32 in span)
            previous = 0
        elif char == 0x5B and pattern[at + 1 : at + 2] == b":":
            closing = pattern.find(b"]", at + 2)
            if closing < 0:
                return None
            name = pattern[at + 2 : closing]
            if not name.endswith(b":"):
                members.add(char)
                previous = char
            else:
                named = _CLASSES.get(name[:-1])
                if named is None:
                    return None
                members.update(named)
                if casefold and name == b"upper:":
                    members.update(_LOWER)
                at = closing
                previous = 0
        else:
            members.add(char)
            previous = char
        at += 1
    if negated:
        members = set(range(1, 256)) - members
    members.discard(_SLASH)
    return _byte_class(members), at + 1


def _byte_class(members: set[int]) -> bytes:
    if not members:
        return b"(?!)"
    ranges: list[tuple[int, int]] = []
    for byte in sorted(members):
        if ranges and ranges[-1][1] == byte - 1:
            ranges[-1] = (ranges[-1][0], byte)
        else:
            ranges.append((byte, byte))
    return b"[" + b"".join(b"\\x%02x-\\x%02x" % span for span in ranges) + b"]"
