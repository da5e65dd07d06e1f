"""Following a repository from change to change; every answer is git's. The names tell what once went wrong, or may."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitwatchd.incremental.state import FEW_ENTRIES
from gitwatchd.incremental.terms import Inexact
from tests.zoo.commands import Git, judge
from tests.zoo.nursery import append, write

Make = Callable[..., Git]
Follow = Callable[[Git], Any]
"""`tests/incremental/conftest.py`."""

FILES = {"a/one": b"1\n", "a/b/two": b"2\n", "c/three": b"3\n", "top": b"top\n", ".gitignore": b"*.o\n"}


@pytest.fixture
def git(repository: Make) -> Git:
    return repository(FILES)


# ---- the worktree


def test_an_edit_and_its_undoing(git: Git, follow: Follow) -> None:
    followed = follow(git)
    followed.after(lambda: append(git.path / "top", b"more\n"))
    followed.expect_git_s()
    followed.after(lambda: write(git.path / "top", FILES["top"]))
    followed.expect_git_s()


def test_a_deleted_directory_and_its_return(git: Git, follow: Follow) -> None:
    followed = follow(git)
    followed.after(lambda: (git.path / "a").rename(git.path / "elsewhere"))
    followed.expect_git_s()
    followed.after(lambda: (git.path / "elsewhere").rename(git.path / "a"))
    followed.expect_git_s()


@pytest.mark.parametrize("target", ["a-aside", "nowhere", ".."])
def test_a_tracked_directory_becomes_a_link(git: Git, follow: Follow, target: str) -> None:
    followed = follow(git)

    def replace() -> None:
        (git.path / "a").rename(git.path / "a-aside")
        (git.path / "a").symlink_to(target)

    followed.after(replace)
    followed.expect_git_s()


def test_an_index_change_beyond_a_link_is_not_looked_up_through_it(git: Git, follow: Follow) -> None:
    """The unclean paths are looked at again after each change of the index: those behind the link too."""
    (git.path / "a").rename(git.path / "a-aside")
    (git.path / "a").symlink_to("a-aside")
    followed = follow(git)
    followed.after(lambda: git("rm", "-q", "--cached", "c/three"))
    followed.expect_git_s()
    followed.after(lambda: git("rm", "-q", "--cached", "a/one"))
    followed.expect_git_s()


def test_a_conflict_beyond_a_link_has_no_mode_in_the_worktree(git: Git, follow: Follow) -> None:
    git("config", "status.renames", "false")
    _conflict(git, "a/one", (1, 2, 3))
    (git.path / "a").rename(git.path / "a-aside")
    (git.path / "a").symlink_to("a-aside")
    followed = follow(git)
    followed.after(lambda: write(git.path / "new", b""))
    followed.expect_git_s()


@pytest.mark.parametrize("name", ["top", "a"])
def test_file_and_directory_change_places(git: Git, follow: Follow, name: str) -> None:
    followed = follow(git)
    path = git.path / name

    def flip() -> None:
        if path.is_dir():
            shutil.rmtree(path)
            path.write_bytes(b"a file\n")
        else:
            path.unlink()
            write(path / "inside", b"1\n")

    for _ in range(3):
        followed.after(flip)
        followed.expect_git_s()


def test_several_same_size_edits_between_two_looks(git: Git, follow: Follow) -> None:
    followed = follow(git)
    for content in (b"toq\n", b"top\n", b"tor\n", b"top\n"):
        followed.after(lambda content=content: write(git.path / "top", content))
        try:
            followed.expect_git_s()
        except Inexact:
            followed = follow(git)


def test_content_found_clean_is_not_believed_within_a_tick_of_the_clock(git: Git, follow: Follow) -> None:
    followed = follow(git)
    write(git.path / "top", FILES["top"])
    followed.advance({b"top"})
    assert followed.state._hashed_clean == {}
    os.utime(git.path / "top", ns=(10**18, 10**18))
    while os.stat(git.path / "top").st_ctime_ns > _file_clock(git) - 30_000_000:
        pass
    followed.advance({b"top"})
    assert list(followed.state._hashed_clean) == [b"top"]
    followed.expect_git_s()


# ---- the index


def test_removing_the_last_file_of_a_directory_from_the_index(git: Git, follow: Follow) -> None:
    write(git.path / "c/beside", b"")
    followed = follow(git)
    followed.after(lambda: git("rm", "-q", "--cached", "c/three"))
    followed.expect_git_s()
    followed.after(lambda: git("rm", "-rq", "--cached", "a"))
    followed.expect_git_s()


def test_the_first_add_in_an_untracked_directory(git: Git, follow: Follow) -> None:
    for name in ("new/deep/one", "new/deep/two", "new/three", "new/x.o"):
        write(git.path / name, b"")
    followed = follow(git)
    followed.after(lambda: git("add", "new/deep/one"))
    followed.expect_git_s()
    followed.after(lambda: git("reset", "-q"))
    followed.expect_git_s()


def test_a_deleted_file_that_leaves_the_index_with_its_directory(git: Git, follow: Follow) -> None:
    """Seen as `.D` of an entry that is no more: its directory came in the same moment and was looked at instead."""
    write(git.path / "a/new/file", b"")
    git("add", "-A")
    (git.path / "a/new/file").unlink()
    followed = follow(git)

    def leave() -> None:
        git("rm", "-q", "--cached", "a/new/file")
        (git.path / "a").rename(git.path / "aside")
        (git.path / "aside").rename(git.path / "a")

    followed.after(leave, lambda: None)
    followed.advance({b"a"}, index_changed=True)
    followed.expect_git_s()


def test_a_directory_under_a_name_that_comes_back_to_the_index(git: Git, follow: Follow) -> None:
    git("rm", "-q", "--cached", "top")
    (git.path / "top").unlink()
    write(git.path / "top/file", b"")
    followed = follow(git)
    followed.after(lambda: git("reset", "-q", "--", "top"))
    followed.expect_git_s()


def test_stages_for_an_untracked_file(git: Git, follow: Follow) -> None:
    git("config", "status.renames", "false")
    write(git.path / "new", b"")
    followed = follow(git)
    followed.after(lambda: _conflict(git, "new", (1, 2, 3)))
    followed.expect_git_s()
    followed.after(lambda: git("rm", "-q", "--cached", "new"))
    followed.expect_git_s()


def test_a_conflict_that_ends(git: Git, follow: Follow) -> None:
    git("config", "status.renames", "false")
    _conflict(git, "top", (1, 2, 3))
    followed = follow(git)
    followed.after(lambda: append(git.path / "top", b"solved\n"))
    followed.expect_git_s()
    followed.after(lambda: git("add", "top"))
    followed.expect_git_s()
    followed.after(lambda: git("commit", "-qm", "solved"))
    followed.expect_git_s()


def test_a_deleted_file_may_count_as_renamed_to_one_in_conflict(git: Git, follow: Follow) -> None:
    """git then does not list it at all; and it lists it again once the conflict is over."""
    write(git.path / "long", b"one\ntwo\nthree\n" * 20)
    write(git.path / "other", b"one\ntwo\nthree\n" * 20 + b"four\n")
    git("add", "-A")
    git("commit", "-qm", "long")
    _conflict(git, "other", (1,))
    followed = follow(git)
    followed.after((git.path / "long").unlink)
    with pytest.raises(Inexact):
        followed.entries()
    followed = follow(git)
    assert b" long\0" not in followed.entries()
    with pytest.raises(Inexact):
        followed.after(lambda: git("add", "other"))


def test_a_conflict_from_its_beginning_to_its_end_without_git(git: Git, follow: Follow) -> None:
    git("checkout", "-q", "-b", "theirs")
    write(git.path / "top", b"theirs\n")
    write(git.path / "a/new", b"theirs\n")
    git("add", "-A")
    git("commit", "-qm", "theirs")
    git("checkout", "-q", "main")
    write(git.path / "top", b"ours\n")
    git("commit", "-qam", "ours")
    followed = follow(git)
    followed.after(lambda: git.ask("merge", "-q", "theirs"))
    followed.expect_git_s()
    followed.after(lambda: append(git.path / "top", b"and both\n"))
    followed.expect_git_s()
    followed.after((git.path / "top").unlink)
    followed.expect_git_s()
    followed.after(lambda: write(git.path / "top", b"both\n"))
    followed.expect_git_s()
    followed.after(lambda: git("add", "top"))
    followed.expect_git_s()
    followed.after(lambda: git("commit", "-qm", "merged"))
    followed.expect_git_s()


def test_modes_in_conflict_where_modes_do_not_count(git: Git, follow: Follow) -> None:
    """Counter-example of the soak, seed 1795545283: git shows the mode of the second stage, we showed the first's."""
    git("config", "core.fileMode", "false")
    oid = git("hash-object", "-w", "--stdin", stdin=b"other\n").strip()
    lines = [b"0 %b\ttop" % (b"0" * 40), b"100755 %b 1\ttop" % oid, b"100644 %b 2\ttop" % oid]
    git("update-index", "-z", "--index-info", stdin=b"\0".join(lines) + b"\0")
    assert b" 100755 100644 000000 100644 " in judge(git.path)
    with pytest.raises(Inexact):
        follow(git)


def test_a_file_deleted_before_the_conflict_and_one_after_it(git: Git, follow: Follow) -> None:
    """Both are known; git may take either for the old name of the one in conflict."""
    write(git.path / "long", b"one\ntwo\nthree\n" * 20)
    write(git.path / "other", b"one\ntwo\nthree\n" * 20 + b"four\n")
    git("add", "-A")
    git("commit", "-qm", "long")
    followed = follow(git)
    followed.after((git.path / "long").unlink)
    followed.after(lambda: _conflict(git, "other", (1,)))
    with pytest.raises(Inexact):
        followed.entries()
    followed.after(lambda: write(git.path / "long", b"one\ntwo\nthree\n" * 20))
    followed.expect_git_s()
    followed.after((git.path / "long").unlink)
    with pytest.raises(Inexact):
        followed.entries()


def test_a_file_in_conflict_that_goes_beyond_a_link_may_give_back_what_it_hid(git: Git, follow: Follow) -> None:
    _conflict(git, "a/one", (1, 2, 3))
    followed = follow(git)

    def replace() -> None:
        (git.path / "a").rename(git.path / "a-aside")
        (git.path / "a").symlink_to("a-aside")

    with pytest.raises(Inexact):
        followed.after(replace)


def test_a_submodule_that_was_staged_as_deleted_is_committed(git: Git, follow: Follow) -> None:
    _add_submodule(git)
    git("rm", "-qf", "--cached", "sub")
    followed = follow(git)
    with pytest.raises(Inexact):
        followed.after(lambda: git("commit", "-qm", "no submodule"))


def test_what_gitmodules_says_of_ignoring_counts(git: Git, follow: Follow) -> None:
    """Counter-example of `tests.zoo.comparison 3 500`."""
    _add_submodule(git)
    append(git.path / "sub/file", b"changed\n")
    followed = follow(git)
    with pytest.raises(Inexact):
        followed.after(lambda: append(git.path / ".gitmodules", b"\tignore = all\n"))


def test_gitmodules_without_submodules_is_a_file_like_others(git: Git, follow: Follow) -> None:
    followed = follow(git)
    followed.after(lambda: write(git.path / ".gitmodules", b""))
    followed.expect_git_s()


def test_ignore_rules_left_out_of_the_worktree_are_git_s(git: Git, follow: Follow) -> None:
    git("update-index", "--skip-worktree", ".gitignore")
    (git.path / ".gitignore").unlink()
    write(git.path / "x.o", b"")
    with pytest.raises(Inexact):
        follow(git)
    git("update-index", "--no-skip-worktree", ".gitignore")
    followed = follow(git)
    with pytest.raises(Inexact):
        followed.after(lambda: git("update-index", "--skip-worktree", ".gitignore"))


def test_a_tracked_file_in_an_ignored_directory_has_it_watched(git: Git, follow: Follow) -> None:
    append(git.path / ".gitignore", b"build/\n")
    write(git.path / "build/tracked", b"")
    write(git.path / "build/not", b"")
    followed = follow(git)
    followed.after(lambda: git("add", "-f", "build/tracked"))
    followed.expect_git_s()
    assert followed.state.widens
    followed.after(lambda: write(git.path / "seen", b""), lambda: git("add", "seen"))
    assert not followed.state.widens


def test_tallies_follow_the_index(git: Git, follow: Follow) -> None:
    followed = follow(git)
    followed.after(lambda: git("update-index", "--assume-unchanged", "top"))
    followed.after(lambda: git("update-index", "--skip-worktree", "a/one", "c/three"))
    followed.after(lambda: git("update-index", "--no-skip-worktree", "c/three"))
    followed.after(lambda: git("rm", "-q", "--cached", "a/b/two"))
    assert followed.state.tallies() == followed.state.index.tallies() == (4, 1, 1)
    followed.expect_git_s()


# ---- HEAD


def test_the_staged_column_follows_commits_and_resets(git: Git, follow: Follow) -> None:
    followed = follow(git)
    steps: tuple[Callable[[], object], ...] = (
        lambda: append(git.path / "top", b"2\n"),
        lambda: git("add", "top"),
        lambda: git("commit", "-qm", "second"),
        lambda: git("reset", "-q", "--soft", "HEAD~1"),
        lambda: git("reset", "-q"),
        lambda: git("commit", "-qam", "again"),
        lambda: git("checkout", "-q", "--detach", "HEAD~1"),
        lambda: git("checkout", "-q", "--orphan", "fresh"),
        lambda: git("checkout", "-q", "-f", "main"),
        lambda: git("symbolic-ref", "HEAD", "refs/heads/not/yet"),
        lambda: git("rm", "-q", "--cached", "top"),
        lambda: git("symbolic-ref", "HEAD", "refs/heads/main"),
        lambda: git("update-ref", "HEAD", "HEAD~1"),
        lambda: git("add", "top"),
    )
    for number, step in enumerate(steps):
        followed.after(step)
        assert (number, followed.entries()) == (number, judge(git.path))


def test_a_stash_and_its_pop(git: Git, follow: Follow) -> None:
    append(git.path / "top", b"2\n")
    followed = follow(git)
    followed.after(lambda: git("stash", "-q"))
    followed.expect_git_s()
    followed.after(lambda: git("stash", "pop", "-q"))
    followed.expect_git_s()


def test_a_staged_rename_is_git_s_to_find_and_kept_afterwards(git: Git, follow: Follow) -> None:
    followed = follow(git)
    with pytest.raises(Inexact):
        followed.after(lambda: git("mv", "top", "moved"))
    followed = follow(git)
    followed.after(lambda: append(git.path / "moved", b"more\n"), lambda: append(git.path / "a/one", b"x"))
    followed.expect_git_s()
    followed.after(lambda: git("commit", "-qm", "moved"))
    followed.expect_git_s()


# ---- ignore rules


def test_directories_with_their_rules_change_places(git: Git, follow: Follow) -> None:
    write(git.path / "new/.gitignore", b"*.c\n")
    write(git.path / "new/x.c", b"")
    write(git.path / "other/x.c", b"")
    followed = follow(git)
    followed.after(lambda: write(git.path / "new/y.c", b""), lambda: write(git.path / "other/.gitignore", b""))
    followed.expect_git_s()

    def exchange() -> None:
        (git.path / "new").rename(git.path / "aside")
        (git.path / "other").rename(git.path / "new")
        (git.path / "aside").rename(git.path / "other")

    followed.after(exchange)
    followed.expect_git_s()
    followed.after((git.path / "other/.gitignore").unlink)
    followed.expect_git_s()


def test_another_directory_with_other_rules_under_the_same_name(git: Git, follow: Follow) -> None:
    write(git.path / "kept/rules/.gitignore", b"*.c\n")
    write(git.path / "kept/rules/x.c", b"")
    followed = follow(git)
    followed.after(lambda: write(git.path / "kept/rules/y.c", b""))

    def replace() -> None:
        (git.path / "kept/rules").rename(git.path.parent / "gone")
        (git.path / "kept/rules").mkdir()
        (git.path / "kept/rules/z.c").write_bytes(b"")
        (git.path / "kept/rules/.gitignore").write_bytes(b"!z.c\n.gitignore\n")

    followed.after(replace)
    followed.expect_git_s()
    shutil.rmtree(git.path.parent / "gone")


def test_the_top_is_listed_anew_when_it_was_not_watched_in_part(git: Git, follow: Follow) -> None:
    append(git.path / ".gitignore", b"build/\n")
    (git.path / "build").mkdir()
    followed = follow(git)
    followed.after(lambda: (git.path / ".gitignore").write_bytes(b""))
    write(git.path / "build/file", b"")  # nobody tells
    followed.advance({b""})
    followed.expect_git_s()


# ---- repositories within


def test_a_nested_repository_is_made_and_unmade_by_halves(git: Git, follow: Follow) -> None:
    (git.path / "half").mkdir()
    followed = follow(git)
    git_dir = git.path / "half/.git"
    steps: tuple[Callable[[], object], ...] = (
        git_dir.mkdir,
        (git_dir / "objects").mkdir,
        lambda: write(git_dir / "HEAD", b"ref: refs/heads/main\n"),
        (git_dir / "refs").mkdir,
        (git_dir / "HEAD").unlink,
        lambda: write(git_dir.parent / "file", b""),
        lambda: shutil.rmtree(git_dir),
    )
    for step in steps:
        followed.after(step)
        followed.advance({b"half"})
        followed.expect_git_s()


def test_sparse_checkout_hides_and_shows(git: Git, follow: Follow) -> None:
    git("sparse-checkout", "set", "--cone", "a")
    followed = follow(git)
    followed.after(lambda: append(git.path / "a/one", b"x"))
    followed.expect_git_s()
    with pytest.raises(Inexact):
        followed.after(lambda: write(git.path / "c/three", b"present\n"))


def test_a_submodule_is_followed_for_itself_although_it_names_its_worktree(git: Git, follow: Follow) -> None:
    _add_submodule(git)
    sub = Git(git.path / "sub")
    assert sub("config", "core.worktree").strip() == b"../../../sub"
    followed = follow(sub)
    followed.after(lambda: write(sub.path / "new/untracked", b""))
    followed.expect_git_s()


def _add_submodule(git: Git) -> None:
    inner = Git(git.path.parent / "inner")
    inner.path.mkdir()
    inner("init", "-q")
    write(inner.path / "file", b"1\n")
    inner("add", "-A")
    inner("commit", "-qm", "inner")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    git("commit", "-qm", "submodule")


def _conflict(git: Git, path: str, stages: tuple[int, ...]) -> None:
    blob = git("hash-object", "-w", "--stdin", stdin=b"other\n").strip().decode()
    lines = f"0 {'0' * 40}\t{path}\n" + "".join(f"100644 {blob} {stage}\t{path}\n" for stage in stages)
    git("update-index", "--index-info", stdin=lines.encode())


def _file_clock(git: Git) -> int:
    probe: Path = git.path.parent / "clock"
    probe.write_bytes(b"")
    return probe.stat().st_ctime_ns


def test_a_checkout_of_nearly_all_files_is_left_to_git(git: Git, follow: Follow) -> None:
    names = [f"many/{number:04}" for number in range(FEW_ENTRIES + FEW_ENTRIES // 20)]
    (git.path / "many").mkdir()
    for name in names:
        (git.path / name).write_bytes(b"1\n")
    git("add", "many")
    git("commit", "-qm", "many")
    followed = follow(git)
    with pytest.raises(Inexact, match="too many entries changed"):
        followed.after(lambda: git("rm", "-q", "-r", "--cached", "many"))
