"""Where a repository's parts lie on the disk: worktree, git dir, common dir; found without starting git.

Owns: nothing. Runs: any thread or process; every function reads a handful of small files, keeps nothing open.
Invariant: a `Location` is returned only for what git itself accepts as a repository (its `is_git_directory`:
a valid HEAD, `objects`, `refs`), so a clone or an init that has not got that far is None, not an error.
Never follows configuration includes: git does not either for the few variables that decide the layout.
Every path that a repository names is checked before it is followed (reach.py): whoever gets a `Location` may look at
its git dir, common dir and objects. LeadsAway is raised where he may not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from gitwatchd.errors import NotARepository, reason_of
from gitwatchd.git import reach
from gitwatchd.git.config_file import MAX_CONFIG_BYTES, ConfigDamaged, find_boolean, parse_config
from gitwatchd.git.files import raise_if_exhausted, read_if_there, read_regular
from gitwatchd.model.repository import Location, RepoPath

_LARGEST_POINTER_FILE_BYTES = 1 << 16
"""HEAD, `.git` and `commondir` files hold one path; anything longer is not one of them."""
_LONGEST_ALTERNATES_BYTES = 1 << 16
_DEEPEST_ALTERNATES = 5
"""As git and libgit2 have it."""

_LINKS_BELOW = (
    b"info", b"objects", b"objects/info", b"objects/pack", b"refs", b"refs/heads", b"logs", b"logs/refs",
    b"rebase-merge", b"rebase-apply", b"sequencer",
)  # fmt: skip
"""Directories of a git dir in which links are looked for, besides itself: those in which git and we read files by their
names, with nobody looking at each beforehand."""

_HEX = frozenset(b"0123456789abcdef")


@dataclass(frozen=True, slots=True)
class RepositoryFormat:
    """The variables of a repository's own config that decide how it must be read (no includes, as in git)."""

    bare: bool | None = None
    worktree: bytes | None = None
    worktree_config: bool = False
    object_format: str = "sha1"
    ref_storage: str = "files"

    @property
    def oid_bytes(self) -> int:
        return 32 if self.object_format == "sha256" else 20


def read_location(top: bytes) -> Location | None:
    """The repository whose `.git` entry is in directory `top`, or which `top` is itself (bare).

    None while it is half made and when there is none. `top` is absolute; symlinks in it are resolved. With
    core.worktree the location's path is that worktree, wherever it lies; a `.git` directory with core.bare is
    a bare repository whose path is the `.git` directory, as git sees it. Raises LeadsAway.
    """
    there = reach.follow_if_there(top)
    if there is None:
        return None
    top = there
    dot_git = top + b"/.git" if top != b"/" else b"/.git"
    try:
        mode = os.lstat(dot_git).st_mode
    except OSError:
        return _read_own_git_dir(top)
    git_dir: bytes | None = dot_git
    if stat.S_ISREG(mode):
        git_dir = _read_git_file(dot_git, top)
    elif stat.S_ISLNK(mode):
        end = reach.follow(dot_git)
        git_dir = _read_git_file(end, top) if os.path.isfile(end) else end
    if git_dir is None:
        return None
    common_dir = _common_dir_of(git_dir)
    if common_dir is None:
        return None
    return _place(top, git_dir, common_dir)


def find_worktree(path: bytes) -> Location:
    """The repository that `path` lies in, searched upwards as git does (not across a file system's boundary).

    Raises NotARepository: no such path, none found, a `.git` file that leads nowhere, or a place inside a
    `.git` directory, where git has no worktree to speak of.
    """
    shown = os.fsdecode(path)
    try:
        directory = os.path.realpath(path, strict=True)
        status = os.stat(directory)
    except OSError as error:
        raise NotARepository(f"{shown}: {reason_of(error)}") from error
    if not stat.S_ISDIR(status.st_mode):
        directory = os.path.dirname(directory)
        status = os.stat(directory)
    device = status.st_dev
    while True:
        location = read_location(directory)
        if location is not None:
            return location
        dot_git = os.path.join(directory, b".git")
        if os.path.isfile(dot_git):
            raise NotARepository(f"{os.fsdecode(dot_git)}: does not lead to a repository", "remove or repair that file")
        if is_git_dir(directory):
            raise NotARepository(f"{shown}: inside a git directory, not in a work tree")
        parent = os.path.dirname(directory)
        if parent == directory:
            raise NotARepository(f"{shown}: not a git repository (or any of the parent directories)")
        try:
            if os.stat(parent).st_dev != device:
                raise NotARepository(f"{shown}: not a git repository (stopped at {os.fsdecode(parent)})")
        except OSError as error:
            raise NotARepository(f"{shown}: {reason_of(error)}") from error
        directory = parent


def find_start(location: Location) -> bytes | None:
    """Where git finds this repository from: not its worktree, when core.worktree puts that elsewhere.

    None, too, when the worktree's own `.git` leads nowhere: git goes no further there, whatever core.worktree says.
    """
    there = read_location(location.path)
    if there == location:
        return location.path
    if there is None and os.path.lexists(location.path + b"/.git"):
        return None
    for start in (location.git_dir.removesuffix(b"/.git"), location.git_dir):
        if read_location(start) == location:
            return start
    return None


def find_worktree_of(git_dir: bytes) -> bytes | None:
    """Where the worktree of a git dir should be, by what the git dir says; None for a bare one, or when it is none."""
    common_dir = _common_dir_of(git_dir)
    if common_dir is None:
        return None
    linked = worktree_named_by(git_dir)
    if linked is not None:
        return linked
    location = _place(os.path.dirname(git_dir) if git_dir.endswith(b"/.git") else None, git_dir, common_dir)
    return None if location.bare else location.path


def worktree_named_by(git_dir: bytes) -> bytes | None:
    """Where the linked worktree of this git dir should be; None when it is no linked one's. Looks at nothing there."""
    pointer = _read_pointer(git_dir + b"/gitdir")
    return None if pointer is None else os.path.dirname(os.path.join(git_dir, pointer))


def check_way(location: Location) -> None:
    """To be asked by whoever has a `Location` of earlier, before he looks at it again: a directory above its worktree
    or its git dir may be a link by now, of which no event tells. Raises LeadsAway."""
    if reach.is_kept_local():
        for part in dict.fromkeys((location.path, location.git_dir, location.common_dir)):
            reach.follow(part)  # `check` would trust a look of a moment ago


def check_parts(location: Location) -> None:
    """The same of what lies in its git dir, too."""
    if not reach.is_kept_local():
        return
    check_way(location)
    reach.check_links_in(location.git_dir, *_LINKS_BELOW)
    if location.common_dir != location.git_dir:
        reach.check_links_in(location.common_dir, *_LINKS_BELOW)
    object_directories(location.common_dir + b"/objects")


def check_objects(location: Location) -> None:
    """To be asked before git is started there, whose parts were checked: an object's file may be a link, too. We
    ourselves meet that when we open it. Takes 2 ms for 256 directories of objects. Raises LeadsAway."""
    if not reach.is_kept_local():
        return
    for directory in object_directories(location.common_dir + b"/objects"):
        try:
            names = os.listdir(directory)
        except OSError as error:
            raise_if_exhausted(error)
            continue
        reach.check_links_in(directory, *(name for name in names if len(name) == 2))


def is_bare_layout(names: Collection[bytes]) -> bool:
    """Whether a directory with these entries may be a git dir itself (then ask `read_location`)."""
    return b"HEAD" in names and b"objects" in names and b"refs" in names


def is_git_dir(path: bytes) -> bool:
    """Whether git would accept this directory as a git dir."""
    return _common_dir_of(path) is not None


def linked_worktrees(common_dir: bytes) -> list[bytes]:
    """Git dirs of the linked worktrees that `git worktree list` shows, sorted; the main one is not one. Raises
    LeadsAway, be it for one of many."""
    git_dirs, away = find_linked_worktrees(common_dir)
    if away:
        raise away[0]
    return git_dirs


def find_linked_worktrees(common_dir: bytes) -> tuple[list[bytes], list[reach.LeadsAway]]:
    """The same, and what of them cannot be looked at: one hides none of the others."""
    try:
        reach.check_if_link(common_dir + b"/worktrees")
    except reach.LeadsAway as failure:
        return [], [failure]
    try:
        names = sorted(os.listdir(common_dir + b"/worktrees"))
    except OSError as error:
        raise_if_exhausted(error)
        return [], []
    git_dirs: list[bytes] = []
    away: list[reach.LeadsAway] = []
    for git_dir in (common_dir + b"/worktrees/" + name for name in names):
        try:
            reach.check_if_link(git_dir)
            for name in (b"gitdir", b"HEAD", b"FETCH_HEAD"):
                reach.check_if_link(git_dir + b"/" + name)
        except reach.LeadsAway as failure:
            away.append(failure)
            continue
        # git lists an entry, prunable or not, when its back pointer can be read.
        if os.path.isfile(git_dir + b"/gitdir"):
            git_dirs.append(git_dir)
    return git_dirs, away


def read_format(common_dir: bytes) -> RepositoryFormat:
    """The layout variables of `common_dir`/config; defaults when there is no such file."""
    return _read_format_file(common_dir + b"/config")


def _read_own_git_dir(top: bytes) -> Location | None:
    common_dir = _common_dir_of(top)
    if common_dir is None:
        return None
    location = _place(None, top, common_dir)
    bare = read_format(common_dir).bare
    # Explicitly not bare: the git dir of a worktree that lies elsewhere (`--separate-git-dir`).
    inside = top != common_dir or bare is False or (os.path.basename(top) == b".git" and not bare)
    # The inside of an ordinary repository: git has neither a worktree nor a bare repository to show here.
    return None if location.bare and inside else location


def _place(top: bytes | None, git_dir: bytes, common_dir: bytes) -> Location:
    """`top` is where `.git` was found, None when the search began in the git dir itself."""
    if git_dir != common_dir:
        layout = RepositoryFormat()
        if read_format(common_dir).worktree_config:
            layout = _read_format_file(git_dir + b"/config.worktree")
    else:
        layout = read_format(common_dir)
        if layout.worktree_config:
            own = _read_format_file(git_dir + b"/config.worktree")
            layout = RepositoryFormat(
                bare=layout.bare if own.bare is None else own.bare,
                worktree=layout.worktree if own.worktree is None else own.worktree,
            )
    if layout.worktree is not None and layout.bare is not True:
        path = _resolve(git_dir, layout.worktree)
        return Location(RepoPath(path), git_dir, common_dir, bare=False)
    if layout.bare or top is None:
        return Location(RepoPath(git_dir), git_dir, common_dir, bare=True)
    return Location(RepoPath(top), git_dir, common_dir, bare=False)


def _common_dir_of(git_dir: bytes) -> bytes | None:
    """git's `is_git_directory`; the common dir when it holds, else None. Raises LeadsAway."""
    if not _valid_head(git_dir + b"/HEAD"):
        return None
    reach.check_links_in(git_dir, *_LINKS_BELOW)
    pointer = _read_pointer(git_dir + b"/commondir")
    common = git_dir if pointer is None else _resolve(git_dir, pointer)
    if common != git_dir:
        reach.check_links_in(common, *_LINKS_BELOW)
    if not os.access(common + b"/objects", os.X_OK) or not os.access(common + b"/refs", os.X_OK):
        return None
    if reach.is_kept_local():
        object_directories(common + b"/objects")
    return common


def object_directories(directory: bytes) -> list[bytes]:
    """A directory of objects, and those that it borrows from. Raises LeadsAway."""
    found = {directory: 0}
    for each in (waiting := [directory]):
        if found[each] >= _DEEPEST_ALTERNATES:
            continue
        try:
            listed = read_regular(each + b"/info/alternates", _LONGEST_ALTERNATES_BYTES)
        except OSError as error:
            raise_if_exhausted(error)
            continue
        for line in listed.partition(b"\0")[0].splitlines():  # a NUL ends it for git
            other = os.path.join(each, line)
            if line and not line.startswith(b"#") and other not in found:
                reach.check(other)
                reach.check_links_in(other, b"info", b"pack")
                found[other] = found[each] + 1
                waiting.append(other)
    return list(found)


def _valid_head(path: bytes) -> bool:
    try:
        link = os.readlink(path)
    except OSError:
        pass
    else:
        return link.startswith(b"refs/")
    return _valid_head_text(read_if_there(path, _LARGEST_POINTER_FILE_BYTES))


def _valid_head_text(text: bytes) -> bool:
    if text.startswith(b"ref:"):
        return text[4:].lstrip().startswith(b"refs/")
    return len(text) >= 40 and _HEX.issuperset(text[:40].lower())


def _read_git_file(path: bytes, directory: bytes) -> bytes | None:
    """Where a `.git` file leads, resolved; None when it is not one."""
    text = read_if_there(path, _LARGEST_POINTER_FILE_BYTES)
    if not text.startswith(b"gitdir: "):
        return None
    target = text[8:].partition(b"\0")[0].rstrip(b"\r\n")  # a NUL ends it for git
    return _resolve(directory, target) if target else None


def _resolve(directory: bytes, target: bytes) -> bytes:
    """Where `target`, seen from `directory`, leads. Raises LeadsAway."""
    return reach.follow(os.path.join(directory, target))


def _read_pointer(path: bytes) -> bytes | None:
    text = read_if_there(path, _LARGEST_POINTER_FILE_BYTES).partition(b"\0")[0].rstrip(b"\r\n")
    return text or None


def _read_format_file(path: bytes) -> RepositoryFormat:
    raw = read_if_there(path, MAX_CONFIG_BYTES + 1)
    if len(raw) > MAX_CONFIG_BYTES:
        return RepositoryFormat()
    # One look at a repository asks for its format half a dozen times.
    return _parse_format_again(raw, path) if len(raw) <= _LARGEST_KEPT_BYTES else _parse_format(raw, path)


_LARGEST_KEPT_BYTES = 4096


@lru_cache(maxsize=16)
def _parse_format_again(raw: bytes, path: bytes) -> RepositoryFormat:
    return _parse_format(raw, path)


def _parse_format(raw: bytes, path: bytes) -> RepositoryFormat:
    try:
        entries = parse_config(raw, path).entries
    except ConfigDamaged:
        # git will refuse this repository and say why; that it is one must not depend on it.
        return RepositoryFormat()
    last = dict(entries)
    return RepositoryFormat(
        bare=find_boolean(last[b"core.bare"]) if b"core.bare" in last else None,
        worktree=last.get(b"core.worktree"),
        worktree_config=find_boolean(last.get(b"extensions.worktreeconfig", b"false")) or False,
        object_format=(last.get(b"extensions.objectformat") or b"sha1").decode("ascii", "replace"),
        ref_storage=(last.get(b"extensions.refstorage") or b"files").decode("ascii", "replace").partition(":")[0],
    )
