"""The line on the terminal during a first scan: how many were found, then a bar of how many are analysed.

Owns: the last line of standard error while it is shown. Runs: one process a command, one thread.
Invariant: nothing is drawn unless standard error is a terminal and the work lasts longer than a blink; what
was drawn is gone when the context ends, however it ends.
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


class Progress:
    """`shown` False draws nothing. `wanted` says whether the daemon should send progress at all."""

    __slots__ = ("_drawn", "_next", "_width", "wanted")

    def __init__(self, *, shown: bool) -> None:
        self._width = output.width(output.STDERR) if shown else None
        self._drawn = 0
        self._next = time.monotonic() + _BLINK_S
        self.wanted = self._width is not None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._drawn:
            self._write("\r" + " " * self._drawn + "\r")
            self._drawn = 0

    def on_notification(self, method: str, params: list[Any]) -> None:
        if method == "progress" and params:
            state = params[0]
            self.update(state.get("phase"), state.get("found") or 0, state.get("done") or 0, state.get("total"))

    def update(self, phase: str, found: int, done: int, total: int | None) -> None:
        """`phase` is `discovering` (`found` so far, end unknown) or `analysing` (`done` of `total`)."""
        now = time.monotonic()
        if self._width is None or now < self._next:
            return
        self._next = now + _BETWEEN_S
        # One column is left free: a full last column makes some terminals wrap, and the wrapped line would
        # stay.
        line = progress_line(phase, found, done, total)[: self._width - 1]
        self._write("\r" + line.ljust(self._drawn))
        self._drawn = len(line)

    def _write(self, text: str) -> None:
        try:
            os.write(output.STDERR, text.encode())
        except OSError:
            self._width = None


def progress_line(phase: str, found: int, done: int, total: int | None) -> str:
    if phase != "analysing" or not total:
        return f"discovering: {found} repositories"
    filled = _BAR_CELLS * min(done, total) // total
    return f"analysing {done}/{total} [{'#' * filled}{'.' * (_BAR_CELLS - filled)}]"
