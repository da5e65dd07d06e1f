"""The audit: whose turn it is, what counts as wrong, and what it costs. A fleet of its own, a real loop."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.daemon.audit import Audit, runs_on_battery
from gitwatchd.engine.repository import Repository
from gitwatchd.git import reach
from gitwatchd.loop import Loop
from gitwatchd.model.report import Facts
from gitwatchd.model.repository import Analysed, Failed, Location, Outcome, RepoPath
from gitwatchd.mounts import Mounts

CLEAN = b"# branch.oid (initial)\0# branch.head main\0"
MODIFIED = CLEAN + b"1 .M N... 100644 100644 100644 " + b"0" * 40 + b" " + b"0" * 40 + b" file\0"


class Fleet:
    """What the audit needs of the daemon's; git's answers are given by the test."""

    def __init__(self, top: Path, *names: str) -> None:
        self.repositories = {}
        for name in names:
            path = RepoPath(os.fsencode(top / name))
            repository = Repository(Location(path, path + b"/.git", path + b"/.git", bare=False))
            repository.outcome = Analysed(Facts(), CLEAN)
            self.repositories[path] = repository
        self.asked: list[tuple[Repository, Callable[[Outcome], None]]] = []
        self.distrusted: list[Repository] = []

    def idle_repositories(self) -> list[Repository]:
        return list(self.repositories.values())

    def ask_git_about(self, repository: Repository, done: Callable[[Outcome], None]) -> None:
        self.asked.append((repository, done))

    def is_current(self, path: RepoPath) -> Repository | None:
        return self.repositories.get(path)

    def distrust(self, repository: Repository) -> None:
        self.distrusted.append(repository)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(tmp_path, "one", "other")


@pytest.fixture
def audit(fleet: Fleet) -> Audit:
    return Audit(Loop(lambda bug: None), fleet, on_battery=lambda: False)


def answer(fleet: Fleet, outcome: Outcome) -> Repository:
    repository, done = fleet.asked.pop()
    done(outcome)
    return repository


def test_equal_answers_are_counted_and_nothing_else_happens(fleet: Fleet, audit: Audit) -> None:
    audit.look()
    answer(fleet, Analysed(Facts(), CLEAN))
    assert (audit.done, audit.wrong, audit.unreported, fleet.distrusted) == (1, 0, 0, [])


def test_a_difference_is_wrong_and_healed(fleet: Fleet, audit: Audit) -> None:
    audit.look()
    repository = answer(fleet, Analysed(Facts(), MODIFIED))
    assert (audit.done, audit.wrong, audit.unreported, fleet.distrusted) == (1, 1, 0, [repository])


def test_a_file_with_another_name_can_change_unreported(fleet: Fleet, audit: Audit, tmp_path: Path) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"1")
        os.link(tmp_path / name / "file", tmp_path / f"link-{name}")
    audit.look()
    repository = answer(fleet, Analysed(Facts(), MODIFIED))
    assert (audit.done, audit.wrong, audit.unreported, fleet.distrusted) == (1, 0, 1, [repository])


def test_a_file_is_not_looked_at_through_a_link_onto_a_mount_that_may_hang(
    fleet: Fleet, audit: Audit, tmp_path: Path
) -> None:
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount/file").write_bytes(b"1")
    os.link(tmp_path / "mount/file", tmp_path / "mount/other name")
    for name in ("one", "other"):
        (tmp_path / name).symlink_to("mount")
    mounts = Mounts({b"/": "ext4", os.fsencode(tmp_path / "mount"): "nfs4"})
    reach.keep_local(lambda: mounts)
    try:
        audit.look()
        answer(fleet, Analysed(Facts(), MODIFIED))
    finally:
        reach.keep_local(None)
    assert (audit.wrong, audit.unreported) == (1, 0)


def test_a_repository_that_moved_on_meanwhile_says_nothing(fleet: Fleet, audit: Audit) -> None:
    audit.look()
    fleet.asked[-1][0].note_change(1.0)
    answer(fleet, Analysed(Facts(), MODIFIED))
    assert (audit.done, audit.wrong) == (0, 0)


def test_a_git_that_fails_says_nothing(fleet: Fleet, audit: Audit) -> None:
    audit.look()
    answer(fleet, Failed("no more processes"))
    assert (audit.done, audit.wrong) == (0, 0)


def test_one_at_a_time_and_then_a_long_pause(fleet: Fleet, audit: Audit) -> None:
    audit.look()
    audit.look()
    assert len(fleet.asked) == 1
    answer(fleet, Analysed(Facts(), CLEAN))
    audit.look()  # the last one took some microseconds: two thousand times that have hardly passed
    assert fleet.asked == []


def test_each_has_its_turn(fleet: Fleet, audit: Audit) -> None:
    turns = set()
    for repository in (*fleet.repositories.values(), *fleet.repositories.values()):
        audit.audit(repository)
        turns.add(answer(fleet, Analysed(Facts(), CLEAN)).path)
    assert turns == set(fleet.repositories)
    audit.audit(next(iter(fleet.repositories.values())))
    answer(fleet, Analysed(Facts(), CLEAN))
    assert audit.next_turn() is list(fleet.repositories.values())[1]


def test_not_on_battery(fleet: Fleet) -> None:
    audit = Audit(Loop(lambda bug: None), fleet, on_battery=lambda: True)
    audit.look()
    assert fleet.asked == []


@pytest.mark.parametrize(
    ("supplies", "expected"),
    [
        ({}, False),
        ({"AC": ("Mains", "1"), "BAT0": ("Battery", "")}, False),
        ({"AC": ("Mains", "0"), "BAT0": ("Battery", "")}, True),
        ({"AC": ("Mains", "0"), "USB": ("Mains", "1")}, False),
        ({"BAT0": ("Battery", "")}, False),
    ],
)
def test_battery(tmp_path: Path, supplies: dict[str, tuple[str, str]], expected: bool) -> None:
    for name, (kind, online) in supplies.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "type").write_text(kind + "\n")
        if online:
            (tmp_path / name / "online").write_text(online + "\n")
    assert runs_on_battery(str(tmp_path)) is expected
    assert runs_on_battery(str(tmp_path / "missing")) is False
