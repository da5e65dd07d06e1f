"""Private copies of the index: used while the user's is the same, refreshed by git, nothing else written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.analysis.private_index import IndexSnapshot, private_copy, prune, read_snapshot
from gitwatchd.git.child import run_git
from tests.zoo.commands import Git

Make = Callable[..., Git]
WaitUntil = Callable[..., object]

STATUS = ("status", "--porcelain=v2", "--branch", "--show-stash", "-z")


@pytest.fixture
def cache(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "indexes")


@pytest.fixture
def snapshot_of(wait_until: WaitUntil) -> Callable[[Git], IndexSnapshot]:
    def settled(git: Git) -> IndexSnapshot:
        path = os.fsencode(git.path / ".git/index")

        def read() -> IndexSnapshot | None:
            found = read_snapshot(path)
            return found if found and found.settled() else None

        found = wait_until(read)
        assert isinstance(found, IndexSnapshot)
        return found

    return settled


def status_on_copy(git: Git, snapshot: IndexSnapshot, cache: bytes) -> bytes:
    """The judge's command on the private copy; the copy must exist."""
    with private_copy(snapshot, cache) as copy:
        assert copy is not None
        answer = run_git(STATUS, cwd=os.fsencode(git.path), timeout_s=20, index_file=copy.path, refresh_index=True)
        assert copy.intact()
    assert answer.returncode == 0
    return answer.stdout


def state_of(path: bytes | str) -> tuple[object, ...]:
    """Everything that a write, a lock, a chmod or a touch would change; not when somebody last read it."""
    s = os.lstat(path)
    return (s.st_ino, s.st_mode, s.st_size, s.st_mtime_ns, s.st_ctime_ns)


def states_below(top: Path) -> dict[bytes, tuple[object, ...]]:
    found = {}
    for directory, _, files in os.walk(os.fsencode(top)):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            found[path] = state_of(path)
    return found


def copies(cache: bytes) -> list[str]:
    return sorted(str(p) for p in Path(os.fsdecode(cache)).rglob("*") if p.is_file())


def make_stat_dirty(git: Git, *names: str) -> None:
    for name in names:
        os.utime(git.path / name, ns=(10**18, 10**18))


def age(git: Git, *names: str) -> None:
    """Older than the index, and recorded so: racily clean entries would be refreshed again and again."""
    for name in names:
        os.utime(git.path / name, ns=(9 * 10**17, 9 * 10**17))
    git("update-index", "--refresh")


def test_a_refreshed_copy_is_kept_and_used_and_the_users_files_stay_untouched(
    repository: Make,
    cache: bytes,
    snapshot_of: Callable[[Git], IndexSnapshot],
    judge: Callable[[Path], bytes],
) -> None:
    git = repository({"a": b"1", "b": b"2", "sub/c": b"3"})
    age(git, "a", "b", "sub/c")
    make_stat_dirty(git, "a", "sub/c")
    (git.path / "b").write_bytes(b"other")
    before = states_below(git.path)
    snapshot = snapshot_of(git)
    assert status_on_copy(git, snapshot, cache) == judge(git.path)
    (kept,) = copies(cache)
    refreshed = state_of(kept)
    assert status_on_copy(git, snapshot, cache) == judge(git.path)
    assert copies(cache) == [kept]
    assert state_of(kept) == refreshed, "nothing was left to refresh: the copy saved the work"
    assert states_below(git.path) == before


def test_a_copy_that_git_left_as_it_was_is_dropped(
    repository: Make, cache: bytes, snapshot_of: Callable[[Git], IndexSnapshot]
) -> None:
    git = repository({"a": b"1"})
    age(git, "a")
    status_on_copy(git, snapshot_of(git), cache)
    assert os.listdir(cache) == []


def test_the_copy_of_a_changed_index_is_never_used_again(
    repository: Make,
    cache: bytes,
    snapshot_of: Callable[[Git], IndexSnapshot],
    judge: Callable[[Path], bytes],
) -> None:
    git = repository({"a": b"1", "b": b"1"})
    make_stat_dirty(git, "a")
    earlier = snapshot_of(git)
    with private_copy(earlier, cache) as copy:
        assert copy is not None
        (git.path / "b").write_bytes(b"2")
        git("add", "b")  # the user's index changes while git works on the copy
        where = os.fsencode(git.path)
        run_git(STATUS, cwd=where, timeout_s=20, index_file=copy.path, refresh_index=True)
    (refreshed,) = copies(cache)
    make_stat_dirty(git, "a")
    later = snapshot_of(git)
    assert later.identity != earlier.identity
    entries = status_on_copy(git, later, cache)
    assert entries == judge(git.path) and b"1 M. " in entries
    assert refreshed not in copies(cache) and len(copies(cache)) <= 1


def test_an_edit_in_the_second_of_the_last_add_is_seen_through_the_copy(
    repository: Make, cache: bytes, snapshot_of: Callable[[Git], IndexSnapshot]
) -> None:
    # Same size, same second. Frozen by utime, so that it does not depend on the test's speed.
    git = repository({"a": b"1"})
    index = git.path / ".git/index"
    second = 10**9 * 1_700_000_000
    os.utime(git.path / "a", ns=(second, second))
    git("update-index", "--refresh")
    (git.path / "a").write_bytes(b"2")
    os.utime(git.path / "a", ns=(second, second))
    git("config", "core.trustctime", "false")
    git("config", "core.checkStat", "minimal")
    os.utime(index, ns=(second, second))
    snapshot = snapshot_of(git)
    assert b"1 .M " in status_on_copy(git, snapshot, cache)
    assert b"1 .M " in status_on_copy(git, snapshot, cache), "and again through the refreshed copy"


def test_an_index_written_within_this_tick_of_the_clock_gets_no_copy(repository: Make, cache: bytes) -> None:
    git = repository({"a": b"1"})
    snapshot = read_snapshot(os.fsencode(git.path / ".git/index"))
    assert snapshot is not None
    future = (*snapshot.identity[:4], snapshot.identity[4] + 10**12)
    with private_copy(IndexSnapshot(snapshot.path, snapshot.raw, future), cache) as copy:
        assert copy is None


def test_a_copy_that_vanished_is_noticed(
    repository: Make, cache: bytes, snapshot_of: Callable[[Git], IndexSnapshot]
) -> None:
    git = repository({"a": b"1"})
    with private_copy(snapshot_of(git), cache) as copy:
        assert copy is not None and copy.intact()
        prune(cache, [])
        where = os.fsencode(git.path)
        answer = run_git(STATUS, cwd=where, timeout_s=20, index_file=copy.path, refresh_index=True)
        assert b"1 D. " in answer.stdout, "what git makes of a missing index"
        assert not copy.intact()


def test_an_unwritable_cache_means_no_copy(
    repository: Make, tmp_path: Path, snapshot_of: Callable[[Git], IndexSnapshot]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    with private_copy(snapshot_of(repository({"a": b"1"})), os.fsencode(tmp_path / "file")) as copy:
        assert copy is None


def test_no_index_and_no_regular_file_are_no_snapshot(tmp_path: Path) -> None:
    assert read_snapshot(os.fsencode(tmp_path / "index")) is None
    os.mkfifo(tmp_path / "index")
    assert read_snapshot(os.fsencode(tmp_path / "index")) is None


def test_prune_keeps_known_indexes_up_to_the_cap(
    repository: Make, cache: bytes, snapshot_of: Callable[[Git], IndexSnapshot]
) -> None:
    gits = [repository({"a": b"1"}, name) for name in ("one", "two", "three")]
    for git in gits:
        make_stat_dirty(git, "a")
        status_on_copy(git, snapshot_of(git), cache)
    paths = [os.fsencode(git.path / ".git/index") for git in gits]
    assert len(copies(cache)) == 3
    prune(cache, paths[:2])
    assert len(copies(cache)) == 2
    size = os.stat(copies(cache)[0]).st_size
    prune(cache, paths[:2], max_bytes=size)
    (kept,) = copies(cache)
    with private_copy(snapshot_of(gits[1]), cache) as copy:
        assert copy is not None and os.fsdecode(copy.path) == kept, "the oldest goes first"
    prune(cache + b"/none", [])
