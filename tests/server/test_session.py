"""Conversations with a session over a socket pair: good clients, bad ones, and their neighbours."""

from __future__ import annotations

import logging
import select
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gitwatchd.loop import Loop
from gitwatchd.server import session as session_module
from gitwatchd.server.session import Session
from gitwatchd.wire.rpc import (
    INTERNAL,
    MALFORMED,
    MAX_RESPONSE_BYTES,
    Decoder,
    Notification,
    Request,
    Response,
    encode_notification,
    encode_request,
    pack,
)
from tests.server.conftest import Turn


class Client:
    """The test's end: a socket, and what was read from it."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.socket.setblocking(False)
        self.got: list[tuple[Any, ...]] = []
        self.ended = False
        self._decoder = Decoder(MAX_RESPONSE_BYTES)

    def send(self, raw: bytes) -> None:
        assert self.socket.send(raw) == len(raw)

    def read(self) -> list[tuple[Any, ...]]:
        """Everything that came up to now: (id, error, result) and (method, params)."""
        while select.select([self.socket], [], [], 0)[0]:
            try:
                data = self.socket.recv(1 << 16)
            except ConnectionResetError:
                data = b""
            if not data:
                self.ended = True
                break
            for message in self._decoder.feed(data):
                if isinstance(message, Response):
                    self.got.append((message.id, message.error, message.result))
                elif isinstance(message, Notification):
                    self.got.append((message.method, message.params))
        return self.got


class Server:
    def __init__(self, loop: Loop) -> None:
        self.loop = loop
        self.requests: list[Request] = []
        self.closed: list[Session] = []
        self.sockets: list[socket.socket] = []
        self.answer: Callable[[Session, Request], None] = lambda session, request: session.reply(
            request.id, [request.method, *request.params]
        )

    def handle(self, session: Session, request: Request) -> None:
        self.requests.append(request)
        self.answer(session, request)

    def connect(self, **limits: int) -> tuple[Session, Client]:
        theirs, ours = socket.socketpair()
        self.sockets.append(theirs)
        return Session(self.loop, ours, self.handle, self.closed.append, **limits), Client(theirs)


@pytest.fixture
def server(loop: Loop) -> Iterator[Server]:
    server = Server(loop)
    sessions: list[Session] = []
    connect = server.connect

    def remembering(**limits: int) -> tuple[Session, Client]:
        session, client = connect(**limits)
        sessions.append(session)
        return session, client

    server.connect = remembering  # type: ignore[method-assign]
    yield server
    for session in sessions:
        session.close()
    assert len(server.closed) == len(sessions), "on_closed, exactly once each"
    for sock in server.sockets:
        sock.close()


def test_a_request_is_answered(server: Server, turn: Turn) -> None:
    _, client = server.connect()
    client.send(encode_request(7, "status", [["/a"]]))
    turn(client.read)
    assert client.got == [(7, None, ["status", ["/a"]])]


def test_a_packed_answer_is_sent_in_the_same_turn(server: Server, loop: Loop) -> None:
    packed = pack({"repos": []})
    server.answer = lambda session, request: session.reply_packed(request.id, packed)
    _, client = server.connect()
    client.send(encode_request(300, "status", []))
    loop.run_once(1)
    assert client.read() == [(300, None, {"repos": []})]


def test_byte_at_a_time(server: Server, turn: Turn) -> None:
    _, client = server.connect()
    for byte in encode_request(1, "status", ["ö", b"\xff"]) + encode_request(2, "x", []):
        client.send(bytes([byte]))
        server.loop.run_once(1)
    turn(lambda: len(client.read()) == 2)
    assert client.got == [(1, None, ["status", "ö", b"\xff"]), (2, None, ["x"])]


def test_requests_in_one_packet_are_answered_in_order(server: Server, turn: Turn) -> None:
    _, client = server.connect()
    client.send(b"".join(encode_request(id, "x", []) for id in range(500)))
    turn(lambda: len(client.read()) == 500)
    assert [id for id, _, _ in client.got] == list(range(500))


def test_answers_may_come_later_and_in_any_order(server: Server, turn: Turn) -> None:
    server.answer = lambda session, request: None
    session, client = server.connect()
    client.send(encode_request(1, "slow", []) + encode_request(2, "slow", []))
    turn(lambda: len(server.requests) == 2)
    session.notify("progress", [{"done": 1}])
    session.fail(2, 2, "no\ntry 1")
    session.reply(1, None)
    turn(lambda: len(client.read()) == 3)
    assert client.got == [("progress", [{"done": 1}]), (2, (2, "no\ntry 1"), None), (1, None, None)]


def test_notifications_and_responses_of_a_client_are_ignored(server: Server, turn: Turn) -> None:
    _, client = server.connect()
    client.send(encode_notification("nvim_error_event", [0, "x"]) + pack([1, 4, None, None]))
    client.send(encode_request(1, "x", []))
    turn(client.read)
    assert client.got == [(1, None, ["x"])]
    assert [request.id for request in server.requests] == [1]


def test_a_bug_ends_its_request_only_and_is_logged(
    server: Server, turn: Turn, caplog: pytest.LogCaptureFixture
) -> None:
    def buggy(session: Session, request: Request) -> None:
        if request.method == "buggy":
            raise ZeroDivisionError
        session.reply(request.id, "fine")

    server.answer = buggy
    _, client = server.connect()
    client.send(encode_request(1, "buggy", []) + encode_request(2, "x", []))
    turn(lambda: len(client.read()) == 2)
    assert client.got[0][:2] == (1, (INTERNAL, session_module._BUG_TEXT))
    assert client.got[1] == (2, None, "fine")
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


@pytest.mark.parametrize("result", [object(), 2**70])
def test_a_result_that_cannot_be_sent_is_a_bug_even_if_it_comes_late(
    server: Server, turn: Turn, result: object, caplog: pytest.LogCaptureFixture
) -> None:
    session, client = server.connect()
    session.reply(3, result)
    turn(client.read)
    assert client.got[0][0] == 3 and client.got[0][1][0] == INTERNAL
    assert caplog.records[0].levelno == logging.ERROR


@pytest.mark.parametrize(
    ("raw", "id"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", None),
        (pack([0, 5, "status"]), 5),
        (pack([0, -5, "status", []]), None),
        (b"\x94\x00\x05\xa1x" + b"\x91" * 2000, 5),
        (b"\x94\x00\x05\xa1x\x91\xd4\x01\x00", 5),
    ],
)
def test_a_malformed_frame_gets_one_error_and_the_end_and_others_go_on(
    server: Server, turn: Turn, raw: bytes, id: int | None
) -> None:
    _, bad = server.connect()
    _, good = server.connect()
    good.send(encode_request(1, "before", [])[:5])
    bad.send(encode_request(1, "first", []) + raw)
    turn(lambda: bad.read() is not None and bad.ended)
    assert bad.got[0] == (1, None, ["first"])
    assert [(got_id, error[0]) for got_id, error, _ in bad.got[1:]] == [(id, MALFORMED)]
    good.send(encode_request(1, "before", [])[5:])
    turn(good.read)
    assert good.got == [(1, None, ["before"])]


def test_an_oversize_frame_ends_while_it_is_still_coming(server: Server, turn: Turn) -> None:
    session, client = server.connect()
    raw = b"\x94\x00\x05\xa1x\x91\xc6\x7f\xff\xff\xff"

    def pushed() -> bool:
        if not client.read():
            try:
                client.socket.send(raw if not server.requests else b"")
                client.socket.send(b"a" * 60_000)
            except (BlockingIOError, BrokenPipeError, ConnectionResetError):
                pass
        return session.closed

    turn(pushed)
    client.read()
    assert [(id, error[0]) for id, error, _ in client.got] == [(5, MALFORMED)]
    assert client.ended


def fill(session: Session, client: Client) -> None:
    """Make the socket's buffer full, so that the session has unsent bytes."""
    session.reply(0, b"x" * 1_000_000)
    assert session._unsent
    assert client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) == socket.SOCK_STREAM


def test_a_big_answer_to_a_slow_reader_arrives_whole(server: Server, turn: Turn) -> None:
    session, client = server.connect()
    big = bytes(range(256)) * 20_000
    for id in range(3):
        session.reply(id, big)
    turn(lambda: len(client.read()) == 3)
    assert client.got == [(id, None, big) for id in range(3)]
    turn(lambda: not session._unsent)
    assert not server.loop._selector.select(0), "it waits for requests only, or the loop would spin"
    client.send(encode_request(9, "x", []))
    turn(lambda: len(client.read()) == 4)


def test_a_client_that_never_reads_is_dropped_at_its_limit_and_harms_nobody(server: Server, turn: Turn) -> None:
    session, client = server.connect(max_unsent_bytes=3_000_000)
    _, good = server.connect()
    fill(session, client)
    answers = 0
    while not session.closed:
        session.reply_packed(answers, pack(b"x" * 100_000))
        answers += 1
        assert answers < 40
    assert answers > 20, "one that is merely slow is not dropped"
    assert server.closed == [session]
    session.reply(1, "into the void")
    good.send(encode_request(1, "x", []))
    turn(good.read)


def test_one_answer_may_be_longer_than_the_limit(server: Server, turn: Turn) -> None:
    session, client = server.connect(max_unsent_bytes=1000)
    session.reply(1, b"x" * 5_000_000)
    turn(client.read)
    assert len(client.got[0][2]) == 5_000_000


def test_a_flood_of_requests_takes_turns_with_others(server: Server, turn: Turn) -> None:
    flood = encode_request(1, "x", [])
    _, greedy = server.connect()
    greedy.send(flood * 10_000)
    _, good = server.connect()
    good.send(encode_request(1, "good", []))
    turn(good.read)
    assert len(server.requests) < 10_000 / 2


def test_a_client_that_leaves_in_mid_answer_is_forgotten(server: Server, turn: Turn) -> None:
    session, client = server.connect()
    fill(session, client)
    client.socket.close()
    turn(lambda: session.closed)
    session.reply(2, "x")
    session.notify("x", [])
    session.close()
    session.close_when_sent()


def test_a_client_that_leaves_before_its_answer_is_forgotten(server: Server, turn: Turn) -> None:
    session, client = server.connect()
    client.socket.close()
    session.reply(2, "x")
    assert session.closed
    other_session, other = server.connect()
    other.socket.shutdown(socket.SHUT_WR)
    turn(lambda: other_session.closed)


def test_nothing_is_handled_after_the_session_closed_itself(server: Server, turn: Turn) -> None:
    def answer(session: Session, request: Request) -> None:
        session.reply(request.id, "bye")
        session.close_when_sent()

    server.answer = answer
    session, client = server.connect()
    client.send(encode_request(1, "shutdown", []) + encode_request(2, "x", []))
    turn(lambda: session.closed)
    assert [request.id for request in server.requests] == [1]
    assert client.read() == [(1, None, "bye")]
    assert client.ended


def test_what_waits_is_sent_before_the_end(server: Server, turn: Turn) -> None:
    session, client = server.connect()
    fill(session, client)
    session.close_when_sent()
    session.close_when_sent()
    assert not session.closed
    turn(lambda: client.read() and client.ended)
    assert len(client.got[0][2]) == 1_000_000
    assert session.closed


def test_a_farewell_that_nobody_reads_has_a_deadline(
    server: Server, turn: Turn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session_module, "_FAREWELL_S", 0.02)
    session, client = server.connect()
    fill(session, client)
    session.close_when_sent()
    turn(lambda: session.closed)
