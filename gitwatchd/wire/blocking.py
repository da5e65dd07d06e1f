"""The client's end of a connection: blocking calls under one deadline.

Owns: one socket and what was read from it. Runs: in a client, one thread.
Invariant: nothing here lasts longer than the deadline, whatever the daemon does (stopped, hung, dribbling).
Imports `_socket` and not `socket`: 0.3 ms against 7.5 of a prompt's 11, and the same object underneath.
"""

from __future__ import annotations

import _socket
import os
import struct
import time
from collections import deque

from gitwatchd.errors import DaemonUnavailable, PeerError
from gitwatchd.wire.rpc import MAX_RESPONSE_BYTES, Decoder, RemoteError, Request, Response, encode_request

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, NoReturn

    from gitwatchd.wire.rpc import Message

    OnNotification = Callable[[str, list[Any]], None]
    """Called with method and params."""

_READ_BYTES = 1 << 16
"""Buffers from 128 KB on are mapped and unmapped each time, which costs as much as the rest of a call."""


_NOBODY = (1 << 32) - 1
"""The user at the other end of what is not connected."""


class DaemonSilent(DaemonUnavailable):
    """Something listens but did not answer in time: to start another daemon would not help."""


class Connection:
    """Any failure but RemoteError closes it: the stream's position is unknown then."""

    def __init__(self, path: bytes, deadline_s: float | None) -> None:
        """Connect to the socket at `path`. In `deadline_s` seconds everything must be over; None = no limit.

        Raises DaemonUnavailable when nothing listens, DaemonSilent when the deadline passes, PeerError when
        the socket is another user's.
        """
        self._decoder = Decoder(MAX_RESPONSE_BYTES)
        self._messages: deque[Message] = deque()
        self._last_id = 0
        self.renew_deadline(deadline_s)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._connect(path)
        except BaseException:
            self.close()
            raise

    def _connect(self, path: bytes) -> None:
        peer = _NOBODY
        while peer == _NOBODY:
            # Not settimeout: a non-blocking connect on a full backlog fails at once instead of waiting.
            self._limit_wait(_socket.SO_SNDTIMEO)
            try:
                self._socket.connect(path)
            except BlockingIOError:
                raise self._silent() from None
            except OSError as why:
                raise DaemonUnavailable(
                    f"no daemon answers at {os.fsdecode(path)}: {why.strerror}",
                    "start one with `gitwatch daemon start`",
                ) from None
            # Interrupted (by a signal, or stopped and continued), Python takes it for under way, as TCP's would be,
            # and for done at once. It is not even begun.
            peer = peer_uid(self._socket)
        if peer != os.getuid():
            # In a shared temporary directory anybody may be first; a stranger's answers would look like ours.
            raise PeerError(f"the socket {os.fsdecode(path)} is served by another user (uid {peer})")

    def renew_deadline(self, deadline_s: float | None) -> None:
        """From now on everything must be over in `deadline_s` seconds; None = no limit (a subscription
        waits)."""
        self._deadline_s = deadline_s
        self._deadline = None if deadline_s is None else time.monotonic() + deadline_s

    def call(self, method: str, *params: Any, on_notification: OnNotification | None = None) -> Any:
        """The result of one request; notifications that come meanwhile go to `on_notification`.

        Raises RemoteError(code, message, hint) for the daemon's own error, DaemonUnavailable when it went
        away, DaemonSilent at the deadline, PeerError for what is not our protocol.
        """
        self._last_id += 1
        try:
            self._send(encode_request(self._last_id, method, list(params)))
            response = self._await_response(on_notification)
        except BaseException:
            self.close()
            raise
        if response.error is not None:
            raise RemoteError(*response.error)
        return response.result

    def listen(self, on_notification: OnNotification) -> NoReturn:
        """Hand on notifications until something is raised: DaemonUnavailable when the daemon goes away."""
        try:
            self._await_response(on_notification)
        finally:
            self.close()
        raise PeerError("a response that nobody asked for")

    def fileno(self) -> int:
        """For whoever waits for several things at once."""
        return self._socket.fileno()

    def take_notifications(self, on_notification: OnNotification) -> None:
        """Hand on those that have arrived, and do not wait for more. Raises as `listen`."""
        try:
            self._read_what_is_there()
            while self._messages:
                self._hand_on(self._messages.popleft(), on_notification)
        except BaseException:
            self.close()
            raise

    def _read_what_is_there(self) -> None:
        while not self._messages:
            try:
                data = self._socket.recv(_READ_BYTES, _socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            except OSError as why:
                raise DaemonUnavailable(f"lost the connection to the daemon: {why.strerror}") from None
            if not data:
                raise DaemonUnavailable("the daemon has ended", "the next command starts it again")
            self._messages.extend(self._decoder.feed(data))

    def _hand_on(self, message: Message, on_notification: OnNotification) -> None:
        if isinstance(message, (Request, Response)):
            raise PeerError("a message that nobody asked for")
        on_notification(message.method, message.params)

    def _await_response(self, on_notification: OnNotification | None) -> Response:
        while True:
            message = self._next_message()
            if isinstance(message, Response):
                if message.id not in (self._last_id, None):  # None: it could not read which one it refuses
                    raise PeerError(f"a response to request {message.id}, while {self._last_id} was asked")
                return message
            if isinstance(message, Request):
                raise PeerError("a request from the daemon, which it never makes")
            if on_notification is not None:
                on_notification(message.method, message.params)

    def close(self) -> None:
        self._socket.close()

    def _send(self, frame: bytes) -> None:
        try:
            sent = self._socket.send(frame, _socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        except OSError as why:
            self._sending_failed(why)
            return
        if sent < len(frame):
            self._send_slowly(memoryview(frame)[sent:])

    def _send_slowly(self, rest: memoryview) -> None:
        try:
            # Not SO_SNDTIMEO: the kernel starts it anew for each piece that a slow reader makes room for.
            self._socket.settimeout(self._remaining_s())
            self._socket.sendall(rest)
            self._socket.settimeout(None)
        except TimeoutError:
            raise self._silent() from None
        except OSError as why:
            self._sending_failed(why)

    def _sending_failed(self, why: OSError) -> None:
        # It may have said why before it hung up: then reading tells.
        if not isinstance(why, (BrokenPipeError, ConnectionResetError)):
            raise DaemonUnavailable(f"cannot reach the daemon: {why.strerror}") from None

    def _next_message(self) -> Message:
        while not self._messages:
            try:
                self._limit_wait(_socket.SO_RCVTIMEO)
                data = self._socket.recv(_READ_BYTES)
            except (BlockingIOError, TimeoutError):
                raise self._silent() from None
            except OSError as why:
                raise DaemonUnavailable(f"lost the connection to the daemon: {why.strerror}") from None
            if not data:
                raise DaemonUnavailable("the daemon closed the connection before it answered")
            self._messages.extend(self._decoder.feed(data))
        return self._messages.popleft()

    def _limit_wait(self, option: int) -> None:
        """The kernel keeps the deadline: two system calls less each time than `settimeout`."""
        remaining_s = self._remaining_s() or 0.0  # 0 = for ever
        timeval = struct.pack("@ll", int(remaining_s), int(remaining_s % 1 * 1e6))
        self._socket.setsockopt(_socket.SOL_SOCKET, option, timeval)

    def _remaining_s(self) -> float | None:
        """Seconds left, never 0 (that would mean for ever); raises DaemonSilent when none are."""
        if self._deadline is None:
            return None
        remaining_s = self._deadline - time.monotonic()
        if remaining_s <= 0:
            raise self._silent()
        return max(remaining_s, 1e-3)

    def _silent(self) -> DaemonSilent:
        return DaemonSilent(
            f"the daemon did not answer within {self._deadline_s:g} s",
            "`gitwatch daemon restart` replaces a hung one",
        )


def peer_uid(connected: _socket.socket) -> int:
    """The user of the process at the other end, as recorded when that end connected or listened."""
    _, uid, _ = struct.unpack("=iII", connected.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12))
    return int(uid)
