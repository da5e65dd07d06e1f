"""What kinds of repositories, branches and names there are, through the real command."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from gitwatchd.wire.rpc import RemoteError
from tests.scenarios.commands import Gitwatch
from tests.zoo import histories, layouts
from tests.zoo.attributes import odd_names
from tests.zoo.commands import JUDGE, Git, ask_judge, judge
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client
from tests.zoo.nursery import Builder, Nursery
from tests.zoo.repositories import build_zoo
from tests.zoo.waiting import wait_until


def test_a_commit_in_one_worktree_is_ahead_in_the_other(client: Client, zoo: Nursery) -> None:
    git = zoo.base("project")
    linked = Git(zoo.directory / "linked")
    git("worktree", "add", "-q", "--track", "-b", "work", str(linked.path), "main")

    def upstream() -> tuple[int, int]:
        (report,) = client.reports(linked.path)
        return report["upstream"]["ahead"], report["upstream"]["behind"]

    assert upstream() == (0, 0)
    assert difference(client, git.path) is None
    git("commit", "-q", "--allow-empty", "-m", "main goes on")
    assert upstream() == (0, 1)
    linked("commit", "-q", "--allow-empty", "-m", "so does work")
    assert upstream() == (1, 1)
    git("pack-refs", "--all")
    git("commit", "-q", "--allow-empty", "-m", "main again")
    assert upstream() == (1, 2)
    assert [difference(client, each.path) for each in (git, linked)] == [None, None]
    assert [r["worktrees"] for r in client.reports(git.path)] == [1]
    git("worktree", "remove", str(linked.path))
    assert [r["worktrees"] for r in client.reports(git.path)] == [0]


def test_a_submodule_through_its_life(client: Client, zoo: Nursery) -> None:
    git = zoo.base("outer")
    assert difference(client, git.path) is None
    sub = Git(git.path / "sub")

    steps: list[Callable[[], object]] = [
        lambda: git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(zoo.origin), "sub"),
        lambda: git("commit", "-qm", "with a submodule"),
        lambda: (sub.path / "README.md").write_bytes(b"edited\n"),
        lambda: (sub.path / "untracked").write_bytes(b""),
        lambda: sub("commit", "-qam", "new commit"),
        lambda: (sub.path / "data/a.txt").write_bytes(b"edited\n"),
        lambda: sub("checkout", "-q", "--", "."),
        lambda: git("add", "sub"),
        lambda: git("commit", "-qm", "the new commit"),
        lambda: (sub.path / "untracked").unlink(),
        lambda: git("submodule", "--quiet", "deinit", "-f", "sub"),
    ]
    for step in steps:
        step()
        assert difference(client, git.path) is None


def test_a_nested_repository_becomes_a_submodule(client: Client, zoo: Nursery) -> None:
    """It is listed for as long as it is none."""
    git = zoo.base("outer")
    inner = zoo.small("outer/inner")
    assert difference(client, git.path) is None
    (inner.path / "file").write_bytes(b"changed\n")
    assert [difference(client, each.path) for each in (git, inner)] == [None, None]
    assert [r["path"] for r in client.reports(git.path)] == [str(git.path), str(inner.path)]
    git("submodule", "--quiet", "add", str(inner.path), "inner")
    assert difference(client, git.path) is None
    assert [r["path"] for r in client.reports(git.path)] == [str(git.path)]
    git("commit", "-qm", "a submodule")
    git("submodule", "--quiet", "absorbgitdirs")
    assert difference(client, git.path) is None
    (inner.path / "dir/other").write_bytes(b"changed after absorbing\n")
    assert difference(client, git.path) is None
    assert [r["path"] for r in client.reports(git.path)] == [str(git.path)]


def test_a_nested_repository_is_removed(client: Client, zoo: Nursery) -> None:
    git = zoo.base("outer")
    inner = zoo.small("outer/inner")
    assert len(client.reports(git.path)) == 2
    shutil.rmtree(inner.path)
    assert difference(client, git.path) is None
    assert [r["state"] for r in client.reports(git.path)] == ["fresh", "gone"]
    assert [r["state"] for r in client.reports(git.path)] == ["fresh"]


@pytest.mark.parametrize(
    ("builder", "facts"),
    [
        (layouts.bare, {"bare": True, "branch": "main", "counts": None, "dirty": None}),
        (histories.unborn, {"unborn": True, "oid": None, "branch": "main", "detached": False}),
        (histories.unborn_with_files, {"unborn": True, "oid": None, "dirty": True}),
        (histories.detached, {"unborn": False, "detached": True, "branch": None}),
        (histories.orphan, {"unborn": True, "oid": None, "detached": False}),
        (histories.shallow, {"unborn": False, "detached": False, "branch": "main"}),
    ],
)
def test_heads_of_every_kind(gitwatch: Gitwatch, zoo: Nursery, builder: Builder, facts: dict[str, object]) -> None:
    git = builder(zoo, "one")
    (report,) = gitwatch.reports(git.path)
    assert {name: report[name] for name in facts} == facts
    assert report["state"] == "fresh"
    table = gitwatch("status", git.path)
    assert (table.returncode, table.stderr) == (0, b"")
    if not report["bare"]:
        assert gitwatch.porcelain(git.path) == judge(git.path)
        return
    # Where git fails: exit 1, nothing on stdout, git's message.
    refused = subprocess.run([*JUDGE], cwd=git.path, capture_output=True, check=False)
    done = gitwatch("status", "--porcelain=v2", git.path)
    assert (done.returncode, done.stdout, done.stderr) == (1, b"", refused.stderr)


def test_odd_names_reach_the_caller_unchanged(gitwatch: Gitwatch, zoo: Nursery) -> None:
    """File names: newline, NFC and NFD, not UTF-8 …"""
    git = odd_names(zoo, "one")
    (git.path / "plain-dir").mkdir()
    assert gitwatch.porcelain(git.path) == judge(git.path)
    for here in (git.path, git.path / "src", git.path / "plain-dir"):
        expected = subprocess.run(JUDGE[:-1], cwd=here, capture_output=True, check=True).stdout
        assert gitwatch("status", "--porcelain=v2", cwd=here).stdout == expected
    assert gitwatch("status", git.path).returncode == 0


@pytest.mark.parametrize(
    "name",
    [
        b"new\nline",
        b"caf\xc3\xa9",
        b"cafe\xcc\x81",
        b"latin\xe9",
        b"%F{red}%n",
        b"$(touch owned)`touch owned`",
        b"\x1b[31mred",
    ],
)
def test_odd_names_of_repositories_and_branches(gitwatch: Gitwatch, zoo: Nursery, name: bytes) -> None:
    """What a prompt or a terminal could act on."""
    git = zoo.base(name)
    branch = b"x" + name.translate(None, b"\n\x1b[ ")
    git("checkout", "-q", "-b", branch)
    assert gitwatch.porcelain(git.path) == judge(git.path)
    done = gitwatch("status", "--json", git.path)
    (report,) = json.loads(done.stdout)
    for field, raw in (("name", name), ("branch", branch)):
        shown = report[field]
        if f"{field}_b64" in report:
            assert base64.b64decode(report[f"{field}_b64"]) == raw and "\ufffd" in shown
        else:
            assert shown.encode() == raw
    (git.path / "README.md").write_bytes(b"changed\n")
    table = gitwatch("status", "--no-wait", git.path)
    lines = (table.stdout + table.stderr).decode().splitlines()
    assert all(line.isprintable() for line in lines)
    assert not list(Path(gitwatch.directory).rglob("owned"))


def test_no_analysis_is_the_reason_for_the_next(client: Client, tmp_path: Path) -> None:
    """What git writes while it reads (the times of a split index) must not wake us: what was analysed comes to rest."""
    zoo = build_zoo(tmp_path / "zoo", frozenset(layouts.LAYOUTS) | {"touched", "racy", "stale-index-lock", "no-index"})
    client.reports(tmp_path / "zoo")

    def at_rest(path: Path) -> bool:
        return client.entries(path, wait_s=0).state in ("fresh", "unsafe", "failed")

    for name, path in zoo.items():
        wait_until(partial(at_rest, path), 20.0, f"{name} comes to rest")
    before = client.call("doctor")["answers"]
    assert all(map(at_rest, zoo.values()))
    after = client.call("doctor")["answers"]
    assert after["L3"] + after["L1"] == before["L3"] + before["L1"]


@pytest.mark.parametrize("inside", [".git", ".git/refs/heads", ".git/worktrees/linked"])
def test_inside_a_git_directory_there_is_no_work_tree(
    client: Client, zoo: Nursery, gitwatch: Gitwatch, inside: str
) -> None:
    """The work tree around is not where one is, and may be another repository's."""
    git = zoo.base("project")
    git("worktree", "add", "-q", "-b", "work", str(zoo.directory / "linked"))
    assert difference(client, git.path) is None
    place = git.path / inside
    assert ask_judge(place).exit == 128
    with pytest.raises(RemoteError, match="not in a work tree"):
        client.entries(place)
    assert client.call("prompt", str(place), {"format": "report"}) is None
    done = gitwatch("status", str(place))
    assert done.returncode == 1 and b"inside a git directory, not in a work tree" in done.stderr


def test_branches_of_a_worktree_whose_repository_stands_alone(client: Client, zoo: Nursery) -> None:
    """Its git dir does not say where the main worktree is; the repository around that git dir is none of it."""
    around = zoo.base("around")
    git = Git(zoo.directory / "project")
    git.path.mkdir()
    git("init", "-q", "--separate-git-dir", str(around.path / "apart"))
    git("commit", "-q", "--allow-empty", "-m", "first")
    linked = zoo.directory / "linked"
    git("worktree", "add", "-q", "-b", "work", str(linked))
    names = [branch["branch"] for branch in client.call("branches", [str(linked)])["branches"]]
    assert names == ["main", "work"]
