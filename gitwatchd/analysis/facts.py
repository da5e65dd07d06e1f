"""Everything of a report that git's status does not say: from config, refs, objects, the index and lstat.

Owns nothing, keeps nothing open after the call. Runs: where the analysis runs (a worker, or a thread of the
daemon); it blocks. Starts a git child only where our readers do not reach: reftable, sha256, replaced
objects, split and sparse indexes, negative refspecs.
Invariant: a fact that cannot be had is None; it is never guessed, and it never fails the rest of the report.
Invariant: HEAD's commit and branch are those of the status, so the facts belong to the judge's answer even if
HEAD moves meanwhile.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from typing import TypeVar

from gitwatchd.analysis.newest_file import newest_mtime
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import remotes
from gitwatchd.git.action import read_action
from gitwatchd.git.child import run_git
from gitwatchd.git.config_file import find_boolean
from gitwatchd.git.index_file import Index
from gitwatchd.git.layout import linked_worktrees
from gitwatchd.git.objects import Objects
from gitwatchd.git.porcelain import Headers, Status, count, encode
from gitwatchd.git.reach import LeadsAway
from gitwatchd.git.refs import Refs, count_stashes, read_refs
from gitwatchd.git.repository_config import RepositoryConfig
from gitwatchd.incremental.terms import Inexact
from gitwatchd.model.report import HIDES, Facts, Tracking
from gitwatchd.model.repository import Location

_GIT_TIMEOUT_S = 30.0
_HEADS = b"refs/heads/"
_CRUD = bytes(range(33)) + b".,:;<>\"\\'"
"""What git strips from both ends of a name and an address."""
_HIDING_KEYS = (b"status.showuntrackedfiles", b"bash.showuntrackedfiles", b"bash.showdirtystate")
_NEVER_IN_IDENT = bytes.maketrans(b"", b""), b"\n<>"

T = TypeVar("T")


def complete_facts(
    location: Location,
    config: RepositoryConfig,
    status: Status | None,
    index: Index | None,
    *,
    refreshed: bool = False,
) -> Facts:
    """The facts of one repository. `status` None: refs only (bare, or nothing in its worktree may be run).

    `refreshed`: `index` is one that git has just refreshed, so what the status does not list has on the disk
    the mtime recorded there; otherwise every tracked file is looked at (1-2 us each).
    `mtime` is None without a status, and where too many untracked files would have to be looked at.
    """
    with closing(Objects(location)) as objects:
        facts = read_ref_facts(location, config, None if status is None else status.headers, objects)
    if location.bare:
        return facts
    facts = _with_tallies(facts, location, index)
    if status is None:
        return facts
    return replace(
        facts,
        counts=count(encode(status)),
        mtime=_or_none(lambda: newest_mtime(location, config, status, index, refreshed=refreshed)),
    )


def read_ref_facts(location: Location, config: RepositoryConfig, known: Headers | None, objects: Objects) -> Facts:
    """The facts that follow from refs, objects and the git dir alone.

    `known`: what git's status said of HEAD, to be believed; None: it is read here, ahead and behind included.
    """
    git_dirs = linked_worktrees(location.common_dir)
    refs = _or_none(lambda: read_refs(location))
    headers = _headers(location, refs, strict=not objects.may_start_git) if known is None else known
    tracking = _Tracking(location, config, refs, objects, headers)
    if objects.may_start_git or known is not None:
        upstream = _or_none(lambda: tracking.upstream(asked=known is None))
    else:
        upstream = tracking.upstream(asked=True)  # part of the status: nobody would ask git where it is None
    facts = Facts(
        oid=headers.oid,
        branch=headers.branch,
        detached=headers.detached,
        unborn=headers.unborn,
        stashes=headers.stashes,
        upstream=upstream,
        push=_or_none(lambda: tracking.push(upstream)),
        action=read_action(location.git_dir),
        worktrees=len(git_dirs),
        ident=_ident(config),
        fetched_at=_fetched_at([location.common_dir, *git_dirs]),
        hides=_hidden(config),
    )
    commit = headers.oid
    if commit is None:
        return facts
    return replace(
        facts,
        summary=_or_none(lambda: objects.summary(commit)),
        tag=None if refs is None else _or_none(lambda: refs.tag_at(commit, objects.peel)),
    )


def _or_none(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except LeadsAway:
        raise  # whoever may follow that reads all of them
    except EnvironmentFailure:
        return None


def _headers(location: Location, refs: Refs | None, *, strict: bool) -> Headers:
    """What the status header would say of HEAD, read from the refs; upstream is left to `_Tracking`.

    `strict`: it is to be part of a status, and raises EnvironmentFailure rather than to leave something out.
    """
    if refs is None:
        return Headers(oid=None, branch=None)
    head = refs.head()
    stashes = count_stashes(location) if strict else _or_none(lambda: count_stashes(location)) or 0
    return Headers(oid=head.oid, branch=head.branch, stashes=stashes)


class _Tracking:
    """Upstream and push target of HEAD's branch."""

    __slots__ = ("_branch", "_config", "_headers", "_location", "_objects", "_refs", "_resolved")

    def __init__(
        self,
        location: Location,
        config: RepositoryConfig,
        refs: Refs | None,
        objects: Objects,
        headers: Headers,
    ) -> None:
        self._location = location
        self._config = config
        self._refs = refs
        self._objects = objects
        self._headers = headers
        # HEAD may name a ref outside of refs/heads; such a one has no configuration.
        is_branch = headers.branch is not None and not headers.branch.startswith(b"refs/")
        self._branch = headers.branch if is_branch else None
        self._resolved: tuple[bytes | None, bytes | None] | None = None

    def upstream(self, *, asked: bool) -> Tracking | None:
        """By the status's headers; when `asked` (there is no status), by configuration, refs and objects."""
        if self._branch is None:
            return None
        remote = remotes.fetch_remote(self._config, self._branch)
        url = None if remote is None else remotes.fetch_url(self._config, remote)
        remote = None if remote is None else remotes.without_userinfo(remote)  # it may be an URL itself
        if asked:
            ref = self._refs_by_config(self._branch)[0]
            if remote == b"." and ref is not None and self._refs is not None and self._refs.is_symbolic(ref):
                # git shows the ref that it leads to; of a remote's branches it shows the name itself.
                raise EnvironmentFailure("the upstream is a symbolic ref", "git branch -vv")
            return None if ref is None else self._measure(ref, remote, url)
        name, ahead = self._headers.upstream, self._headers.ahead
        if name is None:
            return None
        return Tracking(name, remote, url, ahead, self._headers.behind, gone=ahead is None)

    def push(self, upstream: Tracking | None) -> Tracking | None:
        """None where `git rev-parse @{push}` fails, so also where the tracking ref does not exist."""
        if self._branch is None or self._refs is None:
            return None
        upstream_ref, ref = self._refs_by_config(self._branch)
        if ref is None:
            return None
        remote = remotes.push_remote(self._config, self._branch)
        url = remotes.push_url(self._config, remote)
        remote = remotes.without_userinfo(remote)
        if upstream is not None and ref == upstream_ref:
            return None if upstream.gone else replace(upstream, remote=remote, url=url)
        measured = self._measure(ref, remote, url)
        return None if measured is None or measured.gone else measured

    def _refs_by_config(self, branch: bytes) -> tuple[bytes | None, bytes | None]:
        """Full names of the upstream's and of the push target's ref."""
        if self._resolved is None:
            if remotes.git_must_resolve(self._config, branch):
                if not self._objects.may_start_git:
                    raise Inexact("only git can say what the branch tracks")
                self._resolved = _or_none(lambda: _ask_git(self._location, branch)) or (None, None)
            else:
                self._resolved = (
                    remotes.upstream_ref(self._config, branch),
                    remotes.push_ref(self._config, branch),
                )
        return self._resolved

    def _measure(self, ref: bytes, remote: bytes | None, url: bytes | None) -> Tracking | None:
        if self._refs is None:
            return None
        name = self._refs.shorten(ref)
        theirs, ours = self._refs.resolve(ref), self._headers.oid
        if theirs is None:
            return Tracking(name, remote, url, None, None, gone=True)
        distance = None if ours is None else _or_none(lambda: self._objects.ahead_behind(ours, theirs))
        ahead, behind = (None, None) if distance is None else distance
        return Tracking(name, remote, url, ahead, behind, gone=False)


def _ask_git(location: Location, branch: bytes) -> tuple[bytes | None, bytes | None]:
    answer = run_git(
        ["for-each-ref", "--format=%(upstream)%00%(push)", _HEADS + branch],
        cwd=location.git_dir,
        timeout_s=_GIT_TIMEOUT_S,
    )
    upstream, _, push = answer.stdout.rstrip(b"\n").partition(b"\0")
    return upstream or None, push or None


def _with_tallies(facts: Facts, location: Location, index: Index | None) -> Facts:
    if index is not None and index.inexact is None:
        size, skipped, assumed = index.tallies()
        links = len(index.gitlinks())
    else:
        tallies = _or_none(lambda: _tallies_by_git(location))
        if tallies is None:
            return facts
        size, skipped, assumed, links = tallies
    return replace(facts, index_size=size, skip_worktree=skipped, assume_unchanged=assumed, submodules=links)


def _tallies_by_git(location: Location) -> tuple[int, int, int, int]:
    """Entries, skip-worktree, assume-unchanged, gitlinks; a sparse index counts as what it stands for."""
    tags: Counter[bytes] = Counter()
    links: set[bytes] = set()

    def take(entry: bytes) -> None:
        tags[entry[:1]] += 1
        if entry[2:8] == b"160000":
            links.add(entry.partition(b"\t")[2])

    listing = ("ls-files", "--full-name", "-v", "-s", "-z", ":/")
    answer = run_git(listing, cwd=location.path, timeout_s=_GIT_TIMEOUT_S, take_record=take)
    if answer.returncode:
        raise EnvironmentFailure(answer.stderr.decode(errors="replace").strip())
    assumed = sum(count for tag, count in tags.items() if tag.islower())
    return tags.total(), tags[b"S"] + tags[b"s"], assumed, len(links)


def _ident(config: RepositoryConfig) -> bytes | None:
    """`git var GIT_COMMITTER_IDENT` without its time, if both halves are configured."""
    halves = []
    for half in (b"name", b"email"):
        value = config.get(b"committer." + half) or config.get(b"user." + half)
        if value is None:
            return None
        halves.append(value.strip(_CRUD).translate(*_NEVER_IN_IDENT))
    name, email = halves
    return name + b" <" + email + b">" if name else None


def _hidden(config: RepositoryConfig) -> tuple[str, ...]:
    # What is no boolean (`all`, or something that git refuses) hides nothing.
    return tuple(
        word
        for word, key in zip(HIDES, _HIDING_KEYS, strict=True)
        if (value := config.get(key)) is not None and find_boolean(value) is False
    )


def _fetched_at(git_dirs: list[bytes]) -> float | None:
    newest: float | None = None
    for git_dir in git_dirs:
        with suppress(OSError):
            told = os.stat(git_dir + b"/FETCH_HEAD")
            if told.st_size:  # git empties it before it asks anybody, so that is what a failed fetch leaves
                newest = told.st_mtime if newest is None else max(newest, told.st_mtime)
    return newest
