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
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from errno import EACCES, ELOOP

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.files import raise_if_exhausted, read_regular
from gitwatchd.git.ignore import exclude_files, read_rules
from gitwatchd.git.layout import linked_worktrees, read_location
from gitwatchd.git.remotes import directories_of_old
from gitwatchd.git.repository_config import RepositoryConfig, read_config, system_attributes_file
from gitwatchd.git.worktree import Enter, Found, Tree, meet_gitlink, read_tree, walk_directories
from gitwatchd.model.repository import Location
from gitwatchd.watch.changes import Role
from gitwatchd.watch.repository_watch import (
    GIT_DIRECTORIES,
    NEVER_LINKS,
    TRACKED,
    RepositoryWatch,
    find_rules,
    leads_out_of_refs,
    rules_of,
)

MOST_HOLDERS_LISTED = 2_000
"""Directories listed one by one when rules changed, some 30 ms; with more all are walked, which tells which of them
still matter."""
_DEEPEST_SUBMODULE = 16
_LONGEST_GIT_FILE_BYTES = 1 << 16


class RepositoryWalk:
    """One walk on behalf of one repository's watch. Its methods raise WatchLimitReached when the kernel gives no more
    watches, Released when nobody wants them any more, EnvironmentFailure or OSError when something that matters
    cannot be watched."""

    def __init__(self, watch: RepositoryWatch) -> None:
        self._watch = watch
        self._location = watch.location
        self.nested: list[Location] = []
        self.submodules: list[Location] = []
        self.unreadable: list[bytes] = []
        """Directories that neither git nor we may list; absolute."""
        self.elsewhere: set[bytes] = set()
        """Git dirs, there or not, to which a `.git` in the worktree leads: what git takes it for depends on them."""
        self.seen: tuple[Tree, Found] | None = None
        """After `everything`, in a worktree: its index and rules, and all that was listed."""
        self.entered: set[bytes] | None = None
        """After `some`, where rules changed: directories of the worktree, and repositories in it, that were come upon
        for the first time. All others have been watched since they were looked at."""

    def everything(self) -> None:
        self._watch_git_directories()
        if not self._location.bare:
            config = read_config(self._location)
            self._watch_remotes(config)
            self._watch.rules = _rules_outside(self._location, config)
            self._walk_tree(self._location, config, b"", [b""], 0)

    def some(self, directories: frozenset[bytes]) -> None:
        """Only what these say: new directories, or the marks TRACKED, GIT_DIRECTORIES and `rules_of`."""
        if GIT_DIRECTORIES in directories:
            self._watch_git_directories()
        if self._location.bare:
            return
        config = read_config(self._location)
        if GIT_DIRECTORIES in directories:
            self._watch_remotes(config)
        rules = _rules_outside(self._location, config)
        if rules != self._watch.rules:
            # What was ignored anywhere in the worktree may have to be watched from now on. So it is in submodules, and
            # of those nobody knows which directories hold what.
            directories |= {rules_of(b""), *self._watch.gitlinks}
            self._watch.rules = rules
        if changed := find_rules(directories):
            self.entered = set()
            directories = (directories - changed.keys()) | self._left_out(config, set(changed.values()))
        if directories <= {GIT_DIRECTORIES}:
            return
        tree = read_tree(self._location, config)
        start: set[bytes] = set()
        submodules: set[bytes] = set()
        # What a submodule that left the index leaves behind is an ordinary directory.
        left = self._watch.gitlinks - tree.gitlinks
        self._watch.gitlinks = tree.gitlinks
        for directory in (directories | left) - {TRACKED, GIT_DIRECTORIES}:
            relevant = _nearest_relevant(tree, directory)
            if relevant is None:
                continue
            (submodules if relevant in tree.gitlinks else start).add(relevant)
        if TRACKED in directories:
            table, top = self._watch.table, self._location.path
            start |= {d for d in tree.tracked if d and not table.watches(top + b"/" + d, self._watch, Role.WORKTREE)}
            submodules |= tree.gitlinks
        self._walk(tree, b"", _outermost(start), submodules, 0)

    def _left_out(self, config: RepositoryConfig, changed: set[bytes]) -> set[bytes]:
        """Where to look for what the rules of the directories `changed` no longer leave out."""
        rules, gitlinks = read_rules(self._location, config), self._watch.gitlinks
        start: set[bytes] = set()
        for directory in changed:
            if _nearest_of(directory, gitlinks) is not None:
                start.add(directory)  # the rules of a submodule
                continue
            # Whatever is not watched lies in a directory that holds something untracked.
            holders = self._watch.strays.below(directory)
            if holders is None or len(holders) > MOST_HOLDERS_LISTED:
                return changed
            for holder in holders:
                if _nearest_of(holder, gitlinks) is not None:
                    continue
                try:
                    start |= {child for child in self._unwatched(holder) if not rules.is_ignored(child, True)}
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    raise_if_exhausted(error)
                    return changed  # whether that matters, the walk decides
        return start if rules.exact else changed

    def _unwatched(self, holder: bytes) -> Iterator[bytes]:
        """Directories right in `holder` that neither we nor a repository of their own have watched."""
        table, top = self._watch.table, self._location.path
        prefix = holder + b"/" if holder else b""
        reach.check(top + b"/" + prefix)  # it may be a link by now
        with os.scandir(top + b"/" + prefix) as entries:
            for entry in entries:
                if entry.name == b".git" or not entry.is_dir(follow_symlinks=False):
                    continue
                path = top + b"/" + prefix + entry.name
                if not any(table.watches(path, self._watch, role) for role in (Role.WORKTREE, Role.NESTED)):
                    yield prefix + entry.name

    def _walk_tree(
        self, location: Location, config: RepositoryConfig, prefix: bytes, start: list[bytes], depth: int
    ) -> None:
        tree = read_tree(location, config)
        if depth == 0:
            self._watch.gitlinks = tree.gitlinks
        self._walk(tree, prefix, start, (), depth)

    def _walk(self, tree: Tree, prefix: bytes, start: Collection[bytes], gitlinks: Iterable[bytes], depth: int) -> None:
        whole = depth == 0 and b"" in start
        found = Found()
        if whole:
            self._watch.strays.begin()
            found = Found(files=[], names=frozenset(tree.index.names))
        enter = self._entering(prefix, found)
        walk_directories(tree, start, enter, found)
        found.names = frozenset()  # megabytes, of no more use
        if depth == 0:
            self._watch.strays.add(found.holders)
            if self.entered is not None:
                self.entered |= found.nested.keys()
        if whole:
            self._watch.strays.complete(tree.index)
            self.seen = tree, found
        for relative in gitlinks:
            if relative not in found.submodules:
                meet_gitlink(tree, relative, enter, found)
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
            self._note_elsewhere(nested.git_dir, path)
            if tree.index.find(relative) is not None:
                # A tracked file gave way to it: deleted for git until there is a commit, then a submodule.
                for own in dict.fromkeys((nested.git_dir, nested.common_dir)):
                    self._add(own, Role.MODULE, prefix + relative + b"/")
                    self._add_recursively(own + b"/refs", Role.MODULE, prefix + relative + b"/")
                _refuse_links(nested)
            if relative not in tree.tracked:
                # It was an ordinary directory until now.
                self._watch.table.withdraw(path, self._watch, Role.WORKTREE)
            if depth == 0:
                self.nested.append(nested)
        if depth < _DEEPEST_SUBMODULE:
            for relative, submodule in found.submodules.items():
                self.submodules.append(submodule)
                self._walk_submodule(submodule, prefix + relative + b"/", depth + 1)

    def _await_repository(self, tree: Tree, relative: bytes, prefix: bytes, found: Found) -> None:
        """Watch a `.git` that is no repository yet: its HEAD, objects and refs make it one."""
        path = tree.top + b"/" + relative
        git_dir = git_dir_in_making(path + b"/.git")
        if git_dir is not None:
            self._add(git_dir, Role.NESTED, prefix + relative + b"/")
            self._note_elsewhere(git_dir, path)
        location = read_location(path)
        if location is not None:
            (found.submodules if relative in tree.gitlinks else found.nested)[relative] = location

    def _note_elsewhere(self, git_dir: bytes, path: bytes) -> None:
        """`git_dir` is that of `path`. The renaming of a directory above it raises no event inside it."""
        if not git_dir.startswith((path + b"/", self._location.common_dir + b"/")):
            self.elsewhere.add(git_dir)

    def _walk_submodule(self, submodule: Location, prefix: bytes, depth: int) -> None:
        git_dir, common_dir = submodule.git_dir, submodule.common_dir
        self._note_elsewhere(git_dir, submodule.path)
        for directory in dict.fromkeys((git_dir, common_dir, common_dir + b"/info")):
            self._add(directory, Role.MODULE, prefix)
        for refs in dict.fromkeys((git_dir + b"/refs", common_dir + b"/refs", common_dir + b"/reftable")):
            self._add_recursively(refs, Role.MODULE, prefix)
        _refuse_links(submodule)
        # Where another module may take its place, between it and our own git dir.
        above = git_dir.rpartition(b"/")[0]
        while above.startswith(self._location.common_dir + b"/"):
            self._add(above, Role.MODULE, prefix)
            above = above.rpartition(b"/")[0]
        self._walk_tree(submodule, read_config(submodule), prefix, [b""], depth)

    def _entering(self, prefix: bytes, found: Found) -> Enter:
        def enter(path: bytes, relative: bytes) -> bool:
            if self.entered is not None and not self._watch.table.watches(path, self._watch, Role.WORKTREE):
                self.entered.add((prefix + relative).rstrip(b"/"))
            try:
                return self._add(path, Role.WORKTREE, prefix + relative)
            except PermissionError:
                found.unreadable.append(relative[:-1])
                return False

        return enter

    def _watch_git_directories(self) -> None:
        git_dir, common_dir = self._location.git_dir, self._location.common_dir
        # Before, too: the way to logs/refs would lead through a link onto a dead mount, with the table's lock held.
        _refuse_links(self._location, *_LOGS)
        self._add(git_dir, Role.GIT_DIR, b"")
        if common_dir != git_dir:
            self._add(common_dir, Role.COMMON_DIR, b"")
        self._add(common_dir + b"/info", Role.INFO, b"")
        for own in dict.fromkeys((git_dir, common_dir)):
            self._add_recursively(own + b"/refs", Role.REFS)
            self._add_recursively(own + b"/reftable", Role.REFS)
        for logs in (common_dir + b"/logs", common_dir + b"/logs/refs"):
            self._add(logs, Role.LOGS, logs + b"/")
        _refuse_links(self._location, *_LOGS)
        for name in (b"rebase-merge", b"rebase-apply", b"sequencer"):
            self._add(git_dir + b"/" + name, Role.ACTION, b"")
        self._add(common_dir + b"/worktrees", Role.WORKTREES, b"")
        for linked in linked_worktrees(common_dir):
            if linked != git_dir:
                self._add(linked, Role.WORKTREES, b"")

    def _watch_remotes(self, config: RepositoryConfig) -> None:
        for directory in directories_of_old(config):
            self._add(directory, Role.REMOTES, b"")

    def _add_recursively(self, path: bytes, role: Role, prefix: bytes | None = None) -> None:
        """Directories of refs. `prefix` None: each has its own path and a slash."""
        stack = [path]
        while stack:
            directory = stack.pop()
            if not self._add(directory, role, directory + b"/" if prefix is None else prefix):
                continue
            try:
                with os.scandir(directory) as entries:
                    for entry in entries:
                        if entry.is_dir(follow_symlinks=False):
                            stack.append(entry.path)
                        elif entry.is_symlink() and leads_out_of_refs(entry.path):
                            raise _is_out_of_sight(entry.path)
            except (FileNotFoundError, NotADirectoryError):
                continue

    def _add(self, path: bytes, role: Role, prefix: bytes) -> bool:
        """False: there is no such directory."""
        try:
            self._watch.add(path, role, prefix)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return True


_LOGS = (b"logs/refs", b"logs/refs/stash")


def _refuse_links(location: Location, *more: bytes) -> None:
    """Raises OSError where a part of a git dir, our own or a submodule's, lies elsewhere. To be called once that is
    watched: what becomes a link later has an event."""
    for name in (*NEVER_LINKS, *more):
        part = (location.git_dir if name == b"index" else location.common_dir) + b"/" + name
        if os.path.islink(part):
            raise _is_out_of_sight(part)


def _is_out_of_sight(path: bytes) -> OSError:
    """Its events would be raised elsewhere, where nobody looks."""
    return OSError(ELOOP, "a symbolic link inside the git dir", path)


def git_dir_in_making(dot_git: bytes) -> bytes | None:
    """The directory that a `.git` is or, if it is a file, leads to; None when it leads nowhere. Raises LeadsAway."""
    reach.check(dot_git)
    if os.path.isdir(dot_git):
        return dot_git
    try:
        content = read_regular(dot_git, _LONGEST_GIT_FILE_BYTES)
    except OSError:
        return None
    if not content.startswith(b"gitdir: "):
        return None
    path = os.path.join(os.path.dirname(dot_git), content[8:].partition(b"\0")[0].rstrip(b"\r\n"))
    return reach.follow(path)


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


def _nearest_of(path: bytes, directories: Collection[bytes]) -> bytes | None:
    """Which of `directories` is `path` or holds it."""
    while path and directories:
        if path in directories:
            return path
        path = path.rpartition(b"/")[0]
    return None


def configuration_files(location: Location) -> list[bytes]:
    """Files outside of the repository that configure git for it."""
    config = read_config(location)
    files = {*config.sources, config.excludes_file, config.attributes_file, system_attributes_file()} - {None}
    if os.path.islink(location.path + b"/.gitmodules"):
        reach.check(location.path + b"/.gitmodules")  # the one file of the worktree whose link git follows
        files.add(location.path + b"/.gitmodules")
    watched = {b"config", b"config.worktree", b"info/exclude", b"info/attributes"}
    for own in (location.git_dir, location.common_dir):
        inside = {own + b"/" + name for name in watched}
        files -= inside
        # A link in the git dir is watched as one; what it leads to lies elsewhere.
        files |= {file for file in inside if os.path.islink(file)}
    return [file for file in files if file is not None]


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
