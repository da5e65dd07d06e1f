from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from gitwatch.porcelain import changed_answer, same_world

from tests.client.conftest import FakeDaemon, Gitwatch

CANNED = {"state": "fresh", "reason": "", "hint": "", "exit": 0, "stdout": b"CANNED\0", "stderr": b""}


@pytest.fixture
def canned(daemon: FakeDaemon) -> FakeDaemon:
    daemon.answers["entries"] = {"result": CANNED}
    daemon.start()
    return daemon


def test_the_daemons_bytes(canned: FakeDaemon, gitwatch: Gitwatch, tmp_path: Path) -> None:
    done = gitwatch("status", "--porcelain=v2", "-z")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"CANNED\0", b"")
    here = os.fsencode(tmp_path)
    assert canned.calls("entries") == [[here, {"z": True, "cwd": here}]]


@pytest.mark.parametrize(
    "environment",
    [
        {"GIT_DIR": ".git"},
        {"GIT_CONFIG_COUNT": "0"},
        {"GIT_CONFIG_NOSYSTEM": "1"},
        {"HOME": "/nonexistent"},
        {"XDG_CONFIG_HOME": "/nonexistent"},
        {"SUDO_UID": "1000"},
    ],
)
def test_another_world_is_asked_of_git_itself(
    canned: FakeDaemon,
    gitwatch: Gitwatch,
    repository: Callable[..., object],
    judge: Callable[..., bytes],
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    if "SUDO_UID" in environment and os.geteuid() != 0:
        pytest.skip("git minds SUDO_UID for root only")
    repository({"a": b"1\n"})
    (tmp_path / "repo" / "new").write_bytes(b"")
    done = gitwatch("status", "--porcelain=v2", "-z", cwd=tmp_path / "repo", **environment)
    assert done.stdout == judge(tmp_path / "repo")


def test_another_git_is_run(
    daemon: FakeDaemon,
    gitwatch: Gitwatch,
    repository: Callable[..., object],
    judge: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    daemon.answers["entries"] = {"result": CANNED}
    daemon.answers["hello"]["result"]["git"] = sys.executable
    daemon.start()
    repository({"a": b"1\n"})
    assert gitwatch("status", "--porcelain=v2", "-z", "repo").stdout == judge(tmp_path / "repo")


def test_direct_without_z_is_what_git_prints_in_the_callers_directory(
    gitwatch: Gitwatch, repository: Callable[..., object], git: Callable[..., object], tmp_path: Path
) -> None:
    repository({"a": b"1\n", "below/b": b"1\n"})
    (tmp_path / "repo" / "n\u00fc w").write_bytes(b"")
    below = tmp_path / "repo" / "below"
    expected = git(below)("status", "--porcelain=v2", "--branch", "--show-stash")  # type: ignore[operator]
    for arguments in ([], [".."], [str(below / "b")]):
        done = gitwatch("status", "--direct", "--porcelain=v2", *arguments, cwd=below)
        assert (done.returncode, done.stdout) == (0, expected), arguments
    assert b"../n" in expected
    # From outside of that worktree: relative to its top.
    outside = gitwatch("status", "--direct", "--porcelain=v2", "repo/below")
    top = git(tmp_path / "repo")("status", "--porcelain=v2", "--branch", "--show-stash")  # type: ignore[operator]
    assert outside.stdout == top


def test_git_fails_in_a_bare_repository(gitwatch: Gitwatch, git: Callable[..., object], tmp_path: Path) -> None:
    git(tmp_path)("init", "-q", "--bare", "bare.git")  # type: ignore[operator]
    done = gitwatch("status", "--direct", "--porcelain=v2", "bare.git")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"must be run in a work tree" in done.stderr


def test_a_failure_of_git_is_passed_on(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["entries"] = {"result": {**CANNED, "exit": 128, "stdout": b"", "stderr": b"fatal: bare\x1b\n"}}
    daemon.start()
    done = gitwatch("status", "--porcelain=v2")
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"fatal: bare\\x1b\n")


def test_unsafe_is_refused_and_git_is_not_run(
    daemon: FakeDaemon, gitwatch: Gitwatch, repository: Callable[..., object], tmp_path: Path
) -> None:
    repository({"a": b"1\n"})
    daemon.answers["entries"] = {
        "result": {
            **CANNED,
            "state": "unsafe",
            "reason": "a filter",
            "hint": "trust it",
            "stdout": b"",
            "exit": 1,
        }
    }
    daemon.start()
    done = gitwatch("status", "--porcelain=v2", cwd=tmp_path / "repo")
    assert (done.returncode, done.stdout, done.stderr) == (
        3,
        b"",
        b"gitwatch: unsafe: a filter\n  trust it\n",
    )


@pytest.mark.parametrize("state", ["stale", "pending"])
def test_an_old_answer_is_replaced_by_gits_unless_it_was_asked_for(
    daemon: FakeDaemon, gitwatch: Gitwatch, repository: Callable[..., object], judge: Callable[..., bytes],
    tmp_path: Path, state: str,
) -> None:  # fmt: skip
    daemon.answers["entries"] = {"result": {**CANNED, "state": state, "reason": "busy"}}
    daemon.start()
    repository({"a": b"1\n"})
    place = tmp_path / "repo"
    assert gitwatch("status", "--porcelain=v2", "-z", cwd=place).stdout == judge(place)
    done = gitwatch("status", "--porcelain=v2", "-z", "--no-wait", cwd=place)
    if state == "stale":
        assert (done.returncode, done.stdout, done.stderr) == (0, b"CANNED\0", b"gitwatch: stale: busy\n")
    else:
        assert (done.returncode, done.stdout, done.stderr) == (1, b"", b"gitwatch: pending: busy\n")


def test_a_stopped_daemon_falls_back_to_git(
    daemon: FakeDaemon,
    gitwatch: Gitwatch,
    repository: Callable[..., object],
    judge: Callable[..., bytes],
    tmp_path: Path,
) -> None:
    daemon.start()
    repository({"a": b"1\n"})
    os.kill(daemon.pids()[0], signal.SIGSTOP)
    done = gitwatch("status", "--porcelain=v2", "-z", "--timeout", "2", cwd=tmp_path / "repo")
    assert (done.returncode, done.stdout) == (0, judge(tmp_path / "repo"))
    assert b"asking git itself" in done.stderr


def test_a_reader_that_leaves_ends_git_quietly_too(repository: Callable[..., object], tmp_path: Path) -> None:
    repository({"a": b"1\n"})
    place = tmp_path / "repo"
    for number in range(3000):  # more than a pipe holds
        (place / f"{number:040}").touch()
    command = [sys.executable, "-m", "gitwatch", "status", "--direct", "--porcelain=v2"]
    with subprocess.Popen(command, cwd=place, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


@pytest.mark.parametrize("name", ["GIT_EDITOR", "GIT_SSH_COMMAND", "GIT_SSL_CAINFO", "GIT_AUTHOR_NAME", "PATH", "LANG"])
def test_harmless_variables(name: str) -> None:
    assert changed_answer({name: "x"}) is None


@pytest.mark.parametrize(
    "name", ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_CONFIG", "GIT_CONFIG_KEY_0", "GIT_NEW"]
)  # fmt: skip
def test_variables_that_change_the_answer(name: str) -> None:
    assert changed_answer({"HOME": "/", name: "x"}) == name


def test_an_empty_xdg_config_home_is_an_unset_one() -> None:
    hello = {"home": "/h", "xdg_config_home": None, "git": "/usr/bin/git"}
    world = {"HOME": "/h/", "PATH": "/nowhere:/usr/bin"}
    assert same_world(hello, world)
    assert same_world(hello, {**world, "XDG_CONFIG_HOME": ""})
    assert same_world(hello, {**world, "XDG_CONFIG_HOME": "/h/.config"})
    assert not same_world(hello, {**world, "XDG_CONFIG_HOME": "/other"})
    assert not same_world(hello, {**world, "PATH": "/nowhere"})
