"""Names that would steer a terminal, as every command shows them to a person: as text.

(`--porcelain=v2` has git's own bytes, `--print` a name's in a pipe: `test_queries.py`.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch
from tests.zoo.commands import Git
from tests.zoo.nursery import configure

ESCAPES = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\u202e"
_STEERS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.fixture
def git(repository: Callable[..., Git]) -> Git:
    """Path, branch, file, remote, author and subject are all of that kind."""
    git = repository({"a": b"1\n"}, f"root{ESCAPES}/repo{ESCAPES}")
    branch = "b\x9b31m\u202ex"  # git takes no others
    git("checkout", "-qb", branch)
    git("config", "user.name", f"A{ESCAPES[:-1]}")
    (git.path / f"f{ESCAPES}").write_bytes(b"")
    git("add", "-A")
    git("commit", "-qm", f"subject{ESCAPES}")
    git("tag", "t\x9b31m")
    (git.path / f"new{ESCAPES}").write_bytes(b"")
    (git.path / f"f{ESCAPES}").write_bytes(b"2\n")
    configure(git, f'[remote "o{ESCAPES[-2:]}"]\n\turl = https://host/x\x1b[2J\x9b31m\n')
    return git


def test_no_command_lets_a_name_steer_the_terminal(gitwatch: Gitwatch, git: Git, tmp_path: Path) -> None:
    other = Path(f"{git.path}-not-there")
    commands: list[tuple[str | Path, ...]] = [
        ("status", git.path), ("status", "--columns", "path,ident,summary,tag,remote,branch_remote,oid", git.path),
        ("status", "--direct", git.path), ("status", other), ("status", "--porcelain=v2", other),
        ("status", "--where", f"x{ESCAPES}"), ("status", f"--{ESCAPES}"), ("status", f"@{ESCAPES}"),
        ("unsaved", git.path), ("unsaved", other), ("branches", git.path), ("branches", other),
        ("roots", "add", git.path), ("roots", "list"), ("roots", "rm", other), ("roots", "rm", git.path),
        ("refresh", git.path), ("refresh", other), ("verify", git.path), ("verify", other), ("trust", git.path),
        ("trust", "--remove", git.path), ("trust", "--remove", git.path), ("trust", other),
        ("prompt", git.path), ("prompt", "--format", "tmux", git.path), ("prompt", "--format", "shell", git.path),
        ("doctor",), ("config",), ("daemon", "status"), ("daemon", "logs"), ("help", ESCAPES), (ESCAPES,),
    ]  # fmt: skip
    for command in commands:
        done = gitwatch(*command)
        shown = (done.stdout + done.stderr).decode()
        if "shell" in command:
            shown = shown.replace("\u202e", "")  # for a script, not for people: a path as it is, but for controls
        assert shown or command[0] in ("prompt", "daemon"), command
        found = _STEERS.search(shown)
        assert found is None, (command, shown[max(0, found.start() - 60) : found.end() + 20])
    # The name is there all the same, and to be told from another.
    assert b"\\x1b]0;owned\\x07" in gitwatch("status", git.path).stdout
    assert os.fsencode(tmp_path) in gitwatch("status", "--columns", "path", git.path).stdout
