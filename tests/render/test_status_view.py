from __future__ import annotations

import pytest

from gitwatchd.model.report import Standing, State, Watch
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.render.status_view import StatusView, render_status
from gitwatchd.render.table import Frame, row_of


def view(*standings: Standing) -> StatusView:
    rows = []
    for number, standing in enumerate(standings):
        path = RepoPath(b"/r%d" % number)
        rows.append((row_of(Location(path, path, path, False), None, standing), standing))
    return render_status(rows, frame=Frame(None, None, 0.0), width=None, colour={})


def test_alike_notes_are_one_line_with_their_hint() -> None:
    stale = Standing(State.STALE, Watch.WATCHED, "timed out", "wait longer")
    unsafe = Standing(State.UNSAFE, Watch.WATCHED, "x\x1b")
    answer = view(stale, Standing(State.FRESH, Watch.WATCHED), stale, unsafe)
    assert answer.notes == ["stale: /r0 and 1 more: timed out: wait longer", "unsafe: /r3: x\\x1b"]
    assert answer.text.endswith("4 repositories: 2 stale, 1 unsafe\n")


@pytest.mark.parametrize(
    ("state", "failed", "strict"),
    [
        (State.FRESH, 0, 0), (State.FAILED, 1, 0), (State.UNSAFE, 0, 1), (State.STALE, 0, 1), (State.GONE, 0, 1),
        (State.PENDING, 0, 1),
    ],
)  # fmt: skip
def test_what_counts_as_failed(state: State, failed: int, strict: int) -> None:
    answer = view(Standing(state, Watch.WATCHED))
    assert (answer.failed, answer.strict_failed) == (failed, strict)
