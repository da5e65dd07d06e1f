"""Links and pointers are followed as the kernel and git do, but not onto a mount that may hang."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.analysis.drivers import find_drivers
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.index_file import read_index
from gitwatchd.git.layout import (
    check_objects,
    check_parts,
    check_way,
    find_worktree_of,
    linked_worktrees,
    read_location,
)
from gitwatchd.git.objects import Objects
from gitwatchd.git.reach import LeadsAway, resolve_links
from gitwatchd.git.refs import count_stashes, read_refs
from gitwatchd.git.repository_config import read_config
from gitwatchd.git.worktree import check_followed, read_tree
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.mounts import Mounts
from gitwatchd.watch.discovery import walk_root
from tests.zoo.commands import Git, new_repository
from tests.zoo.waiting import wait_until


@pytest.fixture
def top(tmp_path: Path) -> bytes:
    top = tmp_path.resolve()
    (top / "d/e").mkdir(parents=True)
    (top / "f").touch()
    for name, target in (
        ("l", "d"), ("d/up", "../l/e"), ("abs", f"{top}/d/up/"), ("chain", "abs"), ("loop", "loop"), ("dangling", "no"),
        ("far", "/srv/dead/x"), ("d/near", "../far/y"),
    ):  # fmt: skip
        (top / name).symlink_to(target)
    return os.fsencode(top)


@pytest.mark.parametrize(
    "path", [b"", b"/d/e", b"/l", b"/l/e/../up", b"/chain", b"/f", b"//d/./e/", b"/d/../l/..", b"/no/x", b"/dangling"]
)
def test_as_realpath_where_all_is_local(top: bytes, path: bytes) -> None:
    assert resolve_links(top + path, lambda _path: True) == os.path.realpath(top + path)


def test_the_root_of_all() -> None:
    assert resolve_links(b"/", lambda _path: True, strict=True) == b"/"


@pytest.mark.parametrize("path", [b"/no/x/y", b"/f/x/y", b"/no/x/../../no/y", b"/l/no/x"])
def test_nothing_is_looked_up_below_what_is_missing(top: bytes, path: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two looks a link may take its place that leads onto a dead mount."""
    read_link = os.readlink
    missing: list[bytes] = []

    def look(here: bytes) -> bytes:
        assert not any(here.startswith(each + b"/") for each in missing)
        try:
            return read_link(here)
        except (FileNotFoundError, NotADirectoryError):
            missing.append(here)
            raise

    monkeypatch.setattr("gitwatchd.git.reach.os.readlink", look)
    assert resolve_links(top + path, lambda _path: True) == os.path.normpath(top + path.replace(b"/l/", b"/d/"))
    assert missing


def test_what_is_missing_is_not_taken_for_good_for_a_moment(dead: bytes, tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "moved")
    reach.check(path + b"/x")
    assert not reach.may_be_there(path + b"/x")
    assert reach.follow_if_there(path) is None
    os.symlink(dead, path)
    for asked in (reach.check, reach.may_be_there, reach.follow_if_there):
        with pytest.raises(LeadsAway):
            asked(path + b"/x")


@pytest.mark.parametrize("path", [b"/no", b"/dangling", b"/f/x", b"/loop"])
def test_strictly(top: bytes, path: bytes) -> None:
    with pytest.raises(OSError):  # noqa: PT011 - which one is the kernel's to say
        resolve_links(top + path, lambda _path: True, strict=True)


@pytest.mark.parametrize(
    ("path", "leads_to"),
    [(b"/far", b"/srv/dead/x"), (b"/d/near", b"/srv/dead/x/y"), (b"/l/near/../z", b"/srv/dead/x/z")],
)
def test_it_stops_where_it_may_hang(top: bytes, path: bytes, leads_to: bytes) -> None:
    touched: list[bytes] = []

    def is_local(asked: bytes) -> bool:
        touched.append(asked)
        return not asked.startswith(b"/srv/dead")

    assert resolve_links(top + path, is_local, strict=True) == leads_to
    assert touched[-1] == b"/srv/dead", "nothing below was looked at"


# ---- what a process keeps away from


def test_a_path_that_leads_away_is_refused(top: bytes, dead: bytes) -> None:
    for path in (dead, dead + b"/x", top + b"/far", top + b"/d/near", top + b"/l/../far"):
        with pytest.raises(LeadsAway) as refused:
            reach.check(path)
        assert refused.value.mount == dead
        assert isinstance(refused.value, EnvironmentFailure) and "\n" not in str(refused.value)
    for path in (b"/", top, top + b"/d", top + b"/no/x", top + b"/loop", b"/srv/deader", b"/srv/alive/x"):
        reach.check(path)


def test_nobody_is_kept_from_anything_unasked(top: bytes) -> None:
    reach.check(top + b"/far")
    assert not reach.is_kept_local()


def test_work_about_such_a_mount_follows_everything(top: bytes, dead: bytes) -> None:
    reach.follow_everything(lambda: reach.check(top + b"/far"))
    with pytest.raises(LeadsAway):
        reach.check(top + b"/far")


@pytest.mark.parametrize(
    "lead_away",
    [
        lambda git: (git.path / ".git/commondir").write_text("/srv/dead/x"),
        lambda git: (git.path / ".git/commondir").write_text("../../far/x"),
        lambda git: (git.path / ".git/rebase-merge").symlink_to("/srv/dead/x"),
        lambda git: (git.path / ".git/info/attributes").symlink_to("/srv/dead/x"),
        lambda git: (git.path / ".git/objects/info/alternates").write_text("# none\n/srv/dead/x\n"),
        lambda git: (git.path / ".git/objects/xx").symlink_to("/srv/dead/x"),
        lambda git: (git.path / ".git/objects/pack/pack-x.idx").symlink_to("/srv/dead/x"),
        lambda git: ((git.path / ".git/sequencer").mkdir(), (git.path / ".git/sequencer/todo").symlink_to("/srv/dead")),
        lambda git: ((git.path.parent / "o/pack").mkdir(parents=True),
                     (git.path.parent / "o/pack/pack-x.pack").symlink_to("/srv/dead/x"),
                     (git.path / ".git/objects/info/alternates").write_text(f"{git.path.parent}/o\n")),
        lambda git: git("config", "core.worktree", "/srv/dead/x"),
        lambda git: (git("config", "extensions.worktreeConfig", "true"),
                     git("config", "--worktree", "core.worktree", "/srv/dead/x")),
    ],
    ids=["commondir", "relative", "link", "link in info", "alternates", "fan-out", "pack",
         "step of an operation", "pack of an alternate", "worktree", "own worktree"],
)  # fmt: skip
def test_what_a_git_dir_names(
    top: bytes, dead: bytes, repository: Callable[..., Git], lead_away: Callable[[Git], object]
) -> None:
    git = repository({"f": b""})
    path = os.fsencode(git.path)
    assert read_location(path) is not None
    lead_away(git)
    with pytest.raises(LeadsAway):
        read_location(path)
    with pytest.raises(LeadsAway):
        find_worktree_of(path + b"/.git")
    if not (git.path / ".git/commondir").exists() and b"worktree" not in (git.path / ".git/config").read_bytes():
        with pytest.raises(LeadsAway):
            check_parts(Location(RepoPath(path), path + b"/.git", path + b"/.git", bare=False))
    reach.keep_local(None)
    read_location(path)


@pytest.mark.parametrize("target", ["/srv/dead/r/.git", "far/r/.git"])
def test_what_a_git_entry_leads_to(tmp_path: Path, dead: bytes, target: str) -> None:
    place = tmp_path.resolve()
    (place / "far").symlink_to(os.fsdecode(dead))
    (place / "file").mkdir()
    (place / "file/.git").write_text(f"gitdir: {target.replace('far', '../far')}\n")
    (place / "link").mkdir()
    (place / "link/.git").symlink_to(target.replace("far", "../far"))
    for name in ("file", "link"):
        with pytest.raises(LeadsAway):
            read_location(os.fsencode(place / name))


@pytest.mark.parametrize(
    "key", ["include.path", "includeIf.gitdir:/.path", "core.excludesFile", "core.attributesFile"]
)  # fmt: skip
def test_what_a_configuration_names(dead: bytes, repository: Callable[..., Git], key: str) -> None:
    git = repository({"f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    read_config(location)
    git("config", key, "/srv/dead/x")
    with pytest.raises(LeadsAway):
        read_config(location)


def test_a_tracked_directory_that_became_a_link(dead: bytes, repository: Callable[..., Git]) -> None:
    git = repository({"d/e/f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    read_tree(location, read_config(location))
    (git.path / "d").rename(git.path / "e")
    (git.path / "d").symlink_to("/srv/dead/x")
    with pytest.raises(LeadsAway):
        read_tree(location, read_config(location))
    with pytest.raises(LeadsAway):
        check_followed(location, read_index(location.git_dir + b"/index", 20))


def test_a_submodule_s_place_that_became_a_link(dead: bytes, repository: Callable[..., Git]) -> None:
    git = repository({"f": b""})
    commit = git("rev-parse", "HEAD").strip().decode()
    git("update-index", "--add", "--cacheinfo", f"160000,{commit},sub")
    location = read_location(os.fsencode(git.path))
    assert location is not None
    config = read_config(location)
    (git.path / "sub").symlink_to("/srv/dead/x")
    with pytest.raises(LeadsAway):
        read_tree(location, config)
    (git.path / "sub").unlink()
    # Not as git writes it: it is none by our reading, and what stands there is looked at to be sure that git agrees.
    (git.path / "sub").mkdir()
    (git.path / "sub/.git").write_text("gitdir:/srv/dead/x\n")
    assert read_location(os.fsencode(git.path / "sub")) is None
    with pytest.raises(LeadsAway):
        find_drivers(location, config, time.monotonic() + 10)


def test_a_directory_that_became_a_link_while_repositories_are_looked_for(dead: bytes, tmp_path: Path) -> None:
    top = tmp_path.resolve()
    (top / "d").mkdir()
    away: list[tuple[bytes, bytes]] = []

    def turn(path: bytes) -> bool:
        os.rmdir(path)
        os.symlink(dead + b"/x", path)
        return False

    mounts = Mounts({b"/": "ext4", dead: "nfs4"})
    assert list(walk_root(os.fsencode(top), mounts, skip=turn, led_away=lambda *what: away.append(what))) == []
    assert away == [(os.fsencode(top / "d"), dead)]


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("refs/heads/main", read_config),
        ("logs/refs/stash", count_stashes),
        ("refs/heads/main", lambda location: read_refs(location).resolve(b"HEAD")),
    ],
)  # fmt: skip
def test_a_file_of_the_git_dir_that_became_a_link_since_that_was_looked_at(
    dead: bytes, repository: Callable[..., Git], name: str, read: Callable[[Location], object]
) -> None:
    git = repository({"f": b""})
    git("config", "includeIf.onbranch:x.path", "no")
    location = read_location(os.fsencode(git.path))
    assert location is not None
    file = git.path / ".git" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    file.symlink_to("/srv/dead/x")
    with pytest.raises(LeadsAway):
        read(location)


def test_gitmodules_that_became_a_link(dead: bytes, repository: Callable[..., Git]) -> None:
    git = repository({"d/e/f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    check_followed(location, None)
    (git.path / ".gitmodules").symlink_to("/srv/dead/x")
    with pytest.raises(LeadsAway):
        check_followed(location, None)


@pytest.mark.parametrize("name", ["top", "main"])
def test_a_directory_above_that_became_a_link(dead: bytes, tmp_path: Path, name: str) -> None:
    """Above the worktree, or above the git dir of a linked one."""
    git = new_repository(tmp_path / "main/r", {"f": b""})
    git("worktree", "add", "-q", "--detach", tmp_path / "top/w")
    location = read_location(os.fsencode((tmp_path / "top/w").resolve()))
    assert location is not None
    check_way(location)
    (tmp_path / name).rename(tmp_path / "away")
    (tmp_path / name).symlink_to("/srv/dead/x")
    # Not within the moment in which a path was found good.
    wait_until(lambda: refuses(lambda: check_way(location)))


def refuses(look: Callable[[], object]) -> bool:
    try:
        look()
    except LeadsAway:
        return True
    return False


def test_a_link_that_is_turned_right_after_it_was_followed(
    dead: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even within that moment nobody goes the old way to a place that is dead by now."""
    monkeypatch.setattr(reach, "_PASSES_FOR_S", 60.0)
    git = new_repository(tmp_path / "near/r", {"f": b""})
    (tmp_path / "way").symlink_to("near")
    (tmp_path / "w").mkdir()
    (tmp_path / "w/.git").write_text(f"gitdir: {tmp_path.resolve()}/way/r/.git\n")
    top = os.fsencode((tmp_path / "w").resolve())
    location = read_location(top)
    assert location is not None and location.git_dir == os.fsencode(git.path.resolve()) + b"/.git"
    (tmp_path / "way").unlink()
    (tmp_path / "way").symlink_to("/srv/dead")
    with pytest.raises(LeadsAway):
        read_location(top)


@pytest.mark.parametrize("name", ["gitdir", "FETCH_HEAD"])
def test_files_of_a_linked_worktree_s_git_dir(dead: bytes, repository: Callable[..., Git], name: str) -> None:
    git = repository({"f": b""})
    git("worktree", "add", "-q", "--detach", git.path.parent / "w")
    common_dir = os.fsencode(git.path / ".git")
    assert len(linked_worktrees(common_dir)) == 1
    file = git.path / ".git/worktrees/w" / name
    file.unlink(missing_ok=True)
    file.symlink_to("/srv/dead/x")
    with pytest.raises(LeadsAway):
        linked_worktrees(common_dir)


def test_an_object_that_is_a_link(dead: bytes, repository: Callable[..., Git]) -> None:
    git = repository({"f": b""})
    location = read_location(os.fsencode(git.path))
    assert location is not None
    head = git("rev-parse", "HEAD").strip()
    file = git.path / ".git/objects" / head[:2].decode() / head[2:].decode()
    file.rename(git.path.parent / "object")
    file.symlink_to("/srv/dead/x")
    with pytest.raises(LeadsAway):
        Objects(location).summary(head)
    with pytest.raises(LeadsAway):
        check_objects(location)
    file.unlink()
    file.symlink_to(git.path.parent / "object")
    assert Objects(location).summary(head)
    check_objects(location)


def test_a_directory_of_tags_that_is_a_link(dead: bytes, repository: Callable[..., Git]) -> None:
    """It is not listed: here it is empty, and would be passed over."""
    git = repository({"f": b""})
    (git.path.parent / "far").mkdir()
    (git.path / ".git/refs/tags/v").symlink_to(git.path.parent / "far")
    location = read_location(os.fsencode(git.path))
    assert location is not None
    commit = git("rev-parse", "HEAD").strip()
    assert read_refs(location).tag_at(commit, lambda oid: oid) is None
    mounts = Mounts({b"/": "ext4", os.fsencode(git.path.parent.resolve() / "far"): "nfs4"})
    reach.keep_local(lambda: mounts)
    with pytest.raises(LeadsAway):
        read_refs(location).tag_at(commit, lambda oid: oid)
