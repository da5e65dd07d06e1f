"""Framing: round trip, split at every byte, limits, garbage."""

from __future__ import annotations

import struct
import time
from itertools import pairwise
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitwatchd.errors import PeerError
from gitwatchd.wire.rpc import (
    Decoder,
    MalformedFrame,
    Notification,
    RemoteError,
    Request,
    Response,
    encode_error,
    encode_notification,
    encode_packed_response,
    encode_request,
    encode_response,
    pack,
)

Seen = tuple[object, ...]


def seen(message: Request | Response | Notification) -> Seen:
    return (type(message), *(getattr(message, name) for name in type(message).__slots__))


def decode(chunks: list[bytes], **limits: int) -> tuple[list[Seen], MalformedFrame | None]:
    """What a stream cut like this gives: the messages, and how it ended."""
    decoder, messages = Decoder(**limits), []
    try:
        for chunk in chunks:
            for message in decoder.feed(chunk):
                messages.append(seen(message))  # noqa: PERF401 - what came before an error counts
    except MalformedFrame as why:
        return messages, why
    return messages, None


def malformed(raw: bytes, **limits: int) -> MalformedFrame:
    messages, why = decode([raw], **limits)
    assert messages == []
    assert why is not None, "accepted"
    return why


def test_round_trip() -> None:
    raw = b"".join(
        [
            encode_request(5, "status", [[b"/\xff", "/ö"], {"wait_s": 1.5, "fields": None}]),
            encode_response(5, {"repos": []}),
            encode_error(5, 2, "bad\nhint"),
            encode_error(None, -32700, "malformed"),
            encode_notification("progress", [{"done": 1}]),
        ]
    )
    assert decode([raw]) == ([
        (Request, 5, "status", [[b"/\xff", "/ö"], {"wait_s": 1.5, "fields": None}]),
        (Response, None, 5, {"repos": []}),
        (Response, (2, "bad\nhint"), 5, None),
        (Response, (-32700, "malformed"), None, None),
        (Notification, "progress", [{"done": 1}]),
    ], None)  # fmt: skip


@pytest.mark.parametrize("id", [0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1, 2**32, 2**64 - 1])
def test_a_packed_result_is_spliced_into_the_same_bytes(id: int) -> None:
    result = {"repos": [1, "x", b"\xff"]}
    assert encode_packed_response(id, pack(result)) == encode_response(id, result)


def test_split_at_every_byte_and_one_byte_at_a_time() -> None:
    raw = (
        encode_request(300, "entries", ["/a" * 40, {"z": True}])
        + encode_notification("x", [])
        + encode_response(7, [1.5, None, b"\0" * 300])
    )
    whole = decode([raw])
    assert len(whole[0]) == 3
    assert decode([raw[i : i + 1] for i in range(len(raw))]) == whole
    for cut in range(len(raw) + 1):
        assert decode([raw[:cut], raw[cut:]]) == whole


def test_what_came_before_garbage_is_delivered() -> None:
    messages, why = decode([encode_request(1, "hello", []) + b"GET / HTTP/1.1\r\n"])
    assert messages == [(Request, 1, "hello", [])]
    assert why is not None and why.request_id is None


def test_a_spent_decoder_stays_spent() -> None:
    decoder = Decoder()
    for raw in (pack([3, 1]), encode_request(1, "hello", [])):
        with pytest.raises(PeerError):
            list(decoder.feed(raw))


EXTENSION = msgpack.ExtType(5, b"x")


@pytest.mark.parametrize(
    ("raw", "id"),
    [
        (b"\xc1", None),
        (b"\x01", None),
        (b"\x90", None),
        (b"\x80", None),
        (pack("text"), None),
        (pack([0, 9, "status"]), 9),  # wrong arity
        (pack([0, 9, "status", [], 1]), 9),
        (pack([2, "x"]), None),
        (pack([1, 9, None]), None),
        (pack([3, 9, "status", []]), None),  # unknown type
        (pack([False, 9, "status", []]), None),
        (pack([0.0, 9, "status", []]), None),
        (pack([0, -1, "status", []]), None),  # ids
        (pack([0, float("nan"), "status", []]), None),
        (pack([0, True, "status", []]), None),
        (pack([0, None, "status", []]), None),
        (pack([0, "9", "status", []]), None),
        (pack([1, -9, None, None]), None),
        (pack([0, 9, b"status", []]), 9),  # method and params
        (pack([0, 9, 5, []]), 9),
        (pack([0, 9, "status", {}]), 9),
        (pack([0, 9, "status", None]), 9),
        (pack([1, 9, "text", None]), None),  # errors that are not [code, message]
        (pack([1, 9, [1], None]), None),
        (pack([1, 9, ["x", "y"], None]), None),
        (b"\x94\x00\x09\xa1\xff\x90", 9),  # a str that is not UTF-8: raw bytes belong into bin
        (b"\x94\x00\xcd\x01\x00\xa1a\x91\xa2\xc3\x28", 256),
        (pack([0, 9, "status", [EXTENSION]]), 9),
        (pack([0, 9, "status", [{"a": [EXTENSION]}]]), 9),
        (pack([0, EXTENSION, "status", []]), None),
        (pack([0, 9, "status", [msgpack.Timestamp(1, 2)]]), 9),
        (pack([0, 9, "status", [{"a": msgpack.Timestamp(1)}]]), 9),
        (pack([0, 9, "status", [{1: 2}]]), 9),  # keys are str or bin
        (b"\x94\x00\x09\xa1x\x91\x81\x90\x01", 9),
    ],
)
def test_a_malformed_frame_names_its_id_where_that_can_be_read(raw: bytes, id: int | None) -> None:
    assert malformed(raw).request_id == id
    _, dribbled = decode([raw[i : i + 1] for i in range(len(raw))])
    assert dribbled is not None and dribbled.request_id == id


def nested(depth: int) -> bytes:
    """A request whose containers nest `depth` deep, the frame itself and its params counted."""
    return b"\x94\x00\x09\xa1x" + b"\x91" * (depth - 1) + b"\xc0"


def test_nesting_is_limited() -> None:
    assert decode([nested(16)])[1] is None
    assert "nested" in malformed(nested(17)).message
    for depth in (1000, 1_100, 100_000):  # msgpack's own stack ends at 1,024
        assert malformed(nested(depth)).request_id == 9
    assert decode([nested(16) + nested(17)])[0] == decode([nested(16)])[0]
    maps = b"\x94\x00\x09\xa1x\x91" + b"\x81\xa1k" * 15 + b"\xc0"
    assert "nested" in malformed(maps).message


def test_a_frame_is_limited_at_the_first_byte_too_many() -> None:
    fitting = encode_request(9, "x", ["a" * 1000])
    limit = len(fitting)
    assert decode([fitting * 3], max_frame_bytes=limit)[1] is None
    for raw in (encode_request(9, "x", ["a" * 1001]), encode_request(9, "x", ["a"] * 1000)):
        assert malformed(raw, max_frame_bytes=limit).request_id == 9
        messages, why = decode([fitting, raw[: limit // 2], raw[limit // 2 : limit + 1]], max_frame_bytes=limit)
        assert len(messages) == 1, "the limit is on each frame, not on the stream"
        assert why is not None and why.request_id == 9


@pytest.mark.parametrize("header", [b"\xdd", b"\xdf"])
def test_a_length_that_cannot_be_is_refused_before_memory_is_taken(header: bytes) -> None:
    raw = b"\x94\x00\x09\xa1x\x91" + header + struct.pack(">I", 2**32 - 1)
    assert malformed(raw).request_id == 9


def test_a_long_string_is_refused_when_more_came_than_a_frame_may_have() -> None:
    raw = b"\x94\x00\x09\xa1x\x91\xdb" + struct.pack(">I", 2**32 - 1)
    assert decode([raw, b"a" * 100])[1] is None
    _, why = decode([raw, *[b"a" * 16384] * 64])
    assert why is not None and why.request_id == 9


def test_a_dribbling_stream_costs_linear_time() -> None:
    def dribble_s(size: int) -> float:
        raw = encode_request(1, "x", [["a" * 7] * (size // 16), "b" * (size // 2)])
        started = time.process_time()
        messages, why = decode([raw[i : i + 1] for i in range(len(raw))])
        assert len(messages) == 1 and why is None
        return time.process_time() - started

    small, large = min(dribble_s(20_000) for _ in range(5)), min(dribble_s(200_000) for _ in range(2))
    assert large < 30 * small, (small, large)  # quadratic: 100 times


@given(st.binary(max_size=200), st.lists(st.integers(0, 200)))
@settings(deadline=None)
def test_garbage_ends_in_a_peer_error_or_nothing_however_it_is_cut(raw: bytes, cuts: list[int]) -> None:
    assert_cut_does_not_matter(raw, cuts)


frames = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)
almost_frames = st.one_of(
    st.tuples(st.sampled_from([0, 1]), st.integers(-1, 300), st.just("status") | frames, frames),
    st.tuples(st.just(2), st.just("x"), frames),
    frames,
)


@given(st.lists(almost_frames, max_size=4), st.binary(max_size=3), st.lists(st.integers(0, 300)))
@settings(deadline=None)
def test_almost_frames_and_garbage_however_they_are_cut(values: list[Any], tail: bytes, cuts: list[int]) -> None:
    assert_cut_does_not_matter(b"".join(map(pack, values)) + tail, cuts)


def assert_cut_does_not_matter(raw: bytes, cuts: list[int]) -> None:
    def outcome(chunks: list[bytes]) -> tuple[str, int | str | None]:
        messages, why = decode(chunks)
        return repr(messages), "fine" if why is None else why.request_id  # repr: NaN is not equal to itself

    ends = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})
    chunks = [raw[begin:end] for begin, end in pairwise(ends)]
    assert outcome(chunks) == outcome([raw])


def test_a_remote_error_has_its_hint_apart() -> None:
    why = RemoteError(2, "no such view\nuse status")
    assert (why.code, why.message, why.hint) == (2, "no such view", "use status")


def test_text_with_undecodable_bytes_can_be_sent() -> None:
    assert decode([encode_error(1, 1, "no \udcff")])[0] == [(Response, (1, "no ?"), 1, None)]
    assert decode([encode_response(1, {"what": "no \udcff"})])[0] == [(Response, None, 1, {"what": "no ?"})]
