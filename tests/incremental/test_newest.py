"""The newest file, without looking at all of them."""

from __future__ import annotations

from gitwatchd.incremental.newest import NewestTime

SECOND_NS = 1_000_000_000


def made(newest_s: float = 100.0) -> NewestTime:
    newest = NewestTime()
    newest.settle(newest_s)
    return newest


def test_a_newer_file_needs_no_look_at_the_others() -> None:
    newest = made()
    newest.see(b"a", 200 * SECOND_NS, 50 * SECOND_NS)
    assert (newest.seen_ns, newest.lost) == (200 * SECOND_NS, False)


def test_an_older_file_may_go() -> None:
    newest = made()
    newest.miss(b"a", 50 * SECOND_NS, counted=True)
    assert not newest.lost


def test_the_newest_file_may_not_go_unnoticed() -> None:
    newest = made()
    newest.miss(b"a", 100 * SECOND_NS, counted=True)
    assert newest.lost


def test_nor_become_older() -> None:
    newest = made()
    newest.see(b"a", 99 * SECOND_NS, 100 * SECOND_NS)
    assert newest.lost


def test_what_was_seen_counts_more_than_what_the_index_recorded() -> None:
    newest = made()
    newest.see(b"a", 200 * SECOND_NS, 50 * SECOND_NS)
    newest.settle(200.0)
    newest.miss(b"a", 50 * SECOND_NS, counted=True)
    assert newest.lost


def test_what_came_and_went_unseen_does_not_matter() -> None:
    newest = made()
    newest.miss(b"a.tmp", None, counted=False)
    assert not newest.lost
    newest.miss(b"listed", None, counted=True)
    assert newest.lost


def test_nor_may_one_become_older_of_which_nothing_was_known() -> None:
    newest = made()
    newest.see(b"new", 101 * SECOND_NS, None)
    assert not newest.lost
    newest.see(b"a", 99 * SECOND_NS, None)
    assert newest.lost
