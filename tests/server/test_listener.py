"""The listening socket: its directory, its file, its peers, and what happens when descriptors run out."""

from __future__ import annotations

import os
import resource
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.loop import Loop
from gitwatchd.server import listener as listener_module
from gitwatchd.server.listener import Listener, adopt_socket, bind_socket
from tests.server.conftest import Turn

UID = os.getuid()


class Door:
    """A listener and the sockets that it handed on."""

    def __init__(self, loop: Loop, sock: socket.socket, uid: int = UID, adopted: bool = False) -> None:
        self.accepted: list[socket.socket] = []
        self.listener = Listener(loop, sock, self.accepted.append, uid=uid, adopted=adopted)

    def close(self) -> None:
        self.listener.close()
        for connection in self.accepted:
            connection.close()


OpenDoor = Callable[..., Door]


@pytest.fixture
def open_door(loop: Loop) -> Iterator[OpenDoor]:
    doors: list[Door] = []

    def make(sock: socket.socket, **options: object) -> Door:
        doors.append(Door(loop, sock, **options))  # type: ignore[arg-type]
        return doors[-1]

    yield make
    for door in doors:
        door.close()


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "run" / "s.sock")


@pytest.fixture
def connect(path: bytes) -> Iterator[Callable[[], socket.socket]]:
    clients: list[socket.socket] = []

    def make() -> socket.socket:
        client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        clients.append(client)
        client.connect(path)
        client.setblocking(False)
        return client

    yield make
    for client in clients:
        client.close()


Connect = Callable[[], socket.socket]


def hung_up(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


def test_only_the_user_can_reach_the_socket(path: bytes, open_door: OpenDoor) -> None:
    before = os.umask(0)
    try:
        open_door(bind_socket(path, UID))
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_a_directory_of_ours_that_is_open_to_others_is_closed(path: bytes, open_door: OpenDoor) -> None:
    os.mkdir(os.path.dirname(path))
    os.chmod(os.path.dirname(path), 0o777)  # noqa: S103
    open_door(bind_socket(path, UID))
    assert stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode) == 0o700


def test_a_directory_of_another_user_is_refused(path: bytes) -> None:
    os.mkdir(os.path.dirname(path), 0o700)
    with pytest.raises(EnvironmentFailure, match=f"belongs to uid {UID}, not to {UID + 1}"):
        bind_socket(path, UID + 1)
    assert os.listdir(os.path.dirname(path)) == []


def test_a_symbolic_link_is_refused_even_to_a_directory_of_ours(tmp_path: Path, path: bytes) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "run").symlink_to("elsewhere")
    with pytest.raises(EnvironmentFailure, match="symbolic link"):
        bind_socket(path, UID)
    assert list((tmp_path / "elsewhere").iterdir()) == []


@pytest.mark.parametrize("where", ["run", "run/s.sock"])
def test_a_file_in_the_way_is_refused_and_stays(tmp_path: Path, path: bytes, where: str) -> None:
    (tmp_path / where).parent.mkdir(exist_ok=True)
    (tmp_path / where).write_text("dear to somebody")
    with pytest.raises(EnvironmentFailure):
        bind_socket(path, UID)
    assert (tmp_path / where).read_text() == "dear to somebody"


def test_a_path_that_is_too_long_is_a_clear_failure(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFailure, match="cannot listen"):
        bind_socket(os.fsencode(tmp_path) + b"/" + b"x" * 120, UID)


def test_a_dead_socket_is_replaced(path: bytes, open_door: OpenDoor, connect: Connect, turn: Turn) -> None:
    bind_socket(path, UID).close()
    dead = os.stat(path)
    door = open_door(bind_socket(path, UID))
    assert not door.listener.socket_vanished()
    assert stat.S_ISSOCK(dead.st_mode)
    connect()
    turn(lambda: door.accepted)


@pytest.mark.parametrize("backlog", [0, 10])
def test_a_living_socket_is_never_taken_away(path: bytes, backlog: int, connect: Connect) -> None:
    living = bind_socket(path, UID)
    living.listen(backlog)
    connect()  # fills a backlog of 0
    before = os.stat(path).st_ino
    with pytest.raises(EnvironmentFailure, match="already listens"):
        bind_socket(path, UID)
    assert os.stat(path).st_ino == before
    living.close()


def test_connections_are_handed_on(path: bytes, open_door: OpenDoor, connect: Connect, turn: Turn) -> None:
    door = open_door(bind_socket(path, UID))
    client = connect()
    turn(lambda: door.accepted)
    door.accepted[0].send(b"x")
    assert client.recv(10) == b"x"
    for _ in range(200):
        connect()
    turn(lambda: len(door.accepted) == 201)


def test_a_peer_of_another_uid_is_refused(path: bytes, open_door: OpenDoor, connect: Connect, turn: Turn) -> None:
    door = open_door(bind_socket(path, UID), uid=UID + 1)
    client = connect()
    turn(lambda: hung_up(client))
    assert door.accepted == []


def test_another_user_is_refused_even_where_the_modes_let_them_in(
    tmp_path: Path, path: bytes, open_door: OpenDoor, turn: Turn
) -> None:
    if UID != 0:
        pytest.skip("needs root to become another user")
    door = open_door(bind_socket(path, UID))
    outer = [Path(os.fsdecode(path)).parent, tmp_path, tmp_path.parent, tmp_path.parent.parent]
    modes = [(directory, directory.stat().st_mode) for directory in outer]
    for directory in outer:
        directory.chmod(0o777)
    os.chmod(path, 0o666)  # noqa: S103
    code = (
        "import os, socket, sys; os.setuid(65534); s = socket.socket(socket.AF_UNIX);"
        "s.connect(sys.argv[1]); print(s.recv(1))"
    )
    try:
        with subprocess.Popen([sys.executable, "-c", code, path], stdout=subprocess.PIPE) as stranger:
            turn(lambda: stranger.poll() is not None)
            assert stranger.stdout is not None and stranger.stdout.read() == b"b''\n"
    finally:
        for directory, mode in modes:
            directory.chmod(mode)
    assert door.accepted == []


def test_at_the_end_the_socket_is_gone(path: bytes, open_door: OpenDoor) -> None:
    door = open_door(bind_socket(path, UID))
    assert not door.listener.socket_vanished()
    door.listener.close()
    door.listener.close()
    assert not os.path.exists(path)


def test_a_socket_that_another_daemon_put_there_is_left_alone(path: bytes, open_door: OpenDoor) -> None:
    door = open_door(bind_socket(path, UID))
    os.rename(path, path + b".ours")  # its inode stays in use, so that the other's cannot be the same
    other = bind_socket(path, UID)
    assert door.listener.socket_vanished()
    door.listener.close()
    assert os.path.exists(path)
    other.close()


def test_a_removed_socket_is_noticed(path: bytes, open_door: OpenDoor) -> None:
    door = open_door(bind_socket(path, UID))
    os.unlink(path)
    assert door.listener.socket_vanished()
    os.rmdir(os.path.dirname(path))
    assert door.listener.socket_vanished()


@pytest.fixture
def no_descriptors() -> Iterator[Callable[[], None]]:
    """`no_descriptors()` takes every descriptor that is left; a second call, or the end, gives them back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken: list[int] = []

    def toggle() -> None:
        if taken:
            while taken:
                os.close(taken.pop())
            return
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, before[1]))
        with suppress(OSError):
            while True:
                taken.append(os.open("/", os.O_RDONLY))

    yield toggle
    for fd in taken:
        os.close(fd)
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_without_descriptors_clients_are_turned_away_and_later_served(
    path: bytes, open_door: OpenDoor, turn: Turn, no_descriptors: Callable[[], None]
) -> None:
    door = open_door(bind_socket(path, UID))
    clients = [socket.socket(socket.AF_UNIX) for _ in range(4)]
    no_descriptors()
    for client in clients[:3]:
        client.connect(path)
        client.setblocking(False)
    turn(lambda: all(map(hung_up, clients[:3])))
    assert door.accepted == []
    no_descriptors()
    clients[3].connect(path)
    turn(lambda: door.accepted)
    for client in clients:
        client.close()


def test_without_even_the_reserve_accepting_pauses_and_goes_on(
    path: bytes, loop: Loop, open_door: OpenDoor, turn: Turn, no_descriptors: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(listener_module, "_PAUSE_S", 0.01)
    door = open_door(bind_socket(path, UID))
    reserve = door.listener._reserve
    assert reserve is not None
    door.listener._reserve = None  # as when another thread took it in the moment between
    clients = [socket.socket(socket.AF_UNIX) for _ in range(2)]
    no_descriptors()
    clients[0].connect(path)
    turned = 0

    def give_back_after_a_while() -> bool:
        nonlocal turned
        turned += 1
        if turned == 20:
            no_descriptors()
        return bool(door.accepted)

    turn(give_back_after_a_while)
    clients[1].connect(path)
    turn(lambda: len(door.accepted) == 2)
    assert door.listener._reserve is not None, "there is a reserve again"
    os.close(reserve)
    for client in clients:
        client.close()


def test_closed_while_accepting_pauses(
    path: bytes, loop: Loop, open_door: OpenDoor, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener_module, "_PAUSE_S", 0.01)
    door = open_door(bind_socket(path, UID))
    door.listener._pause(OSError("x"))
    door.close()
    later: list[bool] = []
    loop.call_later(0.03, lambda: later.append(True))
    turn(lambda: later)


ADOPT = """
import os, socket, sys
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.server.listener import adopt_socket
environ = {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": sys.argv[1], "LISTEN_FDNAMES": "x", "KEPT": "1"}
try:
    sock = adopt_socket(environ, os.getpid())
except EnvironmentFailure as why:
    print("refused", why.message)
else:
    print(sock.fileno(), os.get_inheritable(3), sock.getsockname(), environ)
"""


def adopt_in_a_child(handed: socket.socket, count: str = "1") -> str:
    """Start a child as systemd does, `handed` being its descriptor 3, and let it tell."""
    fd, run = (
        handed.fileno(),
        "import os, sys; os.dup2(int(sys.argv[1]), 3); os.execv(sys.executable, sys.argv[2:])",
    )
    out = subprocess.run(
        [sys.executable, "-c", run, str(fd), sys.executable, "-c", ADOPT, count],
        pass_fds=(fd,), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert out.returncode == 0, out.stderr
    return out.stdout.strip()


def test_a_socket_of_systemd_is_adopted(path: bytes) -> None:
    with bind_socket(path, UID) as handed:
        assert adopt_in_a_child(handed) == f"3 False {os.fsdecode(path)} {{'KEPT': '1'}}"


def test_what_systemd_should_not_hand_over_is_refused(path: bytes) -> None:
    with bind_socket(path, UID) as listening, socket.socket() as inet, socket.socket(socket.AF_UNIX) as idle:
        assert adopt_in_a_child(listening, "2").startswith("refused systemd handed over 2 sockets")
        assert "no listening Unix stream socket" in adopt_in_a_child(inet)
        assert "no listening Unix stream socket" in adopt_in_a_child(idle)


@pytest.mark.parametrize("environ", [{}, {"LISTEN_PID": "1", "LISTEN_FDS": "1"}, {"LISTEN_FDS": "1"}])
def test_nothing_was_handed_to_this_process(environ: dict[str, str]) -> None:
    assert adopt_socket(environ, os.getpid()) is None
    assert environ == {}


def test_the_file_of_an_adopted_socket_stays(path: bytes, open_door: OpenDoor) -> None:
    door = open_door(bind_socket(path, UID), adopted=True)
    assert not door.listener.socket_vanished()
    door.listener.close()
    assert os.path.exists(path)
