"""What a terminal shows during a first scan: how many were found, then a bar of how many are analysed; above it, where
the answer will be a table, the first rows as they become known.

Owns: the last lines of the terminal while they are shown. Runs: one process a command, one thread.
Invariant: nothing is drawn unless it is a terminal and the work lasts longer than a blink; what was drawn is gone
when the context ends, however it ends. So rows come only as long as the screen has room: what scrolled away could not
be wiped out, and would stay above the table as a second, unsorted one.
"""

from __future__ import annotations

import os
import time

from gitwatch import output

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

_BLINK_S = 0.15
_BETWEEN_S = 0.05
_BAR_CELLS = 30
_KEPT_LINES = 2
"""Of the screen: the line of progress, and the one with the command."""


class Progress:
    """`shown` False draws nothing. `above_table`: standard output gets a table afterwards, so rows are welcome there.

    `wanted` says whether the daemon should send progress at all, `room` how many rows.
    """

    __slots__ = ("_descriptor", "_drawn", "_next", "_rows", "_waiting", "_width", "room", "wanted")

    def __init__(self, *, shown: bool, above_table: bool = False) -> None:
        height = output.height(output.STDOUT) if shown and above_table else None
        self._descriptor = output.STDERR if height is None else output.STDOUT
        self._width = output.width(self._descriptor) if shown else None
        self.room = 0 if height is None or self._width is None else max(0, height - _KEPT_LINES)
        self._drawn = 0
        self._rows = 0
        """Lines above the progress line."""
        self._waiting: list[str] = []
        """Rows that came within the blink."""
        self._next = time.monotonic() + _BLINK_S
        self.wanted = self._width is not None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._rows:
            self._write(f"\r\x1b[{self._rows}A\x1b[J")
        elif self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
        self._drawn = self._rows = 0

    def on_notification(self, method: str, params: list[Any]) -> None:
        if method == "progress" and params:
            state = params[0]
            self._waiting += state.get("rows") or ()
            self.update(state.get("phase"), state.get("found") or 0, state.get("done") or 0, state.get("total"))

    def update(self, phase: str, found: int, done: int, total: int | None) -> None:
        """`phase` is `discovering` (`found` so far, end unknown) or what is done to `done` of `total`."""
        now = time.monotonic()
        if self._width is None or now < self._next:
            return
        self._next = now + _BETWEEN_S
        # One column is left free: a full last column makes some terminals wrap, and the wrapped line would
        # stay.
        line = progress_line(phase, found, done, total)[: self._width - 1]
        above = ""
        if rows := self._waiting[: self.room - self._rows]:
            above = "\r\x1b[K" + "".join(row + "\n" for row in rows)
            self._rows += len(rows)
            self._drawn = 0
        self._waiting.clear()
        self._write(above + "\r" + line.ljust(self._drawn))
        self._drawn = len(line)

    def _write(self, text: str) -> None:
        try:
            os.write(self._descriptor, output.encoded(text))
        except OSError:
            self._width = None


def progress_line(phase: str, found: int, done: int, total: int | None) -> str:
    if phase == "discovering" or not total:
        return f"discovering: {found} repositories"
    filled = _BAR_CELLS * min(done, total) // total
    return f"{phase} {done}/{total} [{'#' * filled}{'.' * (_BAR_CELLS - filled)}]"
