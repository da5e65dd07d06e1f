"""What below some directories no list of repositories shows, and would be lost all the same.

Owns nothing. Runs: in a thread of `daemon.inquiries`; it blocks, for as long as `find` would take there.
Lists leave out what git ignores, and show what is new in far places only after somebody looked again; and what git does
not take for a repository (a crash empties HEAD) is none to them, nor is a git dir whose worktree is gone. Who is about
to wipe a disk needs all of it: so here every directory is looked at, each time.
Never: follows symbolic links, enters a git dir, crosses into another mount.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gitwatchd.analysis.fixtures import WorktreesAround
from gitwatchd.analysis.job import analyse
from gitwatchd.analysis.unsaved import ANALYSIS_S, Question, find_unsaved, places_elsewhere
from gitwatchd.git import reach
from gitwatchd.git.directory import list_directory
from gitwatchd.git.layout import is_git_dir, read_location
from gitwatchd.git.reach import LeadsAway
from gitwatchd.model.report import State
from gitwatchd.model.repository import Analysed, Failed, Gone, Job, Location, RepoPath, Unsafe
from gitwatchd.model.unsaved import Reason
from gitwatchd.mounts import read_mounts


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A repository, or a directory that could not be looked at."""

    path: bytes
    state: State
    fetched_at: float | None
    reasons: tuple[Reason, ...]


@dataclass(frozen=True, slots=True)
class _Parted:
    """A git dir that is not bare, by another name than `.git` or far from its worktree: git finds no status there."""

    location: Location


def find_left_out(
    tops: Sequence[bytes],
    skip: Callable[[bytes], bool],
    git_dirs: frozenset[bytes],
    paths: frozenset[bytes],
    common_dirs: frozenset[bytes],
    index_cache: bytes,
) -> list[LeftOut]:
    """At and below `tops` (resolved, local). `git_dirs`, `paths`, `common_dirs`: what was told of already.

    `skip(path)`: the user wants nothing said of what lies there.
    """
    mounts = read_mounts().types
    found: dict[bytes, LeftOut] = {}
    around = WorktreesAround(index_cache, ANALYSIS_S)
    told = set(git_dirs)
    shared = set(common_dirs)
    for place in _walk(tops, lambda path: path in mounts or skip(path)):
        if isinstance(place, LeftOut):
            if place.path not in paths:
                found.setdefault(place.path, place)
            continue
        parted = isinstance(place, _Parted)
        location = place.location if isinstance(place, _Parted) else place
        if location.git_dir in told or location.path in paths:
            continue
        for one in (location, *places_elsewhere(location)):
            if one.git_dir in told:
                continue
            told.add(one.git_dir)
            row, looked_at = _look(one, one.common_dir not in shared, index_cache, around, parted and one is location)
            shared.add(one.common_dir)
            told |= looked_at
            if row is not None:
                found[one.path] = row
    return [row for path, row in sorted(found.items())]


def _look(
    location: Location, shared: bool, index_cache: bytes, around: WorktreesAround, parted: bool
) -> tuple[LeftOut | None, frozenset[bytes]]:
    outcome = None if parted else analyse(Job(location, index_cache, ANALYSIS_S, trusted=None))
    if isinstance(outcome, Gone):
        return None, frozenset()
    finding = find_unsaved(Question(location, outcome, shared, index_cache))
    reasons, state, fetched_at = finding.reasons, State.FRESH, None
    if isinstance(outcome, Analysed):
        fetched_at = outcome.facts.fetched_at
    elif isinstance(outcome, Failed | Unsafe):
        state = State.UNSAFE if isinstance(outcome, Unsafe) else State.FAILED
        reasons = (Reason("unchecked", note=f"{state}: {outcome.reason}"), *reasons)
    if reasons and around.hold(location):
        reasons, state = (), State.FRESH
    if parted and not reasons:
        return None, finding.git_dirs  # nobody would call it a repository
    return LeftOut(location.path, state, fetched_at, reasons), finding.git_dirs


def _walk(tops: Sequence[bytes], skip: Callable[[bytes], bool]) -> Iterator[Location | _Parted | LeftOut]:
    """Outer ones before those within: an outer one tells of its submodules. Last the git dirs that lie apart from
    their worktrees, which tell of more."""
    parted: list[_Parted] = []
    stack = sorted(tops, reverse=True)
    while stack:
        directory = stack.pop()
        try:
            reach.check(directory)  # it may be a link by now
            listing = list_directory(directory)
        except LeadsAway as away:
            yield _unchecked(directory, away.message)
            continue
        except FileNotFoundError:
            continue
        except OSError as error:
            yield _unchecked(directory, f"cannot be read: {error.strerror}")
            continue
        has_git = b".git" in listing.names
        if listing.may_be_repository:
            location, is_parted = None, False
            try:
                location = read_location(directory)
                is_parted = location is None and not has_git and is_git_dir(directory)
            except LeadsAway as away:
                yield _unchecked(directory, away.message)
                continue
            except OSError:
                pass
            if location is not None:
                yield location
                if location.bare and not has_git:
                    continue
            elif is_parted:
                parted.append(_Parted(Location(RepoPath(directory), directory, directory, bare=True)))
                continue
            elif has_git and not _is_empty(directory + b"/.git"):
                yield _unchecked(directory, "git does not take its .git for a repository")
        stack += [path for path in listing.below if not skip(path)]
    yield from parted


def _is_empty(dot_git: bytes) -> bool:
    """A mark that somebody set, not a repository that somebody lost."""
    try:
        return not os.listdir(dot_git) if os.path.isdir(dot_git) else not os.path.getsize(dot_git)
    except OSError:
        return False


def _unchecked(path: bytes, why: str) -> LeftOut:
    return LeftOut(path, State.FAILED, None, (Reason("unchecked", note=why),))
