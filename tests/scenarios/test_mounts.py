"""What is mounted over, or taken from, directories that matter: no event tells of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.zoo import namespace
from tests.zoo.commands import Git
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

Make = Callable[..., Git]


class Inside:
    """A daemon in a mount namespace of its own, and what is done there."""

    def __init__(self, daemon: Daemon) -> None:
        self.pid = daemon.pid
        self.client: Client = daemon.connect()

    def run(self, command: str) -> None:
        namespace.inside(self.pid, command)

    def expect_git_s(self, path: Path) -> None:
        answer = self.client.entries(path)
        expected = namespace.judge_inside(self.pid, str(path))
        assert (answer.state, answer.stdout) == ("fresh", expected.stdout), answer.reason

    def state(self, path: Path) -> str:
        (report,) = self.client.reports(path)
        return str(report["state"])


@pytest.fixture
def inside(start_daemon: Callable[..., Daemon]) -> Iterator[Inside]:
    namespace.require()
    made = Inside(start_daemon(before=namespace.entering()))
    yield made
    made.client.close()


@pytest.fixture
def git(repository: Make) -> Git:
    return repository({"a/one": b"1\n", "a/deep/two": b"2\n", "top": b"top\n"}, "root/repo")


def test_a_mount_over_a_directory_of_a_worktree(inside: Inside, git: Git) -> None:
    inside.expect_git_s(git.path)
    inside.run(f"mount -t tmpfs tmpfs {git.path}/a")
    inside.expect_git_s(git.path)
    inside.run(f"echo new > {git.path}/a/one; echo new > {git.path}/a/other")
    inside.expect_git_s(git.path)
    inside.run(f"umount {git.path}/a")
    inside.expect_git_s(git.path)
    (git.path / "a/deep/two").write_bytes(b"22\n")
    inside.expect_git_s(git.path)


def test_another_tree_bound_over_a_directory_of_a_worktree(inside: Inside, git: Git, tmp_path: Path) -> None:
    """Unmounting a bind raises no event at all: its file system stays."""
    other = tmp_path / "other"
    (other / "deep").mkdir(parents=True)
    (other / "untracked").write_bytes(b"")
    inside.expect_git_s(git.path)
    inside.run(f"mount --bind {other} {git.path}/a")
    inside.expect_git_s(git.path)
    (other / "deep/two").write_bytes(b"2\n")
    inside.expect_git_s(git.path)
    inside.run(f"umount -l {git.path}/a")
    inside.expect_git_s(git.path)


def test_a_file_bound_over_a_tracked_one(inside: Inside, git: Git, tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"other\n")
    inside.expect_git_s(git.path)
    inside.run(f"mount --bind {tmp_path}/other {git.path}/top")
    inside.expect_git_s(git.path)
    inside.run(f"umount {git.path}/top")
    inside.expect_git_s(git.path)


def test_another_git_dir_bound_over_it(inside: Inside, git: Git, repository: Make) -> None:
    other = repository({"a/one": b"else\n"}, "other")
    inside.expect_git_s(git.path)
    inside.run(f"mount --bind {other.path}/.git {git.path}/.git")
    inside.expect_git_s(git.path)
    other("commit", "-q", "--allow-empty", "-m", "second")
    inside.expect_git_s(git.path)
    inside.run(f"umount {git.path}/.git")
    inside.expect_git_s(git.path)


def test_other_refs_bound_over_those_of_a_linked_worktree_s_repository(
    inside: Inside, git: Git, tmp_path: Path
) -> None:
    """The mount lies neither in the worktree nor in its git dir, but in the common one."""
    linked = tmp_path / "linked"
    git("worktree", "add", "-q", str(linked), "-b", "linked")
    git("commit", "-q", "--allow-empty", "-m", "second")
    shutil.copytree(git.path / ".git/refs", tmp_path / "refs")
    (tmp_path / "refs/heads/linked").write_bytes(git("rev-parse", "HEAD"))
    inside.expect_git_s(linked)
    inside.run(f"mount --bind {tmp_path}/refs {git.path}/.git/refs")
    inside.expect_git_s(linked)


def test_a_root_is_unmounted_and_comes_back(inside: Inside, tmp_path: Path) -> None:
    """Gone while it is away, and as it was, with all that changed elsewhere, when it returns."""
    disk, usb = tmp_path / "disk", tmp_path / "usb"
    repo = usb / "src/repo"
    (disk / "src").mkdir(parents=True)
    usb.mkdir()
    git = Git(disk / "src/repo")
    git.path.mkdir()
    git("init", "-q")
    (git.path / "f").write_bytes(b"1\n")
    git("add", "-A")
    git("commit", "-qm", "one")
    inside.run(f"mount --bind {disk} {usb}")
    inside.client.call("roots.add", str(usb))
    inside.expect_git_s(repo)
    inside.run(f"umount {usb}")
    assert inside.state(repo) == "gone"
    (git.path / "f").write_bytes(b"22\n")
    inside.run(f"mount --bind {disk} {usb}")
    inside.expect_git_s(repo)
    (git.path / "f").write_bytes(b"333\n")
    inside.expect_git_s(repo)


def test_a_repository_hidden_by_a_mount_and_uncovered(inside: Inside, git: Git) -> None:
    """Other repositories of the same root stay; one on top of the mount is found when it is asked for."""
    root = git.path.parent
    inside.client.call("roots.add", str(root))
    inside.expect_git_s(git.path)
    inside.run(f"mount -t tmpfs tmpfs {git.path}")
    assert inside.state(git.path) == "gone"
    inside.run(f"git init -q {git.path}; touch {git.path}/untracked")
    inside.expect_git_s(git.path)
    inside.run(f"umount {git.path}")
    inside.expect_git_s(git.path)


def test_repositories_uncovered_by_an_unmount_are_found_unasked(inside: Inside, git: Git, tmp_path: Path) -> None:
    root = tmp_path / "root"
    inside.run(f"mount -t tmpfs tmpfs {git.path}")
    inside.client.call("roots.add", str(root))
    assert inside.client.reports(root) == []
    inside.run(f"umount {git.path}")
    known: list[str] = []

    def found() -> bool:
        known[:] = [report["path"] for report in inside.client.reports(root, wait_s=0)]
        return bool(known)

    wait_until(found, 30.0, "the uncovered repository")
    assert known == [str(git.path)]


def test_git_s_configuration_on_a_mount(inside: Inside, git: Git, home: Path, tmp_path: Path) -> None:
    (tmp_path / "config").write_bytes(b"[status]\n\tshowUntrackedFiles = no\n")
    (git.path / "untracked").write_bytes(b"")
    inside.expect_git_s(git.path)
    inside.run(f"mount --bind {tmp_path}/config {home}/.gitconfig")
    inside.expect_git_s(git.path)
    inside.run(f"umount {home}/.gitconfig")
    inside.expect_git_s(git.path)
    inside.run(f"mount -t tmpfs tmpfs {home}")
    inside.expect_git_s(git.path)
