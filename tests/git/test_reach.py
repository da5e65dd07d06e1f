"""Links and pointers are followed as the kernel and git do, but not onto a mount that may hang."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.layout import find_worktree_of, read_location
from gitwatchd.git.reach import LeadsAway, resolve_links
from gitwatchd.git.repository_config import read_config
from gitwatchd.git.worktree import read_tree
from gitwatchd.mounts import Mounts
from tests.zoo.commands import Git


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


@pytest.fixture
def dead() -> Iterator[bytes]:
    """A mount point of which the process keeps away; nothing is mounted there, so looking would say: not there."""
    mounts = Mounts({b"/": "ext4", b"/srv/dead": "nfs4", b"/srv/alive": "ext4"})
    reach.keep_local(lambda: mounts)
    yield b"/srv/dead"
    reach.keep_local(None)


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
        lambda git: git("config", "core.worktree", "/srv/dead/x"),
        lambda git: (git("config", "extensions.worktreeConfig", "true"),
                     git("config", "--worktree", "core.worktree", "/srv/dead/x")),
    ],
    ids=["commondir", "relative", "link", "link in info", "alternates", "worktree", "own worktree"],
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
