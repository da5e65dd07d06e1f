"""What the engine knows of one repository.

Owns: generation, freshness, debounce. Runs: serving thread, called by the engine only. No I/O, no clock.
Invariant: the outcome is current exactly when it covers the present generation and the repository is watched.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from gitwatchd.model.report import Facts, Standing, State, Watch
from gitwatchd.model.repository import Analysed, Failed, Gone, Location, Outcome, RepoPath, Unsafe

QUIET_S = 0.1
"""A change is analysed unasked when the repository has been quiet this long ..."""
LONGEST_QUIET_WAIT_S = 2.0
"""... or has been waiting this long: a log that grows for ever must not postpone the analysis for ever."""
LONGEST_BUSY_WAIT_S = 30.0
"""While git holds `index.lock` its own work is not done; but a crashed git leaves the lock behind."""
FAILED_RETRY_S = 1.0
"""A failed repository is tried again when asked, but not more often than this."""
WALK_AGAIN_S = 10.0
"""One that is polled, and not for want of watches, is walked again when asked, but not more often than this: no event
tells that what kept it from being watched is mended, and a walk costs little beside what it asks of git."""
NEVER = -1


@dataclass(slots=True)
class Running:
    """The one piece of work in flight."""

    walking: bool
    generation: int
    """Generation when it began."""
    covers: int
    """Generation that its result proves; NEVER when directories were unwatched as it began."""


@dataclass(slots=True)
class Repository:
    location: Location
    generation: int = 0
    outcome: Outcome | None = None
    covered: int = NEVER
    """The generation that `outcome` proves."""
    verified_at: float | None = None
    """Epoch seconds at which the work behind `outcome` began."""
    watch: Watch = Watch.POLLED
    watch_reason: str = ""
    watch_hint: str = ""
    walk_all: bool = True
    new_directories: set[bytes] = field(default_factory=set)
    just_walked: bool = False
    whole: bool = True
    """The next analysis has to be L3."""
    verify: bool = False
    """Somebody wants git's own answer."""
    running: Running | None = None
    waiting: bool = False
    """Some open query waits for this repository."""
    wanted: bool = False
    """Analyse it even if nobody waits: first sight, or changes to publish."""
    quiet_from: float = 0.0
    changed_since: float | None = None
    busy: bool = False
    """git holds `index.lock`."""
    failed_at: float = 0.0
    walked_at: float = 0.0
    """When its last walk ended."""
    asked_at: float = 0.0
    gone_shown: bool = False

    @property
    def path(self) -> RepoPath:
        return self.location.path

    @property
    def current(self) -> bool:
        """The outcome may be given as fresh to a request whose queues are drained."""
        return self.covered == self.generation and self.watch is Watch.WATCHED

    @property
    def gone(self) -> bool:
        return isinstance(self.outcome, Gone)

    @property
    def needs_walk(self) -> bool:
        return self.walk_all or bool(self.new_directories)

    def may_be_watchable(self, now: float) -> bool:
        """What kept it from being watched may be mended by now, and no walk is about to find out. One that is gone may
        have been away only while the link was made that leads there now, onto a mount that tells nothing."""
        rests = self.running is None and not self.needs_walk
        unwatched = self.gone or self.watch is not Watch.WATCHED
        return rests and unwatched and now - self.walked_at > WALK_AGAIN_S

    @property
    def analysing_blindly(self) -> bool:
        """An analysis is in flight, and what happened since it began may have raised no event."""
        running = self.running
        if running is None or running.walking:
            return False
        return self.watch is not Watch.WATCHED or running.covers != running.generation

    def note_change(self, now: float) -> None:
        self.generation += 1
        self.quiet_from = now + QUIET_S
        if self.changed_since is None:
            self.changed_since = now

    def postpone(self, now: float) -> None:
        """There is more to analyse, after a pause: an analysis has just ended."""
        if self.changed_since is not None or self.needs_walk:
            self.wanted = False
            self.changed_since = now
            self.quiet_from = max(self.quiet_from, now + QUIET_S)

    def due_at(self) -> float | None:
        """When the change is analysed unasked; None when there is nothing to do."""
        if self.changed_since is None:
            return None
        if self.busy:
            return self.changed_since + LONGEST_BUSY_WAIT_S
        return min(self.quiet_from, self.changed_since + LONGEST_QUIET_WAIT_S)

    def facts(self) -> Facts:
        return self.outcome.facts if isinstance(self.outcome, Analysed | Unsafe) else Facts()

    def standing(self, *, fresh: bool, epoch: float) -> Standing:
        """How the present outcome is to be labelled in an answer; `fresh`: it answers this very request."""
        age_ms = None if self.verified_at is None else max(0, int((epoch - self.verified_at) * 1000))
        if self.covered == self.generation and fresh:
            age_ms = 0
        state, reason, hint = _state(self.outcome, fresh)
        if not reason and self.watch is not Watch.WATCHED:
            reason, hint = self.watch_reason, self.watch_hint
        return Standing(state, self.watch, reason, hint, self.verified_at, age_ms)


def _state(outcome: Outcome | None, fresh: bool) -> tuple[State, str, str]:
    if outcome is None:
        return State.PENDING, "not analysed yet", ""
    if isinstance(outcome, Gone):
        return State.GONE, "no repository there any more", ""
    if isinstance(outcome, Failed):
        return State.FAILED, outcome.reason, outcome.hint
    if isinstance(outcome, Unsafe):
        return State.UNSAFE, outcome.reason, outcome.hint
    if not fresh:
        return State.STALE, "not confirmed for this request", ""
    return State.FRESH, "", ""
