"""git's configuration taken away and brought back from further up than its own directory: no event is raised there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.zoo.commands import Git
from tests.zoo.comparison import expect_git_s
from tests.zoo.daemon import Client, Daemon

Make = Callable[..., Git]
HIDE = b"[status]\n\tshowUntrackedFiles = no\n"


@pytest.fixture
def user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A HOME of the test's own, two directories down."""
    user = tmp_path / "users/u"
    (user / ".config/git").mkdir(parents=True)
    (user / ".config/git/config").write_bytes(HIDE)
    (user / ".gitconfig").write_bytes(b"[user]\n\tname = u\n\temail = u\n")
    monkeypatch.setenv("HOME", str(user))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    return user


@pytest.fixture
def client(user: Path, start_daemon: Callable[..., Daemon]) -> Iterator[Client]:
    with start_daemon().connect() as client:
        yield client


@pytest.fixture
def git(user: Path, repository: Make) -> Git:
    git = repository({"f": b"1\n"})
    (git.path / "untracked").write_bytes(b"")
    return git


@pytest.mark.parametrize("taken", ["users/u/.config", "users/u", "users"])
def test_a_directory_above_it_is_renamed(client: Client, git: Git, user: Path, tmp_path: Path, taken: str) -> None:
    expect_git_s(client, git)
    (tmp_path / taken).rename(tmp_path / "aside")
    expect_git_s(client, git)
    (tmp_path / "aside").rename(tmp_path / taken)
    expect_git_s(client, git)
    (user / ".config/git/config").write_bytes(b"")
    expect_git_s(client, git)


def test_a_link_above_it_is_turned(client: Client, git: Git, user: Path, tmp_path: Path) -> None:
    (user / ".config").rename(tmp_path / "one")
    (tmp_path / "two/git").mkdir(parents=True)
    link = user / ".config"
    link.symlink_to(tmp_path / "one")
    expect_git_s(client, git)
    for target in ("two", "one", "none", "one"):
        link.unlink()
        link.symlink_to(tmp_path / target)
        expect_git_s(client, git)
    (tmp_path / "one").rename(tmp_path / "elsewhere")
    expect_git_s(client, git)


def test_a_directory_above_an_included_file_is_renamed(client: Client, git: Git, tmp_path: Path) -> None:
    """Named by the repository's own configuration, and by another included file."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / "a/b/c/inner").write_bytes(b"[status]\n\tshowUntrackedFiles = normal\n")
    git("config", "include.path", "../../first")
    (tmp_path / "first").write_bytes(b"[include]\n\tpath = " + os.fsencode(tmp_path / "a/b/c/inner") + b"\n")
    expect_git_s(client, git)
    (tmp_path / "a").rename(tmp_path / "z")
    expect_git_s(client, git)
    (tmp_path / "z").rename(tmp_path / "a")
    expect_git_s(client, git)


def test_a_directory_above_the_excludes_is_renamed(client: Client, git: Git, tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/ignore").write_bytes(b"untracked\n")
    git("config", "core.excludesFile", str(tmp_path / "a/b/ignore"))
    git("config", "status.showUntrackedFiles", "normal")
    expect_git_s(client, git)
    (tmp_path / "a").rename(tmp_path / "z")
    expect_git_s(client, git)
