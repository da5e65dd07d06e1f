"""git's exclude rules: which untracked paths of one worktree are ignored.

Owns: the parsed rules of one worktree and, per directory asked about, the chain of rules in force there.
Runs: the serving thread or an analysis; no locks, so one owner at a time. Reads files only through its reader.
Invariant: the answer equals `git check-ignore --no-index` for a repository without core.ignoreCase, while `exact` is
true. Nothing below an ignored directory comes back.
Never: asks whether a path is tracked (tracked paths are not ignored whatever this says), follows a `.gitignore` link.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gitwatchd.git.files import raise_if_exhausted, read_regular
from gitwatchd.git.repository_config import RepositoryConfig
from gitwatchd.git.wildmatch import literal_prefix_length, translate
from gitwatchd.model.repository import Location

Reader = Callable[[bytes], bytes | None]
"""Content of a file given its path relative to the worktree's top; None when there is none to read,
TOO_LONG when it is longer than what is matched here."""

TOO_LONG = b"\0"
"""Free to mean that: a file of just this has no rules."""

_BOM = b"\xef\xbb\xbf"
_LARGEST_EXCLUDES_BYTES = 1 << 18
"""Of one exclude file: some 10,000 rules. Every rule with a wildcard is a compiled expression of a few kilobytes."""
_GLOB_CHARACTERS = re.compile(rb"[*?\[\\]")


@dataclass(frozen=True, slots=True)
class Pattern:
    """One line of an exclude file. `glob` has lost its `!`, its trailing `/` and, if anchored, its leading `/`."""

    glob: bytes
    negated: bool
    directory_only: bool
    anchored: bool
    """Matched against the path from the file's directory; otherwise against the last component alone."""


def parse_patterns(raw: bytes) -> list[Pattern]:
    """The patterns of an exclude file in its order; comments, blank lines and what can match nothing are left out."""
    patterns = []
    for line in raw.removeprefix(_BOM).split(b"\n"):
        if not line or line.startswith(b"#"):
            continue
        # git cuts the line with a NUL and then sees a C string, so a NUL in the file ends the pattern.
        text = _without_trailing_spaces(line.removesuffix(b"\r").partition(b"\0")[0])
        negated = text.startswith(b"!")
        if negated:
            text = text[1:]
        directory_only = text.endswith(b"/")
        if directory_only:
            text = text[:-1]
        anchored = b"/" in text
        glob = text.removeprefix(b"/")
        if glob.startswith(b"**/") and b"/" not in glob[3:]:
            # The same by definition, and a last component alone is the cheaper question.
            glob, anchored = glob[3:], False
        if glob:
            patterns.append(Pattern(glob, negated, directory_only, anchored))
    return patterns


def _without_trailing_spaces(line: bytes) -> bytes:
    if not line.endswith(b" "):
        return line
    stripped = line.rstrip(b" ")
    # An odd number of backslashes quotes the first of the spaces, which then stays; the others go.
    backslashes = len(stripped) - len(stripped.rstrip(b"\\"))
    return line[: len(stripped) + 1] if backslashes % 2 else stripped


class _Globs:
    """Globs as one expression. `match(text)` then `places[lastindex - 1]` is the strongest place that matches."""

    __slots__ = ("match", "places")

    def __init__(self, globs: list[tuple[bytes, int]]) -> None:
        sources: list[bytes] = []
        self.places: list[int] = []
        # An alternation takes its first branch that fits: the strongest goes first.
        for glob, place in reversed(globs):
            source = translate(glob)
            if source is not None:
                sources.append(source + rb"\Z()")
                self.places.append(place)
        self.match = re.compile(b"|".join(sources) if sources else rb"(?!)", re.DOTALL).match

    def strongest(self, text: bytes) -> int:
        found = self.match(text)
        return -1 if found is None or found.lastindex is None else self.places[found.lastindex - 1]


class _Table:
    """The patterns of one file for one kind of path, arranged so that a question costs few look-ups.

    The higher its place in the file, the stronger a pattern; every look-up yields the strongest place it knows.
    """

    __slots__ = (
        "_any_suffix", "_extensions", "_name_globs", "_names", "_negated", "_path_globs", "_path_starts", "_paths",
        "_suffixes",
    )  # fmt: skip

    def __init__(self, patterns: list[tuple[int, Pattern]], negated: list[bool]) -> None:
        self._negated = negated
        self._names: dict[bytes, int] = {}
        self._paths: dict[bytes, int] = {}
        self._extensions: dict[bytes, int] = {}
        self._suffixes: list[tuple[bytes, int]] = []
        name_globs: list[tuple[bytes, int]] = []
        path_globs: list[tuple[bytes, int]] = []
        for place, pattern in patterns:
            glob = pattern.glob
            if not _GLOB_CHARACTERS.search(glob):
                (self._paths if pattern.anchored else self._names)[glob] = place
            elif pattern.anchored:
                path_globs.append((glob, place))
            elif glob.startswith(b"*") and not _GLOB_CHARACTERS.search(glob, 1):
                if glob.rfind(b".") == 1:
                    self._extensions[glob[1:]] = place
                else:
                    self._suffixes.append((glob[1:], place))
            else:
                name_globs.append((glob, place))
        self._suffixes.reverse()
        self._any_suffix = tuple([suffix for suffix, _ in self._suffixes])
        self._name_globs = _Globs(name_globs) if name_globs else None
        self._path_globs = _Globs(path_globs) if path_globs else None
        # One empty start (a glob that begins with a wildcard) lets every path through.
        self._path_starts = tuple({glob[: literal_prefix_length(glob)] for glob, _ in path_globs})

    def verdict(self, name: bytes, path: bytes) -> bool | None:
        """True ignored, False brought back, None no pattern matches. `path` is relative to the file's directory."""
        # Comparisons instead of max(): this runs for every path of a walk, a call costs as much as a look-up.
        best = self._names.get(name, -1)
        if self._extensions:
            dot = name.rfind(b".")
            if dot >= 0 and (place := self._extensions.get(name[dot:], -1)) > best:
                best = place
        if self._any_suffix and name.endswith(self._any_suffix):
            for suffix, place in self._suffixes:
                if place <= best:
                    break
                if name.endswith(suffix):
                    best = place
                    break
        if self._paths and (place := self._paths.get(path, -1)) > best:
            best = place
        if self._name_globs is not None and (place := self._name_globs.strongest(name)) > best:
            best = place
        if (
            self._path_globs is not None
            and path.startswith(self._path_starts)
            and (place := self._path_globs.strongest(path)) > best
        ):
            best = place
        return None if best < 0 else not self._negated[best]


class _RuleFile:
    """One exclude file, ready to be asked for files and for directories."""

    __slots__ = ("cut", "directories", "files")

    def __init__(self, patterns: list[Pattern], directory: bytes) -> None:
        self.cut = len(directory) + 1 if directory else 0
        negated = [pattern.negated for pattern in patterns]
        numbered = list(enumerate(patterns))
        self.directories = _Table(numbered, negated)
        if any(pattern.directory_only for pattern in patterns):
            self.files = _Table([p for p in numbered if not p[1].directory_only], negated)
        else:
            self.files = self.directories


def _depends_on_version(pattern: Pattern) -> bool:
    """`foo**/bar`: until 2.52 git cut the literal `foo` off first, and `**/` then stood at a beginning."""
    prefix = literal_prefix_length(pattern.glob)
    rest = pattern.glob[prefix:]
    if not pattern.anchored or not prefix or pattern.glob[prefix - 1 : prefix] == b"/" or not rest.startswith(b"**"):
        return False
    return rest.lstrip(b"*")[:1] in (b"", b"/") or rest.lstrip(b"*").startswith(b"\\/")


_Chain = tuple[_RuleFile, ...]


class IgnoreRules:
    """The rules of one worktree. `shared` are the contents of the exclude files for all of it, the strongest first:
    info/exclude, then core.excludesFile. `ignore_case` is core.ignoreCase, which these rules do not follow.
    """

    def __init__(
        self, read: Reader, shared: Iterable[bytes | None] = (), *, ignore_case: bool = False, refused: bool = False
    ) -> None:
        self.refused = refused
        """What should be a file of rules for the whole worktree is something else: git ends, or waits for ever."""
        self._read = read
        self._ignore_case = ignore_case
        self._inexact_directories: set[bytes] = set()
        self._shared_exact = True
        files = []
        for raw in shared:
            patterns = parse_patterns(raw) if raw else []
            if raw == TOO_LONG or any(map(_depends_on_version, patterns)):
                self._shared_exact = False
            if patterns:
                files.append(_RuleFile(patterns, b""))
        self._shared = tuple(files)
        self._chains: dict[bytes, _Chain | None] = {}

    @property
    def exact(self) -> bool:
        """False when only git may judge. It can become false while directories are read: look after asking."""
        return not self._ignore_case and self._shared_exact and not self._inexact_directories

    def is_ignored(self, path: bytes, is_dir: bool) -> bool:
        """Whether git ignores `path` (relative to the top, no trailing slash), itself or because of a parent.

        `is_dir` is true for directories and nested repositories, not for links to directories.
        """
        directory, _, name = path.rpartition(b"/")
        try:
            chain = self._chains[directory]
        except KeyError:
            chain = self._chain(directory)
        if chain is None:
            return True
        for rules in chain:
            table = rules.directories if is_dir else rules.files
            verdict = table.verdict(name, path[rules.cut :] if rules.cut else path)
            if verdict is not None:
                return verdict
        return False

    def invalidate(self, directory: bytes) -> None:
        """The `.gitignore` of `directory` (b"" = top) changed: forget what was read there and below."""
        if directory not in self._chains:
            return  # nor anything below: a chain is built from those of all its parents
        below = directory + b"/" if directory else b""
        stale = [known for known in self._chains if known == directory or known.startswith(below)]
        for known in stale:
            del self._chains[known]
            self._inexact_directories.discard(known)

    def _chain(self, directory: bytes) -> _Chain | None:
        """The rule files in force in `directory`, the strongest first; None when the directory itself is ignored."""
        missing = []
        chain: _Chain | None = None
        while directory not in self._chains:
            missing.append(directory)
            if not directory:
                break
            directory = directory.rpartition(b"/")[0]
        for directory in reversed(missing):
            if not directory:
                chain = self._with_own_rules(directory, self._shared)
            elif self.is_ignored(directory, True):
                chain = None
            else:
                parent = self._chains[directory.rpartition(b"/")[0]]
                chain = self._with_own_rules(directory, parent or ())
            self._chains[directory] = chain
        return chain

    def _with_own_rules(self, directory: bytes, inherited: _Chain) -> _Chain:
        raw = self._read(directory + b"/.gitignore" if directory else b".gitignore")
        if raw == TOO_LONG:
            self._inexact_directories.add(directory)
        patterns = parse_patterns(raw) if raw else []
        if not patterns:
            return inherited
        if any(map(_depends_on_version, patterns)):
            self._inexact_directories.add(directory)
        return (_RuleFile(patterns, directory), *inherited)


def read_rules(location: Location, config: RepositoryConfig, read: Reader | None = None) -> IgnoreRules:
    """The rules of a worktree as its configuration has them; `.gitignore` files come through `read`, by default from
    the worktree. To be made anew when `exclude_files` or the configuration change."""
    files = exclude_files(location, config)
    shared = [read_shared(path) for path in files]
    return IgnoreRules(
        read or worktree_reader(location.path),
        shared,
        ignore_case=config.get_bool(b"core.ignorecase", default=False),
        refused=any(raw is None and _is_no_file(path) for path, raw in zip(files, shared, strict=True)),
    )


def _is_no_file(path: bytes) -> bool:
    """Whether something other than a file stands there (git reads a directory and fails, a FIFO and waits)."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except OSError:
        return False  # git passes over what it may not read


def exclude_files(location: Location, config: RepositoryConfig) -> tuple[bytes, ...]:
    """The files whose patterns hold for the whole worktree, whether they exist or not, the strongest first."""
    info = location.common_dir + b"/info/exclude"
    user = config.excludes_file
    return (info,) if user is None else (info, user)


def worktree_reader(top: bytes) -> Reader:
    """A reader of the `.gitignore` files below `top` as git reads them: no links, regular files only.

    It does not know the index: where a `.gitignore` with skip-worktree is absent, git reads it from there.
    """
    prefix = top + b"/"
    return lambda path: _read_excludes(prefix + path, os.O_NOFOLLOW)


def read_shared(path: bytes | None) -> bytes | None:
    """Content of info/exclude or core.excludesFile (links are followed); None when there is none to read."""
    return None if path is None else _read_excludes(path)


def _read_excludes(path: bytes, flags: int = 0) -> bytes | None:
    try:
        raw = read_regular(path, _LARGEST_EXCLUDES_BYTES + 1, flags)
    except OSError as error:
        raise_if_exhausted(error)
        return None
    return TOO_LONG if len(raw) > _LARGEST_EXCLUDES_BYTES else raw
