"""IgnoreRules against `git check-ignore` and `git status --ignored`, over generated trees and exclude files."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.git.ignore import (
    IgnoreRules,
    exclude_files,
    parse_patterns,
    read_rules,
    read_shared,
    worktree_reader,
)
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.repository import Location, RepoPath

NAMES = [
    b"a", b"b", b"foo", b"bar", b"foo.c", b"a.o", b"foobar", b"x y", b"t ", b"#h", b"!n", b"a[b]",
    b"\xff\xe9", b"-",
    b"Foo", b"foo.tar.gz", b".hid", b"a\nb", b"*", b"b\\", b"q\r", b"\tz", b"]",
]  # fmt: skip
GLOB_PIECES = [
    b"a", b"b", b"foo", b"bar", b".c", b".o", b"*", b"*", b"**", b"?", b"[ab]", b"[!a]", b"[^f]",
    b"[a-f]", b"[]x]",
    b"[[:alpha:]]", b"[![:alnum:]]", b"[[:foo:]]", b"[[:punct:]b", b"[a-", b"\\*", b"\\#", b"\\!",
    b"\\a", b"\\", b" ",
    b"\\ ", b"#", b"!", b"\xff", b"\xe9", b".", b"[\\]]", b"[a\\-z]", b"[z-a]", b"f", b"o", b"\r", b"\t",
    b"***", b"\\[",
]  # fmt: skip
FIXED = [
    b"*.o", b"foo/", b"!foo", b"/a", b"a/b", b"**/foo", b"foo/**", b"a/**/b", b"!*.c", b"*", b"!*/",
    b"/*", b"!/a",
    b"# comment", b"\\#h", b"\\!n", b"x\\ y", b"t\\ ", b"foo   ", b"", b"   ", b"!", b"/", b"//", b"*/",
    b"**", b"**/",
    b"/**", b"a/*", b"/a/**/", b"foo*", b"*foo", b"*bar*", b"a[[]b]", b"\xff*", b"*\xe9", b"/foo/*.c",
    b"!foo/bar",
    b"a\0b", b"\0", b"*.tar.gz", b"q\r", b"**/a/**/b", b"*/*/foo", b"a/**b", b"[f]oo/", b"./a", b"../a",
    b"a//b", b"b\\\\",
]  # fmt: skip


def line(rng: random.Random) -> bytes:
    if rng.random() < 0.45:
        return rng.choice(FIXED)
    glob = b"".join(rng.choice(GLOB_PIECES) + (b"/" if rng.random() < 0.25 else b"") for _ in range(rng.randint(1, 4)))
    return rng.choice([b"", b"", b"!", b"/"]) + glob + rng.choice([b"", b"", b"/", b" "])


def exclude_file(rng: random.Random) -> bytes:
    end = rng.choice([b"\n", b"\n", b"\r\n"])
    body = end.join(line(rng) for _ in range(rng.randint(1, 6)))
    return rng.choice([b"", b"", b"\xef\xbb\xbf"]) + body + rng.choice([end, b""])


def make_tree(rng: random.Random, top: bytes) -> list[tuple[bytes, bool]]:
    """Directories three deep, some with a .gitignore, files, links to a directory; all their (path, is_dir)."""
    paths: list[tuple[bytes, bool]] = []

    def fill(directory: bytes, depth: int) -> None:
        for name in rng.sample(NAMES, 5):
            path = directory + name
            full = os.path.join(top, path)
            is_dir = depth < 3 and rng.random() < 0.5
            if is_dir:
                os.mkdir(full)
                fill(path + b"/", depth + 1)
            elif rng.random() < 0.1:
                os.symlink(b".", full)
            else:
                with open(full, "wb"):
                    pass
            paths.append((path, is_dir))
        if depth == 0 or rng.random() < 0.4:
            with open(os.path.join(top, directory, b".gitignore"), "wb") as file:
                file.write(exclude_file(rng))

    fill(b"", 0)
    return paths


def ask_git(run: Callable[..., bytes], paths: list[tuple[bytes, bool]]) -> dict[bytes, bool]:
    """What check-ignore says of each path: an answer with a pattern that is no negation means ignored."""
    answer = run.ask(  # type: ignore[attr-defined]
        "check-ignore", "--no-index", "-v", "-n", "--stdin", "-z", stdin=b"".join(p + b"\0" for p, _ in paths)
    ).stdout
    fields = answer.split(b"\0")[:-1]
    return {
        path: bool(source) and not pattern.startswith(b"!")
        for source, pattern, path in zip(fields[::4], fields[2::4], fields[3::4], strict=True)
    }


def rules_of(run: Callable[..., bytes]) -> IgnoreRules:
    top = os.fsencode(run.path)  # type: ignore[attr-defined]
    return IgnoreRules(worktree_reader(top), [read_shared(top + b"/.git/info/exclude")])


def walk(rules: IgnoreRules, top: bytes, directory: bytes = b"") -> list[bytes]:
    """Every file that is not ignored, as an analysis walks: ignored directories are not entered."""
    found = []
    with os.scandir(os.path.join(top, directory)) as entries:
        for entry in entries:
            if entry.name == b".git":
                continue
            path = directory + entry.name
            is_dir = entry.is_dir(follow_symlinks=False)
            if rules.is_ignored(path, is_dir):
                continue
            found += walk(rules, top, path + b"/") if is_dir else [path]
    return found


@pytest.mark.parametrize("seed", range(6))
def test_generated_rules_agree_with_git(repository: Callable[..., Callable[..., bytes]], seed: int) -> None:
    rng = random.Random(seed)
    run = repository()
    top = os.fsencode(run.path)  # type: ignore[attr-defined]
    compared = 0
    for number in range(8):
        tree = os.path.join(top, b"%d" % number)
        os.mkdir(tree)
        paths = [(b"%d/" % number + path, is_dir) for path, is_dir in make_tree(rng, tree)]
        for where in (b".gitignore", b".git/info/exclude"):
            Path(os.fsdecode(os.path.join(top, where))).write_bytes(exclude_file(rng) if rng.random() < 0.5 else b"")
        rules = rules_of(run)
        expected = ask_git(run, paths)
        answered = {path: rules.is_ignored(path, is_dir) for path, is_dir in paths}
        if rules.exact:
            assert answered == expected
            compared += len(paths)
    assert compared > 300
    status = run("status", "--porcelain", "-z", "--ignored", "-uall").split(b"\0")
    if rules_of(run).exact:
        assert sorted(walk(rules_of(run), top)) == sorted(e[3:] for e in status if e.startswith(b"?? "))


def test_nested_file_wins_over_info_exclude_and_that_over_excludes_file() -> None:
    files = {b".gitignore": b"*.log\n", b"a/.gitignore": b"!keep.log\n"}
    rules = IgnoreRules(files.get, [b"info\n!both\n", b"both\nglobal\n"])
    assert rules.is_ignored(b"a/x.log", False)
    assert not rules.is_ignored(b"a/keep.log", False)
    assert rules.is_ignored(b"info", False)
    assert not rules.is_ignored(b"both", False)
    assert rules.is_ignored(b"global", True)


def test_the_last_line_that_matches_wins_whatever_its_kind() -> None:
    lines = [b"[n]ame.x", b"!na?e.x", b"*.x", b"!/name.x", b"name.x", b"!*me.x", b"/[n]ame.x", b"!/n?me.x"]
    for count in range(1, len(lines) + 1):
        rules = IgnoreRules({b".gitignore": b"\n".join(lines[:count])}.get)
        assert rules.is_ignored(b"name.x", False) is (count % 2 == 1)


def test_nothing_below_an_ignored_directory_comes_back() -> None:
    rules = IgnoreRules({b".gitignore": b"build/\n!build/keep\n"}.get)
    assert rules.is_ignored(b"build", True)
    assert not rules.is_ignored(b"build", False)
    assert rules.is_ignored(b"build/keep", False)
    assert rules.is_ignored(b"build/deep/er", False)


def test_invalidate_reads_that_directory_again_and_what_lies_below() -> None:
    files = {b"a/.gitignore": b"x\n", b"ab/.gitignore": b"x\n"}
    rules = IgnoreRules(files.get)
    assert rules.is_ignored(b"a/b/x", False)
    assert rules.is_ignored(b"ab/x", False)
    files.clear()
    assert rules.is_ignored(b"a/b/x", False)
    rules.invalidate(b"a")
    assert not rules.is_ignored(b"a/b/x", False)
    assert rules.is_ignored(b"ab/x", False), "a sibling was forgotten too"


def test_a_gitignore_that_is_a_link_is_not_followed(repository: Callable[..., Callable[..., bytes]]) -> None:
    run = repository({"rules": b"foo\n", "foo": b""})
    top: Path = run.path  # type: ignore[attr-defined]
    (top / ".gitignore").symlink_to("rules")
    assert ask_git(run, [(b"foo", False)]) == {b"foo": False}
    assert not rules_of(run).is_ignored(b"foo", False)


def test_info_exclude_that_is_a_link_is_followed(repository: Callable[..., Callable[..., bytes]]) -> None:
    run = repository({"rules": b"foo\n", "foo": b""})
    top: Path = run.path  # type: ignore[attr-defined]
    (top / ".git/info/exclude").unlink(missing_ok=True)
    (top / ".git/info/exclude").symlink_to(top / "rules")
    assert ask_git(run, [(b"foo", False)]) == {b"foo": True}
    assert rules_of(run).is_ignored(b"foo", False)


def test_a_fifo_named_gitignore_does_not_hold_the_reader(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / ".gitignore")
    assert worktree_reader(os.fsencode(tmp_path))(b".gitignore") is None


def test_what_these_rules_do_not_follow_is_said() -> None:
    assert IgnoreRules({b".gitignore": b"foo**\n/foo/**\n"}.get).exact
    assert not IgnoreRules({}.get, ignore_case=True).exact
    assert not IgnoreRules({}.get, [b"/foo**/bar\n"]).exact
    rules = IgnoreRules({b"a/.gitignore": b"/foo**/bar\n"}.get)
    assert rules.exact
    rules.is_ignored(b"a/x", False)
    assert not rules.exact
    rules.invalidate(b"a")
    assert rules.exact


def test_a_pattern_made_to_backtrack_ends_at_once() -> None:
    hostile = b"*a" * 40 + b"b\n" + b"**/a/" * 30 + b"b\n" + b"a*" * 30 + b"/x\n"
    rules = IgnoreRules({b".gitignore": hostile}.get)
    assert not rules.is_ignored(b"a" * 250, False)
    assert not rules.is_ignored(b"a/" * 200 + b"a", False)


def test_lines_that_can_match_nothing_leave_no_pattern() -> None:
    assert parse_patterns(b"\n  \n#x\n!\n/\n\r\n") == []


@pytest.mark.parametrize("setting", ["", "~/own", "below/own", "~/absent", "unset", "twice"])
@pytest.mark.parametrize("xdg", ["set", "unset"])
def test_the_users_own_exclude_file_is_found_as_git_finds_it(
    repository: Callable[..., Callable[..., bytes]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    xdg: str,
) -> None:
    run = repository(dict.fromkeys(["xdg", "default", "own", "info", "inside"], b"") | {"below/own": b"inside\n"})
    top: Path = run.path  # type: ignore[attr-defined]
    names = {"xdg": "xdg/git/ignore", "default": ".config/git/ignore", "own": "own"}
    for name, place in names.items():
        file = tmp_path / "home" / place
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name + "\n")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    if xdg == "set":
        monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home/xdg"))
    else:
        monkeypatch.delenv("XDG_CONFIG_HOME")
    (top / ".git/info").mkdir(exist_ok=True)
    (top / ".git/info/exclude").write_text("info\n")
    if setting == "twice":
        run("config", "--global", "core.excludesFile", "~/absent")
        run("config", "core.excludesfile", "~/own")
    elif setting != "unset":
        run("config", "core.excludesFile", setting)
    where = RepoPath(os.path.realpath(os.fsencode(top)))
    location = Location(where, where + b"/.git", where + b"/.git", bare=False)
    rules = read_rules(location, read_config(location))
    paths = [(name.encode(), False) for name in ("xdg", "default", "own", "info", "inside")]
    expected = ask_git(run, paths)
    assert {path: rules.is_ignored(path, is_dir) for path, is_dir in paths} == expected
    assert expected[b"info"] is True
    assert len(exclude_files(location, read_config(location))) == (1 if setting == "" else 2)


def test_a_linked_worktree_has_the_exclude_file_of_the_common_dir(
    repository: Callable[..., Callable[..., bytes]], git: Callable[..., Callable[..., bytes]]
) -> None:
    run = repository({"a": b""})
    top: Path = run.path  # type: ignore[attr-defined]
    run("worktree", "add", "-q", "../linked")
    (top / ".git/info").mkdir(exist_ok=True)
    (top / ".git/info/exclude").write_text("x\n")
    where = RepoPath(os.path.realpath(os.fsencode(top.parent / "linked")))
    common = os.path.realpath(os.fsencode(top / ".git"))
    location = Location(where, common + b"/worktrees/linked", common, bare=False)
    assert ask_git(git(top.parent / "linked"), [(b"x", False), (b"y", False)]) == {b"x": True, b"y": False}
    rules = read_rules(location, read_config(location))
    assert rules.is_ignored(b"x", False)
    assert not rules.is_ignored(b"y", False)
