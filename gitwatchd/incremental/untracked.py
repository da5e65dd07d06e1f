"""Untracked entries, collapsed as git collapses them (`status.showUntrackedFiles=normal`).

Runs: serving thread, in bounded steps. An entry is the topmost directory above a path that holds no tracked file, with
a slash, if anything not ignored lies in it; otherwise the file itself. Nested repositories are one entry; what is
neither file, link nor directory is none.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field

from gitwatchd.git.ignore import IgnoreRules
from gitwatchd.git.index_file import Index
from gitwatchd.git.layout import read_location
from gitwatchd.incremental.compare import Directories
from gitwatchd.incremental.terms import Inexact

MOST_LISTED = 20_000
"""Directory entries looked at in one advance, some 40 ms: beyond that git is not dearer."""


@dataclass(slots=True)
class Held:
    """What lies right in one directory."""

    entries: list[bytes] = field(default_factory=list)
    tracked: list[bytes] = field(default_factory=list)
    """Directories that hold tracked files."""
    misnamed: list[bytes] = field(default_factory=list)
    """Other directories, under a name that the index has for a file or a submodule: git shows nothing of those."""
    strays: bool = False
    """Anything else is there, ignored or not."""


class UntrackedSearch:
    """One search, under one index and one set of rules. Raises Inexact where git has to look."""

    def __init__(self, top: bytes, index: Index, rules: IgnoreRules, directories: Directories) -> None:
        self._top = top
        self._index = index
        self._rules = rules
        self.directories = directories
        self._left = MOST_LISTED
        self._tracked: dict[bytes, bool] = {b"": True}

    def is_tracked_directory(self, directory: bytes) -> bool:
        known = self._tracked.get(directory)
        if known is None:
            known = self._tracked[directory] = self._index.tracks_below(directory)
        return known

    def is_misnamed(self, directory: bytes) -> bool:
        """Whether the index has a file of that name: then git shows nothing of it unless it tracks files in it."""
        return self._index.find(directory) is not None

    def unit_of(self, path: bytes) -> bytes:
        """The topmost directory above `path` without tracked files; `path` itself when there is none."""
        at = path.find(b"/")
        while at >= 0:
            if not self.is_tracked_directory(path[:at]):
                return path[:at]
            at = path.find(b"/", at + 1)
        return path

    def entry_of(self, unit: bytes) -> bytes | None:
        """The entry that stands for `unit`, whose parents hold tracked files; None when git shows nothing."""
        # git drops an entry with a tracked name: a file that became a directory shows only as deleted.
        if self._index.find(unit) is not None or not self.directories.hold(unit):
            return None
        try:
            mode = os.lstat(self._top + b"/" + unit).st_mode
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Inexact(f"a path cannot be looked at: {error.strerror}") from None
        if stat.S_ISDIR(mode):
            if self._is_ignored(unit, True) or not self._shows(unit):
                return None
            return unit + b"/"
        if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)) or self._is_ignored(unit, False):
            return None
        return unit

    def entries_below(self, directory: bytes) -> Iterator[bytes]:
        """Every entry at and below a directory that holds tracked files."""
        stack = [directory] if self.directories.is_real(directory) else []
        while stack:
            held = self._hold(stack.pop())
            yield from held.entries
            stack += held.tracked

    def held_in(self, directory: bytes) -> Held:
        """What lies right in a directory that holds tracked files."""
        return self._hold(directory) if self.directories.is_real(directory) else Held()

    def _hold(self, directory: bytes) -> Held:
        held = Held()
        prefix = directory + b"/" if directory else b""
        for name, kind in self._list(directory):
            path = prefix + name
            if name == b".git":
                continue
            if kind is _DIRECTORY and self.is_tracked_directory(path):
                held.tracked.append(path)
                continue
            if self._index.find(path) is not None:
                if kind is _DIRECTORY:
                    held.misnamed.append(path)
                continue
            held.strays = True
            if kind is _DIRECTORY:
                if not self._is_ignored(path, True) and self._shows(path):
                    held.entries.append(path + b"/")
            elif kind is _FILE and not self._is_ignored(path, False):
                held.entries.append(path)
        return held

    def files_below(self, directory: bytes) -> Iterator[bytes]:
        """Every untracked file, not ignored, below a directory that is none of a repository."""
        if not self.directories.hold(directory) or self._is_ignored(directory, True):
            return
        stack = [directory]
        while stack:
            here = stack.pop()
            if self._is_repository(here):
                continue
            for name, kind in self._list(here):
                path = here + b"/" + name
                if kind is _OTHER or name == b".git" or self._index.find(path) is not None:
                    continue
                if not self._is_ignored(path, kind is _DIRECTORY):
                    if kind is _DIRECTORY:
                        stack.append(path)
                    else:
                        yield path

    def _shows(self, directory: bytes) -> bool:
        """Whether anything not ignored lies in a directory without tracked files."""
        if self._is_repository(directory):
            return True
        stack = [directory]
        while stack:
            here = stack.pop()
            below = []
            for name, kind in self._list(here):
                path = here + b"/" + name
                if name == b".git":
                    continue
                if kind is _DIRECTORY:
                    if not self._is_ignored(path, True):
                        below.append(path)
                elif kind is _FILE and not self._is_ignored(path, False):
                    return True
            for path in below:
                if self._is_repository(path):
                    return True
            stack += below
        return False

    def _is_ignored(self, path: bytes, is_directory: bool) -> bool:
        ignored = self._rules.is_ignored(path, is_directory)
        if not self._rules.exact:
            raise Inexact("only git can judge these ignore rules")
        return ignored

    def _is_repository(self, directory: bytes) -> bool:
        path = self._top + b"/" + directory
        return os.path.lexists(path + b"/.git") and read_location(path) is not None

    def _list(self, directory: bytes) -> list[tuple[bytes, object]]:
        try:
            with os.scandir(self._top + b"/" + directory if directory else self._top) as entries:
                found = [(entry.name, _kind_of(entry)) for entry in entries]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise Inexact(f"a directory cannot be listed: {error.strerror}") from None
        self._left -= len(found) + 1
        if self._left < 0:
            raise Inexact("too many files to look at here")
        return found


_FILE, _DIRECTORY, _OTHER = object(), object(), object()


def _kind_of(entry: os.DirEntry[bytes]) -> object:
    if entry.is_dir(follow_symlinks=False):
        return _DIRECTORY
    return _FILE if entry.is_symlink() or entry.is_file(follow_symlinks=False) else _OTHER
