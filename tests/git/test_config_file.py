"""The parser against `git config --list --file`, values against `git config --type`."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.git.config_file import (
    Config,
    ConfigDamaged,
    find_boolean,
    find_integer,
    parse_config,
    read_config_file,
)

SECTIONS = [
    b"[core]", b"[Core]", b'[remote "Or.igin"]', b'[remote "a\\"b\\\\c"]', b'[a  "x y"]', b"[a.B]",
    b"[a.B.c]", b'[a "]"]',
    b'[A-1 ""]', b'[filter\t"\xff"]', b'[a "b#;c"]',
]  # fmt: skip
DAMAGED_SECTIONS = [b"[a b]", b"[a", b'[a "b]', b'[a "b" ]', b"[a_b]", b'[a"b"]', b"[a ]", b'[a "x\\']
NAMES = [b"name", b"Name", b"a-b", b"x1", b"url"]
VALUES = [
    b"", b"true", b"a b", b"a  b", b' "a b" ', b'"a # b"', b"a # b", b"a;b", b"a\\nb", b"a\\tb",
    b"a\\\\b", b'a\\"b',
    b"a \\\n  b", b'"a\\\n b"', b"\\\n", b"a = b", b"[x]", b"\xff\xe9", b'""', b' "" x', b'x "" ',
    b"x \t", b'"x" y',
    b'"tab\there"', b"x\r", b"~/x", b"a\\b", b"  lead",
]  # fmt: skip
DAMAGED_VALUES = [b'"open', b"a\\qb", b'a "b\n"', b"\\"]
NOISE = [b"", b"# c", b"; c = d", b"  ", b"\t# [x]"]


def config_text(rng: random.Random, damage: float) -> bytes:
    end = rng.choice([b"\n", b"\n", b"\r\n"])
    lines = [rng.choice(SECTIONS)]
    for _ in range(rng.randint(0, 12)):
        roll = rng.random()
        if roll < damage:
            lines.append(
                rng.choice([rng.choice(DAMAGED_SECTIONS), b"k = " + rng.choice(DAMAGED_VALUES), b"1x = y", b"x y"])
            )
        elif roll < 0.2:
            lines.append(rng.choice(SECTIONS) + rng.choice([b"", b" ", b" # c", b"inline = yes"]))
        elif roll < 0.35:
            lines.append(rng.choice(NOISE))
        elif roll < 0.45:
            lines.append(rng.choice([b"", b"\t"]) + rng.choice(NAMES) + rng.choice([b"", b" "]))
        else:
            lines.append(b"\t" + rng.choice(NAMES) + rng.choice([b"=", b" = ", b"\t="]) + rng.choice(VALUES))
    return rng.choice([b"", b"", b"\xef\xbb\xbf"]) + end.join(lines) + rng.choice([end, b"", b"\\"])


def git_entries(run: Callable[..., bytes], raw: bytes) -> list[tuple[bytes, bytes | None]] | None:
    """What git reads from such a file; None if it refuses."""
    path: Path = run.path / "file"  # type: ignore[attr-defined]
    path.write_bytes(raw)
    answer = run.ask("config", "--list", "--file", str(path), "-z")  # type: ignore[attr-defined]
    if answer.exit:
        return None
    entries = []
    for item in answer.stdout.split(b"\0")[:-1]:
        key, newline, value = item.partition(b"\n")
        entries.append((key, value if newline else None))
    return entries


def entries_here(raw: bytes) -> list[tuple[bytes, bytes | None]] | None:
    try:
        return list(parse_config(raw).entries)
    except ConfigDamaged:
        return None


@pytest.mark.parametrize("seed", range(4))
def test_generated_files_agree_with_git(git: Callable[..., Callable[..., bytes]], tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    run = git(tmp_path)
    refused = 0
    for _ in range(60):
        raw = config_text(rng, damage=0.03)
        expected = git_entries(run, raw)
        assert entries_here(raw) == expected, raw
        refused += expected is None
    assert 0 < refused < 40


@pytest.mark.parametrize(
    "raw", [b"", b"\n", b"[]\nx = 1\n", b"[.a]\nx\n", b"x = 1\n", b"[a]x=1 ; c\n", b"[a]\nx=1\\", b"[a]\r"]
)
def test_odd_files_agree_with_git(git: Callable[..., Callable[..., bytes]], tmp_path: Path, raw: bytes) -> None:
    assert entries_here(raw) == git_entries(git(tmp_path), raw)


def test_a_damaged_line_is_named() -> None:
    with pytest.raises(ConfigDamaged, match="bad config line 3 in file /x/config"):
        parse_config(b"[a]\nb = c\nd ? e\n", b"/x/config")


def test_what_depends_on_the_version_of_git_is_said() -> None:
    assert parse_config(b"[a]\nb = c d\n").needs_git == ""
    assert parse_config(b'[a]\nb = "c\td" \t# e\n').needs_git == ""
    assert "tab" in parse_config(b"[a]\nb = c\td\n").needs_git
    assert "NUL" in parse_config(b"[a]\nb = c\0d\n").needs_git


NUMBERS = [
    b"", b"true", b"YES", b"on", b"off", b"no", b"False", b"0", b"1", b"-1", b"2", b"0x10", b"010",
    b"08", b"1k", b"1K",
    b"2g", b"1m", b"3G", b"k", b"0x", b" 1", b"1 ", b"+1", b"t", b"yes ", b"2147483648", b"-2g", b"--1",
    b"1kb", b"1_0",
]  # fmt: skip


@pytest.mark.parametrize("value", NUMBERS)
def test_booleans_and_numbers_as_git_reads_them(
    git: Callable[..., Callable[..., bytes]], tmp_path: Path, value: bytes
) -> None:
    run = git(tmp_path)
    (tmp_path / "file").write_bytes(b'[a]\nb = "' + value + b'"\n')
    boolean = run.ask("config", "--file", "file", "--type=bool", "a.b")  # type: ignore[attr-defined]
    expected = None if boolean.exit else boolean.stdout == b"true\n"
    assert find_boolean(value) is expected
    number = run.ask("config", "--file", "file", "--type=int", "a.b")  # type: ignore[attr-defined]
    assert find_integer(value) == (None if number.exit else int(number.stdout))


def test_a_name_alone_is_true() -> None:
    assert find_boolean(None) is True
    assert find_integer(None) is None


def test_files_that_are_not_there_are_skipped_and_what_git_cannot_read_is_damage(tmp_path: Path) -> None:
    where = bytes(tmp_path)
    assert read_config_file(where + b"/none", may_be_unreadable=False) is None
    assert read_config_file(where + b"/none/below", may_be_unreadable=False) is None
    assert read_config_file(b"/dev/null", may_be_unreadable=False) is not None
    with pytest.raises(ConfigDamaged):
        read_config_file(where, may_be_unreadable=True)


def test_an_empty_file_has_no_entries() -> None:
    assert parse_config(b"") == Config()


def test_a_configuration_of_very_many_branches_is_read_and_one_of_too_many_lines_is_not() -> None:
    branch = b'[branch "topic/of-a-long-lived-clone-%d"]\n\tremote = origin\n\tmerge = refs/heads/topic/%d\n'
    many = b"".join(branch % (number, number) for number in range(25_000))
    assert len(many) > 2 << 20
    entries = parse_config(many).entries
    assert len(entries) == 50_000
    assert parse_config(bytes(bytearray(many))).entries is entries, "several readers ask for the same file in turn"
    with pytest.raises(ConfigDamaged, match="lines"):
        parse_config(b"[a]\n" + b"b\n" * (1 << 18))
