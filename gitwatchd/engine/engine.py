"""Decide what to watch and analyse, when, and what answers whom.

Owns: the state of every repository and every open query. Runs: serving thread only. Does no I/O, reads no clock.
Invariant: at most one piece of work per repository is in flight.
Invariant: a repository that changes while its work runs stays marked for later requests, and the work is not restarted:
a log that grows every 50 ms would starve it.
Invariant: a repository is analysed unwalked once at most, so that questions without a pause do not put its watches off.
Invariant: whatever keeps a repository from being watched, a request has it walked again after a pause (for want of
watches: when the budget says so).
Invariant: work answers a request as fresh only if it began after the request arrived, or if nothing had happened
between its beginning and the request. Where that cannot be known (polled, or new directories), it began after.
The shell drops the result of work whose repository was forgotten meanwhile, even if the same path is known again.
Longer than its neighbours: each event changes repositories, queries and both backlogs at once, and the invariants above
hold between handlers, so they are judged together. What has a state of its own was moved out (backlog, budget).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import assert_never

from gitwatchd.engine.backlog import Backlog, Least
from gitwatchd.engine.budget import Budget, Relief
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
from gitwatchd.engine.repository import FAILED_RETRY_S, NEVER, Repository, Running
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Failed, Gone, Outcome, RepoPath

WALK_SLOTS = 4
"""Walks handed out at once: enough to keep the walking thread busy, few enough that a request's walk is soon next."""
MANY_WALKS = 20
"""Walks in waiting from which a repository that was never seen is analysed before it is walked: work that begins after
the request answers it, watched or not, and workers look at several at once while walks share one interpreter."""

SEARCH_S = 0.02
"""No walk begins while somebody waits for a search that is younger: it may be about to find many, and then the daemon
has better to do than to walk the first of them."""


@dataclass(slots=True)
class Query:
    scope: tuple[bytes, ...]
    members: set[RepoPath]
    need: dict[RepoPath, int] = field(default_factory=dict)
    """Repositories still to be answered, with the generation that the work has to have begun at."""
    discovering: bool = False
    wait: bool = True
    expired: bool = False
    epoch: float = 0.0

    @property
    def done(self) -> bool:
        return self.expired or not (self.need or self.discovering)


class Engine:
    """`slots` is how many analyses the shell can carry at this moment; it may change at any time."""

    def __init__(self, slots: int = 2) -> None:
        self.repositories: dict[RepoPath, Repository] = {}
        self.queries: dict[QueryId, Query] = {}
        self.slots = slots
        self.levels: dict[Level, int] = dict.fromkeys(Level, 0)
        self.budget = Budget()
        self._analysing = 0
        self._walking = 0
        self._touched: dict[RepoPath, None] = {}
        """Repositories that this event may have given a reason to work: no event costs O(all)."""
        self._walks = Backlog()
        self._analyses = Backlog()
        self._searching_until = 0.0
        """Until then no walk begins: a search has only just begun. 0: none has."""
        self._dues: list[tuple[float, RepoPath]] = []
        """A heap with a place for each of `_debounced`: not after the time at which its change is due."""
        self._debounced: set[RepoPath] = set()

    # ---- what the shell may read

    @property
    def backlog(self) -> int:
        """Analyses wanted or running."""
        return self._analysing + len(self._walks) + len(self._analyses)

    @property
    def walks(self) -> int:
        """Walks wanted, those running left out."""
        return len(self._walks)

    @property
    def analysing(self) -> int:
        return self._analysing

    def wake_at(self) -> float | None:
        """When a `Tick` is needed next, or a little before that."""
        due = self._dues[0][0] if self._dues else None
        if self._searching_until and self._walks:
            return self._searching_until if due is None else min(due, self._searching_until)
        return due

    def unanswered(self, query: QueryId) -> frozenset[RepoPath]:
        """Members of an open or just completed query whose outcome does not answer it."""
        return frozenset(self.queries[query].need)

    def close(self, query: QueryId) -> None:
        """The reply was made."""
        closed = self.queries.pop(query, None)
        if closed is not None:
            for path in closed.need:
                self._refresh_waiting(path)

    def remember(self, found: Found) -> None:
        """As `handle`, at start: what an earlier process knew. Begins no work, so that the first reply is not late."""
        self._handle_found(found)

    # ---- the one entry

    def handle(self, event: Event, now: float) -> list[Effect]:
        effects: list[Effect] = []
        match event:
            case Found():
                self._handle_found(event)
            case Changed():
                self._handle_changed(event, now)
            case Busy():
                if (repository := self.repositories.get(event.path)) is not None:
                    repository.busy = event.busy
                    if not event.busy and (due := repository.due_at()) is not None:
                        # Earlier than it was put down for.
                        self._debounced.add(event.path)
                        heapq.heappush(self._dues, (due, event.path))
            case Walked():
                self._handle_walked(event, now, effects)
            case Analysed():
                self._handle_analysed(event, now, effects)
            case Asked():
                self._handle_asked(event, now, effects)
            case Discovered():
                if (query := self.queries.get(event.query)) is not None:
                    query.discovering = False
                    self._searching_until = 0.0
                    self._complete_if_done(event.query, effects)
            case Expired():
                if (query := self.queries.get(event.query)) is not None:
                    query.expired = True
                    self._complete_if_done(event.query, effects)
            case Forgotten():
                self._handle_forgotten(event, now, effects)
            case Refused():
                self.budget.discovery_refused(event.held)
                effects.append(StopDiscovery())
            case Roomier():
                self.budget.rose(event.watches, instances=event.instances, descriptors=event.descriptors)
                self._promote(now, effects)
            case Tick():
                pass
            case _:
                assert_never(event)
        effects.extend(self._start_work(now))
        return effects

    # ---- events

    def _handle_found(self, event: Found) -> None:
        path = event.location.path
        repository = self.repositories.get(path)
        if repository is None:
            repository = self.repositories[path] = Repository(event.location, outcome=event.cached)
            repository.verified_at = event.cached_at
            repository.asked_at = event.asked_at
        elif repository.gone:
            repository.location = event.location
            repository.outcome, repository.gone_shown = None, False
            repository.generation += 1
            repository.walk_all = repository.whole = True
        else:
            return
        repository.wanted = True
        self._touched[path] = None
        for query in self.queries.values():
            if query.wait and not query.expired and _covers(query.scope, path):
                query.members.add(path)
                query.need[path] = repository.generation
                repository.waiting = True
                repository.asked_at = max(repository.asked_at, query.epoch)

    def _handle_changed(self, event: Changed, now: float) -> None:
        repository = self.repositories.get(event.path)
        if repository is None or (repository.gone and not event.rewalk):
            return
        repository.note_change(now)
        repository.new_directories |= event.new_directories
        if event.rewalk:
            repository.walk_all = True
            repository.busy = False  # the event of its end may be lost
        if event.whole or event.rewalk:
            repository.whole = True
        self._debounce(repository)
        self._touched[event.path] = None

    def _debounce(self, repository: Repository) -> None:
        due = repository.due_at()
        # A place that is there already is not too late: what is due is only ever put off.
        if due is not None and repository.path not in self._debounced:
            self._debounced.add(repository.path)
            heapq.heappush(self._dues, (due, repository.path))

    def _handle_walked(self, event: Walked, now: float, effects: list[Effect]) -> None:
        repository = self.repositories.get(event.location.path)
        if repository is None:
            return
        walk = repository.running
        if repository.running is not None and repository.running.walking:
            repository.running = None
            self._walking -= 1
        repository.walked_at = now
        repository.location = event.location
        if repository.gone or repository.watch is not Watch.WATCHED:
            repository.whole = True  # what happened while no event told is in nobody's list of changes
        if repository.gone:
            repository.outcome, repository.gone_shown = None, False
        repository.watch, repository.watch_reason, repository.watch_hint = event.watch, event.reason, event.hint
        # What happened in those directories before their watches were in place raised no event: an outcome whose work
        # began before now proves nothing about them.
        if repository.covered == repository.generation:
            repository.covered = NEVER
        repository.wanted = repository.just_walked = True
        self._touched[repository.path] = None
        self._settle_watches(repository, event, now, effects)
        if event.outcome is not None and walk is not None and walk.walking and not repository.verify:
            if repository.generation == walk.generation:
                repository.whole = repository.wanted = False
            self._take_outcome(repository, event.outcome, walk.generation, walk.generation, event.at, now, effects)
            self.levels[Level.L1] += 1

    def _settle_watches(self, repository: Repository, event: Walked, now: float, effects: list[Effect]) -> None:
        if event.watch is Watch.WATCHED:
            self.budget.placed(repository.path, event.watches, now)
        elif event.shortage is None:
            self.budget.left(repository.path)
        else:
            relief = self.budget.ran_short(repository.path, event.shortage, self.repositories, now)
            if relief is not None:
                self._relieve(repository, relief, event.hint, effects)
        self._promote(now, effects)

    def _relieve(self, repository: Repository, relief: Relief, hint: str, effects: list[Effect]) -> None:
        """Make room for `repository` and walk it again."""
        if relief.discovery:
            effects.append(StopDiscovery())
        for path in relief.demoted:
            demoted = self.repositories[path]
            demoted.watch, demoted.watch_hint = Watch.POLLED, hint
            demoted.watch_reason = "its inotify watches went to repositories asked more recently"
            # A walk of a part, or one that was owed, would take back what was freed.
            demoted.walk_all, demoted.new_directories = False, set()
            demoted.changed_since = None
            self._touched[path] = None
            effects.append(Unwatch(path))
        self._walk_again(repository)

    def _walk_again(self, repository: Repository) -> None:
        repository.walk_all = repository.wanted = True
        repository.just_walked = False
        self._touched[repository.path] = None

    def _promote(self, now: float, effects: list[Effect]) -> None:
        """Watch again what there is room for."""
        for path in self.budget.promote(self.repositories, now):
            self._walk_again(self.repositories[path])
        if self.budget.rediscover():
            effects.append(ResumeDiscovery())

    def _handle_analysed(self, event: Analysed, now: float, effects: list[Effect]) -> None:
        repository = self.repositories.get(event.path)
        if repository is None:
            return
        running = repository.running
        if running is None or running.walking:
            # Said by the walk itself: there is nothing at that place any more.
            self._walking -= running is not None
            running = running or Running(True, repository.generation, NEVER)
        else:
            self._analysing -= 1
        repository.running = None
        self.levels[event.level] += 1
        self._take_outcome(repository, event.outcome, running.generation, running.covers, event.at, now, effects)

    def _take_outcome(
        self,
        repository: Repository,
        outcome: Outcome,
        began: int,
        covers: int,
        at: float,
        now: float,
        effects: list[Effect],
    ) -> None:
        """The result of work that began at generation `began` and proves generation `covers`."""
        changed = repository.outcome != outcome or repository.verified_at is None
        repository.outcome = outcome
        repository.just_walked = False
        repository.covered = covers
        repository.verified_at = at
        if isinstance(outcome, Failed):
            repository.failed_at = now
            repository.whole = True
        if isinstance(outcome, Gone):
            repository.walk_all, repository.new_directories = False, set()
            repository.changed_since, repository.wanted = None, False
            self.budget.left(repository.path)
            self._promote(now, effects)
        elif repository.covered == repository.generation:
            repository.changed_since = None
        else:
            # There is more to find: changes came meanwhile, or directories that were not watched yet.
            repository.postpone(now)
            self._debounce(repository)
        for query_id in self._answer(repository, began):
            self._complete_if_done(query_id, effects)
        if repository.gone and repository.waiting:
            # Asked for since that work began: it may be back.
            repository.walk_all = True
        if changed:
            effects.append(Publish(repository.path))
        self._touched[repository.path] = None

    def _handle_asked(self, event: Asked, now: float, effects: list[Effect]) -> None:
        discovering = event.discovering and event.wait
        query = Query(event.scope, set(event.paths), discovering=discovering, wait=event.wait, epoch=event.epoch)
        if discovering and not any(other.discovering for other in self.queries.values()):
            self._searching_until = now + SEARCH_S
        self.queries[event.query] = query
        for path in event.paths:
            repository = self.repositories.get(path)
            if repository is None:
                continue
            repository.asked_at = event.epoch
            relief = self.budget.asked(path, event.epoch, self.repositories, now)
            if relief is not None:
                self._relieve(repository, relief, repository.watch_hint, effects)
            elif event.wait and path not in self.budget.short and repository.may_be_watchable(now):
                self._walk_again(repository)
            if event.verify and not repository.gone:
                repository.generation += 1
                repository.whole = repository.verify = True
            elif repository.current or (repository.gone and not repository.walk_all):
                if not (isinstance(repository.outcome, Failed) and now - repository.failed_at > FAILED_RETRY_S):
                    self.levels[Level.L0] += 1
                    continue
                repository.generation += 1
            elif repository.analysing_blindly:
                # No event told what happened since that work began: only work that begins from now on can answer.
                repository.generation += 1
            query.need[path] = repository.generation
            if event.wait:
                repository.waiting = True
                self._touched[path] = None
        if not event.wait:
            query.expired = True
        self._complete_if_done(event.query, effects)

    def _handle_forgotten(self, event: Forgotten, now: float, effects: list[Effect]) -> None:
        repository = self.repositories.pop(event.path, None)
        if repository is None:
            return
        self.budget.left(event.path)
        if repository.running is not None:
            if repository.running.walking:
                self._walking -= 1
            else:
                self._analysing -= 1
        self._walks.discard(event.path)
        self._analyses.discard(event.path)
        effects.append(Release(event.path))
        for query_id, query in list(self.queries.items()):
            query.members.discard(event.path)
            if query.need.pop(event.path, None) is not None:
                self._complete_if_done(query_id, effects)
        self._promote(now, effects)

    # ---- answers

    def _answer(self, repository: Repository, began: int) -> Iterator[QueryId]:
        if not repository.waiting:
            return
        for query_id, query in list(self.queries.items()):
            need = query.need.get(repository.path)
            if need is not None and need <= began:
                del query.need[repository.path]
                yield query_id
        self._refresh_waiting(repository.path)

    def _refresh_waiting(self, path: RepoPath) -> None:
        if (repository := self.repositories.get(path)) is not None:
            repository.waiting = any(path in q.need and q.wait and not q.expired for q in self.queries.values())
            self._touched[path] = None

    def _complete_if_done(self, query_id: QueryId, effects: list[Effect]) -> None:
        query = self.queries[query_id]
        if query.done:
            effects.append(Complete(query_id))

    # ---- work

    def _start_work(self, now: float) -> Iterator[Effect]:
        self._take_due(now)
        for path in self._touched:
            if (repository := self.repositories.get(path)) is not None:
                self._file(repository)
        self._touched.clear()
        # While somebody waits for analyses, walks for nobody would only take the processor from them.
        least = Least.WAITED_FOR if self._analyses.is_waited_for() else Least.ANY
        if now >= self._searching_until:
            self._searching_until = 0.0
        slots = 0 if self._searching_until else WALK_SLOTS
        while self._walking < slots and (first := self._walks.pop(least)) is not None:
            repository = self.repositories[first]
            if self._is_seen_first(repository):  # more have come since
                self._analyses.put(repository)
            else:
                yield self._start_walk(repository)
        while self._analysing < self.slots and (first := self._analyses.pop(Least.ANY)) is not None:
            yield self._start_analysis(self.repositories[first])

    def _take_due(self, now: float) -> None:
        """Want the analysis of those that were quiet long enough."""
        while self._dues and self._dues[0][0] <= now:
            _, path = heapq.heappop(self._dues)
            self._debounced.discard(path)
            repository = self.repositories.get(path)
            due = None if repository is None else repository.due_at()
            if repository is None or due is None:
                continue
            if due > now:
                self._debounce(repository)
            else:
                repository.wanted = True
                self._touched[path] = None

    def _file(self, repository: Repository) -> None:
        """Put a repository where it waits for the work it needs, or nowhere."""
        backlog = None
        if repository.running is None and (repository.waiting or repository.wanted):
            if repository.needs_walk and not repository.just_walked and not self._is_seen_first(repository):
                backlog = self._walks
            elif repository.gone or (repository.current and not repository.waiting):
                repository.wanted = False
            else:
                backlog = self._analyses
        for other in (self._walks, self._analyses):
            if other is not backlog:
                other.discard(repository.path)
        if backlog is not None:
            backlog.put(repository)

    def _is_seen_first(self, repository: Repository) -> bool:
        """Whether its analysis comes before its walk."""
        never_seen = repository.outcome is None and repository.walk_all
        if not (never_seen and repository.waiting):
            return False
        return self._analyses.is_waited_for() or len(self._walks) >= MANY_WALKS

    def _start_walk(self, repository: Repository) -> Walk:
        everything = repository.walk_all
        directories = None if everything else frozenset(repository.new_directories)
        repository.walk_all, repository.new_directories = False, set()
        repository.running = Running(True, repository.generation, NEVER)
        self._walking += 1
        return Walk(repository.path, directories)

    def _start_analysis(self, repository: Repository) -> Analyse:
        generation = repository.generation
        # Directories may appear faster than they are walked; the waiting request is answered all the same, but what
        # happens in them unseen must not be covered by this work.
        covers = NEVER if repository.needs_walk else generation
        repository.running = Running(False, generation, covers)
        unwalked = repository.walk_all and not repository.just_walked
        repository.just_walked = False
        # Where no event tells there is no list of changes to start from.
        whole, repository.whole = repository.whole or repository.watch is not Watch.WATCHED, False
        by_git = repository.verify
        repository.wanted = repository.verify = False
        self._analysing += 1
        return Analyse(repository.path, whole, by_git, unwalked)


def _covers(scope: tuple[bytes, ...], path: bytes) -> bool:
    return any(path == top or path.startswith(top.rstrip(b"/") + b"/") for top in scope)
