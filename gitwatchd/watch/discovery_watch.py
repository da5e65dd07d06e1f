"""Watches outside of repositories: where new ones may appear, and the files of git's configuration.

Owns: which directories are watched for discovery, and which file names count as configuration.
Runs: `note` and the `take_` functions on the serving thread; `enter` and the like on the discovering thread.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from gitwatchd.watch.changes import Role
from gitwatchd.watch.inotify import CREATE, DELETE, DELETE_SELF, ISDIR, MOVE_SELF, MOVED_FROM, MOVED_TO
from gitwatchd.watch.table import WatchTable

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
_BARE_NAMES = frozenset({b"HEAD", b"objects", b"refs"})


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

    def enter(self, directory: bytes, root: bytes) -> None:
        """Watch a directory that holds no repository of its own, when it is near enough to its root."""
        below = directory[len(root.rstrip(b"/")) + 1 :]
        names = below.split(b"/") if below else []
        if len(names) <= DEEPEST_LEVEL and not SKIPPED.intersection(names):
            self._add(directory, Role.WORKTREE, directory)

    def await_head(self, git_dir: bytes) -> None:
        """Watch a `.git` that is no repository yet: its HEAD, objects and refs make it one."""
        self._add(git_dir, Role.NESTED, git_dir.removesuffix(b"/.git"))

    def leave(self, directory: bytes) -> None:
        """A repository was found there: its own watches take over."""
        self._table.withdraw(directory, self)

    def _add(self, path: bytes, role: Role, prefix: bytes) -> None:
        try:
            self._table.add(path, self, role, prefix)
        except OSError:
            # Gone, unreadable, or no watches left: discovery is the last to get one, a refresh finds the rest.
            return

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
            if mask & _APPEARED:
                self.again.add(prefix + b"/" + name)
            elif mask & _LEFT:
                self.left.add(prefix + b"/" + name)

    def take(self) -> tuple[set[bytes], set[bytes], bool]:
        """(directories to walk, paths that repositories may have left, whether everything is to be walked)."""
        taken = (self.again, self.left, self.everything)
        self.again, self.left, self.everything = set(), set(), False
        return taken


class ConfigurationWatch:
    """The sink of the files that configure git for more than one repository, those that do not exist yet included."""

    def __init__(self, table: WatchTable) -> None:
        self._table = table
        self._names: dict[bytes, set[bytes]] = {}
        self._sources: set[bytes] = set()
        self.changed = False

    def cover(self, sources: Iterable[bytes]) -> None:
        """Watch these files (absolute) too. Any thread."""
        for source in set(sources) - self._sources:
            self._cover(source)
            target = os.path.realpath(source)
            if target != source:
                self._cover(target)
            self._sources.add(source)

    def _cover(self, path: bytes) -> None:
        """Watch for `path` in the nearest directory above it that exists."""
        directory, _, name = path.rpartition(b"/")
        while True:
            self._names.setdefault(directory or b"/", set()).add(name)
            try:
                self._table.add(directory or b"/", self, Role.INFO, directory or b"/")
                return
            except FileNotFoundError:
                directory, _, name = directory.rpartition(b"/")
            except OSError:
                return

    def lost(self) -> None:
        self.changed = True

    def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        if name in self._names.get(prefix, ()):
            self.changed = True

    def take(self) -> bool:
        """Whether any of the files may have changed; the watches are placed anew, as directories may have appeared."""
        changed, self.changed = self.changed, False
        if changed:
            sources, self._sources, self._names = self._sources, set(), {}
            self.cover(sources)
        return changed
