"""What the watcher tells, and to whom: the words between `watch/` and the daemon.

Owns nothing. `Listener` is called on the serving thread.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from gitwatchd.git import reach
from gitwatchd.git.layout import object_directories
from gitwatchd.git.worktree import Found, Tree
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Location, RepoPath, Shortage
from gitwatchd.watch.changes import Changes


@dataclass(frozen=True, slots=True)
class Identity:
    """What tells that a path still holds the same repository, for git too, which refuses those of other users: device,
    inode and owner of worktree and git dir."""

    worktree: tuple[int, int, int]
    git_dir: tuple[int, int, int]
    borrowed: tuple[tuple[bytes, tuple[int, int] | None], ...] = ()
    """Directories of objects that belong to others (alternates), with device and inode; None: it is not there, and git
    fails for want of objects. Not watched: whoever packs there would wake every borrower."""
    resolved: tuple[bytes, bytes] | None = None
    """Where worktree and git dir lead, if they lie apart. Each may name the other by a path with `..`, which leads
    elsewhere when a directory above was moved and a link left in its place: the same inodes, by the same paths."""


def find_identity(location: Location) -> Identity | None:
    """None when worktree or git dir is missing. Raises LeadsAway."""
    return read_identity(location, object_directories(location.common_dir + b"/objects")[1:])


def read_identity(location: Location, borrowed: Iterable[bytes]) -> Identity | None:
    """As `find_identity`, where it is known what is borrowed. Raises LeadsAway."""
    try:
        # No links: neither path had one at its end, and one that is there by now may lead onto a dead mount.
        top, git_dir = os.lstat(location.path), os.lstat(location.git_dir)
    except OSError:
        return None
    apart = location.git_dir not in (location.path, location.path + b"/.git") or location.common_dir != location.git_dir
    return Identity(
        (top.st_dev, top.st_ino, top.st_uid), (git_dir.st_dev, git_dir.st_ino, git_dir.st_uid),
        tuple((directory, _place_of(directory)) for directory in borrowed),
        (reach.follow(location.path), reach.follow(location.git_dir)) if apart else None,
    )  # fmt: skip


def _place_of(directory: bytes) -> tuple[int, int] | None:
    try:
        # Not `check`, which would trust a look of a moment ago.
        there = os.stat(reach.follow(directory) if reach.is_kept_local() else directory)
    except OSError:
        return None
    return there.st_dev, there.st_ino


@dataclass(frozen=True, slots=True)
class WalkResult:
    """`location` None: there is no repository at `path` any more."""

    path: RepoPath
    location: Location | None
    identity: Identity | None
    watch: Watch
    reason: str = ""
    hint: str = ""
    shortage: Shortage | None = None
    """It could be watched if there were more room."""
    watches: int = 0
    nested: tuple[Location, ...] = ()
    submodules: tuple[Location, ...] = ()
    began: float = 0.0
    """Epoch seconds."""
    looked: bool = False
    """`Watcher.sight` was asked about a whole walk ..."""
    sight: object = None
    """... and made this of it; None: nothing."""
    entered: frozenset[bytes] | None = None
    """As `RepositoryWalk.entered`."""
    new_attributes: bool = False
    """A `.gitattributes` came to light that no event told of."""
    leads_onto: bytes | None = None
    """The mount that may hang, and that something of the repository lies on."""


@dataclass(frozen=True, slots=True)
class Raised:
    """What can be had that could not before."""

    watches: int = 0
    instances: bool = False
    descriptors: bool = False


class Listener(Protocol):
    """Who is told; on the serving thread."""

    def on_changed(self, path: RepoPath, changes: Changes) -> None: ...
    def on_walked(self, result: WalkResult) -> None: ...
    def on_found(self, location: Location) -> None: ...
    def on_discovered(self, root: bytes, unreadable: list[tuple[bytes, str]]) -> None:
        """One walk that `discover` asked for has ended."""

    def on_led_away(self, directory: bytes) -> None:
        """What is in `directory` may be a repository, and leads onto a mount that may hang: to be looked for by who may
        look there. Told before the end of the walk that met it."""

    def on_left(self, path: bytes) -> None:
        """Repositories at and below `path` may be gone."""

    def on_appeared(self, directory: bytes) -> None:
        """Repositories may have appeared at and below `directory`: to be looked for by `discover`."""

    def on_suspicion(self) -> None:
        """Discovery events were lost: every root has to be walked again."""

    def on_configuration(self) -> None:
        """A file that configures git for many repositories may have changed."""

    def on_mounts(self, points: set[bytes]) -> None:
        """Something was mounted or unmounted there: no event tells what lies at and below these now."""

    def on_settings(self) -> None:
        """One of the files of `follow_settings` may have changed."""


Sight = Callable[[Location, Tree, Found], object]
"""Called on the walking thread with all that a whole walk listed; what it returns goes into the walk's result."""
