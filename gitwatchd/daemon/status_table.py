"""The table of one request: which columns, what is beside the rows, and the answer that is sent.

Owns nothing. Runs: serving thread.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from functools import partial
from typing import Any

from gitwatchd.daemon.early_rows import EarlyRows
from gitwatchd.daemon.queries import Answer
from gitwatchd.daemon.requests import Named, columns_of, option, path_of
from gitwatchd.daemon.views import Views
from gitwatchd.model.report import Wire
from gitwatchd.model.repository import RepoPath
from gitwatchd.render.status_view import render_status
from gitwatchd.render.table import COLUMNS, Frame, early_lines, marked, parse_columns, with_lines
from gitwatchd.render.text import shown
from gitwatchd.settings.colours import palette
from gitwatchd.settings.model import Settings


class StatusTable:
    """`options` as of the method `render`. Raises UserError for what is wrong with them."""

    def __init__(
        self, options: Mapping[str, Any], settings: Settings, views: Views, named: Named, base: bytes | None
    ) -> None:
        self._views = views
        self._named = named
        self._base = base
        self._width: int | None = option(options, "width", int)
        self._colour = palette(settings.colours) if option(options, "colour", bool, False) else {}
        self._columns = columns_of(options, COLUMNS, parse_columns(settings.columns))
        self._links: bool = option(options, "links", bool, False)
        self._marks = {path_of(path): shown(note) for path, note in option(options, "marks", dict, {}).items()}
        self._most: int = option(options, "rows", int, 0)

    @property
    def wants_lines(self) -> bool:
        return "lines" in self._columns

    def early_rows(self) -> EarlyRows | None:
        """What a terminal is shown before the table is whole, if that was asked for."""
        if self._width is None or self._most <= 0:
            return None
        draw = partial(early_lines, frame=self._frame(), width=self._width, colour=self._colour)
        return EarlyRows(self._most, self._views.row, draw)

    def draw(self, answer: Answer, lines: Mapping[RepoPath, Wire | None]) -> dict[str, Any]:
        """The result of `render`. `answer` has only what is to be shown (`Named.kept`)."""
        named = self._named
        if named.scope.only:
            # Chosen and ordered by the client: an expression is never evaluated here.
            order = {path: position for position, path in enumerate(named.scope.only)}
            answer.repositories.sort(key=lambda each: order[each[0].path])
        rows = [(self._views.row(repository, standing), standing) for repository, standing in answer.repositories]
        if self._marks:
            rows = [(marked(row, self._marks[row.path]) if row.path in self._marks else row, s) for row, s in rows]
        if lines:
            rows = [(with_lines(row, lines.get(RepoPath(row.path))), standing) for row, standing in rows]
        view = render_status(
            rows, frame=self._frame(), width=self._width, colour=self._colour, columns=self._columns,
            links=self._links,
        )  # fmt: skip
        return {
            "text": view.text if answer.repositories or not named.errors else "",
            "notes": [f"{os.fsdecode(path_of(e['path']))}: {e['reason']}" for e in named.errors] + view.notes,
            "failed": view.failed + len(named.errors),
            "strict_failed": view.strict_failed,
        }

    def _frame(self) -> Frame:
        return Frame(self._base, os.fsencode(os.environ.get("HOME", "")) or None, time.time())
