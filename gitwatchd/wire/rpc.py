"""MessagePack-RPC without sockets: bytes in, messages out, and the other way.

Owns: the frames' form and limits, the error codes, the protocol's version; the wire's one doorway to msgpack.
Runs: anywhere; a `Decoder` belongs to one connection and one thread. The client imports it, so it imports
neither dataclasses nor typing.
Invariant: what comes out does not depend on how the stream was cut, and the work is linear in its bytes.
Never raises anything but PeerError for what a peer sent.

    request [0, id, method, params]    response [1, id, error, result]    notification [2, method, params]
"""

from __future__ import annotations

import msgpack

from gitwatchd.errors import GitwatchError, PeerError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

PROTOCOL = (1, 0)

FAILED = 1
USAGE = 2
REFUSED = 3
MALFORMED = -32700
UNKNOWN_METHOD = -32601
INTERNAL = -32603

MAX_REQUEST_BYTES = 1 << 20
"""Security limit: what one connection can make the daemon hold. 1 MB is some 10,000 paths in one request."""

MAX_RESPONSE_BYTES = 1 << 29
"""What a client takes from its own user's daemon: a huge worktree's untracked files run to tens of MB."""

MAX_DEPTH = 16
"""Security limit: whoever walks a message recursively must not run out of stack. The protocol needs 6."""

_MAX_ELEMENTS = 1 << 17
"""Security limit: msgpack allocates a list when it has read the length, so five bytes could ask for 32 GB."""

_BUFFER_BYTES = 1 << 14

_HEAD_BYTES = 16
"""Enough of a frame to find its id in: array header, type and a 64-bit integer are at most 15 bytes."""


class RemoteError(GitwatchError):
    """The daemon's answer to a request is an error: its code, message and hint."""

    def __init__(self, code: int, text: str) -> None:
        message, _, hint = text.partition("\n")
        super().__init__(message, hint)
        self.code = code


class MalformedFrame(PeerError):
    """The stream cannot be read on. `request_id` is the id of the frame, where that much could be read."""

    def __init__(self, reason: str, request_id: int | None) -> None:
        super().__init__(f"malformed frame: {reason}", "the connection is closed")
        self.request_id = request_id


class Request:
    __slots__ = ("id", "method", "params")

    def __init__(self, id: int, method: str, params: list[Any]) -> None:
        self.id = id
        self.method = method
        self.params = params


class Response:
    """`error` is None or (code, text). `id` is None where the peer could not read it."""

    __slots__ = ("error", "id", "result")

    def __init__(self, id: int | None, error: tuple[int, str] | None, result: Any) -> None:
        self.id = id
        self.error = error
        self.result = result


class Notification:
    __slots__ = ("method", "params")

    def __init__(self, method: str, params: list[Any]) -> None:
        self.method = method
        self.params = params


if TYPE_CHECKING:
    Message = Request | Response | Notification


def encode_request(id: int, method: str, params: list[Any]) -> bytes:
    return pack([0, id, method, params])


def encode_response(id: int, result: object) -> bytes:
    return pack([1, id, None, result])


def encode_packed_response(id: int, packed_result: bytes) -> bytes:
    """A response whose result is msgpack already: the hot path, where the engine keeps reports packed."""
    if id < 128:
        return b"\x94\x01%c\xc0%b" % (id, packed_result)
    return b"\x94\x01%b\xc0%b" % (pack(id), packed_result)


def encode_error(id: int | None, code: int, text: str) -> bytes:
    """`text` is `what and why`, a newline, and the hint."""
    return pack([1, id, [code, text], None])


def encode_notification(method: str, params: list[Any]) -> bytes:
    return pack([2, method, params])


def pack(value: object) -> bytes:
    """MessagePack of `value`. Raises ValueError, TypeError or OverflowError for what it cannot hold.

    Lone surrogates in text (a path in a sentence) become `?`; where a path itself is meant it is bytes.
    """
    packed: bytes = msgpack.packb(value, unicode_errors="replace")
    return packed


class Decoder:
    """One direction of one connection. After a PeerError it is spent: every later `feed` raises it again."""

    __slots__ = ("_fed", "_frame_start", "_head", "_max_depth", "_max_frame_bytes", "_spent", "_unpacker")

    def __init__(self, max_frame_bytes: int = MAX_REQUEST_BYTES, max_depth: int = MAX_DEPTH) -> None:
        self._max_frame_bytes = max_frame_bytes
        self._max_depth = max_depth
        self._unpacker = msgpack.Unpacker(
            # Frames are counted below; this only has to have room for one and what was read along with it.
            max_buffer_size=2 * max_frame_bytes + (1 << 20),
            # What it starts with; by default 1 MB, which each idle connection would come to fill.
            read_size=_BUFFER_BYTES,
            max_array_len=min(max_frame_bytes, _MAX_ELEMENTS),
            max_map_len=min(max_frame_bytes, _MAX_ELEMENTS),
            ext_hook=_refuse_extension,
        )
        self._fed = 0
        self._frame_start = 0
        self._head = b""
        self._spent: MalformedFrame | None = None

    def feed(self, data: bytes) -> Iterator[Message]:
        """Yield the messages that `data` completes, in order; after them raises MalformedFrame.

        A generator, to be run to its end: nothing is taken in before the first `next`.
        """
        if self._spent is not None:
            raise self._spent
        unpacker = self._unpacker
        chunk_start = self._fed
        self._fed += len(data)
        surely_flat = self._frame_start == chunk_start and _is_surely_flat(data, self._max_depth)
        try:
            unpacker.feed(data)
            for frame in unpacker:
                end = unpacker.tell()
                if end - self._frame_start > self._max_frame_bytes:
                    raise ValueError(f"longer than {self._max_frame_bytes} bytes")  # noqa: TRY301 - made one below
                message = self._message(frame, surely_flat)
                self._frame_start = end
                self._head = b""
                yield message
            if self._fed - self._frame_start > self._max_frame_bytes:
                raise ValueError(f"longer than {self._max_frame_bytes} bytes")  # noqa: TRY301 - made one below
        except (ValueError, msgpack.UnpackException) as why:
            self._keep_head(data, chunk_start)
            self._spent = MalformedFrame(str(why) or "not MessagePack", _find_id(self._head))
            raise self._spent from None
        if self._fed > self._frame_start:
            self._keep_head(data, chunk_start)

    def _keep_head(self, data: bytes, chunk_start: int) -> None:
        missing = _HEAD_BYTES - len(self._head)
        if missing:
            begin = max(self._frame_start - chunk_start, 0)
            self._head += data[begin : begin + missing]

    def _message(self, frame: object, surely_flat: bool) -> Message:
        if type(frame) is not list or not frame or type(frame[0]) is not int:
            raise ValueError("not an array that begins with a message type")
        if not surely_flat:
            _check_depth(frame, self._max_depth)
        kind, count = frame[0], len(frame)
        if kind == 0 and count == 4:
            _, id, method, params = frame
            if _is_id(id) and type(method) is str and type(params) is list:
                return Request(id, method, params)
        elif kind == 1 and count == 4:
            _, id, error, result = frame
            if id is None or _is_id(id):
                return Response(id, _parse_error(error), result)
        elif kind == 2 and count == 3:
            _, method, params = frame
            if type(method) is str and type(params) is list:
                return Notification(method, params)
        raise ValueError("not a request, response or notification of MessagePack-RPC")


def _is_id(value: object) -> bool:
    return type(value) is int and value >= 0  # `type`, because True and 1.0 equal 1


def _parse_error(error: object) -> tuple[int, str] | None:
    if error is None:
        return None
    if type(error) is list and len(error) >= 2 and type(error[0]) is int and type(error[1]) is str:
        return error[0], error[1]
    raise ValueError("the error of a response is not [code, message]")


def _refuse_extension(code: int, data: bytes) -> object:
    raise ValueError(f"extension type {code}, which this protocol does not use")


def _is_surely_flat(whole_frames: bytes, max_depth: int) -> bool:
    """Whether too few bytes could begin a container for `_check_depth` to object: 0.4 us in place of 5."""
    candidates = whole_frames.translate(None, _SCALAR_BYTES)
    return len(candidates) <= max_depth and not candidates.translate(None, _CONTAINER_BYTES)


_CONTAINER_BYTES = bytes((*range(0x80, 0xA0), 0xDC, 0xDD, 0xDE, 0xDF))
_EXTENSION_BYTES = bytes((0xC7, 0xC8, 0xC9, 0xD4, 0xD5, 0xD6, 0xD7, 0xD8))
_SCALAR_BYTES = bytes(set(range(256)) - set(_CONTAINER_BYTES) - set(_EXTENSION_BYTES))


def _check_depth(frame: list[Any], max_depth: int) -> None:
    """Raises ValueError when containers nest deeper than `max_depth`, or for a timestamp (no hook sees that
    extension).

    By levels and not by recursion: msgpack itself takes 1,024, more than Python's own stack.
    """
    level: list[Any] = [frame]
    for _ in range(max_depth):
        below = []
        for container in level:
            values = container if type(container) is list else container.values()
            below += [value for value in values if type(value) in _NOT_SCALAR]
        if not below:
            return
        level = below
        if msgpack.Timestamp in map(type, level):
            _refuse_extension(-1, b"")
    raise ValueError(f"nested deeper than {max_depth}")


_NOT_SCALAR = frozenset((list, dict, msgpack.Timestamp))


def _find_id(head: bytes) -> int | None:
    """The id of a request of which only the first bytes are sound."""
    unpacker = msgpack.Unpacker()
    unpacker.feed(head)
    try:
        unpacker.read_array_header()
        kind, id = unpacker.unpack(), unpacker.unpack()
    except (ValueError, msgpack.UnpackException):
        return None
    return id if type(kind) is int and kind == 0 and _is_id(id) else None
