"""Repositories in every state that git knows, built quickly and always under the same names.

`python -m tests.zoo.repositories DIRECTORY` builds them for a look, with a HOME of their own in it.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from tests.zoo.attributes import ATTRIBUTES
from tests.zoo.changes import CHANGES
from tests.zoo.histories import HISTORIES
from tests.zoo.isolation import isolated_environment, write_home
from tests.zoo.layouts import LAYOUTS
from tests.zoo.nursery import Builder, Nursery

BUILDERS: dict[str, Builder] = {**CHANGES, **HISTORIES, **LAYOUTS, **ATTRIBUTES}

REFUSED = frozenset({"bare"})
"""git status exits 128 there."""

UNSAFE = frozenset({"own-filter"})
"""Their own config names a filter program that attributes ask for: not analysed until trusted."""


def build_zoo(directory: str | os.PathLike[str], only: frozenset[str] | None = None) -> dict[str, Path]:
    """Build all (or `only` these builders') repositories below `directory`; every worktree by its name.

    Names that begin with `_` in `directory` are material (origins, the template), not inhabitants.
    """
    zoo = Nursery(Path(os.path.realpath(directory)))
    built: dict[str, Path] = {}
    for name, builder in BUILDERS.items():
        if only is None or name in only:
            built[name] = builder(zoo, name).path
    return {**built, **zoo.also}


def main() -> None:
    directory = Path(sys.argv[1]).resolve()
    os.environ.update(isolated_environment(os.environ, directory / "_home"))
    write_home(directory / "_home")
    started = time.monotonic()
    built = build_zoo(directory)
    print(f"{len(built)} worktrees in {time.monotonic() - started:.1f} s; HOME={directory}/_home")


if __name__ == "__main__":
    main()
