"""Real repositories: which directories are watched, and that nothing which can change the answer is missed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.git.layout import read_location
from gitwatchd.watch.changes import Aspect
from gitwatchd.watch.repository_watch import GIT_DIRECTORIES, TRACKED, RepositoryWatch
from gitwatchd.watch.table import Allowance, WatchTable
from gitwatchd.watch.walk import RepositoryWalk, find_nested
from tests.zoo.commands import Git, new_repository

Make = Callable[..., Git]


class Watched:
    """A repository with all its watches in place."""

    def __init__(self, path: Path, limit: int | None = None) -> None:
        location = read_location(os.fsencode(path))
        assert location is not None
        self.top = location.path
        self.table = WatchTable(Allowance(limit))
        self.watch = RepositoryWatch(location, self.table)
        self.walk = RepositoryWalk(self.watch)
        self.walk.everything()

    def worktree(self) -> set[str]:
        """Directories watched below the top, relative, but for `.git`."""
        top = self.top + b"/"
        relative = {path[len(top) :].decode() for path in self.table._by_path if path.startswith(top)}
        return {path for path in relative if not path.startswith(".git/") and "/.git" not in path and path != ".git"}

    def git_directories(self) -> set[str]:
        common = self.watch.location.common_dir + b"/"
        return {path[len(common) :].decode() for path in self.table._by_path if path.startswith(common)}

    def settle(self) -> Aspect:
        """Drain, walk what is new, until nothing is; the aspects noted."""
        aspects = Aspect.NOTHING
        while self.table.drain():
            changes = self.watch.take()
            aspects |= changes.aspects
            if changes.new_directories:
                self.walk = RepositoryWalk(self.watch)
                self.walk.some(frozenset(changes.new_directories))
        return aspects

    def sees(self, path: Path) -> bool:
        """Whether a new file there is noticed."""
        self.settle()
        path.touch()
        self.table.drain()
        return bool(self.watch.take())


@pytest.fixture
def watched() -> Iterator[Callable[..., Watched]]:
    made: list[Watched] = []

    def make(path: Path, limit: int | None = None) -> Watched:
        made.append(Watched(path, limit))
        return made[-1]

    yield make
    for each in made:
        each.table.close()


Watching = Callable[..., Watched]


def test_the_directories_of_the_worktree_and_those_of_git_s_that_matter(repository: Make, watched: Watching) -> None:
    git = repository({"a/b/f": b"", "c/f": b""})
    (git.path / "new/empty").mkdir(parents=True)
    here = watched(git.path)
    assert here.worktree() == {"a", "a/b", "c", "new", "new/empty"}
    assert here.git_directories() == {"info", "refs", "refs/heads", "refs/tags", "logs", "logs/refs"}


def test_ignored_directories_are_left_out_unless_they_hold_tracked_files(repository: Make, watched: Watching) -> None:
    git = repository({".gitignore": b"build/\nnode_modules/\n", "a": b""})
    for directory in ("build/x", "node_modules/kept/deep", "node_modules/other"):
        (git.path / directory).mkdir(parents=True)
    (git.path / "node_modules/kept/f").touch()
    git("add", "-f", "node_modules/kept/f")
    assert watched(git.path).worktree() == {"node_modules", "node_modules/kept"}


def test_a_new_tracked_directory_inside_an_ignored_one(repository: Make, watched: Watching) -> None:
    git = repository({".gitignore": b"build/\n"})
    (git.path / "build/x").mkdir(parents=True)
    (git.path / "build/x/f").touch()
    here = watched(git.path)
    assert not here.sees(git.path / "build/x/g")
    git("add", "-f", "build/x/f")
    assert here.settle() & Aspect.INDEX
    here.walk.some(frozenset({TRACKED}))
    assert here.sees(git.path / "build/x/h")


@pytest.mark.parametrize("where", [".gitignore", ".git/info/exclude"])
def test_a_directory_that_is_no_longer_ignored_is_watched(repository: Make, watched: Watching, where: str) -> None:
    git = repository({"a": b""})
    (git.path / where).write_bytes(b"build\n")
    (git.path / "build/x").mkdir(parents=True)
    here = watched(git.path)
    assert not here.sees(git.path / "build/x/f")
    (git.path / where).write_bytes(b"")
    assert here.sees(git.path / "build/x/g")


def test_a_directory_that_the_configuration_no_longer_ignores_is_watched(
    repository: Make, watched: Watching, tmp_path: Path
) -> None:
    git = repository({"a": b""})
    (tmp_path / "ignore").write_bytes(b"build\n")
    git("config", "core.excludesFile", str(tmp_path / "ignore"))
    (git.path / "build/x").mkdir(parents=True)
    here = watched(git.path)
    assert not here.sees(git.path / "build/x/f")
    git("config", "--unset", "core.excludesFile")
    assert here.sees(git.path / "build/x/g")


def test_a_change_of_git_directories_alone_walks_no_worktree(repository: Make, watched: Watching) -> None:
    git = repository({"a/f": b""})
    here = watched(git.path)
    shutil.rmtree(git.path / ".git/refs/tags")
    here.table.drop_tree(here.top + b"/a")
    (git.path / ".git/index").write_bytes(b"damaged: it must not be read")
    here.walk.some(frozenset({GIT_DIRECTORIES}))
    assert here.worktree() == set()


def test_a_nested_repository_is_one_entry_and_its_inside_nobody_s(repository: Make, watched: Watching) -> None:
    git = repository({"a/f": b""})
    inner = new_repository(git.path / "a/inner", {"deep/f": b""})
    here = watched(git.path)
    assert [nested.path for nested in here.walk.nested] == [os.fsencode(inner.path)]
    assert here.worktree() == {"a", "a/inner"}
    assert not here.sees(inner.path / "deep/g")
    shutil.rmtree(inner.path / ".git")
    assert here.settle() & Aspect.NESTED
    assert here.sees(inner.path / "deep/h")


def test_a_directory_that_becomes_a_repository(repository: Make, watched: Watching) -> None:
    git = repository({"a": b""})
    (git.path / "inner/deep").mkdir(parents=True)
    here = watched(git.path)
    new_repository(git.path / "inner")
    here.settle()
    assert [nested.path for nested in here.walk.nested] == [here.top + b"/inner"]
    assert not here.sees(git.path / "inner/deep/f")


def test_a_nested_repository_that_is_half_made_is_awaited(repository: Make, watched: Watching, tmp_path: Path) -> None:
    git = repository({"a": b""})
    whole = new_repository(tmp_path / "whole")
    (git.path / "inner/.git").mkdir(parents=True)
    here = watched(git.path)
    assert here.walk.nested == []
    for name in ("objects", "refs", "HEAD"):
        os.rename(whole.path / ".git" / name, git.path / "inner/.git" / name)
    assert here.settle() & Aspect.NESTED
    assert [nested.path for nested in here.walk.nested] == [here.top + b"/inner"]


@pytest.fixture
def parent(repository: Make, tmp_path: Path) -> Git:
    """With a submodule at `libs/sub`."""
    origin = new_repository(tmp_path / "origin", {"d/f": b""})
    git = repository({"a": b""})
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(origin.path), "libs/sub")
    git("commit", "-qm", "submodule")
    return git


def test_a_submodule_is_part_of_the_worktree_and_not_listed(parent: Git, watched: Watching) -> None:
    here = watched(parent.path)
    assert here.walk.nested == []
    assert here.worktree() == {"libs", "libs/sub", "libs/sub/d"}
    assert {"modules", "modules/libs", "modules/libs/sub", "modules/libs/sub/refs/heads"} <= here.git_directories()
    assert here.sees(parent.path / "libs/sub/d/g")


def test_a_commit_and_a_new_branch_in_a_submodule_are_seen(parent: Git, watched: Watching) -> None:
    here = watched(parent.path)
    sub = Git(parent.path / "libs/sub")
    sub("checkout", "-qb", "topic/x")
    assert here.settle() & Aspect.SUBMODULE
    sub("commit", "-q", "--allow-empty", "-m", "x")
    assert here.settle() & Aspect.SUBMODULE
    sub("branch", "topic/y")  # in a directory that was new
    assert here.settle() & Aspect.SUBMODULE


def test_a_submodule_whose_git_dir_moves_into_its_parent(repository: Make, watched: Watching, tmp_path: Path) -> None:
    git = repository({"a": b""})
    sub = new_repository(git.path / "sub", {"f": b""})
    git("add", "sub")
    (git.path / ".gitmodules").write_bytes(b'[submodule "sub"]\n\tpath = sub\n\turl = ./sub\n')
    here = watched(git.path)
    assert here.walk.nested == []
    git("submodule", "absorbgitdirs")
    here.settle()
    sub("commit", "-q", "--allow-empty", "-m", "x")
    assert here.settle() & Aspect.SUBMODULE


def test_a_submodule_that_is_not_checked_out_is_awaited(parent: Git, watched: Watching) -> None:
    parent("submodule", "deinit", "-q", "-f", "libs/sub")
    here = watched(parent.path)
    assert here.worktree() == {"libs", "libs/sub"}
    parent("-c", "protocol.file.allow=always", "submodule", "update", "-q", "--init")
    assert here.sees(parent.path / "libs/sub/d/g")


def test_a_linked_worktree_watches_its_own_git_dir_and_the_common_one(
    repository: Make, watched: Watching, tmp_path: Path
) -> None:
    git = repository({"a/f": b""})
    git("worktree", "add", "-q", "-b", "side", str(tmp_path / "side"))
    here = watched(tmp_path / "side")
    assert {"worktrees", "worktrees/side", "refs/heads", "info"} <= here.git_directories()
    assert here.worktree() == {"a"}
    git("commit", "-q", "--allow-empty", "-m", "x")
    assert here.settle() & Aspect.REFS
    git("config", "user.name", "x")
    assert here.settle() & Aspect.CONFIG
    (tmp_path / "side/new").touch()
    Git(tmp_path / "side")("add", "-A")
    assert here.settle() & Aspect.INDEX
    (git.path / "b").touch()
    git("add", "b")
    assert not here.settle() & (Aspect.INDEX | Aspect.OTHER), "the main worktree's index is not ours"


def test_core_worktree_leads_elsewhere(repository: Make, watched: Watching, tmp_path: Path) -> None:
    git = repository({"a": b""})
    (tmp_path / "elsewhere/d").mkdir(parents=True)
    git("config", "core.worktree", str(tmp_path / "elsewhere"))
    here = watched(git.path)
    assert here.top == os.fsencode(tmp_path / "elsewhere")
    assert here.sees(tmp_path / "elsewhere/d/f")
    git("config", "user.name", "x")
    assert here.settle() & Aspect.CONFIG


def test_a_bare_repository_has_no_worktree(repository: Make, watched: Watching) -> None:
    git = repository(None, "bare.git", "--bare")
    here = watched(git.path)
    assert "objects" not in here.worktree()
    (git.path / "gc.pid").touch()
    here.table.drain()
    assert not here.watch.take()
    git("config", "x.y", "z")
    assert here.settle() & Aspect.CONFIG


def test_an_index_that_only_git_reads(repository: Make, watched: Watching) -> None:
    git = repository({".gitignore": b"build\n", "a": b""})
    (git.path / "build/kept").mkdir(parents=True)
    (git.path / "build/kept/f").touch()
    git("add", "-f", "build/kept/f")
    git("update-index", "--split-index")
    assert watched(git.path).worktree() == {"build", "build/kept"}


def test_directories_with_attributes(repository: Make, watched: Watching) -> None:
    git = repository({".gitattributes": b"", "a/.gitattributes": b"", "a/b/f": b""})
    (git.path / "no/.gitattributes").mkdir(parents=True)
    here = watched(git.path)
    assert here.watch.attributes == {b"", b"a"}
    (git.path / "n/m").mkdir(parents=True)
    (git.path / "n/m/.gitattributes").touch()
    here.settle()
    assert here.watch.attributes == {b"", b"a", b"n/m"}
    shutil.rmtree(git.path / "a")
    here.settle()
    assert here.watch.attributes == {b"", b"n/m"}


def test_at_the_limit_a_walk_gives_its_watches_back_and_counts_on(repository: Make) -> None:
    git = repository({"a/b/c/f": b""})
    here = Watched(git.path, limit=8)
    assert (here.watch.placed, len(here.watch.needed), len(here.table)) == (8, 11, 0)


def test_a_directory_moved_within_and_back(repository: Make, watched: Watching) -> None:
    git = repository({"a/b/f": b""})
    here = watched(git.path)
    os.rename(git.path / "a", git.path / "c")
    assert here.sees(git.path / "c/b/g")
    os.rename(git.path / "c", git.path / "a")
    assert here.sees(git.path / "a/b/h")
    assert here.worktree() == {"a", "a/b"}


def test_directories_made_and_moved_while_they_are_walked(repository: Make, watched: Watching) -> None:
    git = repository({"f": b""})
    here = watched(git.path)

    def write(number: int) -> None:
        for turn in range(60):
            deep = git.path / f"{number}/{turn}/x/y"
            deep.mkdir(parents=True)
            (deep / "f").touch()
            os.rename(git.path / f"{number}/{turn}/x", git.path / f"{number}/{turn}/z")
            if turn % 3 == 0:
                shutil.rmtree(git.path / f"{number}/{turn}")
            elif turn % 3 == 1:
                os.rename(git.path / f"{number}/{turn}", git.path / f"moved-{number}-{turn}")

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        here.settle()
    here.settle()
    there = {os.path.relpath(d, git.path) for d, _, _ in os.walk(git.path) if "/.git" not in d} - {"."}
    assert here.worktree() == there


def test_a_directory_with_tracked_files_that_cannot_be_listed_cannot_be_watched(repository: Make) -> None:
    git = repository({"a/f": b"", "b/f": b""})
    done = _as_nobody(git.path, 0o711)
    assert done.stdout == "cannot: a directory with tracked files cannot be listed\n", done.stderr
    done = _as_nobody(git.path, 0o700)
    assert done.stdout == "unreadable: a\n", done.stderr


def _as_nobody(top: Path, mode: int) -> subprocess.CompletedProcess[str]:
    for directory in (top, *top.parents):
        if os.stat(directory).st_uid == os.getuid() and len(directory.parts) > 2:
            directory.chmod(0o755)
    (top / "a").chmod(mode)
    return subprocess.run(
        [sys.executable, "-c", _WALK_AS_NOBODY, str(top)], capture_output=True, text=True, check=False
    )


_WALK_AS_NOBODY = """
import os, sys
import gitwatchd.watch.inotify  # before its own files are out of reach
from gitwatchd.git.layout import read_location
from gitwatchd.watch.repository_watch import RepositoryWatch
from gitwatchd.watch.table import Allowance, WatchTable
from gitwatchd.watch.walk import RepositoryWalk
if os.getuid() == 0:
    os.environ["HOME"] = "/nonexistent"
    os.environ["XDG_CONFIG_HOME"] = "/nonexistent"
    os.setgid(65534)
    os.setuid(65534)
walk = RepositoryWalk(RepositoryWatch(read_location(os.fsencode(sys.argv[1])), WatchTable()))
try:
    walk.everything()
    print("unreadable:", *[os.path.basename(path).decode() for path in walk.unreadable])
except OSError as error:
    print("cannot:", error.strerror)
"""


# ---- without watches


def test_find_nested_knows_submodules_by_their_gitlinks(parent: Git) -> None:
    """Not by `modules` somewhere in a path, as an earlier tool did."""
    inner = new_repository(parent.path / "modules/inner", {"f": b""})
    location = read_location(os.fsencode(parent.path))
    assert location is not None
    assert [nested.path for nested in find_nested(location)] == [os.fsencode(inner.path)]


def test_find_nested_looks_into_ignored_directories_only_when_told(repository: Make) -> None:
    git = repository({".gitignore": b"vendor\n"})
    inner = new_repository(git.path / "vendor/inner", {"f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    assert find_nested(location) == []
    assert [nested.path for nested in find_nested(location, include_ignored=True)] == [os.fsencode(inner.path)]


def test_find_nested_in_a_repository_whose_index_is_damaged(repository: Make) -> None:
    git = repository({"a": b""})
    (git.path / ".git/index").write_bytes(b"DIRC nonsense")
    location = read_location(os.fsencode(git.path))
    assert location is not None
    assert find_nested(location) == []


@pytest.mark.parametrize("part", ["logs", "info"])
def test_no_watch_is_sought_beyond_a_link_in_the_git_dir(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    """It may lead onto a dead mount, and whoever waits there holds the table's lock."""
    git = new_repository(tmp_path / "r", {"f": b"1\n"})
    (git.path / ".git" / part).rename(tmp_path / "elsewhere")
    (git.path / ".git" / part).symlink_to(tmp_path / "elsewhere")
    sought: list[bytes] = []
    monkeypatch.setattr(WatchTable, "add", lambda _self, path, *_: sought.append(path))
    with pytest.raises(OSError, match="a symbolic link inside the git dir"):
        Watched(git.path)
    assert sought == []
