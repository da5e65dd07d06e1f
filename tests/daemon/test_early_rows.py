"""Rows shown before a table is whole: each once, in order, and no more than there is room for."""

from __future__ import annotations

from gitwatchd.daemon.early_rows import MOST_ROWS, EarlyRows
from gitwatchd.engine.repository import Repository
from gitwatchd.model.report import Facts, Standing, State, Watch
from gitwatchd.model.repository import Analysed, Gone, Location, RepoPath
from gitwatchd.render.table import Row, row_of

STANDING = Standing(State.FRESH, Watch.WATCHED)


def answered(count: int) -> list[tuple[Repository, Standing]]:
    found = []
    for number in range(count):
        path = RepoPath(b"/r%03d" % number)
        repository = Repository(Location(path, path + b"/.git", path + b"/.git", bare=False))
        repository.outcome = Analysed(Facts(), b"")
        found.append((repository, STANDING))
    return found


def early_rows(most: int) -> EarlyRows:
    def row(repository: Repository, standing: Standing) -> Row:
        return row_of(repository.location, repository.facts(), standing)

    return EarlyRows(most, row, lambda rows: [row.path.decode() for row in rows])


def test_each_is_shown_once_in_the_order_in_which_they_were_answered() -> None:
    rows, all_of_them = early_rows(10), answered(4)
    assert rows.take([]) == []
    assert rows.take(all_of_them[2:]) == ["/r002", "/r003"]
    assert rows.take(all_of_them) == ["/r000", "/r001"]
    assert rows.take(all_of_them) == []


def test_no_more_than_the_terminal_has_room_for_over_all_moments() -> None:
    rows, all_of_them = early_rows(7), answered(MOST_ROWS)
    assert len(rows.take(all_of_them[:4])) == 4
    assert rows.take(all_of_them) == ["/r004", "/r005", "/r006"]
    assert rows.take(all_of_them) == []


def test_who_asks_for_more_than_a_terminal_has_gets_no_more() -> None:
    assert len(early_rows(MOST_ROWS + 1).take(answered(MOST_ROWS + 1))) == MOST_ROWS


def test_one_that_is_gone_is_not_shown() -> None:
    ((repository, standing),) = answered(1)
    repository.outcome = Gone()
    assert early_rows(7).take([(repository, standing)]) == []
