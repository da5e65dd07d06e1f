"""The answer of `gitwatch branches` for people.

Owns nothing; pure. Runs: serving thread. Takes the maps of the protocol's `branches`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gitwatchd.render.remote_names import browse_url
from gitwatchd.render.table import Cell, Column, Frame, Palette, age_shown, draw_columns, path_shown
from gitwatchd.render.text import clip_end, clip_start, shown, width_of

Branch = Mapping[str, Any]


def _cell(text: str, role: str = "", link: str | None = None) -> Cell:
    return Cell(text, width_of(text), role, link)


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""


def _of(name: str) -> Callable[[Any, Frame], Cell]:
    return lambda branch, _: _cell(shown(_bytes(branch[name])))


def _name_cell(branch: Any, _frame: Frame) -> Cell:
    return _cell(
        ("* " if branch["current"] else "+ " if branch["worktree"] else "  ") + shown(_bytes(branch["branch"]))
    )


def _upstream_cell(branch: Any, _frame: Frame) -> Cell:
    if branch["upstream"] is None:
        return Cell()
    url = branch["url"]
    link = None if url is None else browse_url(_bytes(url).decode(errors="replace"))
    return _cell(shown(_bytes(branch["upstream"])), "", link)


def _tracking_cell(branch: Any, _frame: Frame) -> Cell:
    if branch["gone"]:
        return _cell("gone", "attention")
    if branch["ahead"] is None:
        return Cell()
    parts = [f"{arrow}{branch[key]}" for arrow, key in (("↑", "ahead"), ("↓", "behind")) if branch[key]]
    return _cell(" ".join(parts), "tracking") if parts else _cell("=")


def _changes_cell(branch: Any, _frame: Frame) -> Cell:
    if branch["dirty"] is None:
        return Cell()
    if not branch["dirty"]:
        return _cell("clean", "clean")
    words = (("m", "modified"), ("u", "untracked"), ("d", "deleted"), ("!", "conflicted"))
    text = " ".join(f"{branch[key]}{letter}" for letter, key in words if branch[key])
    return _cell(text, "conflict" if branch["conflicted"] else "changed")


def _status_cell(branch: Any, frame: Frame) -> Cell:
    cells = [cell for cell in (_changes_cell(branch, frame), _tracking_cell(branch, frame)) if cell.text]
    return _cell(" ".join(cell.text for cell in cells), cells[0].role if cells else "")


def _worktree_cell(branch: Any, frame: Frame) -> Cell:
    worktree = branch["worktree"]
    if worktree is None:
        return Cell()
    here = _bytes(worktree) == _bytes(branch["repo"])
    return _cell("here" if here else path_shown(_bytes(worktree), frame.base, frame.home))


def _age_cell(branch: Any, frame: Frame) -> Cell:
    return _cell(age_shown(frame.now - branch["date"]), "faint")


def _date_cell(branch: Any, _frame: Frame) -> Cell:
    return _cell(time.strftime("%Y-%m-%d %H:%M", time.localtime(branch["date"])), "faint")


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
    Column("head", "HEAD", 6, 8, lambda branch, _: _cell(branch["head"][:8])),
    Column("ahead", "AHEAD", 6, 5, lambda branch, _: _cell(str(branch["ahead"] or ""))),
    Column("behind", "BEHIND", 6, 6, lambda branch, _: _cell(str(branch["behind"] or ""))),
    Column("gone", "GONE", 6, 4, lambda branch, _: _cell("gone" if branch["gone"] else "")),
    Column("current", "CURRENT", 6, 7, lambda branch, _: _cell("*" if branch["current"] else "")),
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
    told = f"{len(branches)} {'branch' if len(branches) == 1 else 'branches'}" + (f", {gone} gone" if gone else "")
    if fetched_at is not None:
        age = age_shown(frame.now - fetched_at)
        told += f"; fetched {age if age == 'now' else age + ' ago'}"
    summary = (told if width is None else clip_end(told, width)) + "\n"
    if not branches:
        return summary
    chosen = [_BY_NAME[name] for name in columns]
    return draw_columns(branches, chosen, DEFAULT_BRANCH_COLUMNS, frame, width, colour, links=links) + summary
