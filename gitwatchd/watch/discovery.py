"""Find the repositories below a directory.

Owns: nothing that outlives a walk. Runs: the discovering thread of the daemon, or the client (`--direct`).
Streams: each repository is given out as it is met. Stops at repositories: what lies inside a worktree is found by the
walk of that worktree, which knows by git's rules what is a submodule and what is ignored.
Never follows symbolic links, so loops and double roots count once; never crosses into another mount.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

from gitwatchd.git import reach
from gitwatchd.git.directory import list_directory
from gitwatchd.git.layout import read_location
from gitwatchd.git.reach import LeadsAway
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.mounts import Mounts, read_mounts
from gitwatchd.watch.table import path_below
from gitwatchd.watch.walk import find_nested

Enter = Callable[[bytes], None]
"""Called with a directory that holds no repository of its own, before it is listed."""

Skip = Callable[[bytes], bool]
"""Whether to leave a directory out, and all that lies below it."""


def walk_root(
    root: bytes,
    mounts: Mounts,
    *,
    enter: Enter = lambda _path: None,
    half_made: Enter = lambda _path: None,
    found: Enter = lambda _path: None,
    unreadable: Callable[[bytes, OSError], None] = lambda _path, _error: None,
    led_away: Callable[[bytes, bytes], None] = lambda _path, _mount: None,
    skip: Skip = lambda _path: False,
) -> Iterator[Location]:
    """Repositories at and below `root` (absolute, resolved), outside of other repositories.

    `half_made` is called with a `.git` that is no repository yet (a clone in progress), `found` with the directory that
    holds a repository (core.worktree may lead elsewhere), `led_away` with one that may hold one, and with the mount
    onto which that leads.
    """
    stack = [root]
    while stack:
        directory = stack.pop()
        try:
            if not reach.may_be_there(directory):  # it may be a link by now, a root too
                continue
        except LeadsAway as away:
            led_away(directory, away.mount)
            continue
        enter(directory)
        try:
            listing = list_directory(directory)
        except FileNotFoundError:
            continue
        except OSError as error:
            unreadable(directory, error)
            continue
        if listing.may_be_repository:
            try:
                location = read_location(directory)
                if location is None and b".git" in listing.names:
                    half_made(path_below(directory, b".git"))
                    # It may have become one before somebody watched for that.
                    location = read_location(directory)
            except LeadsAway as away:
                led_away(directory, away.mount)
                continue
            except OSError as error:
                unreadable(directory, error)
                continue
            if location is not None:
                found(directory)
                yield location
                continue
        stack += [path for path in listing.below if path not in mounts.types and not skip(path)]


def find_repositories(root: bytes, *, include_ignored: bool = False) -> Iterator[Location]:
    """Each repository below `root` once, as `gitwatch status --direct` lists them."""
    pending = list(walk_root(os.path.realpath(root), read_mounts()))
    pending.reverse()
    seen: set[RepoPath] = set()
    while pending:
        location = pending.pop()
        if location.path in seen:
            continue
        seen.add(location.path)
        yield location
        if not location.bare:
            pending += find_nested(location, include_ignored=include_ignored)
