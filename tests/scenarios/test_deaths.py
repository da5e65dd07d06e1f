"""What is killed, stopped or told to end: the next command answers truly."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from gitwatch.link import wait_gone

from gitwatchd.wire.blocking import Connection
from tests.scenarios.commands import Gitwatch, HangingGit, children_of, for_git_alone, runs
from tests.zoo.commands import Git, judge, new_repository, without_git
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until


@pytest.fixture
def git(repository: Callable[..., Git]) -> Git:
    git = for_git_alone(repository({"a": b"1\n", "b": b"1\n"}))
    (git.path / "a").write_bytes(b"22\n")
    return git


def test_the_daemon_is_killed(gitwatch: Gitwatch, git: Git) -> None:
    assert gitwatch.porcelain(git.path) == judge(git.path)
    for number in range(3):
        pid = gitwatch.daemon_pid()
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        assert wait_gone(pid, 60.0)
        (git.path / f"new{number}").write_bytes(b"")
        assert gitwatch.porcelain(git.path) == judge(git.path)
        assert gitwatch.daemon_pid() != pid


def test_the_daemon_is_killed_in_the_middle_of_an_answer(
    gitwatch: Gitwatch, held_daemon: Daemon, hanging_git: HangingGit, git: Git
) -> None:
    hanging_git.hold()
    waiting = gitwatch.start("status", git.path)
    (child,) = hanging_git.wait()
    held_daemon.kill()
    stdout, stderr = waiting.communicate(timeout=60)
    assert (waiting.returncode, stdout) == (4, b"")
    assert stderr.startswith(b"gitwatch: ") and b"Traceback" not in stderr
    hanging_git.release()
    assert wait_gone(child, 60.0)
    assert gitwatch.porcelain(git.path) == judge(git.path)


def test_a_git_child_is_killed(gitwatch: Gitwatch, held_daemon: Daemon, hanging_git: HangingGit, git: Git) -> None:
    """The request that waited for it is answered truly, and so is the next."""
    gitwatch.env.update(hanging_git.env)
    for number in range(3):
        (git.path / f"new{number}").write_bytes(b"")
        hanging_git.hold()
        waiting = gitwatch.start("status", "--porcelain=v2", "-z", git.path)
        (child,) = hanging_git.wait()
        os.kill(child, signal.SIGKILL)
        hanging_git.release()
        stdout, stderr = waiting.communicate(timeout=60)
        assert (waiting.returncode, stdout, stderr) == (0, judge(git.path), b"")
        assert gitwatch.porcelain(git.path) == judge(git.path)


def test_a_worker_is_killed(gitwatch: Gitwatch, held_daemon: Daemon, hanging_git: HangingGit, tmp_path: Path) -> None:
    """It costs its job one retry; nothing of it is left, and everything is answered."""
    gitwatch.env.update(hanging_git.env)
    root = tmp_path / "root"
    for number in range(4):
        for_git_alone(new_repository(root / f"r{number}", {"a": b"1\n"}, "--template="))
        (root / f"r{number}/a").write_bytes(b"%d\n" % number * number)
    hanging_git.hold()
    waiting = gitwatch.start("status", "--json", "--jobs", "0", root)  # one after the other, in a worker
    hanging_git.wait()
    (worker,) = (pid for pid, command in children_of(held_daemon.pid).items() if b"analysis.worker" in command)
    (theirs,) = children_of(worker)
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: not runs(theirs), what="what a killed worker had started is ended, too")
    hanging_git.release()
    stdout, stderr = waiting.communicate(timeout=60)
    assert (waiting.returncode, stderr) == (0, b"")
    assert stdout.count(b'"state": "fresh"') == 4
    for number in range(4):
        path = root / f"r{number}"
        assert gitwatch.porcelain(path) == judge(path)


def test_sigterm_while_requests_are_open(held_daemon: Daemon, hanging_git: HangingGit, git: Git) -> None:
    """Exit 0, in time, with no child left."""
    hanging_git.hold()
    connections = [Connection(held_daemon.places.socket, 20.0) for _ in range(5)]
    with ThreadPoolExecutor(5) as pool:

        def ask(connection: Connection) -> str:
            try:
                connection.call("entries", str(git.path), {})
            except Exception as ended:  # noqa: BLE001 - whatever it is, it is what the test looks at
                return type(ended).__name__
            return "answered"

        asked = [pool.submit(ask, connection) for connection in connections]
        children = hanging_git.wait()
        held_daemon.stop()
        assert {each.result() for each in asked} == {"DaemonUnavailable"}
    wait_until(lambda: not any(map(runs, children)), what="git is ended")
    assert not Path(os.fsdecode(held_daemon.places.socket)).exists()


def test_a_stopped_daemon_costs_a_client_no_more_than_its_time(gitwatch: Gitwatch, daemon: Daemon, git: Git) -> None:
    assert gitwatch.porcelain(git.path) == judge(git.path)
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for command in (["status"], ["status", "--json"], ["verify"]):
            began = time.monotonic()
            done = gitwatch(*command, "--timeout", "1", git.path)
            assert time.monotonic() - began < 30.0
            assert (done.returncode, done.stdout) == (4, b"")
            assert done.stderr.startswith(b"gitwatch: the daemon did not answer within")
        # git is asked instead where it can be: the answer is true, and says so.
        done = gitwatch("status", "--porcelain=v2", "-z", "--timeout", "2", git.path)
        assert (done.returncode, done.stdout) == (0, judge(git.path))
        assert b"asking git itself" in done.stderr
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert gitwatch.porcelain(git.path) == judge(git.path)


def test_no_command_waits_for_a_stopped_daemon(gitwatch: Gitwatch, daemon: Daemon, git: Git) -> None:
    """Without a --timeout: each says why and exits 4."""
    assert gitwatch.porcelain(git.path) == judge(git.path)
    commands = (
        ("status",), ("status", "--jsonl", git.path), ("status", "--no-wait"), ("roots", "list"),
        ("roots", "add", git.path), ("roots", "rm", git.path), ("refresh",), ("verify",), ("trust", git.path),
        ("unsaved",), ("branches",), ("events",), ("doctor",), ("doctor", "--dump"), ("config",),
        ("daemon", "start"), ("daemon", "status"),
    )  # fmt: skip
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        running = [(command, gitwatch.start(*command)) for command in commands]
        for command, process in running:
            stdout, stderr = process.communicate(timeout=60)
            assert (process.returncode, stdout) == (4, b""), (command, stderr)
            assert stderr.startswith(b"gitwatch: the daemon did not answer within"), (command, stderr)
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    assert gitwatch.porcelain(git.path) == judge(git.path)


def test_ten_clients_at_once_start_one_daemon(gitwatch: Gitwatch, git: Git) -> None:
    processes = [gitwatch.start("status", "--porcelain=v2", "-z", git.path) for _ in range(10)]
    answers = [process.communicate(timeout=60) for process in processes]
    assert answers == [(judge(git.path), b"")] * 10
    assert gitwatch.log().count(" serving, ") == 1


def test_a_stale_socket_and_somebody_else_s_pid_are_no_daemon(gitwatch: Gitwatch, git: Git) -> None:
    """The pid in the lock file is another process's by now."""
    assert gitwatch.porcelain(git.path) == judge(git.path)
    pid = gitwatch.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    assert wait_gone(pid, 60.0)
    socket, lock = (Path(os.fsdecode(p)) for p in (gitwatch.places.socket, gitwatch.places.lock))
    assert socket.is_socket()
    bystander = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        lock.write_text(f"{bystander.pid}\n")
        done = gitwatch("daemon", "status")
        assert (done.returncode, done.stdout) == (4, b"")
        assert gitwatch("daemon", "stop").stdout == b"not running\n"
        assert gitwatch.porcelain(git.path) == judge(git.path)
        assert bystander.poll() is None
    finally:
        bystander.communicate(b"\n")


def test_a_socket_file_that_is_removed_ends_in_a_new_daemon(gitwatch: Gitwatch, git: Git) -> None:
    """The old one is out of everybody's reach; it must not keep a new one from starting."""
    assert gitwatch.porcelain(git.path) == judge(git.path)
    old = gitwatch.daemon_pid()
    assert old is not None
    shutil.rmtree(Path(os.fsdecode(gitwatch.places.run_dir)))
    try:
        assert gitwatch.porcelain(git.path) == judge(git.path)
    finally:
        os.kill(old, signal.SIGTERM)
    assert wait_gone(old, 60.0)
    # Ending, the old one must leave the new one's socket alone.
    assert gitwatch.porcelain(git.path) == judge(git.path)


@pytest.fixture
def default_daemon(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """The daemon of this (isolated) user, as `gitwatch` without --state-dir has it; its greeting."""
    gitwatch = [sys.executable, "-m", "gitwatch"]
    environment = without_git(os.environ)
    subprocess.run([*gitwatch, "daemon", "start"], env=environment, check=True, capture_output=True)
    with Client(os.fsencode(f"{os.environ['XDG_RUNTIME_DIR']}/gitwatchd/gitwatchd.sock")) as client:
        yield client.hello
    subprocess.run([*gitwatch, "daemon", "stop"], env=environment, check=True, capture_output=True)


def test_with_a_state_directory_it_never_meets_another_daemon(
    default_daemon: dict[str, Any], daemon: Daemon, gitwatch: Gitwatch, git: Git, tmp_path: Path
) -> None:
    with daemon.connect() as client:
        assert client.hello["pid"] == daemon.pid != default_daemon["pid"]
        assert client.hello["state_dir"] == str(daemon.state_dir) != default_daemon["state_dir"]
    assert gitwatch("roots", "add", git.path).returncode == 0
    listed = subprocess.run([sys.executable, "-m", "gitwatch", "roots", "list"], capture_output=True, check=True)
    assert os.fsencode(git.path) not in listed.stdout
    assert os.fsencode(git.path) in gitwatch("roots", "list").stdout
    # A second one for the same directory is told so, and harms nobody.
    for form in ([], ["--foreground"]):
        second = subprocess.run(
            [sys.executable, "-m", "gitwatchd", *form, "--state-dir", str(daemon.state_dir)],
            env=without_git(os.environ), capture_output=True, timeout=30, check=False,
        )  # fmt: skip
        assert second.returncode == 3
        what, hint = second.stderr.decode().splitlines()[-2:]
        assert what.startswith(f"gitwatchd: another daemon (pid {daemon.pid}) holds {daemon.state_dir}/run/")
        assert hint == f"`gitwatch --state-dir {daemon.state_dir} daemon stop` ends it"
        assert "Traceback" not in second.stderr.decode()
    assert gitwatch.daemon_pid() == daemon.pid
    with Daemon(tmp_path / "third") as third:
        assert third.pid != daemon.pid


def test_a_daemon_that_cannot_start_says_why_in_one_line(gitwatch: Gitwatch, git: Git) -> None:
    gitwatch.state.parent.mkdir(exist_ok=True)
    gitwatch.state.write_bytes(b"a file where a directory should be")
    done = gitwatch("status", git.path)
    assert (done.returncode, done.stdout) == (4, b"")
    first, _hint = done.stderr.decode().splitlines()
    assert first.startswith("gitwatch: gitwatchd did not start: ") and str(gitwatch.state) in first


@pytest.mark.parametrize("descriptors", [9, 12])
def test_a_crash_at_the_start_is_told_by_the_client(gitwatch: Gitwatch, git: Git, descriptors: int) -> None:
    """After the log file is open, too: whoever waits for the socket reads the reason without it."""
    gitwatch.expects_bugs = True  # no place is prepared for this everywhere
    gitwatch.before = (
        sys.executable, "-c",
        "import os, resource, sys; limit = int(sys.argv[1])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)); os.execv(sys.argv[2], sys.argv[2:])",
        str(descriptors),
    )  # fmt: skip
    done = gitwatch("status", git.path)
    assert (done.returncode, done.stdout) == (4, b"")
    first, hint = done.stderr.decode().splitlines()
    if first == "gitwatch: gitwatchd ended right after its start":  # the socket listened already
        assert "gitwatchd.log" in hint and "Too many open files" in gitwatch.log()
    else:
        assert first.startswith("gitwatch: gitwatchd did not start: ") and "Too many open files" in first


def test_an_installed_command_is_the_same(gitwatch: Gitwatch, git: Git) -> None:
    """The executables, not only `python -m`."""
    executable = Path(sys.executable).with_name("gitwatch")
    if not executable.exists():
        pytest.skip("not installed beside this Python")
    done = subprocess.run(
        [executable, "--state-dir", gitwatch.state, "status", "--porcelain=v2", "-z"],
        cwd=git.path, env=without_git(os.environ), capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, judge(git.path), b"")


def test_a_daemon_that_finds_no_git_can_be_ended_and_replaced(gitwatch: Gitwatch, tmp_path: Path) -> None:
    git = new_repository(tmp_path / "repo", {"a": b"1\n"})
    gitwatch.env["PATH"] = str(tmp_path)
    done = gitwatch("status", git.path)
    assert done.returncode == 1 and done.stderr.startswith(b"gitwatch: gitwatchd finds no git on its PATH\n")
    del gitwatch.env["PATH"]  # git is there again, but not for the daemon
    assert gitwatch("status", git.path).returncode == 1
    assert gitwatch("daemon", "status").returncode == 0
    assert gitwatch("daemon", "restart").returncode == 0
    assert gitwatch.porcelain(git.path) == judge(git.path)
