from __future__ import annotations

import re
from dataclasses import replace

import pytest

from gitwatchd.model.report import Action, Counts, Facts, Standing, State, Tracking, Watch
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.render.table import (
    COLUMNS,
    Frame,
    NoSuchColumn,
    Row,
    age_shown,
    early_lines,
    parse_columns,
    path_shown,
    row_of,
    status_table,
)
from gitwatchd.render.text import width_of
from gitwatchd.settings.colours import palette
from gitwatchd.settings.model import Colours

NOW = 1_700_000_000.0


def row(
    path: bytes = b"/home/u/src/a",
    facts: Facts | None = None,
    state: State = State.FRESH,
    reason: str = "",
    *,
    bare: bool = False,
) -> Row:
    location = Location(RepoPath(path), path + b"/.git", path + b"/.git", bare)
    return row_of(location, facts, Standing(state, Watch.WATCHED, reason))


def upstream(ahead: int = 0, behind: int = 0, *, gone: bool = False) -> Tracking:
    return Tracking(b"origin/main", b"origin", None, ahead, behind, gone)


def draw(rows: list[Row], width: int | None = None, *, colour: bool = False) -> list[str]:
    looks = palette(Colours()) if colour else {}
    text = status_table(rows, frame=Frame(b"/home/u/src", b"/home/u", NOW), width=width, colour=looks)
    assert text.endswith("\n")
    return text.splitlines()


BUSY = Facts(
    oid=b"1a2b3c4d5e6f", branch=b"main", detached=False, unborn=False, upstream=upstream(2, 3),
    counts=Counts(staged=3, unstaged=2, untracked=1, conflicted=1), stashes=4, action=Action("rebase-i", 2, 5),
    mtime=NOW - 7200,
)  # fmt: skip
CLEAN = Facts(oid=b"1a2b3c4d5e6f", branch=b"main", counts=Counts(), upstream=upstream(), mtime=NOW - 5)


def test_early_lines_have_their_places_whatever_else_will_come() -> None:
    lines = early_lines(
        [row(facts=BUSY), row(b"/home/u/other", CLEAN, State.FAILED, "no")],
        frame=Frame(b"/home/u/src", b"/home/u", NOW), width=80, colour={},
    )  # fmt: skip
    assert [line.split() for line in lines] == [
        ["a", "main", "~1", "+3", "!2", "?1", "⇣3", "⇡2"],
        ["~/other", "main", "clean", "=", "failed:", "no"],
    ]
    assert lines[0].index("main") == lines[1].index("main")
    assert max(map(width_of, lines)) <= 80


def test_everything_there_is_to_say() -> None:
    assert draw([row(facts=BUSY), row(b"/home/u/other", CLEAN), row(b"/home/u/src/c", CLEAN, State.STALE, "busy")]) == [
        "~conflicted +staged !unstaged ?untracked   ⇣behind ⇡ahead =level with upstream",
        "REPOSITORY  BRANCH  CHANGES      REMOTE  ACTION        STASHES  CHANGED  NOTE",
        "a           main    ~1 +3 !2 ?1  ⇣3 ⇡2   rebase-i 2/5  4        2h",
        "~/other     main    clean        =                              5s",
        "c           main    clean        =                              5s       stale: busy",
        "3 repositories: 1 dirty, 1 ahead, 1 behind, 1 stale",
    ]


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (Facts(oid=b"1a2b3c4d5e6f", detached=True, counts=Counts()), "(1a2b3c4d)  clean"),
        (Facts(branch=b"new", unborn=True, counts=Counts()), "new (unborn)  clean"),
        (Facts(branch=b"b", counts=Counts(), upstream=upstream(gone=True)), "b       clean    gone"),
        (Facts(branch=b"b\x1b[2J", counts=Counts()), "b\\x1b[2J  clean"),
    ],
)
def test_words_of_one_row(facts: Facts, words: str) -> None:
    assert draw([row(facts=facts)])[2] == f"a           {words}"


def test_a_bare_repository_and_one_without_facts() -> None:
    lines = draw([row(facts=Facts(branch=b"main"), bare=True), row(b"/x", None, State.FAILED, "I/O\nerror")])
    assert lines[2] == "a           main    bare"
    assert lines[3] == "/x                           failed: I/O\\x0aerror"
    assert lines[4] == "2 repositories: 1 failed"


def test_columns_with_nothing_to_say_are_left_out() -> None:
    assert draw([row(facts=Facts(branch=b"main", counts=Counts()))])[1] == "REPOSITORY  BRANCH  CHANGES"


def test_no_repositories() -> None:
    assert draw([]) == ["0 repositories"]


def test_summary_says_clean() -> None:
    assert draw([row(facts=CLEAN)])[-1] == "1 repository: all clean"


def test_a_summary_that_is_too_long_goes_on_in_another_line() -> None:
    rows = [row(facts=BUSY), row(facts=CLEAN, state=State.FAILED), row(facts=CLEAN, state=State.UNSAFE)]
    whole = draw(rows)[-1]
    assert ", 1 failed, " in whole
    assert whole.endswith(", 1 unsafe")
    cut = draw(rows, len(whole) - 1)
    assert f"{cut[-2]} {cut[-1]}" == whole
    assert draw(rows, len(whole) + 1)[-1] == whole


def test_wide_and_combining_names_keep_the_columns_aligned() -> None:
    names = ["漢字", "e\u0301e\u0301", "plain-name"]
    lines = draw([row(b"/home/u/src/" + name.encode(), CLEAN) for name in names])
    assert {width_of(line[: line.index("main")]) for line in lines[2:5]} == {12}


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100, 200])
@pytest.mark.parametrize("colour", [False, True])
def test_no_line_is_wider_than_the_terminal(width: int, colour: bool) -> None:
    rows = [
        row(b"/home/u/src/" + "long/漢字".encode() * 9, BUSY, State.STALE, "the disk is slow " * 9),
        row(b"/home/u/src/b", Facts(branch=b"feature/" + b"x" * 90, counts=Counts())),
    ]
    for line in draw(rows, width, colour=colour):
        assert width_of(re.sub("\x1b\\[[0-9]*m", "", line)) <= width, line


def test_narrow_terminals_lose_the_least_important_columns_first() -> None:
    rows = [row(b"/home/u/src/some/where/deep/name", BUSY, State.STALE, "timed out after 5 s")]
    assert draw(rows, 110)[1].split() == [
        "REPOSITORY", "BRANCH", "CHANGES", "REMOTE", "ACTION", "STASHES", "CHANGED", "NOTE",
    ]  # fmt: skip
    assert draw(rows, 76)[1].split() == ["REPOSITORY", "BRANCH", "CHANGES", "REMOTE", "ACTION", "STASHES", "CHANGED"]
    assert draw(rows, 60)[1].split() == ["REPOSITORY", "BRANCH", "CHANGES", "REMOTE", "ACTION"]
    assert draw(rows, 45)[1].split() == ["REPOSITORY", "BRANCH", "CHANGES", "REMOTE"]
    assert draw(rows, 30)[1].split() == ["REPOSITORY", "CHANGES"]
    assert draw(rows, 200)[2] == draw(rows, None)[2]


def test_a_note_takes_no_columns_room_where_there_is_little() -> None:
    quiet = row(b"/home/u/src/some/where/deep/name", BUSY)
    loud = row(b"/home/u/src/some/where/deep/name", BUSY, State.STALE, "the disk is slow " * 9)
    for width in (30, 60, 80, 100):
        assert draw([loud], width)[1:3] == draw([quiet], width)[1:3]
        assert draw([loud], width)[3].startswith("  stale: the disk is slow ")


def test_links_are_drawn_only_where_asked_and_take_no_room() -> None:
    there = replace(upstream(), url=b"git@github.com:o/r\xff.git")
    rows = [row(facts=replace(CLEAN, upstream=there))]
    frame = Frame(b"/home/u/src", b"/home/u", NOW)
    plain = status_table(rows, frame=frame, width=100, colour={})
    linked = status_table(rows, frame=frame, width=100, colour={}, links=True)
    assert "\x1b" not in plain and "ssh+o/r" in plain
    assert re.findall("\x1b\\]8;;([^\x1b]*)\x1b", linked) == ["https://github.com/o/r%EF%BF%BD", ""]
    assert re.sub("\x1b\\]8;;[^\x1b]*\x1b\\\\", "", linked) == plain


def test_columns_are_added_taken_away_and_begun_anew() -> None:
    assert parse_columns(["-url", " branch ", "ident"], ("dir", "branch", "url")) == ["dir", "branch", "ident"]
    assert parse_columns(["-", "status", "", "dir"]) == ["status", "dir"]
    with pytest.raises(NoSuchColumn, match="nosuch"):
        parse_columns(["-nosuch"])


def test_every_column_can_be_asked_for_and_stays_though_it_is_empty() -> None:
    frame = Frame(None, None, NOW)
    for columns in ([name] for name in COLUMNS):
        assert len(status_table([row(), row(facts=BUSY)], frame=frame, width=None, colour={}, columns=columns)) > 1
    lines = status_table([row()], frame=frame, width=None, colour={}, columns=["dir", "tag"]).splitlines()
    assert lines[0] == "REPOSITORY     TAG"


def test_columns_with_gitoverits_names() -> None:
    facts = replace(BUSY, upstream=replace(upstream(2, 3), url=b"https://gitlab.com/o/r.git"), ident=b"A <a@b>")
    text = status_table(
        [row(facts=facts)], frame=Frame(b"/home/u/src", b"/home/u", NOW), width=None, colour={},
        columns=["dir", "status", "branch_remote", "remote", "url", "ident", "mtime"],
    )  # fmt: skip
    cells = re.split("  +", text.splitlines()[2])
    assert cells == [
        "a", "~1 +3 !2 ?1 ⇣3 ⇡2 rebase-i 2/5", "main:origin/main", "origin/main", "gl:o/r", "A <a@b>", "2h",
    ]  # fmt: skip


def test_colour_repeats_what_words_say() -> None:
    rows = [row(facts=BUSY), row(b"/x", None, State.UNSAFE, "why")]
    plain, coloured = draw(rows), draw(rows, colour=True)
    assert "\x1b[31m~1 +3 !2 ?1\x1b[0m" in coloured[2]
    assert [re.sub("\x1b\\[[0-9]*m", "", line).rstrip() for line in coloured] == plain


@pytest.mark.parametrize(
    ("path", "base", "text"),
    [
        (b"/home/u/src/a", b"/home/u/src", "a"),
        (b"/home/u/src/a", b"/home/u/src/", "a"),
        (b"/home/u/src", b"/home/u/src", "~/src"),
        (b"/home/u/srcx", b"/home/u/src", "~/srcx"),
        (b"/home/u", None, "~"),
        (b"/home/user2", None, "/home/user2"),
        (b"/a", b"/", "a"),
        (b"/tmp/\xff", None, "/tmp/\\xff"),
    ],
)
def test_path(path: bytes, base: bytes | None, text: str) -> None:
    assert path_shown(path, base, b"/home/u") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-99, "now"), (0, "now"), (59, "59s"), (60, "1m"), (3599, "59m"), (7200, "2h"), (86400, "1d"),
     (13 * 86400, "13d"), (14 * 86400, "2w"), (364 * 86400, "52w"), (800 * 86400, "2y")],
)  # fmt: skip
def test_age(seconds: float, text: str) -> None:
    assert age_shown(seconds) == text
