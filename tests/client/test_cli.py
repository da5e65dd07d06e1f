from __future__ import annotations

import os
from pathlib import Path

import pytest
from gitwatch.cli import absolute, parse

from gitwatchd.errors import UserError


def test_options_and_paths_mix_and_double_dash_ends_options() -> None:
    invocation = parse(["--state-dir", "/s", "status", "a", "--jobs=3", "--strict", "--timeout", "1.5", "--", "--json"])
    assert invocation.command == "status"
    assert invocation.operands == ["a", "--json"]
    assert (invocation.jobs, invocation.timeout_s, invocation.state_dir) == (3, 1.5, b"/s")
    assert invocation.has("--strict") and not invocation.has("--json")


def test_a_group_takes_its_second_word() -> None:
    invocation = parse(["roots", "add", "x", "--include-ignored"])
    assert (invocation.command, invocation.operands) == ("roots add", ["x"])


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        ([], "which command?", "gitwatch status"),
        (["stauts"], "no command 'stauts'", "did you mean 'status'?"),
        (["roots"], "`gitwatch roots` needs one of: add, rm, list", "help roots"),
        (["roots", "ad"], "no command 'roots ad'", "did you mean 'add'?"),
        (["status", "--jsno"], "no option '--jsno' of `gitwatch status`", "did you mean '--json'?"),
        (["status", "--bogus"], "no option '--bogus' of `gitwatch status`", "see `gitwatch help status`"),
        (["daemon", "bogus"], "no command 'daemon bogus'", "one of: logs, restart, start, status, stop"),
        (["bogus"], "no command 'bogus'", "see `gitwatch help`"),
        (["status", "--jobs"], "--jobs needs a value", "see `gitwatch help status`"),
        (["--state-dir"], "--state-dir needs a value", "see `gitwatch help`"),
        (["status", "--jobs", "-1"], "--jobs needs a whole number, 0 or more, not '-1'", ""),
        (["status", "--timeout=nan"], "--timeout needs a number of seconds above 0, not 'nan'", ""),
        (["status", "--timeout=0"], "--timeout needs a number of seconds above 0, not '0'", ""),
        (["status", "--strict=1"], "--strict takes no value", ""),
        (["trust"], "`gitwatch trust` needs a PATH", "help trust"),
        (["trust", "a", "b"], "`gitwatch trust` takes no 'b'", "help trust"),
        (["status", ""], "a PATH is empty", "."),
        (["--json"], "no option '--json'", ""),
    ],
)
def test_bad_arguments_say_what_and_the_nearest(arguments: list[str], message: str, hint: str) -> None:
    with pytest.raises(UserError) as caught:
        parse(arguments)
    assert caught.value.message == message
    assert hint in caught.value.hint


def test_help_needs_no_operands() -> None:
    assert parse(["trust", "--help"]).command == "trust"


def test_a_path_through_a_symlink_is_resolved_before_its_dots(tmp_path: Path) -> None:
    (tmp_path / "real" / "below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("real/below")
    assert absolute(str(tmp_path / "link" / "..")) == os.fsencode(tmp_path / "real")
