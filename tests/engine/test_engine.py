"""Playbooks: what happens (`>>`) and exactly what the engine wants then (`<<`), in order. A fake clock, no I/O."""

from __future__ import annotations

import pytest

from gitwatchd.engine.engine import MANY_WALKS, SEARCH_S, WALK_SLOTS, Engine
from gitwatchd.engine.events import (
    Analyse,
    Asked,
    Changed,
    Complete,
    Discovered,
    Expired,
    Level,
    Publish,
    QueryId,
    Tick,
    Walk,
    Walked,
)
from gitwatchd.engine.repository import LONGEST_QUIET_WAIT_S, QUIET_S, WALK_AGAIN_S
from gitwatchd.model.report import State, Watch
from gitwatchd.model.repository import Gone, RepoPath
from tests.engine.play import (
    BY_GIT_A,
    CLEAN,
    DIRTIER,
    DIRTY,
    EVERYTHING,
    Q2,
    REWALK_A,
    A,
    B,
    Play,
    Q,
    analysed,
    asked,
    changed,
    found,
    location,
    settle,
    walked,
)

# ---- first sight


def test_a_found_repository_is_walked_then_analysed_then_published(play: Play) -> None:
    settle(play, A).end()
    assert play[A].current


def test_a_repository_found_again_costs_nothing(play: Play) -> None:
    settle(play, A) >> found(A)
    play.end()


def test_what_an_earlier_process_knew_is_stale_until_verified(play: Play) -> None:
    play.engine.remember(found(A, DIRTY))
    assert play.state(A, fresh=False) is State.STALE
    play >> asked(Q, A, wait=False) << Complete(Q) << Walk(A, EVERYTHING)
    assert play.answered == {A}


def test_after_a_restart_the_most_recently_asked_is_verified_first(play: Play) -> None:
    paths = [RepoPath(b"/root/%d" % i) for i in range(10)]
    for i, path in enumerate(paths):
        play.engine.remember(found(path, CLEAN, asked_at=float(i)))
    play >> Tick()
    for path in reversed(paths[-WALK_SLOTS:]):
        play << Walk(path, EVERYTHING)


def test_remembering_begins_no_work_by_itself() -> None:
    engine = Engine()
    engine.remember(found(A, CLEAN))
    assert engine.backlog == 0
    assert engine.handle(Tick(), 0.0) == [Walk(A, None)]


def test_an_outcome_equal_to_the_last_is_not_published_again(play: Play) -> None:
    settle(play, A) >> asked(Q, A, verify=True) << BY_GIT_A
    play >> analysed(A) << Complete(Q)
    play.end()


# ---- first sight before the watches, when there are many


@pytest.fixture
def flood() -> tuple[Engine, list[RepoPath]]:
    """Somebody asked about a directory, and so many repositories were found that the walks queue up."""
    engine = Engine(slots=0)
    engine.handle(Asked(Q, (b"/root",), (), True, True, False, epoch=5.0), 0.0)
    paths = [RepoPath(b"/root/%03d" % i) for i in range(MANY_WALKS + 2)]
    for path in paths:
        engine.handle(found(path), 0.0)
    assert engine.handle(Discovered(Q), 0.0) == []
    return engine, paths


def unwalked(path: RepoPath) -> Analyse:
    return Analyse(path, whole=True, unwalked=True)


def test_many_new_repositories_are_analysed_before_they_are_walked(flood: tuple[Engine, list[RepoPath]]) -> None:
    engine, paths = flood
    engine.slots = 4
    assert engine.handle(Tick(), 0.0) == [unwalked(path) for path in paths[:4]]
    assert paths[0] in engine.unanswered(Q)
    engine.handle(analysed(paths[0]), 0.0)
    assert paths[0] not in engine.unanswered(Q)
    assert not engine.repositories[paths[0]].current, "what happens to it raises no event yet"


def test_a_repository_is_analysed_unwalked_only_once(flood: tuple[Engine, list[RepoPath]]) -> None:
    engine, paths = flood
    engine.slots = 1
    engine.handle(Tick(), 0.0)
    engine.slots = 0
    engine.handle(analysed(paths[0]), 0.0)
    assert engine.handle(asked(Q2, paths[0]), 0.0) == [Walk(paths[0], EVERYTHING)]


def test_walks_for_nobody_begin_when_nobody_waits_for_an_analysis(flood: tuple[Engine, list[RepoPath]]) -> None:
    engine, paths = flood
    engine.handle(found(RepoPath(b"/elsewhere")), 0.0)
    engine.slots = len(paths) - 1
    assert engine.handle(Tick(), 0.0) == [unwalked(path) for path in paths[:-1]], "one still waits"
    engine.slots = len(paths)
    assert engine.handle(Tick(), 0.0) == [unwalked(paths[-1])]
    assert engine.handle(Tick(), 0.0) == [Walk(RepoPath(b"/elsewhere"), EVERYTHING)]


def test_walks_that_wait_when_many_have_come_are_put_off(play: Play) -> None:
    """Four had begun, because the search took its time."""
    play.engine.slots = 0
    play >> Asked(Q, (b"/root",), (), discovering=True)
    paths = [RepoPath(b"/root/%03d" % i) for i in range(WALK_SLOTS + MANY_WALKS + 2)]
    play.later(SEARCH_S)
    for path in paths[:WALK_SLOTS]:
        play >> found(path) << Walk(path, EVERYTHING)
    for path in paths[WALK_SLOTS:]:
        play >> found(path)
    play >> Discovered(Q)
    play >> Walked(location(paths[0]), Watch.WATCHED, outcome=CLEAN) << Publish(paths[0])
    play.engine.slots = len(paths)
    play >> Tick()
    for path in paths[WALK_SLOTS:]:
        play << unwalked(path)


def test_a_search_that_takes_its_time_holds_up_no_walk(play: Play) -> None:
    play >> Asked(Q, (b"/root",), (), discovering=True)
    play >> found(A)
    assert play.engine.wake_at() == play.now + SEARCH_S
    play.later(SEARCH_S / 2) >> Asked(Q2, (b"/root",), (A,), discovering=True)
    assert play.engine.wake_at() == play.now + SEARCH_S / 2, "questions without a pause put it off no further"
    play.later(SEARCH_S / 2) >> Tick() << Walk(A, EVERYTHING)
    assert play.engine.wake_at() is None
    play >> found(B) << Walk(B, EVERYTHING)


# ---- which result answers whom


def test_nothing_changed_answers_from_memory(play: Play) -> None:
    settle(play, A) >> asked(Q, A) << Complete(Q)
    play.end()
    assert play.answered == frozenset()
    assert play.engine.levels[Level.L0] == 1


def test_work_begun_after_the_request_answers_it_though_events_came_meanwhile(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> changed(A)
    play >> analysed(A, DIRTY) << Complete(Q) << Publish(A)
    assert play.answered == frozenset()
    assert not play[A].current, "it stays marked for later requests"
    play >> asked(Q2, A) << Analyse(A, whole=False)


def test_work_begun_before_the_request_does_not_answer_it_if_events_came_since(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> changed(A)
    play >> asked(Q2, A)
    play >> analysed(A, DIRTY) << Complete(Q) << Publish(A) << Analyse(A, whole=False)
    play >> analysed(A, DIRTIER) << Complete(Q2) << Publish(A)
    play.end()


def test_work_begun_before_the_request_answers_it_if_nothing_happened_since(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> asked(Q2, A)
    play >> analysed(A, DIRTY) << Complete(Q) << Complete(Q2) << Publish(A)
    play.end()


def test_a_change_during_analysis_is_not_lost(play: Play) -> None:
    settle(play, A) >> changed(A)
    play.later(QUIET_S) >> Tick() << Analyse(A, whole=False)
    play >> changed(A)
    play >> analysed(A, DIRTY) << Publish(A)
    play.later(QUIET_S * 1.01) >> Tick() << Analyse(A, whole=False)


def test_at_most_one_piece_of_work_per_repository_is_in_flight(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> changed(A, b"d")
    play >> asked(Q2, A, verify=True)
    play >> REWALK_A
    play.later(10.0) >> Tick()
    play.end()


def test_a_log_that_grows_for_ever_does_not_starve_a_request(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    for _ in range(100):
        play.later(0.05) >> changed(A)
        play.end()
    play >> analysed(A, DIRTY) << Complete(Q) << Publish(A)
    play.later(QUIET_S / 2) >> changed(A)
    play.end()  # however long that took: without a pause, git would run all the time


def test_a_rewalk_and_a_whole_change_make_the_next_analysis_git_s(play: Play) -> None:
    settle(play, A) >> Changed(A, whole=True)
    play >> asked(Q, A) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q)
    play >> REWALK_A
    play >> asked(Q2, A) << Walk(A, EVERYTHING)
    play >> walked(A) << Analyse(A, whole=True)


def test_a_change_that_needs_git_while_work_runs_is_kept_for_the_next(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> Changed(A, whole=True)
    play >> analysed(A) << Complete(Q)
    play >> asked(Q2, A) << Analyse(A, whole=True)


# ---- requests


def test_a_query_is_complete_when_its_last_repository_is(play: Play) -> None:
    settle(play, A)
    settle(play, B)
    play >> changed(A)
    play >> changed(B)
    play >> asked(Q, A, B) << Analyse(A, whole=False) << Analyse(B, whole=False)
    play >> analysed(B)
    play.end()
    play >> analysed(A) << Complete(Q)


def test_unknown_paths_in_a_query_are_passed_over(play: Play) -> None:
    play >> asked(Q, A) << Complete(Q)


def test_a_deadline_completes_with_what_is_known(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> Expired(Q) << Complete(Q)
    assert play.answered == {A}
    assert play.state(A, fresh=False) is State.STALE
    play >> analysed(A)
    play.end()


def test_a_query_that_is_closed_may_expire_and_discover(play: Play) -> None:
    play >> Expired(Q)
    play >> Discovered(Q)
    play.end()


def test_not_waiting_answers_at_once_and_begins_nothing(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A, wait=False) << Complete(Q)
    play.end()
    assert play.answered == {A}


def test_verify_asks_git_although_nothing_changed(play: Play) -> None:
    settle(play, A) >> asked(Q, A, verify=True) << BY_GIT_A
    play >> analysed(A) << Complete(Q)
    assert play[A].current
    play >> changed(A)
    play >> asked(Q2, A) << Analyse(A, whole=False)


def test_verify_is_not_answered_by_work_begun_before(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> asked(Q2, A, verify=True)
    play >> analysed(A) << Complete(Q) << BY_GIT_A
    play >> analysed(A) << Complete(Q2)


def test_a_discovering_query_takes_in_what_is_found_and_ends_with_the_walk(play: Play) -> None:
    play >> Asked(Q, (b"/root",), (), discovering=True)
    play.later(SEARCH_S) >> found(A) << Walk(A, EVERYTHING)
    play >> found(RepoPath(b"/rooted")) << Walk(RepoPath(b"/rooted"), EVERYTHING)
    play >> walked(A) << Analyse(A, whole=True)
    play >> analysed(A) << Publish(A)
    assert play.engine.queries[Q].members == {A}
    play >> Discovered(Q) << Complete(Q)


def test_a_discovering_query_waits_for_what_was_found_before_the_walk_ended(play: Play) -> None:
    play >> Asked(Q, (b"/",), (), discovering=True)
    play >> found(A)
    play >> Discovered(Q) << Walk(A, EVERYTHING)
    play >> walked(A) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q) << Publish(A)


def test_those_that_somebody_waits_for_go_first() -> None:
    engine = Engine(slots=0)
    play = Play(engine)
    for path in (A, B):
        play >> found(path) << Walk(path, EVERYTHING)
        play >> walked(path)
    play >> asked(Q, B)
    assert engine.backlog == 2
    engine.slots = 1
    play >> Tick() << Analyse(B, whole=True)
    play >> analysed(B) << Complete(Q) << Publish(B) << Analyse(A, whole=True)


def test_a_query_that_expires_gives_its_turn_back() -> None:
    engine = Engine(slots=0)
    play = Play(engine)
    settle_slots(play, A)
    settle_slots(play, B)
    engine.slots = 0
    play >> changed(A)
    play >> asked(Q, A)
    play >> Expired(Q) << Complete(Q)
    engine.slots = 1
    play >> Tick()
    play.end()  # nobody waits, and the change is not due


def settle_slots(play: Play, path: RepoPath) -> None:
    play.engine.slots = 1
    settle(play, path)


def test_no_more_analyses_than_slots_and_no_more_walks_than_walk_slots() -> None:
    engine = Engine(slots=1)
    paths = [RepoPath(b"/root/%d" % i) for i in range(WALK_SLOTS + 2)]
    wanted = [effect for path in paths for effect in engine.handle(found(path), 0.0)]
    assert wanted == [Walk(path, None) for path in paths[:WALK_SLOTS]]
    assert engine.backlog == 2
    effects = engine.handle(walked(paths[0]), 0.0)
    assert effects == [Walk(paths[WALK_SLOTS], None), Analyse(paths[0], whole=True)]
    assert engine.handle(walked(paths[1]), 0.0) == [Walk(paths[WALK_SLOTS + 1], None)]
    assert engine.analysing == 1


# ---- debounce


def test_a_change_nobody_asked_about_is_analysed_when_it_is_quiet(play: Play) -> None:
    settle(play, A) >> changed(A)
    assert play.engine.wake_at() == play.now + QUIET_S
    play.later(QUIET_S * 0.6) >> changed(A)
    due = play.now + QUIET_S
    play.later(QUIET_S * 0.6) >> Tick()
    play.end()
    assert play.engine.wake_at() == due
    play.later(QUIET_S * 0.6) >> Tick() << Analyse(A, whole=False)
    play >> analysed(A, DIRTY) << Publish(A)
    play.later(10.0) >> Tick()
    assert play.engine.wake_at() is None


def test_a_change_that_never_ends_is_analysed_all_the_same(play: Play) -> None:
    settle(play, A) >> changed(A)
    began = play.now
    while not play.effects:
        play.later(QUIET_S / 2) >> changed(A)
        assert play.now - began < LONGEST_QUIET_WAIT_S + QUIET_S
    play << Analyse(A, whole=False)
    assert play.now - began >= LONGEST_QUIET_WAIT_S - QUIET_S


def test_changes_during_an_unasked_analysis_wait_until_it_is_quiet_again(play: Play) -> None:
    settle(play, A) >> changed(A)
    play.later(QUIET_S) >> Tick() << Analyse(A, whole=False)
    play.later(QUIET_S / 2) >> changed(A)
    play >> analysed(A, DIRTY) << Publish(A)
    play.later(QUIET_S * 1.01) >> Tick() << Analyse(A, whole=False)
    play >> analysed(A, DIRTIER) << Publish(A)
    play.later(10.0) >> Tick()
    play.end()


def test_a_change_that_falls_due_while_work_runs_is_analysed_after_it(play: Play) -> None:
    settle(play, A) >> changed(A)
    play.later(QUIET_S) >> Tick() << Analyse(A, whole=False)
    play >> changed(A)
    play.later(LONGEST_QUIET_WAIT_S) >> Tick()
    play >> analysed(A)
    due = play.engine.wake_at()
    assert due is not None
    play.later(due - play.now) >> Tick() << Analyse(A, whole=False)


def test_a_request_takes_the_debounced_work_away(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> analysed(A) << Complete(Q)
    play.later(10.0) >> Tick()
    play.end()
    assert play.engine.wake_at() is None


# ---- new directories


def test_new_directories_are_walked_before_the_analysis(play: Play) -> None:
    settle(play, A) >> changed(A, b"d", b"e")
    play >> asked(Q, A) << Walk(A, frozenset({b"d", b"e"}))
    play >> walked(A) << Analyse(A, whole=False)
    play >> analysed(A, DIRTY) << Complete(Q) << Publish(A)
    assert play[A].current


def test_directories_that_appear_faster_than_they_are_walked_do_not_starve_a_request(play: Play) -> None:
    settle(play, A) >> changed(A, b"d")
    play >> asked(Q, A) << Walk(A, frozenset({b"d"}))
    play >> changed(A, b"d/e")
    play >> walked(A) << Analyse(A, whole=False)
    play >> analysed(A, DIRTY) << Complete(Q) << Publish(A)
    assert not play[A].current, "what happens in d/e is not seen yet"


def test_directories_left_unwatched_are_walked_even_if_nobody_asks(play: Play) -> None:
    settle(play, A) >> changed(A, b"d")
    play.later(QUIET_S) >> Tick() << Walk(A, frozenset({b"d"}))
    play >> changed(A, b"d/e")
    play >> walked(A) << Analyse(A, whole=False)
    play >> analysed(A, DIRTY) << Publish(A)
    play.later(QUIET_S * 1.01) >> Tick() << Walk(A, frozenset({b"d/e"}))
    play >> walked(A) << Analyse(A, whole=False)
    play >> analysed(A, DIRTY)
    assert play[A].current
    play.later(10.0) >> Tick()
    play.end()


def test_work_begun_with_unwatched_directories_does_not_answer_a_later_request(play: Play) -> None:
    settle(play, A) >> changed(A, b"d")
    play >> asked(Q, A) << Walk(A, frozenset({b"d"}))
    play >> changed(A, b"d/e")
    play >> walked(A) << Analyse(A, whole=False)
    play >> asked(Q2, A)  # a file written in d/e since raised no event
    play >> analysed(A) << Complete(Q) << Walk(A, frozenset({b"d/e"}))
    play >> walked(A) << Analyse(A, whole=False)
    play >> analysed(A) << Complete(Q2)


def test_an_outcome_from_before_a_walk_does_not_prove_what_lies_in_it(play: Play) -> None:
    settle(play, A) >> walked(A) << Analyse(A, whole=False)
    assert not play[A].current


def test_what_could_not_be_watched_is_walked_again_when_asked_after_a_pause(play: Play) -> None:
    settle(play, A, Watch.POLLED)
    play >> asked(Q, A) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q)
    play.later(WALK_AGAIN_S + 1) >> asked(Q, A, wait=False) << Complete(Q)
    play >> asked(Q, A) << Walk(A, EVERYTHING)
    play >> walked(A, Watch.POLLED) << Analyse(A, whole=True)
    play >> asked(Q2, A)
    play >> analysed(A) << Complete(Q) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q2)
    play.later(WALK_AGAIN_S + 1) >> asked(Q, A) << Walk(A, EVERYTHING)
    play >> walked(A) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q)
    assert play[A].current
    play.later(WALK_AGAIN_S + 1) >> asked(Q, A) << Complete(Q)


def test_what_is_gone_is_walked_again_when_asked_after_a_pause(play: Play) -> None:
    settle(play, A)
    play >> analysed(A, Gone()) << Publish(A)
    play >> asked(Q, A) << Complete(Q)
    play.later(WALK_AGAIN_S + 1) >> asked(Q, A) << Walk(A, EVERYTHING)
    play >> analysed(A, Gone()) << Complete(Q)
    play.later(WALK_AGAIN_S + 1) >> asked(Q, A) << Walk(A, EVERYTHING)
    play >> walked(A) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q) << Publish(A)


# ---- no event costs O(all)


def test_the_order_of_a_backlog_stays_small_and_right() -> None:
    engine = Engine(slots=0)
    play = Play(engine)
    for path in (A, B):
        play >> found(path) << Walk(path, EVERYTHING)
        play >> walked(path)
    for turn in range(1000):
        query, path = QueryId(turn), (A, B)[turn % 2]
        play >> Asked(query, (), (path,), False, epoch=float(turn))
        play >> Expired(query) << Complete(query)
    assert len(engine._analyses._heap) < 200
    engine.slots = 2
    play >> Tick() << Analyse(B, whole=True) << Analyse(A, whole=True)


def test_the_age_of_an_answer(play: Play) -> None:
    settle(play, A)
    assert play[A].standing(fresh=True, epoch=7.0).age_ms == 0
    assert play[A].standing(fresh=False, epoch=7.0).age_ms == 5000
    play >> changed(A)
    assert play[A].standing(fresh=False, epoch=7.0).age_ms == 5000
    assert play[A].standing(fresh=False, epoch=1.0).age_ms == 0, "the clock was stepped back"
