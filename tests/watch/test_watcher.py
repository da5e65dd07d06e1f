"""The watcher on a real loop with its threads; a listener that writes down what it is told."""

from __future__ import annotations

import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from gitwatchd.git.layout import read_location
from gitwatchd.model.report import Watch
from gitwatchd.watch import watcher as watcher_module
from gitwatchd.watch.changes import Aspect
from gitwatchd.watch.listener import WalkResult, find_identity
from gitwatchd.watch.walk import RepositoryWalk
from tests.watch.watched import Fleet, key
from tests.zoo.commands import Git, new_repository

# ---- one repository


def test_read_your_writes(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {"d/f": b""})
    result = fleet.walk(git.path)
    assert (result.watch, result.reason, result.nested) == (Watch.WATCHED, "", ())
    assert result.location is not None and result.identity == find_identity(result.location)
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
    assert second.identity == find_identity(first.location)
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
        go_on.wait(60.0)
        everything(walk)

    monkeypatch.setattr(watcher_module.RepositoryWalk, "everything", slow)
    fleet.watcher.walk(location, None)
    fleet.watcher.start()
    assert begun.wait(60.0)
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
    deadline = time.monotonic() + 60.0
    while not fleet.watcher._own:
        assert time.monotonic() < deadline
    fleet.watcher.release(location.path)
    fleet.flush()


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
