from __future__ import annotations

import time
from typing import Any

import pytest
from gitwatch.expression import LONGEST, Expression, deadline

from gitwatchd.errors import UserError

NAMES: dict[str, Any] = {
    "path": "/home/u/api", "branch": "feature/x", "ahead": 2, "dirty": True, "summary": None,
    "counts": {"staged": 1, "unstaged": 0}, "upstream": None,
}  # fmt: skip


def value(text: str) -> Any:
    return Expression(text, "--where", frozenset(NAMES))(NAMES)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('dirty and branch != "main"', True),
        ('branch.rx("^feature/")', True),
        ('branch.rx("^FEATURE/")', False),
        ('branch.rxi("^FEATURE/")', True),
        ('rx(branch, "x$") and not rxi(path, "WEB")', True),
        (r'path.rx("\w+/\d?")', True),
        ("counts.staged > 0", True),
        ('branch in ("main", "feature/x")', True),
        ('"api" in path', True),
        ("1 < ahead <= 2", True),
        ("ahead * 3 - 1 if dirty else 0", 5),
        ('f"{branch:>12}|{ahead}"', "   feature/x|2"),
        ("path[-3:].upper()", "API"),
        ('path.split("/")[2]', "u"),
        ("upstream.gone", None),
        ("upstream.ahead > 0 or upstream.ahead < 1", False),
        ('summary.rx("x") or summary.startswith("y")', False),
        ('"x" in summary', False),
        ('"x" not in summary', True),
        ("summary is None and summary == None", True),
        ('f"{summary}"', ""),
        ("len(summary)", 0),
        ("  dirty  ", True),
    ],
)
def test_values(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("branchh", "no name 'branchh'; did you mean 'branch'?"),
        ("counts.stagedd", "no field|nothing has a field 'stagedd'"),
        ('branch.startwith("x")', "did you mean 'startswith'?"),
        ("lenn(path)", "did you mean 'len'?"),
        ("dirty and", "invalid syntax"),
        ("", "invalid syntax"),
        ('branch = "main"', "did you mean '=='"),
        ("dirty && ahead", "did you mean 'and'"),
        ("dirty || ahead", "did you mean 'or'"),
        ("not é and !dirty", "did you mean 'not'"),
        ('branch.rx("(")', "no regular expression: missing"),
        ("branch < 1", "not supported between"),
        ("-branch", "a string is no number"),
        ("ahead / 0", "division by zero"),
        ("branch[99]", "out of range"),
        ("int(branch)", "invalid literal"),
        ("branch.rx", "write rx"),
        ("'%s' % branch", "a string is no number"),
        # What could be reached from an object, if there were a way.
        ("path.__class__", "nothing has a field '__class__'"),
        ("().__class__.__base__", "nothing has a field"),
        ('path.format("x")', "no method 'format'"),
        ("rx.__globals__", "no name 'rx'"),
        ('"{0.__class__}".format_map(1)', "no method"),
        ("(lambda: 1)()", "more than|no method|lambda"),
        ("[p for p in path]", "more than an expression"),
        ("__import__('os')", "no function '__import__'"),
        ("open('/etc/passwd')", "no function 'open'"),
        ("(x := 1)", "more than an expression"),
        ("rx(*path)", "more than an expression"),
        ('f"{path!r}"', "more than an expression"),
        # What would take all memory or time.
        ("9 ** 9 ** 9", "grows too large"),
        ("10 ** 999999", "grows too large"),
        ("'a' * 10 ** 9", "grows too large"),
        ("10 ** 9 * 'a'", "grows too large"),
        ("('a' * 99999).replace('a', 'b' * 99999)", "grows too large"),
        ('f"{ahead:>99999999}"', "three digits"),
        ("'a' * 99999 + 'a' * 99999", "grows too large"),
        ("1 << 99999999", "more than an expression"),
        ("str(10 ** 20000)", "4300 digits"),
        ("(" * 300 + "1" + ")" * 300, "nested|parenthes"),
        ("not " * 990 + "dirty", "nested|parenthes|complex"),
        ("1" * (LONGEST + 1), "characters"),
        ("1\0", "null|NUL"),
    ],
)
def test_errors_say_what_and_touch_nothing(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why) as caught:
        value(text)
    assert "\n" not in caught.value.message and caught.value.message.startswith("--where")


@pytest.mark.parametrize(
    "text",
    [
        '(branch + "a" * 60).rx("(a|a)*b")',
        '("a" * 64 + "b").rx("(a+)+$")',
        '("a" * 9999).rx(".*.*.*.*.*x")',
        'rxi("a" * 30, "' + "a?" * 30 + "a" * 30 + '")',
    ],
)
def test_a_runaway_regular_expression_ends_at_the_deadline(text: str) -> None:
    started = time.monotonic()
    with pytest.raises(UserError, match=r"--where was not evaluated within 0\.2 s"), deadline(0.2, "--where"):
        value(text)
    assert time.monotonic() - started < 10


def test_names_are_those_mentioned() -> None:
    assert Expression("dirty and counts.staged > len(path)", "-", frozenset(NAMES)).names == {"dirty", "counts", "path"}
