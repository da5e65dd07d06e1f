"""What a user sees, whole, at 60, 100 and 200 columns: `screens/NAME-WIDTH.txt`.

After a change that is meant, write them anew and look at the difference: `python -m tests.render.test_screens`.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from gitwatchd.model.report import Action, Counts, Facts, Standing, State, Tracking, Watch
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.render.branches_view import render_branches
from gitwatchd.render.table import Frame, row_of, status_table
from gitwatchd.render.text import width_of
from gitwatchd.render.unsaved_view import render_unsaved

SCREENS = Path(__file__).with_name("screens")
WIDTHS = (60, 100, 200)
NOW = 1_700_000_000.0
HOUR = 3600.0


def status_screen(width: int) -> str:
    rows = []
    for path, facts, state, reason in _FLEET:
        place = RepoPath(b"/home/u/src/" + path.encode())
        standing = Standing(state, Watch.WATCHED, reason)
        rows.append(row_of(Location(place, place, place, path == "mirror.git"), facts, standing))
    return status_table(rows, frame=Frame(b"/home/u/src", b"/home/u", NOW), width=width, colour={})


def _facts(
    branch: str, counts: Counts | None, tracking: Tracking | None, mtime_h: float | None, **more: object
) -> Facts:
    oid = b"4f5e6d7c8b9a"
    mtime = None if mtime_h is None else NOW - mtime_h * HOUR
    return Facts(oid=oid, branch=branch.encode() or None, counts=counts, upstream=tracking, mtime=mtime, **more)  # type: ignore[arg-type]


def _on(url: str, ahead: int = 0, behind: int = 0, *, gone: bool = False) -> Tracking:
    return Tracking(b"origin/main", b"origin", url.encode(), ahead, behind, gone)


_FLEET = [
    ("api", _facts("main", Counts(), _on("https://github.com/acme/api.git"), 2, fetched_at=NOW - 3 * HOUR),
     State.FRESH, ""),
    ("billing", _facts("feature/invoices-in-euro", Counts(staged=3, unstaged=12, untracked=1, conflicted=2),
                       _on("git@github.com:acme/billing.git", 2, 31), 0.2, stashes=4, fetched_at=NOW - 30 * HOUR,
                       action=Action("rebase-i", 2, 5)), State.FRESH, ""),
    ("日本語/文書管理システム", _facts("機能/請求書", Counts(untracked=7), _on("https://gitlab.com/acme/docs", 1), 26),
     State.FRESH, ""),
    ("cafe\u0301-na\u00efve", _facts("main", Counts(unstaged=1), None, 700), State.FRESH, ""),
    ("some/where/very/deep/in/the/tree/of/directories/widgets",
     _facts("users/somebody/a-branch-with-a-name-that-nobody-will-ever-type-again", Counts(),
            _on("ssh://git@git.example.org:2222/team/sub/widgets.git", gone=True), 9000, fetched_at=NOW - 5),
     State.FRESH, ""),
    ("big", _facts("main", Counts(unstaged=2), _on("https://codeberg.org/acme/big", 0, 4), 1),
     State.STALE, "git status did not end within 120 s; see what it waits for: a slow disk, or a filter driver"),
    ("mirror.git", _facts("main", None, None, None), State.FRESH, ""),
    ("web", _facts("", Counts(), None, 400, detached=True), State.FRESH, ""),
    ("evil\x1b[2J", _facts("main", Counts(), None, 3), State.FRESH, ""),
]  # fmt: skip


def unsaved_screen(width: int) -> str:
    reasons = {
        "api": [{"kind": "uncommitted", "staged": 3, "unstaged": 12, "untracked": 1, "conflicted": 2},
                {"kind": "action", "note": "rebase-i"}, {"kind": "stashed", "count": 4}],
        "日本語/文書管理システム": [
            {"kind": "unpushed", "branch": "機能/請求書", "count": 1, "upstream": "origin/機能/請求書", "gone": True}],
        "cafe\u0301-na\u00efve": [{"kind": "no_remote", "branch": "main", "count": 700}],
        "some/where/very/deep/in/the/tree/of/directories/widgets": [
            {"kind": "unpushed", "branch": "users/somebody/a-branch-with-a-name", "count": 2,
             "upstream": None},
            {"kind": "uncommitted", "unstaged": 1, "submodule": "/home/u/src/some/sub"}],
    }  # fmt: skip
    repos = [{"path": f"/home/u/src/{path}", "unsaved": True, "reasons": listed} for path, listed in reasons.items()]
    return render_unsaved(repos, frame=Frame(b"/home/u/src", b"/home/u", NOW), width=width, colour={})


def branches_screen(width: int) -> str:
    branches = [
        {"branch": "main", "current": True, "worktree": "/home/u/src/api", "upstream": "origin/main", "ahead": 0,
         "behind": 31, "staged": 3, "unstaged": 12, "untracked": 1, "conflicted": 0, "subject": "Invoices in euro",
         "author": "Ann <ann@example.org>"},
        {"branch": "機能/請求書", "upstream": "origin/機能/請求書", "gone": True, "author": "山田 <y@example.org>",
         "subject": "cafe\u0301 na\u00efve"},
        {"branch": "users/somebody/a-branch-with-a-name-that-nobody-will-ever-type-again", "upstream": None,
         "worktree": "/home/u/src/some/where/very/deep/widgets", "dirty": False, "author": "Bob <bob@example.org>",
         "subject": "A subject that is far too long for anything but the very widest of all terminals, and then some"},
    ]  # fmt: skip
    absent = dict.fromkeys(
        ("worktree", "url", "ahead", "behind", "gone", "current", "staged", "unstaged", "untracked", "conflicted")
    )
    whole = [
        {"repo": "/home/u/src/api", "date": NOW - HOUR, "dirty": "staged" in branch or None, **absent, **branch}
        for branch in branches
    ]
    return render_branches(whole, frame=Frame(b"/home/u/src", b"/home/u", NOW), width=width, colour={})


VIEWS = {"status": status_screen, "unsaved": unsaved_screen, "branches": branches_screen}


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("view", VIEWS)
def test_screen(view: str, width: int) -> None:
    screen = VIEWS[view](width)
    assert screen == (SCREENS / f"{view}-{width}.txt").read_text()
    assert max(width_of(line) for line in screen.splitlines()) <= width


def test_the_answer_of_unsaved_is_not_cut() -> None:
    assert unsaved_screen(32).splitlines()[-2:] == ["4 of 4 repositories:", "  work that exists only here"]


def test_what_was_not_checked_is_not_said_to_exist_only_here() -> None:
    def last_line(*kinds: list[str]) -> str:
        repos = [
            {"path": f"/src/{number}", "unsaved": bool(listed), "reasons": [REASONS[kind] for kind in listed]}
            for number, listed in enumerate(kinds)
        ]
        return render_unsaved(repos, frame=Frame(b"/src", None, NOW), width=None, colour={}).splitlines()[-1]

    assert last_line(["unchecked"], []) == "1 of 2 repositories: not checked"
    assert last_line(["unchecked"], ["stashed"]) == "1 of 2 repositories: work that exists only here; 1 not checked"
    assert last_line(["unchecked", "stashed"], []) == "1 of 2 repositories: work that exists only here"


REASONS = {"unchecked": {"kind": "unchecked", "note": "permission denied"}, "stashed": {"kind": "stashed", "count": 1}}


if __name__ == "__main__":
    for view, draw in VIEWS.items():
        for width in WIDTHS:
            (SCREENS / f"{view}-{width}.txt").write_text(draw(width))
