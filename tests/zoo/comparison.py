"""The daemon's answers beside the judge's.

`python -m tests.zoo.comparison SEED STEPS` builds a zoo in a temporary directory and compares after each of
STEPS random operations, for as long as one likes; exit 1 and the sequence on the first difference.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from random import Random

from tests.zoo.commands import Answer, Git, ask_judge
from tests.zoo.daemon import Client, Daemon, Entries
from tests.zoo.isolation import isolated_environment, write_home
from tests.zoo.operations import Operations
from tests.zoo.repositories import REFUSED, UNSAFE, build_zoo


def difference(client: Client, path: Path) -> str | None:
    """Ask the daemon at once, then the judge; what is wrong with the daemon's answer, or None.

    Where git fails so must the daemon (exit 1 and no entries); a repository of `UNSAFE` must not be analysed.
    """
    answer = client.entries(path)
    if path.name in UNSAFE:  # and never ask the judge: it would run the program
        return None if answer.state == "unsafe" and answer.stdout == b"" else shown_difference(path, answer, None)
    expected = ask_judge(path)
    if expected.exit:
        right = answer.exit == 1 and answer.stdout == b""
    else:
        right = answer.state == "fresh" and answer.exit == 0 and answer.stdout == expected.stdout
    return None if right else shown_difference(path, answer, expected)


def expect_git_s(client: Client, git: Git) -> None:
    wrong = difference(client, git.path)
    assert wrong is None, wrong


def compare_all(client: Client, paths: list[Path]) -> list[str]:
    return [wrong for path in paths if (wrong := difference(client, path)) is not None]


def run_steps(client: Client, operations: Operations, steps: int) -> None:
    """After each step its repository and another must be answered right; AssertionError with the sequence."""
    for _ in range(steps):
        operations.step()
        for path in (operations.repository, operations.random.choice(operations.repositories)):
            wrong = difference(client, path)
            if wrong is not None:
                raise AssertionError(f"{wrong}\n{told(operations, path)}")


def changeable(zoo: Mapping[str, Path]) -> list[Path]:
    """The worktrees for random operations: one that must stay unsafe could be made safe by them."""
    return [path for name, path in zoo.items() if name not in UNSAFE | REFUSED]


def told(operations: Operations, path: Path) -> str:
    """The last operations that may have led to the state of `path`, oldest first."""
    here = [line for line in operations.history if f" [{path.name}] " in line]
    return "\n".join(["in this repository:", *here[-15:], "anywhere:", *operations.history[-5:]])


def shown_difference(path: Path, answer: Entries, expected: Answer | None) -> str:
    lines = [f"{path}: {answer.state} ({answer.reason}), exit {answer.exit}, stderr {answer.stderr!r}"]
    if expected is None:
        return "\n".join([*lines, "must be unsafe"])
    if expected.exit:
        lines.append(f"git exits {expected.exit}: {expected.stderr!r}")
    theirs, ours = expected.stdout.split(b"\0"), answer.stdout.split(b"\0")
    lines += [f"  git only:    {record!r}" for record in theirs if record not in ours]
    lines += [f"  daemon only: {record!r}" for record in ours if record not in theirs]
    if sorted(theirs) == sorted(ours) and theirs != ours:
        lines.append(f"  another order: git {theirs!r}, daemon {ours!r}")
    return "\n".join(lines)


def main() -> None:
    seed, steps = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(prefix="gw-zoo-") as name:
        directory = Path(name)
        os.environ.update(isolated_environment(os.environ, directory / "home"))
        write_home(directory / "home")
        zoo = build_zoo(directory / "zoo")
        with Daemon(directory / "state") as daemon, daemon.connect() as client:
            wrong = compare_all(client, list(zoo.values()))
            if wrong:
                sys.exit("\n".join(["before any operation:", *wrong]))
            operations = Operations(Random(seed), changeable(zoo))
            try:
                run_steps(client, operations, steps)
            except AssertionError as why:
                sys.exit(f"seed {seed}: {why}")
            wrong = compare_all(client, list(zoo.values()))
            if wrong:
                sys.exit("\n".join(["after all operations:", *wrong]))
    print(f"seed {seed}: {steps} steps over {len(zoo)} worktrees, 0 differences")


if __name__ == "__main__":
    main()
