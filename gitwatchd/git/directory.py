"""One directory, as those see it who look for repositories.

Owns nothing. Runs: a discovering thread, a worker, the client; blocks on the disk. Never follows symbolic links.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from gitwatchd.git.layout import is_bare_layout


@dataclass(frozen=True, slots=True)
class Listing:
    names: set[bytes]
    below: list[bytes]
    """Paths of the directories in it but for a `.git`, the last one first: a stack gives them back in order."""

    @property
    def may_be_repository(self) -> bool:
        """Then `read_location` says."""
        return b".git" in self.names or is_bare_layout(self.names)


def list_directory(path: bytes) -> Listing:
    """Raises OSError."""
    names: set[bytes] = set()
    below: list[bytes] = []
    with os.scandir(path) as entries:
        for entry in entries:
            names.add(entry.name)
            if entry.name != b".git" and entry.is_dir(follow_symlinks=False):
                below.append(entry.path)
    below.sort(reverse=True)
    return Listing(names, below)
