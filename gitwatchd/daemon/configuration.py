"""`config.toml` as the daemon knows it: what is in force, where each value came from, what is wrong with the file.

Owns: the settings in force. Runs: serving thread.
Invariant: what is in force is the whole of the last file that was right; one with a mistake changes nothing but
`problems`, and no file at all means the defaults.
Invariant: a request that arrives after the file was changed is answered under what it says then (`settle`). Unasked, a
change waits until the file was left alone for a moment: many an editor empties a file before it writes it, and roots
that are gone for a millisecond would take what is known of their repositories with them.
The parser (and tomllib, 16 ms) is imported when there is a file to read.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from typing import TYPE_CHECKING, Any

from gitwatchd.errors import is_exhaustion
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.report import text_or_bytes
from gitwatchd.settings.model import DEFAULTS, Settings

if TYPE_CHECKING:
    from gitwatchd.settings.parser import Problem

_log = logging.getLogger(__name__)

_LEFT_ALONE_S = 0.2


class Configuration:
    """`on_change(before)` is called when other settings are in force; to be set before the loop runs.

    `columns`: those that a table can have.
    """

    def __init__(self, loop: Loop, path: bytes, home: bytes, columns: Collection[str]) -> None:
        self._loop = loop
        self._columns = columns
        self.path = path
        self.home = home
        self.settings = DEFAULTS
        self.problems: tuple[Problem, ...] = ()
        """Of the file as it is now; while there are any, `settings` is what an earlier one said."""
        self.lines: Mapping[str, int] = {}
        self.written: Mapping[str, Any] = {}
        self.on_change: Callable[[Settings], None] = lambda _before: None
        self._found: bytes | str | None = None
        """The file's content, or why it cannot be read; None: there is none."""
        self._unsettled: Timer | None = None
        self.read()

    @property
    def unsettled(self) -> bool:
        """The file may have changed, and nobody has looked yet."""
        return self._unsettled is not None

    def note(self) -> None:
        """The kernel told of the file, or of a directory on the way to it."""
        if self._unsettled is not None:
            self._unsettled.cancel()
        self._unsettled = self._loop.call_later(_LEFT_ALONE_S, self.settle)

    def settle(self) -> None:
        """Look now, if there is anything to look at."""
        if self._unsettled is not None:
            self._unsettled.cancel()
            self._unsettled = None
            self.read()

    def read(self) -> None:
        """Take over what the file says, if it says anything new."""
        from gitwatchd.git.files import read_regular

        found: bytes | str | None
        try:
            found = read_regular(self.path, _ENOUGH_BYTES)
        except (FileNotFoundError, NotADirectoryError):
            found = None
        except OSError as error:
            if is_exhaustion(error):
                self.note()  # it says nothing of the file: again in a moment, when descriptors may be free
                return
            found = error.strerror or str(error)
        if found == self._found:
            return
        self._found = found
        if isinstance(found, bytes):
            self._parse(found)
        elif found is not None:
            self._refuse(found)
        else:
            self.problems, self.lines, self.written = (), {}, {}
            self._put_in_force(DEFAULTS)

    def _parse(self, content: bytes) -> None:
        from gitwatchd.settings.parser import parse

        parsed = parse(content, self.home, self._columns)
        self.problems = parsed.problems
        if parsed.settings is None:
            self._log_problems()
            return
        self.lines, self.written = parsed.lines or {}, parsed.written or {}
        self._put_in_force(parsed.settings)

    def _refuse(self, reason: str) -> None:
        from gitwatchd.settings.parser import Problem

        self.problems = (Problem(0, f"cannot be read: {reason.lower()}"),)
        self._log_problems()

    def _log_problems(self) -> None:
        for note in self.notes():
            _log.warning("%s", note)

    def _put_in_force(self, settings: Settings) -> None:
        before, self.settings = self.settings, settings
        if settings != before:
            self.on_change(before)

    def place(self, line: int) -> str:
        """Where something stands, as compilers and editors write it."""
        path = os.fsdecode(self.path)
        return f"{path}:{line}" if line else path

    def notes(self) -> list[str]:
        """What is wrong with the file, a line each; whoever asks anything is told."""
        notes = []
        for problem in self.problems:
            hint = f" ({problem.hint})" if problem.hint else ""
            notes.append(f"{self.place(problem.line)}: {problem.what}{hint}")
        return notes


_ENOUGH_BYTES = (1 << 20) + 1
"""One more than the parser accepts."""


def effective(configuration: Configuration) -> dict[str, Any]:
    """Every key with its value as one would write it, and where it comes from: the map of `gitwatch config --json`."""
    values: dict[str, Any] = {}
    for name, default in _defaults():
        line = configuration.lines.get(name) if name in configuration.written else None
        values[name] = {
            "value": configuration.written.get(name, default),
            "origin": "default" if line is None else configuration.place(line),
        }
    for name, written in configuration.written.items():
        if name not in values:
            values[name] = {"value": written, "origin": configuration.place(configuration.lines[name])}
    return {
        "file": text_or_bytes(configuration.path),
        "exists": os.path.lexists(configuration.path),
        "values": values,
        "problems": [
            {"where": configuration.place(problem.line), "what": problem.what, "hint": problem.hint}
            for problem in configuration.problems
        ],
    }


def _defaults() -> Iterator[tuple[str, Any]]:
    for field in fields(Settings):
        value = getattr(DEFAULTS, field.name)
        if is_dataclass(value):
            for inner in fields(value):
                yield f"{field.name}.{inner.name}", getattr(value, inner.name)
        elif isinstance(value, tuple):
            yield field.name, list(value)
