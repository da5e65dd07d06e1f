from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitwatchd.render.text import clip_end, clip_start, shown, width_of


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"plain", "plain"),
        ("grün 漢字".encode(), "grün 漢字"),
        (b"\xff\xfe", "\\xff\\xfe"),
        (b"a\x1b[31mred", "a\\x1b[31mred"),
        (b"line\nbreak\ttab\x7f", "line\\x0abreak\\x09tab\\x7f"),
        ("\x9b31m", "\\x9b31m"),
        ("evil\u202etxt.exe", "evil\\u202etxt.exe"),
        ("\u2028", "\\u2028"),
        ("\udcff", "\\udcff"),
        ("👨\u200d👩", "👨\u200d👩"),
    ],
)
def test_nothing_steers_the_terminal(raw: bytes | str, text: str) -> None:
    assert shown(raw) == text


@given(st.binary())
def test_any_bytes_become_harmless_text(raw: bytes) -> None:
    text = shown(raw)
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    text.encode()


@pytest.mark.parametrize(
    ("text", "width"),
    [
        ("abc", 3), ("漢字", 4), ("e\u0301", 1), ("\uff46", 2), ("한", 2), ("\u1112\u1161\u11ab", 2), ("…↑", 2),
        ("🎉", 2), ("", 0),
    ],
)  # fmt: skip
def test_width(text: str, width: int) -> None:
    assert width_of(text) == width


@pytest.mark.parametrize(
    ("text", "width", "end", "start"),
    [
        ("abcdef", 6, "abcdef", "abcdef"),
        ("abcdef", 4, "abc…", "…def"),
        ("漢字漢字", 5, "漢字…", "…漢字"),
        ("漢字漢字", 4, "漢…", "…字"),
        ("abcdef", 1, "…", "…"),
        ("abcdef", 0, "", ""),
        ("aae\u0301e\u0301", 3, "aa…", "…e\u0301e\u0301"),
    ],
)
def test_clip(text: str, width: int, end: str, start: str) -> None:
    assert (clip_end(text, width), clip_start(text, width)) == (end, start)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])), st.integers(0, 20))
def test_clipped_text_never_exceeds_its_width(text: str, width: int) -> None:
    text = shown(text)
    assert width_of(clip_end(text, width)) <= width
    assert width_of(clip_start(text, width)) <= width
