"""The status table: one line a repository.

Owns nothing; pure. Runs: serving thread (and the client's process for `--direct`), so it counts microseconds:
a `Row` is built once per analysis and cached by its owner, and drawing 500 cached rows takes 2-3 ms (a general
table library took 200-420 ms).
Invariant: with a width, no line is wider. Without one (not a terminal) nothing is cut.
Invariant: colour only repeats what symbols and words already say.

A cell names the role that it plays; what that looks like is the palette's to say (`gitwatchd.settings.colours`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from gitwatchd.model.report import Action, Counts, Facts, Standing, State, Tracking
from gitwatchd.model.repository import Location
from gitwatchd.render.text import clip_end, clip_start, shown, width_of

Palette = Mapping[str, str]
"""SGR parameters by role; empty: no colour."""

_TITLE, _CLEAN_ROLE, _CHANGED, _CONFLICT = "title", "clean", "changed", "conflict"
_TRACKING, _ATTENTION, _FAILURE, _FAINT = "tracking", "attention", "failure", "faint"
_OID_DIGITS = 8
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Cell:
    """`width` in terminal columns, `role` a key of the palette or empty."""

    text: str = ""
    width: int = 0
    role: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """What the table shows of one repository; depends neither on the reader's directory nor on the time."""

    path: bytes
    state: State
    dirty: bool
    ahead: bool
    behind: bool
    branch: Cell
    changes: Cell
    remote: Cell
    action: Cell
    stashes: Cell
    note: Cell
    mtime: float | None


_EMPTY = Cell()
_CLEAN = Cell("clean", 5, _CLEAN_ROLE)
_BARE = Cell("bare", 4, _FAINT)
_LEVEL = Cell("=", 1)
_STATE_ROLES = {
    State.STALE: _ATTENTION, State.PENDING: _ATTENTION, State.FAILED: _FAILURE, State.UNSAFE: _FAILURE,
    State.GONE: _FAINT,
}  # fmt: skip


def row_of(location: Location, facts: Facts | None, standing: Standing) -> Row:
    """The row of a repository. It stays right until `facts`, `standing.state` or `standing.reason` change."""
    facts = facts or Facts()
    counts, upstream = facts.counts, facts.upstream
    return Row(
        path=location.path,
        state=standing.state,
        dirty=bool(facts.dirty),
        ahead=bool(upstream and upstream.ahead),
        behind=bool(upstream and upstream.behind),
        branch=_branch_cell(facts),
        changes=_BARE if location.bare else _EMPTY if counts is None else _changes_cell(counts),
        remote=_remote_cell(upstream),
        action=_action_cell(facts.action),
        stashes=_cell(str(facts.stashes)) if facts.stashes else _EMPTY,
        note=_note_cell(standing),
        mtime=facts.mtime,
    )


def _cell(text: str, role: str = "") -> Cell:
    return Cell(text, width_of(text), role)


def _branch_cell(facts: Facts) -> Cell:
    if facts.branch is not None:
        return _cell(shown(facts.branch) + (" (unborn)" if facts.unborn else ""))
    if facts.oid is None:
        return _EMPTY
    return _cell(f"({shown(facts.oid[:_OID_DIGITS])})", _ATTENTION)


def _changes_cell(counts: Counts) -> Cell:
    parts = [
        f"{symbol}{count}"
        for symbol, count in (
            ("+", counts.staged), ("~", counts.unstaged), ("?", counts.untracked), ("!", counts.conflicted),
        )
        if count
    ]  # fmt: skip
    return _cell(" ".join(parts), _CONFLICT if counts.conflicted else _CHANGED) if parts else _CLEAN


def _remote_cell(upstream: Tracking | None) -> Cell:
    if upstream is None:
        return _EMPTY
    if upstream.gone:
        return _cell("gone", _ATTENTION)
    parts = [f"{arrow}{count}" for arrow, count in (("↑", upstream.ahead), ("↓", upstream.behind)) if count]
    if not parts and upstream.ahead is None:
        return _EMPTY  # nothing to compare: no commit yet
    return _cell(" ".join(parts), _TRACKING) if parts else _LEVEL


def _action_cell(action: Action | None) -> Cell:
    if action is None:
        return _EMPTY
    steps = f" {action.step}/{action.total}" if action.step and action.total else ""
    return _cell(shown(action.name) + steps, _ATTENTION)


def _note_cell(standing: Standing) -> Cell:
    if standing.state is State.FRESH:
        return _EMPTY
    reason = f": {shown(standing.reason)}" if standing.reason else ""
    return _cell(f"{standing.state}{reason}", _STATE_ROLES[standing.state])


def path_shown(path: bytes, base: bytes | None, home: bytes | None) -> str:
    """`path` relative to `base` where it lies beneath it, else with the home directory as `~`."""
    if base is not None:
        above = base.rstrip(b"/") + b"/"
        if path.startswith(above):
            return shown(path[len(above) :])
    if home and home != b"/":
        home = home.rstrip(b"/")
        if path == home:
            return "~"
        if path.startswith(home + b"/"):
            return "~" + shown(path[len(home) :])
    return shown(path)


_DAY_S = 86400
_AGE_UNITS = (
    (60, 1, "s"), (3600, 60, "m"), (_DAY_S, 3600, "h"),
    (14 * _DAY_S, _DAY_S, "d"), (365 * _DAY_S, 7 * _DAY_S, "w"),
)  # fmt: skip


def age_shown(seconds: float) -> str:
    """A time span in one unit (`5m`); a time in the future, as after a clock step, is `now`."""
    if seconds < 1:
        return "now"
    for limit, unit, letter in _AGE_UNITS:
        if seconds < limit:
            return f"{int(seconds // unit)}{letter}"
    return f"{int(seconds // (365 * _DAY_S))}y"


@dataclass(frozen=True, slots=True)
class _Column:
    """`least` is the width below which it is rather dropped; the highest `rank` goes first, 0 never."""

    title: str
    rank: int
    least: int
    clip: Callable[[str, int], str] = clip_end


# A note says that an answer is not to be trusted: it stays as long as what it qualifies.
_REPOSITORY = _Column("REPOSITORY", 0, 14, clip_start)
_CHANGES = _Column("CHANGES", 0, 16)
_NOTE = _Column("NOTE", 0, 12)
_BRANCH = _Column("BRANCH", 1, 10)
_REMOTE = _Column("REMOTE", 2, 9)
_ACTION = _Column("ACTION", 3, 8)
_STASHES = _Column("STASHES", 4, 7)
_AGE = _Column("CHANGED", 5, 7)

COLUMNS = tuple(
    column.title.lower() for column in (_REPOSITORY, _BRANCH, _CHANGES, _REMOTE, _ACTION, _STASHES, _AGE, _NOTE)
)
"""The names of all columns, in the order in which they stand."""

_LEGEND = "+staged ~unstaged ?untracked !conflicted   ↑ahead ↓behind =level with upstream"


def status_table(
    rows: Sequence[Row],
    *,
    base: bytes | None,
    home: bytes | None,
    width: int | None,
    colour: Palette,
    now: float,
) -> str:
    """The table with a legend above and a summary below; ends with a newline. Keeps the order of `rows`.

    `base` is the directory that was asked for (paths are shown relative to it), `width` the terminal's in
    columns (None: nothing is cut), `now` epoch seconds.
    """
    if not rows:
        return _line(summary(rows), width)
    names = [path_shown(row.path, base, home) for row in rows]
    ages = ["" if row.mtime is None else age_shown(now - row.mtime) for row in rows]
    columns: list[tuple[_Column, list[Cell]]] = [
        (_REPOSITORY, [Cell(name, width_of(name)) for name in names]),
        (_BRANCH, [row.branch for row in rows]),
        (_CHANGES, [row.changes for row in rows]),
        (_REMOTE, [row.remote for row in rows]),
        (_ACTION, [row.action for row in rows]),
        (_STASHES, [row.stashes for row in rows]),
        (_AGE, [Cell(age, len(age), _FAINT) for age in ages]),
        (_NOTE, [row.note for row in rows]),
    ]
    natural = [max([cell.width for cell in cells]) for _, cells in columns]
    # A column that has nothing to say is left out.
    filled = [(*column, size) for column, size in zip(columns, natural, strict=True) if size]
    widths = _layout([(column, max(size, len(column.title))) for column, _, size in filled], width)
    drawn = [
        [_draw(Cell(column.title, len(column.title), _TITLE), column, widths[column], colour)]
        + [_draw(cell, column, widths[column], colour) for cell in cells]
        for column, cells, _ in filled
        if column in widths
    ]
    lines = [_GAP.join(cells).rstrip() for cells in zip(*drawn, strict=True)]
    return "".join([_line(_LEGEND, width), "\n".join(lines), "\n", _line(summary(rows), width)])


def _line(text: str, width: int | None) -> str:
    return (text if width is None else clip_end(text, width)) + "\n"


def _draw(cell: Cell, column: _Column, width: int, colour: Palette) -> str:
    text, size = cell.text, cell.width
    if size > width:
        text = column.clip(text, width)
        size = width_of(text)
    padding = " " * (width - size)
    if text and (look := colour.get(cell.role)):
        return f"\x1b[{look}m{text}\x1b[0m{padding}"
    return text + padding


def _layout(natural: list[tuple[_Column, int]], width: int | None) -> dict[_Column, int]:
    """The width of every column that stays: they go by rank until the rest fits, then room is shared out."""
    kept = dict(natural)
    if width is None:
        return kept
    while sum(min(size, c.least) for c, size in kept.items()) + len(_GAP) * (len(kept) - 1) > width:
        least_important = max(kept, key=lambda c: c.rank)
        if not least_important.rank:
            break
        del kept[least_important]
    widths = {column: min(size, column.least) for column, size in kept.items()}
    room = width - sum(widths.values()) - len(_GAP) * (len(kept) - 1)
    # A terminal too narrow even for what is never dropped: the last columns give way.
    for column in reversed(widths):
        if room >= 0:
            break
        taken = min(-room, widths[column] - 1)
        widths[column] -= taken
        room += taken
    for column in (_CHANGES, _REMOTE, _STASHES, _AGE, _REPOSITORY, _BRANCH, _ACTION, _NOTE):
        if column in widths and room > 0:
            more = min(room, kept[column] - widths[column])
            widths[column] += more
            room -= more
    return widths


def summary(rows: Sequence[Row]) -> str:
    """One line: how many repositories, and how many need attention; states other than fresh are all named."""
    parts = [
        (sum([row.dirty for row in rows]), "dirty"),
        (sum([row.ahead for row in rows]), "ahead"),
        (sum([row.behind for row in rows]), "behind"),
    ]
    states = [row.state for row in rows]
    parts += [(states.count(state), state.value) for state in _STATE_ROLES]
    told = ", ".join(f"{count} {word}" for count, word in parts if count)
    noun = "repository" if len(rows) == 1 else "repositories"
    return f"{len(rows)} {noun}: {told}" if told else f"{len(rows)} {noun}" + (": all clean" if rows else "")
