"""Running git as the user would, and asking the judge. Blocking; any thread."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

Word = str | bytes | os.PathLike[str]
FIXED_TIME = "1700000000 +0000"
"""Author and committer date of every commit made here: object names repeat from run to run."""

JUDGE = (
    "git",
    "--no-optional-locks",
    "-c",
    "core.fsmonitor=false",
    "status",
    "--porcelain=v2",
    "--branch",
    "--show-stash",
    "-z",
)
"""What answers are compared with, byte for byte."""


@dataclass(frozen=True, slots=True)
class Answer:
    exit: int
    stdout: bytes
    stderr: bytes


class GitFailedError(AssertionError):
    pass


def without_git(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if not name.startswith("GIT_")}


class Git:
    """git in one directory: `git("add", ".")` returns stdout, raises when git fails; `git.ask` never does."""

    __slots__ = ("path",)

    def __init__(self, path: str | bytes | os.PathLike[str]) -> None:
        self.path = Path(os.fsdecode(path))

    def __call__(self, *arguments: Word, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> bytes:
        answer = self.ask(*arguments, stdin=stdin, env=env)
        if answer.exit:
            words = " ".join(os.fsdecode(a) for a in arguments)
            said = answer.stderr.decode(errors="replace")
            raise GitFailedError(f"git {words} in {self.path}: {answer.exit}\n{said}")
        return answer.stdout

    def ask(self, *arguments: Word, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> Answer:
        environment = without_git(os.environ)
        environment.update(
            GIT_AUTHOR_DATE=FIXED_TIME,
            GIT_COMMITTER_DATE=FIXED_TIME,
            GIT_TERMINAL_PROMPT="0",
            GIT_EDITOR="true",
            GIT_MERGE_AUTOEDIT="no",
        )
        environment.update(env or {})
        done = subprocess.run(
            ["git", *arguments], cwd=self.path, env=environment, input=stdin, capture_output=True, check=False
        )
        return Answer(done.returncode, done.stdout, done.stderr)


def ask_judge(path: str | bytes | os.PathLike[str]) -> Answer:
    """What git itself says of `path`, failures included."""
    done = subprocess.run(
        JUDGE,
        cwd=path,
        env=without_git(os.environ),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def judge(path: str | bytes | os.PathLike[str]) -> bytes:
    """The judge's bytes; raises where git refuses (a bare repository)."""
    answer = ask_judge(path)
    if answer.exit:
        raise GitFailedError(f"the judge refuses {os.fsdecode(path)}: {answer.stderr.decode(errors='replace')}")
    return answer.stdout


def new_repository(path: str | os.PathLike[str], files: Mapping[str, bytes] | None = None, *options: str) -> Git:
    """`git init` with `options` at `path`, and one commit of `files` (none: unborn)."""
    directory = Path(path)
    directory.mkdir(parents=True, exist_ok=True)
    git = Git(directory)
    git("init", "-q", *options)
    for name, content in (files or {}).items():
        file = directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    if files:
        git("add", "-A")
        git("commit", "-qm", "first")
    return git
