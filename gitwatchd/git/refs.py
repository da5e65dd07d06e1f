"""Reading refs: HEAD, loose and packed refs, symbolic refs, tags at a commit, short names.

Owns nothing; a `Refs` is a view of one moment, made for one analysis and thrown away. Runs: anywhere. Starts
no git child where refs are files; with the reftable format git lists them once, and the rest is the same.
Invariant: a loose ref hides a packed one of the same name, also when that is what makes a tag match.
`packed-refs` is searched as bytes, never split into lines: with 100,000 tags it has 10 MB.
"""

from __future__ import annotations

import errno
import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.child import run_git
from gitwatchd.git.files import raise_if_exhausted, read_whole
from gitwatchd.git.layout import read_format
from gitwatchd.model.repository import Location

_GIT_TIMEOUT_S = 30.0
_DEEPEST_SYMREF = 5
"""git's own limit."""
_LARGEST_REF_BYTES = 4096
LARGEST_PACKED_REFS_BYTES = 1 << 26
"""A million refs. Searched on the serving thread, too, and again after each change of a ref."""
_MOST_UNPEELED_TAGS = 10_000
"""Each of them has to be read to know what it names: git has not written that down since 2013."""
_LARGEST_STASH_LOG_BYTES = 1 << 24
"""Some 100,000 stashes."""
_HEX = frozenset(b"0123456789abcdef")
_OF_ONE_WORKTREE = (b"refs/bisect/", b"refs/worktree/", b"refs/rewritten/")
_TAGS = b"refs/tags/"
_PLAIN_REF = re.compile(rb"refs(?:/(?!\.)(?:(?!\.\.|@\{)[^\x00-\x20~^:?*\[\\\x7f/])+(?<!\.)(?<!\.lock))+")
_OID = rb"[0-9a-f]{40}(?:[0-9a-f]{24})?"
_LOG_ENTRY = re.compile(rb"^" + _OID + b" " + _OID + rb" [^>\n]*> [1-9][0-9]* [+-][0-9]{4}[^\n]*\n", re.MULTILINE)
_PACKED_REFS = re.compile(
    rb"(?:# pack-refs with:[^\n]*\n)?(?:" + _OID + rb" refs/[^\x00-\x20~^:?*\[\\\x7f]+\n(?:\^" + _OID + rb"\n)?)*"
)
_CHECKED_WHOLE_BYTES = 2 << 20
"""A larger `packed-refs` (20,000 refs: 20 ms) is looked at in front and at its end only."""
_YOUNG_NS = 50_000_000
"""What was changed so recently may change again within the same tick of the clock."""
_MOST_VERSIONS = 4096
_SHORT_FORMS = (
    b"%s",
    b"refs/%s",
    b"refs/tags/%s",
    b"refs/heads/%s",
    b"refs/remotes/%s",
    b"refs/remotes/%s/HEAD",
)
"""What git tries, in this order, when it is given a short name."""


@dataclass(frozen=True, slots=True)
class Head:
    ref: bytes | None
    """Full name of the branch (`refs/heads/main`); None when detached."""
    oid: bytes | None
    """Hex; None when unborn."""

    @property
    def branch(self) -> bytes | None:
        """As the status header shows it: short, or the full name of a ref that is no branch."""
        return None if self.ref is None else self.ref.removeprefix(b"refs/heads/")


class Refs:
    """The refs of one worktree as they are now (`read_refs` makes it)."""

    __slots__ = ("_common_dir", "_git_dir", "_head", "_loose", "_packed")

    def __init__(
        self,
        git_dir: bytes,
        common_dir: bytes,
        *,
        listed: bytes | None = None,
        head: Head | None = None,
    ) -> None:
        self._git_dir = git_dir
        self._common_dir = common_dir
        self._loose = listed is None
        self._packed = listed
        self._head = head

    def head(self) -> Head:
        if self._head is None:
            # As a symlink (how very old repositories have it) HEAD must not be read through.
            path = self._git_dir + b"/HEAD"
            value = _symlinked_ref(path)
            if not value and os.path.islink(path):
                raise EnvironmentFailure("HEAD is a symbolic link, and not to a ref", "git fsck")
            value = value or self._read_loose(b"HEAD")
            target = _target(value)
            if self._loose:
                _refuse_odd_packed_refs(self._common_dir)
            if target is not None and not is_plain_ref(target):
                raise EnvironmentFailure("HEAD names what is no ref", "git fsck")
            self._head = Head(target, self._resolve_branch(target)) if target else Head(None, _oid(value))
        return self._head

    def _resolve_branch(self, name: bytes) -> bytes | None:
        """The branch that HEAD names. Raises EnvironmentFailure where only git knows what it makes of it."""
        value = self._read_loose(name) if self._loose else b""
        path = self._common_dir + b"/" + name
        if self._loose and (value or os.path.lexists(path)) and not os.path.isdir(path) and _oid(value) is None:
            # Another symbolic ref, or what a power cut left: git shows the last name, or none at all.
            raise EnvironmentFailure(f"{os.fsdecode(name)} is not a plain ref", "git fsck")
        return self.resolve(name)

    def resolve(self, name: bytes) -> bytes | None:
        """Hex oid of a full ref name, symbolic refs followed; None when there is no such ref."""
        for _ in range(_DEEPEST_SYMREF):
            value = self._read_loose(name) if self._loose else b""
            target = _target(value)
            if target is None:
                return _oid(value) or self._find_packed(name)
            name = target
        return None

    def is_symbolic(self, name: bytes) -> bool:
        """Whether that ref names another; as far as files tell (git's own listing has resolved them)."""
        return self._loose and _target(self._read_loose(name)) is not None

    def tag_at(self, commit: bytes, peel: Callable[[bytes], bytes]) -> bytes | None:
        """Name of the tag that points at this commit, annotated ones peeled; of several the last by bytes.

        `peel` gives the hex oid of what a tag object names. It is asked for loose tags, and for packed ones
        where `packed-refs` was written without peeled values; an EnvironmentFailure from it skips that tag.
        """
        best = next(self._packed_tags_at(commit, peel), None)
        if not self._loose:
            return best
        for name in sorted(_walk_loose(self._common_dir + b"/refs/tags", b""), reverse=True):
            if best is not None and name <= best:
                break
            oid = self.resolve(_TAGS + name)
            if oid is not None and (oid == commit or _peeled(peel, oid) == commit):
                return name
        return best

    def shorten(self, name: bytes) -> bytes:
        """The shortest name that git does not take for another ref, as the status header shows upstreams."""
        for i in range(len(_SHORT_FORMS) - 1, 0, -1):
            before, _, after = _SHORT_FORMS[i].partition(b"%s")
            if not (name.startswith(before) and name.endswith(after) and len(name) > len(before) + len(after)):
                continue
            short = name[len(before) : len(name) - len(after)]
            if not any(self._exists(form % short) for form in _SHORT_FORMS[:i]):
                return short
        return name

    def _exists(self, name: bytes) -> bool:
        return self.resolve(name) is not None

    def _read_loose(self, name: bytes) -> bytes:
        base = self._common_dir if name.startswith(b"refs/") else self._git_dir
        if name.startswith(_OF_ONE_WORKTREE):
            base = self._git_dir
        if b"\0" in name:
            return b""  # no file has such a name
        path = base + b"/" + name
        reach.check(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            raise_if_exhausted(error)
            if error.errno in (errno.EACCES, errno.EIO):
                raise  # it may be there: git does not take it for absent either
            return _symlinked_ref(path)
        try:
            return os.read(fd, _LARGEST_REF_BYTES)
        except OSError:
            return b""
        finally:
            os.close(fd)

    def packed(self) -> bytes:
        """All of `packed-refs` (or of git's listing in that form). Raises EnvironmentFailure when it is too big."""
        if self._packed is None:
            try:
                self._packed = read_whole(self._common_dir + b"/packed-refs", LARGEST_PACKED_REFS_BYTES)
            except OSError as error:
                raise_if_exhausted(error)
                if error.errno == errno.EFBIG:
                    raise EnvironmentFailure("packed-refs is too big to be read here", "git pack-refs --all") from error
                self._packed = b""
        return self._packed

    def _find_packed(self, name: bytes) -> bytes | None:
        packed = self.packed()
        at = packed.find(b" " + name + b"\n")
        if at < 0:
            return None
        return _oid(packed[packed.rfind(b"\n", 0, at) + 1 : at])

    def _packed_tags_at(self, commit: bytes, peel: Callable[[bytes], bytes]) -> Iterator[bytes]:
        """Matching packed tags that no loose ref hides, last name first."""
        packed = self.packed()
        names = set()
        for marker in (b"\n^" + commit + b"\n", b"\n" + commit + b" " + _TAGS):
            at = packed.find(marker)
            while at >= 0:
                # A peeled value belongs to the line before it.
                start = packed.rfind(b"\n", 0, at) + 1 if marker[1:2] == b"^" else at + 1
                name = packed[start : packed.find(b"\n", start)].partition(b" ")[2]
                if name.startswith(_TAGS):
                    names.add(name)
                at = packed.find(marker, at + 1)
        header = packed[: packed.find(b"\n") + 1]
        if packed and b"peeled" not in header:
            names.update(self._unpeeled_tags_at(commit, peel))
        for name in sorted(names, reverse=True):
            if not (self._loose and self._read_loose(name)):
                yield name[len(_TAGS) :]

    def _unpeeled_tags_at(self, commit: bytes, peel: Callable[[bytes], bytes]) -> Iterator[bytes]:
        for number, found in enumerate(_PACKED_TAG.finditer(self.packed())):
            if number >= _MOST_UNPEELED_TAGS:
                raise EnvironmentFailure("packed-refs has too many tags that are not peeled", "git pack-refs --all")
            oid, name = found.groups()
            if oid == commit or _peeled(peel, oid) == commit:
                yield name


def read_refs(location: Location) -> Refs:
    """The refs as `location`'s worktree sees them. Raises EnvironmentFailure where git has to be asked."""
    if read_format(location.common_dir).ref_storage == "files":
        return Refs(location.git_dir, location.common_dir)
    return read_refs_by_git(location)


def read_refs_by_git(location: Location) -> Refs:
    """The same through two git children: for formats that are not files. Raises EnvironmentFailure."""
    listed = run_git(["show-ref", "--head", "-d"], cwd=location.git_dir, timeout_s=_GIT_TIMEOUT_S)
    if listed.returncode not in (0, 1):  # 1: there are none
        raise EnvironmentFailure(f"git show-ref: {listed.stderr.decode(errors='replace').strip()}")
    symbolic = run_git(["symbolic-ref", "-q", "HEAD"], cwd=location.git_dir, timeout_s=_GIT_TIMEOUT_S)
    oid: bytes | None = None
    lines = [b"# pack-refs with: peeled fully-peeled"]
    for line in listed.stdout.splitlines():
        value, _, name = line.partition(b" ")
        if name == b"HEAD":
            oid = value
        elif name.endswith(b"^{}"):
            lines.append(b"^" + value)
        else:
            lines.append(line)
    head = Head(symbolic.stdout.rstrip(b"\n") or None, oid)
    packed = b"\n".join(lines) + b"\n"
    return Refs(location.git_dir, location.common_dir, listed=packed, head=head)


def count_stashes(location: Location) -> int:
    """Entries of the stash's reflog, which is where git keeps them; 0 when there is no stash.

    Raises EnvironmentFailure for a log of which git may count less than its lines.
    """
    if read_format(location.common_dir).ref_storage != "files":
        arguments = ["rev-list", "--walk-reflogs", "--count", "refs/stash", "--"]
        answer = run_git(arguments, cwd=location.git_dir, timeout_s=_GIT_TIMEOUT_S)
        return int(answer.stdout) if answer.returncode == 0 else 0
    reach.check(location.common_dir + b"/logs/refs/stash")
    try:
        log = read_whole(location.common_dir + b"/logs/refs/stash", _LARGEST_STASH_LOG_BYTES)
    except OSError as error:
        raise_if_exhausted(error)
        if error.errno == errno.EFBIG:
            raise EnvironmentFailure("the stash's log is too big to be read here", "git stash list") from error
        return 0
    entries = len(_LOG_ENTRY.findall(log))
    if entries != log.count(b"\n"):
        raise EnvironmentFailure("the stash's log is not as git writes it", "git stash list")
    return entries


def is_plain_ref(name: bytes) -> bool:
    """Whether every git takes it for the name of a ref."""
    return _PLAIN_REF.fullmatch(name) is not None


def _refuse_odd_packed_refs(common_dir: bytes) -> None:
    """git dies at a line that it does not understand, when it comes by it. Raises EnvironmentFailure for any such."""
    path = common_dir + b"/packed-refs"
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return
    except OSError as error:
        raise EnvironmentFailure(f"packed-refs: {error.strerror}", "git fsck") from None
    version = (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    if version in _plain_versions:
        return
    if not _is_plain_file(path):
        raise EnvironmentFailure("packed-refs is not as git writes it", "git fsck")
    if time.time_ns() - found.st_ctime_ns > _YOUNG_NS:
        if len(_plain_versions) >= _MOST_VERSIONS:
            _plain_versions.clear()
        _plain_versions.add(version)


_plain_versions: set[tuple[bytes, int, int, int, int, int]] = set()
"""Those of `packed-refs` that were found in order: path, device, inode, size, times. Any thread."""


def _is_plain_file(path: bytes) -> bool:
    try:
        raw = read_whole(path, LARGEST_PACKED_REFS_BYTES)
    except OSError as error:
        raise_if_exhausted(error)
        return False
    if len(raw) <= _CHECKED_WHOLE_BYTES:
        return _PACKED_REFS.fullmatch(raw) is not None
    front = raw[: raw.rfind(b"\n", 0, _CHECKED_WHOLE_BYTES) + 1]
    return _PACKED_REFS.fullmatch(front) is not None and raw.endswith(b"\n") and b"\r" not in raw


def _walk_loose(directory: bytes, prefix: bytes) -> Iterator[bytes]:
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if entry.is_symlink():
                    reach.check(entry.path)
                if entry.is_dir():
                    yield from _walk_loose(entry.path, prefix + entry.name + b"/")
                elif not entry.name.endswith(b".lock"):
                    yield prefix + entry.name
    except OSError as error:
        raise_if_exhausted(error)
        return


_PACKED_TAG = re.compile(rb"^([0-9a-f]+) (refs/tags/[^\n]*)$", re.MULTILINE)


def _peeled(peel: Callable[[bytes], bytes], oid: bytes) -> bytes | None:
    try:
        return peel(oid)
    except reach.LeadsAway:
        raise
    except EnvironmentFailure:
        return None


def _target(value: bytes) -> bytes | None:
    return value[4:].strip() or None if value.startswith(b"ref:") else None


def _oid(value: bytes) -> bytes | None:
    """The object name that a loose ref begins with; git takes capital letters too, and ignores what follows a blank."""
    if value[:1].isspace():
        return None
    oid = next(iter(value.split(None, 1)), b"").lower()
    return oid if len(oid) in (40, 64) and _HEX.issuperset(oid) else None


def _symlinked_ref(path: bytes) -> bytes:
    try:
        target = os.readlink(path)
    except OSError:
        return b""
    return b"ref: " + target if target.startswith(b"refs/") else b""
