"""What an event makes of one repository's changes; no kernel involved but for the descriptor of the table."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitwatchd.git import reach
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.mounts import Mounts
from gitwatchd.watch.changes import Aspect, Changes, Role
from gitwatchd.watch.events import (
    ATTRIB,
    CREATE,
    DELETE,
    DELETE_SELF,
    ISDIR,
    MODIFY,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
)
from gitwatchd.watch.repository_watch import GIT_DIRECTORIES, TRACKED, Released, RepositoryWatch, rules_of
from gitwatchd.watch.table import Allowance, WatchTable

NOTHING = Changes()


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[RepositoryWatch]:
    top = os.fsencode(tmp_path)
    table = WatchTable()
    yield RepositoryWatch(Location(RepoPath(top), top + b"/.git", top + b"/.git", bare=False), table)
    table.close()


def after(watch: RepositoryWatch, role: Role, mask: int, name: bytes, prefix: bytes = b"") -> Changes:
    watch.note(role, prefix, mask, name)
    return watch.take()


# ---- the worktree


def test_a_file(watch: RepositoryWatch) -> None:
    assert after(watch, Role.WORKTREE, MODIFY, b"f", b"a/") == Changes(paths={b"a/f"})


@pytest.mark.parametrize("mask", [CREATE, MOVED_TO])
def test_a_new_directory_has_to_be_walked(watch: RepositoryWatch, mask: int) -> None:
    assert after(watch, Role.WORKTREE, mask | ISDIR, b"d") == Changes(paths={b"d"}, new_directories={b"d"})


@pytest.mark.parametrize("mask", [DELETE, MOVED_FROM])
def test_a_directory_that_left_has_not(watch: RepositoryWatch, mask: int) -> None:
    assert after(watch, Role.WORKTREE, mask | ISDIR, b"d") == Changes(paths={b"d"})


def test_a_directory_that_may_be_readable_now_has_to_be_walked(watch: RepositoryWatch) -> None:
    os.mkdir(watch.location.path + b"/d")
    assert after(watch, Role.WORKTREE, ATTRIB | ISDIR, b"d").new_directories == {b"d"}
    watch.add(watch.location.path + b"/d", Role.WORKTREE, b"d/")
    assert after(watch, Role.WORKTREE, ATTRIB | ISDIR, b"d").new_directories == set()


def test_the_top_that_left_may_be_another_repository_s(watch: RepositoryWatch) -> None:
    assert after(watch, Role.WORKTREE, MOVE_SELF, b"").aspects is Aspect.IDENTITY
    assert after(watch, Role.WORKTREE, DELETE_SELF, b"").aspects is Aspect.IDENTITY
    assert after(watch, Role.WORKTREE, DELETE_SELF, b"", b"d/") == NOTHING
    assert after(watch, Role.WORKTREE, ATTRIB, b"", b"d/") == Changes(paths={b"d"})


def test_dot_git_of_the_top_is_the_repository_s_identity(watch: RepositoryWatch) -> None:
    assert after(watch, Role.WORKTREE, CREATE | ISDIR, b".git") == Changes(Aspect.IDENTITY)


def test_dot_git_further_down_is_a_nested_repository_at_that_path(watch: RepositoryWatch) -> None:
    expected = Changes(Aspect.NESTED, {b"a/in"}, {b"a/in"})
    assert after(watch, Role.WORKTREE, CREATE, b".git", b"a/in/") == expected
    assert after(watch, Role.NESTED, CREATE, b"HEAD", b"a/in/") == expected
    assert after(watch, Role.NESTED, CREATE, b"HEAD.lock", b"a/in/") == NOTHING
    assert after(watch, Role.NESTED, MODIFY, b"f", b"a/in/") == NOTHING


def test_rules_have_aspects_and_ignore_rules_a_walk(watch: RepositoryWatch) -> None:
    assert after(watch, Role.WORKTREE, MODIFY, b".gitignore", b"a/") == Changes(
        Aspect.IGNORE, {b"a/.gitignore"}, {rules_of(b"a")}
    )
    assert after(watch, Role.WORKTREE, MODIFY, b".gitattributes", b"a/").aspects is Aspect.ATTRIBUTES
    assert after(watch, Role.WORKTREE, CREATE | ISDIR, b".gitignore").aspects is Aspect.NOTHING


def test_directories_with_attributes_are_kept(watch: RepositoryWatch) -> None:
    after(watch, Role.WORKTREE, CREATE, b".gitattributes")
    after(watch, Role.WORKTREE, CREATE, b".gitattributes", b"a/b/")
    watch.note_attributes({b"a/c", b"ab"})
    assert watch.attributes == {b"", b"a/b", b"a/c", b"ab"}
    after(watch, Role.WORKTREE, MOVED_FROM, b".gitattributes")
    after(watch, Role.WORKTREE, DELETE | ISDIR, b"a")
    assert watch.attributes == {b"ab"}


def test_a_directory_that_takes_attributes_away_changes_them(watch: RepositoryWatch) -> None:
    watch.note_attributes({b"a/c"})
    assert after(watch, Role.WORKTREE, MOVED_FROM | ISDIR, b"ab").aspects is Aspect.NOTHING
    assert after(watch, Role.WORKTREE, MOVED_FROM | ISDIR, b"a").aspects is Aspect.ATTRIBUTES
    assert after(watch, Role.WORKTREE, MOVED_FROM | ISDIR, b"a").aspects is Aspect.NOTHING


def test_the_set_of_attributes_is_replaced_not_changed(watch: RepositoryWatch) -> None:
    before = watch.attributes
    watch.note_attributes({b"a"})
    after(watch, Role.WORKTREE, CREATE, b".gitattributes")
    assert before == set()


# ---- git's directories


def test_the_index_asks_for_no_walk(watch: RepositoryWatch) -> None:
    assert after(watch, Role.GIT_DIR, MOVED_TO, b"index") == Changes(Aspect.INDEX)


def test_a_lock_says_nothing_until_it_vanishes(watch: RepositoryWatch) -> None:
    assert after(watch, Role.GIT_DIR, CREATE, b"HEAD.lock") == NOTHING
    assert after(watch, Role.GIT_DIR, MODIFY, b"HEAD.lock") == NOTHING
    assert after(watch, Role.GIT_DIR, MOVED_FROM, b"HEAD.lock") == Changes(Aspect.HEAD)
    assert after(watch, Role.REFS, DELETE, b"stash.lock") == Changes(Aspect.STASH)
    assert after(watch, Role.GIT_DIR, DELETE, b"gc.pid.lock") == NOTHING


def test_the_lock_of_the_index_tells_that_git_is_at_work(watch: RepositoryWatch) -> None:
    assert after(watch, Role.GIT_DIR, CREATE, b"index.lock") == Changes(busy=True)
    assert after(watch, Role.GIT_DIR, MOVED_FROM, b"index.lock") == Changes(Aspect.INDEX, busy=False)
    assert after(watch, Role.COMMON_DIR, CREATE, b"index.lock") == NOTHING


def test_a_directory_named_like_a_lock_is_a_directory(watch: RepositoryWatch) -> None:
    assert after(watch, Role.REFS, CREATE | ISDIR, b"x.lock") == Changes(Aspect.REFS, set(), {GIT_DIRECTORIES})


@pytest.mark.parametrize(
    ("role", "name"),
    [
        (Role.REFS, b"feature"),
        (Role.GIT_DIR, b"rebase-merge"),
        (Role.GIT_DIR, b"info"),
        (Role.GIT_DIR, b"logs"),
        (Role.COMMON_DIR, b"worktrees"),
        (Role.WORKTREES, b"linked"),
        (Role.LOGS, b"refs"),
    ],
)
def test_new_directories_of_git_s_are_walked(watch: RepositoryWatch, role: Role, name: bytes) -> None:
    assert after(watch, role, CREATE | ISDIR, name).new_directories == {GIT_DIRECTORIES}
    assert after(watch, role, DELETE | ISDIR, name).new_directories == set()


def test_objects_are_never_walked(watch: RepositoryWatch) -> None:
    assert after(watch, Role.GIT_DIR, CREATE | ISDIR, b"objects") == NOTHING


def test_a_submodule_s_change_asks_for_its_directories(watch: RepositoryWatch) -> None:
    assert after(watch, Role.MODULE, MOVED_TO, b"index", b"sub/") == Changes(Aspect.SUBMODULE, set(), {TRACKED})
    expected = Changes(Aspect.SUBMODULE, set(), {TRACKED, GIT_DIRECTORIES})
    assert after(watch, Role.MODULE, CREATE | ISDIR, b"feature", b"sub/") == expected


def test_configuration_and_exclude_rules_may_change_what_is_watched(watch: RepositoryWatch) -> None:
    assert after(watch, Role.GIT_DIR, MOVED_TO, b"config").new_directories == {GIT_DIRECTORIES}
    assert after(watch, Role.INFO, MODIFY, b"exclude") == Changes(Aspect.IGNORE, set(), {GIT_DIRECTORIES})
    assert after(watch, Role.INFO, MODIFY, b"attributes") == Changes(Aspect.ATTRIBUTES, set(), {GIT_DIRECTORIES})


def test_a_git_dir_that_left_may_be_another_repository_s(watch: RepositoryWatch) -> None:
    assert after(watch, Role.GIT_DIR, MOVE_SELF, b"").aspects is Aspect.IDENTITY
    assert after(watch, Role.COMMON_DIR, DELETE_SELF, b"").aspects is Aspect.IDENTITY
    assert after(watch, Role.REFS, DELETE_SELF, b"") == NOTHING


def test_lost_events(watch: RepositoryWatch) -> None:
    watch.lost()
    assert watch.take() == Changes(Aspect.LOST)
    assert watch.take() == NOTHING


def test_nothing_is_watched_after_release(watch: RepositoryWatch) -> None:
    watch.add(watch.location.path, Role.WORKTREE, b"")
    watch.release()
    with pytest.raises(Released):
        watch.add(watch.location.path, Role.WORKTREE, b"")
    assert len(watch.table) == 0 and watch.released


# ---- a directory above that became a link onto a mount that may hang


@pytest.mark.parametrize(
    ("role", "name"), [(Role.GIT_DIR, b"index"), (Role.COMMON_DIR, b"packed-refs"), (Role.REFS, b"main")]
)
def test_what_is_a_link_is_not_looked_at_there(watch: RepositoryWatch, role: Role, name: bytes) -> None:
    """The events are of the directory itself, wherever that was moved; the path by which it was watched leads away."""
    prefix = watch.location.git_dir + b"/refs/heads/" if role is Role.REFS else b""
    assert not after(watch, role, MOVED_TO, name, prefix).aspects & Aspect.IDENTITY
    mounts = Mounts({b"/": "ext4", watch.location.path: "nfs4"})
    reach.keep_local(lambda: mounts)
    try:
        assert after(watch, role, MOVED_TO, name, prefix).aspects & Aspect.IDENTITY
    finally:
        reach.keep_local(None)


def test_gitmodules_is_not_looked_at_there(watch: RepositoryWatch) -> None:
    assert not after(watch, Role.WORKTREE, MOVED_TO, b".gitmodules").new_directories
    mounts = Mounts({b"/": "ext4", watch.location.path: "nfs4"})
    reach.keep_local(lambda: mounts)
    try:
        assert after(watch, Role.WORKTREE, MOVED_TO, b".gitmodules").new_directories == {GIT_DIRECTORIES, TRACKED}
    finally:
        reach.keep_local(None)


# ---- no watches left


def test_what_discovery_held_is_told_as_of_the_refusal(tmp_path: Path) -> None:
    """It gives way while the walk goes on counting."""
    top = os.fsencode(tmp_path)
    (tmp_path / "d").mkdir()
    table = WatchTable(Allowance(1))
    held = [62]
    watch = RepositoryWatch(Location(RepoPath(top), top, top, bare=True), table, lambda: held[0])
    watch.add(top, Role.GIT_DIR, b"")
    assert watch.placed is None
    watch.add(top + b"/d", Role.REFS, b"")
    held[0] = 0
    watch.add(top + b"/d", Role.INFO, b"")
    assert (watch.placed, len(watch.needed), watch.discovery) == (1, 2, 62)
    table.close()
