"""Must show: what is known survives the daemon, and says how old it is until it is verified."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch, HangingGit, for_git_alone
from tests.zoo.commands import Git, judge
from tests.zoo.daemon import Daemon
from tests.zoo.waiting import wait_until


@pytest.fixture
def git(repository: Callable[..., Git]) -> Git:
    return for_git_alone(repository({"a": b"1\n", "b": b"1\n"}, "root/one"))


def test_a_restarted_daemon_answers_stale_from_its_cache_and_then_verifies(
    start_daemon: Callable[..., Daemon], gitwatch: Gitwatch, hanging_git: HangingGit, git: Git
) -> None:
    first = start_daemon(env=hanging_git.env)
    gitwatch.env.update(hanging_git.env)
    (git.path / "a").write_bytes(b"22\n")
    before = gitwatch.porcelain(git.path)
    assert before == judge(git.path)
    first.stop()
    (git.path / "b").write_bytes(b"22\n")

    hanging_git.hold()
    second = start_daemon(env=hanging_git.env)
    done = gitwatch("status", "--porcelain=v2", "-z", "--no-wait", git.path)
    assert (done.returncode, done.stdout) == (0, before)
    assert done.stderr.startswith(b"gitwatch: stale: ")
    done = gitwatch("status", "--no-wait")
    assert done.returncode == 0 and b"one" in done.stdout and b"stale: " in done.stderr
    assert gitwatch("status", "--no-wait", "--strict").returncode == 1
    with second.connect() as client:
        (report,) = client.reports(git.path, wait_s=0)
        assert (report["state"], report["reason"] != "", report["counts"]["unstaged"]) == ("stale", True, 1)
        assert report["age_ms"] > 0
        # A deadline that passes is no excuse to call it fresh.
        (report,) = client.reports(git.path, wait_s=0.1)
        assert report["state"] == "stale"
    hanging_git.release()
    # Whoever waits is answered truly; and those who do not, soon, unasked.
    assert gitwatch.porcelain(git.path) == judge(git.path)
    with second.connect() as client:
        (report,) = client.reports(git.path, wait_s=0)
        assert (report["state"], report["counts"]["unstaged"]) == ("fresh", 2)


def test_it_verifies_unasked(start_daemon: Callable[..., Daemon], git: Git) -> None:
    first = start_daemon()
    with first.connect() as client:
        client.reports(git.path)
    first.stop()
    (git.path / "b").write_bytes(b"22\n")
    with start_daemon().connect() as client:
        wait_until(lambda: client.reports(git.path, wait_s=0)[0]["state"] == "fresh", what="verified unasked")
        assert client.entries(git.path, wait_s=0).stdout == judge(git.path)


def test_pending_is_said_where_nothing_is_known(
    held_daemon: Daemon, gitwatch: Gitwatch, hanging_git: HangingGit, git: Git
) -> None:
    gitwatch.env.update(hanging_git.env)
    hanging_git.hold()
    done = gitwatch("status", "--porcelain=v2", "--no-wait", git.path)
    assert (done.returncode, done.stdout) == (1, b"") and done.stderr.startswith(b"gitwatch: pending: ")
    done = gitwatch("status", "--json", "--timeout", "0.5", git.path)
    assert done.returncode == 0 and b'"state": "pending"' in done.stdout and b"gitwatch: pending: " in done.stderr


@pytest.mark.parametrize("damage", ["garbage", "truncated", "newer", "removed", "read-only directory"])
def test_a_cache_that_cannot_be_used_costs_nothing_but_time(
    start_daemon: Callable[..., Daemon], git: Git, damage: str
) -> None:
    """End to end: the answers stay right, and the next restart has a cache again."""
    first = start_daemon()
    with first.connect() as client:
        client.reports(git.path)
    first.stop()
    cache = Path(os.fsdecode(first.places.cache))
    assert cache.exists()
    if damage == "garbage":
        cache.write_bytes(b"not a database at all" * 1000)
    elif damage == "truncated":
        cache.write_bytes(cache.read_bytes()[:5000])
    elif damage == "newer":
        with closing(sqlite3.connect(cache)) as connection:
            connection.execute("PRAGMA user_version = 999")
            connection.commit()
    elif damage == "removed":
        cache.unlink()
    else:
        cache.unlink()
        cache.parent.chmod(0o500)
    (git.path / "a").write_bytes(b"22\n")
    second = start_daemon()
    with second.connect() as client:
        assert client.entries(git.path).stdout == judge(git.path)
    second.stop()
    cache.parent.chmod(0o700)
    with start_daemon().connect() as client:
        assert client.entries(git.path).stdout == judge(git.path)


def test_what_the_user_decided_survives_a_damaged_cache_and_a_kill(
    start_daemon: Callable[..., Daemon], gitwatch: Gitwatch, git: Git
) -> None:
    """SIGKILL at any time; roots and trust are durable at once, the cache in the end."""
    first = start_daemon()
    root = git.path.parent
    assert gitwatch("roots", "add", root).returncode == 0
    first.kill()
    Path(os.fsdecode(first.places.cache_dir), "cache.db").unlink(missing_ok=True)
    start_daemon()
    assert str(root).encode() in gitwatch("roots", "list").stdout
    assert [r["path"] for r in gitwatch.reports()] == [str(git.path)]
