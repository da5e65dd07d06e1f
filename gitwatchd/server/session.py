"""One client's connection: frames in, answers out.

Owns: the accepted socket, its decoder, its unsent bytes. Runs: serving thread only.
Invariant: whatever this client does (garbage, silence, never reading, leaving), others do not notice.
Invariant: `on_closed` is called exactly once. After it every method is a no-op, so that an answer which took
its time need not ask whether the client is still there.
Never blocks; never knows what a method means.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from gitwatchd.loop import Loop, Timer
from gitwatchd.wire.rpc import (
    INTERNAL,
    MALFORMED,
    Decoder,
    MalformedFrame,
    Notification,
    Request,
    encode_error,
    encode_notification,
    encode_packed_response,
    encode_response,
)

_log = logging.getLogger(__name__)

MAX_UNSENT_BYTES = 32 << 20
"""A client that does not read is dropped when more than this waits for it: several answers about 2,000
repositories, and no more than a machine can spare. One answer may be longer; the limit is on what waits when
the next is added."""

_READ_BYTES = 1 << 14
"""One read a turn, so that a client with a long queue of requests takes turns with the others."""

_FAREWELL_S = 5.0
"""How long a client whose frame was malformed has to fetch the error that says so."""


class Session:
    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_request: Callable[[Session, Request], None],
        on_closed: Callable[[Session], None],
        *,
        max_unsent_bytes: int = MAX_UNSENT_BYTES,
    ) -> None:
        """Takes over `sock`. `on_request` answers at once or later, by `reply`, `reply_packed` or `fail`."""
        sock.setblocking(False)
        self._loop = loop
        self._socket = sock
        self._fd = sock.fileno()
        self._on_request = on_request
        self._on_closed = on_closed
        self._max_unsent_bytes = max_unsent_bytes
        self._decoder = Decoder()
        self._unsent = bytearray()
        self._farewell: Timer | None = None
        self.closed = False
        loop.on_readable(self._fd, self._read)

    def reply(self, id: int, result: object) -> None:
        try:
            frame = encode_response(id, result)
        except (TypeError, ValueError, OverflowError):
            # Caught here, because a late answer is not under `_handle`: the client would wait for ever.
            _log.exception("a result that MessagePack cannot hold")
            frame = encode_error(id, INTERNAL, _BUG_TEXT)
        self._send(frame)

    def reply_packed(self, id: int, packed_result: bytes) -> None:
        """`packed_result` is one MessagePack value, from `gitwatchd.wire.rpc.pack`."""
        self._send(encode_packed_response(id, packed_result))

    def fail(self, id: int, code: int, text: str) -> None:
        """`text`: what and why, a newline, and the hint."""
        self._send(encode_error(id, code, text))

    def fail_by_bug(self, id: int) -> None:
        """The caller has logged it."""
        self.fail(id, INTERNAL, _BUG_TEXT)

    def notify(self, method: str, params: list[object]) -> None:
        """Raises ValueError, TypeError or OverflowError for what MessagePack cannot hold."""
        self._send(encode_notification(method, params))

    def close(self) -> None:
        """Unsent bytes are lost. Idempotent."""
        if self.closed:
            return
        self.closed = True
        if self._farewell is not None:
            self._farewell.cancel()
        self._loop.forget(self._fd)
        self._socket.close()
        self._unsent.clear()
        self._on_closed(self)

    def close_when_sent(self) -> None:
        """Take no more requests; close when everything is sent, or after a few seconds."""
        if self.closed or self._farewell is not None:
            return
        self._loop.forget(self._fd)
        if not self._unsent:
            self.close()
            return
        self._farewell = self._loop.call_later(_FAREWELL_S, self.close)
        self._loop.on_writable(self._fd, self._flush)

    def _read(self) -> None:
        try:
            data = self._socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            # A client that only shut down its sending half looks the same; in this protocol that is a
            # goodbye, too.
            self.close()
            return
        try:
            for message in self._decoder.feed(data):
                if type(message) is Request:
                    self._handle(message)
                    if self.closed or self._farewell is not None:
                        return
                elif type(message) is Notification:
                    _log.debug("notification %.100s ignored", message.method)
        except MalformedFrame as why:
            _log.warning("closing a connection: %s", why.message)
            self._send(encode_error(why.request_id, MALFORMED, str(why)))
            self.close_when_sent()

    def _handle(self, request: Request) -> None:
        try:
            self._on_request(self, request)
        except Exception:  # noqa: BLE001 - the seam "request" of errors.py: a bug ends this request only
            _log.exception("bug in %.100s", request.method)
            self.fail_by_bug(request.id)

    def _send(self, frame: bytes) -> None:
        if self.closed:
            return
        if self._unsent:
            if len(self._unsent) > self._max_unsent_bytes:
                _log.warning("dropping a client that does not read: %d bytes wait", len(self._unsent))
                self.close()
                return
            self._unsent += frame
            return
        # At once: in almost every case it all fits, and waiting for "writable" would cost another turn of the
        # loop.
        try:
            sent = self._socket.send(frame)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.close()
            return
        if sent < len(frame):
            self._unsent += memoryview(frame)[sent:]
            self._loop.on_writable(self._fd, self._flush)

    def _flush(self) -> None:
        try:
            sent = self._socket.send(self._unsent)
        except BlockingIOError:
            return
        except OSError:
            self.close()
            return
        del self._unsent[:sent]
        if not self._unsent:
            if self._farewell is not None:
                self.close()
            else:
                self._loop.on_writable(self._fd, None)


_BUG_TEXT = "internal error in the daemon\nits log has the traceback; `gitwatch doctor` says where that is"
