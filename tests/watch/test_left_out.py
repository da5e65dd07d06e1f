"""Directories that rules left out and do not any more are watched, without a walk of all that there is."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.git.index_file import read_index
from gitwatchd.incremental import strays as strays_module
from gitwatchd.watch import walk as walk_module
from gitwatchd.watch.changes import Role
from gitwatchd.watch.repository_watch import find_rules, rules_of
from tests.watch.test_walk import Watched
from tests.watch.watched import Fleet
from tests.zoo.commands import Git, new_repository
from tests.zoo.nursery import write

Make = Callable[..., Git]


@pytest.fixture
def git(repository: Make) -> Git:
    git = repository({".gitignore": b"build/\n", "a/b/f": b"", "c/f": b"", "vendor/kept/f": b""})
    for name in ("build/deep/x", "a/build/x", "vendor/other/x", "vendor/kept/build/x"):
        write(git.path / name, b"")
    return git


@pytest.fixture
def here(git: Git) -> Iterator[Watched]:
    watched = Watched(git.path)
    yield watched
    watched.table.close()


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Where walks of the worktree begin."""
    starts: list[bytes] = []
    walk_directories = walk_module.walk_directories

    def note(tree: object, start: list[bytes], *rest: object) -> None:
        starts.extend(start)
        walk_directories(tree, start, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(walk_module, "walk_directories", note)
    return starts


def strays(here: Watched, directory: bytes = b"") -> set[bytes] | None:
    return here.watch.strays.below(directory)


def test_a_walk_tells_where_something_untracked_lies(here: Watched) -> None:
    assert strays(here) == {b"", b"a", b"vendor", b"vendor/other", b"vendor/kept"}
    assert strays(here, b"vendor/kept") == {b"vendor/kept"}
    index = read_index(os.fsencode(here.watch.location.git_dir + b"/index"), 20)
    assert here.watch.strays.agree(index)


def test_only_what_is_no_longer_ignored_is_entered(git: Git, here: Watched, entered: list[bytes]) -> None:
    write(git.path / ".gitignore", b"/build\n")
    here.settle()
    assert set(entered) == {b"a/build", b"vendor/kept/build"}
    assert here.walk.entered == {b"a/build", b"vendor/kept/build"}
    assert here.sees(git.path / "a/build/y") and here.sees(git.path / "vendor/kept/build/y")
    assert not here.sees(git.path / "build/y")
    entered.clear()
    write(git.path / ".gitignore", b"")
    here.settle()
    assert set(entered) == {b"build"} and here.walk.entered == {b"build", b"build/deep"}
    assert here.sees(git.path / "build/deep/y")


def test_rules_that_leave_out_more_read_no_index(git: Git, here: Watched) -> None:
    (git.path / ".git/index").write_bytes(b"damaged: it must not be read")
    write(git.path / ".gitignore", b"build/\nother/\n*.o\n")
    here.settle()
    assert here.walk.entered == set()
    assert here.sees(git.path / "vendor/other/y"), "what was watched stays so"


def test_rules_further_down_with_negations(git: Git, here: Watched, entered: list[bytes]) -> None:
    write(git.path / "a/.gitignore", b"!build/\n")
    here.settle()
    assert entered == [b"a/build"]
    entered.clear()
    write(git.path / "vendor/.gitignore", b"*\n!*/\n")
    here.settle()
    assert entered == [b"vendor/kept/build"]
    assert here.sees(git.path / "vendor/kept/build/y")


def test_a_directory_made_after_the_walk(git: Git, here: Watched) -> None:
    write(git.path / "c/build/x", b"")
    write(git.path / "new/deep/build/x", b"")
    here.settle()
    write(git.path / ".gitignore", b"")
    assert here.sees(git.path / "c/build/y") and here.sees(git.path / "new/deep/build/y")


@pytest.mark.parametrize("where", [".gitignore", ".git/info/exclude"])
def test_below_a_directory_moved_here(git: Git, here: Watched, where: str) -> None:
    write(git.path / ".gitignore", b"")
    write(git.path / where, b"build/\n")
    here.settle()
    write(git.path.parent / "aside/deep/build/x", b"")
    (git.path.parent / "aside").rename(git.path / "c/moved")
    assert not here.sees(git.path / "c/moved/deep/build/y")
    write(git.path / where, b"")
    assert here.sees(git.path / "c/moved/deep/build/z")


def test_repositories_that_are_no_longer_ignored(git: Git, here: Watched, entered: list[bytes]) -> None:
    new_repository(git.path / "a/build/inner", {"f": b""})
    write(git.path / ".gitignore", b"/build\n")
    here.settle()
    assert [nested.path for nested in here.walk.nested] == [here.top + b"/a/build/inner"]
    assert here.walk.entered == {b"a/build", b"a/build/inner", b"vendor/kept/build"}
    entered.clear()
    write(git.path / ".gitignore", b"/build/\n")
    here.settle()
    assert entered == [] and here.table.watches(here.top + b"/a/build/inner", here.watch, Role.NESTED)


def test_rules_within_a_submodule_are_its_own(git: Git, tmp_path: Path, entered: list[bytes]) -> None:
    origin = new_repository(tmp_path / "origin", {".gitignore": b"build/\n", "f": b""})
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(origin.path), "sub")
    write(git.path / "sub/build/x", b"")
    write(git.path / "sub/private/x", b"")
    write(git.path / ".git/modules/sub/info/exclude", b"private/\n")
    here = Watched(git.path)
    write(git.path / "sub/new", b"")
    write(git.path / ".gitignore", b"# nothing\n")
    here.settle()
    entered.clear()
    write(git.path / ".gitignore", b"# still nothing\n")
    here.settle()
    assert entered == [] and not here.sees(git.path / "sub/build/y")
    write(git.path / "sub/.gitignore", b"")
    assert here.sees(git.path / "sub/build/z")
    here.table.close()


def test_where_strays_are_unknown_all_is_walked_and_known_again(git: Git, here: Watched, entered: list[bytes]) -> None:
    git("rm", "-q", "--cached", "c/f")
    index = read_index(os.fsencode(here.watch.location.git_dir + b"/index"), 20)
    here.watch.strays.expect(index)  # as whoever follows the repository from there
    assert strays(here) is None
    write(git.path / "a/.gitignore", b"")
    here.settle()
    assert entered == [b"a"] and strays(here) is None
    entered.clear()
    write(git.path / ".gitignore", b"/build\n")
    here.settle()
    assert entered == [b""] and here.walk.entered == {b"a/build", b"vendor/kept/build"}
    assert strays(here) is not None and b"c" in (strays(here) or ()) and here.watch.strays.agree(index)


def test_too_many_to_be_kept_are_counted_anew_by_the_next_walk_of_all(
    git: Git, here: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strays_module, "MOST_HOLDERS", 7)
    for number in range(3):
        write(git.path / f"new/{number}/x", b"")
    here.settle()
    assert strays(here) is None
    shutil.rmtree(git.path / "new")
    here.settle()
    assert strays(here) is None
    write(git.path / ".gitignore", b"/build\n")
    here.settle()
    assert strays(here) == {b"", b"a", b"a/build", b"vendor", b"vendor/other", b"vendor/kept", b"vendor/kept/build"}


def test_with_too_many_directories_to_list_all_is_walked(
    git: Git, here: Watched, entered: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(walk_module, "MOST_HOLDERS_LISTED", 2)
    write(git.path / ".gitignore", b"/build\n")
    here.settle()
    assert entered == [b""]
    assert here.sees(git.path / "a/build/y")


def test_rules_that_only_git_can_judge_leave_out_nothing(git: Git, here: Watched) -> None:
    write(git.path / ".gitignore", b"build/\na**/x\n")
    assert here.sees(git.path / "build/deep/y")


def test_directories_that_went_are_not_listed(git: Git, here: Watched) -> None:
    shutil.rmtree(git.path / "vendor")
    here.settle()
    assert strays(here) == {b"", b"a"}
    write(git.path / ".gitignore", b"/build\n")
    assert here.sees(git.path / "a/build/y")


def test_marks_of_rules_are_told_from_directories() -> None:
    marks = {rules_of(b""), rules_of(b"a/b"), b"a", b"", b".git", b".git/"}
    assert find_rules(marks) == {b"/": b"", b"a/b/": b"a/b"}


def test_a_walk_tells_what_it_entered_for_the_sake_of_rules(fleet: Fleet, root: Path) -> None:
    git = new_repository(root / "a", {".gitignore": b"build/\n"})
    write(git.path / "build/x", b"")
    assert fleet.walk(git.path).entered is None
    (git.path / "new").mkdir()
    assert fleet.walk(git.path, frozenset(fleet.drained(git.path).new_directories)).entered is None
    write(git.path / ".gitignore", b"")
    assert fleet.walk(git.path, frozenset(fleet.drained(git.path).new_directories)).entered == {b"build"}
