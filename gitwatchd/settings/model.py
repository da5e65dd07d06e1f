"""What can be configured, with the default of each.

Owns nothing; pure data. Runs: anywhere but the client's ordinary path (`dataclasses` costs it 17 ms): what a command
needs of this the daemon tells it.
Invariant: the fields of these classes are the keys of `config.toml`, by the same names, and something reads each of
them; a key that nothing reads would be a promise without a keeper. `gitwatchd.settings.parser` derives from the
annotations here what a key may hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Limits:
    jobs: int | None = None
    """At most this many analyses at once; None: by the number of cores. 0: one after the other, in one worker."""
    timeout_s: float = 120.0
    """A whole analysis of one repository that takes longer has failed: `git status` of the largest repositories on a
    cold disk takes tens of seconds."""
    idle_exit_hours: float = 8.0
    """The daemon ends after this time in which nobody asked and nobody was subscribed; 0: never."""


@dataclass(frozen=True, slots=True)
class Fetch:
    jobs: int = 4
    """At most this many `git fetch` at once. They wait for servers, not for cores."""
    timeout_s: float = 60.0
    """One that takes longer is ended, and its repository says so."""


@dataclass(frozen=True, slots=True)
class Prompt:
    deadline_ms: int = 50
    """Answer within this time, or with the last answer marked stale, or with nothing."""
    template: str = ""
    """Of `gitwatch prompt`; empty: the built-in line."""


@dataclass(frozen=True, slots=True)
class Colours:
    """What each role in the tables is drawn in: words of `gitwatchd.settings.colours`, separated by spaces."""

    title: str = "bold"
    clean: str = "green"
    changed: str = "yellow"
    conflict: str = "red"
    tracking: str = "cyan"
    """Ahead, behind."""
    attention: str = "yellow"
    """Detached, an operation in progress, an upstream that is gone, an answer that is not fresh."""
    failure: str = "red"
    faint: str = "dim"
    """What matters less: ages, bare, gone."""


@dataclass(frozen=True, slots=True)
class Settings:
    roots: tuple[bytes, ...] = ()
    """Directories whose repositories are watched for ever. Absolute, `~` expanded, symlinks not followed yet."""
    ignore: tuple[bytes, ...] = ()
    """Globs of directories that are left out of discovery and of lists (`gitwatchd.settings.globs`)."""
    trust: tuple[bytes, ...] = ()
    """Globs of absolute paths of repositories that may run the filter drivers of their own configuration."""
    columns: tuple[str, ...] = ()
    """Of the status table, as `--columns` takes them; empty: the built-in ones."""
    groups: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)
    """`@NAME` stands for the repositories that match any of these globs."""
    colours: Colours = Colours()
    limits: Limits = Limits()
    fetch: Fetch = Fetch()
    prompt: Prompt = Prompt()


DEFAULTS = Settings()
