"""The answer of `gitwatch status` for people: the table, the warnings beside it, what decides the exit code.

Owns nothing; pure. Runs: serving thread (and the client's process for `--direct`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gitwatchd.model.report import Standing, State
from gitwatchd.render.table import DEFAULT_COLUMNS, Frame, Palette, Row, path_shown, status_table
from gitwatchd.render.text import shown


@dataclass(frozen=True, slots=True)
class StatusView:
    text: str
    notes: list[str]
    """Lines for stderr."""
    failed: int
    strict_failed: int
    """Repositories that count as failures only under `--strict`."""


_STRICT_STATES = frozenset({State.UNSAFE, State.STALE, State.GONE, State.PENDING})


def render_status(
    repositories: Sequence[tuple[Row, Standing]],
    *,
    frame: Frame,
    width: int | None,
    colour: Palette,
    columns: Sequence[str] = DEFAULT_COLUMNS,
    links: bool = False,
) -> StatusView:
    """`repositories` in the order in which they are shown; the other arguments as in `status_table`."""
    rows = [row for row, _ in repositories]
    states = [row.state for row in rows]
    standings = ((row.path, standing) for row, standing in repositories)
    return StatusView(
        text=status_table(rows, frame=frame, width=width, colour=colour, columns=columns, links=links),
        notes=status_notes(standings, base=frame.base, home=frame.home),
        failed=states.count(State.FAILED),
        strict_failed=sum(state in _STRICT_STATES for state in states),
    )


def status_notes(standings: Iterable[tuple[bytes, Standing]], *, base: bytes | None, home: bytes | None) -> list[str]:
    """One warning for each distinct state, reason and hint, naming the first: 500 alike are one line."""
    groups: dict[tuple[State, str, str], list[bytes]] = {}
    for path, standing in standings:
        if standing.state is not State.FRESH:
            groups.setdefault((standing.state, standing.reason, standing.hint), []).append(path)
    notes = []
    for (state, reason, hint), paths in groups.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        note = f"{state}: {path_shown(paths[0], base, home)}{more}"
        notes.append(note + "".join(f": {shown(part)}" for part in (reason, hint) if part))
    return notes
