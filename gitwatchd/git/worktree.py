"""The directories of a worktree that can change its answer, listed as git's rules say.

Owns nothing. Runs: a walking thread, a worker, the client; blocks on the disk.
Entered are tracked directories and those that are not ignored; never a `.git`, never the inside of another repository
(submodules are told, and have a tree of their own). Symbolic links are not followed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.child import run_git
from gitwatchd.git.files import raise_if_exhausted
from gitwatchd.git.ignore import IgnoreRules, read_rules
from gitwatchd.git.index_file import Index, read_index
from gitwatchd.git.layout import check_objects, read_format, read_location
from gitwatchd.git.repository_config import RepositoryConfig
from gitwatchd.model.repository import Location

_LIST_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Tree:
    """What a repository's index and rules say about the directories of its worktree."""

    top: bytes
    tracked: frozenset[bytes]
    """Directories that hold tracked files, relative; b"" is the top."""
    gitlinks: frozenset[bytes]
    rules: IgnoreRules | None
    """None: nothing is ignored."""
    config: RepositoryConfig
    index: Index

    def is_ignored(self, path: bytes) -> bool:
        """Whether the directory `path`, whose parents are not ignored, may be left out."""
        if self.rules is None or path in self.tracked or not self.rules.is_ignored(path, True):
            return False
        # Where our reading of the rules is not git's, rather watch too much.
        return self.rules.exact


def read_tree(location: Location, config: RepositoryConfig) -> Tree:
    """Raises EnvironmentFailure when the index cannot be read, LeadsAway where tracked files lie beyond such a link."""
    index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
    tracked, gitlinks = _read_tracked(location, index)
    _check_links(location.path, (*tracked, *gitlinks))
    return Tree(location.path, tracked, gitlinks, read_rules(location, config), config, index)


def check_followed(location: Location, index: Index | None) -> None:
    """To be asked before git looks at this worktree, whose parts were checked: it follows what is a link by now in the
    place of a directory with tracked files, of `.gitmodules` or of an object. Raises LeadsAway.

    Of a split index it is asked about what that names itself, of a sparse one about what is checked out.
    """
    check_objects(location)
    if not reach.is_kept_local() or location.bare:
        return
    reach.check_if_link(location.path + b"/.gitmodules")
    if index is not None:
        _check_links(location.path, (*index.tracked_directories(), *index.gitlinks()))


def _check_links(top: bytes, directories: Iterable[bytes]) -> None:
    if reach.is_kept_local():
        for directory in directories:
            reach.check_if_link(top + b"/" + directory)


def _read_tracked(location: Location, index: Index) -> tuple[frozenset[bytes], frozenset[bytes]]:
    if index.inexact is None:
        return frozenset(index.tracked_directories()), frozenset(index.gitlinks())
    directories, gitlinks = {b""}, set()

    def take(entry: bytes) -> None:
        stage, _, name = entry.partition(b"\t")
        if stage.startswith(b"160000"):
            gitlinks.add(name)
        name = name.rstrip(b"/") if not stage.startswith(b"040000") else name + b"x"
        while (name := name.rpartition(b"/")[0]) and name not in directories:
            directories.add(name)

    listing = ("ls-files", "-z", "--stage", "--sparse")
    answer = run_git(listing, cwd=location.path, timeout_s=_LIST_TIMEOUT_S, take_record=take)
    if answer.returncode:
        raise EnvironmentFailure(f"git ls-files: {answer.stderr.decode(errors='replace').partition(chr(10))[0]}")
    return frozenset(directories), frozenset(gitlinks)


@dataclass(slots=True)
class Found:
    """What a walk came upon besides directories; by path relative to the worktree."""

    nested: dict[bytes, Location] = field(default_factory=dict)
    half_made: list[bytes] = field(default_factory=list)
    """Directories with a `.git` that is no repository yet."""
    submodules: dict[bytes, Location] = field(default_factory=dict)
    attributes: set[bytes] = field(default_factory=set)
    """Directories that hold a `.gitattributes`."""
    unreadable: list[bytes] = field(default_factory=list)
    files: list[tuple[bytes, list[bytes]]] | None = None
    """Where wanted: each directory entered, with the names of the files and links in it."""
    holders: set[bytes] = field(default_factory=set)
    """Directories entered that hold a directory without tracked files, or a file that is not among `names`."""
    names: frozenset[bytes] = frozenset()


Enter = Callable[[bytes, bytes], bool]
"""Called with a directory's absolute path and its prefix (`b"a/b/"`) before it is listed; False: skip it."""


def walk_directories(tree: Tree, start: Iterable[bytes], enter: Enter, found: Found) -> None:
    """Enter the relevant directories at and below each of `start` (relative, relevant themselves)."""
    stack = list(start)
    while stack:
        relative = stack.pop()
        path = tree.top + b"/" + relative if relative else tree.top
        untracked = relative and relative not in tree.tracked
        # Looked at before the watch is placed, so that changes inside somebody else's worktree do not wake us.
        if untracked and os.path.lexists(path + b"/.git") and _is_nested(relative, path, found):
            continue
        prefix = relative + b"/" if relative else b""
        if not enter(path, prefix):
            continue
        directories: list[bytes] = []
        files: list[bytes] = []
        attributes = has_git = False
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    name = entry.name
                    if entry.is_file(follow_symlinks=False):  # first: nearly all are
                        files.append(name)
                        attributes = attributes or name == b".gitattributes"
                        has_git = has_git or name == b".git"
                    elif name == b".git":
                        has_git = True
                    elif entry.is_dir(follow_symlinks=False):
                        directories.append(name)
                    else:
                        attributes = attributes or name == b".gitattributes"
                        if entry.is_symlink():
                            files.append(name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise_if_exhausted(error)
            found.unreadable.append(relative)
            continue
        if attributes:
            found.attributes.add(relative)
        if has_git and relative:
            if _is_nested(relative, path, found):
                if untracked:
                    continue
            else:
                found.half_made.append(relative)
        if found.files is not None:
            if has_git and b".git" in files:
                files.remove(b".git")
            found.files.append((relative, files))
        if files and not found.names.issuperset(map(prefix.__add__, files)):
            found.holders.add(relative)
        for name in directories:
            child = prefix + name
            if child in tree.gitlinks:
                meet_gitlink(tree, child, enter, found)
            elif child in tree.tracked:
                stack.append(child)
            else:
                found.holders.add(relative)
                if not tree.is_ignored(child):
                    stack.append(child)


def _is_nested(relative: bytes, path: bytes, found: Found) -> bool:
    location = read_location(path)
    if location is None:
        return False
    found.nested[relative] = location
    return True


def meet_gitlink(tree: Tree, relative: bytes, enter: Enter, found: Found) -> None:
    path = tree.top + b"/" + relative
    reach.check(path)
    location = read_location(path) if os.path.lexists(path + b"/.git") else None
    if location is None and enter(path, relative + b"/"):
        # What made it a repository between the two looks raised no event.
        location = read_location(path) if os.path.lexists(path + b"/.git") else None
        if location is None and os.path.lexists(path + b"/.git"):
            found.half_made.append(relative)
    if location is not None:
        found.submodules[relative] = location
