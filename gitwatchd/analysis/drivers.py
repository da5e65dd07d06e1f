"""Filter drivers that come with a repository: commands that `git status` would run because the repository says so.

Owns nothing. Runs: where the analysis runs, and on the serving thread when the user grants trust; reads configuration
and index files, and starts git (`ls-files`, which runs no filter) only for an index that our reader cannot read.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.child import run_git, shown
from gitwatchd.git.files import read_regular
from gitwatchd.git.index_file import Index, IndexDamaged, read_index
from gitwatchd.git.layout import read_format, read_location
from gitwatchd.git.repository_config import RepositoryConfig, read_config
from gitwatchd.git.worktree import check_followed
from gitwatchd.model.repository import Location

_MAX_SUBMODULES = 10_000
"""Submodules can be made to contain each other through symlinks and `.git` files."""


@dataclass(frozen=True, slots=True)
class Driver:
    """`where` is the worktree that defines it: the repository's own or a submodule's."""

    name: bytes
    """Of its section: `filter.lfs`."""
    where: bytes
    settings: tuple[tuple[bytes, bytes | None], ...]
    """Keys and values of its section, in order."""


def find_drivers(
    location: Location, config: RepositoryConfig, deadline: float, index: Index | None = None
) -> list[Driver]:
    """Those of the repository and of its submodules, as far down as git status would go. `deadline`: monotonic seconds;
    `index`: the repository's own, where it need not be read again.

    Raises EnvironmentFailure where that cannot be found out: then nothing may be run.
    """
    if location.bare:
        return []
    found: list[Driver] = []
    seen = {(location.path, location.git_dir)}
    pending = [(location, config)]
    while pending:
        where, its_config = pending.pop()
        found += _drivers_of(where, its_config)
        known = index if where is location else None
        for name in _gitlinks(where, deadline) if known is None or known.inexact else known.gitlinks():
            # By its place in the worktree, not by .git/modules: its `.git` file may lead anywhere.
            top = os.path.join(where.path, name)
            submodule = read_location(top)
            if submodule is None:
                _refuse_what_git_may_accept(top)
                continue
            if (submodule.path, submodule.git_dir) in seen:
                continue
            if len(seen) >= _MAX_SUBMODULES:
                raise EnvironmentFailure("it has too many submodules to be sure that none brings a filter")
            seen.add((submodule.path, submodule.git_dir))
            pending.append((submodule, read_config(submodule)))
    return found


def _refuse_what_git_may_accept(top: bytes) -> None:
    """A submodule that is none by our reading must be none for git. Raises EnvironmentFailure when that is unsure."""
    dot_git = top + b"/.git"
    if os.path.isfile(dot_git):
        target = read_regular(dot_git, _LONGEST_GIT_FILE_BYTES).removeprefix(b"gitdir:").strip().partition(b"\0")[0]
        dot_git = os.path.join(top, target)
        reach.check(dot_git)
    if os.path.lexists(dot_git + b"/HEAD"):
        raise EnvironmentFailure(
            f"its submodule {shown(top)} cannot be read, and may bring a filter", "git submodule status"
        )


_LONGEST_GIT_FILE_BYTES = 1 << 16


def drivers_digest(drivers: list[Driver]) -> bytes:
    """What the user's trust is bound to: it changes when any of these drivers does."""
    lines = sorted(repr((driver.where, driver.name, driver.settings)) for driver in drivers)
    return sha256("\n".join(lines).encode()).digest()


def _drivers_of(location: Location, config: RepositoryConfig) -> Iterator[Driver]:
    for name in config.filter_drivers_of_repository():
        prefix = name + b"."
        settings = [(entry.key, entry.value) for entry in config.entries if entry.key.startswith(prefix)]
        yield Driver(name, location.path, tuple(settings))


def _gitlinks(location: Location, deadline: float) -> list[bytes]:
    try:
        index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
        check_followed(location, index)
        if index.inexact is None:
            return index.gitlinks()
    except IndexDamaged:
        pass  # by our reading; git may be of another mind
    found: list[bytes] = []

    def take(entry: bytes) -> None:
        if entry.startswith(b"160000 "):
            found.append(entry.partition(b"\t")[2])

    left_s = max(0.0, deadline - time.monotonic())
    answer = run_git(("ls-files", "--stage", "-z"), cwd=location.path, timeout_s=left_s, take_record=take)
    return [] if answer.returncode else found  # an index that git cannot read: its status runs nothing either
