from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gitwatchd import __version__
from tests.client.conftest import FakeDaemon, Gitwatch


def test_start_status_restart_stop(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.write_answers()
    assert gitwatch("daemon", "status").returncode == 4
    assert gitwatch("daemon", "stop").stdout == b"not running\n"
    assert daemon.pids() == []
    started = gitwatch("daemon", "start")
    assert started.stdout.decode().startswith(f"gitwatchd 0.1.0 runs (pid {daemon.pids()[0]})\n  socket  ")
    assert gitwatch("daemon", "status").stdout == started.stdout
    assert gitwatch("daemon", "restart").returncode == 0
    first, second = daemon.pids()
    assert first != second
    assert gitwatch("daemon", "stop").stdout == b"stopped\n"
    assert gitwatch("daemon", "status").returncode == 4


def test_a_stopped_daemon_is_replaced(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.start()
    (hung,) = daemon.pids()
    os.kill(hung, signal.SIGSTOP)
    assert gitwatch("daemon", "restart").returncode == 0
    _, ended = os.waitpid(hung, 0)
    assert os.WTERMSIG(ended) == signal.SIGTERM
    assert daemon.pids()[0] == hung and len(daemon.pids()) == 2
    assert gitwatch("daemon", "stop").stdout == b"stopped\n"


def test_logs(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    done = gitwatch("daemon", "logs")
    assert done.returncode == 1 and b"no log at" in done.stderr
    (daemon.directory / "gitwatchd.log").write_bytes(b"line\n")
    assert gitwatch("daemon", "logs").stdout == b"line\n"


def test_version_and_help_need_no_daemon(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    assert gitwatch("--version").stdout == f"gitwatch {__version__}\n".encode()
    assert gitwatch("help").stdout == gitwatch("--help").stdout
    assert b"--porcelain=v2" in gitwatch("status", "--help").stdout
    assert gitwatch("help", "roots").stdout == gitwatch("roots", "add", "-h").stdout
    assert gitwatch("help", "nonsense").returncode == 2
    assert daemon.pids() == []


@pytest.mark.parametrize("command", ["status", "roots", "refresh", "verify", "trust", "doctor", "daemon", "help"])
def test_every_command_has_help(command: str) -> None:
    from gitwatch.help import _TEXTS

    assert _TEXTS[command].startswith(f"usage: gitwatch {command}")


def test_a_deleted_working_directory_is_one_line(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"rmdir {gone}; exec {sys.executable} -m gitwatch status ."
    done = subprocess.run(["/bin/sh", "-c", script], cwd=gone, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert done.stderr.startswith(b"gitwatch: the current directory cannot be read: ")
