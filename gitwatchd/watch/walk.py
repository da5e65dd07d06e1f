"""Place the watches of one repository: walk the directories that can change its answer, each watched, then listed.

Owns: nothing that outlives a walk. Runs: a walking thread (never the serving thread: a cold disk takes as long as it
takes); `find_nested` also without any watch, for discovery.
Invariant: a directory is watched before it is listed, so that what appears in it later raises an event. What appears
between the two is found twice, which is harmless.
Only directories that can change an answer are entered: not ignored ones unless they hold tracked files, never the
objects, never the inside of a repository that is not ours; submodules count as part of the worktree that holds them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace
from errno import EACCES

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.child import run_git
from gitwatchd.git.ignore import IgnoreRules, exclude_files, read_rules
from gitwatchd.git.index_file import Index, read_index
from gitwatchd.git.layout import linked_worktrees, read_format, read_location
from gitwatchd.git.repository_config import RepositoryConfig, read_config
from gitwatchd.model.repository import Location
from gitwatchd.watch.changes import Role
from gitwatchd.watch.repository_watch import GIT_DIRECTORIES, TRACKED, RepositoryWatch

__all__ = ["RepositoryWalk", "find_nested", "read_rules"]

_LIST_TIMEOUT_S = 60.0
_DEEPEST_SUBMODULE = 16
_LONGEST_GIT_FILE_BYTES = 1 << 16


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
    """Raises EnvironmentFailure when the index cannot be read."""
    index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
    return Tree(location.path, *_read_tracked(location, index), read_rules(location, config), config, index)


def _read_tracked(location: Location, index: Index) -> tuple[frozenset[bytes], frozenset[bytes]]:
    if index.inexact is None:
        return frozenset(index.tracked_directories()), frozenset(index.gitlinks())
    answer = run_git(["ls-files", "-z", "--stage", "--sparse"], cwd=location.path, timeout_s=_LIST_TIMEOUT_S)
    if answer.returncode:
        raise EnvironmentFailure(f"git ls-files: {answer.stderr.decode(errors='replace').partition(chr(10))[0]}")
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
        has_git = False
        try:
            with os.scandir(path) as entries:
                for entry in entries:
                    if entry.name == b".git":
                        has_git = True
                    elif entry.is_dir(follow_symlinks=False):
                        directories.append(entry.name)
                    elif found.files is not None or entry.name == b".gitattributes":
                        if entry.name == b".gitattributes":
                            found.attributes.add(relative)
                        if entry.is_symlink() or entry.is_file(follow_symlinks=False):
                            files.append(entry.name)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            found.unreadable.append(relative)
            continue
        if has_git and relative:
            if _is_nested(relative, path, found):
                if untracked:
                    continue
            else:
                found.half_made.append(relative)
        if found.files is not None:
            found.files.append((relative, files))
        for name in directories:
            child = prefix + name
            if child in tree.gitlinks:
                _meet_gitlink(tree, child, enter, found)
            elif not tree.is_ignored(child):
                stack.append(child)


def _is_nested(relative: bytes, path: bytes, found: Found) -> bool:
    location = read_location(path)
    if location is None:
        return False
    found.nested[relative] = location
    return True


def _meet_gitlink(tree: Tree, relative: bytes, enter: Enter, found: Found) -> None:
    path = tree.top + b"/" + relative
    location = read_location(path) if os.path.lexists(path + b"/.git") else None
    if location is None and enter(path, relative + b"/"):
        # What made it a repository between the two looks raised no event.
        location = read_location(path) if os.path.lexists(path + b"/.git") else None
        if location is None and os.path.lexists(path + b"/.git"):
            found.half_made.append(relative)
    if location is not None:
        found.submodules[relative] = location


class RepositoryWalk:
    """One walk on behalf of one repository's watch. Its methods raise WatchLimitReached when the kernel gives no more
    watches, Released when nobody wants them any more, EnvironmentFailure or OSError when something that matters
    cannot be watched."""

    def __init__(self, watch: RepositoryWatch) -> None:
        self._watch = watch
        self._location = watch.location
        self.nested: list[Location] = []
        self.unreadable: list[bytes] = []
        """Directories that neither git nor we may list; absolute."""
        self.seen: tuple[Tree, Found] | None = None
        """After `everything`, in a worktree: its index and rules, and all that was listed."""

    def everything(self) -> None:
        self._watch_git_directories()
        if not self._location.bare:
            config = read_config(self._location)
            self._watch.rules = _rules_outside(self._location, config)
            self._walk_tree(self._location, config, b"", [b""], 0)

    def some(self, directories: frozenset[bytes]) -> None:
        """Only what these say: new directories, or the marks TRACKED and GIT_DIRECTORIES."""
        if GIT_DIRECTORIES in directories:
            self._watch_git_directories()
        if self._location.bare:
            return
        config = read_config(self._location)
        rules = _rules_outside(self._location, config)
        if rules != self._watch.rules:
            # What was ignored anywhere in the worktree may have to be watched from now on.
            directories |= {b""}
            self._watch.rules = rules
        if directories == {GIT_DIRECTORIES}:
            return
        tree = read_tree(self._location, config)
        start: set[bytes] = set()
        submodules: set[bytes] = set()
        for directory in directories - {TRACKED, GIT_DIRECTORIES}:
            relevant = _nearest_relevant(tree, directory)
            if relevant is None:
                continue
            (submodules if relevant in tree.gitlinks else start).add(relevant)
        if TRACKED in directories:
            table, top = self._watch.table, self._location.path
            start |= {d for d in tree.tracked if d and not table.watches(top + b"/" + d, self._watch)}
            submodules |= tree.gitlinks
        self._walk(tree, b"", _outermost(start), submodules, 0)

    def _walk_tree(
        self, location: Location, config: RepositoryConfig, prefix: bytes, start: list[bytes], depth: int
    ) -> None:
        self._walk(read_tree(location, config), prefix, start, (), depth)

    def _walk(self, tree: Tree, prefix: bytes, start: Collection[bytes], gitlinks: Iterable[bytes], depth: int) -> None:
        found = Found(files=[] if depth == 0 and b"" in start else None)
        enter = self._entering(prefix, found)
        walk_directories(tree, start, enter, found)
        if found.files is not None:
            self.seen = tree, found
        for relative in gitlinks:
            if relative not in found.submodules:
                _meet_gitlink(tree, relative, enter, found)
        for relative in found.half_made:
            self._await_repository(tree, relative, prefix, found)
        for relative in found.unreadable:
            path = tree.top + b"/" + relative if relative else tree.top
            if relative in tree.tracked and os.access(path, os.X_OK):
                # git looks at tracked files by their names, which takes no more than the right to pass.
                raise PermissionError(EACCES, "a directory with tracked files cannot be listed", path)
            self.unreadable.append(path)
        if found.attributes and depth == 0:
            self._watch.note_attributes(found.attributes)
        for relative, nested in found.nested.items():
            path = tree.top + b"/" + relative
            self._add(path, Role.NESTED, prefix + relative + b"/")
            self._add(nested.git_dir, Role.NESTED, prefix + relative + b"/")
            if relative not in tree.tracked:
                # It was an ordinary directory until now.
                self._watch.table.withdraw(path, self._watch, Role.WORKTREE)
            if depth == 0:
                self.nested.append(nested)
        if depth < _DEEPEST_SUBMODULE:
            for relative, submodule in found.submodules.items():
                self._walk_submodule(submodule, prefix + relative + b"/", depth + 1)

    def _await_repository(self, tree: Tree, relative: bytes, prefix: bytes, found: Found) -> None:
        """Watch a `.git` that is no repository yet: its HEAD, objects and refs make it one."""
        path = tree.top + b"/" + relative
        git_dir = git_dir_in_making(path + b"/.git")
        if git_dir is not None:
            self._add(git_dir, Role.NESTED, prefix + relative + b"/")
        location = read_location(path)
        if location is not None:
            (found.submodules if relative in tree.gitlinks else found.nested)[relative] = location

    def _walk_submodule(self, submodule: Location, prefix: bytes, depth: int) -> None:
        git_dir, common_dir = submodule.git_dir, submodule.common_dir
        for directory in dict.fromkeys((git_dir, common_dir, common_dir + b"/info")):
            self._add(directory, Role.MODULE, prefix)
        for refs in dict.fromkeys((git_dir + b"/refs", common_dir + b"/refs", common_dir + b"/reftable")):
            self._add_recursively(refs, Role.MODULE, prefix)
        # Where another module may take its place, between it and our own git dir.
        above = git_dir.rpartition(b"/")[0]
        while above.startswith(self._location.common_dir + b"/"):
            self._add(above, Role.MODULE, prefix)
            above = above.rpartition(b"/")[0]
        self._walk_tree(submodule, read_config(submodule), prefix, [b""], depth)

    def _entering(self, prefix: bytes, found: Found) -> Enter:
        def enter(path: bytes, relative: bytes) -> bool:
            try:
                return self._add(path, Role.WORKTREE, prefix + relative)
            except PermissionError:
                found.unreadable.append(relative[:-1])
                return False

        return enter

    def _watch_git_directories(self) -> None:
        git_dir, common_dir = self._location.git_dir, self._location.common_dir
        self._add(git_dir, Role.GIT_DIR, b"")
        if common_dir != git_dir:
            self._add(common_dir, Role.COMMON_DIR, b"")
        self._add(common_dir + b"/info", Role.INFO, b"")
        for own in dict.fromkeys((git_dir, common_dir)):
            self._add_recursively(own + b"/refs", Role.REFS, b"")
            self._add_recursively(own + b"/reftable", Role.REFS, b"")
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
            except (FileNotFoundError, NotADirectoryError):
                continue

    def _add(self, path: bytes, role: Role, prefix: bytes) -> bool:
        """False: there is no such directory."""
        try:
            self._watch.add(path, role, prefix)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


def git_dir_in_making(dot_git: bytes) -> bytes | None:
    """The directory that a `.git` is or, if it is a file, leads to; None when it leads nowhere."""
    if os.path.isdir(dot_git):
        return dot_git
    try:
        with open(dot_git, "rb") as file:
            content = file.read(_LONGEST_GIT_FILE_BYTES)
    except OSError:
        return None
    if not content.startswith(b"gitdir: "):
        return None
    return os.path.realpath(os.path.join(os.path.dirname(dot_git), content[8:].rstrip(b"\r\n")))


def _rules_outside(location: Location, config: RepositoryConfig) -> object:
    """Differs when ignore rules outside of the worktree do."""
    return config.get_bool(b"core.ignorecase", default=False), tuple(
        (path, _version_of(path)) for path in exclude_files(location, config)
    )


def _version_of(path: bytes) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _outermost(directories: set[bytes]) -> list[bytes]:
    """Those that lie below no other: a walk of one enters all below it."""
    if b"" in directories:
        return [b""]
    chosen: list[bytes] = []
    for directory in sorted(directories, key=lambda d: d + b"/"):
        if not chosen or not directory.startswith(chosen[-1] + b"/"):
            chosen.append(directory)
    return chosen


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
        tree = read_tree(location, read_config(location))
        if include_ignored:
            tree = replace(tree, rules=None)
        walk_directories(tree, [b""], lambda _path, _prefix: True, found)
    except (EnvironmentFailure, OSError):
        pass
    return list(found.nested.values())
