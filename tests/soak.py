"""The daemon beside git for as long as one likes: random repositories, random operations, every answer compared.

`python -m tests.soak --minutes N [--seed S] [--stop]`. A round is one set of repositories with a daemon of its own and
repeats from its seed (`--seed S --rounds 1`), but for what depends on the moment. On a difference: the seed, the
history, the line that replays it; then a new round, or the end with `--stop`. Exit 1 if there was any.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from random import Random

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.wire.rpc import RemoteError
from tests.soak_farm import build_farm
from tests.soak_operations import OPERATIONS
from tests.zoo.commands import Answer, Git, GitFailedError, ask_judge, without_git
from tests.zoo.comparison import shown_difference
from tests.zoo.daemon import Client, Daemon, Entries
from tests.zoo.isolation import isolated_environment, write_home
from tests.zoo.scene import Scene

STEPS = 150
"""Of one round: the same files are changed again and again, and the build of the next set is worth its time."""
MOST_AT_ONCE = 6
CLIENTS = 3
COMMANDS = (
    ("checkout", "-q", "-f", "feature"), ("checkout", "-q", "-f", "main~1"), ("checkout", "-q", "-f", "main"),
    ("reset", "-q", "--hard", "HEAD~1"), ("stash", "-q", "-u"), ("read-tree", "-u", "--reset", "topic"),
    ("commit", "-qam", "beside"), ("rebase", "-q", "main"), ("clean", "-qfdx"), ("add", "-A"),
)  # fmt: skip
"""What runs while the daemon is asked."""


class Different(AssertionError):
    """The daemon answered otherwise than git, and said that it was fresh."""


class Round:
    """One set of repositories and what was done to it. Counts into `tally`."""

    def __init__(self, seed: int, directory: Path, daemon: Daemon, tally: Counter[str]) -> None:
        self.random = Random(seed)
        self.worktrees = build_farm(self.random, directory / "farm")
        self.history: list[str] = []
        self._daemon = daemon
        self._client = daemon.connect()
        self._tally = tally
        self._fenced = frozenset(os.fsencode(path) for path in self.worktrees)

    def close(self) -> None:
        self._client.close()

    def run(self, steps: int) -> None:
        """Raises Different."""
        self._compare_all()
        kinds = (self._one, self._several, self._beside_a_command, self._many_clients)
        for _ in range(steps):
            self.random.choices(kinds, (10, 4, 2, 2))[0]()
        self._compare_all()

    def levels(self) -> Counter[str]:
        return Counter(self._client.call("doctor")["answers"])

    def reasons(self) -> Counter[str]:
        return Counter(self._client.call("doctor")["git_asked_because"])

    # ---- steps

    def _operate(self, worktree: Path) -> None:
        operation = self.random.choices(list(OPERATIONS), list(OPERATIONS.values()))[0]
        scene = Scene(self.random, Git(worktree), self._fenced)
        try:
            said = operation(scene)
        except (OSError, GitFailedError) as refused:
            said = f"{operation.__name__} refused: {refused}"
        self._note(worktree, said)
        self._tally["operations"] += 1

    def _note(self, worktree: Path, said: str) -> None:
        self.history.append(f"{len(self.history)} [{worktree.name}] {said}")

    def _one(self) -> None:
        worktree = self.random.choice(self.worktrees)
        self._operate(worktree)
        self._compare(worktree)

    def _several(self) -> None:
        """Several operations between two queries."""
        touched = [self.random.choice(self.worktrees) for _ in range(self.random.randrange(2, MOST_AT_ONCE))]
        for worktree in touched:
            self._operate(worktree)
        for worktree in sorted(set(touched)):
            self._compare(worktree)

    def _beside_a_command(self) -> None:
        """Queries while git works: their answers are of some moment; the one after it must be of the last."""
        worktree = self.random.choice([worktree for worktree in self.worktrees if worktree.is_dir()])
        words = self.random.choice(COMMANDS)
        self._note(worktree, f"git {' '.join(words)}, asked meanwhile")
        running = subprocess.Popen(
            ["git", *words], cwd=worktree, env=without_git(os.environ), stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._tally["operations"] += 1
        while running.poll() is None:
            _ask(self._client, worktree)
            self._tally["queries"] += 1
        self._compare(worktree)

    def _many_clients(self) -> None:
        """Several ask for everything at once, right after an operation; all must be right."""
        self._operate(self.random.choice(self.worktrees))
        answers: list[tuple[Path, Entries]] = []

        there = [worktree for worktree in self.worktrees if worktree.is_dir()]

        def ask() -> None:
            with self._daemon.connect() as client:
                answers.extend([(worktree, _ask(client, worktree)) for worktree in there])

        threads = [threading.Thread(target=ask) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._tally["queries"] += len(answers)
        expected = {worktree: ask_judge(worktree) for worktree in there}
        assert len(answers) == CLIENTS * len(there)
        for worktree, answer in answers:
            self._judge(worktree, answer, expected[worktree])

    # ---- judging

    def _compare_all(self) -> None:
        for worktree in self.worktrees:
            self._compare(worktree)

    def _compare(self, worktree: Path) -> None:
        if not worktree.is_dir():
            return  # an operation took the submodule away
        answer = _ask(self._client, worktree)
        self._tally["queries"] += 1
        self._judge(worktree, answer, ask_judge(worktree))

    def _judge(self, worktree: Path, answer: Entries, expected: Answer) -> None:
        if expected.exit:
            right = answer.exit == 1 and answer.stdout == b""
        else:
            right = answer.stdout == expected.stdout and answer.exit == 0
        if answer.state != "fresh":
            self._tally[f"answers {answer.state}"] += 1
            if answer.state != "failed" or not expected.exit:
                raise Different(shown_difference(worktree, answer, expected))
        elif not right:
            raise Different(shown_difference(worktree, answer, expected))


def _ask(client: Client, worktree: Path) -> Entries:
    """The answer; `failed` as well where the question was refused, because there is no repository (git must agree)."""
    try:
        return client.entries(worktree)
    except RemoteError as refused:
        return Entries("failed", str(refused), 1, b"", b"")


def run_round(seed: int, steps: int, tally: Counter[str]) -> str | None:
    """One round in a directory and with a HOME of its own; what differed, with the history, or None."""
    with tempfile.TemporaryDirectory(prefix="gw-soak-") as name:
        directory = Path(name)
        os.environ.update(isolated_environment(os.environ, directory / "home"))
        write_home(directory / "home")
        with Daemon(directory / "state") as daemon:
            soak = Round(seed, directory, daemon, tally)
            try:
                soak.run(steps)
            except Different as why:
                tally["differences"] += 1
                history = "\n".join(soak.history)
                return f"{history}\n{why}\nreplay: python -m tests.soak --seed {seed} --rounds 1 --steps {steps}"
            except DaemonUnavailable as why:
                tally["differences"] += 1
                tally["no answer"] += 1
                history = "\n".join(soak.history)
                replay = f"python -m tests.soak --seed {seed} --rounds 1 --steps {steps}"
                return f"{history}\nno answer: {why}\nreplay: {replay}"
            else:
                tally.update({f"answers {level}": n for level, n in soak.levels().items()})
                tally.update({f"git asked: {reason}": n for reason, n in soak.reasons().items()})
            finally:
                soak.close()
    return None


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--rounds", type=int, default=None)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--stop", action="store_true", help="end at the first difference")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else int(time.time())
    tally: Counter[str] = Counter()
    started = time.monotonic()
    with suppress(KeyboardInterrupt):
        while time.monotonic() - started < options.minutes * 60 and tally["rounds"] != options.rounds:
            wrong = run_round(seed + tally["rounds"], options.steps, tally)
            tally["rounds"] += 1
            if wrong is not None:
                print(wrong, flush=True)
                if options.stop:
                    break
    print(f"seed {seed}, {(time.monotonic() - started) / 60:.1f} minutes")
    for name in ("rounds", "operations", "queries", "differences"):
        print(f"{name}: {tally[name]}")
    for name, n in sorted(tally.items(), key=lambda item: (-item[1], item[0])):
        if name.startswith(("answers", "git asked")):
            print(f"  {name}: {n}")
    sys.exit(1 if tally["differences"] else 0)


if __name__ == "__main__":
    main()
