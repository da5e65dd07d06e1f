"""Whether a new index names directories that may not be watched, and what may lie unseen in them.

Owns nothing. Runs: serving thread. `old` and `new` are two indexes of one repository, `touched` the names whose entries
differ.
"""

from __future__ import annotations

import os
from collections.abc import Iterable

from gitwatchd.git.ignore import IgnoreRules
from gitwatchd.git.index_file import Index
from gitwatchd.incremental.staged import GITLINK
from gitwatchd.incremental.terms import Inexact


def may_be_unwatched(top: bytes, path: bytes, old: Index, new: Index, rules: IgnoreRules) -> bool:
    """Whether the directory of `path` may be one: ignored, another repository's, or a submodule's."""
    row, before = new.find(path), old.find(path)
    if before is not None and old.stat_fields(before)[6] == GITLINK:
        return True  # what a submodule leaves behind is an ordinary directory
    if row is None:
        return False
    if new.stat_fields(row)[6] == GITLINK:
        return True
    directory = path.rpartition(b"/")[0]
    if not directory or before is not None:
        return False
    if rules.is_ignored(directory, True):
        return True
    # What held another repository was not entered while nothing in it was tracked.
    while directory and not old.tracks_below(directory):
        if os.path.lexists(top + b"/" + directory + b"/.git"):
            return True
        directory = directory.rpartition(b"/")[0]
    return False


def refuse_unseen_attributes(top: bytes, touched: Iterable[bytes], old: Index) -> None:
    """Raises Inexact where attributes lie in a directory that was not looked into, and holds tracked files now."""
    seen: set[bytes] = set()
    for path in touched:
        directory = path.rpartition(b"/")[0]
        while directory and directory not in seen and not old.tracks_below(directory):
            seen.add(directory)
            if os.path.lexists(top + b"/" + directory + b"/.gitattributes"):
                raise Inexact("attributes came into use")
            directory = directory.rpartition(b"/")[0]
