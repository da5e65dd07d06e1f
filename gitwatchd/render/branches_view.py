"""The answer of `gitwatch branches` for people.

Owns nothing; pure. Runs: serving thread. Takes the maps of the protocol's `branches`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gitwatchd.model.report import to_bytes
from gitwatchd.render.remote_names import browse_url
from gitwatchd.render.table import (
    Cell,
    Column,
    Frame,
    Palette,
    age_shown,
    ago_shown,
    cell_of,
    changes_cell,
    draw_columns,
    line_of,
    path_shown,
    tracking_cell,
)
from gitwatchd.render.text import clip_start, counted, shown

Branch = Mapping[str, Any]


def _of(name: str) -> Callable[[Any, Frame], Cell]:
    return lambda branch, _: cell_of(shown(branch[name] or ""))


def _name_cell(branch: Any, _frame: Frame) -> Cell:
    return cell_of(("* " if branch["current"] else "+ " if branch["worktree"] else "  ") + shown(branch["branch"]))


def _upstream_cell(branch: Any, _frame: Frame) -> Cell:
    if branch["upstream"] is None:
        return Cell()
    url = branch["url"]
    link = None if url is None else browse_url(to_bytes(url).decode(errors="replace"))
    return cell_of(shown(branch["upstream"]), "", link)


def _tracking_cell(branch: Any, _frame: Frame) -> Cell:
    if branch["upstream"] is None:
        return Cell()
    return tracking_cell(branch["ahead"], branch["behind"], gone=branch["gone"])


def _changes_cell(branch: Any, _frame: Frame) -> Cell:
    if branch["dirty"] is None:
        return Cell()
    return changes_cell(branch["staged"], branch["unstaged"], branch["untracked"], branch["conflicted"])


def _status_cell(branch: Any, frame: Frame) -> Cell:
    cells = [cell for cell in (_changes_cell(branch, frame), _tracking_cell(branch, frame)) if cell.text]
    return cell_of(" ".join(cell.text for cell in cells), cells[0].role if cells else "")


def _worktree_cell(branch: Any, frame: Frame) -> Cell:
    worktree = branch["worktree"]
    if worktree is None:
        return Cell()
    here = to_bytes(worktree) == to_bytes(branch["repo"])
    return cell_of("here" if here else path_shown(to_bytes(worktree), frame.base, frame.home))


def _age_cell(branch: Any, frame: Frame) -> Cell:
    return cell_of(age_shown(frame.now - branch["date"]), "faint")


def _date_cell(branch: Any, _frame: Frame) -> Cell:
    return cell_of(time.strftime("%Y-%m-%d %H:%M", time.localtime(branch["date"])), "faint")


_ALL = (
    Column("branch", "  BRANCH", 0, 16, _name_cell),
    Column("upstream", "UPSTREAM", 3, 10, _upstream_cell),
    Column("tracking", "REMOTE", 0, 9, _tracking_cell),
    Column("changes", "CHANGES", 1, 12, _changes_cell),
    Column("worktree", "WORKTREE", 4, 8, _worktree_cell, clip_start),
    Column("author", "AUTHOR", 5, 10, _of("author")),
    Column("age", "AGE", 2, 4, _age_cell),
    Column("subject", "SUBJECT", 2, 12, _of("subject")),
    Column("status", "STATUS", 1, 12, _status_cell),
    Column("head", "HEAD", 6, 8, lambda branch, _: cell_of(branch["head"][:8])),
    Column("ahead", "AHEAD", 6, 5, lambda branch, _: cell_of(str(branch["ahead"] or ""))),
    Column("behind", "BEHIND", 6, 6, lambda branch, _: cell_of(str(branch["behind"] or ""))),
    Column("gone", "GONE", 6, 4, lambda branch, _: cell_of("gone" if branch["gone"] else "")),
    Column("current", "CURRENT", 6, 7, lambda branch, _: cell_of("*" if branch["current"] else "")),
    Column("date", "DATE", 4, 16, _date_cell),
)
_BY_NAME = {column.name: column for column in _ALL}
BRANCH_COLUMNS = tuple(_BY_NAME)
"""The names of all columns."""
DEFAULT_BRANCH_COLUMNS = BRANCH_COLUMNS[:8]


def render_branches(
    branches: Sequence[Branch],
    *,
    frame: Frame,
    width: int | None,
    colour: Palette,
    columns: Sequence[str] = DEFAULT_BRANCH_COLUMNS,
    links: bool = False,
    fetched_at: float | None = None,
) -> str:
    """`*` marks the branch of this worktree, `+` those of others. In the order of `branches`."""
    gone = sum(1 for branch in branches if branch["gone"])
    told = counted(len(branches), "branch", "branches") + (f", {gone} gone" if gone else "")
    if fetched_at is not None:
        told += f"; fetched {ago_shown(frame.now - fetched_at)}"
    summary = line_of(told, width)
    if not branches:
        return summary
    chosen = [_BY_NAME[name] for name in columns]
    return draw_columns(branches, chosen, DEFAULT_BRANCH_COLUMNS, frame, width, colour, links=links) + summary
