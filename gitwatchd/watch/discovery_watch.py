"""Watches outside of repositories: where new ones may appear, and the files of git's configuration.

Owns: which directories are watched for discovery, and which file names count as configuration.
Runs: `note` and the `take_` functions on the serving thread; `enter` and the like on the discovering thread.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from errno import EFBIG, EXDEV

from gitwatchd.errors import is_exhaustion
from gitwatchd.mounts import lies_below
from gitwatchd.watch.changes import Role
from gitwatchd.watch.events import (
    ATTRIB,
    CREATE,
    DELETE,
    DELETE_SELF,
    ISDIR,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    InstanceLimitReached,
    WatchLimitReached,
)
from gitwatchd.watch.table import WatchTable, path_below
from gitwatchd.watch.walk import git_dir_in_making

DEEPEST_LEVEL = 4
"""Levels below a root at which directories outside of repositories are watched; deeper ones wait for a refresh."""

SKIPPED = frozenset(
    {
        b".cache", b"node_modules", b".npm", b".cargo", b".rustup", b".local", b".venv", b"venv", b"__pycache__",
        b".Trash", b"Trash", b".mozilla", b".config", b".tox", b".gradle", b".m2", b"site-packages",
    }
)  # fmt: skip
"""Directories that change all the time and rarely get a new repository: not watched, though walked."""

_APPEARED = CREATE | MOVED_TO
_LEFT = DELETE | MOVED_FROM
_NOT_HERE = (EFBIG, EXDEV)
"""A queue of this platform cannot watch that directory (`polling.py`, `fsevents.py`)."""
_BARE_NAMES = frozenset({b"HEAD", b"objects", b"refs"})
_MOST_LINKS = 40
"""The kernel's own limit on the links of one path."""


class DiscoveryWatch:
    """The sink of the directories outside of repositories. The prefix of each is its absolute path."""

    def __init__(self, table: WatchTable) -> None:
        self._table = table
        self.again: set[bytes] = set()
        """Directories in which a repository may have appeared."""
        self.left: set[bytes] = set()
        """Paths at and below which repositories may be gone."""
        self.everything = False
        """Events were lost: every root has to be walked again."""
        self.stopped = False
        """Its watches were needed elsewhere."""
        self.refused = False
        """There was no watch left for a directory."""
        self._awaited: dict[bytes, bytes] = {}
        """Git dirs that are no repositories yet, by the directory that holds their `.git`; discovering thread."""

    def enter(self, directory: bytes, root: bytes) -> None:
        """Watch a directory that holds no repository of its own, when it is near enough to its root."""
        below = directory[len(root.rstrip(b"/")) + 1 :]
        names = below.split(b"/") if below else []
        if len(names) <= DEEPEST_LEVEL and not SKIPPED.intersection(names):
            self._add(directory, Role.WORKTREE, directory)

    def await_head(self, dot_git: bytes) -> None:
        """Watch a `.git` that is no repository yet: its HEAD, objects and refs make it one."""
        directory = dot_git.removesuffix(b"/.git")
        git_dir = git_dir_in_making(dot_git)
        if git_dir is not None:
            self._awaited[directory] = git_dir
            self._add(git_dir, Role.NESTED, directory)

    def leave(self, directory: bytes) -> None:
        """A repository was found there: its own watches take over."""
        self._table.withdraw(directory, self)
        git_dir = self._awaited.pop(directory, None)
        if git_dir is not None:
            self._table.withdraw(git_dir, self, Role.NESTED)

    def stop(self) -> None:
        """Give every watch back. Any thread."""
        with self._table.lock:
            self.stopped, self.refused = True, False
            self._table.release(self)

    def resume(self) -> None:
        with self._table.lock:
            self.stopped = self.refused = False

    def _add(self, path: bytes, role: Role, prefix: bytes) -> None:
        with self._table.lock:
            if self.stopped or self.refused:
                return
            try:
                self._table.add(path, self, role, prefix)
            except WatchLimitReached:
                self.refused = True
            except OSError as error:
                # Gone, or unreadable, or no queue; or not to be watched on this platform.
                self.refused = self.refused or error.errno in _NOT_HERE

    def lost(self) -> None:
        self.everything = True

    def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        if not name:
            if mask & (DELETE_SELF | MOVE_SELF) and role is Role.WORKTREE:
                self.left.add(prefix)
        elif name == b".git" or name in _BARE_NAMES or role is Role.NESTED:
            if mask & _APPEARED:
                self.again.add(prefix)
            elif mask & _LEFT:
                self.left.add(prefix)
        elif mask & ISDIR:
            path = path_below(prefix, name)
            if mask & (_LEFT | ATTRIB):
                self.left.add(path)
            # ATTRIB: what nobody could read when it was walked may be readable now.
            if mask & _APPEARED or (mask & ATTRIB and not self._table.watches(path, self)):
                self.again.add(path)

    def take(self) -> tuple[set[bytes], set[bytes], bool]:
        """(directories to walk, paths that repositories may have left, whether everything is to be walked)."""
        taken = (self.again, self.left, self.everything)
        self.again, self.left, self.everything = set(), set(), False
        return taken


class ConfigurationWatch:
    """The sink of the files that configure git for more than one repository, those that do not exist yet included.

    On the way to each file every directory is watched for the next name, through the links on the way: a directory that
    is renamed, or a link that is turned, takes the file away and raises no event further down.
    """

    def __init__(self, table: WatchTable, is_local: Callable[[bytes], bool]) -> None:
        self._table = table
        self._is_local = is_local
        self._lock = threading.Lock()
        """Held while files are covered, and never while waiting for another but the table's."""
        self._names: dict[bytes, set[bytes]] = {}
        self._sources: set[bytes] = set()
        self.changed = False

    def cover(self, sources: Iterable[bytes]) -> None:
        """Watch these files (absolute) too. Walking thread. Raises WatchLimitReached, InstanceLimitReached, or OSError
        for want of descriptors: who depends on them cannot be watched then."""
        with self._lock:
            for source in set(sources) - self._sources:
                self._cover(source)
                self._sources.add(source)

    def _cover(self, path: bytes) -> None:
        """Resolve `path` as the kernel does, each directory watched before the next name is looked up in it."""
        directory, names, links = b"/", path.split(b"/")[::-1], 0
        if not self._is_local(directory):
            return
        while names:
            name = names.pop()
            if name == b"..":
                directory = directory.rpartition(b"/")[0] or b"/"  # no link is part of it
            if name in (b"", b".", b".."):
                continue
            self._names.setdefault(directory, set()).add(name)
            try:
                self._table.add(directory, self, Role.INFO, directory)
            except PermissionError:
                pass  # it may be passed without being listed, and what lies further down be watched
            except (WatchLimitReached, InstanceLimitReached):
                raise
            except OSError as error:
                if is_exhaustion(error) or error.errno in _NOT_HERE:
                    raise
                return  # there is no such directory; the one above it is watched for its name
            directory = path_below(directory, name)
            if not self._is_local(directory):
                return  # not even read as a link: whoever waits for a dead mount holds the lock
            try:
                link = os.readlink(directory)
            except OSError:
                continue
            links += 1
            if links > _MOST_LINKS:
                return
            directory = b"/" if link.startswith(b"/") else directory.rpartition(b"/")[0] or b"/"
            names += link.split(b"/")[::-1]

    def suspect(self, points: Iterable[bytes]) -> None:
        """Other files may be at and below these directories than those that are watched."""
        with self._lock:
            ways = [path_below(directory, name) for directory, names in self._names.items() for name in names]
        if any(lies_below(way, point) for point in points for way in ways):
            self.changed = True

    def lost(self) -> None:
        self.changed = True

    def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        # Without a name: the directory itself was renamed or removed, and the files in it with it.
        if name in self._names.get(prefix, ()) or (not name and mask & (DELETE_SELF | MOVE_SELF)):
            self.changed = True

    def take(self) -> bool:
        """Whether any of the files may have changed. Serving thread.

        Their watches are in place again when it returns: directories on their way may have appeared, or links turned.
        """
        changed, self.changed = self.changed, False
        if changed:
            with self._lock:
                for source in list(self._sources):
                    try:
                        self._cover(source)
                    except OSError:
                        # No watches left. Every repository is walked after this, and will ask for it again.
                        self._sources.discard(source)
        return changed
