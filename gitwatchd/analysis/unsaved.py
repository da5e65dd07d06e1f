"""What of one repository exists only here: the work that would be lost with this disk.

Owns nothing. Runs: where it may block (a thread of `daemon.inquiries`); git children, and whole analyses of submodules.
Invariant: what cannot be looked at is a reason of its own (`unchecked`), never silence.
Not looked at, because nothing here tells what a remote has of it: tags, notes, ignored files; and what only the reflog
still has.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

from gitwatchd.analysis.job import analyse
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.branches import count_nowhere, count_unpushed, has_remote, read_branches_and_warnings
from gitwatchd.git.hidden import GITLINK, count_hidden_changes, count_untracked, list_index
from gitwatchd.git.index_file import read_index
from gitwatchd.git.layout import linked_worktrees, read_format, read_location, worktree_named_by
from gitwatchd.git.reach import LeadsAway
from gitwatchd.git.refs import read_refs
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.report import Facts
from gitwatchd.model.repository import Analysed, Gone, Job, Location, Outcome, RepoPath
from gitwatchd.model.unsaved import Reason, Unsaved
from gitwatchd.mounts import read_mounts

ANALYSIS_S = 120.0
_DEEPEST = 8
"""Submodules in submodules. Deeper is somebody's joke."""


@dataclass(frozen=True, slots=True)
class Question:
    """`outcome`: the repository's present status. `shared`: branches and stashes are to be told here, and not with
    another worktree of the same repository. `remote_worktrees`: git dirs of linked worktrees on mounts that may hang;
    they answer for themselves, and nobody looks there to see whether they are there."""

    location: Location
    outcome: Outcome | None
    shared: bool
    index_cache: bytes
    remote_worktrees: frozenset[bytes] = frozenset()


def find_unsaved(question: Question) -> Unsaved:
    """Never raises for the world's fault."""
    seen: set[bytes] = set()
    reasons = tuple(_reasons(question, 0, seen))
    return Unsaved(reasons, frozenset(seen))


def _reasons(question: Question, depth: int, seen: set[bytes]) -> Iterator[Reason]:
    location, outcome = question.location, question.outcome
    facts = outcome.facts if isinstance(outcome, Analysed) else None
    if facts is not None:
        yield from _of_the_worktree(facts)
    try:
        if facts is not None and facts.counts is not None:
            yield from _hidden_in_the_worktree(location, facts)
        if question.shared and not (facts is not None and not facts.stashes):
            yield from _stashes(location)
        yield from _commits(question)
    except EnvironmentFailure as failure:
        yield Reason("unchecked", note=failure.message)
    if depth < _DEEPEST:
        try:
            submodules = _submodules(question)
        except (EnvironmentFailure, OSError) as failure:
            submodules = []
            if facts is not None:  # else that the index cannot be read was said already
                yield Reason("unchecked", note=f"submodules: {failure}")
        for submodule in submodules:
            seen.add(submodule.git_dir)
            yield from _of_submodule(question, submodule, depth, seen)


def _of_the_worktree(facts: Facts) -> Iterator[Reason]:
    counts = facts.counts
    if counts is not None and facts.dirty:
        yield Reason(
            "uncommitted", staged=counts.staged, unstaged=counts.unstaged, untracked=counts.untracked,
            conflicted=counts.conflicted,
        )  # fmt: skip
    if facts.action is not None and facts.action.name != "bisect":
        yield Reason("action", note=facts.action.name)


def _hidden_in_the_worktree(location: Location, facts: Facts) -> Iterator[Reason]:
    """What `git status` shows nothing of, because somebody told it so."""
    untracked = changed = 0
    if facts.hides is None or "untracked" in facts.hides:
        untracked = count_untracked(location)
    # None: not counted for want of an index that is understood.
    if facts.skip_worktree != 0 or facts.assume_unchanged != 0:
        changed = count_hidden_changes(location, list_index(location))
    if untracked or changed:
        yield Reason("hidden", untracked=untracked, unstaged=changed)


def _stashes(location: Location) -> Iterator[Reason]:
    from gitwatchd.git.refs import count_stashes

    if count := count_stashes(location):
        yield Reason("stashed", count=count)


def _commits(question: Question) -> Iterator[Reason]:
    location = question.location
    config = read_config(location)
    remote = has_remote(config)
    if question.shared:
        branches, warnings = read_branches_and_warnings(location, config)
        for warning in warnings:
            yield Reason("unchecked", note=warning)
        unpushed = count_unpushed(location, config, [branch.oid for branch in branches])
        for branch in branches:
            if commits := unpushed[branch.oid]:
                kind = "unpushed" if remote else "no_remote"
                yield Reason(kind, branch=branch.name, count=commits, upstream=branch.upstream, gone=branch.gone)
    for git_dir in dict.fromkeys([location.git_dir, *(_gone_worktrees(question) if question.shared else ())]):
        place = Location(location.path, git_dir, location.common_dir, location.bare)
        head = read_refs(place).head()
        if head.ref is None and head.oid is None:
            yield Reason("unchecked", note="HEAD cannot be read", worktree=_worktree_of(git_dir, location))
        is_branch = head.ref is not None and head.ref.startswith(b"refs/heads/")
        if not is_branch and head.oid is not None and (commits := count_nowhere(place, config, head.oid)):
            yield Reason("detached", count=commits, oid=head.oid, worktree=_worktree_of(git_dir, location))


def _gone_worktrees(question: Question) -> list[bytes]:
    """Git dirs of linked worktrees that are gone: those that are there answer for themselves."""
    git_dirs = linked_worktrees(question.location.common_dir)
    return [each for each in git_dirs if each not in question.remote_worktrees and worktree_at(each) is None]


def worktree_at(git_dir: bytes) -> bytes | None:
    """The top of the linked worktree that this git dir is for, if it is there. Raises LeadsAway."""
    named = worktree_named_by(git_dir)
    if named is None:
        return None
    top = os.path.dirname(reach.follow(named + b"/.git"))
    found = read_location(top)
    return top if found is not None and os.path.realpath(found.git_dir) == os.path.realpath(git_dir) else None


def places_elsewhere(location: Location) -> Iterator[Location]:
    """The linked worktrees of a repository that no list shows: nobody else tells of them."""
    mounts = read_mounts()
    for git_dir in linked_worktrees(location.common_dir):
        named = worktree_named_by(git_dir)
        if git_dir == location.git_dir or named is None or not mounts.is_local(named):
            continue  # on a mount that may hang nobody looks
        try:
            top = worktree_at(git_dir)
            place = None if top is None else read_location(top)
        except LeadsAway:
            continue
        if place is not None:
            yield place


def _worktree_of(git_dir: bytes, location: Location) -> bytes | None:
    return None if git_dir == location.git_dir else git_dir


# ---- submodules


def _submodules(question: Question) -> list[Location]:
    """Those of the index that have a repository, and the repositories that git keeps for others.

    Raises EnvironmentFailure or OSError where the index cannot be read.
    """
    location = question.location
    found: dict[bytes, Location] = {}
    for link in _gitlinks(location):
        place = read_location(location.path + b"/" + link)
        if place is not None and place.path == location.path + b"/" + link:
            found[place.git_dir] = place
    keepers = [location.git_dir, *(_gone_worktrees(question) if question.shared else ())]
    for git_dir in (kept for keeper in keepers for kept in _kept_git_dirs(keeper + b"/modules")):
        if git_dir not in found:
            # Without a worktree (`submodule deinit`) it is none to git; its branches are there all the same.
            found[git_dir] = read_location(git_dir) or Location(RepoPath(git_dir), git_dir, git_dir, bare=True)
    return list(found.values())


def _gitlinks(location: Location) -> list[bytes]:
    if location.bare:
        return []
    index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
    if index is None:
        return []
    if index.inexact is None:
        return index.gitlinks()
    return list(dict.fromkeys(entry.path for entry in list_index(location) if entry.mode == GITLINK))


def _kept_git_dirs(directory: bytes) -> Iterator[bytes]:
    try:
        names = sorted(os.listdir(directory))
    except OSError:
        return
    for name in names:
        path = directory + b"/" + name
        if os.path.isfile(path + b"/HEAD") and os.path.isdir(path + b"/objects"):
            yield path  # its own submodules are its own affair
        elif os.path.isdir(path) and not os.path.islink(path):
            yield from _kept_git_dirs(path)


def _of_submodule(question: Question, place: Location, depth: int, seen: set[bytes]) -> Iterator[Reason]:
    deinitialised = place.bare or not os.path.lexists(place.path + b"/.git")
    outcome: Outcome | None = None
    if deinitialised:
        place = Location(place.path, place.git_dir, place.common_dir, bare=True)
    else:
        outcome = analyse(Job(place, question.index_cache, ANALYSIS_S, trusted=None))
        if isinstance(outcome, Gone):
            return
        if not isinstance(outcome, Analysed):
            yield Reason("unchecked", submodule=place.path, note=outcome.reason)
    inner = Question(place, outcome, True, question.index_cache)
    for reason in _reasons(inner, depth + 1, seen):
        yield reason if reason.submodule else reason.of_submodule(place.git_dir if deinitialised else place.path)
    for linked in places_elsewhere(place):
        if linked.git_dir in seen:
            continue
        seen.add(linked.git_dir)
        there = analyse(Job(linked, question.index_cache, ANALYSIS_S, trusted=None))
        if not isinstance(there, Analysed | Gone):
            yield Reason("unchecked", submodule=linked.path, note=there.reason)
        for reason in _reasons(Question(linked, there, False, question.index_cache), depth + 1, seen):
            yield reason if reason.submodule else reason.of_submodule(linked.path)
