"""Keeps each repository's status up to date from its changes (L1), and knows when it cannot.

Owns: the incremental states, and the changes noted since each repository's last work began. Runs: serving thread;
only the reading of a large index happens on a thread of its own.
Invariant: a state is primed from git's own answer, and only if neither index nor configuration changed since that work
began; changes to the worktree since then wait in `pending` and are looked at first.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace

from gitwatchd.analysis.facts import read_ref_facts
from gitwatchd.analysis.first_sight import Sighting, headers_of
from gitwatchd.analysis.newest_file import newest_mtime
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.ignore import read_rules
from gitwatchd.git.index_file import Index, read_index
from gitwatchd.git.layout import check_parts, check_way, read_format
from gitwatchd.git.objects import Objects
from gitwatchd.git.porcelain import count, encode, parse_status
from gitwatchd.git.reach import LeadsAway
from gitwatchd.git.repository_config import RepositoryConfig, read_config
from gitwatchd.incremental.first_sight import LARGEST_INDEX
from gitwatchd.incremental.state import RepositoryState, Work
from gitwatchd.incremental.strays import Strays
from gitwatchd.incremental.terms import Inexact, read_terms, refuse_wrong_notes
from gitwatchd.loop import Loop
from gitwatchd.model.report import Facts
from gitwatchd.model.repository import Analysed, Location, RepoPath
from gitwatchd.watch.changes import Aspect, Changes
from gitwatchd.watch.repository_watch import GIT_DIRECTORIES

_log = logging.getLogger(__name__)

LARGE_INDEX_BYTES = 256 << 10
"""A larger index (some 2,500 files: 1.5 ms) is parsed on a thread."""

_FOLLOWED = (
    Aspect.WORKTREE | Aspect.INDEX | Aspect.HEAD | Aspect.REFS | Aspect.STASH | Aspect.ACTION | Aspect.FACT
    | Aspect.NESTED | Aspect.IGNORE
)  # fmt: skip
_TOLD = {
    Aspect.LOST: "events were lost",
    Aspect.IDENTITY: "moved, or made anew",
    Aspect.CONFIG: "configuration changed",
    Aspect.IGNORE: "ignore rules changed",
    Aspect.ATTRIBUTES: "attributes changed",
    Aspect.SUBMODULE: "a submodule changed",
    Aspect.OTHER: "a file of the git dir that says nothing by its name",
}
_REF_ASPECTS = Aspect.HEAD | Aspect.REFS | Aspect.STASH | Aspect.ACTION | Aspect.FACT
_BESIDE_GIT_DIR = Aspect.WORKTREE | Aspect.NESTED
"""With these alone nothing in the git dir became a link, or an event had told; to look for links there takes 0.1 ms."""
_UNPRIMABLE = ~(Aspect.WORKTREE | Aspect.FACT | Aspect.NESTED)
"""What must not have happened between the beginning of git's work and the reading of the index."""


def told(unfollowed: Aspect) -> str:
    """Why git has to be asked after changes that are not followed, for `doctor`: the first reason says the most."""
    return next(words for aspect, words in _TOLD.items() if aspect & unfollowed)


def _summary(reason: Exception) -> str:
    """For `doctor`, which counts: without paths."""
    if isinstance(reason, LeadsAway):
        return "it leads onto a mount that may not answer"
    return str(reason).splitlines()[0].partition(":")[0][:60]


class _Followed:
    __slots__ = ("config", "facts", "location", "objects", "state")

    def __init__(
        self, location: Location, config: RepositoryConfig, objects: Objects, state: RepositoryState, facts: Facts
    ) -> None:
        self.location = location
        self.config = config
        self.objects = objects
        self.state = state
        self.facts = facts
        state.newest.settle(facts.mtime)


class Increments:
    def __init__(
        self,
        loop: Loop,
        settle: Callable[[RepoPath], None],
        attributes: Callable[[RepoPath], set[bytes]],
        widen: Callable[[RepoPath], None],
        strays: Callable[[RepoPath], Strays | None] = lambda _path: None,
    ) -> None:
        """`settle` drains the queues of a repository; `attributes` names the directories with a `.gitattributes`;
        `widen` has the directories watched that the index names by now: nobody else may watch ignored ones, and new
        submodules; `strays` tells which directories hold what it does not name."""
        self._loop = loop
        self._widen = widen
        self._settle = settle
        self._attributes = attributes
        self._strays = strays
        self._followed: dict[RepoPath, _Followed] = {}
        self._pending: dict[RepoPath, Changes] = {}
        self._priming: dict[RepoPath, Analysed] = {}
        """Git's answers from which a state is being made; work that begins meanwhile takes what that would need."""
        self._after_priming: dict[RepoPath, list[Callable[[], None]]] = {}
        self._unseen_index: set[RepoPath] = set()
        """Followed ones whose index changed, and no state has told yet whether it names directories not watched."""
        self.reasons: Counter[str] = Counter()
        """Why git had to be asked, for `doctor` and tuning."""

    # ---- changes

    def note(self, path: RepoPath, changes: Changes) -> bool:
        """Keep them for the next advance; say whether one can take them in."""
        pending = self._pending.setdefault(path, Changes())
        pending.aspects |= changes.aspects
        pending.paths |= changes.paths
        unfollowed = changes.aspects & ~_FOLLOWED
        if changes.aspects & Aspect.IGNORE and GIT_DIRECTORIES in changes.new_directories:
            # Not only a `.gitignore`, whose directory is among the paths: info/exclude, which holds for all.
            unfollowed |= Aspect.IGNORE
        if unfollowed:
            if path in self._followed:
                self._drop(path, told(unfollowed))
            return False
        if path not in self._followed:
            # While a state is being made the change can wait for it, or each edit would start the making anew.
            return path in self._priming and not changes.aspects & _UNPRIMABLE
        if changes.aspects & Aspect.INDEX:
            self._unseen_index.add(path)
        return True

    def look_again(self, path: RepoPath, directories: frozenset[bytes]) -> None:
        """What lies at and below these (GIT_DIRECTORIES: in the git dir) may have changed before it was watched."""
        pending = self._pending.setdefault(path, Changes())
        pending.paths |= directories - {GIT_DIRECTORIES}
        if GIT_DIRECTORIES in directories or not directories:
            pending.aspects |= _REF_ASPECTS

    def is_priming(self, path: RepoPath) -> bool:
        return path in self._priming

    def after_priming(self, path: RepoPath, callback: Callable[[], None]) -> None:
        """Call it when the state that is being made is there, or has come to nothing."""
        self._after_priming.setdefault(path, []).append(callback)

    def follows(self, path: RepoPath) -> bool:
        return path in self._followed

    def drop(self, path: RepoPath) -> None:
        """Nothing is known of that repository any more."""
        self._unseen_index.discard(path)
        self._drop(path, "")
        self._pending.pop(path, None)
        self._priming.pop(path, None)

    def stop_following(self, path: RepoPath) -> None:
        """Git gave no status, or may not be asked for one; changes noted since are kept."""
        self._drop(path, "")

    def drop_all(self) -> None:
        """A configuration of git's for many repositories changed."""
        for path in list(self._followed):
            self._drop(path, "configuration")

    def _drop(self, path: RepoPath, reason: str) -> None:
        followed = self._followed.pop(path, None)
        if followed is not None:
            followed.objects.close()
            if reason:
                self.reasons[reason] += 1
                _log.debug("git will be asked about %r: %s", path, reason)
        if path in self._unseen_index:
            self._unseen_index.discard(path)
            self._widen(path)

    # ---- advancing

    def begin(self, path: RepoPath) -> Changes:
        """Work on that repository begins now: take what was noted before."""
        self._priming.pop(path, None)
        return self._pending.pop(path, None) or Changes()

    def advance(self, path: RepoPath, changes: Changes) -> Iterator[Analysed | None]:
        """Take in `changes`; yields None between slices and the outcome at last. Raises Inexact or LeadsAway, and then
        forgets."""
        followed = self._followed[path]
        work = Work(set(changes.paths), bool(changes.aspects & Aspect.INDEX), bool(changes.aspects & Aspect.IGNORE))
        facts = followed.facts
        try:
            look = check_parts if changes.aspects & ~_BESIDE_GIT_DIR else check_way
            look(followed.location)
            if changes.aspects & _REF_ASPECTS:
                facts = self._read_refs(followed, changes.aspects, work)
            for _ in followed.state.advance(work):
                yield None
            self._see_index(path, followed.state, work)
            entries, facts = self._complete(followed, facts, work)
        except LeadsAway as away:
            self._see_index(path, followed.state, work)
            self._drop(path, _summary(away))
            raise
        except (Inexact, EnvironmentFailure, OSError, RecursionError) as reason:  # a thousand directories deep
            self._see_index(path, followed.state, work)
            self._drop(path, _summary(reason))
            raise Inexact(str(reason)) from None
        except BaseException:  # let go of between two slices, too: what is half advanced is no state to go on from
            self._drop(path, "a bug")
            raise
        followed.facts = facts
        followed.objects.close()
        yield Analysed(facts, entries, by_git=False)

    def _see_index(self, path: RepoPath, state: RepositoryState, work: Work) -> None:
        """The state has looked through the index for what is not watched, or was kept from it."""
        pending = self._pending.get(path)
        if not work.index_changed or (pending is not None and pending.aspects & Aspect.INDEX):
            return
        if path in self._unseen_index:
            self._unseen_index.discard(path)
            if state.widens:
                self._widen(path)

    def _read_refs(self, followed: _Followed, aspects: Aspect, work: Work) -> Facts:
        if aspects & Aspect.HEAD and followed.config.depends_on_branch:
            raise Inexact("the configuration depends on the branch")
        old = followed.facts
        new = read_ref_facts(followed.location, followed.config, None, followed.objects)
        work.headers = headers_of(new)
        work.tree = None if new.oid is None else followed.objects.tree_of(new.oid)
        return replace(
            new, counts=old.counts, mtime=old.mtime, index_size=old.index_size, skip_worktree=old.skip_worktree,
            assume_unchanged=old.assume_unchanged, submodules=old.submodules,
        )  # fmt: skip

    def _complete(self, followed: _Followed, facts: Facts, work: Work) -> tuple[bytes, Facts]:
        state = followed.state
        status = state.status()
        entries = encode(status)
        facts = replace(facts, counts=count(entries))
        if work.index_changed:
            size, skipped, assumed = state.tallies()
            facts = replace(facts, index_size=size, skip_worktree=skipped, assume_unchanged=assumed)
        newest = state.newest.seen_ns / 1e9
        if state.newest.lost or facts.mtime is None:
            # Entries found clean have on the disk the time recorded in the index, but for touched ones; of a large
            # index only those count that were touched since it is followed.
            touched = [path for path in state.newest.looked_at() if state.index.find(path) is not None]
            mtime = newest_mtime(
                followed.location, followed.config, status, state.index,
                refreshed=len(state.index) > LARGEST_INDEX, touched=touched,
            )  # fmt: skip
            facts = replace(facts, mtime=mtime)
        elif newest > facts.mtime:
            facts = replace(facts, mtime=newest)
        state.newest.settle(facts.mtime)
        return entries, facts

    # ---- priming

    def adopt(self, path: RepoPath, sighting: object) -> Analysed:
        """Follow a repository from a walk's own findings on (what `look` returned); they are the outcome."""
        if not isinstance(sighting, Sighting):
            raise TypeError(f"{type(sighting).__name__} is no sighting")
        pending = self._pending.get(path)
        if pending is None or not pending.aspects & ~_FOLLOWED:
            sighting.state.learn_strays(self._strays(path))
            self._followed[path] = _Followed(
                sighting.location, sighting.config, sighting.objects, sighting.state, sighting.outcome.facts
            )
        return sighting.outcome

    def prime(self, location: Location, outcome: Analysed, is_current: Callable[[], bool]) -> None:
        """Begin to follow a repository whose status git has just given. `is_current`: that outcome still stands."""
        path = location.path
        self._drop(path, "")
        if outcome.entries is None:
            return
        try:
            check_parts(location)
        except LeadsAway as away:
            self._note_reason(path, away)  # the next that is asked for finds that out, too
            return
        self._priming[path] = outcome
        if not self._is_large(location):
            self._end_priming(location, outcome, is_current, self._read_index(location))
            return

        def read() -> None:
            index: Index | Inexact = Inexact("a bug")
            try:
                index = self._read_index(location)
            finally:  # somebody may wait for it, whatever happened
                self._loop.call_from_thread(lambda: self._end_priming(location, outcome, is_current, index))

        try:
            threading.Thread(target=read, name="read-index", daemon=True).start()
        except RuntimeError as reason:  # no thread is to be had
            self._end_priming(location, outcome, is_current, Inexact(str(reason)))

    def _is_large(self, location: Location) -> bool:
        try:
            return os.stat(location.git_dir + b"/index").st_size > LARGE_INDEX_BYTES
        except OSError:
            return False

    def _read_index(self, location: Location) -> Index | Inexact:
        try:
            index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
            refuse_wrong_notes(index)
        except Inexact as reason:
            return reason
        except (EnvironmentFailure, OSError):
            return Inexact("the index cannot be read here")
        return index

    def _end_priming(
        self, location: Location, outcome: Analysed, is_current: Callable[[], bool], index: Index | Inexact
    ) -> None:
        try:
            self._prime_with(location, outcome, is_current, index)
        finally:
            # Also when the index was read at once: the draining above lets other work begin, of this repository too.
            if self._priming.get(location.path) is outcome:
                del self._priming[location.path]
            for callback in self._after_priming.pop(location.path, ()):
                callback()

    def _prime_with(
        self, location: Location, outcome: Analysed, is_current: Callable[[], bool], index: Index | Inexact
    ) -> None:
        path = location.path
        # Whatever replaced the index before it was read is in the queue by now.
        self._settle(path)
        if self._priming.get(path) is not outcome:
            return  # a later one is being made, or none any more
        del self._priming[path]
        pending = self._pending.get(path)
        if isinstance(index, Inexact):
            self._note_reason(path, index)
            return
        if not is_current() or (pending is not None and pending.aspects & _UNPRIMABLE):
            return
        objects = Objects(location, may_start_git=False)
        try:
            check_parts(location)  # a large index took its time
            config = read_config(location)
            terms = read_terms(location, config, index, self._attributes(path))
            status = parse_status(outcome.entries or b"")
            oid = status.headers.oid
            tree = None if oid is None else objects.tree_of(oid)
            state = RepositoryState(location, terms, index, tree, read_rules(location, config), objects, status)
            if state.entries() != outcome.entries:
                raise Inexact("git's answer cannot be kept here")  # noqa: TRY301 - one way out for all reasons
        except (Inexact, EnvironmentFailure, OSError, ValueError) as reason:
            self._note_reason(path, reason)
            return
        finally:
            with suppress(EnvironmentFailure):
                objects.close()
        state.learn_strays(self._strays(path))
        self._followed[path] = _Followed(location, config, objects, state, outcome.facts)

    def _note_reason(self, path: RepoPath, reason: Exception) -> None:
        self.reasons[_summary(reason)] += 1
        _log.debug("%r is not followed: %s", path, reason)
