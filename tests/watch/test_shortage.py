"""The watcher where watches, queues or threads are refused, or where events tell nothing."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.git.layout import read_location
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Lack, Shortage
from gitwatchd.mounts import Mounts
from gitwatchd.watch import platform
from gitwatchd.watch import watcher as watcher_module
from gitwatchd.watch.events import EventQueue, InstanceLimitReached
from gitwatchd.watch.inotify import InotifyQueue
from gitwatchd.watch.listener import Raised
from tests.watch.watched import Fleet, key
from tests.zoo.commands import Git, new_repository


def configuration_watches(fleets: Callable[..., Fleet]) -> int:
    """What the files of git's own configuration take."""
    fleet = fleets()
    fleet.walk(new_repository(Path(os.fsdecode(fleet.root)) / "probe").path)
    return len(fleet.watcher._common)


def test_no_watches_left_is_polled_with_a_cure_and_holds_none(fleets: Callable[..., Fleet], root: Path) -> None:
    limit = configuration_watches(fleets) + 8
    fleet = fleets(limit)
    git = new_repository(root / "a", {"a/b/c/d/f": b""})
    result = fleet.walk(git.path)
    assert (result.watch, result.reason) == (Watch.POLLED, "no inotify watches left: it takes 12")
    assert result.shortage == Shortage(Lack.WATCHES, needed=12, placed=8)
    assert "sysctl " in result.hint and "max_user_watches=" in result.hint
    assert fleet.watcher.counts()["watches"] == limit - 8, "none but those of the configuration"


def test_what_a_walk_says_it_takes_is_what_it_takes(fleets: Callable[..., Fleet], root: Path) -> None:
    git = new_repository(root / "a", {"a/b/c/d/f": b"", "b/f": b"", ".gitignore": b"ignored\n"})
    (git.path / "ignored/x").mkdir(parents=True)
    git("branch", "x/y/z")
    base = configuration_watches(fleets)
    whole = fleets()
    holds = whole.walk(git.path).watches
    assert holds > 12 and whole.watcher.counts()["watches"] == base + holds
    for missing in range(1, holds + 1):
        fleet = fleets(base + holds - missing)
        assert fleet.walk(git.path).shortage == Shortage(Lack.WATCHES, needed=holds, placed=holds - missing)
    enough = fleets(base + holds)
    assert enough.walk(git.path).watch is Watch.WATCHED


def test_one_budget_for_all_queues(fleets: Callable[..., Fleet], root: Path) -> None:
    fleet = fleets(configuration_watches(fleets) + 20)
    repositories = [new_repository(root / f"r{i}", {"f": b""}) for i in range(8)]
    watched = [fleet.walk(git.path) for git in repositories]
    tables = {fleet.watcher._watches[key(git.path)].table for git in repositories}
    assert len(tables) > 1
    assert sum(result.watches for result in watched if result.watch is Watch.WATCHED) <= 20
    assert {result.watch for result in watched} == {Watch.WATCHED, Watch.POLLED}


def test_files_of_git_s_configuration_without_a_watch_leave_no_repository_watched(
    fleets: Callable[..., Fleet], root: Path
) -> None:
    fleet = fleets(0)
    git = new_repository(root / "a", {"f": b""})
    for _ in range(20):
        result = fleet.walk(git.path)
        assert (result.watch, fleet.watcher.counts()["watches"]) == (Watch.POLLED, 0)
    fleet.watcher._allowance.limit = 1000
    assert fleet.walk(git.path).watch is Watch.WATCHED
    before = fleet.configurations
    Git(root)("config", "--global", "status.showUntrackedFiles", "no")
    fleet.drained(git.path)
    assert fleet.configurations > before


def test_a_walk_of_a_part_that_is_refused_a_watch_gives_all_back(fleets: Callable[..., Fleet], root: Path) -> None:
    git = new_repository(root / "a", {"a/f": b""})
    base = configuration_watches(fleets)
    holds = fleets().walk(git.path).watches
    fleet = fleets(base + holds + 1)
    assert fleet.walk(git.path).watch is Watch.WATCHED
    (git.path / "n/m").mkdir(parents=True)
    result = fleet.walk(git.path, frozenset(fleet.drained(git.path).new_directories))
    assert result.shortage == Shortage(Lack.WATCHES, needed=holds + 2, placed=holds + 1)
    assert fleet.watcher.counts()["watches"] == base


def test_a_walk_of_a_part_does_not_make_a_polled_repository_watched(fleets: Callable[..., Fleet], root: Path) -> None:
    fleet = fleets(configuration_watches(fleets) + 8)
    git = new_repository(root / "a", {"a/b/c/d/f": b""})
    fleet.walk(git.path)
    assert fleet.walk(git.path, frozenset({b"a/b/c/d"})).watch is Watch.POLLED


def test_a_repository_whose_watches_fit_again_is_watched_whole(fleets: Callable[..., Fleet], root: Path) -> None:
    fleet = fleets(configuration_watches(fleets) + 9)
    git = new_repository(root / "a", {"a/b/c/d/f": b""})
    assert fleet.walk(git.path).watch is Watch.POLLED
    shutil.rmtree(git.path / "a/b/c")
    (git.path / ".git/refs/tags").rmdir()
    assert fleet.walk(git.path, frozenset({b"a"})).watch is Watch.WATCHED
    (git.path / "f").touch()
    assert fleet.drained(git.path).paths == {b"f"}


def test_discovery_gives_its_watches_back_and_takes_them_again(fleet: Fleet, root: Path) -> None:
    (root / "x/y").mkdir(parents=True)
    fleet.discover()
    assert fleet.watcher.counts()["discovery_watches"] == 3
    fleet.watcher.stop_discovery()
    assert fleet.watcher.counts()["watches"] == 0 and fleet.watcher.discovery_is_blind
    fleet.discover()
    assert fleet.watcher.counts()["watches"] == 0
    fleet.watcher.resume_discovery()
    fleet.discover()
    assert not fleet.watcher.discovery_is_blind
    new_repository(root / "x/y/a")
    fleet.until(lambda: key(root / "x/y/a") in fleet.found)


def test_discovery_that_is_refused_a_watch_says_so(fleets: Callable[..., Fleet], root: Path) -> None:
    (root / "x/y").mkdir(parents=True)
    fleet = fleets(2)
    fleet.discover()
    assert fleet.watcher.discovery_refused == 2 and fleet.watcher.discovery_is_blind


def test_limits_that_rise_are_noticed(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "read_max_watches", lambda: 800)
    fleet.watcher.look_for_room()
    assert fleet.watcher.counts()["budget"] == 700
    monkeypatch.setattr(watcher_module, "read_max_watches", lambda: 1600)
    assert fleet.watcher.look_for_room() == Raised(watches=700, instances=False, descriptors=True)
    assert fleet.watcher.look_for_room() == Raised(watches=0, instances=False, descriptors=True)
    assert fleet.watcher.counts()["budget"] == 1400


@pytest.mark.parametrize("left", [0, 1, 2])
def test_few_inotify_instances_are_shared_and_none_is_polled_until_there_are(
    fleets: Callable[..., Fleet], root: Path, monkeypatch: pytest.MonkeyPatch, left: int
) -> None:
    remaining = [left]

    def open_queue() -> EventQueue:
        if not remaining[0]:
            raise InstanceLimitReached(errno.EMFILE, "no inotify instance left")
        remaining[0] -= 1
        return InotifyQueue()

    monkeypatch.setattr(platform, "open_queue", open_queue)
    fleet = fleets()
    repositories = [new_repository(root / f"r{i}", {"f": b""}) for i in range(6)]
    for git in repositories:
        result = fleet.walk(git.path)
        if left:
            assert result.watch is Watch.WATCHED
            (git.path / "f").write_bytes(b"x")
            assert b"f" in fleet.drained(git.path).paths
        else:
            assert (result.watch, result.shortage) == (Watch.POLLED, Shortage(Lack.INSTANCES))
            assert "max_user_instances" in result.hint
    remaining[0] = 8
    assert fleet.watcher.look_for_room().instances
    assert fleet.watcher.counts()["queues"] == watcher_module.SHARDS + 1
    for git in repositories:
        fleet.drained(git.path)
        assert fleet.walk(git.path).watch is Watch.WATCHED
        assert fleet.watcher._watches[key(git.path)].table is not fleet.watcher._common
        fleet.drained(git.path)
        (git.path / "f").write_bytes(b"y")
        fleet.until(lambda git=git: fleet.changes.get(key(git.path)))
        fleet.changes.clear()


@pytest.mark.parametrize("point", [b"", b"/.git", b"/some/where"])
def test_a_remote_file_system_is_polled_and_not_looked_at(
    fleet: Fleet, root: Path, monkeypatch: pytest.MonkeyPatch, point: bytes
) -> None:
    """Also one that is mounted somewhere in the worktree."""
    git = new_repository(root / "a", {"f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    fleet.watcher._mounts.mounts = Mounts({b"/": "ext4", location.path + point: "nfs4"})

    def hang(_path: bytes) -> None:
        raise AssertionError("a dead server would hang this")

    monkeypatch.setattr(watcher_module, "read_location", hang)
    result = fleet.walk_at(location)
    assert (result.watch, result.location, result.identity) == (Watch.POLLED, location, None)
    assert "nfs4" in result.reason


def test_a_bug_in_a_walk_ends_in_polled_and_releases(fleet: Fleet, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = new_repository(root / "a", {"f": b""})

    def bug(_walk: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(watcher_module.RepositoryWalk, "everything", bug)
    result = fleet.walk(git.path)
    assert result.watch is Watch.POLLED and "bug" in result.reason
    monkeypatch.undo()
    assert fleet.walk(git.path, frozenset({b"x"})).watch is Watch.WATCHED
    (git.path / "f").write_bytes(b"x")
    assert fleet.drained(git.path).paths == {b"f"}
