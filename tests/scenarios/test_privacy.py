"""Nothing secret on the disk or on the wire, and nothing there for others to read."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch
from tests.zoo.commands import Git
from tests.zoo.nursery import append, configure

SECRET = "hunter2"  # noqa: S105 - a test's

CONFIGS = {
    "remote": f'[remote "origin"]\n\turl = https://user:{SECRET}@host/x\n\tpushurl = ssh://git:{SECRET}@host/x\n'
    '\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n',
    "unnamed": f'[branch "main"]\n\tremote = https://{SECRET}@host/x\n\tmerge = refs/heads/main\n'
    f'[remote "https://{SECRET}@host/x"]\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'
    f'[remote]\n\tpushDefault = https://user:{SECRET}@host/y\n',
    "rewritten": f'[url "https://user:{SECRET}@host/"]\n\tinsteadOf = h:\n[remote "origin"]\n\turl = h:x\n'
    '\tfetch = +refs/heads/*:refs/remotes/origin/*\n[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n',
    "refused": f"[core]\n\tbare = https://user:{SECRET}@host/x\n",
    "filter": f'[filter "https://user:{SECRET}@host"]\n\tclean = curl https://user:{SECRET}@host\n',
}  # fmt: skip


def files_below(*directories: Path) -> list[Path]:
    return [path for directory in directories for path in directory.rglob("*")]


def test_userinfo_of_urls_is_nowhere(gitwatch: Gitwatch, repository: Callable[..., Git], tmp_path: Path) -> None:
    said = b""
    for name, config in CONFIGS.items():
        git = repository({"f": b"1\n"}, f"repos/{name}")
        git("update-ref", "refs/remotes/origin/main", "HEAD")
        configure(git, config)
    root = tmp_path / "repos"
    for arguments in (
        ["roots", "add", root], ["status", root], ["status", "--json", root], ["status", "--json", "--verify", root],
        ["verify", root], ["trust", root / "filter"], ["doctor"], ["roots", "list"], ["status", "--direct", root],
        ["status", "--porcelain=v2", root / "refused"], ["daemon", "stop"],
    ):  # fmt: skip
        done = gitwatch(*arguments)
        assert SECRET.encode() not in done.stdout + done.stderr, arguments
        said += done.stdout
    assert b'"remote": "origin"' in said and b"https://host/x" in said
    stored = files_below(gitwatch.state)
    assert {"cache.db", "intent.db", "gitwatchd.log"} <= {path.name for path in stored}
    assert [path for path in stored if path.is_file() and SECRET.encode() in path.read_bytes()] == []


@pytest.mark.parametrize("left_open", [False, True])
def test_what_is_stored_is_for_its_owner_alone(
    gitwatch: Gitwatch, repository: Callable[..., Git], left_open: bool
) -> None:
    git = repository({"f": b"1\n"})
    os.utime(git.path / "f", (1, 1))
    os.utime(git.path / ".git/index", (2, 2))  # so that there is a private copy of it
    append(git.path / ".git/config", b"[status]\n\tshowUntrackedFiles = all\n")  # which only git answers
    assert gitwatch("status", git.path).returncode == 0
    if left_open:
        assert gitwatch("daemon", "stop").returncode == 0
        for path in files_below(gitwatch.state):
            path.chmod(0o755 if path.is_dir() else 0o644)
        assert gitwatch("status", git.path).returncode == 0
    indexes = gitwatch.state / "cache/indexes"
    found = files_below(gitwatch.state)
    assert indexes in found and gitwatch.places.socket in [os.fsencode(path) for path in found]
    for path in found:
        if indexes in path.parents and left_open:
            continue  # behind a directory that lets nobody in
        mode = stat.S_IMODE(path.lstat().st_mode)
        assert mode == (0o700 if path.is_dir() else 0o600), (path, oct(mode))
