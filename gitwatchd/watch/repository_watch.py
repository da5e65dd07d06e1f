"""What the kernel told about one repository since it was last asked.

Owns: the changes noted for one repository, and which of its directories hold attributes or strays. Runs: `note` and
`take` on the serving thread, `add` and `note_attributes` on a walking thread, `release` on either.
Invariant: nothing is watched for it after `release`, even by a walk that is still under way.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from errno import ENOENT

from gitwatchd.git import reach
from gitwatchd.git.refs import is_plain_ref
from gitwatchd.incremental.strays import Strays
from gitwatchd.model.repository import Location
from gitwatchd.watch.changes import SHARED_INDEX, Aspect, Changes, Role, aspect_of
from gitwatchd.watch.events import (
    ATTRIB,
    CREATE,
    DELETE,
    DELETE_SELF,
    ISDIR,
    MOVE_SELF,
    MOVED_FROM,
    MOVED_TO,
    WatchLimitReached,
)
from gitwatchd.watch.table import WatchTable

_APPEARED = CREATE | MOVED_TO
_LEFT = DELETE | MOVED_FROM
_SELF_LEFT = DELETE_SELF | MOVE_SELF
_HOLDING_WATCHED = frozenset(
    {
        Role.GIT_DIR, Role.COMMON_DIR, Role.REFS, Role.ACTION, Role.LOGS, Role.INFO, Role.MODULE, Role.WORKTREES,
    }
)  # fmt: skip
"""Directories of git's in which a new directory may have to be watched."""
_WITHOUT_WHICH_IT_IS_NONE = (b"objects", b"refs")
"""git takes a directory without these for no repository."""
_RULES = {b".gitignore": Aspect.IGNORE, b".gitattributes": Aspect.ATTRIBUTES}

NEVER_LINKS = (b"index", b"refs", b"logs", b"info", b"packed-refs", b"reftable")
"""Parts of a git dir that are not watched where they are links; an index that is one is written where it leads."""

TRACKED = b".git"
"""In `Changes.new_directories`: the directories that the index names. No worktree directory can have this name."""
GIT_DIRECTORIES = b".git/"
"""In `Changes.new_directories`: the directories of the git dir, and what the configuration names outside of it."""


def rules_of(directory: bytes) -> bytes:
    """In `Changes.new_directories`: whatever the ignore rules of `directory` left out. No directory ends in a slash."""
    return directory + b"/"


def find_rules(marks: Iterable[bytes]) -> dict[bytes, bytes]:
    """Of what stands in `Changes.new_directories`, the marks that `rules_of` made, each with its directory."""
    return {mark: mark[:-1] for mark in marks if mark.endswith(b"/") and mark != GIT_DIRECTORIES}


def leads_out_of_refs(path: bytes) -> bool:
    """Whether a link stands in the place of a ref or of a directory of refs, and is no symbolic ref as of old."""
    try:
        return not is_plain_ref(os.readlink(path))
    except OSError:
        return False


def _is_link(directory: bytes, name: bytes) -> bool:
    """Also where nobody may look, because something above is a link onto a mount that may hang: the watch is on the
    directory itself, wherever that was moved, and `directory` is where it was."""
    return _leads_away(directory) or os.path.islink(directory + name)


def _leads_away(directory: bytes) -> bool:
    try:
        reach.check(directory)
    except reach.LeadsAway:
        return True
    return False


class Released(Exception):
    """Nobody wants these watches any more."""


class RepositoryWatch:
    """The sink of one repository. All its watches lie in one table, so that draining one queue settles it."""

    def __init__(self, location: Location, table: WatchTable, count_discovery: Callable[[], int] = lambda: 0) -> None:
        """`count_discovery`: how many watches discovery holds now."""
        self.location = location
        self.table = table
        self.changes = Changes()
        self.attributes: set[bytes] = set()
        """Directories in which a `.gitattributes` was seen, relative; for the incremental level. Replaced, never
        changed: two threads look at it."""
        self.gitlinks: frozenset[bytes] = frozenset()
        """Those of the index when it was walked; the walking thread's own."""
        self.rules: object = None
        """What the ignore rules outside of the worktree were when it was walked; the walking thread's own."""
        self.strays = Strays()
        """Which of its directories hold what the index does not name; lent to the incremental level."""
        self.placed: int | None = None
        """How many watches it held when it was refused one; it has none since, and its walk only counts."""
        self.discovery = 0
        """How many discovery held at that moment: it may have given way by the end of the walk."""
        self.needed: set[bytes] = set()
        """The directories counted since then, and those that it held."""
        self._count_discovery = count_discovery
        self._released = False

    # ---- watches

    def add(self, path: bytes, role: Role, prefix: bytes) -> None:
        """Watch a directory, as `WatchTable.add`; raises Released as well.

        When there are no watches left it gives back those it holds, since half of them are none, and the rest of the
        walk tells how many it would have taken: whether it is worth to make room for it depends on that.
        """
        with self.table.lock:
            if self._released:
                raise Released
            if self.placed is None:
                try:
                    self.table.add(path, self, role, prefix)
                except WatchLimitReached:
                    self.run_short()
                else:
                    return
        if not os.path.isdir(path):
            raise FileNotFoundError(ENOENT, "no such directory", path)
        self.needed.add(path)

    def run_short(self) -> None:
        """There are no watches left, for it or for what configures it."""
        with self.table.lock:
            if self.placed is None:
                self.needed = self.table.paths_of(self)
                self.placed = len(self.needed)
                self.discovery = self._count_discovery()
                self.table.release(self)

    def release(self) -> None:
        """Drop every watch, for good."""
        with self.table.lock:
            self._released = True
            self.table.release(self)

    @property
    def released(self) -> bool:
        return self._released

    def note_attributes(self, directories: set[bytes]) -> None:
        """A walk saw a `.gitattributes` in each of these."""
        with self.table.lock:
            self.attributes = self.attributes | directories

    # ---- changes; the table's lock is held

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
            if prefix:
                self._note_nested(prefix)
            else:
                changes.aspects |= Aspect.IDENTITY
            return
        path = prefix + name
        changes.paths.add(path)
        if mask & _APPEARED:
            self.strays.add((prefix[:-1],))
        if mask & ISDIR:
            # ATTRIB: a directory that could not be read when it was walked may be readable now.
            if mask & _APPEARED or (mask & ATTRIB and not self._watches(path)):
                changes.new_directories.add(path)
            elif mask & _LEFT:
                self.strays.remove(path)
                left = {d for d in self.attributes if d == path or d.startswith(path + b"/")}
                if left:
                    # It may come back without them: files that were found clean by them are not clean then.
                    changes.aspects |= Aspect.ATTRIBUTES
                    self.attributes = self.attributes - left
        elif name == b".gitmodules":
            if mask & _APPEARED and _is_link(self.location.path + b"/" + prefix, name):
                changes.new_directories |= {GIT_DIRECTORIES, TRACKED}  # what it leads to has to be followed, too
        elif name in _RULES:
            changes.aspects |= _RULES[name]
            if name == b".gitignore":
                # A directory that is no longer ignored has to be watched from now on.
                changes.new_directories.add(rules_of(prefix[:-1]))
            elif mask & _LEFT:
                self.attributes = self.attributes - {prefix[:-1]}
            else:
                self.attributes = self.attributes | {prefix[:-1]}

    def _watches(self, path: bytes) -> bool:
        return self.table.watches(self.location.path + b"/" + path, self, Role.WORKTREE)

    def _leads_out_of_sight(self, role: Role, prefix: bytes, name: bytes) -> bool:
        """Whether it is a link, whose end raises its events elsewhere: only a whole walk says what that means."""
        match role:
            case Role.GIT_DIR if name in NEVER_LINKS:
                return _is_link(self.location.git_dir + b"/", name)
            case Role.COMMON_DIR if name in NEVER_LINKS:
                return _is_link(self.location.common_dir + b"/", name)
            case Role.REFS | Role.LOGS:
                return _leads_away(prefix) or leads_out_of_refs(prefix + name)
            case _:
                return False

    def _note_nested(self, prefix: bytes) -> None:
        """The repository at `prefix`, or one that appears there, may have become another entry of the answer."""
        self.changes.aspects |= Aspect.NESTED
        self.changes.paths.add(prefix[:-1])
        self.changes.new_directories.add(prefix[:-1])

    def _note_git(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        changes = self.changes
        if not name:
            if mask & _SELF_LEFT and role in (Role.GIT_DIR, Role.COMMON_DIR):
                changes.aspects |= Aspect.IDENTITY
            return
        if name.endswith(b".lock") and not mask & ISDIR:
            if role is Role.GIT_DIR and name == b"index.lock":
                changes.busy = not mask & _LEFT
            if not mask & _LEFT:
                return
            # A lock that vanishes is how `git reflog delete` shows: no other event names what it rewrote.
            name = name[:-5]
        aspect = aspect_of(role, name)
        if mask & (_LEFT | ATTRIB) and role in (Role.GIT_DIR, Role.COMMON_DIR) and name in _WITHOUT_WHICH_IT_IS_NONE:
            aspect |= Aspect.IDENTITY
        elif mask & _LEFT and name.startswith(SHARED_INDEX):
            aspect |= Aspect.OTHER
        elif mask & _APPEARED and not mask & ISDIR and self._leads_out_of_sight(role, prefix, name):
            aspect |= Aspect.IDENTITY
        if not aspect:
            return
        if aspect is Aspect.NESTED:
            self._note_nested(prefix)
            return
        changes.aspects |= aspect
        if mask & ISDIR and mask & _APPEARED and role in _HOLDING_WATCHED:
            changes.new_directories.add(GIT_DIRECTORIES)
        if aspect & (Aspect.CONFIG | Aspect.IGNORE | Aspect.ATTRIBUTES):
            # Other files may configure it from now on (each of these may be a link), other directories be ignored.
            changes.new_directories.add(GIT_DIRECTORIES)
        if aspect & Aspect.SUBMODULE:
            changes.new_directories.add(TRACKED)
