"""The effective configuration of one repository: what all its files say together, typed.

Owns nothing. Runs: serving thread, workers, analyses.
Invariant: entries equal `git config --list --show-scope --show-origin --includes` of the installed git, in its order;
where our reading is not exact git is asked.
Never: reads `GIT_CONFIG*` or `-c` (no git child of ours gets them either).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache

from gitwatchd.git import reach
from gitwatchd.git.config_file import BadValue, ConfigDamaged, find_boolean
from gitwatchd.git.config_walk import OWN_SCOPES, ConfigWalk, Entry, Scope, expand_home
from gitwatchd.model.repository import Location

_GIT_TIMEOUT_S = 10.0


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

    def get_path(self, key: bytes) -> bytes | None:
        """A file name with `~/` and `~user/` expanded, absolute: git takes a relative one from the worktree's top."""
        entry = self.find(key)
        if entry is None:
            return None
        if entry.value is None:
            raise BadValue(entry.key, entry.value, "path")
        if not entry.value:
            return b""
        path = expand_home(entry.value, self._home)
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
        """Sections of filter drivers whose clean, smudge or process command this repository's own config sets."""
        return list(dict.fromkeys(s for s, scope in self._filter_commands() if scope in OWN_SCOPES))

    def filter_drivers(self) -> list[bytes]:
        """Sections of all filter drivers that have a command, the user's and the system's included."""
        return list(dict.fromkeys(section for section, _ in self._filter_commands()))

    def _filter_commands(self) -> Iterator[tuple[bytes, Scope]]:
        for entry in self.entries:
            # An extension of git-lfs is a filter within a filter: git-lfs runs its command for every file it cleans.
            if entry.key.startswith((b"filter.", b"lfs.extension.")):
                section, _, variable = entry.key.rpartition(b".")
                if section != b"filter" and variable in (b"clean", b"smudge", b"process"):
                    yield section, entry.scope

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

    Blocks for a few reads; starts git where only git can tell. Whoever gets it may read its `excludes_file` and
    `attributes_file`. Raises ConfigDamaged where git refuses to go on, LeadsAway, and what `run_git` raises.
    """
    home = _directory(environment, "HOME")
    xdg = _directory(environment, "XDG_CONFIG_HOME") or (home and home + b"/.config")
    files = [(system_config_file(), Scope.SYSTEM)]
    if xdg is not None:
        files.append((xdg + b"/git/config", Scope.GLOBAL))
    if home is not None:
        files.append((home + b"/.gitconfig", Scope.GLOBAL))
    walk = ConfigWalk(location, home, files, remote_urls=None)
    walk.run()
    entries = tuple(walk.entries) if not walk.needs_git else _ask_git(location)
    config = RepositoryConfig(
        location, entries, tuple(dict.fromkeys(walk.sources)),
        depends_on_branch=walk.depends_on_branch, home=home, xdg=xdg,
    )  # fmt: skip
    if reach.is_kept_local():
        with suppress(BadValue):  # whoever wants that value says so
            for path in (config.excludes_file, config.attributes_file):
                if path:
                    reach.check(path)
    return config


def _directory(environment: Mapping[str, str], name: str) -> bytes | None:
    value = environment.get(name)
    return os.fsencode(value) if value else None


def system_config_file() -> bytes:
    """Where the installed git has its system configuration. Asks git, once for each git."""
    from gitwatchd.git.child import git_path

    return _system_config_file(git_path())


def system_attributes_file() -> bytes:
    """The attributes of all users' repositories, whether there are any or not: beside the configuration, as built."""
    return os.path.dirname(system_config_file()) + b"/gitattributes"


@lru_cache(maxsize=4)
def _system_config_file(_git: str) -> bytes:
    from gitwatchd.git.child import About, run_git

    answer = run_git(["var", "GIT_CONFIG_SYSTEM"], cwd=b"/", timeout_s=_GIT_TIMEOUT_S, about=About.GIT)
    if answer.returncode == 0 and answer.stdout.startswith(b"/"):
        return answer.stdout.splitlines()[-1]
    # Before 2.41 git does not tell; its build rule is /etc for the prefix /usr and PREFIX/etc for others.
    exec_path = run_git(["--exec-path"], cwd=b"/", timeout_s=_GIT_TIMEOUT_S, about=About.GIT).stdout.strip()
    prefix = os.path.dirname(os.path.dirname(exec_path))
    return b"/etc/gitconfig" if prefix == b"/usr" else prefix + b"/etc/gitconfig"


def _ask_git(location: Location) -> tuple[Entry, ...]:
    from gitwatchd.git.child import run_git

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
