"""The watcher on a real loop with its threads; a listener that writes down what it is told."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.git.layout import read_location
from gitwatchd.loop import Loop
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Lack, Location, RepoPath, Shortage
from gitwatchd.mounts import Mounts
from gitwatchd.watch import platform
from gitwatchd.watch import watcher as watcher_module
from gitwatchd.watch.changes import Aspect, Changes
from gitwatchd.watch.events import EventQueue, InstanceLimitReached
from gitwatchd.watch.inotify import InotifyQueue
from gitwatchd.watch.listener import Raised, WalkResult, read_identity
from gitwatchd.watch.walk import RepositoryWalk
from gitwatchd.watch.watcher import Watcher
from tests.zoo.commands import Git, new_repository


class Fleet:
    """The listener, and the loop it is called from."""

    def __init__(self, root: Path, limit: int | None = None) -> None:
        self.root = os.fsencode(root.resolve())
        self.bugs: list[BaseException] = []
        self.loop = Loop(self.bugs.append)
        self.watcher = Watcher(self.loop, self, limit=limit)
        self.changes: dict[RepoPath, Changes] = {}
        self.walked: list[WalkResult] = []
        self.found: dict[RepoPath, Location] = {}
        self.discovered = 0
        self.left: set[bytes] = set()
        self.configurations = 0
        self.suspicions = 0

    def on_changed(self, path: RepoPath, changes: Changes) -> None:
        known = self.changes.setdefault(path, Changes())
        known.aspects |= changes.aspects
        known.paths |= changes.paths
        known.new_directories |= changes.new_directories

    def on_walked(self, result: WalkResult) -> None:
        self.walked.append(result)

    def on_found(self, location: Location) -> None:
        self.found[location.path] = location

    def on_discovered(self, root: bytes, unreadable: list[tuple[bytes, str]]) -> None:
        assert root == self.root and unreadable == []
        self.discovered += 1

    def on_left(self, path: bytes) -> None:
        self.left.add(path)

    def on_suspicion(self) -> None:
        self.suspicions += 1

    def on_appeared(self, directory: bytes) -> None:
        self.watcher.discover(directory, self.root)

    def on_configuration(self) -> None:
        self.configurations += 1

    def on_mounts(self, points: set[bytes]) -> None:
        raise AssertionError(f"nothing is mounted by this test: {points}")

    # ---- what a test does

    def until(self, condition: Callable[[], object], timeout_s: float = 10.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "not in time"
            self.loop.run_once(0.01)
        assert self.bugs == []

    def discover(self) -> None:
        before = self.discovered
        self.watcher.discover(self.root, self.root)
        self.watcher.start()
        self.until(lambda: self.discovered > before)

    def walk(self, path: Path, directories: frozenset[bytes] | None = None) -> WalkResult:
        location = read_location(os.fsencode(path))
        assert location is not None
        return self.walk_at(location, directories)

    def walk_at(self, location: Location, directories: frozenset[bytes] | None = None) -> WalkResult:
        before = len(self.walked)
        self.watcher.start()
        self.watcher.walk(location, directories)
        self.until(lambda: len(self.walked) > before)
        return self.walked[-1]

    def drained(self, path: Path) -> Changes:
        """What the kernel told about one repository by now."""
        key = RepoPath(os.fsencode(path.resolve()))
        self.watcher.drain((key,))
        return self.changes.pop(key, Changes())

    def flush(self) -> None:
        """Let everything that the threads were given before come to its end."""
        ended: list[str] = []
        walkers = threading.Barrier(watcher_module.WALKERS)  # each of them has to come to it

        def walked() -> None:
            walkers.wait(10.0)
            self.loop.call_from_thread(lambda: ended.append("walk"))

        for _ in range(watcher_module.WALKERS):
            self.watcher._walks.put(walked)
        self.watcher._discoveries.put(lambda: self.loop.call_from_thread(lambda: ended.append("discover")))
        self.until(lambda: len(ended) == 1 + watcher_module.WALKERS)


@pytest.fixture
def fleets(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    made: list[Fleet] = []
    (tmp_path / "root").mkdir()

    def make(limit: int | None = None) -> Fleet:
        made.append(Fleet(tmp_path / "root", limit))
        return made[-1]

    yield make
    for fleet in made:
        fleet.watcher.close()
        fleet.loop.close()
        assert fleet.bugs == []


@pytest.fixture
def fleet(fleets: Callable[..., Fleet]) -> Fleet:
    return fleets()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return (tmp_path / "root").resolve()


def key(path: Path) -> RepoPath:
    return RepoPath(os.fsencode(path))


# ---- one repository


def test_read_your_writes(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"d/f": b""})
    result = fleet.walk(git.path)
    assert (result.watch, result.reason, result.nested) == (Watch.WATCHED, "", ())
    assert result.location is not None and result.identity == read_identity(result.location)
    fleet.drained(git.path)
    for turn in range(200):
        (git.path / "d/f").write_bytes(b"%d" % turn)
        assert fleet.drained(git.path).paths == {b"d/f"}


def test_a_change_wakes_the_loop_though_nobody_asks(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"f": b""})
    fleet.walk(git.path)
    for _ in range(3):  # the queue is listened to again after each breath
        fleet.changes.clear()
        (git.path / "f").write_bytes(b"x")
        fleet.until(lambda: fleet.changes.get(key(git.path)))


def test_draining_one_repository_leaves_another_s_queue_alone(fleet: Fleet, root: Path) -> None:
    repositories = [new_repository(root / f"r{i}", {"f": b""}) for i in range(8)]
    for git in repositories:
        fleet.walk(git.path)
    tables = {git.path: fleet.watcher._watches[key(git.path)].table for git in repositories}
    one = repositories[0].path
    other = next(path for path, table in tables.items() if table is not tables[one])
    (other / "f").write_bytes(b"x")
    fleet.drained(one)
    assert key(other) not in fleet.changes
    assert fleet.drained(other).paths == {b"f"}


def test_new_directories_by_walks_of_a_part(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"f": b""})
    fleet.walk(git.path)
    (git.path / "n/m").mkdir(parents=True)
    new = frozenset(fleet.drained(git.path).new_directories)
    result = fleet.walk(git.path, new)
    assert (result.watch, result.identity) == (Watch.WATCHED, None)
    (git.path / "n/m/f").touch()
    assert b"n/m/f" in fleet.drained(git.path).paths


def test_attributes_that_only_a_walk_saw_are_told_before_it_ends(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"f": b""})
    fleet.walk(git.path)
    (git.path / "n/m").mkdir(parents=True)
    (git.path / "n/m/.gitattributes").touch()
    new = frozenset(fleet.drained(git.path).new_directories)
    fleet.walk(git.path, new)
    assert fleet.changes[key(git.path)].aspects & Aspect.ATTRIBUTES
    assert fleet.watcher.attributes_of(key(git.path)) == {b"n/m"}
    fleet.changes.clear()
    fleet.walk(git.path, new)
    assert not fleet.drained(git.path).aspects & Aspect.ATTRIBUTES


def test_deleted_and_cloned_again_at_the_same_path(fleet: Fleet, root: Path, tmp_path: Path) -> None:
    origin = new_repository(tmp_path / "origin", {"d/f": b""})
    Git(tmp_path)("clone", "-q", str(origin.path), str(root / "a"))
    first = fleet.walk(root / "a")
    assert first.location is not None
    shutil.rmtree(root / "a")
    Git(tmp_path)("clone", "-q", str(origin.path), str(root / "a"))
    assert fleet.drained(root / "a").aspects & Aspect.IDENTITY
    # Inodes may be the old ones again: only the event tells.
    second = fleet.walk(root / "a")
    assert second.identity == read_identity(first.location)
    fleet.drained(root / "a")
    (root / "a/d/f").write_bytes(b"x")
    assert fleet.drained(root / "a").paths == {b"d/f"}


def test_a_walk_of_a_place_without_a_repository_says_so(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    shutil.rmtree(git.path)
    assert fleet.walk_at(location).location is None


def test_release_leaves_nothing(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"a/b/f": b""})
    fleet.walk(git.path)
    assert (fleet.watcher.counts()["watches"] or 0) > len(fleet.watcher._common) + 3
    (git.path / "f").touch()
    fleet.watcher.release(key(git.path))
    fleet.watcher.drain()
    assert fleet.watcher.counts()["watches"] == len(fleet.watcher._common)
    assert fleet.changes == {}
    fleet.watcher.release(key(git.path))


@pytest.mark.parametrize("big_index_bytes", [10, 1 << 20])
def test_a_walk_whose_repository_is_released_before_it_begins_leaves_nothing(
    fleet: Fleet, root: Path, monkeypatch: pytest.MonkeyPatch, big_index_bytes: int
) -> None:
    monkeypatch.setattr(watcher_module, "BIG_INDEX_BYTES", big_index_bytes)
    git = new_repository(root / "a", {"a/b/f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    before = len(os.listdir("/proc/self/fd"))
    fleet.watcher.walk(location, None)
    fleet.watcher.release(location.path)
    fleet.watcher.start()
    fleet.flush()
    assert fleet.walked == []
    assert fleet.watcher.counts()["watches"] == len(fleet.watcher._common)
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_released_repository_is_not_reported_as_gone(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a")
    location = read_location(os.fsencode(git.path))
    assert location is not None
    shutil.rmtree(git.path)
    fleet.watcher.walk(location, None)
    fleet.watcher.release(location.path)
    fleet.watcher.start()
    fleet.flush()
    assert fleet.walked == []


def test_a_walk_that_is_released_while_it_runs_leaves_nothing(
    fleet: Fleet, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = new_repository(root / "a", {"a/b/f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    begun, go_on = threading.Event(), threading.Event()
    everything = watcher_module.RepositoryWalk.everything

    def slow(walk: RepositoryWalk) -> None:
        begun.set()
        go_on.wait(10.0)
        everything(walk)

    monkeypatch.setattr(watcher_module.RepositoryWalk, "everything", slow)
    fleet.watcher.walk(location, None)
    fleet.watcher.start()
    assert begun.wait(10.0)
    fleet.watcher.release(location.path)
    go_on.set()
    fleet.flush()
    assert fleet.walked == []
    assert fleet.watcher.counts()["watches"] == len(fleet.watcher._common)


def test_a_walk_from_before_a_release_is_not_taken_for_the_one_after(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"a/b/f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    fleet.watcher.walk(location, None)
    fleet.watcher.release(location.path)
    fleet.watcher.walk(location, None)
    fleet.watcher.start()
    fleet.flush()
    assert len(fleet.walked) == 1
    (git.path / "a/b/f").write_bytes(b"x")
    assert fleet.drained(git.path).paths == {b"a/b/f"}


def test_a_big_repository_has_a_queue_of_its_own(fleet: Fleet, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "BIG_INDEX_BYTES", 10)
    git = new_repository(root / "a", {"f": b""})
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        fleet.walk(git.path)
        assert fleet.watcher.counts()["queues"] == watcher_module.SHARDS + 2
        fleet.changes.clear()
        (git.path / "f").write_bytes(b"x")
        fleet.until(lambda: fleet.changes.get(key(git.path)))
        fleet.watcher.release(key(git.path))
        assert fleet.watcher.counts()["queues"] == watcher_module.SHARDS + 1
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_queue_closed_before_it_is_listened_to(fleet: Fleet, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watcher_module, "BIG_INDEX_BYTES", 10)
    git = new_repository(root / "a", {"f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    fleet.watcher.start()
    fleet.watcher.walk(location, None)
    deadline = time.monotonic() + 10.0
    while not fleet.watcher._own:
        assert time.monotonic() < deadline
    fleet.watcher.release(location.path)
    fleet.flush()


# ---- degraded


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


# ---- discovery


def test_a_root_is_discovered(fleet: Fleet, root: Path) -> None:
    new_repository(root / "a", {"f": b""})
    new_repository(root / "x/y/b", {"f": b""})
    fleet.discover()
    assert fleet.found.keys() == {key(root / "a"), key(root / "x/y/b")}


def test_git_init_and_a_clone_below_a_root_appear_unasked(fleet: Fleet, root: Path, tmp_path: Path) -> None:
    (root / "dir").mkdir()
    origin = new_repository(tmp_path / "origin", {"d/f": b""})
    fleet.discover()
    new_repository(root / "dir/a")
    Git(tmp_path)("clone", "-q", str(origin.path), str(root / "p/q/b"))
    Git(tmp_path)("init", "-q", "--bare", str(root / "c.git"))
    wanted = {key(root / "dir/a"), key(root / "p/q/b"), key(root / "c.git")}
    fleet.until(lambda: fleet.found.keys() >= wanted)


def test_a_linked_worktree_appears_unasked(fleet: Fleet, root: Path, tmp_path: Path) -> None:
    git = new_repository(tmp_path / "main", {"f": b""})
    fleet.discover()
    git("worktree", "add", "-q", str(root / "side"))
    fleet.until(lambda: key(root / "side") in fleet.found)


def test_a_half_made_repository_appears_when_it_is_whole(fleet: Fleet, root: Path, tmp_path: Path) -> None:
    whole = new_repository(tmp_path / "whole", {"f": b""})
    (root / "a/.git").mkdir(parents=True)
    fleet.discover()
    fleet.flush()
    assert fleet.found == {}
    for name in ("objects", "refs", "config", "HEAD"):
        os.rename(whole.path / ".git" / name, root / "a/.git" / name)
    fleet.until(lambda: key(root / "a") in fleet.found)


def test_a_repository_moved_within_the_root(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"f": b""})
    (root / "d").mkdir()
    fleet.discover()
    os.rename(git.path, root / "d/b")
    fleet.until(lambda: key(root / "d/b") in fleet.found and os.fsencode(root / "a") in fleet.left)


def test_a_repository_deleted_below_the_root(fleet: Fleet, root: Path) -> None:
    new_repository(root / "a", {"f": b""})
    fleet.discover()
    shutil.rmtree(root / "a")
    fleet.until(lambda: os.fsencode(root / "a") in fleet.left)


# ---- configuration


def test_a_changed_configuration_concerns_every_repository(fleet: Fleet, root: Path, home: Path) -> None:
    git = new_repository(root / "a", {"f": b""})
    fleet.walk(git.path)
    fleet.drained(git.path)
    assert fleet.configurations == 0
    with open(home / ".gitconfig", "ab") as file:
        file.write(b"[status]\n\tshowUntrackedFiles = no\n")
    assert fleet.drained(git.path).aspects & Aspect.CONFIG
    assert fleet.configurations == 1


def test_a_global_ignore_file_that_did_not_exist(fleet: Fleet, root: Path, home: Path) -> None:
    git = new_repository(root / "a", {"f": b""})
    (git.path / "build/x").mkdir(parents=True)
    fleet.walk(git.path)
    ignore = home / ".config/git/ignore"
    ignore.parent.mkdir(parents=True, exist_ok=True)
    fleet.drained(git.path)
    before = fleet.configurations
    ignore.write_bytes(b"build\n")
    fleet.drained(git.path)
    assert fleet.configurations > before


def test_a_directory_that_the_global_ignore_file_no_longer_names(fleet: Fleet, root: Path, home: Path) -> None:
    ignore = home / ".config/git/ignore"
    ignore.parent.mkdir(parents=True, exist_ok=True)
    ignore.write_bytes(b"build\n")
    git = new_repository(root / "a", {"f": b""})
    (git.path / "build/x").mkdir(parents=True)
    fleet.walk(git.path)
    ignore.write_bytes(b"")
    fleet.walk(git.path, frozenset(fleet.drained(git.path).new_directories))
    (git.path / "build/x/f").touch()
    assert b"build/x/f" in fleet.drained(git.path).paths


def test_a_file_that_the_repository_s_configuration_includes_from_now_on(
    fleet: Fleet, root: Path, tmp_path: Path
) -> None:
    git = new_repository(root / "a", {"f": b""})
    fleet.walk(git.path)
    git("config", "include.path", str(tmp_path / "included"))
    fleet.walk(git.path, frozenset(fleet.drained(git.path).new_directories))
    before = fleet.configurations
    (tmp_path / "included").write_bytes(b"[core]\n\tfileMode = false\n")
    fleet.drained(git.path)
    assert fleet.configurations == before + 1


def test_a_walk_whose_watches_were_given_up_is_told_to_whom_it_still_matters(fleet: Fleet, root: Path) -> None:
    """Without an end of its walk a repository would wait for ever."""
    location = read_location(os.fsencode(new_repository(root / "r", {"a": b"1\n"}).path))
    assert location is not None

    def give_up() -> WalkResult:
        raise watcher_module.Released

    fleet.watcher._numbers[location.path] = 7
    fleet.watcher._hand_over(location, 7, give_up)
    fleet.until(lambda: fleet.walked)
    assert fleet.walked[-1].watch is Watch.POLLED
    fleet.watcher._hand_over(location, 6, give_up)  # nobody's any more
    fleet.loop.run_once(0)
    assert len(fleet.walked) == 1


def test_without_threads_walks_wait_until_there_are_some(
    fleet: Fleet, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = read_location(os.fsencode(new_repository(root / "r", {"a": b"1\n"}).path))
    assert location is not None

    class NoThread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(watcher_module, "THREADS_AGAIN_S", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(watcher_module.threading, "Thread", NoThread)
        fleet.watcher.start()
        fleet.watcher.walk(location, None)
        fleet.loop.run_once(0.05)
    fleet.until(lambda: fleet.walked)
    assert fleet.walked[-1].watch is Watch.WATCHED
    fleet.flush()  # all of them run
