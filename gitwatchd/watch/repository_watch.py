"""What the kernel told about one repository since it was last asked.

Owns: the changes noted for one repository. Runs: `note` and `take` on the serving thread.
"""

from __future__ import annotations

from gitwatchd.model.repository import Location
from gitwatchd.watch.changes import Aspect, Changes, Role, aspect_of
from gitwatchd.watch.inotify import ATTRIB, CREATE, DELETE, DELETE_SELF, ISDIR, MOVE_SELF, MOVED_FROM, MOVED_TO
from gitwatchd.watch.table import WatchTable

_APPEARED = CREATE | MOVED_TO
_LEFT = DELETE | MOVED_FROM
_SELF_LEFT = DELETE_SELF | MOVE_SELF
_TREE_ROLES = frozenset({Role.REFS, Role.ACTION, Role.LOGS, Role.INFO, Role.MODULE})
_RULES = {b".gitignore": Aspect.IGNORE, b".gitattributes": Aspect.ATTRIBUTES}

TRACKED = b".git"
"""In `Changes.new_directories`: the directories that the index names. No worktree directory can have this name."""
GIT_DIRECTORIES = b".git/"
"""In `Changes.new_directories`: the directories of the git dir."""


class RepositoryWatch:
    """The sink of one repository. All its watches lie in one table, so that draining one queue settles it."""

    def __init__(self, location: Location, table: WatchTable) -> None:
        self.location = location
        self.table = table
        self.changes = Changes()
        self.attributes: set[bytes] = set()
        """Directories in which a `.gitattributes` was seen, relative; for the incremental level."""

    def take(self) -> Changes:
        changes, self.changes = self.changes, Changes()
        return changes

    def lost(self) -> None:
        self.changes.aspects |= Aspect.LOST

    def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        if role is Role.WORKTREE:
            self._note_worktree(prefix, mask, name)
        else:
            self._note_git(role, prefix, mask, name)

    def _note_worktree(self, prefix: bytes, mask: int, name: bytes) -> None:
        changes = self.changes
        if not name:
            if mask & _SELF_LEFT and not prefix:
                changes.aspects |= Aspect.IDENTITY
            elif mask & ATTRIB:
                changes.paths.add(prefix[:-1])
            return
        if name == b".git":
            changes.aspects |= Aspect.NESTED if prefix else Aspect.IDENTITY
            if prefix:
                changes.new_directories.add(prefix[:-1])
            return
        path = prefix + name
        changes.paths.add(path)
        if mask & ISDIR:
            # ATTRIB: a directory that could not be read when it was walked may be readable now.
            if mask & _APPEARED or (mask & ATTRIB and not self.table.watches(self.location.path + b"/" + path)):
                changes.new_directories.add(path)
        elif name in _RULES:
            changes.aspects |= _RULES[name]
            if name == b".gitignore":
                # A directory that is no longer ignored has to be watched from now on.
                changes.new_directories.add(prefix[:-1])

    def _note_git(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        changes = self.changes
        if not name:
            if mask & _SELF_LEFT and role in (Role.GIT_DIR, Role.COMMON_DIR):
                changes.aspects |= Aspect.IDENTITY
            return
        if name.endswith(b".lock") and not mask & ISDIR:
            if not mask & _LEFT:
                return
            # A lock that vanishes is how `git reflog delete` shows: no other event names what it rewrote.
            name = name[:-5]
        aspect = aspect_of(role, name)
        if aspect is Aspect.NESTED:
            changes.new_directories.add(prefix[:-1])
        if (
            mask & ISDIR
            and mask & _APPEARED
            and aspect
            and (role in _TREE_ROLES or role in (Role.GIT_DIR, Role.COMMON_DIR, Role.WORKTREES))
        ):
            changes.new_directories.add(GIT_DIRECTORIES)
        if aspect & Aspect.SUBMODULE:
            changes.new_directories.add(TRACKED)
        changes.aspects |= aspect
