"""On which line each key and value of a TOML document stands: `tomllib` reads values and forgets their places.

Owns nothing; pure. Runs: where `config.toml` is parsed.
Invariant: the document is valid (`tomllib` has accepted it). That lets the scan look at structure only: what a string,
a bracket or a comment is; it never decides what a value means.
"""

from __future__ import annotations

import re
import tomllib

Place = tuple[str | int, ...]
"""The names, and the numbers of array elements, that lead to a value."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BLANK = re.compile(r"[ \t]*")
_KEY_PART = re.compile(r'"(?:[^"\\]|\\.)*"|\'[^\']*\'|[A-Za-z0-9_-]+')
_VALUE = re.compile(
    r'"""(?:\\.|[^\\])*?"""(?!")'  # one or two more quotes before the last three belong to the text
    r"|'''.*?'''(?!')"
    r'|"(?:[^"\\]|\\.)*"'
    r"|'[^']*'"
    r"|[^,\]}\n#]+",  # numbers, dates (which may hold a space), true and false
    re.DOTALL,
)


def find_lines(text: str) -> dict[Place, int]:
    """The line (from 1) of each table, key and array element; of those given more than once, the first."""
    return _Scan(text).lines


class _Scan:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._line = 1
        self._line_at = 0
        self.lines: dict[Place, int] = {}
        arrays: dict[Place, int] = {}
        """How many tables of each array of tables (`[[name]]`) there were."""
        table: Place = ()
        self._pass(_SPACE)
        while self._at < len(text):
            if text.startswith("[[", self._at):
                self._at += 2
                name = self._key((), note=False)
                number = arrays[name] = arrays.get(name, -1) + 1
                table = (*name, number)
                self._note(name)
                self._note(table)
                self._at += 2
            elif text[self._at] == "[":
                self._at += 1
                table = self._key(())
                self._at += 1
            else:
                self._pair(table)
            self._pass(_SPACE)

    def _pair(self, table: Place) -> None:
        place = self._key(table)
        self._at += 1  # the equals sign
        self._pass(_BLANK)
        self._value(place)

    def _key(self, above: Place, *, note: bool = True) -> Place:
        """Pass `name.name …` and what surrounds it; each part of it is on this line."""
        while True:
            self._pass(_BLANK)
            above = (*above, self._part())
            if note:
                self._note(above)
            self._pass(_BLANK)
            if not self._text.startswith(".", self._at):
                return above
            self._at += 1

    def _part(self) -> str:
        found = self._pass(_KEY_PART)
        # Only a quoted name can hold an escape, and only tomllib knows them all.
        return next(iter(tomllib.loads(f"{found} = 0"))) if found[:1] in ('"', "'") else found

    def _value(self, place: Place) -> None:
        self._note(place)
        opening = self._text[self._at]
        if opening not in "[{":
            self._pass(_VALUE)
            return
        self._at += 1
        number = 0
        while True:
            self._pass(_SPACE)
            if self._text[self._at] in "]}":
                self._at += 1
                return
            if opening == "{":
                self._pair(place)
            else:
                self._value((*place, number))
                number += 1
            self._pass(_SPACE)
            if self._text[self._at] == ",":
                self._at += 1

    def _note(self, place: Place) -> None:
        self._line += self._text.count("\n", self._line_at, self._at)
        self._line_at = self._at
        self.lines.setdefault(place, self._line)

    def _pass(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self._text, self._at)
        if found is None:
            raise ValueError(f"no TOML after all, at line {self._line}")
        self._at = found.end()
        return found.group()
