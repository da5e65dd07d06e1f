"""Bare repositories that are files of the worktree around them, as the fixtures of tests are.

Every file of theirs is in the other's index as it is on the disk: it is lost only with the other's commits, and those
are told of there.
Owns: what was read of the worktrees around, while one search lasts. Runs: a thread of `daemon.inquiries`; it blocks.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from gitwatchd.analysis.job import analyse
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.index_file import Index, read_index
from gitwatchd.git.layout import find_worktree, read_format
from gitwatchd.git.porcelain import Changed, Unmerged, parse_status
from gitwatchd.model.repository import Analysed, Job, Location


@dataclass(frozen=True, slots=True)
class _Worktree:
    index: Index
    differs: frozenset[bytes]
    """Tracked paths that differ from HEAD or on the disk."""


class WorktreesAround:
    def __init__(self, index_cache: bytes, timeout_s: float) -> None:
        self._index_cache = index_cache
        self._timeout_s = timeout_s
        self._indexes: dict[bytes, Index] = {}
        self._read: dict[bytes, _Worktree | None] = {}
        """Both by git dir; the second, which takes a look at every file, only where it is needed."""

    def hold(self, location: Location) -> bool:
        """Whether all of this bare repository is tracked by the worktree that it lies in. In doubt it is not."""
        if not location.bare or os.path.lexists(location.path + b"/objects/info/alternates"):
            return False
        try:
            around = find_worktree(os.path.dirname(location.path))
            directory = location.path.removeprefix(around.path + b"/")
            if around.bare or directory == location.path:
                return False
            worktree = self._of(around, directory)
            return worktree is not None and all(
                (row := worktree.index.find(directory + b"/" + name)) is not None
                and not worktree.index.flags(row)
                and directory + b"/" + name not in worktree.differs
                for name in _files_below(location.path)
            )
        except (EnvironmentFailure, OSError):
            return False

    def _of(self, around: Location, directory: bytes) -> _Worktree | None:
        """None where its index does not say."""
        if around.git_dir not in self._read:
            index = self._indexes.get(around.git_dir)
            if index is None:
                index = read_index(around.git_dir + b"/index", read_format(around.common_dir).oid_bytes)
                self._indexes[around.git_dir] = index
            if index.inexact is None and not index.tracks_below(directory):
                return None
            outcome = analyse(Job(around, self._index_cache, self._timeout_s, trusted=None))
            self._read[around.git_dir] = None
            if index.inexact is None and isinstance(outcome, Analysed) and outcome.entries is not None:
                records = parse_status(outcome.entries).records
                differs = frozenset(each.path for each in records if isinstance(each, Changed | Unmerged))
                self._read[around.git_dir] = _Worktree(index, differs)
        return self._read[around.git_dir]


def _files_below(top: bytes) -> Iterator[bytes]:
    """Whatever is no directory, relative to `top`. Raises OSError."""
    stack = [b""]
    while stack:
        prefix = stack.pop()
        with os.scandir(top + b"/" + prefix) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(prefix + entry.name + b"/")
                else:
                    yield prefix + entry.name
