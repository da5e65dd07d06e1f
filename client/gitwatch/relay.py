"""Between a shell's pipes and the daemon: records in, records out, each answered as soon as it is ready.

Owns: the connection to the daemon, the requests that wait. Runs: one process a shell, one thread, in which only
`select` waits.
Invariant: each request is answered once. When the daemon dies they are put to the next one; when none comes up, or it
cannot answer, the answer is that there is no repository.
Invariant: the daemon that it starts is in a session of its own: shells end their helper's whole process group.

A record ends with 0x1e, its fields are separated by 0x1f: gitstatusd's form, in which a shell can read.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gitwatchd.errors import PeerError
from gitwatchd.wire.address import Places
from gitwatchd.wire.blocking import peer_uid
from gitwatchd.wire.rpc import MAX_RESPONSE_BYTES, Decoder, Response, encode_request

FIELD = b"\x1f"
RECORD = b"\x1e"

_STDIN, _STDOUT = 0, 1
_READ_BYTES = 1 << 16
_LARGEST_RECORD_BYTES = 1 << 20
"""A path and an id; beyond that nobody speaks this protocol."""
_TRY_AGAIN_S = 0.02
_GIVE_UP_S = 20.0
"""A daemon that was started listens after 0.1 s; on a cold disk or a loaded machine it takes several."""
_LOOK_AROUND_S = 1.0
"""How often it is checked whether the shell lives, as gitstatusd does."""

_START = (sys.executable, "-P", "-m", "gitwatch", "daemon", "start")

OnResult = Callable[[Any], None]
"""Called with the result of a request, or with None where there is none to be had."""


class ShellGone(Exception):
    """Nobody is left to answer."""


@dataclass(slots=True)
class _Waiting:
    frame: bytes
    on_result: OnResult


class Relay:
    def __init__(self, where: Places, on_record: Callable[[bytes], None], shell_lives: Callable[[], bool]) -> None:
        """`on_record` is called with each record, without its end."""
        self._where = where
        self._on_record = on_record
        self._shell_lives = shell_lives
        self._input = b""
        self._input_ended = False
        self._socket: socket.socket | None = None
        self._decoder = Decoder(MAX_RESPONSE_BYTES)
        self._unsent = b""
        self._last_id = 0
        self._waiting: dict[int, _Waiting] = {}
        self._started_at: float | None = None
        """When a daemon was started that has not answered yet."""
        self._children: dict[int, Callable[[bytes], None]] = {}
        """By descriptor: who takes what a child writes; an empty piece is the end."""

    # ---- for whoever answers

    def ask(self, method: str, params: list[Any], on_result: OnResult) -> None:
        self._last_id += 1
        frame = encode_request(self._last_id, method, params)
        self._waiting[self._last_id] = _Waiting(frame, on_result)
        if self._socket is not None:
            self._unsent += frame
            self._send()
        else:
            self._connect()

    def ask_prompt(self, path: bytes, options: dict[str, Any], on_result: OnResult) -> None:
        """What a record names: a directory, or with a colon before it a git dir; a relative one is below `/`."""
        by_git_dir = path.startswith(b":")
        directory = os.path.join(b"/", path[1:] if by_git_dir else path)
        self.ask("prompt", [directory, {"fields": True, "git_dir": by_git_dir, **options}], on_result)

    def read_child(self, fd: int, on_data: Callable[[bytes], None]) -> None:
        """Hand on what comes out of `fd`, which is closed at its end."""
        self._children[fd] = on_data

    def write(self, record: bytes) -> None:
        """Raises ShellGone."""
        rest = memoryview(record + RECORD)
        while rest:
            try:
                rest = rest[os.write(_STDOUT, rest) :]
            except BlockingIOError:
                select.select([], [_STDOUT], [])
            except OSError:
                raise ShellGone from None

    # ---- the loop

    def run(self) -> None:
        """Until the shell is gone: its end of the pipe closed and everything answered, or what `shell_lives` says."""
        try:
            while not (self._input_ended and not self._waiting and not self._children):
                self._turn()
        except ShellGone:
            pass

    def _turn(self) -> None:
        connecting = self._socket is None and bool(self._waiting)
        readable: list[int | socket.socket] = [*self._children]
        if not self._input_ended:
            readable.append(_STDIN)
        if self._socket is not None:
            readable.append(self._socket)
        writable = [self._socket] if self._unsent and self._socket is not None else []
        ready, sendable, _ = select.select(readable, writable, [], _TRY_AGAIN_S if connecting else _LOOK_AROUND_S)
        if not ready and not connecting and not self._shell_lives():
            raise ShellGone
        if sendable:
            self._send()
        for source in ready:
            if source == _STDIN:
                self._read_input()
            elif source is self._socket:
                self._read_daemon()
            elif isinstance(source, int):
                self._read_from_child(source)
        if connecting and self._socket is None:
            self._connect()

    def _read_input(self) -> None:
        data = os.read(_STDIN, _READ_BYTES)
        if not data:
            self._input_ended = True
            return
        *records, self._input = (self._input + data).split(RECORD)
        if len(self._input) > _LARGEST_RECORD_BYTES:
            raise ShellGone
        for record in records:
            self._on_record(record)

    def _read_from_child(self, fd: int) -> None:
        data = os.read(fd, _READ_BYTES)
        on_data = self._children[fd]
        if not data:
            del self._children[fd]
            os.close(fd)
        on_data(data)

    # ---- the daemon

    def _connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        try:
            sock.connect(self._where.socket)
            if peer_uid(sock) != os.getuid():
                raise PermissionError
        except OSError as why:
            sock.close()
            self._not_connected(why)
            return
        self._socket, self._started_at = sock, None
        self._decoder = Decoder(MAX_RESPONSE_BYTES)
        self._unsent = b"".join([waiting.frame for waiting in self._waiting.values()])
        self._send()

    def _not_connected(self, why: OSError) -> None:
        now = time.monotonic()
        if self._started_at is None:
            self._started_at = now
            if why.errno != errno.EAGAIN:  # that is a full backlog: it lives
                self._start_daemon()
        elif now - self._started_at > _GIVE_UP_S:
            self._started_at = None
            waiting, self._waiting = self._waiting, {}
            for each in waiting.values():
                each.on_result(None)

    def _start_daemon(self) -> None:
        null = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        try:
            os.posix_spawn(sys.executable, _START, os.environ, file_actions=null, setsid=True)
        except OSError as why:
            print(f"gitwatch: cannot start the daemon: {why.strerror}", file=sys.stderr)

    def _send(self) -> None:
        if self._socket is None or not self._unsent:
            return
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self._lose()
            return
        self._unsent = self._unsent[sent:]

    def _read_daemon(self) -> None:
        sock = self._socket
        if sock is None:
            return
        try:
            data = sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose()
            return
        try:
            for message in self._decoder.feed(data):
                waiting = self._waiting.pop(message.id, None) if isinstance(message, Response) and message.id else None
                if waiting is not None and isinstance(message, Response):
                    waiting.on_result(message.result)
        except PeerError:
            self._lose()

    def _lose(self) -> None:
        """The daemon went away; what waits is put to the next one by the loop."""
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._unsent = b""
