"""What gitstatusd's fields have to be for a worktree, by asking git; and a helper process. Blocking."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from gitwatchd.git.remotes import without_userinfo
from gitwatchd.render.prompt import VARIABLES
from tests.zoo.commands import Git, without_git

HELPER = Path(sys.executable).with_name("gitwatch-gitstatusd")
EVERYTHING = ("-s", "-1", "-u", "-1", "-c", "-1", "-d", "-1")

ACTIONS = {
    "MERGE_HEAD": "merge", "rebase-apply/applying": "am", "REVERT_HEAD": "revert", "CHERRY_PICK_HEAD": "cherry",
    "BISECT_LOG": "bisect",
}  # fmt: skip


class Helper:
    """`gitwatch-gitstatusd`, as a plugin starts it."""

    def __init__(self, *options: str, env: Mapping[str, str]) -> None:
        self.process = subprocess.Popen(
            [HELPER, *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/",
            env={**without_git(os.environ), **env}, start_new_session=True,
        )  # fmt: skip
        self._rest = b""

    def send(self, *requests: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"".join(request + b"\x1e" for request in requests))
        self.process.stdin.flush()

    def receive(self, timeout_s: float = 60.0) -> list[bytes]:
        """The fields of the next response."""
        assert self.process.stdout is not None
        deadline = time.monotonic() + timeout_s
        while b"\x1e" not in self._rest:
            if not select.select([self.process.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise AssertionError(f"no response within {timeout_s} s; so far: {self._rest!r}")
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, f"the helper ended; so far: {self._rest!r}"
            self._rest += data
        response, _, self._rest = self._rest.partition(b"\x1e")
        return response.split(b"\x1f")

    def ask(self, path: Path | bytes, *more: bytes) -> dict[str, str] | None:
        self.send(b"\x1f".join((b"id", os.fsencode(path), *more)))
        return told(self.receive())

    def __enter__(self) -> Helper:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def told(response: list[bytes]) -> dict[str, str] | None:
    """By name; None: not a repository."""
    if response[1] == b"0":
        assert len(response) == 2
        return None
    return dict(zip(VARIABLES, [field.decode() for field in response[2:]], strict=True))


def expected(path: Path) -> dict[str, str]:
    """gitstatus's documented fields, by git. Without ACTION: see `expected_action`."""
    git = Git(path)

    def said(*arguments: str) -> str:
        return git.ask(*arguments).stdout.decode(errors="surrogateescape").strip("\n")

    branch = said("symbolic-ref", "-q", "HEAD").removeprefix("refs/heads/")
    branch = "" if branch.startswith("refs/") else branch
    oid = said("rev-parse", "-q", "--verify", "HEAD")
    counts = _counts(git("-c", "core.fsmonitor=false", "status", "--porcelain=v2", "-z"))
    flags = [line[:1] for line in git("ls-files", "-v", "-z", ":/").split(b"\0")[:-1]]
    upstream, push = "", ""
    if branch:
        form = "--format=%(upstream)|%(upstream:remotename)|%(push)|%(push:remotename)"
        lines = said("for-each-ref", form, f"refs/heads/{branch}").splitlines()
        if not lines:  # an unborn branch has no ref to show
            lines = [
                f"{said('rev-parse', '--symbolic-full-name', '@{u}')}|{said('config', f'branch.{branch}.remote')}||"
            ]
        upstream, remote, push, push_remote = lines[0].split("|")
    result = {
        "WORKDIR": str(path), "COMMIT": oid, "LOCAL_BRANCH": branch, "INDEX_SIZE": str(len(flags)),
        "STASHES": str(len(said("stash", "list").splitlines())),
        "TAG": (said("tag", "--points-at", "HEAD").splitlines() or [""])[-1] if oid else "",
        "NUM_SKIP_WORKTREE": str(sum(flag in b"Ss" for flag in flags)),
        "NUM_ASSUME_UNCHANGED": str(sum(flag.islower() for flag in flags)),
        "COMMIT_ENCODING": "", "COMMIT_SUMMARY": said("log", "-1", "--format=%s") if oid else "",
        "REMOTE_BRANCH": "", "REMOTE_NAME": "", "REMOTE_URL": "", "COMMITS_AHEAD": "0", "COMMITS_BEHIND": "0",
        "PUSH_REMOTE_NAME": "", "PUSH_REMOTE_URL": "", "PUSH_COMMITS_AHEAD": "0", "PUSH_COMMITS_BEHIND": "0",
        **counts,
    }  # fmt: skip
    if upstream:
        short = said("rev-parse", "--abbrev-ref", "@{u}") if _exists(git, upstream) else upstream.split("/", 2)[2]
        url = "" if remote == "." else without_userinfo(git("remote", "get-url", remote).strip()).decode()
        result.update(REMOTE_NAME=remote, REMOTE_BRANCH=short.removeprefix(f"{remote}/"), REMOTE_URL=url)
        result.update(_distance(git, upstream, ""))
    if push and push != upstream and _exists(git, push):
        url = without_userinfo(git("remote", "get-url", "--push", push_remote).strip()).decode()
        result.update(PUSH_REMOTE_NAME=push_remote, PUSH_REMOTE_URL=url, **_distance(git, push, "PUSH_"))
    return {name: _in_a_response(value) for name, value in result.items()}


def _in_a_response(value: str) -> str:
    """UTF-8 without control characters: what bash's `read` takes apart without losing the end of the record."""
    text = os.fsencode(value).decode(errors="replace").replace("\ufffd", "?")
    return "".join("?" if ord(c) < 32 or ord(c) == 127 else c for c in text)


def _exists(git: Git, ref: str) -> bool:
    return git.ask("rev-parse", "-q", "--verify", ref).exit == 0


def _distance(git: Git, ref: str, prefix: str) -> dict[str, str]:
    answer = git.ask("rev-list", "--count", "--left-right", f"{ref}...HEAD", "--")
    behind, ahead = answer.stdout.decode().split() if answer.exit == 0 else ("0", "0")
    return {f"{prefix}COMMITS_AHEAD": ahead, f"{prefix}COMMITS_BEHIND": behind}


def _counts(entries: bytes) -> dict[str, str]:
    names = "STAGED", "UNSTAGED", "CONFLICTED", "UNTRACKED", "UNSTAGED_DELETED", "STAGED_NEW", "STAGED_DELETED"
    n = dict.fromkeys(names, 0)
    records = iter(entries.split(b"\0")[:-1])
    for record in records:
        kind = record[:1]
        if kind == b"2":
            next(records)  # where it was
        if kind in b"12":
            x, y = record[2:3], record[3:4]
            n["STAGED"] += (x != b".") + (x == b"R")
            n["UNSTAGED"] += (y != b".") + (y == b"R")
            n["STAGED_NEW"] += x in b"ARC"
            n["STAGED_DELETED"] += x in b"DR"
            n["UNSTAGED_DELETED"] += y in b"DR"
        n["CONFLICTED"] += kind == b"u"
        n["UNTRACKED"] += kind == b"?"
    return {f"NUM_{name}": str(number) for name, number in n.items()}


def expected_action(path: Path) -> str:
    """For the simple ones, by the file that git leaves; elsewhere `*` (`tests/git/test_action.py` has them all)."""
    git_dir = Path(os.fsdecode(Git(path)("rev-parse", "--absolute-git-dir").strip()))
    if (git_dir / "sequencer/todo").exists() or (git_dir / "rebase-merge").exists():
        return "*"
    if (git_dir / "rebase-apply").exists():
        return "*"
    return next((name for file, name in ACTIONS.items() if (git_dir / file).exists()), "")
