"""Carries out what the engine wants analysed: from what changed (L1) in slices, else by a job (L3, or a first sight).

Owns: the jobs in flight and when each piece of work began; under which configuration each private copy of an index was
made; how long the last whole analysis of each repository took. Runs: serving thread.
Invariant: a job's outcome is told only while it is the last one begun for its repository; who forgets a repository, or
gives its work up, gets nothing more of it.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

from gitwatchd.daemon.configuration import Configuration
from gitwatchd.daemon.trust import Trust
from gitwatchd.engine.events import Analyse, Level
from gitwatchd.engine.repository import Repository
from gitwatchd.loop import Loop
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Analysed, Job, Location, Outcome, RepoPath
from gitwatchd.watch.changes import Aspect, Changes

if TYPE_CHECKING:
    from gitwatchd.daemon.analyst import Analyst
    from gitwatchd.daemon.increments import Increments

_log = logging.getLogger(__name__)

SLICE_S = 0.002
"""An incremental analysis lets other requests in this often."""
_KEEPS_CONVERSIONS = (
    Aspect.WORKTREE | Aspect.INDEX | Aspect.HEAD | Aspect.REFS | Aspect.STASH | Aspect.ACTION | Aspect.FACT
    | Aspect.NESTED | Aspect.IGNORE
)  # fmt: skip
"""What can change without the way changing in which git converts files."""


class Shells(Protocol):
    """What the analyses need of the fleet."""

    @property
    def analyst(self) -> Analyst: ...
    @property
    def increments(self) -> Increments: ...
    def is_local(self, location: Location) -> bool: ...
    def on_led_away(self, path: RepoPath, mount: bytes) -> None:
        """Something of that repository lies on a mount that may hang: from now on it is not local."""

    def is_known(self, repository: Repository) -> bool:
        """It was not forgotten, even if one at the same path is known again."""

    def on_advanced(self, path: RepoPath, outcome: Analysed, began: float) -> None:
        """From what changed; the repository is followed on. `began`: epoch seconds."""

    def on_analysed(self, path: RepoPath, outcome: Outcome, level: Level, began: float) -> None:
        """By a whole analysis, from which it can be followed."""

    def on_place_free(self) -> None:
        """Work that the engine does not count has ended: its place is free for another."""


class Analyses:
    def __init__(
        self, loop: Loop, shells: Shells, trust: Trust, configuration: Configuration, index_cache: bytes
    ) -> None:
        self._loop = loop
        self._shells = shells
        self._trust = trust
        self._configuration = configuration
        self._index_cache = index_cache
        self.took_s: dict[RepoPath, float] = {}
        """How long the last whole analysis of each took."""
        self._jobs: dict[RepoPath, Job] = {}
        """What the analyst carries, by repository; the outcome of any other job is nobody's any more."""
        self._audited: dict[int, Callable[[Outcome], None]] = {}
        """Jobs beside the engine, by identity, with who waits for each."""
        self._began: dict[RepoPath, float] = {}
        self._seen_in_vain: set[RepoPath] = set()
        self._conversions: Counter[RepoPath] = Counter()
        self._configurations = 0
        """How often attributes or configuration may have changed: of one repository, of all."""
        self._copied_under: dict[RepoPath, tuple[int, int]] = {}
        """The stamp of these under which each private copy of an index was made."""

    # ---- what others noticed

    def note_changes(self, path: RepoPath, changes: Changes) -> None:
        if changes.aspects & ~_KEEPS_CONVERSIONS:
            self._conversions[path] += 1

    def note_configuration(self) -> None:
        """A configuration of git's for many repositories changed."""
        self._configurations += 1

    def note_seen_in_vain(self, path: RepoPath) -> None:
        """A walk looked at it without coming to a status: the next analysis need not try that again."""
        self._seen_in_vain.add(path)

    def note_blindness(self, path: RepoPath) -> None:
        """For a time no event told of it: attributes may have changed."""
        self._copied_under.pop(path, None)

    def give_up(self, path: RepoPath) -> None:
        """What comes of the work in flight is nobody's any more."""
        self._jobs.pop(path, None)

    def forget(self, path: RepoPath) -> None:
        for kept in (self._jobs, self._began, self._conversions, self._copied_under, self.took_s):
            kept.pop(path, None)
        self._seen_in_vain.discard(path)

    # ---- work

    def begin(self, repository: Repository, effect: Analyse) -> None:
        path = repository.path
        if effect.unwalked:  # and never seen: nobody has told of changes
            self._began[path] = time.time()
            self._submit(repository, by_git=effect.by_git, afresh=effect.by_git, unwalked=True)
            return
        increments = self._shells.increments
        if not (effect.whole or effect.by_git) and increments.is_priming(path):
            increments.after_priming(path, lambda: self.begin(repository, effect))
            return
        if not self._shells.is_known(repository):
            return  # forgotten while a state was made
        self._began[path] = time.time()
        changes = increments.begin(path)
        if effect.whole or effect.by_git or not increments.follows(path):
            by_git = effect.by_git or path in self._seen_in_vain
            self._submit(repository, by_git=by_git, afresh=effect.by_git)
        else:
            self._advance(repository, increments.advance(path, changes))

    def ask_git_about(self, repository: Repository, done: Callable[[Outcome], None]) -> None:
        """As if nothing had ever been asked; beside the engine."""
        job = self._job(repository, by_git=True, afresh=True)
        self._audited[id(job)] = done
        self._shells.analyst.submit(job)

    def _advance(self, repository: Repository, steps: Iterator[Analysed | None]) -> None:
        """Run an incremental analysis for a slice; others are served before the next."""
        from gitwatchd.git.reach import LeadsAway
        from gitwatchd.incremental.terms import Inexact

        path = repository.path
        if not self._shells.is_known(repository):
            return
        until = time.perf_counter() + SLICE_S
        try:
            for outcome in steps:
                if outcome is not None:
                    self._shells.on_advanced(path, outcome, self._began.pop(path, time.time()))
                    return
                if time.perf_counter() > until:
                    self._loop.call_soon(lambda: self._advance(repository, steps))
                    return
        except LeadsAway as away:
            self._shells.on_led_away(path, away.mount)
            self._submit(repository, by_git=True)
        except Inexact:
            self._submit(repository, by_git=True)
        except Exception:  # noqa: BLE001 - a seam of errors.py: a bug of this job; git is asked instead
            _log.exception("following %r", path)
            self._submit(repository, by_git=True)

    def _submit(self, repository: Repository, *, by_git: bool, afresh: bool = False, unwalked: bool = False) -> None:
        # What was noted for an advance that came to nothing is covered by git's answer, which begins now.
        job = self._jobs[repository.path] = self._job(repository, by_git=by_git, afresh=afresh, unwalked=unwalked)
        self._seen_in_vain.discard(repository.path)
        self._shells.analyst.submit(job)

    def _job(self, repository: Repository, *, by_git: bool, afresh: bool, unwalked: bool = False) -> Job:
        location = repository.location
        # Changes whenever the way that git converts that repository's files may have changed.
        stamp = self._configurations, self._conversions[location.path]
        reuse = not afresh and self._copied_under.get(location.path) == stamp
        self._copied_under[location.path] = stamp
        if repository.watch is not Watch.WATCHED:
            self.note_blindness(location.path)
            reuse = False
        timeout_s = self._configuration.settings.limits.timeout_s
        return Job(
            location, self._index_cache, timeout_s, self._trust.allowed(location), reuse, by_git,
            self._shells.is_local(location), unwalked,
        )  # fmt: skip

    # ---- outcomes

    def on_outcome(self, job: Job, outcome: Outcome) -> None:
        path = job.location.path
        audited = self._audited.pop(id(job), None)
        if audited is not None:
            audited(outcome)
            self._shells.on_place_free()
            return
        if self._jobs.get(path) is not job:
            self._shells.on_place_free()
            return
        del self._jobs[path]
        level = Level.L3
        if isinstance(outcome, Analysed):
            self.took_s[path] = outcome.took_s
            level = Level.L3 if outcome.by_git else Level.L1
        self._shells.on_analysed(path, outcome, level, self._began.pop(path, time.time()))
