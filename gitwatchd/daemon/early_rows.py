"""Rows for a terminal while its table is not whole yet: a first scan shows something in its first half second.

Owns: which repositories one request was shown. Runs: serving thread.
They come in the order in which they were answered, each once, in columns of fixed widths, since nobody knows yet how
wide the widest will be; and no more of them than the terminal has room for, so that it can wipe them out again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from gitwatchd.engine.repository import Repository
from gitwatchd.model.report import Standing
from gitwatchd.model.repository import RepoPath
from gitwatchd.render.table import Row

MOST_ROWS = 200
"""More than a terminal has lines; who asks for more gets no more."""


class EarlyRows:
    """`draw` makes the lines of these rows."""

    def __init__(
        self,
        most: int,
        row: Callable[[Repository, Standing], Row],
        draw: Callable[[list[Row]], list[str]],
    ) -> None:
        self._left = min(most, MOST_ROWS)
        self._row = row
        self._draw = draw
        self._shown: set[RepoPath] = set()

    def take(self, answered: Iterable[tuple[Repository, Standing]]) -> list[str]:
        """Lines for those that were not shown yet, as long as there is room."""
        new = [(r, s) for r, s in answered if r.path not in self._shown and not r.gone] if self._left else []
        new = new[: self._left]
        self._left -= len(new)
        self._shown.update(repository.path for repository, _ in new)
        return self._draw([self._row(repository, standing) for repository, standing in new]) if new else []
