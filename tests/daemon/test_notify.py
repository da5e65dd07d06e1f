"""sd_notify over real datagram sockets."""

from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitwatchd.daemon.notify import ServiceNotifier


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    """What systemd holds, and the value of NOTIFY_SOCKET."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@gitwatchd-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        sock.settimeout(30)
        yield sock, name


def test_messages(manager: tuple[socket.socket, str]) -> None:
    sock, name = manager
    notifier = ServiceNotifier({"NOTIFY_SOCKET": name})
    notifier.ready()
    notifier.status("500 repositories,\nREADY=1 \udcff")
    notifier.stopping()
    assert [sock.recv(999) for _ in range(3)] == [
        b"READY=1",
        b"STATUS=500 repositories, READY=1 ?",
        b"STOPPING=1",
    ]


def test_children_do_not_inherit_the_address() -> None:
    environ = {"NOTIFY_SOCKET": "/x", "HOME": "/h"}
    ServiceNotifier(environ)
    assert environ == {"HOME": "/h"}


@pytest.mark.parametrize("value", [None, "", "relative", "vsock:2:1", "/does/not/exist", "/" + "x" * 200, "/a\0b"])
def test_nobody_there_is_no_fault(value: str | None) -> None:
    notifier = ServiceNotifier({} if value is None else {"NOTIFY_SOCKET": value})
    notifier.ready()
    notifier.stopping()


def test_a_manager_that_does_not_read_does_not_hold_us(manager: tuple[socket.socket, str]) -> None:
    _, name = manager
    notifier = ServiceNotifier({"NOTIFY_SOCKET": name})
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(2000):
        notifier.status("x" * 1000)
    assert len(os.listdir("/proc/self/fd")) == before
