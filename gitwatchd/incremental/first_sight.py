"""A whole status without starting git: every entry compared, every listing looked through (level L1 at first sight).

Runs: a walking thread, on what the walk that places the watches has listed anyway. Exact or Inexact, as all of this
level.
It pays for repositories of up to some thousand files, where starting git costs more than looking; bench/ measures that.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gitwatchd.git.ignore import IgnoreRules
from gitwatchd.git.index_file import ASSUME_VALID, SKIP_WORKTREE, Index
from gitwatchd.git.index_format import STAT_FIELDS
from gitwatchd.git.objects import Objects, TreeEntry
from gitwatchd.git.porcelain import Headers
from gitwatchd.incremental.compare import HashedClean, Verdict, leads_through_link, refuse_unreachable, worktree_verdict
from gitwatchd.incremental.terms import Inexact, Terms, refuse_wrong_notes

LARGEST_INDEX = 5_000
"""Entries; above it git, which looks at files on several threads, is not slower."""


@dataclass(frozen=True, slots=True)
class Listing:
    """One directory as the walk saw it. `path` is relative, b"" the top."""

    path: bytes
    files: Sequence[bytes]
    """Names of files and links; directories are listings of their own, anything else does not count for git."""


@dataclass(frozen=True, slots=True)
class FirstSight:
    """What was found; `gitwatchd.incremental.state` takes it over."""

    headers: Headers
    tree: bytes | None
    staged: dict[bytes, TreeEntry | None]
    """Paths whose index entry may differ from HEAD's, with HEAD's."""
    unclean: dict[bytes, Verdict]
    untracked: set[bytes]
    hashed_clean: HashedClean
    newest_ns: int


def look(
    top: bytes,
    terms: Terms,
    index: Index,
    rules: IgnoreRules,
    objects: Objects,
    headers: Headers,
    listings: Iterable[Listing],
    nested: Iterable[bytes],
) -> FirstSight:
    """`nested`: relative paths of repositories in the worktree that are not its submodules. Raises Inexact."""
    if len(index) > LARGEST_INDEX:
        raise Inexact("too many files for a first sight without git")
    refuse_wrong_notes(index)
    listings = list(listings)
    # What was listed was no link, nor anything above it.
    links = dict.fromkeys([listing.path for listing in listings], False)
    unclean, hashed_clean, newest_ns = _compare_all(top, index, terms, links)
    untracked: set[bytes] = set()
    if terms.untracked:
        untracked, newest = _find_untracked(top, index, rules, listings, nested)
        newest_ns = max(newest_ns, newest)
    tree = None if headers.oid is None else objects.tree_of(headers.oid)
    return FirstSight(
        headers, tree, _staged_candidates(index, tree, objects), unclean, untracked, hashed_clean, newest_ns
    )


def _compare_all(
    top: bytes, index: Index, terms: Terms, links: dict[bytes, bool]
) -> tuple[dict[bytes, Verdict], HashedClean, int]:
    """`links`: as in `leads_through_link`."""
    unclean: dict[bytes, Verdict] = {}
    hashed_clean: HashedClean = {}
    newest_ns = 0
    lstat = os.lstat
    unpack, raw, offsets, flag_bytes = STAT_FIELDS.unpack_from, index.raw, index.offsets, index.flag_bytes
    racy_from = index.mtime_ns // 1_000_000_000
    prefix = top + b"/"
    links[b""] = False
    for row, name in enumerate(index.names):
        if flag_bytes[row] < 0x10:
            # The common case, without a call: a plain entry whose whole stat is as recorded, and not racy.
            try:
                found = lstat(prefix + name)
            except OSError:
                pass
            else:
                ctime_s, ctime_ns, mtime_s, mtime_ns, _dev, ino, mode, uid, gid, size = unpack(raw, offsets[row])
                now_ns = found.st_mtime_ns
                if now_ns > newest_ns and found.st_mode & 0o170000 != 0o040000:
                    newest_ns = now_ns
                if (
                    now_ns == mtime_s * 1_000_000_000 + mtime_ns
                    and found.st_ctime_ns == ctime_s * 1_000_000_000 + ctime_ns
                    and found.st_size == size
                    and found.st_ino == ino
                    and size
                    and mtime_s < racy_from
                    and found.st_mode & 0o170100 == mode & 0o170100
                    and found.st_uid == uid
                    and found.st_gid == gid
                    and mode & 0o170000 == 0o100000
                ):
                    directory = name.rpartition(b"/")[0]
                    if links.get(directory) is False or not leads_through_link(prefix, directory, links):
                        continue
        else:
            flags = index.flags(row)
            if not flags & SKIP_WORKTREE and not leads_through_link(prefix, name.rpartition(b"/")[0], links):
                newest_ns = max(newest_ns, _time_of_file(prefix + name))
            if flags & 0x3000:
                continue  # in conflict: listed from its stages
        if index.stat_fields(row)[6] == 0o160000:
            raise Inexact("it has submodules")
        if leads_through_link(prefix, name.rpartition(b"/")[0], links):
            flags = index.flags(row)
            if flags & SKIP_WORKTREE and terms.sparse:
                raise Inexact("a link hides what lies outside of the sparse checkout")
            if not flags & (SKIP_WORKTREE | ASSUME_VALID):
                refuse_unreachable(top, name)
                unclean[name] = (b"D", 0)
            continue
        verdict = worktree_verdict(top, name, index, row, terms, hashed_clean)
        if verdict is not None:
            unclean[name] = verdict
    return unclean, hashed_clean, newest_ns


def _time_of_file(path: bytes) -> int:
    """0 where there is none."""
    try:
        found = os.lstat(path)
    except OSError:
        return 0
    return 0 if stat.S_ISDIR(found.st_mode) else found.st_mtime_ns


def _find_untracked(
    top: bytes, index: Index, rules: IgnoreRules, listings: Iterable[Listing], nested: Iterable[bytes]
) -> tuple[set[bytes], int]:
    tracked = set(index.names)
    directories: dict[bytes, bytes | None] = {b"": None}
    """Directory to its topmost ancestor (or itself) without tracked files; None where it holds tracked files."""

    def unit_of(directory: bytes) -> bytes | None:
        try:
            return directories[directory]
        except KeyError:
            unit = unit_of(directory.rpartition(b"/")[0])
            if unit is None and not index.tracks_below(directory):
                unit = directory
            directories[directory] = unit
            return unit

    untracked: set[bytes] = set()
    newest_ns = 0
    for listing in listings:
        path = listing.path
        prefix = path + b"/" if path else b""
        unit = unit_of(path)
        for name in listing.files:
            file = prefix + name
            if file in tracked or rules.is_ignored(file, False):
                continue
            try:
                newest_ns = max(newest_ns, os.lstat(top + b"/" + file).st_mtime_ns)
            except OSError:
                continue  # gone since it was listed: its event makes us look again
            if unit is None:
                untracked.add(file)
            elif unit not in tracked:
                untracked.add(unit + b"/")
    for path in nested:
        unit = unit_of(path)
        if unit is not None and unit not in tracked:
            untracked.add(unit + b"/")
    if not rules.exact:
        raise Inexact("only git can judge these ignore rules")
    return untracked, newest_ns


def _staged_candidates(index: Index, tree: bytes | None, objects: Objects) -> dict[bytes, TreeEntry | None]:
    if tree is not None and index.cache_tree_root() == tree:
        return {}
    head = {} if tree is None else objects.flatten(tree)
    candidates: dict[bytes, TreeEntry | None] = {}
    for row, name in enumerate(index.names):
        entry = head.pop(name, None)
        if entry is None or entry.oid != index.oid(row) or entry.mode != index.stat_fields(row)[6]:
            candidates[name] = entry
    candidates.update(head)
    return candidates
