"""Place the watches of one repository: walk the directories that can change its answer, watching each before listing it.

Owns: nothing that outlives a walk. Runs: a walking thread (never the serving thread: a cold disk takes as long as it
takes); `find_nested` also without any watch, for discovery.
Invariant: a directory is watched before it is listed, so that what appears in it later raises an event. What appears
between the two is found twice, which is harmless.
Only directories that can change an answer are entered: not ignored ones unless they hold tracked files, never the objects,
never the inside of a repository that is not ours; submodules count as part of the worktree that holds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.child import run_git
from gitwatchd.git.ignore import IgnoreRules, read_shared, worktree_reader
from gitwatchd.git.index_file import read_index
from gitwatchd.git.layout import linked_worktrees, read_format, read_location
from gitwatchd.git.repository_config import RepositoryConfig, read_config
from gitwatchd.model.repository import Location
from gitwatchd.watch.changes import Role
from gitwatchd.watch.inotify import WatchLimitReached
from gitwatchd.watch.repository_watch import GIT_DIRECTORIES, TRACKED, RepositoryWatch

_LIST_TIMEOUT_S = 60.0
_DEEPEST_SUBMODULE = 16


@dataclass(frozen=True, slots=True)
class Tree:
    """What a repository's index and rules say about the directories of its worktree."""

    top: bytes
    tracked: frozenset[bytes]
    """Directories that hold tracked files, relative; b"" is the top."""
    gitlinks: frozenset[bytes]
    rules: IgnoreRules | None
    """None: nothing is ignored."""

    def is_ignored(self, path: bytes) -> bool:
        """Whether the directory `path`, whose parents are not ignored, may be left out."""
        if self.rules is None or path in self.tracked or not self.rules.is_ignored(path, True):
            return False
        # Where our reading of the rules is not git's, rather watch too much.
        return self.rules.exact


def read_tree(location: Location) -> Tree:
    """Raises EnvironmentFailure when the index cannot be read."""
    return Tree(location.path, *_read_tracked(location), read_rules(location, read_config(location)))


def read_rules(location: Location, config: RepositoryConfig) -> IgnoreRules:
    """The ignore rules of a worktree. Raises EnvironmentFailure where the configuration is damaged."""
    shared = (read_shared(location.common_dir + b"/info/exclude"), read_shared(config.excludes_file))
    return IgnoreRules(worktree_reader(location.path), shared, ignore_case=config.get_bool(b"core.ignorecase", False))


def _read_tracked(location: Location) -> tuple[frozenset[bytes], frozenset[bytes]]:
    try:
        index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
    except FileNotFoundError:
        return frozenset({b""}), frozenset()
    if index.inexact is None:
        return frozenset(index.tracked_directories()), frozenset(index.gitlinks())
    answer = run_git(["ls-files", "-z", "--stage", "--sparse"], cwd=location.path, timeout_s=_LIST_TIMEOUT_S)
    directories, gitlinks = {b""}, set()
    for line in answer.stdout.split(b"\0")[:-1]:
        stage, _, name = line.partition(b"\t")
        if stage.startswith(b"160000"):
            gitlinks.add(name)
        name = name.rstrip(b"/") if not stage.startswith(b"040000") else name + b"x"
        while (name := name.rpartition(b"/")[0]) and name not in directories:
            directories.add(name)
    return frozenset(directories), frozenset(gitlinks)


@dataclass(slots=True)
class Found:
    """What a walk came upon besides directories."""

    nested: list[Location] = field(default_factory=list)
    submodules: list[Location] = field(default_factory=list)
    unreadable: list[bytes] = field(default_factory=list)


Enter = Callable[[bytes, bytes], bool]
"""Called with a directory's absolute path and its prefix (`b"a/b/"`) before it is listed; False: it is gone, skip it."""


def walk_directories(tree: Tree, start: Iterable[bytes], enter: Enter, found: Found) -> None:
    """Enter the relevant directories at and below each of `start` (relative, relevant themselves)."""
    stack = list(start)
    while stack:
        relative = stack.pop()
        path = tree.top + b"/" + relative if relative else tree.top
        if relative and relative not in tree.tracked:
            # Looked at before the watch is placed, so that changes inside somebody else's worktree do not wake us.
            if os.path.lexists(path + b"/.git") and _is_nested(tree, relative, path, found):
                continue
        prefix = relative + b"/" if relative else b""
        if not enter(path, prefix):
            continue
        directories: list[bytes] = []
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
        except FileNotFoundError:
            continue
        except OSError:
            found.unreadable.append(path)
            continue
        for name in directories:
            if name == b".git":
                if relative and _is_nested(tree, relative, path, found) and relative not in tree.tracked:
                    stack = [other for other in stack if not other.startswith(prefix)]
                    break
                continue
            child = prefix + name
            if child in tree.gitlinks:
                _meet_gitlink(tree, child, enter, found)
            elif not tree.is_ignored(child):
                stack.append(child)


def _is_nested(tree: Tree, relative: bytes, path: bytes, found: Found) -> bool:
    location = read_location(path)
    if location is None or relative in tree.gitlinks:
        return False
    if location not in found.nested:
        found.nested.append(location)
    return True


def _meet_gitlink(tree: Tree, relative: bytes, enter: Enter, found: Found) -> None:
    path = tree.top + b"/" + relative
    location = read_location(path) if os.path.lexists(path + b"/.git") else None
    if location is None:
        enter(path, relative + b"/")
    else:
        found.submodules.append(location)


class RepositoryWalk:
    """One walk on behalf of one repository's watch. Raises WatchLimitReached when the kernel gives no more watches."""

    def __init__(self, watch: RepositoryWatch) -> None:
        self._watch = watch
        self._location = watch.location
        self.nested: list[Location] = []
        self.unreadable: list[bytes] = []

    def everything(self) -> None:
        self._add(self._location.path, Role.WORKTREE, b"")
        self._watch_git_directories()
        if not self._location.bare:
            self._walk_tree(self._location, b"", [b""], 0)

    def some(self, directories: frozenset[bytes]) -> None:
        """Only what these say: new directories, or the marks TRACKED and GIT_DIRECTORIES."""
        if GIT_DIRECTORIES in directories:
            self._watch_git_directories()
        if self._location.bare:
            return
        tree = read_tree(self._location)
        start: set[bytes] = set()
        submodules: set[bytes] = set()
        for directory in directories - {TRACKED, GIT_DIRECTORIES}:
            relevant = _nearest_relevant(tree, directory)
            if relevant is None:
                continue
            (submodules if relevant in tree.gitlinks else start).add(relevant)
        if TRACKED in directories:
            table, top = self._watch.table, self._location.path
            start |= {d for d in tree.tracked if d and not table.watches(top + b"/" + d)}
            submodules |= tree.gitlinks
        self._walk(tree, b"", sorted(start), 0)
        for relative in sorted(submodules):
            found = Found()
            _meet_gitlink(tree, relative, self._entering(b""), found)
            for location in found.submodules:
                self._walk_submodule(location, relative + b"/", 1)

    def _walk_tree(self, location: Location, prefix: bytes, start: list[bytes], depth: int) -> None:
        self._walk(read_tree(location), prefix, start, depth)

    def _walk(self, tree: Tree, prefix: bytes, start: list[bytes], depth: int) -> None:
        found = Found()
        walk_directories(tree, start, self._entering(prefix), found)
        self.unreadable += found.unreadable
        for nested in found.nested:
            relative = prefix + nested.path[len(tree.top) + 1 :] + b"/"
            self._add(nested.path, Role.NESTED, relative)
            self._add(nested.git_dir, Role.NESTED, relative)
            if depth == 0:
                self.nested.append(nested)
        for submodule in found.submodules:
            if depth < _DEEPEST_SUBMODULE:
                relative = prefix + submodule.path[len(tree.top) + 1 :] + b"/"
                self._walk_submodule(submodule, relative, depth + 1)

    def _walk_submodule(self, submodule: Location, prefix: bytes, depth: int) -> None:
        for directory in (submodule.git_dir, submodule.git_dir + b"/info"):
            self._add(directory, Role.MODULE, prefix)
        self._add_recursively(submodule.git_dir + b"/refs", Role.MODULE, prefix)
        self._walk_tree(submodule, prefix, [b""], depth)

    def _entering(self, prefix: bytes) -> Enter:
        def enter(path: bytes, relative: bytes) -> bool:
            return self._add(path, Role.WORKTREE, prefix + relative)

        return enter

    def _watch_git_directories(self) -> None:
        git_dir, common_dir = self._location.git_dir, self._location.common_dir
        self._add(git_dir, Role.GIT_DIR, b"")
        if common_dir != git_dir:
            self._add(common_dir, Role.COMMON_DIR, b"")
            self._add_recursively(git_dir + b"/refs", Role.REFS, b"")
        self._add(common_dir + b"/info", Role.INFO, b"")
        self._add_recursively(common_dir + b"/refs", Role.REFS, b"")
        self._add_recursively(common_dir + b"/reftable", Role.REFS, b"")
        self._add(common_dir + b"/logs", Role.LOGS, b"")
        self._add(common_dir + b"/logs/refs", Role.LOGS, b"")
        for name in (b"rebase-merge", b"rebase-apply", b"sequencer"):
            self._add(git_dir + b"/" + name, Role.ACTION, b"")
        self._add(common_dir + b"/worktrees", Role.WORKTREES, b"")
        for linked in linked_worktrees(common_dir):
            if linked != git_dir:
                self._add(linked, Role.WORKTREES, b"")

    def _add_recursively(self, path: bytes, role: Role, prefix: bytes) -> None:
        stack = [path]
        while stack:
            directory = stack.pop()
            if not self._add(directory, role, prefix):
                continue
            try:
                with os.scandir(directory) as entries:
                    stack += [e.path for e in entries if e.is_dir(follow_symlinks=False)]
            except OSError:
                continue

    def _add(self, path: bytes, role: Role, prefix: bytes) -> bool:
        try:
            self._watch.table.add(path, self._watch, role, prefix)
        except WatchLimitReached:
            raise
        except PermissionError:
            self.unreadable.append(path)
            return False
        except OSError:
            return False
        return True


def _nearest_relevant(tree: Tree, directory: bytes) -> bytes | None:
    """Where a walk for `directory` has to begin: itself, or the gitlink that holds it; None when it cannot matter."""
    so_far = b""
    for name in directory.split(b"/") if directory else ():
        so_far = so_far + b"/" + name if so_far else name
        if so_far in tree.gitlinks:
            return so_far
        if tree.is_ignored(so_far):
            return None
    return directory


def find_nested(location: Location, *, include_ignored: bool = False) -> list[Location]:
    """Repositories in the worktree of `location` that git does not take for its submodules, nor (unless
    `include_ignored`) for ignored. What cannot be read counts as holding none."""
    found = Found()
    try:
        tree = read_tree(location)
        if include_ignored:
            tree = replace(tree, rules=None)
        walk_directories(tree, [b""], lambda _path, _prefix: True, found)
    except (EnvironmentFailure, OSError):
        pass
    return found.nested
