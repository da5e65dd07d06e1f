"""New ignore rules, followed where it is known in which directories something untracked lies. Every answer is git's."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitwatchd.incremental import rejudge, untracked
from gitwatchd.incremental.state import RepositoryState
from gitwatchd.incremental.terms import Inexact
from gitwatchd.incremental.untracked import UntrackedSearch
from gitwatchd.incremental.untracked_column import UntrackedColumn
from tests.zoo.commands import Git, new_repository
from tests.zoo.nursery import append, write

Make = Callable[..., Git]
Follow = Callable[[Git], Any]
"""`tests/incremental/conftest.py`."""

FILES = {"a/one": b"1\n", "a/b/two": b"2\n", "c/three": b"3\n", "top": b"top\n", ".gitignore": b"*.o\nbuild/\n"}


@pytest.fixture
def git(repository: Make) -> Git:
    return repository(FILES)


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Every directory that a search lists."""
    directories: list[bytes] = []
    list_ = UntrackedSearch._list

    def note(search: UntrackedSearch, directory: bytes) -> list[tuple[bytes, object]]:
        directories.append(directory)
        return list_(search, directory)

    monkeypatch.setattr(UntrackedSearch, "_list", note)
    return directories


@pytest.fixture
def only_strays(monkeypatch: pytest.MonkeyPatch) -> None:
    """Listing all there is for new rules is an error."""

    def refuse(_column: UntrackedColumn, directory: bytes, _search: UntrackedSearch) -> None:
        raise AssertionError(f"{directory!r} is listed with all below it")

    monkeypatch.setattr(UntrackedColumn, "relist", refuse)


def test_only_directories_with_something_untracked_are_listed(git: Git, follow: Follow, listed: list[bytes]) -> None:
    write(git.path / "a/b/x.o", b"")
    write(git.path / "build/x", b"")
    followed = follow(git)
    followed.learn_strays()
    followed.after(lambda: append(git.path / ".gitignore", b"!x.o\n"))
    followed.expect_git_s()
    assert set(listed) == {b"", b"a/b"}
    listed.clear()
    followed.after(lambda: write(git.path / ".gitignore", b"*.o\n"))
    followed.expect_git_s()
    assert set(listed) == {b"", b"a/b", b"build"}


@pytest.mark.usefixtures("only_strays")
def test_what_comes_and_what_leaves_the_index_is_judged_by_new_rules(git: Git, follow: Follow) -> None:
    followed = follow(git)
    followed.learn_strays()
    followed.after(lambda: write(git.path / "c/x.o", b""))
    followed.expect_git_s()
    followed.after(lambda: git("rm", "-q", "--cached", "a/one", "a/b/two"))
    followed.expect_git_s()
    followed.after(lambda: write(git.path / ".gitignore", b"one\n"))
    followed.expect_git_s()
    followed.after(lambda: write(git.path / ".gitignore", b"/a\n"))
    followed.expect_git_s()
    followed.after((git.path / ".gitignore").unlink)
    followed.expect_git_s()


@pytest.mark.usefixtures("only_strays")
def test_a_tracked_directory_that_is_ignored_and_is_not(git: Git, follow: Follow) -> None:
    for name in ("a/new", "a/b/new", "a/d/new", "e/f/new"):
        write(git.path / name, b"")
    followed = follow(git)
    followed.learn_strays()
    for rules in (b"/a/\n", b"/a/*\n!/a/b\n", b"a/b\ne/*\n", b"", b"*\n!*/\n", b"*\n", b"/e/f/new\n!new\n"):
        followed.after(lambda rules=rules: write(git.path / ".gitignore", rules))
        followed.expect_git_s()


@pytest.mark.usefixtures("only_strays")
def test_rules_of_a_directory_change_nothing_beside_it(git: Git, follow: Follow) -> None:
    for name in ("a/x.o", "a/b/x.o", "ab/x.o", "c/x.o", "c/new"):
        write(git.path / name, b"")
    followed = follow(git)
    followed.learn_strays()
    for place, rules in (
        ("a", b"!*.o\n"), ("a/b", b"*.o\n"), ("a", b""), ("c", b"*\n"), ("c", b"*\n!x.o\n"), ("a/b", b"!x.o\n"),
    ):  # fmt: skip
        followed.after(lambda place=place, rules=rules: write(git.path / place / ".gitignore", rules))
        followed.expect_git_s()


@pytest.mark.usefixtures("only_strays")
def test_repositories_within_are_judged_by_new_rules(git: Git, follow: Follow) -> None:
    new_repository(git.path / "a/inner", {"f": b""})
    new_repository(git.path / "build/deep/inner", {"f": b""})
    followed = follow(git)
    followed.learn_strays()
    for rules in (b"inner\n", b"", b"build\n", b"build/deep\n!inner\n", b"*\n!/a/inner\n"):
        followed.after(lambda rules=rules: write(git.path / ".gitignore", rules))
        followed.expect_git_s()


def test_where_an_index_was_not_followed_all_is_listed(git: Git, follow: Follow, listed: list[bytes]) -> None:
    """The file that left it lies where nothing untracked lay."""
    followed = follow(git)
    strays = followed.learn_strays()
    git("rm", "-q", "--cached", "a/b/two")
    followed = follow(git)
    followed.state.learn_strays(strays)
    listed.clear()
    followed.after(lambda: write(git.path / ".gitignore", b"two\n"))
    followed.expect_git_s()
    assert {b"", b"a", b"a/b", b"c"} <= set(listed)


@pytest.mark.usefixtures("only_strays")
def test_what_was_listed_by_another_index_is_not_believed(git: Git, follow: Follow) -> None:
    """As a walk would that read the index before it was replaced, twice, and ended after that."""
    write(git.path / "a/b/x.o", b"")
    git("add", "-f", "a/b/x.o")
    followed = follow(git)
    strays = followed.learn_strays()
    before = followed.state.index
    followed.after(lambda: git("rm", "-q", "--cached", "a/b/x.o"))
    strays.begin()
    strays.complete(before)
    with pytest.raises(AssertionError, match="is listed with all below it"):
        followed.after(lambda: write(git.path / ".gitignore", b""))


def test_directories_that_hold_nothing_of_the_kind_any_more_are_forgotten(git: Git, follow: Follow) -> None:
    followed = follow(git)
    strays = followed.learn_strays()
    followed.after(lambda: write(git.path / "c/x.o", b""), lambda: write(git.path / "a/x.o", b""))
    followed.after((git.path / "c/x.o").unlink)
    assert strays.below(b"") == {b"a", b"c"}
    followed.after(lambda: append(git.path / ".gitignore", b"x\n"))
    assert strays.below(b"") == {b"a"}
    followed.after(lambda: write(git.path / "c/x.o", b""), lambda: write(git.path / ".gitignore", b""))
    followed.expect_git_s()


@pytest.mark.parametrize(("module", "limit"), [(untracked, "MOST_LISTED"), (rejudge, "MOST_TIMES")])
def test_too_much_to_look_at_is_git_s(
    git: Git, follow: Follow, monkeypatch: pytest.MonkeyPatch, module: Any, limit: str
) -> None:
    for number in range(30):
        write(git.path / f"a/build/{number}", b"")
    followed = follow(git)
    followed.learn_strays()
    monkeypatch.setattr(module, limit, 20)
    followed.after(lambda: append(git.path / ".gitignore", b"x\n"))
    followed.expect_git_s()
    with pytest.raises(Inexact, match="too many files"):
        followed.after(lambda: write(git.path / ".gitignore", b""))


# ---- the newest file


def newest_of(git: Git) -> int:
    """Of the tracked and untracked, not ignored, files, and of those below a tracked name."""
    names = set(git("ls-files", "-z").split(b"\0")[:-1])
    names |= set(git("ls-files", "-z", "-o", "--exclude-standard", ":/").split(b"\0")[:-1])
    paths = [git.path / os.fsdecode(name) for name in names]
    return max(path.lstat().st_mtime_ns for path in paths if path.is_file() and not path.is_symlink())


class Newest:
    """What the state tells of it, beside what there is."""

    def __init__(self, git: Git, state: RepositoryState) -> None:
        self.git = git
        self.state = state
        self.looked_at_all = 0
        self.known_ns = newest_of(git)
        state.newest.settle(self.known_ns / 1e9)

    def expect_true(self) -> None:
        newest, truth = self.state.newest, newest_of(self.git)
        if newest.lost:
            self.looked_at_all += 1
        else:
            assert abs(max(newest.seen_ns, self.known_ns) - truth) < 1000
        self.known_ns = truth
        newest.settle(truth / 1e9)


def stamped(path: Path, seconds: int, content: bytes = b"") -> None:
    write(path, content)
    os.utime(path, (seconds, seconds))


def test_the_newest_file_is_known_after_new_rules(git: Git, follow: Follow) -> None:
    for name, seconds in (("old.o", 1), ("build/new", 2_000_000_000), ("a/plain", 5)):
        stamped(git.path / name, seconds)
    followed = follow(git)
    followed.learn_strays()
    newest = Newest(git, followed.state)
    followed.after(lambda: append(git.path / ".gitignore", b"plain\n"))
    newest.expect_true()
    assert newest.looked_at_all == 0, "the rules themselves are newer than what they may have left out"
    followed.after(lambda: write(git.path / ".gitignore", b"*.o\n"))  # build/new is the newest from now on
    newest.expect_true()
    assert newest.looked_at_all == 0
    followed.after(lambda: write(git.path / ".gitignore", b"build/\n"))
    newest.expect_true()
    assert newest.looked_at_all == 1


def test_the_newest_file_of_a_directory_that_nothing_stood_for(git: Git, follow: Follow) -> None:
    write(git.path / ".gitignore", b"/a\n")
    git("commit", "-qam", "rules")
    stamped(git.path / "a/b/two", 2_000_000_000)
    followed = follow(git)
    followed.learn_strays()
    newest = Newest(git, followed.state)
    followed.after(lambda: git("rm", "-q", "-r", "--cached", "a"))
    newest.expect_true()
    looked = newest.looked_at_all
    followed.after(lambda: write(git.path / ".gitignore", b""))
    followed.expect_git_s()
    newest.expect_true()
    assert newest.looked_at_all == looked


def test_the_newest_file_below_a_tracked_name(git: Git, follow: Follow) -> None:
    """No entry stands for it, but it counts; new rules say whether."""
    (git.path / "top").unlink()
    stamped(git.path / "top/x.o", 2_000_000_000)
    followed = follow(git)
    followed.learn_strays()
    newest = Newest(git, followed.state)
    followed.after(lambda: write(git.path / ".gitignore", b"# nothing\n"))
    followed.expect_git_s()
    newest.expect_true()
    assert newest.looked_at_all == 1


# ---- at random

DIRECTORIES = ("", "a", "a/b", "c", "a/d", "build", "build/in", "e/f")
NAMES = ("one", "two", "x.o", "y.o", "new", "keep.o")
RULES = (
    "*.o", "!*.o", "build/", "!build/", "/a", "/a/*", "!/a/b", "b", "new", "!new", "*", "!*/", "!.gitignore", "e/**",
    "**/f", "d/", "in", "!keep.o", "/build/*", "!/build/in", "# nothing", "",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(6))
def test_random_rules_and_files(git: Git, follow: Follow, seed: int) -> None:
    rng = random.Random(seed)
    followed, advanced = None, 0
    for _ in range(60):
        if followed is None:
            followed = follow(git)
            followed.learn_strays()
            newest = Newest(git, followed.state)
        operations = [_random_operation(git, rng) for _ in range(rng.choice((1, 1, 2)))]
        try:
            followed.after(*operations)
        except Inexact:
            followed = None
            continue
        advanced += 1
        followed.expect_git_s()
        newest.expect_true()
    assert advanced > 30


def _random_operation(git: Git, rng: random.Random) -> Callable[[], object]:
    directory = git.path / rng.choice(DIRECTORIES)
    path = directory / rng.choice(NAMES)

    def edit_rules() -> None:
        if directory.is_dir() or rng.random() < 0.3:
            lines = rng.sample(RULES, rng.randint(0, 3))
            write(directory / ".gitignore", "".join(f"{line}\n" for line in lines).encode())

    def write_file() -> None:
        if not path.is_dir():
            stamped(path, rng.choice((5, 1_500_000_000, 2_000_000_000)), b"%d\n" % rng.randrange(100))

    def remove_file() -> None:
        path.unlink(missing_ok=True)

    def remove_directory() -> None:
        if directory != git.path:
            shutil.rmtree(directory, ignore_errors=True)

    def move_directory() -> None:
        other = git.path / rng.choice(DIRECTORIES)
        there = directory.is_dir() and directory != git.path
        if there and other.parent.is_dir() and not other.exists() and directory not in other.parents:
            directory.rename(other)

    def add() -> None:
        if path.is_file():
            git("add", "-f", str(path))

    def forget() -> None:
        git("rm", "-q", "-r", "--cached", "--ignore-unmatch", str(path if rng.random() < 0.5 else directory))

    def commit() -> None:
        git("commit", "-q", "--allow-empty", "-m", "more")

    kinds = (edit_rules, edit_rules, edit_rules, write_file, write_file, remove_file, remove_directory,
             move_directory, add, forget, commit)  # fmt: skip
    return rng.choice(kinds)
