"""What git's answer depends on beyond the files that it names. Through a real daemon.

Differences that were found by reading what is kept from one answer to the next, and what each of it follows from.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.zoo.commands import Git, ask_judge, judge
from tests.zoo.comparison import expect_git_s
from tests.zoo.daemon import Client
from tests.zoo.nursery import append, write
from tests.zoo.waiting import wait_for_the_next_second

Make = Callable[..., Git]
FILES = {"a/one": b"1\n", "top": b"top\n", "win.txt": b"1\r\n", ".gitignore": b"*.o\n"}


@pytest.fixture
def git(repository: Make) -> Git:
    return repository(FILES)


@pytest.fixture
def outside(git: Git) -> Path:
    return git.path.parent / "outside"


def follow(client: Client, git: Git) -> None:
    """Until it is answered from what changed."""
    expect_git_s(client, git)
    for text in (b"1", b"2"):
        append(git.path / "a/one", text)
        expect_git_s(client, git)


def with_submodule(git: Git) -> Git:
    inner = Git(git.path / "inner")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    git("add", "inner")
    git("commit", "-qm", "inner")
    return inner


def moved_and_linked(path: Path, to: Path) -> None:
    path.rename(to)
    path.symlink_to(to)


def test_the_gitmodules_of_head(client: Client, git: Git) -> None:
    """git takes it where neither the worktree nor the index has one."""
    inner = with_submodule(git)
    for key, value in (("path", "inner"), ("url", "./x"), ("ignore", "all")):
        git("config", "-f", ".gitmodules", f"submodule.inner.{key}", value)
        git("add", ".gitmodules")
        git("commit", "-qm", key)
    git("rm", "-q", "--cached", ".gitmodules")
    (git.path / ".gitmodules").unlink()
    write(inner.path / "untracked", b"")
    follow(client, git)
    git("reset", "-q", "--soft", "HEAD~1")
    assert b"S..U" in judge(git.path)
    expect_git_s(client, git)
    git("reset", "-q", "--soft", "HEAD@{1}")
    expect_git_s(client, git)


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_gitmodules_that_is_a_link(client: Client, git: Git, outside: Path, when: str) -> None:
    """The one link in a worktree that git reads through."""
    inner = with_submodule(git)
    write(inner.path / "untracked", b"")
    write(outside, b'[submodule "inner"]\n\tpath = inner\n\turl = ./x\n')
    if when == "after":
        follow(client, git)
    (git.path / ".gitmodules").symlink_to(outside)
    follow(client, git)
    append(outside, b"\tignore = all\n")
    expect_git_s(client, git)


@pytest.mark.parametrize("asked_between", [True, False])
def test_a_directory_comes_back_without_its_attributes(
    client: Client, git: Git, outside: Path, asked_between: bool
) -> None:
    """By them a file is clean, and so it stood in the copy of the index that git had refreshed."""
    write(git.path / "d/.gitattributes", b"*.txt text eol=crlf\n")
    write(git.path / "d/win.txt", b"1\r\n")
    git("add", "d/win.txt")
    git("commit", "-qm", "converted")
    os.utime(git.path / "d/win.txt", (1, 1))
    wait_for_the_next_second(git.path.parent)
    follow(client, git)
    (git.path / "d").rename(outside)
    if asked_between:
        expect_git_s(client, git)
    (outside / ".gitattributes").unlink()
    outside.rename(git.path / "d")
    assert b"d/win.txt" in judge(git.path)
    expect_git_s(client, git)


def test_attributes_that_change_where_no_event_tells(client: Client, git: Git, outside: Path) -> None:
    """The same where the kernel gives no events: a copy of the index outlived the attributes that it was made under."""
    moved_and_linked(git.path / ".git/info", outside)
    write(outside / "attributes", b"*.none text\n")
    write(git.path / ".gitattributes", b"*.txt text eol=crlf\n")
    write(git.path / "new.txt", b"1\r\n")
    git("add", "new.txt")
    git("commit", "-qm", "converted")
    os.utime(git.path / "new.txt", (1, 1))
    wait_for_the_next_second(git.path.parent)
    for _ in range(2):
        expect_git_s(client, git)
    assert [report["watch"] for report in client.reports(git.path)] == ["polled"]
    (git.path / ".gitattributes").unlink()
    assert b"new.txt" in judge(git.path)
    expect_git_s(client, git)


@pytest.mark.parametrize("kind", ["ignored", "nested"])
def test_attributes_in_a_directory_that_nobody_looked_into(client: Client, git: Git, kind: str) -> None:
    """They count with the first tracked file there, before any walk has seen them."""
    if kind == "nested":
        Git(git.path)("init", "-q", "d")
    else:
        append(git.path / ".gitignore", b"d/\n")
    write(git.path / "d/.gitattributes", b"*.txt text\n")
    write(git.path / "d/win.txt", b"1\r\n")
    follow(client, git)
    oid = git("hash-object", "-w", "--stdin", stdin=b"1\n").strip().decode()
    git("update-index", "--add", "--cacheinfo", f"100644,{oid},d/win.txt")
    assert b"1 A. " in judge(git.path)
    expect_git_s(client, git)


def test_private_attributes_become_a_link(client: Client, git: Git, outside: Path) -> None:
    follow(client, git)
    write(outside, b"")
    (git.path / ".git/info").mkdir(exist_ok=True)
    (git.path / ".git/info/attributes").symlink_to(outside)
    follow(client, git)
    write(outside, b"*.txt text\n")
    os.utime(git.path / "win.txt", (1, 1))
    assert b"win.txt" in judge(git.path)
    expect_git_s(client, git)


def test_what_the_user_s_rules_no_longer_leave_out_of_a_submodule_is_watched(
    client: Client, git: Git, home: Path
) -> None:
    inner = with_submodule(git)
    write(home / ".config/git/ignore", b"made/\n")
    write(inner.path / "made/deep/file", b"")
    follow(client, git)
    write(home / ".config/git/ignore", b"*.none\n")
    follow(client, git)
    assert b"S..U" in judge(git.path)
    (inner.path / "made/deep/file").unlink()
    expect_git_s(client, git)


def test_an_index_of_the_first_second_of_all_has_no_time(client: Client, git: Git) -> None:
    """By it nothing is racy, so that git misses an edit that a later or earlier index would show."""
    top, index = git.path / "top", git.path / ".git/index"

    def is_missed(text: bytes) -> bool:
        write(top, text.lower())
        os.utime(top, (5, 5))
        wait_for_the_next_second(git.path.parent)
        os.utime(top, (5, 5))
        git("add", "top")
        os.utime(index, ns=(500_000_000, 500_000_000))
        follow(client, git)
        added_s = top.stat().st_ctime_ns // 10**9
        write(top, text.upper())
        os.utime(top, (5, 5))
        return top.stat().st_ctime_ns // 10**9 == added_s

    attempts = (b"text%d\n" % number for number in range(30))
    assert any(map(is_missed, attempts)), "the machine was too slow for the case to arise"
    assert b"1 M. N... " in judge(git.path)
    expect_git_s(client, git)
    os.utime(index, (3, 3))
    assert b"1 MM N... " in judge(git.path)
    expect_git_s(client, git)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("what", [".", ".git", "../linked/.git", ".git/worktrees/linked", "../linked"])
def test_a_repository_is_given_to_another_user(client: Client, git: Git, what: str) -> None:
    git("worktree", "add", "-q", "../linked")
    asked = Git(git.path.parent / "linked") if "linked" in what else git
    follow(client, asked)
    os.chown(git.path / what, 1234, -1)
    assert b"dubious ownership" in ask_judge(asked.path).stderr
    expect_git_s(client, asked)
    os.chown(git.path / what, 0, -1)
    expect_git_s(client, asked)


def test_a_git_dir_elsewhere_to_which_a_file_git_leads(client: Client, git: Git, outside: Path) -> None:
    write(git.path / "nested/.git", b"gitdir: " + bytes(outside / "store") + b"\n")
    follow(client, git)
    outside.mkdir()
    Git(outside)("init", "-q", "--bare", "store")
    assert b"? nested/" in judge(git.path)
    expect_git_s(client, git)
    outside.rename(outside.with_name("renamed"))
    expect_git_s(client, git)


def test_a_git_dir_in_the_same_worktree_to_which_a_link_leads(client: Client, git: Git) -> None:
    Git(git.path)("init", "-q", "nested")
    (git.path / "link").mkdir()
    (git.path / "link/.git").symlink_to("../nested/.git")
    follow(client, git)
    assert b"? link/" in judge(git.path)
    (git.path / "nested/.git").rename(git.path / "nested/aside")
    assert b"? link/" not in judge(git.path)
    expect_git_s(client, git)


def test_a_submodule_s_git_dir_elsewhere(client: Client, git: Git, outside: Path) -> None:
    inner = with_submodule(git)
    outside.mkdir()
    shutil.move(inner.path / ".git", outside / "store")
    write(inner.path / ".git", b"gitdir: " + bytes(outside / "store") + b"\n")
    follow(client, git)
    outside.rename(outside.with_name("renamed"))
    assert ask_judge(git.path).exit == 128
    expect_git_s(client, git)
    outside.with_name("renamed").rename(outside)
    expect_git_s(client, git)


def test_a_repository_in_the_place_of_a_tracked_file_gets_its_first_commit(client: Client, git: Git) -> None:
    """Until then git takes the file for deleted, from then on for a submodule."""
    oid = git("rev-parse", "HEAD")
    (git.path / "top").unlink()
    Git(git.path)("init", "-q", "top")
    follow(client, git)
    write(git.path / "top/.git/refs/heads/main", oid)
    assert b"1 .T SC.. " in judge(git.path)
    expect_git_s(client, git)
    (git.path / "top/.git/refs/heads/main").unlink()
    expect_git_s(client, git)
    write(git.path / "top/.git/packed-refs", oid.strip() + b" refs/heads/main\n")
    expect_git_s(client, git)


@pytest.mark.parametrize("part", ["refs/heads", "refs/heads/main", "packed-refs"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_refs_that_lie_elsewhere(client: Client, git: Git, outside: Path, part: str, when: str) -> None:
    if part == "packed-refs":
        git("pack-refs", "--all")
    old, new = git("rev-parse", "HEAD").strip(), git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "x").strip()
    if when == "after":
        follow(client, git)
    moved_and_linked(git.path / ".git" / part, outside)
    follow(client, git)
    file = outside / "main" if outside.is_dir() else outside
    write(file, file.read_bytes().replace(old, new))
    assert new in judge(git.path)
    expect_git_s(client, git)


@pytest.mark.parametrize("part", ["logs", "logs/refs", "logs/refs/stash"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_log_of_the_stash_that_lies_elsewhere(client: Client, git: Git, outside: Path, part: str, when: str) -> None:
    append(git.path / "top", b"2\n")
    git("stash", "-q")
    if when == "after":
        follow(client, git)
    moved_and_linked(git.path / ".git" / part, outside)
    follow(client, git)
    log = next(path for path in (outside / "refs/stash", outside / "stash", outside) if path.is_file())
    append(log, log.read_bytes())
    assert b"# stash 2\0" in judge(git.path)
    expect_git_s(client, git)


def test_symbolic_refs_as_of_old_are_followed(client: Client, git: Git) -> None:
    git("config", "core.preferSymlinkRefs", "true")
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    git("checkout", "-q", "-b", "side")
    assert (git.path / ".git/refs/remotes/origin/HEAD").is_symlink()
    follow(client, git)
    assert [report["watch"] for report in client.reports(git.path)] == ["watched"]
    git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/side")
    git("commit", "-q", "--allow-empty", "-m", "x")
    follow(client, git)
    assert [report["watch"] for report in client.reports(git.path)] == ["watched"]


def test_an_upstream_that_names_orig_head(client: Client, git: Git) -> None:
    oid = git("rev-parse", "HEAD")
    git("config", "branch.main.remote", "origin")
    git("config", "branch.main.merge", "refs/heads/main")
    git("config", "remote.origin.url", "../elsewhere")
    git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    write(git.path / ".git/ORIG_HEAD", oid)
    write(git.path / ".git/refs/remotes/origin/main", b"ref: ORIG_HEAD\n")
    follow(client, git)
    write(git.path / ".git/ORIG_HEAD", git("commit-tree", "HEAD^{tree}", "-p", "HEAD", "-m", "x"))
    assert b"# branch.ab +0 -1\0" in judge(git.path)
    expect_git_s(client, git)
