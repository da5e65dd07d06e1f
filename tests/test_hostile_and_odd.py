"""What fresh eyes found: each once hung the daemon, ran a stranger's program, or gave a wrong answer as fresh."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.analysis.drivers import find_drivers
from gitwatchd.analysis.first_sight import look_unwatched
from gitwatchd.analysis.private_index import private_copy, read_snapshot
from gitwatchd.git.child import run_git
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.repository import Location
from tests.zoo.commands import Git
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client
from tests.zoo.nursery import append, write

Make = Callable[..., Git]


def location_of(path: Path) -> Location:
    location = read_location(os.fsencode(path))
    assert location is not None
    return location


@pytest.mark.parametrize("place", ["logs/refs/stash", "rebase-merge/msgnum", "packed-refs", "info/attributes"])
def test_a_fifo_in_a_file_s_place_holds_nobody(client: Client, repository: Make, place: str) -> None:
    git, other = repository({"one": b"1\n"}), repository({"other": b"2\n"}, "other")
    assert difference(client, git.path) is None
    path = git.path / ".git" / place
    path.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(path)
    client.call("status", [str(git.path)], {"wait_s": 5})
    append(other.path / "other", b"more\n")
    assert difference(client, other.path) is None


def test_a_nul_in_a_git_file_hides_no_other_repository(client: Client, repository: Make) -> None:
    git = repository({"one": b"1\n"})
    write(git.path.parent / "0/.git", b"gitdir: a\0b\n")
    answer = client.call("status", [str(git.path.parent)])
    assert os.fspath(git.path) in [report["path"] for report in answer["repos"]]


def test_a_link_on_the_way_to_git_s_configuration_ends_in_an_answer(
    client: Client, repository: Make, home: Path
) -> None:
    elsewhere = home / "dotfiles/git"
    elsewhere.mkdir(parents=True)
    link = home / ".config/git"
    link.parent.mkdir(exist_ok=True)
    link.symlink_to(elsewhere)
    try:
        git = repository({"one": b"1\n"})
        assert difference(client, git.path) is None
        write(elsewhere / "ignore", b"*.log\n")
        write(git.path / "a.log", b"")
        assert difference(client, git.path) is None
    finally:
        link.unlink()


def test_the_directory_of_git_s_configuration_is_renamed(client: Client, repository: Make, home: Path) -> None:
    write(home / ".config/git/ignore", b"*.log\n")
    try:
        git = repository({"one": b"1\n"})
        write(git.path / "a.log", b"")
        assert difference(client, git.path) is None
        (home / ".config/git").rename(home / ".config/git-aside")
        assert difference(client, git.path) is None
        (home / ".config/git-aside").rename(home / ".config/git")
        assert difference(client, git.path) is None
    finally:
        (home / ".config/git/ignore").unlink()
        (home / ".config/git").rmdir()


def test_a_nested_repository_s_directory_that_comes_to_hold_tracked_files(client: Client, repository: Make) -> None:
    git = repository({"one": b"1\n"})
    git("checkout", "-qb", "with-directory")
    write(git.path / "d/c", b"1\n")
    git("add", "-A")
    git("commit", "-qm", "d")
    git("checkout", "-q", "main")
    (git.path / "d").mkdir()
    Git(git.path / "d")("init", "-q")
    assert difference(client, git.path) is None
    git("reset", "-q", "with-directory")
    git("checkout", "-q", "--", ".")
    assert difference(client, git.path) is None
    append(git.path / "d/c", b"2\n")
    assert difference(client, git.path) is None


def test_two_submodules_in_one_git_dir_are_both_searched_for_filters(repository: Make) -> None:
    inner = repository({"f": b"1\n"}, "inner")
    git = repository({"one": b"1\n"}, "outer")
    for name in ("s1", "s2"):
        git("-c", "protocol.file.allow=always", "submodule", "add", "-q", os.fspath(inner.path), name)
    deep = Git(git.path / "s2")
    deep("-c", "protocol.file.allow=always", "submodule", "add", "-q", os.fspath(inner.path), "n")
    Git(git.path / "s2/n")("config", "filter.x.clean", "true")
    write(git.path / "s2/.git", b"gitdir: ../.git/modules/s1\n")
    git("config", "--file", ".git/modules/s1/config", "--unset", "core.worktree")
    (git.path / ".git/modules/s1/index").write_bytes((git.path / ".git/modules/s2/index").read_bytes())
    where = location_of(git.path)
    assert [d.name for d in find_drivers(where, read_config(where), time.monotonic() + 30)] == [b"filter.x"]


@pytest.mark.parametrize("content", [b"", b"garbage\n", b"ref: refs/heads/other\n"])
def test_a_ref_that_a_power_cut_left_is_git_s_to_explain(repository: Make, content: bytes) -> None:
    git = repository({"one": b"1\n"})
    git("pack-refs", "--all")
    write(git.path / ".git/refs/heads/main", content)
    where = location_of(git.path)
    assert look_unwatched(where, read_config(where), nested=False).outcome is None


def test_a_format_that_git_refuses_is_not_read_here(repository: Make) -> None:
    git = repository({"one": b"1\n"})
    git("config", "core.repositoryformatversion", "99")
    where = location_of(git.path)
    assert look_unwatched(where, read_config(where), nested=False).outcome is None


def test_the_copy_of_an_index_is_as_old_as_the_look_at_the_files(repository: Make, tmp_path: Path) -> None:
    git = repository({"one": b"1\n"})
    os.utime(git.path / "one", (1, 1))
    os.utime(git.path / ".git/index", (2, 2))
    cache = os.fsencode(tmp_path / "indexes")
    while True:  # no copy is made of an index younger than the tick of the file clock
        snapshot = read_snapshot(os.fsencode(git.path / ".git/index"))
        assert snapshot is not None
        if snapshot.settled():
            break
    with private_copy(snapshot, cache) as copy:
        assert copy is not None
        began = time.time_ns()
        run_git(("status",), cwd=os.fsencode(git.path), timeout_s=30, index_file=copy.path, refresh_index=True)
        assert os.stat(copy.path).st_mtime_ns > began - 1_000_000_000
        refreshed = os.stat(copy.path).st_ino
    kept = os.stat(copy.path)
    assert kept.st_ino == refreshed
    assert kept.st_mtime_ns <= began


def test_a_git_dir_apart_from_its_worktree_is_no_bare_repository(tmp_path: Path, git: Callable[[Path], Git]) -> None:
    work = tmp_path / "work"
    work.mkdir()
    git(work)("init", "-q", "--separate-git-dir", os.fspath(tmp_path / "apart"), ".")
    assert read_location(os.fsencode(tmp_path / "apart")) is None
    assert read_location(os.fsencode(work)) is not None
