"""Reading objects: subjects, peeled tags, distances, trees. The only doorway to pygit2.

Owns: per repository one handle, `Objects`, opened at first use and given back by `close` (the next use opens
it again). Runs: one thread at a time per handle (libgit2's objects are not thread-safe); any process.
Invariant: types and exceptions of pygit2 do not leave; a read that fails is ObjectsUnreadable.
Invariant: only objects are read through libgit2, never its index, refs, config or status; so what libgit2
cannot open as a repository (reftable, another owner's) is read all the same. What its object database cannot
read as git does (sha256, replaced or grafted objects) is asked of git, through the same functions.
Never: writes; imports pygit2 before it is needed (70-100 ms; what is loose, or no delta, needs only zlib).

Commits and tags are named in hex, as refs and headers have them; trees and their entries by raw bytes, as
the index has them. `refs/replace`, `info/grafts` and the object format are looked at when the handle is
opened: after a change there, `close` it.
"""

from __future__ import annotations

import errno
import os
import re
import zlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.child import run_git
from gitwatchd.git.delta_chains import ChainEndless, ChainUnknown, DeltaChains
from gitwatchd.git.files import raise_if_exhausted, read_whole
from gitwatchd.git.layout import read_format
from gitwatchd.git.refs import LARGEST_PACKED_REFS_BYTES
from gitwatchd.model.repository import Location

_GIT_TIMEOUT_S = 30.0
_OPEN_PACK_FILES = 32
"""libgit2 keeps every pack it read from open; with hundreds of repositories that would use up descriptors."""
_OBJECT_CACHE_BYTES = 4 << 20
"""libgit2's own cache may otherwise grow to 256 MB; ours are short reads that seldom repeat."""
_LARGEST_OBJECT_BYTES = 1 << 25
"""A tree of 800,000 files in one directory. Inflated, that takes 0.1 s, perhaps of the serving thread."""
_LONGEST_HEADER_BYTES = 32
"""Of a loose object: its type, its size in decimal, a NUL."""
_LONGEST_CHAIN = 128
"""About 10 us a commit: less than starting git."""
_PEELED_KEPT = 16384
_TREE_MODE: Final = b"40000"


class ObjectsUnreadable(EnvironmentFailure):
    """An object is missing or damaged, or the object store cannot be read."""


class TreeEntry(NamedTuple):
    """A file, symlink (0o120000) or gitlink (0o160000) of a tree. `oid` is raw.

    A named tuple: a frozen dataclass takes three times as long to make, and a tree can hold 100,000.
    """

    mode: int
    oid: bytes


_Item = tuple[bytes, bytes, bytes]
"""Mode in octal digits, name, raw oid: one entry of one tree."""


class Objects:
    """Reading one repository's objects. Every function but `close` may raise ObjectsUnreadable.

    `may_start_git` False: where only git can read them, that is what is raised (on a thread that must not wait).
    """

    __slots__ = (
        "_asks_git", "_chains", "_common_dir", "_database", "_directory", "_git_dir", "_is_open", "_oid_bytes",
        "may_start_git",
    )  # fmt: skip

    def __init__(self, location: Location, *, may_start_git: bool = True) -> None:
        self.may_start_git = may_start_git
        self._git_dir = location.git_dir
        self._common_dir = location.common_dir
        self._directory = location.common_dir + b"/objects"
        self._is_open = False
        self._asks_git = False
        self._oid_bytes = 20
        self._database: Any = None
        self._chains = DeltaChains(self._directory)

    def close(self) -> None:
        """Give memory maps and descriptors back. Idempotent; the handle stays usable."""
        self._database = None
        self._chains.close()
        self._is_open = False

    def summary(self, commit: bytes) -> bytes:
        """The subject as `git log --format=%s` prints it: the first paragraph on one line, in UTF-8."""
        return _subject(self._read(commit)[1])

    def tree_of(self, commit: bytes) -> bytes:
        """Raw oid of the commit's tree, which can be read: git's status ends where it cannot."""
        kind, data = self._read(commit)
        if kind != b"commit" or not data.startswith(b"tree "):
            raise ObjectsUnreadable(f"{commit.decode()} is no commit")
        tree = data[5 : data.index(b"\n")]
        if self._read(tree)[0] != b"tree":
            raise ObjectsUnreadable(f"{tree.decode()} is no tree")
        return bytes.fromhex(tree.decode())

    def peel(self, oid: bytes) -> bytes:
        """What a tag object finally names (hex); any other object names itself."""
        known = _peeled.get(oid)
        if known is not None:
            return known
        peeled = oid
        kind, data = self._read(oid)
        while kind == b"tag" and data.startswith(b"object "):
            peeled = data[7 : data.index(b"\n")]
            kind, data = self._read(peeled)
        if len(_peeled) >= _PEELED_KEPT:
            _peeled.clear()
        _peeled[oid] = peeled
        return peeled

    def ahead_behind(self, ours: bytes, theirs: bytes) -> tuple[int, int]:
        """Commits only in `ours`, commits only in `theirs`. Starts git where `find_distance` gives up."""
        found = self.find_distance(ours, theirs)
        if found is not None:
            return found
        counts = self._git("rev-list", "--count", "--left-right", ours + b"..." + theirs, "--").split()
        return int(counts[0]), int(counts[1])

    def find_distance(self, ours: bytes, theirs: bytes) -> tuple[int, int] | None:
        """The same without git, in at most `_LONGEST_CHAIN` commits each way; None when that does not tell.

        libgit2's own count walks without a bound and holds the GIL (250 ms for 20,000 commits). Where both
        sides are chains without merges down to the first common commit, their lengths are the answer.
        """
        if ours == theirs:
            return 0, 0
        self._open()
        if self._asks_git or os.path.exists(self._common_dir + b"/shallow"):
            return None
        chains: tuple[dict[bytes, int], dict[bytes, int]] = ({ours: 0}, {theirs: 0})
        ends: list[bytes | None] = [ours, theirs]
        for length in range(1, _LONGEST_CHAIN + 1):
            for side in (0, 1):
                end = ends[side]
                if end is None:
                    continue
                parents = self._parents(end)
                parent = ends[side] = parents[0] if len(parents) == 1 else None
                if parent is None:
                    continue
                chains[side][parent] = length
                if parent in chains[1 - side]:
                    return chains[0][parent], chains[1][parent]
            if ends == [None, None]:
                break
        return None

    def tree_entry(self, tree: bytes, path: bytes) -> TreeEntry | None:
        """The entry at `path` below the tree; None where there is nothing, or a directory."""
        self._open()
        if self._asks_git:
            return self._flatten_by_git(tree, path).get(path)
        directory, _, name = path.rpartition(b"/")
        holder = self._find_directory(tree, directory)
        item = None if holder is None else self._find_item(holder, name)
        return None if item is None or item[0] == _TREE_MODE else _entry(item)

    def flatten(self, tree: bytes, prefix: bytes = b"") -> dict[bytes, TreeEntry]:
        """Every entry that is no directory below `prefix` (`b"dir/sub"`; `b""`: all), by whole path."""
        self._open()
        if self._asks_git:
            return self._flatten_by_git(tree, prefix)
        top = self._find_directory(tree, prefix)
        entries: dict[bytes, TreeEntry] = {}
        if top is not None:
            self._collect(top, prefix + b"/" if prefix else b"", entries)
        return entries

    def diff_trees(self, old: bytes | None, new: bytes | None) -> dict[bytes, TreeEntry | None]:
        """Paths whose entry differs between two trees, each with its entry in `new` (None: gone there).

        None for a tree means the empty one. Equal subtrees are never read: the cost is that of what changed.
        """
        self._open()
        if old == new:
            return {}
        if self._asks_git:
            return self._diff_by_git(old, new)
        changed: dict[bytes, TreeEntry | None] = {}
        self._diff(old, new, b"", changed)
        return changed

    # Trees, read here.

    def _diff(
        self, old: bytes | None, new: bytes | None, prefix: bytes, changed: dict[bytes, TreeEntry | None]
    ) -> None:
        before = self._items(old) if old is not None else []
        after = self._items(new) if new is not None else []
        # Set differences in C: most entries of a changed directory are equal.
        gone = {item[1]: item for item in set(before).difference(after)}
        for item in set(after).difference(before):
            mode, name, oid = item
            path = prefix + name
            was = gone.pop(name, None)
            old_tree = was[2] if was is not None and was[0] == _TREE_MODE else None
            if mode == _TREE_MODE:
                if was is not None and old_tree is None:
                    changed[path] = None
                self._diff(old_tree, oid, path + b"/", changed)
                continue
            if old_tree is not None:
                self._diff(old_tree, None, path + b"/", changed)
            entry = _entry(item)
            if was is None or old_tree is not None or _entry(was) != entry:
                changed[path] = entry
        for mode, name, oid in gone.values():
            if mode == _TREE_MODE:
                self._diff(oid, None, prefix + name + b"/", changed)
            else:
                changed[prefix + name] = None

    def _collect(self, tree: bytes, prefix: bytes, entries: dict[bytes, TreeEntry]) -> None:
        for mode, name, oid in self._items(tree):
            if mode == _TREE_MODE:
                self._collect(oid, prefix + name + b"/", entries)
            else:
                entries[prefix + name] = TreeEntry(_mode(mode), oid)

    def _find_directory(self, tree: bytes, path: bytes) -> bytes | None:
        for name in path.split(b"/") if path else ():
            item = self._find_item(tree, name)
            if item is None or item[0] != _TREE_MODE:
                return None
            tree = item[2]
        return tree

    def _find_item(self, tree: bytes, name: bytes) -> _Item | None:
        return next((item for item in self._items(tree) if item[1] == name), None)

    def _items(self, tree: bytes) -> list[_Item]:
        kind, data = self._read(tree.hex().encode())
        if kind != b"tree":
            raise ObjectsUnreadable(f"{tree.hex()} is no tree")
        return _tree_pattern(self._oid_bytes)(data)

    # Objects.

    def _parents(self, commit: bytes) -> list[bytes]:
        lines = self._read(commit)[1].partition(b"\nauthor ")[0].split(b"\n")
        return [line[7:] for line in lines if line.startswith(b"parent ")]

    def _open(self) -> None:
        if self._is_open:
            return
        layout = read_format(self._common_dir)
        self._oid_bytes = layout.oid_bytes
        self._asks_git = (
            layout.object_format != "sha1"
            or _has_entries(self._common_dir + b"/refs/replace")
            or os.path.exists(self._common_dir + b"/info/grafts")
            or _packs_replacements(self._common_dir + b"/packed-refs")
        )
        self._is_open = True

    def _read(self, oid: bytes) -> tuple[bytes, bytes]:
        """(type, content) of the object with this hex name."""
        self._open()
        if self._asks_git:
            return self._read_by_git(oid)
        name = os.fsencode(oid)
        try:
            return _inflate(_read_loose(self._directory + b"/" + name[:2] + b"/" + name[2:]), oid)
        except (OSError, zlib.error):
            return self._read_packed(oid)

    def _read_by_git(self, oid: bytes) -> tuple[bytes, bytes]:
        header, _, rest = self._git("cat-file", "--batch", stdin=oid + b"\n").partition(b"\n")
        words = header.split()
        if len(words) != 3:
            raise ObjectsUnreadable(f"object {oid.decode()} is missing")
        return words[1], rest[: int(words[2])]

    def _read_packed(self, oid: bytes) -> tuple[bytes, bytes]:
        try:
            raw = bytes.fromhex(oid.decode())
            whole = self._chains.read_whole(raw, _LARGEST_OBJECT_BYTES)
            if whole is not None:
                return whole
            self._chains.check(raw)
        except ChainUnknown:
            return self._read_by_git(oid)
        except (ChainEndless, ValueError) as error:
            raise ObjectsUnreadable(f"object {oid.decode()} cannot be read: {error}") from error
        import pygit2

        try:
            size = self._odb().read_header(oid.decode())[1]
            if size > _LARGEST_OBJECT_BYTES:
                raise _too_big(oid, size)
            kind, content = self._odb().read(oid.decode())
        except (KeyError, ValueError, OSError, pygit2.GitError) as error:
            raise ObjectsUnreadable(f"object {oid.decode()} cannot be read: {error}") from error
        return _KINDS[int(kind)], bytes(content)

    def _odb(self) -> Any:
        if self._database is None:
            self._database = _open_database(os.fsdecode(self._directory))
        return self._database

    # Asked of git.

    def _git(self, *arguments: str | bytes, stdin: bytes = b"") -> bytes:
        if not self.may_start_git:
            raise ObjectsUnreadable("only git can read these objects")
        answer = run_git(arguments, cwd=self._git_dir, timeout_s=_GIT_TIMEOUT_S, stdin=stdin)
        if answer.returncode:
            lines = answer.stderr.decode(errors="replace").splitlines() or ["git failed"]
            raise ObjectsUnreadable(lines[0])
        return answer.stdout

    def _flatten_by_git(self, tree: bytes, prefix: bytes) -> dict[bytes, TreeEntry]:
        where = ("--", b":(top,literal)" + prefix) if prefix else ()
        listing = self._git("ls-tree", "-r", "-z", "--full-tree", tree.hex(), *where)
        entries = {}
        for line in listing.split(b"\0")[:-1]:
            about, _, path = line.partition(b"\t")
            mode, _, oid = about.split()
            entries[path] = TreeEntry(int(mode, 8), bytes.fromhex(oid.decode()))
        return entries

    def _diff_by_git(self, old: bytes | None, new: bytes | None) -> dict[bytes, TreeEntry | None]:
        if old is None or new is None:
            only = self.flatten(old or new or b"")
            return {path: None if new is None else entry for path, entry in only.items()}
        raw = self._git("diff-tree", "-r", "-z", "--no-renames", "--no-abbrev", old.hex(), new.hex())
        fields = iter(raw.split(b"\0")[:-1])
        changed: dict[bytes, TreeEntry | None] = {}
        for about in fields:
            path = next(fields)
            _, mode, _, oid, status = about.split()
            if status == b"D":
                changed.setdefault(path, None)
            else:
                changed[path] = TreeEntry(int(mode, 8), bytes.fromhex(oid.decode()))
        return changed


_KINDS = {1: b"commit", 2: b"tree", 3: b"blob", 4: b"tag"}

_peeled: dict[bytes, bytes] = {}
"""Tag object to what it names: true for ever and in every repository, an oid names its content."""


def _open_database(directory: str) -> Any:
    _limit_libgit2()
    import pygit2

    return pygit2.Odb(directory)


@lru_cache(maxsize=1)
def _limit_libgit2() -> None:
    import pygit2

    pygit2.settings.mwindow_file_limit = _OPEN_PACK_FILES
    pygit2.settings.cache_max_size(_OBJECT_CACHE_BYTES)


@lru_cache(maxsize=2)
def _tree_pattern(oid_bytes: int) -> Callable[[bytes], list[_Item]]:
    # One pass in C: a loop over the entries in Python costs three times as much.
    return re.compile(rb"([0-7]+) ([^\0]+)\0(.{%d})" % oid_bytes, re.DOTALL).findall


def _entry(item: _Item) -> TreeEntry:
    return TreeEntry(_mode(item[0]), item[2])


@lru_cache(maxsize=64)
def _mode(digits: bytes) -> int:
    mode = int(digits, 8)
    if mode & 0o170000 == 0o100000:
        return 0o100755 if mode & 0o100 else 0o100644  # old trees have 0o100664; git reads it so
    return mode


def _has_entries(directory: bytes) -> bool:
    try:
        return bool(os.listdir(directory))
    except OSError as error:
        raise_if_exhausted(error)
        return False


def _read_loose(path: bytes) -> bytes:
    """The directories above were checked with the location; whether it is a link itself, the opening tells for nothing.

    Raises OSError, LeadsAway.
    """
    try:
        return read_whole(path, _LARGEST_OBJECT_BYTES, os.O_NOFOLLOW)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
    reach.check(path)
    return read_whole(path, _LARGEST_OBJECT_BYTES)


def _inflate(raw: bytes, oid: bytes) -> tuple[bytes, bytes]:
    """Type and content of a loose object. What it says of its size is believed, and held to. Raises zlib.error."""
    stream = zlib.decompressobj()
    header, nul, content = stream.decompress(raw, _LONGEST_HEADER_BYTES).partition(b"\0")
    kind, _, size = header.partition(b" ")
    if not nul or not size.isdigit():
        raise zlib.error("not a loose object")
    if int(size) > _LARGEST_OBJECT_BYTES:
        raise _too_big(oid, int(size))
    left = int(size) - len(content)
    if left > 0:
        content += stream.decompress(stream.unconsumed_tail, left)
    if len(content) != int(size):
        raise zlib.error("not of its size")
    return kind, content


def _too_big(oid: bytes, size: int) -> ObjectsUnreadable:
    return ObjectsUnreadable(f"object {oid.decode()} has {size} bytes: too big to be read here")


def _packs_replacements(packed_refs: bytes) -> bool:
    try:
        return b" refs/replace/" in read_whole(packed_refs, LARGEST_PACKED_REFS_BYTES)
    except OSError as error:
        raise_if_exhausted(error)
        return error.errno == errno.EFBIG  # then it is git that reads it


def _subject(commit: bytes) -> bytes:
    header, _, message = commit.partition(b"\n\n")
    lines: list[bytes] = []
    for line in message.lstrip(b"\n").split(b"\n"):
        line = line.rstrip()
        if not line:
            if lines:
                break
            continue
        lines.append(line)
    subject = b" ".join(lines)
    encoding = re.search(rb"\nencoding ([^\n]+)", header)
    if encoding is None:
        return subject
    try:
        return subject.decode(encoding[1].decode("ascii")).encode()
    except (LookupError, ValueError):
        return subject
