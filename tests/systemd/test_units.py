"""The units as systemd itself sees them, and socket activation with a real process."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from pathlib import Path

import msgpack
import pytest

UNITS = Path(__file__).parents[2] / "systemd"
EXEC_START = "ExecStart=%h/.local/bin/gitwatchd"

needs_verify = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
needs_activate = pytest.mark.skipif(shutil.which("systemd-socket-activate") is None, reason="no systemd here")


def verify(directory: Path, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    run_dir = tmp_path / "run"
    run_dir.mkdir(mode=0o700, exist_ok=True)
    return subprocess.run(
        ["systemd-analyze", "--user", "verify", *sorted(map(str, directory.glob("gitwatchd.*")))],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "XDG_RUNTIME_DIR": str(run_dir)},
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The units with an executable that exists here."""
    copy = tmp_path / "units"
    shutil.copytree(UNITS, copy)
    service = copy / "gitwatchd.service"
    text = service.read_text()
    assert text.count("\n" + EXEC_START + "\n") == 1
    service.write_text(text.replace(EXEC_START, f"ExecStart={shutil.which('true')}"))
    return copy


@needs_verify
def test_systemd_finds_nothing_to_say(copied: Path, tmp_path: Path) -> None:
    result = verify(copied, tmp_path)
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")


@needs_verify
def test_the_check_would_see_a_mistake(copied: Path, tmp_path: Path) -> None:
    service = copied / "gitwatchd.service"
    service.write_text(service.read_text().replace("NoNewPrivileges=yes", "NoNewPrivilege=yes"))
    assert "NoNewPrivilege" in verify(copied, tmp_path).stderr


def unit(name: str) -> ConfigParser:
    parser = ConfigParser(interpolation=None, strict=True)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(UNITS / name)
    return parser


def test_what_the_units_promise() -> None:
    listening = unit("gitwatchd.socket")["Socket"]
    assert listening["ListenStream"] == "%t/gitwatchd/gitwatchd.sock"
    assert (listening["SocketMode"], listening["DirectoryMode"]) == ("0600", "0700")
    service = unit("gitwatchd.service")["Service"]
    expected = {
        "Type": "notify",
        "Restart": "on-failure",
        "NoNewPrivileges": "yes",
        "LockPersonality": "yes",
        "RestrictRealtime": "yes",
        "UMask": "0077",
        "OOMPolicy": "continue",
    }
    assert {name: service[name] for name in expected} == expected
    assert "TasksMax" in service and "MemoryHigh" in service
    # Each of these would hide repositories, or keep git, git-lfs or a filter from working.
    breaking = (
        "ProtectHome", "ProtectSystem", "PrivateTmp", "PrivateNetwork", "PrivateUsers", "PrivateDevices",
        "RestrictAddressFamilies", "RestrictSUIDSGID", "RestrictNamespaces", "MemoryDenyWriteExecute",
        "SystemCallFilter", "ReadOnlyPaths", "InaccessiblePaths", "RootDirectory", "DynamicUser",
    )  # fmt: skip
    assert [name for name in breaking if name in service] == []


@contextmanager
def activated(path: Path, home: Path, *command: str) -> Iterator[subprocess.Popen[bytes]]:
    """`command`, to be started by systemd-socket-activate at the first connection to `path`."""
    process = subprocess.Popen(
        [
            "systemd-socket-activate",
            "-l",
            str(path),
            "-E",
            f"HOME={home}",
            "-E",
            f"PATH={os.environ['PATH']}",
            *command,
        ],
        start_new_session=True,  # its stderr is pytest's, and is shown when the test fails
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def ask(path: Path, request: list[object], wait_until: Callable[..., object]) -> list[object]:
    """One MessagePack-RPC question over a new connection."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(60)
        # The path exists a moment before anything listens there.
        wait_until(lambda: sock.connect_ex(str(path)) == 0)
        sock.sendall(msgpack.packb(request))
        unpacker = msgpack.Unpacker()
        while True:
            received = sock.recv(65536)
            assert received, "the daemon hung up"
            unpacker.feed(received)
            for message in unpacker:
                assert isinstance(message, list)
                if message[0] == 1:
                    return message


STAND_IN = """
import os, socket, sys
import msgpack
assert os.environ["LISTEN_FDS"] == "1" and int(os.environ["LISTEN_PID"]) == os.getpid()
listener = socket.socket(fileno=3)
connection, _ = listener.accept()
_, number, method, params = msgpack.unpackb(connection.recv(65536))
connection.sendall(msgpack.packb([1, number, None, {"method": method, "pid": os.getpid()}]))
"""


@needs_activate
def test_the_way_this_file_activates_works(tmp_path: Path, home: Path, wait_until: Callable[..., object]) -> None:
    path = tmp_path / "gitwatchd.sock"
    with activated(path, home, sys.executable, "-c", STAND_IN) as process:
        reply = ask(path, [0, 7, "hello", []], wait_until)
        assert reply == [1, 7, None, {"method": "hello", "pid": process.pid}]
        assert process.wait(60) == 0


@needs_activate
def test_the_daemon_adopts_the_socket_that_systemd_made(
    tmp_path: Path, home: Path, wait_until: Callable[..., object]
) -> None:
    path = tmp_path / "gitwatchd.sock"
    state = tmp_path / "state"
    command = (sys.executable, "-m", "gitwatchd", "--foreground", "--state-dir", str(state))
    with activated(path, home, *command) as process:
        _, number, error, result = ask(path, [0, 1, "hello", ["test", [1, 0]]], wait_until)
        assert (number, error) == (1, None)
        assert isinstance(result, dict)
        assert result["pid"] == process.pid and result["protocol"] == [1, 0]
        assert path.exists(), "an adopted socket is systemd's: it stays"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert path.exists(), "and it stays after the daemon's end, for the next activation"
