"""Exactly one daemon, whatever ends the others."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.daemon.lock import DaemonLock, read_holder
from gitwatchd.errors import EnvironmentFailure

HOLDER = """
import os, sys
from gitwatchd.daemon.lock import DaemonLock
lock = DaemonLock(os.fsencode(sys.argv[1]))
print(lock.acquire(), flush=True)
sys.stdin.read()
"""


def holder(path: bytes) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", HOLDER, os.fsdecode(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def answer(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "run" / "gitwatchd.lock")


def test_held_until_the_holder_is_killed(path: bytes) -> None:
    other = holder(path)
    assert answer(other) == "True"
    lock = DaemonLock(path)
    assert not lock.acquire()
    assert read_holder(path) == other.pid
    other.kill()
    other.communicate()
    assert read_holder(path) == other.pid  # what is written says nothing about who lives
    assert lock.acquire()
    assert read_holder(path) == os.getpid()
    lock.release()


def test_of_ten_that_start_at_once_one_gets_it(path: bytes) -> None:
    starters = [holder(path) for _ in range(10)]
    answers = [answer(starter) for starter in starters]
    for starter in starters:
        starter.communicate("")
    assert sorted(answers) == ["False"] * 9 + ["True"]


def test_a_child_that_outlives_the_daemon_does_not_hold_it(path: bytes, wait_until: Callable[..., object]) -> None:
    lock = DaemonLock(path)
    assert lock.acquire()
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, close_fds=False)
    lock.release()
    try:
        # The kernel lets go of what a child loses at its exec a moment after the exec.
        wait_until(DaemonLock(path).acquire)
    finally:
        child.communicate(b"\n")


def test_where_the_file_was_removed_a_new_one_is_locked(path: bytes) -> None:
    first = DaemonLock(path)
    assert first.acquire()
    os.unlink(path)
    second = DaemonLock(path)
    assert second.acquire()
    assert not DaemonLock(path).acquire()
    first.release()
    second.release()


def test_a_file_removed_between_open_and_lock_is_not_taken_for_the_lock(
    path: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody removes the file in the only moment in which nobody would notice."""
    real, calls = fcntl.flock, 0

    def remove_then_lock(fd: int, operation: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            os.unlink(path)
        real(fd, operation)

    monkeypatch.setattr(fcntl, "flock", remove_then_lock)
    lock = DaemonLock(path)
    assert lock.acquire() and calls == 2
    assert not DaemonLock(path).acquire()
    lock.release()


def test_private_under_any_umask(path: bytes) -> None:
    before = os.umask(0)
    try:
        lock = DaemonLock(path)
        assert lock.acquire()
    finally:
        os.umask(before)
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert os.stat(os.path.dirname(path)).st_mode & 0o777 == 0o700
    lock.release()


@pytest.mark.parametrize("content", [b"", b"not a pid", b"\0" * 40])
def test_a_holder_that_cannot_be_read_is_none(path: bytes, content: bytes) -> None:
    assert read_holder(path) is None
    os.makedirs(os.path.dirname(path))
    with open(path, "wb") as file:
        file.write(content)
    assert read_holder(path) is None


def test_no_place_for_a_lock_is_an_environment_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailure, match="cannot lock"):
        DaemonLock(os.fsencode(tmp_path / "file" / "lock")).acquire()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(EnvironmentFailure):
        DaemonLock(os.fsencode(tmp_path / "link")).acquire()
    assert not (tmp_path / "elsewhere").exists()
