"""Playbooks of what a repository can be: looked at by its walk, polled, failed, unsafe, gone, forgotten."""

from __future__ import annotations

from gitwatchd.engine.engine import WALK_SLOTS
from gitwatchd.engine.events import (
    Analyse,
    Complete,
    Forgotten,
    Publish,
    Release,
    Tick,
    Walk,
    Walked,
)
from gitwatchd.engine.repository import FAILED_RETRY_S, QUIET_S
from gitwatchd.model.report import Facts, State, Watch
from gitwatchd.model.repository import Failed, Gone, Outcome, RepoPath, Unsafe
from tests.engine.play import (
    BY_GIT_A,
    CLEAN,
    DIRTY,
    EVERYTHING,
    Q2,
    Q3,
    REWALK_A,
    A,
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

# ---- walks that bring a status


def walked_with(path: RepoPath, outcome: Outcome) -> Walked:
    return Walked(location(path), Watch.WATCHED, outcome=outcome, at=2.0)


def test_what_a_walk_saw_answers_who_waited_for_it(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> asked(Q, A)
    play >> walked_with(A, DIRTY) << Complete(Q) << Publish(A)
    assert play[A].current
    play >> asked(Q2, A) << Complete(Q2)


def test_what_a_walk_saw_does_not_answer_who_asked_after_a_change(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> asked(Q, A)
    play >> changed(A)
    play >> asked(Q2, A)
    play >> walked_with(A, CLEAN) << Complete(Q) << Publish(A) << Analyse(A, whole=True)
    play >> analysed(A, DIRTY) << Complete(Q2) << Publish(A)


def test_what_a_walk_saw_does_not_verify(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> asked(Q, A, verify=True)
    play >> walked_with(A, CLEAN) << BY_GIT_A
    play >> analysed(A, CLEAN) << Complete(Q) << Publish(A)


# ---- polled


def test_a_polled_repository_is_analysed_for_each_request(play: Play) -> None:
    settle(play, A, Watch.POLLED) >> asked(Q, A) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q)
    play >> asked(Q2, A) << Analyse(A, whole=True)


def test_two_queries_race_for_a_polled_repository(play: Play) -> None:
    settle(play, A, Watch.POLLED) >> asked(Q, A) << Analyse(A, whole=True)
    play >> asked(Q2, A)
    play >> asked(Q3, A)
    play >> analysed(A) << Complete(Q) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q2) << Complete(Q3)
    play.end()


def test_a_polled_repository_s_running_work_never_answers_a_later_request(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> REWALK_A
    play >> walked(A, Watch.POLLED) << Analyse(A, whole=True)
    play >> asked(Q, A)  # a walk is wanted, too: it must not hide that nothing told what happened since
    play >> analysed(A) << Publish(A) << Walk(A, EVERYTHING)
    play >> walked(A, Watch.POLLED) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q)


def test_git_is_asked_about_a_repository_that_was_polled_until_now(play: Play) -> None:
    settle(play, A, Watch.POLLED) >> REWALK_A
    play >> asked(Q, A) << Walk(A, EVERYTHING)
    play >> walked(A, Watch.POLLED) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q)
    play >> changed(A, b"d")
    play >> asked(Q2, A) << Walk(A, frozenset({b"d"}))
    play >> walked(A) << Analyse(A, whole=True)


def test_a_polled_answer_says_why(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> walked(A, Watch.POLLED, "no watches left") << Analyse(A, whole=True)
    play >> analysed(A) << Publish(A)
    standing = play[A].standing(fresh=True, epoch=9.0)
    assert (standing.state, standing.watch, standing.reason) == (State.FRESH, Watch.POLLED, "no watches left")


# ---- failed, unsafe, gone


def test_a_failed_repository_is_tried_again_when_asked_but_not_at_once(play: Play) -> None:
    settle(play, A) >> asked(Q, A, verify=True) << BY_GIT_A
    play >> analysed(A, Failed("disk")) << Complete(Q) << Publish(A)
    play >> asked(Q2, A) << Complete(Q2)
    assert play.state(A) is State.FAILED
    play.later(FAILED_RETRY_S * 1.01) >> asked(Q3, A) << Analyse(A, whole=True)
    play >> analysed(A) << Complete(Q3) << Publish(A)
    assert play.state(A) is State.FRESH


def test_an_unsafe_repository_is_current_like_any_other(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> walked(A) << Analyse(A, whole=True)
    play >> analysed(A, Unsafe("owner", "trust it", Facts())) << Publish(A)
    play >> asked(Q, A) << Complete(Q)
    assert play.state(A) is State.UNSAFE


def test_a_walk_that_finds_nothing_answers_gone(play: Play) -> None:
    settle(play, A) >> REWALK_A
    play >> asked(Q, A) << Walk(A, EVERYTHING)
    play >> analysed(A, Gone()) << Complete(Q) << Publish(A)
    assert play.state(A) is State.GONE
    play >> asked(Q2, A) << Complete(Q2)
    play >> changed(A)
    play.later(10.0) >> Tick()
    play.end()


def gone(play: Play) -> Play:
    settle(play, A) >> REWALK_A
    play.later(QUIET_S) >> Tick() << Walk(A, EVERYTHING)
    return play >> analysed(A, Gone()) << Publish(A)


def test_a_gone_repository_that_is_found_again_begins_anew(play: Play) -> None:
    gone(play) >> found(A) << Walk(A, EVERYTHING)
    assert play.state(A, fresh=False) is State.PENDING
    play >> walked(A) << Analyse(A, whole=True)
    play >> analysed(A) << Publish(A)
    assert play[A].current


def test_a_gone_repository_whose_walk_finds_it_again_is_analysed(play: Play) -> None:
    gone(play) >> REWALK_A
    play >> asked(Q, A) << Walk(A, EVERYTHING)
    play >> walked(A) << Analyse(A, whole=True)
    play >> analysed(A, DIRTY) << Complete(Q) << Publish(A)
    assert play.state(A) is State.FRESH


def test_a_repository_gone_after_its_walk_can_be_walked_again(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play.engine.slots = 0
    play >> walked(A)
    play >> analysed(A, Gone()) << Publish(A)
    play >> REWALK_A
    play >> asked(Q, A) << Walk(A, EVERYTHING)


def test_gone_as_an_earlier_request_learnt_it_does_not_answer_a_later_one(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> changed(A)
    play >> asked(Q2, A)
    play >> analysed(A, Gone()) << Complete(Q) << Publish(A) << Walk(A, EVERYTHING)
    play >> analysed(A, Gone()) << Complete(Q2)
    play.end()


# ---- forgotten


def test_forgetting_releases_and_completes_who_waited(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> asked(Q, A) << Analyse(A, whole=False)
    play >> Forgotten(A) << Release(A) << Complete(Q)
    assert play.engine.analysing == 0
    play >> analysed(A)
    play >> walked(A)
    play >> changed(A)
    play.later(10.0) >> Tick()
    play.end()


def test_forgotten_while_walked_while_waiting_for_its_turn_and_while_debounced(play: Play) -> None:
    play >> found(A) << Walk(A, EVERYTHING)
    play >> Forgotten(A) << Release(A)
    play >> Forgotten(A)
    play.engine.slots = 0
    play >> found(A) << Walk(A, EVERYTHING)
    play >> walked(A)
    play >> Forgotten(A) << Release(A)
    assert play.engine.backlog == 0
    play.engine.slots = 1
    settle(play, A) >> changed(A)
    play >> Forgotten(A) << Release(A)
    play.later(10.0) >> Tick()
    play.end()


def test_a_change_of_a_repository_known_again_is_due_in_its_own_time(play: Play) -> None:
    settle(play, A) >> changed(A)
    play >> Forgotten(A) << Release(A)
    play.later(QUIET_S * 0.75)
    settle(play, A) >> changed(A)
    play.later(QUIET_S * 0.75) >> Tick()
    play.end()
    play.later(QUIET_S * 0.75) >> Tick() << Analyse(A, whole=False)


def test_every_slot_comes_back(play: Play) -> None:
    for _ in range(3 * WALK_SLOTS):
        play >> found(A) << Walk(A, EVERYTHING)
        play >> Forgotten(A) << Release(A)
        settle(play, A) >> REWALK_A
        play >> asked(Q, A) << Walk(A, EVERYTHING)
        play >> analysed(A, Gone()) << Complete(Q) << Publish(A)
        play >> Forgotten(A) << Release(A)
    settle(play, A)
    assert play.engine.analysing == 0
