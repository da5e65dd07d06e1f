"""Repositories below a directory, as real directories have them; then which events mean that one may have appeared."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from gitwatchd.mounts import Mounts, read_mounts
from gitwatchd.watch.changes import Role
from gitwatchd.watch.discovery import find_repositories, walk_root
from gitwatchd.watch.discovery_watch import ConfigurationWatch, DiscoveryWatch
from gitwatchd.watch.table import Sink, WatchTable
from tests.zoo.commands import Git, new_repository


def names(root: Path, *, include_ignored: bool = False) -> list[str]:
    found = find_repositories(os.fsencode(root), include_ignored=include_ignored)
    return [os.path.relpath(os.fsdecode(location.path), root.resolve()) for location in found]


def test_repositories_at_and_below_a_root(tmp_path: Path) -> None:
    for path in ("b", "a/deep/one", "c.git"):
        new_repository(tmp_path / path, None, *(["--bare"] if path.endswith(".git") else []))
    (tmp_path / "empty/x").mkdir(parents=True)
    assert names(tmp_path) == ["a/deep/one", "b", "c.git"]
    assert names(tmp_path / "b") == ["."]


def test_nested_repositories_are_found_and_submodules_and_git_dirs_are_not(tmp_path: Path) -> None:
    new_repository(tmp_path / "origin", {"f": b""})
    git = new_repository(tmp_path / "a", {"f": b""})
    git("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "origin"), "sub")
    new_repository(tmp_path / "a/nested", {"f": b""})
    new_repository(tmp_path / "a/nested/inner", {"f": b""})
    assert sorted(names(tmp_path)) == ["a", "a/nested", "a/nested/inner", "origin"]


def test_what_is_to_be_skipped_is_not_even_entered(tmp_path: Path) -> None:
    for path in ("one", "vendor/lib", "deep/vendor"):
        new_repository(tmp_path / path, {"f": b""})
    root, entered = os.fsencode(tmp_path.resolve()), list[bytes]()
    found = walk_root(root, read_mounts(), enter=entered.append, skip=lambda path: path.endswith(b"/vendor"))
    assert [location.path for location in found] == [root + b"/one"]
    assert entered == [root, root + b"/deep", root + b"/one"]
    # Whatever is said of the root itself: somebody named it.
    assert len(list(walk_root(root + b"/vendor", read_mounts(), skip=lambda path: path.endswith(b"/vendor")))) == 1


def test_a_linked_worktree_of_a_repository_below_modules(tmp_path: Path) -> None:
    git = new_repository(tmp_path / "modules/x", {"f": b""})
    git("worktree", "add", "-q", str(tmp_path / "linked"))
    assert sorted(names(tmp_path)) == ["linked", "modules/x"]


def test_ignored_repositories_only_when_told(tmp_path: Path) -> None:
    new_repository(tmp_path / "a", {".gitignore": b"vendor\n"})
    new_repository(tmp_path / "a/vendor/x", {"f": b""})
    assert names(tmp_path) == ["a"]
    assert sorted(names(tmp_path, include_ignored=True)) == ["a", "a/vendor/x"]


def test_links_are_not_followed_so_loops_end_and_nothing_counts_twice(tmp_path: Path) -> None:
    new_repository(tmp_path / "real/a", {"f": b""})
    (tmp_path / "real/loop").symlink_to(tmp_path)
    (tmp_path / "real/a/loop").symlink_to(tmp_path)
    (tmp_path / "again").symlink_to(tmp_path / "real")
    assert names(tmp_path) == ["real/a"]
    assert names(tmp_path / "again") == [os.path.relpath(tmp_path / "real/a", (tmp_path / "real"))]


def test_half_made_and_broken_ones_are_none(tmp_path: Path) -> None:
    (tmp_path / "half/.git/objects").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/.git").write_bytes(b"gitdir: /nowhere\n")
    new_repository(tmp_path / "half/below", {"f": b""})
    half_made: list[bytes] = []
    found = list(walk_root(os.fsencode(tmp_path.resolve()), read_mounts(), half_made=half_made.append))
    assert [os.path.basename(location.path) for location in found] == [b"below"]
    assert {os.path.relpath(os.fsdecode(path), tmp_path.resolve()) for path in half_made} == {
        "half/.git",
        "broken/.git",
    }


def test_one_that_is_finished_while_somebody_begins_to_wait_for_it_is_found(tmp_path: Path) -> None:
    whole = new_repository(tmp_path / "whole")
    (tmp_path / "root/a").mkdir(parents=True)
    (tmp_path / "root/a/.git").mkdir()

    def finish(git_dir: bytes) -> None:
        os.rmdir(git_dir)
        os.rename(whole.path / ".git", git_dir)

    root = os.fsencode(tmp_path.resolve() / "root")
    assert [location.path for location in walk_root(root, read_mounts(), half_made=finish)] == [root + b"/a"]


def test_another_mount_is_not_entered(tmp_path: Path) -> None:
    new_repository(tmp_path / "mounted/a", {"f": b""})
    root = os.fsencode(tmp_path.resolve())
    assert list(walk_root(root, Mounts({root + b"/mounted": "ext4"}))) == []
    assert len(list(walk_root(root + b"/mounted", Mounts({root + b"/mounted": "ext4"})))) == 1


def test_a_missing_root_holds_nothing(tmp_path: Path) -> None:
    assert names(tmp_path / "missing") == []


def test_a_directory_nobody_may_read_is_reported_and_the_rest_found(tmp_path: Path) -> None:
    new_repository(tmp_path / "a", {"f": b""})
    (tmp_path / "closed").mkdir(mode=0o700)
    for directory in (tmp_path, *tmp_path.parents):
        if os.stat(directory).st_uid == os.getuid() and len(directory.parts) > 2:
            directory.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-c", _DISCOVER_AS_NOBODY, str(tmp_path.resolve())],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.stdout == "[b'a'] [b'closed']\n", done.stderr


_DISCOVER_AS_NOBODY = """
import os, sys
from gitwatchd.watch.discovery import walk_root
from gitwatchd.mounts import read_mounts
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
else:
    os.chmod(sys.argv[1] + "/closed", 0)
closed = []
found = list(walk_root(os.fsencode(sys.argv[1]), read_mounts(), unreadable=lambda path, error: closed.append(path)))
print([os.path.basename(l.path) for l in found], [os.path.basename(path) for path in closed])
"""


# ---- watches outside of repositories


def entered(root: Path) -> tuple[WatchTable, DiscoveryWatch]:
    table = WatchTable()
    watch = DiscoveryWatch(table)
    top = os.fsencode(root.resolve())
    for _ in walk_root(
        top, read_mounts(), enter=lambda path: watch.enter(path, top), half_made=watch.await_head, found=watch.leave
    ):
        pass
    return table, watch


def test_depth_and_skipped_names_are_not_watched(tmp_path: Path) -> None:
    (tmp_path / "1/2/3/4/5").mkdir(parents=True)
    (tmp_path / "node_modules/x").mkdir(parents=True)
    table, _ = entered(tmp_path)
    assert len(table) == 5
    table.close()


def test_new_directories_git_dirs_and_departures(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    table, watch = entered(tmp_path)
    top = os.fsencode(tmp_path.resolve())
    (tmp_path / "a/new").mkdir()
    (tmp_path / "a/file").touch()
    (tmp_path / "a/.git").touch()
    (tmp_path / "b").rename(tmp_path / "c")
    table.drain()
    again, left, everything = watch.take()
    assert (again, everything) == ({top + b"/a/new", top + b"/a", top + b"/c"}, False)
    assert top + b"/b" in left
    assert watch.take() == (set(), set(), False)
    table.close()


def test_a_found_repository_is_left_with_the_git_dir_that_was_awaited(tmp_path: Path) -> None:
    deep = tmp_path / "1/2/3/4/5/6"
    (deep / ".git").mkdir(parents=True)
    table, watch = entered(tmp_path)
    before = len(table)
    Git(deep)("init", "-q")
    table.drain()
    assert watch.take()[0] == {os.fsencode(deep.resolve())}
    watch.leave(os.fsencode(deep.resolve()))
    assert len(table) == before - 1
    (deep / ".git/x").touch()
    table.drain()
    assert watch.take()[0] == set()
    table.close()


def test_a_git_file_whose_target_is_half_made_is_awaited(tmp_path: Path) -> None:
    git = new_repository(tmp_path / "elsewhere/a", {"f": b""})
    git("worktree", "add", "-q", str(tmp_path / "root/side"))
    own = git.path / ".git/worktrees/side"
    head = (own / "HEAD").read_bytes()
    (own / "HEAD").unlink()
    table, watch = entered(tmp_path / "root")
    (own / "HEAD").write_bytes(head)
    table.drain()
    assert watch.take()[0] == {os.fsencode((tmp_path / "root/side").resolve())}
    table.close()


# ---- configuration


def test_configuration_that_does_not_exist_yet(tmp_path: Path) -> None:
    table = WatchTable()
    watch = ConfigurationWatch(table, lambda _path: True)
    file = tmp_path / "config/git/ignore"
    watch.cover([os.fsencode(file)])
    assert not watch.take()
    (tmp_path / "unrelated").touch()
    table.drain()
    assert not watch.take()
    for step in (file.parent.parent, file.parent):
        step.mkdir()
        table.drain()
        assert watch.take(), step
    file.touch()
    table.drain()
    assert watch.take()
    table.close()


def test_directories_made_all_at_once_are_followed_to_the_file(tmp_path: Path) -> None:
    table = WatchTable()
    watch = ConfigurationWatch(table, lambda _path: True)
    file = tmp_path / "config/git/ignore"
    watch.cover([os.fsencode(file)])
    file.parent.mkdir(parents=True)
    table.drain()
    assert watch.take()
    file.touch()
    table.drain()
    assert watch.take()
    table.close()


def test_directories_made_while_it_looks_for_the_nearest_one(tmp_path: Path) -> None:
    class Racing(WatchTable):
        def add(self, path: bytes, sink: Sink, role: Role, prefix: bytes) -> None:
            try:
                super().add(path, sink, role, prefix)
            except FileNotFoundError:
                os.makedirs(path)
                raise

    table = Racing()
    watch = ConfigurationWatch(table, lambda _path: True)
    file = tmp_path / "config/git/ignore"
    watch.cover([os.fsencode(file)])
    for _ in range(2):  # a directory each
        table.drain()
        assert watch.take()
    file.touch()
    table.drain()
    assert watch.take()
    table.close()


def covered(path: Path) -> tuple[WatchTable, ConfigurationWatch]:
    table = WatchTable()
    watch = ConfigurationWatch(table, lambda _path: True)
    watch.cover([os.fsencode(path)])
    return table, watch


def test_a_directory_far_above_a_configuration_file_is_renamed_and_comes_back(tmp_path: Path) -> None:
    far = tmp_path / "far"
    file = far / "above/it/config"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"")
    table, watch = covered(file)
    far.rename(tmp_path / "aside")
    table.drain()
    assert watch.take()
    (tmp_path / "aside/above/it/config").write_bytes(b"[a]\n")
    table.drain()
    assert not watch.take()
    (tmp_path / "aside").rename(far)
    table.drain()
    assert watch.take()
    file.write_bytes(b"")
    table.drain()
    assert watch.take()
    table.close()


def test_a_link_on_the_way_to_a_configuration_file_is_turned(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name / "git").mkdir(parents=True)
        (tmp_path / name / "git/config").write_bytes(b"")
    link = tmp_path / "config"
    link.symlink_to("./one")
    table, watch = covered(link / "git/config")
    link.unlink()
    link.symlink_to(tmp_path / "two/../two")
    table.drain()
    assert watch.take()
    (tmp_path / "two/git").rename(tmp_path / "two/aside")
    table.drain()
    assert watch.take()
    table.close()


def test_a_link_to_itself_is_no_way_to_a_file(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    table, watch = covered(tmp_path / "loop/config")
    (tmp_path / "loop").unlink()
    table.drain()
    assert watch.take()
    table.close()


def test_a_linked_configuration_file_is_watched_at_both_ends(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "dotfiles").mkdir()
    for name in ("gitconfig", "other"):
        (tmp_path / "dotfiles" / name).write_bytes(b"")
    link = tmp_path / "home/.gitconfig"
    link.symlink_to(tmp_path / "dotfiles/gitconfig")
    table = WatchTable()
    watch = ConfigurationWatch(table, lambda _path: True)
    watch.cover([os.fsencode(link)])
    (tmp_path / "dotfiles/gitconfig").write_bytes(b"[a]\n")
    table.drain()
    assert watch.take()
    link.unlink()
    link.symlink_to(tmp_path / "dotfiles/other")
    table.drain()
    assert watch.take()
    (tmp_path / "dotfiles/other").write_bytes(b"[a]\n")
    table.drain()
    assert watch.take(), "the link was turned"
    table.close()


def test_configuration_on_a_mount_that_may_hang_is_not_touched(tmp_path: Path) -> None:
    table = WatchTable()
    watch = ConfigurationWatch(table, lambda _path: False)
    watch.cover([os.fsencode(tmp_path / "x")])
    assert len(table) == 0
    table.close()


def test_a_mount_point_is_not_even_read_as_a_link(tmp_path: Path) -> None:
    """Of what stands there by its name nothing is looked at: here it is a link, which would be followed."""
    (tmp_path / "home").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere").mkdir()
    home = os.fsencode(tmp_path / "home")
    table = WatchTable()
    watch = ConfigurationWatch(table, lambda path: not path.startswith(home))
    watch.cover([home + b"/.gitconfig"])
    assert table.watches(os.fsencode(tmp_path), watch)
    assert not table.watches(os.fsencode(tmp_path / "elsewhere"), watch)
    table.close()
