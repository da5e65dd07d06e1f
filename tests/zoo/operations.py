"""Random sequences of what people do to repositories, replayable from their seed.

`Operations(Random(7), paths)` then `.step()` as often as wanted: it does one operation in one repository and
returns a line that says which. `.history` has them all; the same seed over a zoo built anew repeats them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from random import Random

from tests.zoo.commands import Git
from tests.zoo.file_operations import FILE_OPERATIONS, Operation
from tests.zoo.git_operations import GIT_OPERATIONS
from tests.zoo.scene import Scene

_OPERATIONS: dict[Operation, int] = {**FILE_OPERATIONS, **GIT_OPERATIONS}


class Operations:
    """Owns the generator and the history. `repository` is the worktree of the last step."""

    def __init__(self, random: Random, repositories: Iterable[Path]) -> None:
        self.random = random
        self.repositories = sorted(repositories)
        self.repository = self.repositories[0]
        self.history: list[str] = []
        self._fenced = frozenset(os.fsencode(path) for path in self.repositories)

    def step(self) -> str:
        """One operation. git's and the system's refusals are part of the description, not errors."""
        self.repository = self.random.choice(self.repositories)
        operation = self.random.choices(list(_OPERATIONS), list(_OPERATIONS.values()))[0]
        scene = Scene(self.random, Git(self.repository), self._fenced)
        try:
            said = operation(scene)
        except OSError as refused:
            said = f"{operation.__name__} refused: {refused}"
        self.history.append(f"{len(self.history)} [{self.repository.name}] {said}")
        return self.history[-1]
