"""The client's connection against peers that answer, hang, dribble, lie and leave."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gitwatchd.errors import DaemonUnavailable, PeerError
from gitwatchd.wire import blocking
from gitwatchd.wire.blocking import Connection, DaemonSilent, peer_uid
from gitwatchd.wire.rpc import (
    MALFORMED,
    RemoteError,
    encode_error,
    encode_notification,
    encode_request,
    encode_response,
)

Script = Callable[[socket.socket], None]
Peer = Callable[[Script], bytes]

SLOWNESS = threading.Event()
"""Never set: what a slow peer waits for. No test waits with it for a condition."""


@pytest.fixture
def peer(tmp_path: Path) -> Iterator[Peer]:
    """`peer(script)` serves one connection by `script` and gives the socket's path."""
    path = os.fsencode(tmp_path / "s")
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    threads: list[threading.Thread] = []

    def serve(script: Script) -> None:
        connection, _ = listening.accept()
        with connection, suppress(BrokenPipeError, ConnectionResetError):
            script(connection)

    def start(script: Script) -> bytes:
        listening.bind(path)
        listening.listen(1)
        threads.append(threading.Thread(target=serve, args=(script,)))
        threads[0].start()
        return path

    yield start
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()
    listening.close()


def until_closed(connection: socket.socket) -> None:
    while connection.recv(1 << 16):
        pass


def test_calls_in_turn_on_one_connection(peer: Peer) -> None:
    asked: list[bytes] = []

    def script(connection: socket.socket) -> None:
        for id in (1, 2):
            asked.append(connection.recv(1000))
            connection.sendall(encode_response(id, {"n": id}))

    connection = Connection(peer(script), 10)
    assert connection.call("status", ["/a"], {"wait_s": 0}) == {"n": 1}
    assert connection.call("roots.list") == {"n": 2}
    connection.close()
    assert asked == [
        encode_request(1, "status", [["/a"], {"wait_s": 0}]),
        encode_request(2, "roots.list", []),
    ]


def test_notifications_go_to_their_callback_or_nowhere(peer: Peer) -> None:
    def script(connection: socket.socket) -> None:
        for id in (1, 2):
            connection.recv(1000)
            for done in (1, 2):
                connection.sendall(encode_notification("progress", [{"done": done}]))
            connection.sendall(encode_response(id, True))

    connection = Connection(peer(script), 10)
    seen: list[object] = []
    assert connection.call("status", on_notification=lambda method, params: seen.append((method, params)))
    assert seen == [("progress", [{"done": 1}]), ("progress", [{"done": 2}])]
    assert connection.call("status")
    connection.close()


def test_listen_hands_on_notifications_until_the_daemon_leaves(peer: Peer) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(encode_response(1, 5) + encode_notification("changed", [1]))
        connection.sendall(encode_notification("changed", [2]))

    connection = Connection(peer(script), 10)
    assert connection.call("subscribe", {}) == 5
    connection.renew_deadline(None)
    seen: list[object] = []
    with pytest.raises(DaemonUnavailable):
        connection.listen(lambda method, params: seen.append(params))
    assert seen == [[1], [2]]


@pytest.mark.parametrize("id", [1, None])
def test_a_remote_error_leaves_the_connection_usable(peer: Peer, id: int | None) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(encode_error(id, 3, "refused\nask nicely"))
        connection.recv(1000)
        connection.sendall(encode_response(2, "fine"))

    connection = Connection(peer(script), 10)
    with pytest.raises(RemoteError) as caught:
        connection.call("trust", "/x")
    assert (caught.value.code, caught.value.message, caught.value.hint) == (3, "refused", "ask nicely")
    assert connection.call("trust", "/x") == "fine"
    connection.close()


def test_nothing_listens(tmp_path: Path) -> None:
    path = tmp_path / "s"
    for _ in ("no file", "a dead socket"):
        with pytest.raises(DaemonUnavailable, match="no daemon answers") as caught:
            Connection(os.fsencode(path), 1)
        assert not isinstance(caught.value, DaemonSilent)
        with suppress(OSError), socket.socket(socket.AF_UNIX) as dead:
            dead.bind(os.fspath(path))


def assert_silent(deadline_s: float, act: Callable[[], object]) -> None:
    started = time.monotonic()
    with pytest.raises(DaemonSilent, match="within"):
        act()
    took_s = time.monotonic() - started
    # Every peer here would hold it for 20 s and more, and none for ever is told from a slow machine by a second.
    assert deadline_s - 0.01 <= took_s < deadline_s + 10, took_s


def test_a_daemon_that_never_answers_costs_the_deadline(peer: Peer) -> None:
    path = peer(until_closed)
    assert_silent(0.1, lambda: Connection(path, 0.1).call("status"))


def test_dribbling_does_not_stretch_the_deadline(peer: Peer) -> None:
    def script(connection: socket.socket) -> None:
        for byte in encode_response(1, "x" * 10_000):
            connection.sendall(bytes([byte]))
            SLOWNESS.wait(0.005)

    path = peer(script)
    assert_silent(0.1, lambda: Connection(path, 0.1).call("status"))


def test_notifications_do_not_stretch_the_deadline(peer: Peer) -> None:
    def script(connection: socket.socket) -> None:
        while True:
            connection.sendall(encode_notification("progress", []))
            SLOWNESS.wait(0.005)

    path = peer(script)
    assert_silent(0.1, lambda: Connection(path, 0.1).call("status"))


def test_one_deadline_for_all_calls(peer: Peer) -> None:
    def script(connection: socket.socket) -> None:
        for id in range(1, 1000):
            if not connection.recv(1000):
                return
            SLOWNESS.wait(0.02)
            connection.sendall(encode_response(id, None))

    path = peer(script)

    def call_for_ever() -> None:
        connection = Connection(path, 0.15)
        while True:
            connection.call("status")

    assert_silent(0.15, call_for_ever)


def test_a_daemon_that_never_reads_costs_the_deadline(peer: Peer) -> None:
    reading = threading.Event()

    def read_later(connection: socket.socket) -> None:
        reading.wait(60)

    path = peer(read_later)
    assert_silent(0.1, lambda: Connection(path, 0.1).call("status", b"x" * 5_000_000))
    reading.set()


def test_a_full_backlog_is_waited_for_and_only_until_the_deadline(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        assert_silent(0.1, lambda: Connection(path, 0.1))
        accepting = threading.Timer(0.05, lambda: listening.accept()[0].close())
        accepting.start()
        Connection(path, 30).close()
        accepting.join()


def test_a_signal_while_a_full_backlog_is_waited_for_is_no_connection(tmp_path: Path) -> None:
    """Nor is it to be stopped and to go on. Python takes that for a connection under way, which TCP would have."""
    path, caught, here = os.fsencode(tmp_path / "s"), list[int](), threading.get_ident()

    def interrupt_and_accept() -> None:
        while len(caught) < 20:
            signal.pthread_kill(here, signal.SIGUSR1)
            SLOWNESS.wait(0.005)
        listening.accept()[0].close()

    before = signal.signal(signal.SIGUSR1, lambda number, _frame: caught.append(number))
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        listening.bind(path)
        listening.listen(0)
        first.connect(path)
        accepting = threading.Thread(target=interrupt_and_accept)
        accepting.start()
        try:
            Connection(path, 30).close()
        finally:
            accepting.join()
            signal.signal(signal.SIGUSR1, before)


def test_a_renewed_deadline_counts_from_then(peer: Peer) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(1000)
        SLOWNESS.wait(0.1)
        connection.sendall(encode_response(1, "late"))

    connection = Connection(peer(script), 10)
    connection.renew_deadline(0.05)
    connection.renew_deadline(10)
    assert connection.call("status") == "late"
    connection.close()


def test_an_error_sent_before_hanging_up_is_read_though_sending_failed(peer: Peer) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(encode_error(1, MALFORMED, "too long\nask for less"))

    connection = Connection(peer(script), 10)
    with pytest.raises(RemoteError, match="too long"):
        connection.call("status", b"x" * 5_000_000)
    connection.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"", DaemonUnavailable),
        (encode_response(1, "x" * 500)[:100], DaemonUnavailable),
        (b"HTTP/1.1 400 Bad Request\r\n", PeerError),
        (encode_response(2, None), PeerError),
        (encode_request(1, "x", []), PeerError),
    ],
)
def test_a_peer_that_leaves_or_speaks_otherwise(peer: Peer, answer: bytes, error: type[Exception]) -> None:
    def script(connection: socket.socket) -> None:
        connection.recv(1000)
        connection.sendall(answer)

    connection = Connection(peer(script), 10)
    with pytest.raises(error):
        connection.call("status")
    with pytest.raises(DaemonUnavailable):
        connection.call("status")  # it was closed


def test_the_peer_is_known_by_the_kernel() -> None:
    one, other = socket.socketpair()
    with one, other:
        assert peer_uid(one) == os.getuid()
        pid, _, gid = struct.unpack("iII", one.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        assert (pid, gid) == (os.getpid(), os.getgid())


def test_a_socket_of_another_user_is_not_believed(tmp_path: Path) -> None:
    if os.getuid() != 0:
        pytest.skip("needs root to become another user")
    path = os.fsencode(tmp_path / "s")
    stranger = (
        "import os, socket, sys\n"
        "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1])\n"
        "os.setuid(65534); s.listen(); print(flush=True)\n"
        "sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", stranger, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(PeerError, match="another user"):
            Connection(path, 10)
        process.communicate()


def test_what_the_client_imports_stays_cheap() -> None:
    listing = "import sys, gitwatchd.wire.blocking, gitwatchd.wire.address; print(*sys.modules)"
    roots = os.pathsep.join(path for path in sys.path if path)
    environ = os.environ | {"PYTHONPATH": roots}
    out = subprocess.run([sys.executable, "-S", "-c", listing], env=environ, capture_output=True, check=True, text=True)
    dear = {"typing", "dataclasses", "socket", "selectors", "enum", "re", "inspect", "logging", "hashlib"}
    loaded = set(out.stdout.split())
    assert blocking.__name__ in loaded
    assert not loaded & dear
