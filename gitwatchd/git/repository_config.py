"""The effective configuration of one repository: which files git reads, in which order, and what they say.

Owns: the walk over the files and their includes, and the parsed files that repositories share (system, global, what
they include). Runs: serving thread, workers, analyses; the shared files sit in one dict whose values are never
changed, so threads need no lock.
Invariant: entries equal `git config --list --show-scope --show-origin --includes` of the installed git, in its order;
where our reading is not exact git is asked.
Never: reads `GIT_CONFIG*` or `-c` (DESIGN.md 1: no git child of ours gets them either).
"""

from __future__ import annotations

import os
import pwd
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from typing import NamedTuple

from gitwatchd.git.config_file import (
    BadValue,
    Config,
    ConfigDamaged,
    Fingerprint,
    find_boolean,
    find_integer,
    fingerprint_of,
    read_config_file,
)
from gitwatchd.git.wildmatch import wildmatch
from gitwatchd.model.repository import Location

_MAX_INCLUDE_DEPTH = 10
"""git's own."""
_RACY_NS = 50_000_000
"""A file this young may change again without a new ctime (its clock ticks every 1-10 ms): not kept."""
_GIT_TIMEOUT_S = 10.0


class Scope(Enum):
    SYSTEM = "system"
    GLOBAL = "global"
    LOCAL = "local"
    WORKTREE = "worktree"


_OWN_SCOPES = (Scope.LOCAL, Scope.WORKTREE)


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


class RepositoryConfig:
    """Effective values. Keys are `section.name` or `section.subsection.name`; the case of section and name is free.

    The typed getters raise BadValue where git would end with `bad ... config value`.
    """

    __slots__ = ("_by_key", "_home", "_xdg", "depends_on_branch", "entries", "location", "sources")

    def __init__(
        self, location: Location, entries: tuple[Entry, ...], sources: tuple[bytes, ...], *,
        depends_on_branch: bool, home: bytes | None, xdg: bytes | None,
    ) -> None:  # fmt: skip
        self.location = location
        self.entries = entries
        self.sources = sources
        """Every file that was read or would be if it existed, symbolic links not resolved. Not the excludes and
        attributes files: `excludes_file`, `attributes_file`."""
        self.depends_on_branch = depends_on_branch
        """An `includeIf "onbranch:"` was met: HEAD moving to another branch is a change of configuration."""
        self._home = home
        self._xdg = xdg
        self._by_key: dict[bytes, list[Entry]] | None = None

    def find_all(self, key: bytes) -> Sequence[Entry]:
        """All entries of a key, weakest first."""
        if self._by_key is None:
            self._by_key = {}
            for entry in self.entries:
                self._by_key.setdefault(entry.key, []).append(entry)
        return self._by_key.get(_canonical(key), ())

    def find(self, key: bytes) -> Entry | None:
        """The entry that counts: the last."""
        found = self.find_all(key)
        return found[-1] if found else None

    def get(self, key: bytes, default: bytes | None = None) -> bytes | None:
        """The value as text; a name without `=` is b"true" (where git wants text it refuses: see `find`)."""
        entry = self.find(key)
        if entry is None:
            return default
        return b"true" if entry.value is None else entry.value

    def get_all(self, key: bytes) -> list[bytes]:
        return [b"true" if entry.value is None else entry.value for entry in self.find_all(key)]

    def get_bool(self, key: bytes, default: bool) -> bool:
        entry = self.find(key)
        if entry is None:
            return default
        value = find_boolean(entry.value)
        if value is None:
            raise BadValue(entry.key, entry.value, "boolean")
        return value

    def get_int(self, key: bytes, default: int) -> int:
        entry = self.find(key)
        if entry is None:
            return default
        value = find_integer(entry.value)
        if value is None:
            raise BadValue(entry.key, entry.value, "numeric")
        return value

    def get_path(self, key: bytes) -> bytes | None:
        """A file name with `~/` and `~user/` expanded, absolute: git takes a relative one from the worktree's top."""
        entry = self.find(key)
        if entry is None:
            return None
        if entry.value is None:
            raise BadValue(entry.key, entry.value, "path")
        if not entry.value:
            return b""
        path = _expand(entry.value, self._home)
        if path is None:
            raise BadValue(entry.key, entry.value, "path")
        return os.path.join(self.location.path, path)

    def subsections(self, section: bytes) -> list[bytes]:
        """`subsections(b"remote")` -> the names of remotes, each once, in order of first appearance."""
        prefix = section.lower() + b"."
        start = len(prefix)
        names: dict[bytes, None] = {}
        for entry in self.entries:
            if entry.key.startswith(prefix) and (dot := entry.key.rfind(b".")) >= start:
                names[entry.key[start:dot]] = None
        return list(names)

    def filter_drivers_of_repository(self) -> list[bytes]:
        """Names of filter drivers whose clean, smudge or process command this repository's own config sets."""
        names: dict[bytes, None] = {}
        for entry in self.entries:
            if entry.scope in _OWN_SCOPES and entry.key.startswith(b"filter."):
                name, dot, variable = entry.key[7:].rpartition(b".")
                if dot and variable in (b"clean", b"smudge", b"process"):
                    names[name] = None
        return list(names)

    @property
    def excludes_file(self) -> bytes | None:
        """core.excludesFile or its default, whether it exists or not; None: there is none (set to nothing, no HOME)."""
        return self._user_file(b"core.excludesfile", b"ignore")

    @property
    def attributes_file(self) -> bytes | None:
        return self._user_file(b"core.attributesfile", b"attributes")

    def _user_file(self, key: bytes, default: bytes) -> bytes | None:
        path = self.get_path(key)
        if path is not None:
            return path or None
        return None if self._xdg is None else self._xdg + b"/git/" + default


@lru_cache(maxsize=1024)
def _canonical(key: bytes) -> bytes:
    section, _, rest = key.partition(b".")
    subsection, dot, name = rest.rpartition(b".")
    return section.lower() + b"." + subsection + dot + name.lower()


def read_config(location: Location, *, environment: Mapping[str, str] = os.environ) -> RepositoryConfig:
    """Read what git would read in this repository. `environment` gives HOME and XDG_CONFIG_HOME.

    Blocks for a few reads; starts git where only git can tell. Raises ConfigDamaged where git refuses to go on, and
    what `run_git` raises.
    """
    home = _directory(environment, "HOME")
    xdg = _directory(environment, "XDG_CONFIG_HOME") or (home and home + b"/.config")
    files = [(system_config_file(), Scope.SYSTEM)]
    if xdg is not None:
        files.append((xdg + b"/git/config", Scope.GLOBAL))
    if home is not None:
        files.append((home + b"/.gitconfig", Scope.GLOBAL))
    walk = _Walk(location, home, files, remote_urls=None)
    walk.run()
    entries = tuple(walk.entries) if not walk.needs_git else _ask_git(location)
    return RepositoryConfig(
        location, entries, tuple(dict.fromkeys(walk.sources)),
        depends_on_branch=walk.depends_on_branch, home=home, xdg=xdg,
    )  # fmt: skip


def _directory(environment: Mapping[str, str], name: str) -> bytes | None:
    value = environment.get(name)
    return os.fsencode(value) if value else None


@dataclass(frozen=True, slots=True)
class _File:
    fingerprint: Fingerprint
    config: Config
    entries: tuple[Entry, ...]


_shared_files: dict[tuple[bytes, Scope], _File] = {}


class _Walk:
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
        # Permission denied: git skips the user's own files then, and ends for all others.
        read = _read_own if scope in _OWN_SCOPES else _read_shared
        file = read(path, scope, scope is Scope.GLOBAL and not included)
        if file is None:
            return Config()
        self.needs_git = self.needs_git or file.config.needs_git
        if not file.config.has_includes and not self._collecting:
            self.entries.extend(file.entries)
        else:
            for entry in file.entries:
                self.entries.append(entry)
                self._follow(entry)
        return file.config

    def _follow(self, entry: Entry) -> None:
        key = entry.key
        if self._remote_urls is not None and self._collecting and _is_remote_url(key):
            if self._forbidding_urls:
                raise ConfigDamaged(
                    f"remote URLs cannot be configured in {os.fsdecode(entry.origin)}",
                    "it is included by includeIf.hasconfig:remote.*.url",
                )
            self._remote_urls.append(entry.value or b"")
        if key == b"include.path":
            self._include(entry)
        elif key.startswith(b"includeif.") and key.endswith(b".path") and len(key) > len(b"includeif.path"):
            if self._condition_holds(key[10:-5], entry.origin):
                before = self._forbidding_urls
                self._forbidding_urls = self._collecting
                self._include(entry)
                self._forbidding_urls = before

    def _include(self, entry: Entry) -> None:
        if entry.value is None:
            raise BadValue(entry.key, None, "path")
        path = _expand(entry.value, self._home)
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
                first = _Walk(self._location, self._home, self._files, self._remote_urls)
                first.run()
                self.needs_git = self.needs_git or first.needs_git
            glob = condition.removeprefix(b"hasconfig:remote.*.url:")
            return any(wildmatch(glob, url) for url in self._remote_urls)
        return False

    def _git_dir_matches(self, argument: bytes, origin: bytes, *, casefold: bool) -> bool:
        if argument.startswith(b"%(prefix)/"):
            self.needs_git = "%(prefix) in a condition"
        pattern = _expand(argument, self._home and os.path.realpath(self._home)) or argument
        literal = 0
        if pattern.startswith(b"./"):
            directory = os.path.dirname(os.path.realpath(origin))
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
            with open(path, "rb") as file:
                head = file.read(4096)
            if os.path.islink(path):
                head = b"ref: " + os.readlink(path)
        except OSError:
            return None
        if not head.startswith(b"ref:"):
            return None
        name = head[4:].strip()
        if name == b"refs/heads/.invalid":
            self.needs_git = "reftable"
        try:
            with open(self._location.common_dir + b"/" + name, "rb") as file:
                if file.read(4) == b"ref:":
                    self.needs_git = "a branch that is a symbolic reference"
        except OSError:
            pass  # packed or not yet born
        return name.removeprefix(b"refs/heads/") if name.startswith(b"refs/heads/") else None


def _read_own(path: bytes, scope: Scope, may_be_unreadable: bool) -> _File | None:
    read = read_config_file(path, may_be_unreadable=may_be_unreadable)
    if read is None:
        return None
    config, fingerprint = read
    return _File(fingerprint, config, tuple(Entry(key, value, scope, path) for key, value in config.entries))


def _read_shared(path: bytes, scope: Scope, may_be_unreadable: bool) -> _File | None:
    known = _shared_files.get((path, scope))
    if known is not None:
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


def _expand(path: bytes, home: bytes | None) -> bytes | None:
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


def system_config_file() -> bytes:
    """Where the installed git has its system configuration. Asks git, once for each git."""
    from gitwatchd.git.child import git_path  # noqa: PLC0415

    return _system_config_file(git_path())


@lru_cache(maxsize=4)
def _system_config_file(_git: str) -> bytes:
    from gitwatchd.git.child import run_git  # noqa: PLC0415

    answer = run_git(["var", "GIT_CONFIG_SYSTEM"], cwd=b"/", timeout_s=_GIT_TIMEOUT_S)
    if answer.returncode == 0 and answer.stdout.startswith(b"/"):
        return answer.stdout.splitlines()[-1]
    # Before 2.41 git does not tell; its build rule is /etc for the prefix /usr and PREFIX/etc for others.
    exec_path = run_git(["--exec-path"], cwd=b"/", timeout_s=_GIT_TIMEOUT_S).stdout.strip()
    prefix = os.path.dirname(os.path.dirname(exec_path))
    return b"/etc/gitconfig" if prefix == b"/usr" else prefix + b"/etc/gitconfig"


def _ask_git(location: Location) -> tuple[Entry, ...]:
    from gitwatchd.git.child import run_git  # noqa: PLC0415

    arguments = ["config", "--list", "--show-scope", "--show-origin", "--includes", "-z"]
    answer = run_git(arguments, cwd=location.path, timeout_s=_GIT_TIMEOUT_S)
    if answer.returncode:
        said = answer.stderr.decode(errors="replace").strip().splitlines()
        raise ConfigDamaged(said[-1] if said else "git config fails", "correct the configuration")
    fields = answer.stdout.split(b"\0")[:-1]
    entries = []
    for scope, origin, text in zip(fields[::3], fields[1::3], fields[2::3], strict=True):
        if scope == b"command":
            continue  # our own -c
        key, equals, value = text.partition(b"\n")
        path = os.path.join(location.path, origin.removeprefix(b"file:"))
        entries.append(Entry(key, value if equals else None, Scope(scope.decode()), path))
    return tuple(entries)
