"""The engine among its shells: what is asked goes in, what the engine wants is carried out.

Owns: the engine, and what it wanted before the start. Runs: serving thread only.
Invariant: a request is put to the engine only after the queues that its answer depends on were drained, and after each
repository's identity was compared (watching.py).
Longer than its neighbours: each handler is a few lines, and together they are all that passes between requests, the
engine and the shells, which is easier to judge on one page. What has a state of its own was moved out.
"""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, assert_never

from gitwatchd.daemon.analyses import Analyses
from gitwatchd.daemon.configuration import Configuration
from gitwatchd.daemon.decisions import Decisions
from gitwatchd.daemon.queries import OnComplete, OpenQueries, Scope
from gitwatchd.daemon.recorder import Recorder
from gitwatchd.daemon.roots import Roots
from gitwatchd.daemon.trust import Trust
from gitwatchd.daemon.watching import Watching
from gitwatchd.engine.engine import Engine
from gitwatchd.engine.events import (
    Analyse,
    Analysed,
    Asked,
    Changed,
    Complete,
    Effect,
    Event,
    Expired,
    Forgotten,
    Found,
    Level,
    Publish,
    QueryId,
    Release,
    ResumeDiscovery,
    Roomier,
    StopDiscovery,
    Tick,
    Unwatch,
    Walk,
    Walked,
)
from gitwatchd.engine.repository import Repository
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.report import Watch, facts_from_wire, facts_to_wire
from gitwatchd.model.repository import Analysed as AnalysedOutcome
from gitwatchd.model.repository import Failed, Gone, Location, Outcome, RepoPath, Unsafe
from gitwatchd.store.cache import Cache
from gitwatchd.store.cache_reader import CachedRepository
from gitwatchd.store.intent import Intent

if TYPE_CHECKING:
    from gitwatchd.analysis.first_sight import Sighting
    from gitwatchd.analysis.process import WorkerProcess
    from gitwatchd.daemon.analyst import Analyst
    from gitwatchd.daemon.increments import Increments
    from gitwatchd.git.worktree import Found as FoundFiles
    from gitwatchd.git.worktree import Tree
    from gitwatchd.watch.watcher import Watcher

_log = logging.getLogger(__name__)

WALKS_FOR_WORKERS = 20
"""Walks in waiting from which the start of workers, a quarter of a second of a core each, pays."""
GONE_SHOWN_S = 24 * 3600.0
LOOK_FOR_ROOM_S = 2.0
"""While a repository is polled for want of watches the limits are read this often: two small files of /proc."""
BETWEEN_TICKS_S = 0.01
"""What is due in between waits for the next: after a first scan, each of hundreds is due at a time of its own."""


def _look(location: Location, tree: Tree, found: FoundFiles) -> Sighting | None:
    """As the original; imported by the walk that needs it, for the first of many come from workers."""
    from gitwatchd.analysis.first_sight import look

    return look(location, tree, found)


class Fleet:
    def __init__(
        self,
        loop: Loop,
        intent: Intent,
        configuration: Configuration,
        cache: Cache,
        index_cache: bytes,
        on_published: Callable[[Repository], None],
        on_forgotten: Callable[[RepoPath], None],
    ) -> None:
        self._on_forgotten = on_forgotten
        self._loop = loop
        self.intent = intent
        self._cache = cache
        self._on_published = on_published
        self.engine = Engine()
        self.recorder = Recorder(self.engine)
        self.queries = OpenQueries(loop, self.engine, lambda tops, path: self.roots.hides(tops, path))
        self.started = False
        self._expects_scan = False
        self._held_back: list[Effect] = []
        """What the engine wanted before `start`."""
        self.watching = Watching(self)
        self.decisions = Decisions(self)
        self.index_cache = index_cache
        self.configuration = configuration
        configuration.on_change = self.decisions.on_settings_changed
        self.most_jobs: int | None = None
        """What the open requests allow; None: none of them said."""
        self.roots = Roots(intent, self.watching.discover, self.decisions.is_absent)
        self.roots.configure(self.decisions.configured_roots(), configuration.settings.ignore)
        self._trust = Trust(intent, configuration)
        self.analyses = Analyses(loop, self, self._trust, configuration, index_cache)
        self._tick: Timer | None = None
        self._room: Timer | None = None
        """The next look for room, while somebody goes without."""
        self._sorted: list[RepoPath] | None = None

    # ---- the shells. Made when they are first needed: their imports (watchdog, the readers of git's files) are most of
    # the daemon's start, and the first replies after a restart come from the cache without them.

    @cached_property
    def analyst(self) -> Analyst:
        from gitwatchd.analysis.pool import pool_ceiling
        from gitwatchd.daemon.analyst import Analyst

        ceiling = pool_ceiling(os.cpu_count() or 1)
        analyst = Analyst(
            self._loop, ceiling, self.analyses.on_outcome,
            lambda path: self.watcher.mount_of(path), lambda path: self.watcher.type_of(path),
            self.on_place_free, lambda path, mount: self.watcher.note_led_away(path, mount),
        )  # fmt: skip
        analyst.limit = self.configuration.settings.limits.jobs
        return analyst

    @cached_property
    def watcher(self) -> Watcher:
        from gitwatchd.watch.watcher import Watcher

        watcher = Watcher(self._loop, self.watching, sight=_look)
        # From the first look at any path on: a request is resolved before anything is started for it.
        reach.keep_local(watcher.known_mounts)
        return watcher

    @cached_property
    def increments(self) -> Increments:
        from gitwatchd.daemon.increments import Increments

        return Increments(
            self._loop, lambda path: self.watcher.drain((path,)), self.watcher.attributes_of, self._watch_tracked,
            self.watcher.strays_of,
        )  # fmt: skip

    def _watch_tracked(self, path: RepoPath) -> None:
        """The index names directories that may not be watched: ignored ones, submodules."""
        from gitwatchd.watch.repository_watch import TRACKED

        self.feed(Changed(path, new_directories=frozenset({TRACKED})))

    # ---- start and stop

    def remember(self, rows: Iterable[CachedRepository]) -> None:
        """Take over what an earlier process knew; every outcome is stale until verified."""
        for row in rows:
            if not self.roots.cover(row.location.path):
                self._cache.forget([row.location.path])
                continue
            outcome = AnalysedOutcome(facts_from_wire(row.facts), row.entries)
            self.engine.remember(Found(row.location, outcome, row.verified_at, row.asked_at))
        self._sorted = None

    def start(self) -> None:
        """Begin to work: look for repositories below every root, verify what is remembered. Idempotent."""
        if self.started:
            return
        self.watcher.start()
        self.started = True
        self.watcher.follow_settings((self.configuration.path,))
        self.configuration.read()  # it may have changed before it was watched
        self.roots.look_everywhere()
        held_back, self._held_back = self._held_back, []
        for effect in held_back:
            self._carry_out(effect)
        self.feed(Tick())

    def expect_scan(self, worker: WorkerProcess) -> None:
        """Nothing is known yet, so a scan is what will be asked for first: a worker was started for it."""
        self._expects_scan = True
        self.analyst.pool.adopt(worker)

    def close(self) -> None:
        if self.started or self._expects_scan:
            self.analyst.close()
        if self.started:
            self.watcher.close()
        reach.keep_local(None)
        self._cache.close()
        self.intent.close()

    def expire(self, now: float) -> None:
        """Forget roots that nobody asked for, and repositories that have been gone for a day. `now`: epoch seconds."""
        for root in self.roots.expired(now):
            self.decisions.remove_root(root.path)
        for repository in list(self.engine.repositories.values()):
            if repository.gone and now - (repository.verified_at or 0.0) > GONE_SHOWN_S:
                self.feed(Forgotten(repository.path))
        self._cache.prune(now)
        if self.started:
            self.analyst.prune(
                self.index_cache, [r.location.git_dir + b"/index" for r in self.engine.repositories.values()]
            )

    # ---- repositories

    def repository(self, path: bytes) -> Repository | None:
        return self.engine.repositories.get(RepoPath(path))

    def adopt(self, location: Location) -> None:
        """Make a repository known that was met on the way (a request named it)."""
        self.feed(Found(location))

    def below(self, tops: Iterable[bytes]) -> list[Repository]:
        """Known repositories at and below these directories, in order of their paths."""
        if self._sorted is None:
            self._sorted = sorted(self.engine.repositories)
        paths: dict[RepoPath, None] = {}
        for top in tops:
            if top in self.engine.repositories:
                paths[RepoPath(top)] = None
            prefix = top if top.endswith(b"/") else top + b"/"
            for path in self._sorted[bisect_left(self._sorted, RepoPath(prefix)) :]:
                if not path.startswith(prefix):
                    break
                paths[path] = None
        return [self.engine.repositories[path] for path in sorted(paths)]

    def listed(self, tops: tuple[bytes, ...]) -> list[Repository]:
        """Those of `below` that a list of what lies there shows."""
        return [r for r in self.below(tops) if not self.roots.hides(tops, r.path)]

    # ---- requests

    def is_current(self, path: RepoPath) -> Repository | None:
        """The repository, if its outcome may be given as fresh to a request that arrived before this call."""
        repository = self.engine.repositories.get(path)
        if repository is None or not repository.current:
            return None
        self.watcher.drain((path,))
        if self.configuration.unsettled:
            return None
        self.watching.check_identity(path)
        return repository if repository.current and self.engine.repositories.get(path) is repository else None

    def count_hit(self, repository: Repository, epoch: float) -> None:
        """An answer was given from memory."""
        repository.asked_at = epoch
        self.engine.levels[Level.L0] += 1

    def ask(
        self,
        scope: Scope,
        on_complete: OnComplete,
        *,
        wait_s: float | None,
        verify: bool = False,
    ) -> QueryId:
        """Answer about `scope`, at once or when the answer is known; `wait_s` 0: with what is known now."""
        wait = wait_s is None or wait_s > 0
        if wait:
            self.start()
        if self.started:
            self.watcher.drain(scope.only or None)
        members = self._members(scope)
        for path in members:
            self.watching.check_identity(path)
        epoch = time.time()
        for top in scope.tops or scope.only:
            self.roots.touch(top, epoch)
        if wait:
            for top in scope.tops:
                if self._is_unwatched(top) and not self.roots.looking((top,)):
                    self.roots.look(top)
        query = self.queries.open(scope, on_complete, wait_s, self.abandon)
        discovering = not scope.only and self.roots.looking(scope.tops)
        self.feed(Asked(query, scope.tops, members, discovering, wait, verify, epoch))
        return query

    def _is_unwatched(self, top: bytes) -> bool:
        """Whether no event would tell of new repositories below."""
        if not self.stays_local(top):
            return self.repository(top) is None
        return self.watcher.discovery_is_blind

    def stays_local(self, directory: bytes) -> bool:
        """Whether looking for a repository in `directory` cannot hang, as far as is known."""
        return self.watcher.is_local(directory) and self.watcher.leads_onto(directory) is None

    def is_directory(self, path: bytes) -> bool | None:
        """Whether `path` is, or leads to, a directory; None where looking might hang."""
        try:
            # What is missing is not looked at again: by then it may be a link.
            where = reach.resolve_links(path, self.watcher.is_local, strict=True)
        except OSError:
            return False
        return os.path.isdir(where) if self.watcher.is_local(where) else None

    def is_local(self, location: Location) -> bool:
        """Whether looking at it cannot hang."""
        parts = {location.path, location.git_dir, location.common_dir}
        return self.watcher.leads_onto(location.path) is None and all(map(self.watcher.is_local_throughout, parts))

    def limit_jobs(self, most: int | None) -> None:
        """At most this many analyses at once (0: one, in a worker); None: as many as pay."""
        self.most_jobs = most
        limit = self.configuration.settings.limits.jobs if most is None else most
        if self.started or most is not None:
            self.analyst.limit = limit

    def abandon(self, query: QueryId) -> None:
        """The deadline passed, or nobody wants the answer any more: complete with what there is."""
        if query in self.queries:
            self.recorder.explain(query, self.queries.waited_s(query), "ends")
            self.feed(Expired(query))

    def _members(self, scope: Scope) -> list[RepoPath]:
        if scope.only:
            return list(scope.only)
        return [repository.path for repository in self.listed(scope.tops)]

    def refresh(self, scope: Scope) -> None:
        """Trust nothing that is known of these repositories: walk and analyse them anew. Who asks after this is
        answered when that is done."""
        members = self._members(scope)
        self.start()
        for path in members:
            self.feed(Changed(path, rewalk=True))
        # Links on the way may lead elsewhere now.
        self.roots.configure(self.decisions.configured_roots(), self.roots.ignore)
        for top in scope.tops:
            self.roots.look(top)

    # ---- the audit's view

    def idle_repositories(self) -> list[Repository]:
        if not self.started or self.engine.backlog:
            return []
        return [r for r in self.engine.repositories.values() if r.current and isinstance(r.outcome, AnalysedOutcome)]

    def ask_git_about(self, repository: Repository, done: Callable[[Outcome], None]) -> None:
        self.analyses.ask_git_about(repository, done)

    def distrust(self, repository: Repository) -> None:
        self.increments.drop(repository.path)
        self.feed(Changed(repository.path, whole=True))

    @property
    def cache_problem(self) -> str | None:
        """Why reports cannot be written down at present."""
        return self._cache.problem

    def forget_cached(self, path: RepoPath) -> None:
        self._cache.forget([path])

    def save_all(self) -> None:
        """The cache was made anew: write down what is known."""
        for repository in self.engine.repositories.values():
            self._save(repository)

    # ---- the engine

    def feed(self, event: Event) -> None:
        engine = self.engine
        backlog = engine.backlog + engine.walks
        engine.slots = engine.analysing + self.analyst.room(backlog) if self.started else 0
        now = time.monotonic()
        self.recorder.note_event(event, now)
        if isinstance(event, Found | Forgotten):
            self._sorted = None
        for effect in engine.handle(event, now):
            if self.started or isinstance(effect, Complete):
                self._carry_out(effect)
            else:
                self._held_back.append(effect)
        self._set_tick()
        if self._room is None and engine.budget.degraded and self.started:
            self._room = self._loop.call_later(LOOK_FOR_ROOM_S, self._look_for_room)

    def _look_for_room(self) -> None:
        self._room = None
        raised = self.watcher.look_for_room()
        self.feed(Roomier(raised.watches, raised.instances, raised.descriptors))

    def _set_tick(self) -> None:
        due = self.engine.wake_at()
        if due is None or (self._tick is not None and self._tick.callback is not None and self._tick.due <= due):
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick = self._loop.call_later(max(BETWEEN_TICKS_S, due - time.monotonic()), self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        self.feed(Tick())

    def _carry_out(self, effect: Effect) -> None:
        try:
            self._try_to_carry_out(effect)
        except Exception:  # noqa: BLE001 - a seam of errors.py: what the engine wants besides must not be lost with it
            _log.exception("carrying out %.200r", effect)
            # Not at once: this may be in the middle of the effects of another event.
            if isinstance(effect, Walk):
                self._loop.call_soon(lambda: self.fail_walk(effect.path, "its walk could not begin: see the log"))
            elif isinstance(effect, Analyse):
                self._loop.call_soon(lambda: self._fail_analysis(effect.path, "its analysis could not begin"))

    def fail_walk(self, path: RepoPath, reason: str) -> None:
        repository = self.engine.repositories.get(path)
        if repository is not None:
            self.increments.drop(path)  # what happens from now on is in nobody's list of changes
            self.feed(Walked(repository.location, Watch.POLLED, reason, "see: gitwatch daemon logs"))

    def _fail_analysis(self, path: RepoPath, reason: str) -> None:
        repository = self.engine.repositories.get(path)
        if repository is not None and repository.running is not None and not repository.running.walking:
            self.analyses.give_up(path)
            self.feed(Analysed(path, Failed(reason, "see: gitwatch daemon logs"), Level.L3, time.time()))

    def give_up_lost(self) -> None:
        """End what must have been lost on its way; it is logged. The next request tries again."""
        for path, what in self.recorder.overdue():
            if what == "walk":
                self.watcher.release(path)
                self.fail_walk(path, "its walk did not end")
            else:
                self._fail_analysis(path, "its analysis did not end")

    def _try_to_carry_out(self, effect: Effect) -> None:
        match effect:
            case Complete():
                self.queries.complete(effect.query)
            case Release():
                self.increments.drop(effect.path)
                self.watcher.release(effect.path)
                self.watching.forget(effect.path)
                self.analyses.forget(effect.path)
                self.recorder.forget(effect.path)
                self._on_forgotten(effect.path)
                self._cache.forget([effect.path])
            case Unwatch():
                self.increments.drop(effect.path)
                self.watcher.release(effect.path)
            case StopDiscovery():
                self.watcher.stop_discovery()
            case ResumeDiscovery():
                self.watcher.resume_discovery()
                self.roots.look_everywhere()
            case Walk() | Analyse() | Publish():
                repository = self.engine.repositories.get(effect.path)
                if repository is None:
                    return  # forgotten by an effect carried out before this one
                if isinstance(effect, Walk):
                    self.recorder.note_work(effect.path, "walk")
                    self.watching.note_walk(effect.path, effect.directories)
                    if effect.directories is None:
                        self.increments.drop(effect.path)
                    self.watcher.walk(repository.location, effect.directories, look=not self._workers_look(repository))
                elif isinstance(effect, Analyse):
                    self.recorder.note_work(effect.path, "analysis by git" if effect.by_git else "analysis")
                    self.analyses.begin(repository, effect)
                else:
                    self._publish(repository)
            case _:
                assert_never(effect)

    def _workers_look(self, repository: Repository) -> bool:
        """Whether a walk should leave the look at the files to a worker: with many to come, both are kept busy."""
        return repository.waiting and self.engine.walks > WALKS_FOR_WORKERS and self.analyst.pool.capacity() > 0

    def trust(self, path: RepoPath) -> None:
        """Allow the filter drivers that the repository's own configuration defines now, until they change.

        Raises EnvironmentFailure where that configuration cannot be read.
        """
        location = self.engine.repositories[path].location
        if not self.is_local(location):
            raise EnvironmentFailure(
                f"{os.fsdecode(path)}: what it would run cannot be looked at safely on this file system",
                "define the filter in your own configuration: git config --global",
            )
        self._trust.grant(location)
        self.feed(Changed(path, whole=True))

    def end_trust(self, path: RepoPath) -> bool:
        """Allow them no more, whether the repository is still there or not; False when they were not allowed."""
        if not self._trust.revoke(path):
            return False
        if path in self.engine.repositories:
            self.feed(Changed(path, whole=True))
        return True

    # ---- the analyses' shells

    def is_known(self, repository: Repository) -> bool:
        return self.engine.repositories.get(repository.path) is repository

    def on_place_free(self) -> None:
        self.feed(Tick())

    def on_led_away(self, path: RepoPath, mount: bytes) -> None:
        self.watcher.note_led_away(path, mount)
        # The walk finds the same, and what lies there is not watched from then on.
        self.feed(Changed(path, rewalk=True))

    def on_advanced(self, path: RepoPath, outcome: AnalysedOutcome, began: float) -> None:
        self.feed(Analysed(path, outcome, Level.L1, began))

    def on_analysed(self, path: RepoPath, outcome: Outcome, level: Level, began: float) -> None:
        if isinstance(outcome, AnalysedOutcome | Unsafe) and outcome.nested:
            for nested in outcome.nested:  # first, or a query that they belong to would be complete without them
                self.watching.on_found(nested)
            outcome = replace(outcome, nested=())
        self.feed(Analysed(path, outcome, level, began))
        if isinstance(outcome, Gone):
            self.watching.lose(path)  # the walk that the next question starts decides
        else:
            self._follow(path, outcome)

    def _follow(self, path: RepoPath, outcome: Outcome) -> None:
        repository = self.engine.repositories.get(path)
        if (
            isinstance(outcome, AnalysedOutcome)
            and repository is not None
            and repository.watch is Watch.WATCHED
            and self.is_local(repository.location)
        ):
            self.increments.prime(repository.location, outcome, lambda: repository.outcome is outcome)
        else:
            # What was known before it lacks the changes that this analysis has taken in.
            self.increments.stop_following(path)

    def _publish(self, repository: Repository) -> None:
        self._save(repository)
        self._on_published(repository)

    def _save(self, repository: Repository) -> None:
        outcome = repository.outcome
        if isinstance(outcome, AnalysedOutcome | Unsafe):
            entries = outcome.entries if isinstance(outcome, AnalysedOutcome) else None
            self._cache.save(
                CachedRepository(
                    repository.location, facts_to_wire(outcome.facts), entries,
                    repository.verified_at or 0.0, repository.asked_at, None,
                )
            )  # fmt: skip
