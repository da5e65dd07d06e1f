"""The engine among its shells: what the watchers say goes in, what the engine wants is carried out.

Owns: the engine, the identities of repositories. Runs: serving thread only.
Invariant: a request is put to the engine only after the queues that its answer depends on were drained, and after each
repository's path was compared with the device and inode it had when it was walked: the rename of a directory above a
repository raises no event inside it.
Longer than its neighbours: each handler is a few lines, and together they are the whole of what passes between the
engine and its shells, which is easier to judge on one page. What has a state of its own was moved out (roots, trust,
audit, increments, analyst, open queries).
"""

from __future__ import annotations

import logging
import os
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, assert_never

from gitwatchd.daemon.configuration import Configuration
from gitwatchd.daemon.paths import resolve_links
from gitwatchd.daemon.queries import OnComplete, OpenQueries, Scope
from gitwatchd.daemon.recorder import Recorder
from gitwatchd.daemon.roots import Roots
from gitwatchd.daemon.trust import Trust, is_trusted
from gitwatchd.engine.engine import Engine
from gitwatchd.engine.events import (
    Analyse,
    Analysed,
    Asked,
    Busy,
    Changed,
    Complete,
    Discovered,
    Effect,
    Event,
    Expired,
    Forgotten,
    Found,
    Level,
    Publish,
    QueryId,
    Refused,
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
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.report import Watch, facts_from_wire, facts_to_wire
from gitwatchd.model.repository import Analysed as AnalysedOutcome
from gitwatchd.model.repository import Failed, Gone, Job, Location, Outcome, RepoPath, Result, Survey, Surveyed, Unsafe
from gitwatchd.settings.model import Settings
from gitwatchd.store.cache import Cache
from gitwatchd.store.cache_reader import CachedRepository
from gitwatchd.store.intent import Intent, Root, RootKind
from gitwatchd.watch.changes import Aspect, Changes

if TYPE_CHECKING:
    from gitwatchd.daemon.analyst import Analyst
    from gitwatchd.daemon.increments import Increments
    from gitwatchd.watch.watcher import Identity, WalkResult, Watcher

_log = logging.getLogger(__name__)

_KEEPS_CONVERSIONS = (
    Aspect.WORKTREE | Aspect.INDEX | Aspect.HEAD | Aspect.REFS | Aspect.STASH | Aspect.ACTION | Aspect.FACT
    | Aspect.NESTED | Aspect.IGNORE
)  # fmt: skip
SLICE_S = 0.002
"""An incremental analysis lets other requests in this often."""
WALKS_FOR_WORKERS = 20
"""Walks in waiting from which the start of workers, a quarter of a second of a core each, pays."""
GONE_SHOWN_S = 24 * 3600.0
LOOK_FOR_ROOM_S = 2.0
"""While a repository is polled for want of watches the limits are read this often: two small files of /proc."""


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
        self._audited: dict[int, Callable[[Outcome], None]] = {}
        """Jobs beside the engine, by identity, with who waits for each."""
        self.index_cache = index_cache
        self._on_published = on_published
        self.engine = Engine()
        self.recorder = Recorder(self.engine)
        self.queries = OpenQueries(loop, self.engine, lambda tops, path: self.roots.hides(tops, path))
        self._started = False
        self._held_back: list[Effect] = []
        """What the engine wanted before `start`."""
        self._placing: dict[RepoPath, frozenset[bytes] | None] = {}
        """Directories whose watches are being placed, by repository."""
        self._conversions: Counter[RepoPath] = Counter()
        self._configurations = 0
        """How often attributes or configuration may have changed: of one repository, of all."""
        self._copied_under: dict[RepoPath, tuple[int, int]] = {}
        """The stamp of these under which each private copy of an index was made."""
        self.configuration = configuration
        configuration.on_change = self._on_settings_changed
        self._most_jobs: int | None = None
        """What the open requests allow; None: none of them said."""
        self.roots = Roots(intent, self._discover)
        self.roots.configure(self._configured_roots(), configuration.settings.ignore)
        self._trust = Trust(intent, configuration)
        self._seen_in_vain: set[RepoPath] = set()
        """Walks looked at these without coming to a status: the analysis need not try that again."""
        self._jobs: dict[RepoPath, Job] = {}
        """What the analyst carries, by repository; the outcome of any other job is nobody's any more."""
        self.took_s: dict[RepoPath, float] = {}
        """How long the last whole analysis of each took."""
        self._identities: dict[RepoPath, Identity] = {}
        self._began: dict[RepoPath, float] = {}
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
            self._loop, ceiling, self._on_outcome,
            lambda path: self.watcher.mount_of(path), lambda path: self.watcher.type_of(path),
        )  # fmt: skip
        analyst.limit = self.configuration.settings.limits.jobs
        return analyst

    @cached_property
    def watcher(self) -> Watcher:
        from gitwatchd.analysis.first_sight import look
        from gitwatchd.watch.watcher import Watcher

        return Watcher(self._loop, self, sight=look)

    @cached_property
    def increments(self) -> Increments:
        from gitwatchd.daemon.increments import Increments

        return Increments(
            self._loop, lambda path: self.watcher.drain((path,)), self.watcher.attributes_of, self._watch_tracked
        )

    def _watch_tracked(self, path: RepoPath) -> None:
        """The index names directories that may not be watched: ignored ones, submodules."""
        from gitwatchd.watch.repository_watch import TRACKED

        self._feed(Changed(path, new_directories=frozenset({TRACKED})))

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
        if self._started:
            return
        self.watcher.start()
        self._started = True
        self.watcher.follow_settings((self.configuration.path,))
        self.configuration.read()  # it may have changed before it was watched
        self.roots.look_everywhere()
        held_back, self._held_back = self._held_back, []
        for effect in held_back:
            self._carry_out(effect)
        self._feed(Tick())

    def close(self) -> None:
        if self._started:
            self.analyst.close()
            self.watcher.close()
        self._cache.close()
        self.intent.close()

    # ---- settings

    def settle(self) -> None:
        """Have in force what `config.toml` says now; for a request that has just arrived."""
        if self._started:
            self.watcher.drain(())
            self.configuration.settle()
        else:
            self.configuration.read()

    def on_settings(self) -> None:
        self.configuration.note()

    def _on_settings_changed(self, before: Settings) -> None:
        now = self.configuration.settings
        if (now.roots, now.ignore) != (before.roots, before.ignore):
            self._configure_roots(look_everywhere=not set(before.ignore) <= set(now.ignore))
        self.limit_jobs(self._most_jobs)
        more_time = now.limits.timeout_s != before.limits.timeout_s
        for repository in list(self.engine.repositories.values()):
            failed = more_time and isinstance(repository.outcome, Failed)  # perhaps for want of it
            if failed or is_trusted(now, repository.path) != is_trusted(before, repository.path):
                self._feed(Changed(repository.path, whole=True))

    def _configure_roots(self, *, look_everywhere: bool) -> None:
        added = self.roots.configure(self._configured_roots(), self.configuration.settings.ignore)
        for repository in list(self.engine.repositories.values()):
            if not self.roots.cover(repository.path):
                self._feed(Forgotten(repository.path))
        if self._started:
            for path in [root.path for root in self.roots.all()] if look_everywhere else added:
                self.roots.look(path)

    def _configured_roots(self) -> list[bytes]:
        paths = self.configuration.settings.roots
        if not paths:
            return []
        from gitwatchd.watch.mounts import read_mounts

        mounts = read_mounts()
        return [resolve_links(path, mounts.is_local) for path in paths]

    # ---- roots

    def add_root(self, path: bytes, kind: RootKind, *, permanent: bool, include_ignored: bool) -> None:
        """Look below it now, and again at each start. Raises EnvironmentFailure when it cannot be written down."""
        self.roots.add(path, kind, permanent=permanent, include_ignored=include_ignored)
        if self._started:
            self.roots.look(path)
        else:
            self.start()

    def remove_root(self, path: bytes) -> bool:
        """False when it is no root. Its repositories are forgotten unless another root holds them."""
        if not self.roots.remove(path):
            return False
        for repository in self.below((path,)):
            if not self.roots.cover(repository.path):
                self._feed(Forgotten(repository.path))
        return True

    def _discover(self, directory: bytes, root: Root) -> None:
        if not self.watcher.is_local(directory):
            self._survey(directory, root)
            return
        if not (ignore := self.roots.ignore):
            self.watcher.discover(directory, root.path, include_ignored=root.include_ignored)
            return
        from gitwatchd.settings.globs import matches_directory

        self.watcher.discover(
            directory, root.path, include_ignored=root.include_ignored,
            skip=lambda path: matches_directory(ignore, path),
        )  # fmt: skip

    def _survey(self, directory: bytes, root: Root) -> None:
        """As `Watcher.discover`, where looking may hang."""

        def found(result: Result) -> None:
            unreadable = []
            if isinstance(result, Surveyed):
                for location in result.locations:
                    self.on_found(location)
            elif isinstance(result, Failed):
                unreadable = [(directory, result.reason)]
            self.on_discovered(root.path, unreadable)

        timeout_s = self.configuration.settings.limits.timeout_s
        self.analyst.remote.submit(Survey(directory, root.include_ignored, timeout_s), found)

    def expire(self, now: float) -> None:
        """Forget roots that nobody asked for, and repositories that have been gone for a day. `now`: epoch seconds."""
        for root in self.roots.expired(now):
            self.remove_root(root.path)
        for repository in list(self.engine.repositories.values()):
            if repository.gone and now - (repository.verified_at or 0.0) > GONE_SHOWN_S:
                self._feed(Forgotten(repository.path))
        self._cache.prune(now)
        if self._started:
            self.analyst.prune(
                self.index_cache, [r.location.git_dir + b"/index" for r in self.engine.repositories.values()]
            )

    # ---- repositories

    def repository(self, path: bytes) -> Repository | None:
        return self.engine.repositories.get(RepoPath(path))

    def adopt(self, location: Location) -> None:
        """Make a repository known that was met on the way (a request named it)."""
        self._feed(Found(location))
        self._sorted = None

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
        self._check_identity(path)
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
        if self._started:
            self.watcher.drain(scope.only or None)
        members = self._members(scope)
        for path in members:
            self._check_identity(path)
        epoch = time.time()
        for top in scope.tops or scope.only:
            self.roots.touch(top, epoch)
        if wait:
            for top in scope.tops:
                if self._is_unwatched(top) and not self.roots.looking((top,)):
                    self.roots.look(top)
        query = self.queries.open(scope, on_complete, wait_s, self.abandon)
        discovering = not scope.only and self.roots.looking(scope.tops)
        self._feed(Asked(query, scope.tops, members, discovering, wait, verify, epoch))
        return query

    def _is_unwatched(self, top: bytes) -> bool:
        """Whether no event would tell of new repositories below."""
        if not self.watcher.is_local(top):
            return self.repository(top) is None
        return self.watcher.discovery_is_blind

    def is_local(self, location: Location) -> bool:
        """Whether looking at it cannot hang."""
        parts = {location.path, location.git_dir, location.common_dir}
        return all(map(self.watcher.is_local_throughout, parts))

    def limit_jobs(self, most: int | None) -> None:
        """At most this many analyses at once (0: one, in a worker); None: as many as pay."""
        self._most_jobs = most
        limit = self.configuration.settings.limits.jobs if most is None else most
        if self._started or most is not None:
            self.analyst.limit = limit

    def abandon(self, query: QueryId) -> None:
        """The deadline passed, or nobody wants the answer any more: complete with what there is."""
        if query in self.queries:
            self.recorder.explain(query, self.queries.waited_s(query), "ends")
            self._feed(Expired(query))

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
            self._feed(Changed(path, rewalk=True))
        self.roots.configure(self._configured_roots(), self.roots.ignore)  # links on the way may lead elsewhere now
        for top in scope.tops:
            self.roots.look(top)

    # ---- the audit's view

    def idle_repositories(self) -> list[Repository]:
        if not self._started or self.engine.backlog:
            return []
        return [r for r in self.engine.repositories.values() if r.current and isinstance(r.outcome, AnalysedOutcome)]

    def ask_git_about(self, repository: Repository, done: Callable[[Outcome], None]) -> None:
        job = self._job(repository.location, by_git=True, afresh=True)
        self._audited[id(job)] = done
        self.analyst.submit(job, local=self.is_local(repository.location))

    def distrust(self, repository: Repository) -> None:
        self.increments.drop(repository.path)
        self._feed(Changed(repository.path, whole=True))

    @property
    def cache_problem(self) -> str | None:
        """Why reports cannot be written down at present."""
        return self._cache.problem

    def save_all(self) -> None:
        """The cache was made anew: write down what is known."""
        for repository in self.engine.repositories.values():
            self._save(repository)

    # ---- the watcher's listener

    def on_changed(self, path: RepoPath, changes: Changes) -> None:
        if changes.aspects & ~_KEEPS_CONVERSIONS:
            self._conversions[path] += 1
        if changes.busy is not None:
            self._feed(Busy(path, changes.busy))
        rewalk = bool(changes.aspects & (Aspect.IDENTITY | Aspect.LOST))
        if not rewalk and not changes.paths and not changes.new_directories and not changes.aspects:
            return
        from gitwatchd.watch.repository_watch import TRACKED

        followed = self.increments.note(path, changes)
        new_directories = frozenset(changes.new_directories)
        if changes.aspects & Aspect.INDEX and not followed:
            new_directories |= {TRACKED}
        self._feed(Changed(path, rewalk, whole=not followed, new_directories=new_directories))

    def on_walked(self, result: WalkResult) -> None:
        try:
            self._take_walk(result)
        except Exception:  # noqa: BLE001 - a seam of errors.py: without an end of its walk a repository waits for ever
            _log.exception("after the walk of %r", result.path)
            self._fail_walk(result.path, "a bug ended its walk: see the log")

    def _take_walk(self, result: WalkResult) -> None:
        if result.path not in self.engine.repositories:
            self.watcher.release(result.path)
            return
        if result.location is None:
            self._lose(result.path)
            return
        if result.identity is not None:
            self._identities[result.path] = result.identity
        if result.location.path != result.path:
            self._lose(result.path)
            self.on_found(result.location)
            return
        from gitwatchd.watch.repository_watch import TRACKED

        placed = self._placing.pop(result.path, None)
        if result.watch is not Watch.WATCHED:
            self.increments.drop(result.path)  # what happens from now on is in nobody's list of changes
        outcome = None if result.sight is None else self.increments.adopt(result.path, result.sight)
        if result.looked and outcome is None:
            self._seen_in_vain.add(result.path)
        if result.new_attributes or (placed is not None and TRACKED in placed):
            self.increments.drop(result.path)
        elif placed is not None:
            self.increments.look_again(result.path, placed)
        for nested in result.nested:
            self.on_found(nested)
        for submodule in result.submodules:
            # It was a repository of its own until its parent's index named it.
            if submodule.path in self.engine.repositories and not self.roots.is_root(submodule.path):
                self._feed(Forgotten(submodule.path))
        self._feed(
            Walked(
                result.location, result.watch, result.reason, result.hint, outcome, result.began, result.watches,
                result.shortage,
            )
        )  # fmt: skip

    def _lose(self, path: RepoPath) -> None:
        self._identities.pop(path, None)
        self.increments.drop(path)
        self.watcher.release(path)
        self._cache.forget([path])
        self._feed(Analysed(path, Gone(), Level.L3, time.time()))
        if self.watcher.is_local(path) and os.path.isdir(path):
            self.roots.look(path)

    def on_found(self, location: Location) -> None:
        known = self.engine.repositories.get(location.path)
        if known is None and not self.roots.cover(location.path):
            return  # left out, or its root is one no longer
        if known is None or known.gone:
            self._sorted = None
            self._feed(Found(location))
        else:
            self._check_identity(location.path)

    def on_discovered(self, root: bytes, unreadable: list[tuple[bytes, str]]) -> None:
        self.roots.ended(root, unreadable)
        held = self.watcher.discovery_refused
        if held is not None:
            self._feed(Refused(held))
        for query, waiting in list(self.engine.queries.items()):
            if waiting.discovering and not self.roots.looking(waiting.scope):
                self._feed(Discovered(query))

    def on_left(self, path: bytes) -> None:
        for repository in self.below((path,)):
            self._check_identity(repository.path)

    def on_suspicion(self) -> None:
        self.roots.look_everywhere()

    def on_appeared(self, directory: bytes) -> None:
        self.roots.look(directory)

    def on_mounts(self, points: set[bytes]) -> None:
        from gitwatchd.watch.mounts import lies_below

        for path, repository in list(self.engine.repositories.items()):
            location = repository.location
            parts = {location.path, location.git_dir, location.common_dir}
            if any(lies_below(part, point) or lies_below(point, part) for point in points for part in parts):
                self.increments.drop(path)
                self._feed(Changed(path, rewalk=True))
        for point in points:
            for root in self.roots.all():
                if lies_below(root.path, point):
                    self.roots.look(root.path)
            if not self.watcher.is_mount_point(point) and not self._in_worktree(point):
                self.roots.look(point)

    def _in_worktree(self, path: bytes) -> bool:
        """What lies there is found by the walk of a repository."""
        return any(path.startswith(r.path + b"/") and not r.gone for r in self.engine.repositories.values())

    def on_configuration(self) -> None:
        self._configurations += 1
        self.increments.drop_all()
        for path in list(self.engine.repositories):
            self._feed(Changed(path, whole=True))

    def _check_identity(self, path: RepoPath) -> None:
        repository = self.engine.repositories.get(path)
        if repository is None or not self._started or not self.watcher.is_local(path):
            return
        # Nothing of what is watched lay elsewhere when it was walked.
        if repository.watch is not Watch.WATCHED and not self.is_local(repository.location):
            return
        from gitwatchd.watch.watcher import read_identity

        known = self._identities.get(path)
        if repository.gone:
            if os.path.exists(repository.location.git_dir):
                self._feed(Changed(path, rewalk=True))
        elif known is not None and read_identity(repository.location) != known:
            del self._identities[path]
            self._feed(Changed(path, rewalk=True))

    # ---- the engine

    def _feed(self, event: Event) -> None:
        engine = self.engine
        backlog = engine.backlog + engine.walks
        engine.slots = engine.analysing + self.analyst.room(backlog) if self._started else 0
        now = time.monotonic()
        self.recorder.note_event(event, now)
        for effect in engine.handle(event, now):
            if self._started or isinstance(effect, Complete):
                self._carry_out(effect)
            else:
                self._held_back.append(effect)
        self._set_tick()
        if self._room is None and engine.budget.degraded and self._started:
            self._room = self._loop.call_later(LOOK_FOR_ROOM_S, self._look_for_room)

    def _look_for_room(self) -> None:
        self._room = None
        raised = self.watcher.look_for_room()
        self._feed(Roomier(raised.watches, raised.instances, raised.descriptors))

    def _set_tick(self) -> None:
        due = self.engine.wake_at()
        if due is None or (self._tick is not None and self._tick.callback is not None and self._tick.due <= due):
            return
        if self._tick is not None:
            self._tick.cancel()
        self._tick = self._loop.call_later(max(0.0, due - time.monotonic()), self._on_tick)

    def _on_tick(self) -> None:
        self._tick = None
        self._feed(Tick())

    def _carry_out(self, effect: Effect) -> None:
        try:
            self._try_to_carry_out(effect)
        except Exception:  # noqa: BLE001 - a seam of errors.py: what the engine wants besides must not be lost with it
            _log.exception("carrying out %.200r", effect)
            # Not at once: this may be in the middle of the effects of another event.
            if isinstance(effect, Walk):
                self._loop.call_soon(lambda: self._fail_walk(effect.path, "its walk could not begin: see the log"))
            elif isinstance(effect, Analyse):
                self._loop.call_soon(lambda: self._fail_analysis(effect.path, "its analysis could not begin"))

    def _fail_walk(self, path: RepoPath, reason: str) -> None:
        repository = self.engine.repositories.get(path)
        if repository is not None:
            self.increments.drop(path)  # what happens from now on is in nobody's list of changes
            self._feed(Walked(repository.location, Watch.POLLED, reason, "see: gitwatch daemon logs"))

    def _fail_analysis(self, path: RepoPath, reason: str) -> None:
        repository = self.engine.repositories.get(path)
        if repository is not None and repository.running is not None and not repository.running.walking:
            self._jobs.pop(path, None)
            self._feed(Analysed(path, Failed(reason, "see: gitwatch daemon logs"), Level.L3, time.time()))

    def give_up_lost(self) -> None:
        """End what must have been lost on its way; it is logged. The next request tries again."""
        for path, what in self.recorder.overdue():
            if what == "walk":
                self.watcher.release(path)
                self._fail_walk(path, "its walk did not end")
            else:
                self._fail_analysis(path, "its analysis did not end")

    def _try_to_carry_out(self, effect: Effect) -> None:
        match effect:
            case Complete():
                self.queries.complete(effect.query)
            case Release():
                self.increments.drop(effect.path)
                self.watcher.release(effect.path)
                self._identities.pop(effect.path, None)
                self._jobs.pop(effect.path, None)
                self._copied_under.pop(effect.path, None)
                self.took_s.pop(effect.path, None)
                self.recorder.forget(effect.path)
                self._on_forgotten(effect.path)
                self._cache.forget([effect.path])
                self._sorted = None
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
                    self._placing[effect.path] = effect.directories
                    if effect.directories is None:
                        self.increments.drop(effect.path)
                    self.watcher.walk(repository.location, effect.directories, look=not self._workers_look(repository))
                elif isinstance(effect, Analyse):
                    self.recorder.note_work(effect.path, "analysis by git" if effect.by_git else "analysis")
                    self._analyse(repository, whole=effect.whole, by_git=effect.by_git, unwalked=effect.unwalked)
                else:
                    self._publish(repository)
            case _:
                assert_never(effect)

    def _workers_look(self, repository: Repository) -> bool:
        """Whether a walk should leave the look at the files to a worker: with many to come, both are kept busy."""
        return repository.waiting and self.engine.walks > WALKS_FOR_WORKERS and self.analyst.pool.capacity() > 0

    def _analyse(self, repository: Repository, *, whole: bool, by_git: bool, unwalked: bool) -> None:
        path = repository.path
        if not (whole or by_git) and self.increments.is_priming(path):
            self.increments.after_priming(
                path, lambda: self._analyse(repository, whole=whole, by_git=by_git, unwalked=unwalked)
            )
            return
        if self.engine.repositories.get(path) is not repository:
            return  # forgotten while a state was made
        self._began[path] = time.time()
        changes = self.increments.begin(path)
        if whole or by_git or not self.increments.follows(path):
            git_only = by_git or path in self._seen_in_vain
            self._submit(repository, by_git=git_only, afresh=by_git, unwalked=unwalked)
        else:
            self._advance(repository, self.increments.advance(path, changes))

    def _advance(self, repository: Repository, steps: Iterator[AnalysedOutcome | None]) -> None:
        """Run an incremental analysis for a slice; others are served before the next."""
        from gitwatchd.incremental.terms import Inexact

        path = repository.path
        if self.engine.repositories.get(path) is not repository:
            return
        until = time.perf_counter() + SLICE_S
        try:
            for outcome in steps:
                if outcome is not None:
                    self._feed(Analysed(path, outcome, Level.L1, self._began.pop(path, time.time())))
                    return
                if time.perf_counter() > until:
                    self._loop.call_soon(lambda: self._advance(repository, steps))
                    return
        except Inexact:
            self._submit(repository, by_git=True)
        except Exception:  # noqa: BLE001 - a seam of errors.py: a bug of this job; git is asked instead
            _log.exception("following %r", path)
            self._submit(repository, by_git=True)

    def _submit(self, repository: Repository, *, by_git: bool, afresh: bool = False, unwalked: bool = False) -> None:
        location = repository.location
        # What was noted for an advance that came to nothing is covered by git's answer, which begins now.
        job = self._jobs[location.path] = self._job(location, by_git=by_git, afresh=afresh, unwalked=unwalked)
        self._seen_in_vain.discard(location.path)
        self.analyst.submit(job, local=self.is_local(location))

    def _job(self, location: Location, *, by_git: bool, afresh: bool, unwalked: bool = False) -> Job:
        """`afresh`: as if nothing had ever been asked, for a verification."""
        stamp = self._conversion_stamp(location.path)
        reuse = not afresh and self._copied_under.get(location.path) == stamp
        self._copied_under[location.path] = stamp
        timeout_s = self.configuration.settings.limits.timeout_s
        return Job(location, self.index_cache, timeout_s, self._trust.allowed(location), reuse, by_git, unwalked)

    def _conversion_stamp(self, path: RepoPath) -> tuple[int, int]:
        """Changes whenever the way that git converts that repository's files may have changed."""
        return self._configurations, self._conversions[path]

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
        self._feed(Changed(path, whole=True))

    def _on_outcome(self, job: Job, outcome: Outcome) -> None:
        path = job.location.path
        audited = self._audited.pop(id(job), None)
        if audited is not None:
            audited(outcome)
            self._feed(Tick())  # it held a place that somebody's analysis may wait for
            return
        if self._jobs.get(path) is not job:
            # For a repository that was forgotten, even if one at the same path is known again.
            self._feed(Tick())  # it held a place, too
            return
        del self._jobs[path]
        if isinstance(outcome, AnalysedOutcome):
            self.took_s[path] = outcome.took_s
        level = Level.L3
        if isinstance(outcome, AnalysedOutcome) and not outcome.by_git:
            level = Level.L1
        if isinstance(outcome, AnalysedOutcome | Unsafe) and outcome.nested:
            for nested in outcome.nested:  # first, or a query that they belong to would be complete without them
                self.on_found(nested)
            outcome = replace(outcome, nested=())
        self._feed(Analysed(path, outcome, level, self._began.pop(path, time.time())))
        if isinstance(outcome, Gone):
            self._lose(path)  # the walk that the next question starts decides
        else:
            self._follow(path, outcome)

    def _follow(self, path: RepoPath, outcome: Outcome) -> None:
        repository = self.engine.repositories.get(path)
        if isinstance(outcome, AnalysedOutcome) and repository is not None and repository.watch is Watch.WATCHED:
            self.increments.prime(repository.location, outcome, lambda: repository.outcome is outcome)

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
