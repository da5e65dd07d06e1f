from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

import pytest

from gitwatchd.settings.model import DEFAULTS, Settings
from gitwatchd.settings.parser import MOST_BYTES, Parsed, keys, parse

HOME = b"/home/u"
COLUMNS = ("branch", "changes", "age")

WHOLE = b"""
roots = ["~/code", "~", "/srv/git/"]
ignore = ["node_modules", "~/code/old/*", "**/third/party"]
trust = ["~/code/mine/*"]
columns = ["-age", "-", "branch"]
colours.clean = "none"

[groups]
work = ["~/work", "api-*"]
"two" = []

[limits]
jobs = 2
timeout_s = 5
idle_exit_hours = 0.5

[fetch]
jobs = 1
timeout_s = 1.5

[prompt]
deadline_ms = 20
template = "{branch}"
"""


def read(content: bytes) -> Parsed:
    return parse(content, HOME, COLUMNS)


def problems(content: bytes) -> list[tuple[int, str, str]]:
    parsed = read(content)
    assert parsed.settings is None
    return [(problem.line, problem.what, problem.hint) for problem in parsed.problems]


def test_a_whole_file() -> None:
    parsed = read(WHOLE)
    settings = parsed.settings
    assert settings is not None and parsed.problems == ()
    assert settings.roots == (b"/home/u/code", b"/home/u", b"/srv/git")
    assert settings.ignore == (b"node_modules", b"/home/u/code/old/*", b"/**/third/party")
    assert settings.trust == (b"/home/u/code/mine/*",)
    assert settings.columns == ("-age", "-", "branch")
    assert settings.groups == {"work": (b"/home/u/work", b"api-*"), "two": ()}
    assert (settings.colours.clean, settings.colours.changed) == ("none", "yellow")
    assert (settings.limits.jobs, settings.limits.timeout_s, settings.limits.idle_exit_hours) == (2, 5.0, 0.5)
    assert (settings.fetch.jobs, settings.fetch.timeout_s) == (1, 1.5)
    assert (settings.prompt.deadline_ms, settings.prompt.template) == (20, "{branch}")
    assert parsed.lines is not None and parsed.lines["groups.work"] == 9 and parsed.lines["colours.clean"] == 6
    assert parsed.written is not None and parsed.written["roots"] == ["~/code", "~", "/srv/git/"]


def test_an_empty_file_is_the_defaults() -> None:
    assert read(b"").settings == DEFAULTS == Settings()


def test_the_keys_are_the_fields() -> None:
    expected = set()
    for field in fields(Settings):
        value = getattr(DEFAULTS, field.name)
        if is_dataclass(value):
            expected |= {f"{field.name}.{inner.name}" for inner in fields(value)}
        else:
            expected.add("groups.*" if field.name == "groups" else field.name)
    assert set(keys()) == expected


@pytest.mark.parametrize(
    ("content", "line", "what", "hint"),
    [
        (b'\n\ncolums = ["branch"]', 3, 'there is no key "colums"', "did you mean 'columns'?"),
        (b"[limit]\njobs = 2", 1, 'there is no key "limit"', "did you mean 'limits'?"),
        (b"[limits]\n\njob = 2", 3, 'there is no key "limits.job"', "did you mean 'limits.jobs'?"),
        (b"[prompt]\njobs = 2", 2, 'there is no key "prompt.jobs"',
         "there is: prompt.deadline_ms, prompt.template"),
        (b"colours = 3", 1, "colours: a table is wanted", "write [colours], and below it: title, clean, "),
        (b"[[fetch]]\njobs = 1", 1, "fetch: a table is wanted", "write [fetch], and below it: jobs, timeout_s"),
        (b"groups = []", 1, "groups: a table is wanted", "write [groups]"),
        (b"roots = '~/code'", 1, 'roots: a list of texts is wanted, not "~/code"', 'write ["~/code"]'),
        (b'roots = [\n  "/a",\n  7,\n]', 3, "roots: 7 is no text", ""),
        (b'roots = [\n  "code"\n]', 2, 'roots: "code" is no absolute path', "begin it with / or ~/"),
        (b'trust = ["mine"]', 1, 'trust: "mine" is no absolute path', ""),
        (b'ignore = ["a/b"]', 1, 'ignore: "a/b" is no absolute path', ""),
        (b'ignore = [""]', 1, "ignore: an empty glob matches nothing", ""),
        (b'columns = ["branch",\n"chnges"]', 2, 'columns: there is no column "chnges"', "did you mean 'changes'?"),
        (b"limits = {jobs = true}", 1, "limits.jobs: a whole number, 0 or more, is wanted, not true", ""),
        (b"limits.jobs = 1.5", 1, "limits.jobs: a whole number, 0 or more, is wanted, not 1.5", ""),
        (b"limits.jobs = -1", 1, "limits.jobs: a whole number, 0 or more, is wanted, not -1", ""),
        (b"fetch.timeout_s = 0", 1, "fetch.timeout_s: a number above 0 is wanted, not 0", ""),
        (b"limits.timeout_s = inf", 1, "limits.timeout_s: a number above 0 is wanted, not Infinity", ""),
        (b"limits.idle_exit_hours = []", 1, "limits.idle_exit_hours: a number, 0 or more, is wanted, not a list", ""),
        (b"prompt.template = {}", 1, "prompt.template: a text is wanted, not a table", ""),
        (b'colours.clean = "bold grren"', 1, 'colours.clean: there is no colour "grren"', "did you mean 'green'?"),
        (b'groups."my group" = []', 1, "groups.my group: no name for a group", "letters, digits"),
        (b"groups.all-repos = []", 1, "groups.all-repos: no name for a group", ""),
        (b"groups.a = {b = 1}", 1, "groups.a: a list of texts is wanted, not a table", ""),
        (b"roots = []\nroots = []", 2, "not TOML: cannot overwrite a value", ""),
        (b"a = open\n", 1, "not TOML: ", ""),
        (b"x = [1,\n2,\n", 3, "not TOML: ", ""),
        (b"\nroots = \xff", 2, "not UTF-8", ""),
        (b"x = " + b"[" * 5000, 0, "nested too deeply", ""),
        (b"#" * (MOST_BYTES + 1), 0, "more than 1 MB: this is no configuration", ""),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line_and_the_nearest_valid_key(
    content: bytes, line: int, what: str, hint: str
) -> None:
    found = problems(content)[0]
    assert found[0] == line
    assert found[1].startswith(what)
    assert hint in found[2]


def test_all_problems_are_told_in_order_and_nothing_is_in_force() -> None:
    found = problems(b"roots = 3\n[limits]\njobs = 'x'\n[fetch]\njob = 1\n")
    assert [line for line, _, _ in found] == [1, 3, 5]


@pytest.mark.parametrize("value", [b"1979-05-27", b"07:32:00", b"nan", b'"\\u001b[2J"', b"[[1]]", b"{a = [1]}"])
def test_any_value_anywhere_is_a_problem_and_no_crash(value: bytes) -> None:
    for key in keys():
        if key.startswith("colours") or not value.startswith(b'"'):
            name = key.replace("*", "g")
            found: list[Any] = problems(b"%s = %s" % (name.encode(), value))
            assert found[0][1].startswith(f"{name}: ") and len(found) == 1
