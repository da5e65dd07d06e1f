"""Which configuration files git reads for one repository, in which order, and which of their includes it follows.

Owns: the walk over the files, and the parsed files that repositories share (system, global, what they include).
Runs: serving thread, workers, analyses; the shared files sit in one dict whose values are never changed, so threads
need no lock.
Invariant: entries come in git's order; `needs_git` says where only the installed git can tell what they are.
"""

from __future__ import annotations

import os
import pwd
import time
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from gitwatchd.git import reach
from gitwatchd.git.config_file import (
    BadValue,
    Config,
    ConfigDamaged,
    Fingerprint,
    find_boolean,
    fingerprint_of,
    read_config_file,
)
from gitwatchd.git.files import raise_if_exhausted, read_regular
from gitwatchd.git.wildmatch import wildmatch
from gitwatchd.model.repository import Location

_MAX_INCLUDE_DEPTH = 10
"""git's own."""
_MOST_FILES = 1000
"""Ten files that each include the next one ten times would have git read 10^10."""
_RACY_NS = 50_000_000
"""A file this young may change again without a new ctime (before Linux 6.13 it ticks every 1-10 ms): not kept."""


class Scope(Enum):
    SYSTEM = "system"
    GLOBAL = "global"
    LOCAL = "local"
    WORKTREE = "worktree"


OWN_SCOPES = (Scope.LOCAL, Scope.WORKTREE)


class Entry(NamedTuple):
    """One line of configuration. (A tuple, not a dataclass: 500 repositories make 20,000 of them at start.)"""

    key: bytes
    """Canonical: section and name in lower case, subsection as written."""
    value: bytes | None
    """None: a name without `=`, which is true."""
    scope: Scope
    """An included file has its includer's."""
    origin: bytes
    """The file."""


@dataclass(frozen=True, slots=True)
class _File:
    fingerprint: Fingerprint
    config: Config
    entries: tuple[Entry, ...]
    includes: tuple[int, ...]
    """Places of the entries that may include another file."""


_shared_files: dict[tuple[bytes, Scope], _File] = {}


class ConfigWalk:
    """One pass over all files. With `remote_urls` (a list), the pass that git makes first where an `includeIf
    "hasconfig:"` asks for URLs: it fills the list and takes every such condition for true."""

    def __init__(
        self,
        location: Location,
        home: bytes | None,
        files: list[tuple[bytes, Scope]],
        remote_urls: list[bytes] | None,
    ) -> None:
        self.entries: list[Entry] = []
        self.sources: list[bytes] = []
        self.needs_git = ""
        self.depends_on_branch = False
        self._location = location
        self._home = home
        self._files = files
        self._collecting = remote_urls is not None
        self._remote_urls = remote_urls
        self._forbidding_urls = False
        self._depth = 0

    def run(self) -> None:
        for path, scope in self._files:
            self._add_file(path, scope)
        local = self._add_file(self._location.common_dir + b"/config", Scope.LOCAL)
        # git looks for the extension in that very file, not in what it includes.
        wanted = [value for key, value in local.entries if key == b"extensions.worktreeconfig"]
        if wanted and find_boolean(wanted[-1]):
            self._add_file(self._location.git_dir + b"/config.worktree", Scope.WORKTREE)

    def _add_file(self, path: bytes, scope: Scope, *, included: bool = False) -> Config:
        self.sources.append(path)
        if len(self.sources) > _MOST_FILES:
            raise ConfigDamaged(
                f"the configuration includes more than {_MOST_FILES} files",
                f"look at the includes of {os.fsdecode(path)}",
            )
        # Permission denied: git skips the user's own files then, and ends for all others.
        read = _read_own if scope in OWN_SCOPES else _read_shared
        file = read(path, scope, scope is Scope.GLOBAL and not included)
        if file is None:
            return Config()
        self.needs_git = self.needs_git or file.config.needs_git
        if self._remote_urls is not None and self._collecting:
            self._collect_urls(file, self._remote_urls)
        at = 0
        for place in file.includes:
            self.entries.extend(file.entries[at : place + 1])
            at = place + 1
            self._follow(file.entries[place])
        self.entries.extend(file.entries[at:] if at else file.entries)
        return file.config

    def _collect_urls(self, file: _File, urls: list[bytes]) -> None:
        for entry in file.entries:
            if not _is_remote_url(entry.key):
                continue
            if self._forbidding_urls:
                raise ConfigDamaged(
                    f"remote URLs cannot be configured in {os.fsdecode(entry.origin)}",
                    "it is included by includeIf.hasconfig:remote.*.url",
                )
            urls.append(entry.value or b"")

    def _follow(self, entry: Entry) -> None:
        key = entry.key
        if key == b"include.path":
            self._include(entry)
        elif (
            key.startswith(b"includeif.")
            and key.endswith(b".path")
            and len(key) > len(b"includeif.path")
            and self._condition_holds(key[10:-5], entry.origin)
        ):
            before = self._forbidding_urls
            self._forbidding_urls = self._collecting
            self._include(entry)
            self._forbidding_urls = before

    def _include(self, entry: Entry) -> None:
        if entry.value is None:
            raise BadValue(entry.key, None, "path")
        path = expand_home(entry.value, self._home)
        if path is None:
            raise BadValue(entry.key, entry.value, "path")
        if path.startswith(b"%(prefix)/"):
            self.needs_git = "%(prefix) in an include"
        if not path.startswith(b"/"):
            path = entry.origin[: entry.origin.rfind(b"/") + 1] + path
        self._depth += 1
        if self._depth > _MAX_INCLUDE_DEPTH:
            raise ConfigDamaged(
                f"exceeded maximum include depth ({_MAX_INCLUDE_DEPTH}) while including {os.fsdecode(path)}",
                "this might be due to circular includes",
            )
        self._add_file(path, entry.scope, included=True)
        self._depth -= 1

    def _condition_holds(self, condition: bytes, origin: bytes) -> bool:
        kind, _, argument = condition.partition(b":")
        if kind == b"gitdir":
            return self._git_dir_matches(argument, origin, casefold=False)
        if kind == b"gitdir/i":
            return self._git_dir_matches(argument, origin, casefold=True)
        if kind == b"onbranch":
            self.depends_on_branch = True
            branch = self._branch()
            return branch is not None and wildmatch(_whole_below(argument), branch)
        if condition.startswith(b"hasconfig:remote.*.url:"):
            if self._collecting:
                return True
            if self._remote_urls is None:
                self._remote_urls = []
                first = ConfigWalk(self._location, self._home, self._files, self._remote_urls)
                first.run()
                self.needs_git = self.needs_git or first.needs_git
            glob = condition.removeprefix(b"hasconfig:remote.*.url:")
            return any(wildmatch(glob, url) for url in self._remote_urls)
        return False

    def _git_dir_matches(self, argument: bytes, origin: bytes, *, casefold: bool) -> bool:
        if argument.startswith(b"%(prefix)/"):
            self.needs_git = "%(prefix) in a condition"
        home = self._home
        if home is not None and argument.startswith(b"~"):
            home = reach.follow(home)
        pattern = expand_home(argument, home) or argument
        literal = 0
        if pattern.startswith(b"./"):
            directory = os.path.dirname(reach.follow(origin))
            pattern = directory + pattern[1:]
            literal = len(directory) + 1
        elif not pattern.startswith(b"/"):
            pattern = b"**/" + pattern
        pattern = _whole_below(pattern)
        for text in self._names_of_git_dir():
            start, wanted = text[:literal], pattern[:literal]
            if (start.lower() != wanted.lower()) if casefold else (start != wanted):
                return False
            if wildmatch(pattern[literal:], text[literal:], casefold=casefold):
                return True
        return False

    def _names_of_git_dir(self) -> list[bytes]:
        names = [self._location.git_dir]
        link = self._location.path + b"/.git"
        if not self._location.bare and os.path.islink(link) and os.path.isdir(link):
            names.append(link)
        return names

    def _branch(self) -> bytes | None:
        """The branch HEAD names, without refs/heads/."""
        path = self._location.git_dir + b"/HEAD"
        try:
            head = read_regular(path, 4096)
            if os.path.islink(path):
                head = b"ref: " + os.readlink(path)
        except OSError as error:
            raise_if_exhausted(error)
            return None
        if not head.startswith(b"ref:"):
            return None
        name = head[4:].strip()
        if name == b"refs/heads/.invalid":
            self.needs_git = "reftable"
        reach.check(self._location.common_dir + b"/" + name)
        try:
            if read_regular(self._location.common_dir + b"/" + name, 4) == b"ref:":
                self.needs_git = "a branch that is a symbolic reference"
        except OSError as error:
            raise_if_exhausted(error)  # otherwise packed or not yet born
        return name.removeprefix(b"refs/heads/") if name.startswith(b"refs/heads/") else None


def _read_own(path: bytes, scope: Scope, may_be_unreadable: bool) -> _File | None:
    read = read_config_file(path, may_be_unreadable=may_be_unreadable)
    if read is None:
        return None
    config, fingerprint = read
    entries = tuple([Entry(key, value, scope, path) for key, value in config.entries])
    includes = tuple([place for place, entry in enumerate(entries) if entry.key.startswith(b"include")])
    return _File(fingerprint, config, entries, includes)


def _read_shared(path: bytes, scope: Scope, may_be_unreadable: bool) -> _File | None:
    known = _shared_files.get((path, scope))
    if known is not None:
        reach.check(path)
        try:
            if fingerprint_of(os.stat(path)) == known.fingerprint:
                return known
        except OSError:
            pass  # it is gone, or its directory is closed to us: reading says which
    file = _read_own(path, scope, may_be_unreadable)
    if file is None:
        _shared_files.pop((path, scope), None)
    elif time.time_ns() - file.fingerprint[4] > _RACY_NS:
        _shared_files[path, scope] = file
    return file


def _whole_below(pattern: bytes) -> bytes:
    return pattern + b"**" if pattern.endswith(b"/") else pattern


def _is_remote_url(key: bytes) -> bool:
    return key.startswith(b"remote.") and key.endswith(b".url") and len(key) > len(b"remote.url")


def expand_home(path: bytes, home: bytes | None) -> bytes | None:
    """`~/x` and `~user/x` as git expands them; None where it cannot."""
    if not path.startswith(b"~"):
        return path
    user, slash, rest = path[1:].partition(b"/")
    if user:
        try:
            home = os.fsencode(pwd.getpwnam(os.fsdecode(user)).pw_dir)
        except KeyError:
            return None
    return None if home is None else home + slash + rest
