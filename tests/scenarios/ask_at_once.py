"""Change a file, ask at once: is the answer git's?

`python -m tests.scenarios.ask_at_once --asks 1000` asks that often on a repository of 100 files and on one of 20,000,
after appends, same-size edits, new files, removals and `git add`, each right before the question; exit 1 and the first
differences when an answer is wrong.
"""

from __future__ import annotations

import os
import sys
import tempfile
from argparse import ArgumentParser
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

from tests.zoo.commands import Git, judge
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client, Daemon
from tests.zoo.isolation import isolated_environment, write_home

SMALL, BIG = 100, 20_000
FILES_A_DIRECTORY = 40
CONTENTS = 32
"""Different contents in all: git makes one object of each, so that a big repository is quickly made."""


def build(path: Path, files: int) -> Git:
    """A repository of that many files in one commit."""
    git = Git(path)
    for number in range(files):
        file = path / name_of(number)
        if number % FILES_A_DIRECTORY == 0:
            file.parent.mkdir(parents=True)
        file.write_bytes(b"content %02d\n" % (number % CONTENTS))
    git("init", "-q", "--template=")
    git("add", "-A")
    git("commit", "-qm", "first")
    return git


def name_of(number: int) -> str:
    return f"dir{number // FILES_A_DIRECTORY % 25}/sub{number // FILES_A_DIRECTORY}/file{number}.txt"


def change(git: Git, files: int) -> Iterator[str]:
    """One change to the worktree or the index each time; what it was."""
    numbers = cycle(range(0, files, 7))
    for round_ in cycle(range(1_000_000)):
        for number in numbers:
            file = git.path / name_of(number)
            with file.open("ab") as opened:
                opened.write(b"more\n")
            yield f"append to {file}"
            file.write_bytes(b"x" * (file.stat().st_size - 1) + b"\n")
            yield f"same size: {file}"
            new = file.with_name(f"new{round_}")
            new.write_bytes(b"")
            yield f"new: {new}"
            git("add", str(file))
            yield f"add {file}"
            new.unlink()
            yield f"remove: {new}"
            file.unlink()
            yield f"remove: {file}"
            deep = file.parent / "a/b/c/d"
            deep.mkdir(parents=True, exist_ok=True)
            (deep / "f").write_bytes(b"")
            yield f"new: {deep}/f"
            if number % 5 == 0:
                git("reset", "-q", "--hard")
                git("clean", "-dfqx")
                yield "reset --hard, clean"


def ask(client: Client, git: Git, files: int, asks: int) -> list[str]:
    """Change and ask `asks` times; what was wrong."""
    client.entries(git.path)
    wrong = []
    for _, what in zip(range(asks), change(git, files), strict=False):
        found = difference(client, git.path)
        if found is not None:
            wrong.append(f"{what}\n{found}")
    judge(git.path)  # it must be a repository still, or nothing was compared
    return wrong


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--asks", type=int, default=1000)
    asks = parser.parse_args().asks
    with tempfile.TemporaryDirectory(prefix="gw-ask-") as name:
        directory = Path(name)
        os.environ.update(isolated_environment(os.environ, directory / "home"))
        write_home(directory / "home")
        failed = False
        with Daemon(directory / "state") as daemon, daemon.connect() as client:
            for files in (SMALL, BIG):
                wrong = ask(client, build(directory / str(files), files), files, asks)
                print(f"{files} files: {asks} asked, {len(wrong)} wrong", *wrong[:3], sep="\n")
                failed = failed or bool(wrong)
    sys.exit(failed)


if __name__ == "__main__":
    main()
