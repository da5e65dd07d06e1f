"""Under which terms a repository's status can be kept up to date in the daemon, and what only git can judge.

Runs: serving thread or a walking thread; `read_terms` reads a few small attribute files.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto

from gitwatchd.errors import GitwatchError
from gitwatchd.git.config_acceptance import find_unsettled
from gitwatchd.git.files import read_whole
from gitwatchd.git.index_file import Index
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import RepositoryConfig, system_attributes_file
from gitwatchd.git.status_settings import Renames, StatusSettings, UntrackedFiles, status_settings
from gitwatchd.model.repository import Location

_REWRITING = (b"filter", b"ident", b"working-tree-encoding")
"""Attributes that change more than line ends between worktree and object; looked for as bare words, which finds
too many rather than too few."""
_LARGEST_ATTRIBUTES_BYTES = 1 << 20


class Inexact(GitwatchError):
    """Only git can say (L3). The message says why, for the log and `doctor`, which counts them: it names no path."""


class Conversion(Enum):
    """What git does to a file's bytes before it hashes them."""

    NONE = auto()
    LINE_ENDS = auto()
    """At most CRLF to LF: nothing, for bytes without a carriage return."""
    ANY = auto()


@dataclass(frozen=True, slots=True)
class Terms:
    file_mode: bool
    """core.fileMode: the executable bit counts."""
    renames: bool
    """A staged deletion beside a staged addition may be a rename: git has to look."""
    untracked: bool
    """False: status.showUntrackedFiles is `no`."""
    sparse: bool
    """core.sparseCheckout: a present file with skip-worktree is looked at all the same."""
    conversion: Conversion


def read_terms(location: Location, config: RepositoryConfig, index: Index, attributes: Iterable[bytes]) -> Terms:
    """`attributes`: directories (relative) known to hold a `.gitattributes`. Raises Inexact, BadValue."""
    if location.bare:
        raise Inexact("a bare repository has no status")
    if index.inexact is not None:
        raise Inexact(index.inexact)
    if find_unsettled(config.entries):
        raise Inexact("git may refuse how a remote or branch is configured")
    settings = status_settings(config)
    if not settings.stat_is_default:
        raise Inexact("equal stat data do not mean an unchanged file by its configuration")
    # A submodule's names its own place; where it leads elsewhere, git may find another repository from there.
    if config.find(b"core.worktree") is not None and read_location(location.path) != location:
        raise Inexact("core.worktree leads elsewhere")
    if config.find(b"attr.tree") is not None:
        raise Inexact("attributes come from a tree")  # since git 2.43
    if settings.untracked_files is UntrackedFiles.ALL:
        raise Inexact("status.showUntrackedFiles is all")
    if settings.renames is Renames.COPIES:
        raise Inexact("copies are detected")
    return Terms(
        file_mode=settings.file_mode,
        renames=settings.renames is Renames.RENAMES,
        untracked=settings.untracked_files is UntrackedFiles.NORMAL,
        sparse=settings.sparse_checkout,
        conversion=_conversion(location, config, settings, index, attributes),
    )


def refuse_wrong_notes(index: Index, *, whole: bool = True) -> None:
    """Raises Inexact where git, which compares by the trees noted in the index, will see less than there is.

    `whole`: 30 ms for 8,000 directories. Of the successor of an index that was looked at whole the note of the top is
    enough: no command is known that notes wrong trees and not that one.
    """
    if not index.cache_tree_agrees(whole=whole):
        raise Inexact("git compares by trees that it noted for other entries")


def _conversion(
    location: Location, config: RepositoryConfig, settings: StatusSettings, index: Index, attributes: Iterable[bytes]
) -> Conversion:
    directories: set[bytes] = set()
    # Version 4 cuts names up; elsewhere one search spares looking at 100,000 of them.
    if index.version == 4 or b".gitattributes" in index.raw:
        directories = {name.rpartition(b"/")[0] for name in index.names if name.endswith(b".gitattributes")}
    directories.update(attributes)
    files = [os.path.join(location.path, directory, b".gitattributes") for directory in directories]
    files += [location.common_dir + b"/info/attributes", system_attributes_file()]
    if config.attributes_file is not None:
        files.append(config.attributes_file)
    # A tracked attributes file that is absent from the worktree is read from the index; so is one that is a link there.
    if not all(_is_regular(file) for file in files[: len(directories)]):
        return Conversion.ANY
    found = False
    for file in files:
        try:
            raw = read_whole(file, _LARGEST_ATTRIBUTES_BYTES)
        except FileNotFoundError:
            continue
        except OSError:
            return Conversion.ANY
        if any(word in raw for word in _REWRITING):
            return Conversion.ANY
        found = found or bool(raw.strip())
    return Conversion.LINE_ENDS if found or settings.converts_line_ends else Conversion.NONE


def _is_regular(path: bytes) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except OSError:
        return False
