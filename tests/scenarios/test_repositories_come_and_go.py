"""Repositories appear, move, vanish and come back."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.wire.rpc import RemoteError
from tests.scenarios.commands import Gitwatch
from tests.zoo.commands import Git, ask_judge, new_repository
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client, Daemon
from tests.zoo.nursery import Nursery, append
from tests.zoo.waiting import wait_until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    new_repository(root / "first", {"a": b"1\n"})
    return root


def names(client: Client, top: Path, **options: object) -> dict[str, str]:
    """State by path below `top`."""
    return {str(Path(r["path"]).relative_to(top)): r["state"] for r in client.reports(top, **options)}


def test_removed_and_cloned_again_at_the_same_path(client: Client, root: Path, tmp_path: Path) -> None:
    git = Git(root / "first")
    origin = new_repository(tmp_path / "origin", {"b": b"2\n"})
    assert names(client, root) == {"first": "fresh"}
    old = client.reports(git.path)[0]["oid"]
    for _ in range(3):
        shutil.rmtree(git.path)
        Git(root)("clone", "-q", str(origin.path), str(git.path))
        assert difference(client, git.path) is None
        assert client.reports(git.path)[0]["oid"] != old
        (git.path / "b").write_bytes(b"3\n")
        assert difference(client, git.path) is None
    assert names(client, root) == {"first": "fresh"}


def test_moved_within_out_of_and_into_the_root(daemon: Daemon, client: Client, root: Path, tmp_path: Path) -> None:
    """Those that are gone are shown once."""
    first, second = root / "first", root / "group/second"
    assert names(client, root) == {"first": "fresh"}
    second.parent.mkdir()
    first.rename(second)
    assert names(client, root) == {"first": "gone", "group/second": "fresh"}
    assert names(client, root) == {"group/second": "fresh"}
    (second / "a").write_bytes(b"2\n")
    assert difference(client, second) is None

    outside = tmp_path / "outside"
    second.rename(outside)
    assert names(client, root) == {"group/second": "gone"}
    assert names(client, root) == {}
    (outside / "a").write_bytes(b"3\n")
    outside.rename(root / "back")
    assert names(client, root) == {"back": "fresh"}
    assert difference(client, root / "back") is None

    # A directory above them: no event inside the repositories tells.
    os.kill(daemon.pid, signal.SIGSTOP)  # else it may be seen at `group/back`, and is told to be gone from there
    (root / "back").rename(root / "group/back")
    (root / "group").rename(root / "other")
    os.kill(daemon.pid, signal.SIGCONT)
    assert names(client, root) == {"back": "gone", "other/back": "fresh"}
    (root / "other/back/a").write_bytes(b"4\n")
    assert difference(client, root / "other/back") is None


def test_the_root_itself_is_moved_away_and_back(client: Client, root: Path, tmp_path: Path) -> None:
    assert names(client, root) == {"first": "fresh"}
    root.rename(tmp_path / "away")
    assert client.call("status", [str(root)], {})["errors"] != []
    (tmp_path / "away/first/a").write_bytes(b"2\n")
    (tmp_path / "away").rename(root)
    assert names(client, root) == {"first": "fresh"}
    assert difference(client, root / "first") is None


def test_new_repositories_below_a_root_appear_unasked(client: Client, root: Path, tmp_path: Path) -> None:
    origin = new_repository(tmp_path / "origin", {"b": b"2\n"})
    assert names(client, root) == {"first": "fresh"}

    def appears(name: str) -> None:
        wait_until(lambda: names(client, root, wait_s=0).get(name) == "fresh", what=f"{name} is listed")

    new_repository(root / "a/b/made", {"a": b"1\n"})
    appears("a/b/made")
    Git(root)("clone", "-q", str(origin.path), str(root / "cloned"))
    appears("cloned")
    Git(root)("init", "-q", "--bare", str(root / "bare.git"))
    appears("bare.git")
    # Asked at once, it is there at once.
    for number in range(20):
        Git(root)("init", "-q", "--template=", str(root / f"at-once/{number}"))
        assert f"at-once/{number}" in names(client, root)


def test_half_a_clone_is_no_repository_and_no_error(daemon: Daemon, client: Client, root: Path) -> None:
    assert names(client, root) == {"first": "fresh"}
    half = root / "half/.git"
    (half / "objects").mkdir(parents=True)
    assert names(client, root) == {"first": "fresh"}
    (half / "refs/heads").mkdir(parents=True)
    (half / "config").write_bytes(b"[core]\n\trepositoryformatversion = 0\n")
    assert names(client, root) == {"first": "fresh"}
    answer = client.call("status", [str(root / "half")], {})
    assert answer == {"repos": [], "errors": []}
    (half / "HEAD").write_bytes(b"ref: refs/heads/main\n")
    assert names(client, root) == {"first": "fresh", "half": "fresh"}
    assert difference(client, root / "half") is None
    assert client.call("doctor")["errors"] == [], daemon.said()


def test_a_repository_that_was_damaged_for_a_while_is_watched_again(client: Client, root: Path) -> None:
    git = new_repository(root / "one", {"f": b"1\n"})
    assert client.reports(git.path)[0]["watch"] == "watched"
    config = git.path / ".git/config"
    right = config.read_bytes()
    config.write_bytes(b"[core\n")
    (report,) = client.reports(git.path)
    assert (report["state"], report["watch"]) == ("failed", "polled")
    config.write_bytes(right)
    wait_until(lambda: client.reports(git.path)[0]["watch"] == "watched", what="a walk after a pause")
    append(git.path / "f", b"2\n")
    assert difference(client, git.path) is None


def test_gone_repositories_are_shown_once_then_dropped(gitwatch: Gitwatch, root: Path) -> None:
    """Must show; and whoever names one is told again."""
    new_repository(root / "second", {"a": b"1\n"})
    assert [r["state"] for r in gitwatch.reports(root)] == ["fresh", "fresh"]
    shutil.rmtree(root / "second")
    done = gitwatch("status", root)
    assert done.returncode == 0 and b"second" in done.stdout
    assert done.stderr.startswith(b"gitwatch: gone: ") and b"second" in done.stderr
    done = gitwatch("status", root)
    assert (done.returncode, done.stderr) == (0, b"") and b"second" not in done.stdout
    assert gitwatch("status", root / "second").returncode == 1
    new_repository(root / "second", {"a": b"1\n"})
    assert [r["state"] for r in gitwatch.reports(root)] == ["fresh", "fresh"]


def test_gone_counts_as_failure_under_strict(gitwatch: Gitwatch, root: Path) -> None:
    gitwatch.reports(root)
    shutil.rmtree(root / "first")
    assert gitwatch("status", "--strict", root).returncode == 1
    assert gitwatch("status", "--strict", root).returncode == 0


def test_nested_ignored_and_submodule_repositories(gitwatch: Gitwatch, zoo: Nursery) -> None:
    """Must show: PATH inside a worktree is that worktree and what lies beneath it, else all beneath; ignored
    repositories only on demand; submodules never."""
    git = zoo.base("outer")
    for name in ("inner", "inner/innermost", "build/ignored", "src/deep/inner"):
        zoo.small(f"outer/{name}")
    zoo.small("aside")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(zoo.origin), "sub")
    git("commit", "-qm", "sub")
    top = git.path

    def listed(*arguments: str | Path) -> list[str]:
        return [str(Path(r["path"]).relative_to(zoo.directory)) for r in gitwatch.reports(*arguments)]

    beneath = ["outer", "outer/inner", "outer/inner/innermost", "outer/src/deep/inner"]
    assert listed(top) == beneath
    assert listed(top / "src/lib") == beneath
    assert listed(top / "README.md") == beneath
    assert listed(top / "inner") == beneath[1:3]
    assert listed(top / "inner/innermost", top / "src/deep/inner") == beneath[2:]
    assert listed(zoo.directory)[-4:] == beneath and "aside" in listed(zoo.directory)
    assert listed("--include-ignored", top) == ["outer", "outer/build/ignored", *beneath[1:]]
    # Who names it has it, ignored or not; and a submodule is a worktree like any other to who stands in it.
    assert listed(top / "build/ignored") == ["outer/build/ignored"]
    assert gitwatch.porcelain(top / "sub") == Git(top / "sub")(
        "status", "--porcelain=v2", "--branch", "--show-stash", "-z"
    )


def test_a_symlink_to_another_root_and_a_loop_count_once(
    gitwatch: Gitwatch, root: Path, repository: Callable[..., Git], tmp_path: Path
) -> None:
    elsewhere = repository({"a": b"1\n"}, "elsewhere/repo").path.parent
    (root / "loop").symlink_to(root)
    (root / "first/loop").symlink_to(root / "first")
    (root / "away").symlink_to(elsewhere)
    (root / "dangling").symlink_to(root / "nowhere")
    assert gitwatch("roots", "add", root).returncode == 0
    assert gitwatch("roots", "add", root / "away").returncode == 0
    assert [r["path"] for r in gitwatch.reports()] == [str(elsewhere / "repo"), str(root / "first")]
    assert [r["path"] for r in gitwatch.reports(root, root / "loop", root / "loop/loop/first")] == [str(root / "first")]
    assert [r["path"] for r in gitwatch.reports(root / "away")] == [str(elsewhere / "repo")]
    assert gitwatch.porcelain(root / "loop/first/loop") == Git(root / "first")(
        "status", "--porcelain=v2", "--branch", "--show-stash", "-z"
    )
    done = gitwatch("status", root / "dangling")
    assert done.returncode == 1 and b"no such file or directory" in done.stderr.lower()


def test_whoever_borrows_objects_fails_while_their_owner_is_away(client: Client, tmp_path: Path) -> None:
    """Whatever is above the owner may be renamed, and no event tells the borrower, whose status was told as fresh."""
    owner = new_repository(tmp_path / "above/owner", {"a": b"1\n"})
    borrower = tmp_path / "borrower"
    Git(tmp_path)("clone", "-q", "--shared", str(owner.path), str(borrower))
    assert difference(client, borrower) is None
    (tmp_path / "above").rename(tmp_path / "away")
    assert difference(client, borrower) is None
    assert client.entries(borrower).state == "failed"
    (borrower / "a").write_bytes(b"edited\n")
    assert difference(client, borrower) is None
    (tmp_path / "away").rename(tmp_path / "above")
    assert difference(client, borrower) is None
    assert client.entries(borrower).state == "fresh"
    owner.path.rename(tmp_path / "other")
    new_repository(owner.path, {"b": b"2\n"})
    assert difference(client, borrower) is None


@pytest.mark.parametrize("moved", ["above/tree", "main/.git/worktrees"])
def test_a_link_left_in_place_of_a_directory_above_a_linked_worktree(
    client: Client, tmp_path: Path, moved: str
) -> None:
    """Inodes stay what they were, by the same paths; but `..` in what leads from one to the other leads elsewhere."""
    main = new_repository(tmp_path / "main", {"a": b"1\n"})
    worktree = tmp_path / "above/tree/linked"
    main("worktree", "add", "-q", str(worktree))
    (worktree / ".git").write_text("gitdir: ../../../main/.git/worktrees/linked\n")
    assert difference(client, worktree) is None
    assert client.entries(worktree).state == "fresh"
    (tmp_path / moved).rename(tmp_path / "elsewhere")
    (tmp_path / moved).symlink_to(tmp_path / "elsewhere")
    assert ask_judge(worktree).exit
    with pytest.raises(RemoteError, match="does not lead to a repository"):
        client.entries(worktree)
    (tmp_path / moved).unlink()
    (tmp_path / "elsewhere").rename(tmp_path / moved)
    assert difference(client, worktree) is None
    assert client.entries(worktree).state == "fresh"


@pytest.mark.parametrize("content", [b"junk", b"gitdir: ../.git/modules/none\n"])
def test_a_git_file_that_leads_nowhere_is_not_made_up_for_by_core_worktree(
    client: Client, tmp_path: Path, content: bytes
) -> None:
    """The git dir of a submodule still leads to its worktree, but git does not go on from there."""
    origin, main = (new_repository(tmp_path / name, {"a": b"1\n"}) for name in ("origin", "main"))
    main("-c", "protocol.file.allow=always", "submodule", "add", "-q", str(origin.path), "sub")
    submodule = main.path / "sub"
    before = (submodule / ".git").read_bytes()
    assert difference(client, submodule) is None
    (submodule / ".git").write_bytes(content)
    assert ask_judge(submodule).exit
    with pytest.raises(RemoteError, match="does not lead to a repository"):
        client.entries(submodule)
    assert difference(client, main.path) is None
    (submodule / ".git").write_bytes(before)
    assert difference(client, submodule) is None
    assert client.entries(submodule).state == "fresh"
