"""Playbooks of the watch budget: who gives way, who comes back, and that nobody is thrown out in vain or in turns."""

from __future__ import annotations

import pytest

from gitwatchd.engine.budget import LONGEST_RETRY_S, OFTEN, RETRY_S, STAY_S
from gitwatchd.engine.engine import SEARCH_S
from gitwatchd.engine.events import (
    Analyse,
    Asked,
    Complete,
    Discovered,
    Forgotten,
    Publish,
    QueryId,
    Refused,
    Release,
    ResumeDiscovery,
    Roomier,
    StopDiscovery,
    Tick,
    Unwatch,
    Walk,
    Walked,
)
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Gone, Lack, RepoPath, Shortage
from tests.engine.play import CLEAN, EVERYTHING, Play, analysed, changed, found, location

A, B, C = (RepoPath(b"/root/" + name) for name in (b"a", b"b", b"c"))


def watched(path: RepoPath, watches: int) -> Walked:
    return Walked(location(path), Watch.WATCHED, watches=watches)


def short(path: RepoPath, needed: int, placed: int, discovery: int = 0, lack: Lack = Lack.WATCHES) -> Walked:
    return Walked(
        location(path), Watch.POLLED, "none left", "sudo more", shortage=Shortage(lack, needed, placed, discovery)
    )


def settle(play: Play, path: RepoPath, watches: int, asked_at: float) -> Play:
    """Known, watched with so many, analysed, last asked then."""
    play >> found(path, asked_at=asked_at) << Walk(path, EVERYTHING)
    play >> watched(path, watches) << Analyse(path, whole=True)
    return play >> analysed(path) << Publish(path)


def polled(play: Play, path: RepoPath, needed: int, placed: int, asked_at: float) -> Play:
    """Known, refused, analysed all the same."""
    play >> found(path, asked_at=asked_at) << Walk(path, EVERYTHING)
    play >> short(path, needed, placed) << Analyse(path, whole=True)
    return play >> analysed(path) << Publish(path)


_queries = iter(range(1, 1 << 30))


def ask(play: Play, path: RepoPath, epoch: float) -> QueryId:
    """A question about one repository; what the engine wants for it is the caller's to name."""
    query = QueryId(next(_queries))
    play >> Asked(query, (), (path,), False, epoch=epoch)
    return query


def poll(play: Play, path: RepoPath, epoch: float) -> None:
    """A question about a polled repository that changes nothing in who is watched."""
    query = ask(play, path, epoch)
    play << Analyse(path, whole=True)
    play >> analysed(path) << Complete(query)


# ---- who gives way


def test_the_least_recently_asked_gives_way_and_no_more_than_needed(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    settle(play, B, 10, asked_at=2.0)
    play >> found(C, asked_at=3.0) << Walk(C, EVERYTHING)
    play >> short(C, needed=8, placed=5) << Unwatch(A) << Walk(C, EVERYTHING)
    play >> watched(C, 8) << Analyse(C, whole=True)
    play >> analysed(C) << Publish(C)
    standing = play[A].standing(fresh=True, epoch=0.0)
    assert (standing.watch, standing.hint) == (Watch.POLLED, "sudo more")
    assert "asked more recently" in standing.reason
    assert play[B].watch is Watch.WATCHED
    assert play.engine.budget.degraded


def test_the_demoted_is_analysed_whenever_somebody_asks(play: Play) -> None:
    test_the_least_recently_asked_gives_way_and_no_more_than_needed(play)
    assert not play[A].current
    poll(play, A, 4.0)


def test_discovery_goes_first(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    play >> found(C, asked_at=3.0) << Walk(C, EVERYTHING)
    play >> short(C, needed=8, placed=5, discovery=4) << StopDiscovery() << Walk(C, EVERYTHING)
    play >> watched(C, 8) << Analyse(C, whole=True)
    play >> analysed(C) << Publish(C)
    assert play[A].watch is Watch.WATCHED


def test_two_that_were_refused_before_discovery_had_given_way_are_both_walked_again(play: Play) -> None:
    play >> found(A, asked_at=1.0) << Walk(A, EVERYTHING)
    play >> found(B, asked_at=1.0) << Walk(B, EVERYTHING)
    play >> short(A, needed=30, placed=10, discovery=60) << StopDiscovery() << Walk(A, EVERYTHING)
    play >> short(B, needed=30, placed=5, discovery=60) << Walk(B, EVERYTHING)


def test_nobody_gives_way_in_vain(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    play >> found(C, asked_at=3.0) << Walk(C, EVERYTHING)
    play >> short(C, needed=100, placed=5, discovery=4) << Analyse(C, whole=True)
    play >> analysed(C) << Publish(C)
    assert play[A].watch is Watch.WATCHED
    assert not play.engine.budget.discovery_off


def test_who_was_asked_later_or_at_the_same_time_does_not_give_way(play: Play) -> None:
    settle(play, A, 10, asked_at=3.0)
    settle(play, B, 10, asked_at=4.0)
    polled(play, C, needed=8, placed=5, asked_at=3.0)


def test_a_first_listing_of_many_throws_none_of_them_out(play: Play) -> None:
    """Found while a question is open, they were asked at that time."""
    query = QueryId(next(_queries))
    play >> Asked(query, (b"/root",), (), discovering=True, epoch=5.0)
    play.later(SEARCH_S)
    for path in (A, B):
        play >> found(path) << Walk(path, EVERYTHING)
        play >> watched(path, 10) << Analyse(path, whole=True)
        play >> analysed(path) << Publish(path)
    polled(play, C, needed=8, placed=5, asked_at=0.0)
    play >> Discovered(query) << Complete(query)
    assert play.answered == frozenset()


def test_what_a_question_finds_was_asked_about(play: Play) -> None:
    settle(play, A, 10, asked_at=4.0)
    play >> Asked(QueryId(next(_queries)), (b"/root",), (), discovering=True, epoch=5.0)
    play.later(SEARCH_S) >> found(B) << Walk(B, EVERYTHING)
    play >> short(B, needed=8, placed=5) << Unwatch(A) << Walk(B, EVERYTHING)


def test_a_walk_that_is_owed_to_the_demoted_is_not_made(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    play >> changed(A, b"new")
    play >> found(C, asked_at=3.0) << Walk(C, EVERYTHING)
    play >> short(C, needed=8, placed=5) << Unwatch(A) << Walk(C, EVERYTHING)
    play.later(60.0) >> Tick()
    play.later(-59.0)
    poll(play, A, 4.0)


def test_one_whose_watches_are_being_placed_does_not_give_way(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    play >> found(C, asked_at=3.0) << Walk(C, EVERYTHING)
    query = QueryId(next(_queries))
    play >> Asked(query, (), (A,), False, epoch=1.5) << Complete(query)
    play.engine.repositories[A].walk_all = play.engine.repositories[A].wanted = True
    play.engine._touched[A] = None
    play >> found(B, asked_at=0.5) << Walk(A, EVERYTHING) << Walk(B, EVERYTHING)
    play >> short(C, needed=8, placed=5) << Analyse(C, whole=True)


def test_if_others_take_what_was_freed_the_next_gives_way(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    settle(play, B, 10, asked_at=2.0)
    play >> found(C, asked_at=3.0) << Walk(C, EVERYTHING)
    play >> short(C, needed=8, placed=5) << Unwatch(A) << Walk(C, EVERYTHING)
    play >> short(C, needed=8, placed=5) << Unwatch(B) << Walk(C, EVERYTHING)
    play >> short(C, needed=8, placed=5) << Analyse(C, whole=True)


# ---- no turns


def test_two_that_do_not_fit_together_do_not_take_turns(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    polled(play, B, needed=10, placed=0, asked_at=0.5)
    for turn in range(50):
        play.later(STAY_S / 10)
        query = ask(play, A, 10.0 + 2 * turn)
        play << Complete(query)
        play.engine.budget.short[B].retry_at = 1e12  # the hope for others' watches is another matter
        poll(play, B, 11.0 + 2 * turn)
    assert play[A].watch is Watch.WATCHED


def test_asked_often_it_displaces_what_was_not_asked_since(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    polled(play, B, needed=10, placed=0, asked_at=0.5)
    play.later(STAY_S)
    play.engine.budget.short[B].retry_at = 1e12
    for turn in range(OFTEN - 1):
        poll(play, B, 2.0 + turn)
    query = ask(play, B, 9.0)
    play << Unwatch(A) << Walk(B, EVERYTHING)
    play >> watched(B, 10) << Analyse(B, whole=True)
    play >> analysed(B) << Complete(query)
    assert play[A].watch is Watch.POLLED


def test_what_was_placed_a_moment_ago_stays(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    polled(play, B, needed=10, placed=0, asked_at=0.5)
    for turn in range(3 * OFTEN):
        poll(play, B, 2.0 + turn)
    assert play[A].watch is Watch.WATCHED


# ---- who comes back


def test_when_a_repository_is_forgotten_another_takes_its_place(play: Play) -> None:
    settle(play, A, 10, asked_at=3.0)
    polled(play, B, needed=8, placed=0, asked_at=1.0)
    polled(play, C, needed=8, placed=0, asked_at=2.0)
    play >> Forgotten(A) << Release(A) << Walk(C, EVERYTHING)
    play >> watched(C, 8) << Analyse(C, whole=True)
    play >> analysed(C)
    assert play[B].watch is Watch.POLLED


def test_when_a_repository_is_gone_another_takes_its_place(play: Play) -> None:
    settle(play, A, 10, asked_at=3.0)
    polled(play, B, needed=8, placed=0, asked_at=1.0)
    play >> analysed(A, Gone()) << Publish(A) << Walk(B, EVERYTHING)


def test_when_the_limit_rises_the_most_recently_asked_come_first_as_far_as_it_goes(play: Play) -> None:
    settle(play, A, 10, asked_at=9.0)
    polled(play, B, needed=8, placed=0, asked_at=1.0)
    polled(play, C, needed=8, placed=0, asked_at=2.0)
    play >> Roomier(watches=7)
    play >> Roomier(watches=3) << Walk(C, EVERYTHING)
    play >> watched(C, 8) << Analyse(C, whole=True)
    play >> analysed(C)
    play >> Roomier(watches=6) << Walk(B, EVERYTHING)
    play >> watched(B, 8) << Analyse(B, whole=True)
    play >> analysed(B)
    assert not play.engine.budget.degraded


def test_discovery_comes_back_last(play: Play) -> None:
    test_discovery_goes_first(play)
    polled(play, B, needed=8, placed=1, asked_at=0.5)
    play >> Roomier(watches=5)
    play >> Roomier(watches=2) << Walk(B, EVERYTHING)
    play >> watched(B, 8) << Analyse(B, whole=True)
    play >> analysed(B)
    play >> Roomier(watches=3)
    play >> Roomier(watches=1) << ResumeDiscovery()
    assert not play.engine.budget.degraded


def test_discovery_that_was_refused_waits_for_room(play: Play) -> None:
    settle(play, A, 10, asked_at=1.0)
    play >> Refused(held=6) << StopDiscovery()
    play >> Roomier()
    play >> Roomier(watches=1) << ResumeDiscovery()


def test_what_other_programs_gave_back_is_tried_for_when_asked_and_less_often_in_vain(play: Play) -> None:
    settle(play, A, 10, asked_at=9.0)
    polled(play, B, needed=10, placed=5, asked_at=0.5)
    pause = RETRY_S
    for turn in range(8):
        play.later(0.9 * pause)
        poll(play, B, 1.0)
        play.later(0.1 * pause)
        query = ask(play, B, 1.0)
        play << Walk(B, EVERYTHING)
        play >> short(B, needed=10, placed=5) << Analyse(B, whole=True)
        play >> analysed(B) << Complete(query)
        pause = min(2 * pause, LONGEST_RETRY_S)
        assert turn == 0 or pause >= 4 * RETRY_S
    play.later(pause)
    query = ask(play, B, 1.0)
    play << Walk(B, EVERYTHING)
    play >> watched(B, 10) << Analyse(B, whole=True)
    play >> analysed(B, CLEAN) << Complete(query)
    assert not play.engine.budget.degraded


@pytest.mark.parametrize(
    ("lack", "roomier"),
    [(Lack.INSTANCES, Roomier(instances=True)), (Lack.DESCRIPTORS, Roomier(descriptors=True))],
)
def test_for_want_of_instances_or_descriptors_nobody_gives_way_and_it_is_tried_when_there_are(
    play: Play, lack: Lack, roomier: Roomier
) -> None:
    settle(play, A, 10, asked_at=1.0)
    play >> found(B, asked_at=9.0) << Walk(B, EVERYTHING)
    play >> short(B, 0, 0, lack=lack) << Analyse(B, whole=True)
    play >> analysed(B) << Publish(B)
    play >> Roomier(watches=1000)
    play >> roomier << Walk(B, EVERYTHING)
    play >> watched(B, 3) << Analyse(B, whole=True)
    play >> analysed(B)
    assert play[A].watch is Watch.WATCHED
    assert not play.engine.budget.degraded


def test_what_can_never_be_watched_wants_no_room(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> Walked(location(A), Watch.POLLED, "on a nfs4 file system") << Analyse(A, whole=True)
    play >> analysed(A) << Publish(A)
    assert not play.engine.budget.degraded
