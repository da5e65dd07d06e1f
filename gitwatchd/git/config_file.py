"""git's configuration syntax: one file's bytes to its entries, and a value's text to its meaning.

Owns: the syntax. Runs: anywhere; pure, except `read_config_file`, which reads one file.
Invariant: the entries are those `git config --list --file F -z` prints, in its order, unless `needs_git` says why not.
Invariant: what git refuses (`bad config line N`) raises ConfigDamaged here.
Never: follows includes; that is `repository_config`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from dataclasses import dataclass
from functools import lru_cache

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.files import open_unblocked

MAX_CONFIG_BYTES = 4 << 20
"""Of one file: some 40,000 branches with an upstream. It is parsed at 1 us a line, sometimes on the serving thread."""
_MOST_LINES = 1 << 18

_BOM = b"\xef\xbb\xbf"
_BLANKS = b" \t\r"
_SECTION = re.compile(rb"\[([A-Za-z0-9.-]*)(?:\]|([ \t\r]+)\"((?:[^\n\"\\]|\\[^\n])*)\"\])")
_NAME = re.compile(rb"([A-Za-z][A-Za-z0-9-]*)[ \t]*(=|(?=\n))")
_PLAIN_VALUE = re.compile(rb"[ \t\r]*([^\n\"\\;#\t\r]*)(?=\n)")
_SKIPPED = re.compile(rb"(?:[ \t\r\n]+|[;#][^\n]*)*")
_ESCAPED = re.compile(rb"\\(.)")
_ESCAPES = {0x74: 0x09, 0x62: 0x08, 0x6E: 0x0A, 0x5C: 0x5C, 0x22: 0x22}


class ConfigDamaged(EnvironmentFailure):
    """git itself refuses this configuration, so it refuses every command in the repository."""


@dataclass(frozen=True, slots=True)
class Config:
    """One file's entries in its order: (key, value). A key is in git's canonical form: section and variable name in
    lower case, subsection as written (`remote.Origin.url`). A value of None is a name without `=` (true)."""

    entries: tuple[tuple[bytes, bytes | None], ...] = ()
    needs_git: str = ""
    """Why only the installed git can tell the values; empty when they are exact."""


def parse_config(raw: bytes, name: bytes = b"the configuration") -> Config:
    """Raises ConfigDamaged, naming the line and `name`, where git does."""
    # One look at a repository parses its config half a dozen times: for its format, its layout, its values.
    if len(raw) <= _LARGEST_KEPT_BYTES:
        return _parse_again(raw, name)
    if raw.count(b"\n") > _MOST_LINES:
        raise ConfigDamaged(f"{os.fsdecode(name)} has more than {_MOST_LINES} lines and is not read", "shorten it")
    return _parse(raw, name) if len(raw) < _LARGE_BYTES else _parse_large_again(raw, name)


_LARGEST_KEPT_BYTES = 4096
_LARGE_BYTES = 1 << 18
"""From here on (10 ms) the last one is kept, too: few have one such, hardly anybody two."""


@lru_cache(maxsize=1)
def _parse_large_again(raw: bytes, name: bytes) -> Config:
    return _parse(raw, name)


@lru_cache(maxsize=64)
def _parse_again(raw: bytes, name: bytes) -> Config:
    return _parse(raw, name)


def _parse(raw: bytes, name: bytes) -> Config:
    # git reads CRLF as LF, supplies a missing last newline, and takes a backslash before the end for a continuation.
    text = raw.removeprefix(_BOM).replace(b"\r\n", b"\n") + b"\n\n"
    entries: list[tuple[bytes, bytes | None]] = []
    needs_git = "" if b"\0" not in raw else "a NUL byte"
    section = b""
    at, end = 0, len(text)
    while True:
        at = _SKIPPED.match(text, at).end()  # type: ignore[union-attr]
        if at >= end:
            return Config(tuple(entries), needs_git)
        if text[at] == 0x5B:
            header = _SECTION.match(text, at)
            if header is None or (not header[1] and header[2] is None):
                raise _bad_line(text, at, name)
            section = header[1].lower() + b"."
            if header[2] is not None:
                section += (_ESCAPED.sub(rb"\1", header[3]) if b"\\" in header[3] else header[3]) + b"."
            at = header.end()
            continue
        variable = _NAME.match(text, at)
        if variable is None:
            raise _bad_line(text, at, name)
        key = section + variable[1].lower()
        at = variable.end()
        if not variable[2]:
            entries.append((key, None))
            continue
        plain = _PLAIN_VALUE.match(text, at)
        if plain is not None:
            entries.append((key, plain[1].rstrip(b" ")))
            at = plain.end()
            continue
        parsed = _quoted_value(text, at)
        if parsed is None:
            raise _bad_line(text, at, name)
        value, at, blanks_kept = parsed
        if blanks_kept:
            # Until 2.45 git turned each of them into a space, since then it keeps them.
            needs_git = "a tab inside an unquoted value"
        entries.append((key, value))


def _bad_line(text: bytes, at: int, name: bytes) -> ConfigDamaged:
    line = text.count(b"\n", 0, at) + 1
    return ConfigDamaged(f"bad config line {line} in file {os.fsdecode(name)}", "correct that line")


def _quoted_value(text: bytes, at: int) -> tuple[bytes, int, bool] | None:
    """A value with quotes, escapes, comments, continuations or tabs; None if malformed.

    Returns it, the place of the newline that ends it, and whether unquoted blanks other than spaces stand inside it.
    """
    value = bytearray()
    pending = bytearray()
    quoted = commented = odd_blanks = False
    while True:
        char = text[at]
        at += 1
        if char == 0x0A:
            return None if quoted else (bytes(value), at - 1, odd_blanks)
        if commented:
            continue
        if not quoted:
            if char in _BLANKS:
                if value:
                    pending.append(char)
                continue
            if char in b";#":
                commented = True
                continue
        if pending:
            odd_blanks = odd_blanks or bool(pending.strip(b" "))
            value += b" " * len(pending)
            pending.clear()
        if char == 0x5C:
            escaped = text[at]
            at += 1
            if escaped == 0x0A:
                continue
            if escaped not in _ESCAPES:
                return None
            value.append(_ESCAPES[escaped])
        elif char == 0x22:
            quoted = not quoted
        else:
            value.append(char)


Fingerprint = tuple[int, int, int, int, int]
"""What tells one content of a file from another: device, inode, size, mtime_ns, ctime_ns."""


def fingerprint_of(found: os.stat_result) -> Fingerprint:
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read_config_file(path: bytes, *, may_be_unreadable: bool) -> tuple[Config, Fingerprint] | None:
    """The entries of the file and what it was when read; None if there is none (git skips it without a word).

    `may_be_unreadable`: permission denied counts as absent (git's rule for the user's own files).
    Raises ConfigDamaged where git would end, LeadsAway.
    """
    reach.check(path)
    try:
        with open_unblocked(path) as file:
            found = os.fstat(file.fileno())
            if not stat.S_ISREG(found.st_mode) and not os.path.samestat(found, os.stat(os.devnull)):
                raise ConfigDamaged(f"{os.fsdecode(path)} is no regular file", "git cannot read it either")
            raw = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR) or (error.errno == errno.EACCES and may_be_unreadable):
            return None
        raise ConfigDamaged(f"cannot read {os.fsdecode(path)}: {error.strerror}", "see its permissions") from error
    if len(raw) > MAX_CONFIG_BYTES:
        raise ConfigDamaged(
            f"{os.fsdecode(path)} is larger than {MAX_CONFIG_BYTES >> 20} MiB and not read",
            "shorten it: ls -l shows its size",
        )
    return parse_config(raw, path), fingerprint_of(found)


class BadValue(ConfigDamaged):
    """A value of a kind that git refuses for its variable: `bad boolean config value`."""

    def __init__(self, key: bytes, value: bytes | None, wanted: str) -> None:
        shown = "no value" if value is None else f"'{os.fsdecode(value)}'"
        super().__init__(f"bad {wanted} config value {shown} for '{os.fsdecode(key)}'", "correct it with git config")


_TRUE = frozenset((b"true", b"yes", b"on"))
_FALSE = frozenset((b"false", b"no", b"off", b""))
_NUMBER = re.compile(rb"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)([kKmMgG]?)")
_UNITS = {b"": 1, b"k": 1024, b"m": 1024**2, b"g": 1024**3}


def find_boolean(value: bytes | None) -> bool | None:
    """A value read as git reads booleans, numbers included; None if it is none."""
    if value is None:
        return True
    lowered = value.lower()
    if lowered in _TRUE:
        return True
    if lowered in _FALSE:
        return False
    number = find_integer(value)
    return None if number is None or abs(number) >= 2**31 else number != 0


def find_integer(value: bytes | None) -> int | None:
    """A number with the units k, m, g, in decimal, 0x or 0 notation; None if it is none."""
    if value is None:
        return None
    found = _NUMBER.fullmatch(value)
    if found is None:
        return None
    digits = found[2].lower()
    try:
        number = int(digits, 16 if digits.startswith(b"0x") else 8 if digits.startswith(b"0") else 10)
    except ValueError:
        return None  # 08
    number *= _UNITS[found[3].lower()]
    return -number if found[1] == b"-" else number
