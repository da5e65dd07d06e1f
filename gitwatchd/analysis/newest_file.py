"""The newest modification time among a worktree's tracked and untracked, not ignored, files.

Owns nothing. Runs: where the analysis runs; it blocks.
Files only: directories, submodules and nested repositories have no time of their own here. What is deleted or
has skip-worktree does not count.
"""

from __future__ import annotations

import os
import stat
import struct
from array import array
from collections.abc import Iterable, Iterator
from itertools import repeat

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.child import run_git
from gitwatchd.git.ignore import IgnoreRules, read_shared, worktree_reader
from gitwatchd.git.index_file import ASSUME_VALID, SKIP_WORKTREE, Index
from gitwatchd.git.layout import read_location
from gitwatchd.git.porcelain import Changed, Status, Unmerged, Untracked
from gitwatchd.git.repository_config import RepositoryConfig
from gitwatchd.model.repository import Location

_GIT_TIMEOUT_S = 30.0
_MOST_UNTRACKED = 50_000
"""More than these below untracked directories (an unpacked archive, a forgotten virtual environment) cost
more than the status itself; git stopped at the first file of each."""
_RECORDED_MTIME = struct.Struct(">8xII")
_GITLINK = b"160000"


def newest_mtime(
    location: Location,
    config: RepositoryConfig,
    status: Status,
    index: Index | None,
    *,
    refreshed: bool,
    touched: Iterable[bytes] = (),
) -> float | None:
    """Epoch seconds; None when there is no file, or too many untracked ones. Raises EnvironmentFailure.

    `touched`: tracked files whose time may be another than that recorded, although the index is `refreshed`.
    """
    top = location.path + b"/"
    differing: set[bytes] = set(touched)
    absent: set[bytes] = set()
    untracked: list[bytes] = []
    for record in status.records:
        match record:
            case Changed():
                if record.mode_worktree == b"000000":
                    absent.add(record.path)
                elif record.xy[1:] != b"." and record.mode_index != _GITLINK:
                    differing.add(record.path)
            case Unmerged():
                differing.add(record.path)
            case Untracked():
                untracked.append(record.path)
    newest = 0
    if index is not None and index.inexact is None:
        if refreshed:
            # What git was told to take for unchanged it never looks at, so its times are of old.
            differing.update(index.names[row] for row in index.flagged_rows() if index.flags(row) & ASSUME_VALID)
            newest = _newest_recorded(index, differing | absent)
        else:
            differing.update(_expected(index, absent))
    else:
        differing.update(_expected_by_git(location, absent))
    newest = max(newest, _newest_of(top, differing))
    files = [path for path in untracked if not path.endswith(b"/")]
    directories = [path.rstrip(b"/") for path in untracked if path.endswith(b"/")]
    # A tracked file replaced by a directory: the status shows the deletion, but the collapsed entry for what is
    # in the directory would have the tracked name, and git leaves it out.
    directories += [path for path in absent if _is_directory(top + path)]
    if directories:
        below = _files_below(location, config, directories)
        if below is None:
            return None
        files += below
    newest = max(newest, _newest_of(top, files))
    return newest / 1e9 if newest else None


def _newest_of(top: bytes, paths: Iterable[bytes]) -> int:
    newest = 0
    lstat, is_directory = os.lstat, stat.S_ISDIR
    for path in paths:
        try:
            found = lstat(top + path)
        except OSError:
            continue
        if found.st_mtime_ns > newest and not is_directory(found.st_mode):
            newest = found.st_mtime_ns
    return newest


def _is_directory(path: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False


def _skipped_rows(index: Index) -> set[int]:
    return {row for row in index.flagged_rows() if index.flags(row) & SKIP_WORKTREE}


def _expected(index: Index, absent: set[bytes]) -> Iterator[bytes]:
    """Tracked paths that are files in the worktree (gitlinks are told by lstat)."""
    skipped = _skipped_rows(index)
    if not skipped and not absent:
        return iter(index.names)
    return (name for row, name in enumerate(index.names) if row not in skipped and name not in absent)


def _newest_recorded(index: Index, differing: set[bytes]) -> int:
    """Newest mtime recorded for the entries git found clean, in ns."""
    passed = _skipped_rows(index)
    for path in (*differing, *index.gitlinks()):
        passed.update(index.rows(path))
    offsets = index.offsets[:-1]
    if passed:
        offsets = array("I", [at for row, at in enumerate(offsets) if row not in passed])
    seconds, nanoseconds = max(map(_RECORDED_MTIME.unpack_from, repeat(index.raw), offsets), default=(0, 0))
    return int(seconds * 1_000_000_000 + nanoseconds)


def _expected_by_git(location: Location, absent: set[bytes]) -> Iterator[bytes]:
    for line in _ls_files(location, "-t", "--cached"):
        if line[:1] not in b"Ss" and line[2:] not in absent:
            yield line[2:]


def _files_below(location: Location, config: RepositoryConfig, directories: list[bytes]) -> list[bytes] | None:
    """What `git ls-files -o --exclude-standard` lists there; None when that is too much."""
    paths = (location.common_dir + b"/info/exclude", config.excludes_file)
    shared = [read_shared(path) for path in paths if path is not None]
    rules = IgnoreRules(worktree_reader(location.path), shared, ignore_case=config.get_bool(b"core.ignorecase", False))
    files: list[bytes] = []
    for path in _walk(location.path, rules, directories):
        files.append(path)
        if len(files) > _MOST_UNTRACKED:
            return None
    if rules.exact:
        return files
    listed = _ls_files(location, "--others", "--exclude-standard", "--", *(b":(top,literal)" + d for d in directories))
    return [path for path in listed if not path.endswith(b"/")]


def _walk(top: bytes, rules: IgnoreRules, directories: list[bytes]) -> Iterator[bytes]:
    pending = [d for d in directories if not _is_nested_repository(top + b"/" + d)]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(top + b"/" + directory) as found:
                entries = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in found]
        except OSError:
            continue
        for name, is_dir in entries:
            path = directory + b"/" + name
            if name == b".git" or rules.is_ignored(path, is_dir):
                continue
            if not is_dir:
                yield path
            elif not _is_nested_repository(top + b"/" + path):
                pending.append(path)


def _is_nested_repository(directory: bytes) -> bool:
    return os.path.lexists(directory + b"/.git") and read_location(directory) is not None


def _ls_files(location: Location, *arguments: str | bytes) -> list[bytes]:
    listed: list[bytes] = []
    asked = ("ls-files", "-z", *arguments)
    answer = run_git(asked, cwd=location.path, timeout_s=_GIT_TIMEOUT_S, take_record=listed.append)
    if answer.returncode:
        raise EnvironmentFailure(answer.stderr.decode(errors="replace").strip())
    return listed
