"""The status table: one line a repository.

Owns nothing; pure. Runs: serving thread (and the client's process for `--direct`), so it counts microseconds:
a `Row` is built once per analysis and cached by its owner, and drawing 500 cached rows takes 2-3 ms (a general
table library took 200-420 ms).
Invariant: with a width, no line is wider. Without one (not a terminal) nothing is cut.
Invariant: colour only repeats what symbols and words already say.

A cell names the role that it plays; what that looks like is the palette's to say (`gitwatchd.settings.colours`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gitwatchd.model.report import Action, Counts, Facts, Standing, State, Tracking
from gitwatchd.model.repository import Location
from gitwatchd.render.remote_names import browse_url, short_remote
from gitwatchd.render.text import clip_end, clip_start, counted, shown, width_of

Palette = Mapping[str, str]
"""SGR parameters by role; empty: no colour."""

_TITLE, _CLEAN_ROLE, _CHANGED, _CONFLICT = "title", "clean", "changed", "conflict"
_TRACKING, _ATTENTION, _FAILURE, _FAINT = "tracking", "attention", "failure", "faint"
_OID_DIGITS = 8
_GAP = "  "


@dataclass(frozen=True, slots=True)
class Cell:
    """`width` in terminal columns, `role` a key of the palette or empty, `link` where a click leads."""

    text: str = ""
    width: int = 0
    role: str = ""
    link: str | None = None


_EMPTY = Cell()


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
    tracking: Cell
    action: Cell
    stashes: Cell
    url: Cell
    note: Cell
    facts: Facts
    """For the columns that few ask for."""
    lines: Cell = _EMPTY
    """Only where they were asked for (`with_lines`)."""
    failure: str = ""
    """`fetch failed`: what was tried just now, and failed (`marked`)."""


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
        changes=_BARE if location.bare else _EMPTY if counts is None else _counts_cell(counts),
        tracking=tracking_cell(upstream.ahead, upstream.behind, gone=upstream.gone) if upstream else _EMPTY,
        action=_action_cell(facts.action),
        stashes=cell_of(str(facts.stashes)) if facts.stashes else _EMPTY,
        url=_url_cell(upstream),
        note=_note_cell(standing),
        facts=facts,
    )


def marked(row: Row, note: str) -> Row:
    """The row with a note of what was done to that repository just now, before the one that it has.

    `WORD failed: ...` is counted in the summary, and so is told even where the note is cut.
    """
    what = note.partition(":")[0]
    failure = what if what.endswith(" failed") else ""
    text = f"{note}; {row.note.text}" if row.note.text else note
    return replace(row, note=cell_of(text, _FAILURE if failure else row.note.role), failure=failure)


def with_lines(row: Row, lines: Mapping[str, int] | None) -> Row:
    """The row with its added and removed lines; None: they are not known."""
    if lines is None or not (lines["added"] or lines["removed"]):
        return row
    return replace(row, lines=cell_of(f"+{lines['added']}/-{lines['removed']}", _CHANGED))


def cell_of(text: str, role: str = "", link: str | None = None) -> Cell:
    """`text` is `shown` already."""
    return Cell(text, width_of(text), role, link)


def _branch_cell(facts: Facts) -> Cell:
    if facts.branch is not None:
        return cell_of(shown(facts.branch) + (" (unborn)" if facts.unborn else ""))
    if facts.oid is None:
        return _EMPTY
    return cell_of(f"({shown(facts.oid[:_OID_DIGITS])})", _ATTENTION)


def _counts_cell(counts: Counts) -> Cell:
    return changes_cell(counts.staged, counts.unstaged, counts.untracked, counts.conflicted)


def changes_cell(staged: int, unstaged: int, untracked: int, conflicted: int) -> Cell:
    """With the prompt's signs and in its order, so that `!4` is the same wherever it stands."""
    counts = (("~", conflicted), ("+", staged), ("!", unstaged), ("?", untracked))
    parts = [f"{sign}{count}" for sign, count in counts if count]
    return cell_of(" ".join(parts), _CONFLICT if conflicted else _CHANGED) if parts else _CLEAN


def tracking_cell(ahead: int | None, behind: int | None, *, gone: bool) -> Cell:
    """Ahead None: there is nothing to compare, as no commit was made yet."""
    if gone:
        return cell_of("gone", _ATTENTION)
    parts = [f"{arrow}{count}" for arrow, count in (("⇣", behind), ("⇡", ahead)) if count]
    if not parts:
        return _EMPTY if ahead is None else _LEVEL
    return cell_of(" ".join(parts), _TRACKING)


def _action_cell(action: Action | None) -> Cell:
    if action is None:
        return _EMPTY
    steps = f" {action.step}/{action.total}" if action.step and action.total else ""
    return cell_of(shown(action.name) + steps, _ATTENTION)


def _note_cell(standing: Standing) -> Cell:
    if standing.state is State.FRESH:
        return _EMPTY
    reason = f": {shown(standing.reason)}" if standing.reason else ""
    return cell_of(f"{standing.state}{reason}", _STATE_ROLES[standing.state])


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


def ago_shown(seconds: float) -> str:
    """The same in a sentence: `5m ago`."""
    age = age_shown(seconds)
    return age if age == "now" else f"{age} ago"


def _url_cell(upstream: Tracking | None) -> Cell:
    if upstream is None or upstream.url is None:
        return _EMPTY
    url = upstream.url.decode(errors="replace")
    return cell_of(shown(short_remote(url)), "", browse_url(url))


@dataclass(frozen=True, slots=True)
class Frame:
    """What a table shows beside the rows: where the reader stands, and when."""

    base: bytes | None
    """The directory that was asked for: paths are shown relative to it."""
    home: bytes | None
    now: float
    """Epoch seconds."""


@dataclass(frozen=True, slots=True)
class Column:
    """`least` is the width below which it is rather dropped; the highest `rank` goes first, 0 never."""

    name: str
    title: str
    rank: int
    least: int
    cell: Callable[[Any, Frame], Cell]
    """Of one row, whatever this table's rows are."""
    clip: Callable[[str, int], str] = clip_end


def _path_cell(row: Row, frame: Frame) -> Cell:
    return cell_of(path_shown(row.path, frame.base, frame.home))


def _status_cell(row: Row, _frame: Frame) -> Cell:
    parts = [cell for cell in (row.changes, row.tracking, row.action) if cell.text and cell is not _LEVEL]
    text = " ".join([cell.text for cell in parts if cell is not _CLEAN or len(parts) == 1])
    return cell_of(text, parts[0].role if parts else "")


def _branch_remote_cell(row: Row, _frame: Frame) -> Cell:
    upstream = row.facts.upstream
    return row.branch if upstream is None else cell_of(f"{row.branch.text}:{shown(upstream.name)}", row.branch.role)


def _age_cell(row: Row, frame: Frame) -> Cell:
    mtime = row.facts.mtime
    return _EMPTY if mtime is None else cell_of(age_shown(frame.now - mtime), _FAINT)


def _fetched_cell(row: Row, frame: Frame) -> Cell:
    at = row.facts.fetched_at
    return _EMPTY if at is None else cell_of(age_shown(frame.now - at), _FAINT)


def _of(read: Callable[[Facts], bytes | int | None]) -> Callable[[Row, Frame], Cell]:
    def cell(row: Row, _frame: Frame) -> Cell:
        value = read(row.facts)
        return _EMPTY if value is None else cell_of(shown(value) if isinstance(value, bytes) else str(value))

    return cell


_ALL = (
    Column("dir", "REPOSITORY", 0, 14, _path_cell, clip_start),
    Column("branch", "BRANCH", 1, 10, lambda row, _: row.branch),
    Column("changes", "CHANGES", 0, 16, lambda row, _: row.changes),
    Column("tracking", "REMOTE", 2, 9, lambda row, _: row.tracking),
    Column("action", "ACTION", 3, 8, lambda row, _: row.action),
    Column("stashes", "STASHES", 4, 7, lambda row, _: row.stashes),
    Column("mtime", "CHANGED", 5, 7, _age_cell),
    Column("fetched", "FETCHED", 6, 8, _fetched_cell),
    Column("url", "URL", 7, 12, lambda row, _: row.url),
    Column("note", "NOTE", 0, 12, lambda row, _: row.note),
    Column("name", "NAME", 1, 12, lambda row, _: cell_of(shown(row.path.rpartition(b"/")[2]))),
    Column("path", "PATH", 1, 14, lambda row, _: cell_of(shown(row.path)), clip_start),
    Column("status", "STATUS", 1, 16, _status_cell),
    Column("remote", "UPSTREAM", 6, 10, _of(lambda facts: facts.upstream.name if facts.upstream else None)),
    Column("branch_remote", "BRANCH:UPSTREAM", 1, 12, _branch_remote_cell),
    Column("ident", "IDENT", 8, 10, _of(lambda facts: facts.ident)),
    Column("oid", "COMMIT", 8, 8, _of(lambda facts: facts.oid[:_OID_DIGITS] if facts.oid else None)),
    Column("tag", "TAG", 8, 8, _of(lambda facts: facts.tag)),
    Column("summary", "SUMMARY", 8, 16, _of(lambda facts: facts.summary)),
    Column("submodules", "SUBMODULES", 8, 10, _of(lambda facts: facts.submodules or None)),
    Column("worktrees", "WORKTREES", 8, 9, _of(lambda facts: facts.worktrees or None)),
    Column("lines", "LINES", 3, 8, lambda row, _: row.lines),
    Column("state", "STATE", 1, 7, lambda row, _: cell_of(row.state.value, _STATE_ROLES.get(row.state, ""))),
)
_BY_NAME = {column.name: column for column in _ALL}
COLUMNS = tuple(_BY_NAME)
"""The names of all columns."""
DEFAULT_COLUMNS = COLUMNS[:10]

_LEGENDS = (
    "~conflicted +staged !unstaged ?untracked   ⇣behind ⇡ahead =level with upstream",
    "~conflicted +staged !unstaged ?untracked   ⇣behind ⇡ahead",
)


class NoSuchColumn(ValueError):
    pass


def parse_columns(
    words: Sequence[str], start: Sequence[str] = DEFAULT_COLUMNS, known: Collection[str] = COLUMNS
) -> list[str]:
    """`name` adds a column at the end, `-name` takes it away, `-` takes all away. Raises NoSuchColumn."""
    names = list(start)
    for word in filter(None, map(str.strip, words)):
        if word == "-":
            names.clear()
            continue
        name = word.removeprefix("-")
        if name not in known:
            raise NoSuchColumn(name)
        if name in names:
            names.remove(name)
        if name == word:
            names.append(name)
    return names


def status_table(
    rows: Sequence[Row],
    *,
    frame: Frame,
    width: int | None,
    colour: Palette,
    columns: Sequence[str] = DEFAULT_COLUMNS,
    links: bool = False,
) -> str:
    """The table with a legend above and a summary below; ends with a newline. Keeps the order of `rows`.

    `width` is the terminal's in columns (None: nothing is cut). `links`: the terminal knows hyperlinks (OSC 8).
    A default column that has nothing to say is left out. Where the notes do not fit beside the rest, each stands
    below its row: they say that an answer is not to be trusted, and should neither be cut nor take others' room.
    """
    if not rows:
        return _summary_lines(rows, width)
    drawn = draw_columns(rows, [_BY_NAME[name] for name in columns], DEFAULT_COLUMNS, frame, width, colour, links=links)
    fitting = next((text for text in _LEGENDS if width is None or len(text) <= width), _LEGENDS[-1])
    legend = [line_of(fitting, width)] if {"changes", "status"}.intersection(columns) else []
    return "".join([*legend, drawn, _summary_lines(rows, width)])


def draw_columns(
    rows: Sequence[Any],
    columns: Sequence[Column],
    optional: Collection[str],
    frame: Frame,
    width: int | None,
    colour: Palette,
    *,
    links: bool,
) -> str:
    """Titles and rows. Columns that are named in `optional` are left out when no row has anything in them."""
    cells = [(column, [column.cell(row, frame) for row in rows]) for column in columns]
    natural = [max([cell.width for cell in column_cells]) for _, column_cells in cells]
    filled = [
        (column, column_cells, max(size, len(column.title)))
        for (column, column_cells), size in zip(cells, natural, strict=True)
        if size or column.name not in optional
    ]
    below = None
    if width is not None and sum(size for *_, size in filled) + len(_GAP) * (len(filled) - 1) > width:
        below = next((column_cells for column, column_cells, _ in filled if column.name == "note"), None)
        filled = [each for each in filled if each[0].name != "note" or below is None]
    widths = _layout([(column, size) for column, _, size in filled], width)
    drawn = [
        [_draw(Cell(column.title, len(column.title), _TITLE), column, widths[column], colour, links=False)]
        + [_draw(cell, column, widths[column], colour, links=links) for cell in column_cells]
        for column, column_cells, _ in filled
        if column in widths
    ]
    lines = [_GAP.join(texts).rstrip() for texts in zip(*drawn, strict=True)]
    if below is not None and width is not None:
        notes = ["", *[_below(cell, width, colour) for cell in below]]
        lines = [line + note for line, note in zip(lines, notes, strict=True)]
    return "\n".join(lines) + "\n"


def _below(cell: Cell, width: int, colour: Palette) -> str:
    if not cell.text:
        return ""
    text = clip_end(cell.text, max(width - len(_GAP), 1))
    look = colour.get(cell.role)
    return "\n" + _GAP + (f"\x1b[{look}m{text}\x1b[0m" if look else text)


_EARLY_WIDTHS = {"dir": 44, "branch": 20, "changes": 16, "tracking": 9, "note": 40}


def early_lines(rows: Sequence[Row], *, frame: Frame, width: int, colour: Palette) -> list[str]:
    """Lines of a table whose other rows are not known yet: columns of fixed widths, cut at `width`."""
    widths = _layout([(_BY_NAME[name], size) for name, size in _EARLY_WIDTHS.items()], width)
    lines = []
    for row in rows:
        drawn = [_draw(column.cell(row, frame), column, size, colour, links=False) for column, size in widths.items()]
        lines.append(_GAP.join(drawn).rstrip())
    return lines


def line_of(text: str, width: int | None) -> str:
    """A line of its own, beside the columns."""
    return (text if width is None else clip_end(text, width)) + "\n"


def _summary_lines(rows: Sequence[Row], width: int | None) -> str:
    """Never cut before its end, where what is not to be trusted is counted: it goes on in a further line."""
    lines: list[str] = []
    for part in summary(rows).split(", "):
        longer = f"{lines[-1]}, {part}" if lines else part
        if lines and (width is None or width_of(longer) < width):
            lines[-1] = longer
        else:
            lines.append(part)
    return "".join([line_of(line + ",", width) for line in lines[:-1]]) + line_of(lines[-1], width)


def _draw(cell: Cell, column: Column, width: int, colour: Palette, *, links: bool) -> str:
    text, size = cell.text, cell.width
    if size > width:
        text = column.clip(text, width)
        size = width_of(text)
    padding = " " * (width - size)
    if text and (look := colour.get(cell.role)):
        text = f"\x1b[{look}m{text}\x1b[0m"
    if links and cell.link is not None and text:
        text = f"\x1b]8;;{cell.link}\x1b\\{text}\x1b]8;;\x1b\\"
    return text + padding


def _layout(natural: list[tuple[Column, int]], width: int | None) -> dict[Column, int]:
    """The width of every column that stays: they go by rank until the rest fits, then room is shared out."""
    kept = dict(natural)
    if width is None:
        return kept
    while _least(kept) > width:
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
    # Fair shares, the smallest wish first: a branch of 90 characters must not cost all others their last letters.
    wishes = sorted(kept, key=lambda column: kept[column] - widths[column])
    for position, column in enumerate(wishes):
        if room > 0:
            more = min(room // (len(wishes) - position), kept[column] - widths[column])
            widths[column] += more
            room -= more
    return widths


_NICE_TO_HAVE = 6
"""Columns of this rank and higher are not worth it where they leave the others barely readable."""


def _least(kept: Mapping[Column, int]) -> int:
    """Columns that these take together, if each is as narrow as it may be."""
    roomy = max(column.rank for column in kept) >= _NICE_TO_HAVE
    leasts = [min(size, column.least * 7 // 5 if roomy else column.least) for column, size in kept.items()]
    return sum(leasts) + len(_GAP) * (len(kept) - 1)


def summary(rows: Sequence[Row]) -> str:
    """One line: how many repositories, and how many need attention; states other than fresh are all named."""
    parts = [
        (sum([row.dirty for row in rows]), "dirty"),
        (sum([row.ahead for row in rows]), "ahead"),
        (sum([row.behind for row in rows]), "behind"),
    ]
    states = [row.state for row in rows]
    parts += [(states.count(state), state.value) for state in _STATE_ROLES]
    failures = [row.failure for row in rows if row.failure]
    parts += [(failures.count(failure), failure) for failure in dict.fromkeys(failures)]
    told = ", ".join(f"{count} {word}" for count, word in parts if count)
    total = counted(len(rows), "repository", "repositories")
    return f"{total}: {told}" if told else total + (": all clean" if rows else "")
