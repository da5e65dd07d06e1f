"""The answer of `gitwatch unsaved` for people: each repository with the reasons why its work exists only here.

Owns nothing; pure. Runs: serving thread. Takes the maps of the protocol's `unsaved`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitwatchd.model.report import to_bytes
from gitwatchd.render.table import Cell, Column, Frame, Palette, cell_of, draw_columns, line_of, path_shown
from gitwatchd.render.text import clip_end, clip_start, counted, shown

Line = tuple[Cell, Cell, Cell]

_GAP = "  "
_ROLES = {
    "uncommitted": "changed", "action": "attention", "stashed": "changed", "unpushed": "tracking",
    "no_remote": "failure", "detached": "attention", "hidden": "changed", "unchecked": "failure",
}  # fmt: skip
_PLACES = {
    "uncommitted": "worktree", "hidden": "worktree", "action": "worktree", "stashed": "stash", "detached": "HEAD",
}  # fmt: skip
_COLUMNS = (
    Column("dir", "REPOSITORY", 0, 14, lambda line, _: line[0], clip_start),
    Column("where", "WHERE", 0, 10, lambda line, _: line[1]),
    Column("what", "ONLY HERE", 0, 16, lambda line, _: line[2]),
)


def render_unsaved(
    repositories: Sequence[Mapping[str, Any]], *, frame: Frame, width: int | None, colour: Palette
) -> str:
    """Repositories that have nothing to lose are only counted.

    Where the three columns do not fit beside each other, each repository stands above its reasons: these are what the
    command is asked for, and to cut them would be to keep a part of them back.
    """
    lines: list[Line] = []
    at_risk = [repository for repository in repositories if repository["unsaved"]]
    for repository in at_risk:
        path = to_bytes(repository["path"])
        name = cell_of(path_shown(path, frame.base, frame.home))
        for reason in repository["reasons"]:
            lines.append((name, cell_of(_where(reason, path)), cell_of(_what(reason), _ROLES[reason["kind"]])))
            name = Cell()
    total = counted(len(repositories), "repository", "repositories")
    if not at_risk:
        return _summary(total, "nothing exists only here", width) if repositories else line_of(total, width)
    if width is not None and _natural_width(lines) > width:
        table = _stacked(lines, width, colour)
    else:
        table = draw_columns(lines, _COLUMNS, (), frame, width, colour, links=False)
    # Of what could not be looked at it is not known that it exists only here.
    unknown = sum(all(reason["kind"] == "unchecked" for reason in repository["reasons"]) for repository in at_risk)
    if unknown == len(at_risk):
        return table + _summary(f"{unknown} of {total}", "not checked", width)
    more = f"; {unknown} not checked" if unknown else ""
    return table + _summary(f"{len(at_risk) - unknown} of {total}", f"work that exists only here{more}", width)


def _summary(of_how_many: str, what: str, width: int | None) -> str:
    """On two lines where one would be cut: it is the answer."""
    whole = f"{of_how_many}: {what}"
    if width is None or len(whole) <= width:
        return line_of(whole, width)
    return line_of(f"{of_how_many}:", width) + line_of(f"{_GAP}{what}", width)


def _natural_width(lines: Sequence[Line]) -> int:
    widths = [max(len(column.title), *(line[at].width for line in lines)) for at, column in enumerate(_COLUMNS)]
    return sum(widths) + len(_GAP) * (len(widths) - 1)


def _stacked(lines: Sequence[Line], width: int, colour: Palette) -> str:
    drawn = []
    for name, where, what in lines:
        if name.text:
            drawn.append(clip_start(name.text, width))
        inside = width - 2 * len(_GAP)
        text = clip_end(what.text, inside)
        text = f"\x1b[{look}m{text}\x1b[0m" if (look := colour.get(what.role)) else text
        if not where.text:
            drawn.append(f"{_GAP}{text}")
        elif len(_GAP) + where.width + len(": ") + what.width <= width:
            drawn.append(f"{_GAP}{where.text}: {text}")
        else:
            drawn += [f"{_GAP}{clip_end(where.text, inside)}:", f"{_GAP}{_GAP}{text}"]
    return "".join(f"{line}\n" for line in drawn)


def _where(reason: Mapping[str, Any], path: bytes) -> str:
    submodule = reason.get("submodule")
    inside = "" if submodule is None else path_shown(to_bytes(submodule), path, None) + ": "
    branch = reason.get("branch")
    if branch is not None:
        return inside + shown(branch)
    kinds = {
        "uncommitted": "worktree",
        "hidden": "worktree",
        "action": "worktree",
        "stashed": "stash",
        "detached": "HEAD",
    }
    return inside + kinds.get(reason["kind"], "")


def _what(reason: Mapping[str, Any]) -> str:
    kind, count = reason["kind"], reason.get("count") or 0
    commits = counted(count, "commit", "commits")
    match kind:
        case "uncommitted":
            words = ("staged", "unstaged", "untracked", "conflicted")
            return ", ".join(f"{reason[word]} {word}" for word in words if reason.get(word))
        case "hidden":
            told = ", ".join(f"{reason[word]} {word}" for word in ("unstaged", "untracked") if reason.get(word))
            return f"{told}, which git status is told to hide"
        case "action":
            return f"{shown(reason['note'])} in progress"
        case "stashed":
            return counted(count, "entry", "entries")
        case "unpushed":
            upstream = reason.get("upstream")
            to = "no upstream" if upstream is None else shown(upstream) + (" is gone" if reason["gone"] else "")
            return f"{commits} on no remote ({to})"
        case "no_remote":
            return f"{commits}; the repository has no remote"
        case "detached":
            worktree = reason.get("worktree")
            gone = (
                "" if worktree is None else f", worktree {shown(to_bytes(worktree).rpartition(b'/')[2])} is not there"
            )
            return f"{commits} on no branch ({shown(reason['oid'])[:8]}{gone})"
        case _:
            return f"not checked: {shown(reason.get('note') or 'unknown')}"
