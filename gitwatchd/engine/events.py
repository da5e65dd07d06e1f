"""Everything that can happen to the engine, and everything it can want: two closed unions.

Times are seconds of one monotonic clock; the shell reads it, the engine never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NewType

from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Location, Outcome, RepoPath, Shortage

QueryId = NewType("QueryId", int)


class Level(Enum):
    """How an answer was made; `doctor` counts them. ARCHITECTURE.md says why there is no L2."""

    L0 = "L0"
    """From memory: nothing changed since the last one."""
    L1 = "L1"
    """In the daemon or a worker, without git."""
    L3 = "L3"
    """By git itself."""


# ---- events


@dataclass(frozen=True, slots=True)
class Found:
    """Discovery or a cache row names a repository. `cached` comes from an earlier process and is not verified."""

    location: Location
    cached: Outcome | None = None
    cached_at: float | None = None
    """Epoch seconds of the cached outcome's verification."""
    asked_at: float = 0.0
    """Epoch seconds; orders verification after a restart."""


@dataclass(frozen=True, slots=True)
class Changed:
    """Something happened that may change the answer. Hints only: where to look again, never what is true."""

    path: RepoPath
    rewalk: bool = False
    """Watches can no longer be trusted (another inode, overflow): walk everything anew."""
    whole: bool = False
    """Only git itself can say what it means (L3)."""
    new_directories: frozenset[bytes] = frozenset()
    """Directories below the worktree that are not watched yet."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A git command began or ended to hold `index.lock`: there is more to come, or it is done."""

    path: RepoPath
    busy: bool


@dataclass(frozen=True, slots=True)
class Walked:
    """The watches of a walk are in place (or could not be placed: `watch` and `reason` say so)."""

    location: Location
    watch: Watch
    reason: str = ""
    hint: str = ""
    outcome: Outcome | None = None
    """What the walk found out by the way: a whole status (L1), of a moment after the watches were in place."""
    at: float = 0.0
    """Epoch seconds when the walk began, with `outcome`."""
    watches: int = 0
    """How many it holds, when it is watched."""
    shortage: Shortage | None = None
    """It could be watched if there were more room."""


@dataclass(frozen=True, slots=True)
class Analysed:
    path: RepoPath
    outcome: Outcome
    level: Level
    at: float
    """Epoch seconds when the work began: the answer holds for that moment or later."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. The shell has drained every queue the answer depends on before it says this."""

    query: QueryId
    scope: tuple[bytes, ...]
    """Directories whose repositories are meant, those found while the query is open included; empty: only `paths`."""
    paths: Sequence[RepoPath]
    discovering: bool
    """A walk for repositories is under way inside the scope: wait for `Discovered`."""
    wait: bool = True
    verify: bool = False
    """Ask git (L3), whatever is known."""
    epoch: float = 0.0


@dataclass(frozen=True, slots=True)
class Discovered:
    """No walk for repositories is under way for that query any more."""

    query: QueryId


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline of a query passed, or its client went away."""

    query: QueryId


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The repository is no longer of interest (its root was removed or has expired)."""

    path: RepoPath


@dataclass(frozen=True, slots=True)
class Refused:
    """Discovery was refused a watch when it held `held`."""

    held: int


@dataclass(frozen=True, slots=True)
class Roomier:
    """Limits rose: so many more watches may be had, or inotify instances or descriptors can be had again."""

    watches: int = 0
    instances: bool = False
    descriptors: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


Event = Found | Changed | Busy | Walked | Analysed | Asked | Discovered | Expired | Forgotten | Refused | Roomier | Tick

# ---- effects


@dataclass(frozen=True, slots=True)
class Walk:
    """Place watches: over everything (`directories` None) or over these new directories only."""

    path: RepoPath
    directories: frozenset[bytes] | None


@dataclass(frozen=True, slots=True)
class Analyse:
    path: RepoPath
    whole: bool
    """Look at everything: first sight, or lost confidence; otherwise the shell may follow the changes."""
    by_git: bool = False
    """Somebody wants git's own answer (L3), whatever else would be exact."""
    unwalked: bool = False
    """No walk has told which repositories lie in its worktree: that must come with the outcome."""


@dataclass(frozen=True, slots=True)
class Complete:
    """Every repository of the query is answered, or its deadline passed: reply now."""

    query: QueryId


@dataclass(frozen=True, slots=True)
class Publish:
    """The repository has a new outcome: tell subscribers, write it behind to the cache."""

    path: RepoPath


@dataclass(frozen=True, slots=True)
class Release:
    """Nothing is wanted of that repository any more: drop its watches and its cached row."""

    path: RepoPath


@dataclass(frozen=True, slots=True)
class Unwatch:
    """Drop the watches of a repository that stays of interest: others need them more. It is polled from now on."""

    path: RepoPath


@dataclass(frozen=True, slots=True)
class StopDiscovery:
    """Drop the watches outside of repositories: where new ones may be is looked at when somebody asks."""


@dataclass(frozen=True, slots=True)
class ResumeDiscovery:
    """Watch again where new repositories may appear, and look for those that did meanwhile."""


Effect = Walk | Analyse | Complete | Publish | Release | Unwatch | StopDiscovery | ResumeDiscovery
