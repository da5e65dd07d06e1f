"""The translation against git's own matcher, reached through one anchored pattern per directory and check-ignore."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.git.wildmatch import literal_prefix_length, translate, wildmatch

PIECES = [
    b"a", b"b", b"c", b"-", b"]", b"[", b"*", b"*", b"**", b"***", b"?", b"/", b"/", b"**/", b"/**/",
    b"\\", b"\\a", b"\\*",
    b"\\/", b"[ab]", b"[!ab]", b"[^-]", b"[a-c]", b"[]-a]", b"[c-a]", b"[a-]", b"[\\]a]", b"[a\\-c]",
    b"[--a]", b"[/]",
    b"[[:alpha:]]", b"[[:digit:]-z]", b"[![:punct:]]", b"[[:nope:]]", b"[[:alpha:", b"[[:]", b"[[::]]",
    b"[[:a]", b"\xe9",
    b"[\x80-\xff]", b"[[a]", b"[!]a]", b"[a", b" ", b"[a-\\c]",
]  # fmt: skip
CLASSES = [
    b"alnum", b"alpha", b"blank", b"cntrl", b"digit", b"graph", b"lower", b"print", b"punct", b"space", b"upper",
    b"xdigit",
]  # fmt: skip
TEXT = [b"a", b"b", b"c", b"-", b"]", b"[", b"*", b"/", b"/", b"\\", b"\xe9", b"z", b"aa", b"ab", b":", b" x"]


def text(rng: random.Random) -> bytes:
    whole = b"".join(rng.choices(TEXT, k=rng.randint(1, 7)))
    return b"/".join(part for part in whole.split(b"/") if part) or b"a"


def pattern(rng: random.Random) -> bytes:
    glob = b"".join(rng.choices(PIECES, k=rng.randint(1, 6)))
    # A trailing slash or space means something else in an exclude file.
    return glob.rstrip(b"/ ") or b"*"


def matches_git(run: Callable[..., bytes], cases: list[tuple[bytes, list[bytes]]]) -> dict[tuple[bytes, bytes], bool]:
    """For each (pattern, texts): does git match a text, or one of its parent directories?

    The pattern stands behind `/?/`, so that git hands the whole of it to wildmatch; nothing has to exist on disk.
    """
    top: Path = run.path  # type: ignore[attr-defined]
    asked = []
    for number, (glob, texts) in enumerate(cases):
        (top / str(number)).mkdir()
        (top / str(number) / ".gitignore").write_bytes(b"/?/" + glob + b"\n")
        asked += [b"%d/z/%s" % (number, one) for one in texts]
    fields = run.ask(  # type: ignore[attr-defined]
        "check-ignore", "--no-index", "-v", "-n", "-z", "--stdin", stdin=b"\0".join(asked) + b"\0"
    ).stdout.split(b"\0")[:-1]
    answers = iter(zip(fields[::4], fields[3::4], strict=True))
    found = {}
    for glob, texts in cases:
        for one in texts:
            source, path = next(answers)
            assert path.endswith(b"/z/" + one)
            found[glob, one] = bool(source)
    return found


def matches_here(glob: bytes, path: bytes) -> bool:
    parts = path.split(b"/")
    return any(wildmatch(glob, b"/".join(parts[:n])) for n in range(1, len(parts) + 1))


@pytest.mark.parametrize("seed", range(3))
def test_generated_globs_agree_with_git(repository: Callable[..., Callable[..., bytes]], seed: int) -> None:
    rng = random.Random(seed)
    cases = [(pattern(rng), [text(rng) for _ in range(12)]) for _ in range(250)]
    expected = matches_git(repository(), cases)
    assert {case: matches_here(*case) for case in expected} == expected
    assert 50 < sum(expected.values()) < len(expected) - 50


def test_every_class_holds_the_bytes_git_says(repository: Callable[..., Callable[..., bytes]]) -> None:
    every_byte = [bytes([byte]) for byte in range(1, 256) if byte not in b"/."]
    globs = [b"[[:%s:]]" % name for name in CLASSES] + [b"[!-~]", b"[!!-~]", b"?"]
    expected = matches_git(repository(), [(glob, every_byte) for glob in globs])
    assert {case: matches_here(*case) for case in expected} == expected


def test_double_star_spans_segments_only_as_a_whole_segment() -> None:
    assert wildmatch(b"a/**/b", b"a/b")
    assert wildmatch(b"a/**/b", b"a/x/y/b")
    assert wildmatch(b"**/b", b"x/b")
    assert not wildmatch(b"a**/b", b"a/x/b")
    assert not wildmatch(b"a/**b", b"a/x/b")


@pytest.mark.parametrize(
    ("glob", "path", "expected"),
    [
        (b"FOO*", b"foobar", True),
        (b"[A-C]x", b"bX", True),
        (b"[[:upper:]]", b"q", True),
        (b"[A]", b"a", False),
        (b"\\A", b"a", False),
    ],
)
def test_without_case_as_git_lowers(glob: bytes, path: bytes, expected: bool) -> None:
    assert wildmatch(glob, path, casefold=True) is expected


def test_what_cannot_match_has_no_expression() -> None:
    for malformed in (b"[a", b"a\\", b"[[:nope:]]", b"[\\"):
        assert translate(malformed) is None


def test_literal_prefix_ends_before_the_first_special_byte() -> None:
    assert [literal_prefix_length(p) for p in (b"abc", b"ab*", b"a\\b", b"[a]", b"")] == [3, 2, 1, 0, 0]
