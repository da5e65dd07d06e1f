from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgpack
from gitwatch.autostart import clean_environment, find_unit

from gitwatchd.daemon.lock import DaemonLock
from gitwatchd.wire.address import places
from tests.client.conftest import FakeDaemon, Gitwatch

VIEW = {"text": "TABLE\n", "notes": [], "failed": 0, "strict_failed": 0}


def test_the_first_command_starts_a_detached_daemon(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.write_answers()
    assert gitwatch("status", EDITOR="x", GIT_DIR="/g").stdout == b"TABLE\n"
    started = msgpack.unpackb((daemon.directory / "environment").read_bytes())
    assert started["cwd"] == "/" and started["umask"] == 0o077 and started["session"] == started["pid"]
    kept = started["environment"].keys() - {"LC_CTYPE"}  # CPython itself adds that one
    assert {"HOME", "PATH", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR"} <= kept
    assert all(name.startswith("XDG_") or name in ("HOME", "PATH", "LANG", "USER", "TMPDIR") for name in kept)


def test_ten_clients_at_once_start_one(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.write_answers()
    with ThreadPoolExecutor(10) as pool:
        done = list(pool.map(lambda _: gitwatch("status"), range(10)))
    assert [each.stdout for each in done] == [b"TABLE\n"] * 10
    assert len(daemon.pids()) == 1


def test_why_it_does_not_start_is_told_in_one_line(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    (daemon.directory / "broken").touch()
    done = gitwatch("status")
    assert done.returncode == 4 and done.stdout == b""
    assert done.stderr.splitlines()[0] == b"gitwatch: gitwatchd did not start: the disk is on fire"


def test_a_daemon_that_ends_without_a_word_left_it_in_its_log(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    (daemon.directory / "mute").touch()
    done = gitwatch("status")
    assert done.returncode == 4
    assert done.stderr.decode().splitlines()[0] == "gitwatch: gitwatchd did not start: it ended with status 7"
    assert f"{daemon.directory}/gitwatchd.log says why" in done.stderr.decode()


def test_a_lock_that_an_ending_daemon_still_holds_is_waited_for(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.write_answers()
    where = places(os.environ, os.getuid(), os.fsencode(daemon.directory))
    lock = DaemonLock(where.lock)
    assert lock.acquire()
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(gitwatch, "status")
        assert not daemon.pids()
        lock.release()
        assert running.result().stdout == b"TABLE\n"


def test_a_stale_socket_is_no_daemon(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.start()
    daemon.stop()
    assert gitwatch("status").stdout == b"TABLE\n"


def test_the_variables_that_place_the_socket_are_handed_on() -> None:
    caller = {"TMPDIR": "/t", "HOME": "/h", "GIT_DIR": "x", "SSH_AUTH_SOCK": "y", "XDG_STATE_HOME": "/s"}
    assert clean_environment(caller) == {"TMPDIR": "/t", "HOME": "/h", "XDG_STATE_HOME": "/s"}


def test_a_unit_counts_only_where_a_user_manager_answers(tmp_path: Path) -> None:
    units = tmp_path / "config" / "systemd" / "user"
    units.mkdir(parents=True)
    (units / "gitwatchd.service").touch()
    environ = {"HOME": "/h", "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_RUNTIME_DIR": str(tmp_path)}
    assert find_unit(environ) is None
    (tmp_path / "systemd").mkdir()
    (tmp_path / "systemd" / "private").touch()
    assert find_unit(environ) == "gitwatchd.service"
    (units / "gitwatchd.socket").touch()
    assert find_unit(environ) == "gitwatchd.socket"


def test_with_a_unit_systemd_is_asked_and_its_failure_is_no_end(daemon: FakeDaemon, tmp_path: Path, home: Path) -> None:
    """A systemctl on PATH that writes down what it was asked, and cannot do it."""
    runtime = Path(os.environ["XDG_RUNTIME_DIR"])
    (runtime / "systemd").mkdir()
    (runtime / "systemd" / "private").touch()
    units = Path(os.environ["XDG_CONFIG_HOME"]) / "systemd" / "user"
    units.mkdir(parents=True)
    (units / "gitwatchd.socket").touch()
    asked = tmp_path / "asked"
    (tmp_path / "systemctl").write_text(f'#!/bin/sh\necho "$@" >> {asked}\nexit 1\n')
    (tmp_path / "systemctl").chmod(0o755)
    script = (
        "import sys; from gitwatch import autostart; from gitwatch.__main__ import main; "
        "autostart.DAEMON = (sys.executable, '-c', 'import sys; sys.exit(\"no\")'); sys.exit(main())"
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run([sys.executable, "-c", script, "status"], env=environment, capture_output=True, check=False)
    assert done.returncode == 4 and b"did not start: no" in done.stderr
    assert asked.read_text() == "--user --quiet start gitwatchd.socket\n"
