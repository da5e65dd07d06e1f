"""The answer of `gitwatch unsaved` for people: each repository with the reasons why its work exists only here.

Owns nothing; pure. Runs: serving thread. Takes the maps of the protocol's `unsaved`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitwatchd.render.table import Cell, Column, Frame, Palette, draw_columns, path_shown
from gitwatchd.render.text import clip_end, clip_start, shown, width_of

Line = tuple[Cell, Cell, Cell]

_ROLES = {
    "uncommitted": "changed", "action": "attention", "stashed": "changed", "unpushed": "tracking",
    "no_remote": "failure", "detached": "attention", "unchecked": "failure",
}  # fmt: skip
_COLUMNS = (
    Column("dir", "REPOSITORY", 0, 14, lambda line, _: line[0], clip_start),
    Column("where", "WHERE", 0, 10, lambda line, _: line[1]),
    Column("what", "ONLY HERE", 0, 16, lambda line, _: line[2]),
)


def render_unsaved(
    repositories: Sequence[Mapping[str, Any]], *, frame: Frame, width: int | None, colour: Palette
) -> str:
    """Repositories that have nothing to lose are only counted."""
    lines: list[Line] = []
    at_risk = [repository for repository in repositories if repository["unsaved"]]
    for repository in at_risk:
        path = _bytes(repository["path"])
        name = _cell(path_shown(path, frame.base, frame.home))
        for reason in repository["reasons"]:
            lines.append((name, _cell(_where(reason, path)), _cell(_what(reason), _ROLES[reason["kind"]])))
            name = Cell()
    total = f"{len(repositories)} {'repository' if len(repositories) == 1 else 'repositories'}"
    if not at_risk:
        told = f"{total}: nothing exists only here" if repositories else total
        return _line(told, width)
    table = draw_columns(lines, _COLUMNS, (), frame, width, colour, links=False)
    return table + _line(f"{len(at_risk)} of {total}: work that exists only here", width)


def _where(reason: Mapping[str, Any], path: bytes) -> str:
    submodule = reason.get("submodule")
    inside = "" if submodule is None else path_shown(_bytes(submodule), path, None) + ": "
    branch = reason.get("branch")
    if branch is not None:
        return inside + shown(_bytes(branch))
    kinds = {"uncommitted": "worktree", "action": "worktree", "stashed": "stash", "detached": "HEAD"}
    return inside + kinds.get(reason["kind"], "")


def _what(reason: Mapping[str, Any]) -> str:
    kind, count = reason["kind"], reason.get("count")
    commits = f"{count} {'commit' if count == 1 else 'commits'}"
    match kind:
        case "uncommitted":
            words = ("staged", "unstaged", "untracked", "conflicted")
            return ", ".join(f"{reason[word]} {word}" for word in words if reason.get(word))
        case "action":
            return f"{shown(reason['note'])} in progress"
        case "stashed":
            return f"{count} {'entry' if count == 1 else 'entries'}"
        case "unpushed":
            upstream = reason.get("upstream")
            to = "no upstream" if upstream is None else shown(_bytes(upstream)) + (" is gone" if reason["gone"] else "")
            return f"{commits} on no remote ({to})"
        case "no_remote":
            return f"{commits}; the repository has no remote"
        case "detached":
            worktree = reason.get("worktree")
            gone = "" if worktree is None else f", worktree {shown(_bytes(worktree).rpartition(b'/')[2])} is not there"
            return f"{commits} on no branch ({shown(reason['oid'])[:8]}{gone})"
        case _:
            return f"not checked: {shown(reason.get('note') or 'unknown')}"


def _cell(text: str, role: str = "") -> Cell:
    return Cell(text, width_of(text), role)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


def _line(text: str, width: int | None) -> str:
    return (text if width is None else clip_end(text, width)) + "\n"
