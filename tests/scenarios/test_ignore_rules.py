"""Ignore rules are edited, and what they no longer leave out right after: the answer is git's, mostly without git."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest

from gitwatchd.incremental.untracked import MOST_LISTED
from tests.scenarios.commands import wait_settled
from tests.zoo.commands import Git, judge, new_repository
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client
from tests.zoo.nursery import append, write

Make = Callable[..., Git]
FILES = {"a/one": b"1\n", "a/b/two": b"2\n", "c/three": b"3\n", ".gitignore": b"*.o\nbuild/\n"}


@pytest.fixture
def git(repository: Make) -> Git:
    git = repository(FILES)
    for name in ("build/deep/x", "a/build/x", "a/b/x.o", "c/new", "e/f/x.o"):
        write(git.path / name, b"")
    return git


@pytest.fixture
def large(repository: Make) -> Git:
    """With more files than are listed here rather than by git."""
    git = repository(FILES)
    (git.path / "many").mkdir()
    for number in range(MOST_LISTED + 1):
        (git.path / f"many/{number}").touch()
    git("add", "many")
    git("commit", "-qm", "many")
    return git


def expect_git_s(client: Client, git: Git) -> None:
    wrong = difference(client, git.path)
    assert wrong is None, wrong


def asked_git(client: Client) -> int:
    return int(client.call("doctor")["answers"]["L3"])


def test_rules_of_a_large_repository_are_followed_without_git(client: Client, large: Git) -> None:
    for name in ("build/deep/x", "c/x.o", "a/b/new"):
        write(large.path / name, b"")
    expect_git_s(client, large)
    wait_settled(client, large.path)
    append(large.path / "a/one", b"more\n")
    expect_git_s(client, large)  # by now it is followed
    before = asked_git(client)
    for rules in (b"", b"*.o\n", b"*.o\nbuild/\n!/c/x.o\n", b"new\nbuild/*\n", b"/a\n"):
        write(large.path / ".gitignore", rules)
        expect_git_s(client, large)
        for name in ("build/deep/x", "build/deep/y", "c/x.o", "a/b/new"):
            append(large.path / name, b"more\n")
            expect_git_s(client, large)
        report = client.reports(large.path)[0]
        assert abs(report["mtime"] - newest_of(large)) < 1e-5
    (large.path / ".gitignore").unlink()
    expect_git_s(client, large)
    assert asked_git(client) == before


def newest_of(git: Git) -> float:
    names = git("ls-files", "-z", "-c", "-o", "--exclude-standard").split(b"\0")[:-1]
    return max((git.path / name.decode()).stat().st_mtime_ns for name in names) / 1e9


def test_a_branch_with_other_rules(client: Client, large: Git) -> None:
    write(large.path / "build/x", b"")
    write(large.path / "c/x.o", b"")
    large("checkout", "-qb", "other")
    write(large.path / ".gitignore", b"x\n")
    large("commit", "-qam", "rules")
    expect_git_s(client, large)
    append(large.path / "a/one", b"more\n")
    expect_git_s(client, large)
    before = asked_git(client)
    for branch in ("main", "other", "main"):
        large("checkout", "-q", branch)
        expect_git_s(client, large)
        append(large.path / "build/x", b"more\n")
        expect_git_s(client, large)
    assert asked_git(client) == before


def test_rules_after_changes_of_the_index_that_were_not_followed(client: Client, git: Git) -> None:
    """Each a change after which git is asked, while files leave the index unseen."""
    expect_git_s(client, git)
    for number, name in enumerate(("a/b/two", "c/three")):
        git("config", "some.key", str(number))
        git("rm", "-q", "--cached", name)
        expect_git_s(client, git)
        write(git.path / ".gitignore", f"{name}\n".encode())
        expect_git_s(client, git)
        append(git.path / name, b"more\n")
        expect_git_s(client, git)
    write(git.path / ".gitignore", b"")
    expect_git_s(client, git)


@pytest.mark.parametrize("rules", [b"", b"build/*\n!build/deep\n", b"/a\n", b"*\n!/build\n!/build/**\n"])
def test_an_edit_in_a_directory_right_after_it_is_not_ignored_any_more(client: Client, git: Git, rules: bytes) -> None:
    expect_git_s(client, git)
    for turn in range(5):
        write(git.path / ".gitignore", rules)
        if turn % 2:
            expect_git_s(client, git)
        shutil.rmtree(git.path / "build/deep")
        expect_git_s(client, git)
        write(git.path / f"build/deep/more/{turn}", b"")
        write(git.path / "build/deep/.gitignore", b"*\n" if turn % 3 else b"")
        expect_git_s(client, git)
        write(git.path / "build/deep/.gitignore", b"!more\n")
        expect_git_s(client, git)
        write(git.path / ".gitignore", FILES[".gitignore"])
        expect_git_s(client, git)
        write(git.path / f"build/deep/unseen{turn}", b"")
        expect_git_s(client, git)


def test_a_repository_left_out_is_found_when_it_is_not(client: Client, git: Git) -> None:
    inner = new_repository(git.path / "build/inner", {"f": b""})
    expect_git_s(client, git)
    assert [report["path"] for report in client.reports(git.path)] == [str(git.path)]
    write(git.path / ".gitignore", b"*.o\n")
    expect_git_s(client, git)
    assert client.reports(inner.path)[0]["state"] == "fresh"
    shutil.rmtree(inner.path / ".git")
    expect_git_s(client, git)
    shutil.rmtree(inner.path)
    shutil.rmtree(git.path / "build/deep")
    expect_git_s(client, git)


def test_rules_of_other_places_and_of_this_one_in_turn(client: Client, git: Git, tmp_path: Path) -> None:
    git("config", "core.excludesFile", str(tmp_path / "excludes"))
    expect_git_s(client, git)
    random = Random(1)
    places = (git.path / ".git/info/exclude", tmp_path / "excludes", git.path / ".gitignore", git.path / "a/.gitignore")
    for _ in range(40):
        place = random.choice(places)
        lines = random.sample((b"build/", b"!build/", b"*.o", b"!*.o", b"new", b"/a", b"!/a/b", b"e/*"), 2)
        write(place, b"".join(line + b"\n" for line in lines))
        if random.random() < 0.5:
            expect_git_s(client, git)
        name = random.choice(("build/deep/x", "a/build/y", "a/b/x.o", "e/f/x.o", "e/g/y", "c/new"))
        if (git.path / name).exists() and random.random() < 0.5:
            (git.path / name).unlink()
        else:
            write(git.path / name, b"x\n")
        expect_git_s(client, git)


def test_two_edits_of_rules_without_a_question_between(client: Client, git: Git) -> None:
    expect_git_s(client, git)
    for _ in range(20):
        write(git.path / ".gitignore", b"")
        write(git.path / ".gitignore", b"build/\n")
        write(git.path / "build/deep/y", b"")
        expect_git_s(client, git)
        write(git.path / "build/deep/z", b"")
        write(git.path / ".gitignore", b"")
        (git.path / "build/deep/y").unlink()
        assert client.entries(git.path).stdout == judge(git.path)
        (git.path / "build/deep/z").unlink()
        (git.path / "build/deep/x").unlink(missing_ok=True)
        expect_git_s(client, git)
