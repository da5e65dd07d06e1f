"""Where a repository lies, and the work and results that concern one repository as a whole."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NewType

from gitwatchd.model.report import Facts, Standing, Wire, facts_to_wire, standing_to_wire, text_or_bytes

RepoPath = NewType("RepoPath", bytes)
"""The identity of a repository here: its worktree's top level (or the git dir of a bare one), absolute, no symlinks."""


@dataclass(frozen=True, slots=True)
class Location:
    """Paths are absolute bytes without symlinks and without a trailing slash.

    `git_dir` is the worktree's own (`.git`, `.git/worktrees/NAME`, `.git/modules/NAME`); `common_dir` is where refs,
    config and objects live (equal to `git_dir` except in linked worktrees).
    """

    path: RepoPath
    git_dir: bytes
    common_dir: bytes
    bare: bool


def identity_to_wire(location: Location) -> Wire:
    return {
        "path": text_or_bytes(location.path),
        "name": text_or_bytes(location.path.rpartition(b"/")[2]),
        "git_dir": text_or_bytes(location.git_dir),
        "common_dir": text_or_bytes(location.common_dir),
        "bare": location.bare,
    }


def report_to_wire(location: Location, facts: Facts, standing: Standing) -> Wire:
    """A whole report as a map, in the field order of the protocol."""
    return {**identity_to_wire(location), **standing_to_wire(standing), **facts_to_wire(facts)}


class Lack(Enum):
    """What there was not enough of to watch a repository."""

    WATCHES = auto()
    INSTANCES = auto()
    """inotify instances: no queue to watch it with."""
    DESCRIPTORS = auto()


@dataclass(frozen=True, slots=True)
class Shortage:
    """Why a repository could not be watched, when all that it takes is more room."""

    lack: Lack
    needed: int = 0
    """Watches that it takes, whole."""
    placed: int = 0
    """Those it held when the next one was refused; given back since."""
    discovery: int = 0
    """Those that discovery held at that moment."""


ANY_DRIVERS = b"*"
"""Stands for every digest of filter drivers: the user trusts whatever lies at that place."""


@dataclass(frozen=True, slots=True)
class Job:
    """One whole analysis (L3) of one repository."""

    location: Location
    index_cache: bytes
    """Directory (0700) for private copies of indexes; created by its user."""
    timeout_s: float
    trusted: bytes | None
    """Digest of the filter drivers of its own configuration that the user allowed, or ANY_DRIVERS; None: none."""
    reuse_index: bool = True
    """A private copy that git refreshed earlier may be used: neither attributes nor configuration changed since. What
    they convert decides whether a file is clean, and the refreshed copy has forgotten that it was asked."""
    by_git: bool = True
    """git itself has to answer: for a verification, or because our own reading lost confidence."""
    local: bool = True
    """It is to keep away from mounts that may hang, and ends as LedAway where something of it leads onto one."""
    unwalked: bool = False
    """No walk has told which repositories lie in its worktree: `Analysed.nested` is to tell."""


@dataclass(frozen=True, slots=True)
class Survey:
    """Look for repositories at and below a directory, on a mount where looking may take for ever."""

    path: bytes
    include_ignored: bool
    timeout_s: float


@dataclass(frozen=True, slots=True)
class Probe:
    """Does the file system that holds `path` answer?"""

    path: bytes
    timeout_s: float


Work = Job | Survey | Probe
"""What a worker process can be asked."""


def place_of(work: Work) -> bytes:
    """The path it is about."""
    return work.location.path if isinstance(work, Job) else work.path


@dataclass(frozen=True, slots=True)
class Analysed:
    """The status is known. `entries` are the judge's bytes, whole; None in a bare repository (git refuses, see
    `message`)."""

    facts: Facts
    entries: bytes | None
    message: bytes = b""
    """What git wrote to stderr where it refuses by nature (bare: `fatal: this operation must be run in a work
    tree`)."""
    by_git: bool = field(default=True, compare=False)
    """git itself said so (L3); otherwise our own reading of its files did (L1)."""
    nested: tuple[Location, ...] = field(default=(), compare=False)
    """Where the job asked for them: repositories in the worktree that are not its submodules."""
    took_s: float = field(default=0.0, compare=False)
    """Of a whole analysis, from its beginning in a thread or worker; 0: it was no such thing."""
    quote_path: bool = field(default=True, compare=False)
    relative_paths: bool = field(default=True, compare=False)
    """core.quotePath and status.relativePaths, where whoever shows it must not read the configuration himself."""


@dataclass(frozen=True, slots=True)
class Unsafe:
    """Not analysed because that could run somebody's code, or git refuses the owner. `facts` hold refs only."""

    reason: str
    hint: str
    facts: Facts
    nested: tuple[Location, ...] = field(default=(), compare=False)
    """As in `Analysed`."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The world's fault, for this repository only: unreadable, damaged, timed out, a worker died."""

    reason: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Gone:
    """There is no repository at that place any more."""


Outcome = Analysed | Unsafe | Failed | Gone


@dataclass(frozen=True, slots=True)
class Surveyed:
    locations: tuple[Location, ...]


@dataclass(frozen=True, slots=True)
class Answers:
    """The file system does."""


@dataclass(frozen=True, slots=True)
class LedAway:
    """A local job found that something of the repository lies on that mount: to be tried by who may look there."""

    mount: bytes


Result = Outcome | Surveyed | Answers | LedAway
