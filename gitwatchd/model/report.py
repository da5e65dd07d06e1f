"""The report: what is known of one repository, and how sure it is.

Facts are what an analysis finds and the cache keeps. State, watch and age are what the engine adds at each answer.
Absent facts are None, never guessed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, overload


class State(StrEnum):
    """Whether this answer keeps the promise of README."""

    FRESH = "fresh"
    STALE = "stale"
    """An earlier answer, not confirmed for this request."""
    PENDING = "pending"
    """Never analysed yet."""
    FAILED = "failed"
    UNSAFE = "unsafe"
    GONE = "gone"


class Watch(StrEnum):
    """How a repository's changes are learnt."""

    WATCHED = "watched"
    POLLED = "polled"
    """Scanned when asked."""
    UNWATCHED = "unwatched"
    """Not scanned even when asked."""


@dataclass(frozen=True, slots=True)
class Tracking:
    """A branch elsewhere: upstream or push target. `name` is as git shows it (`origin/main`)."""

    name: bytes
    remote: bytes | None
    url: bytes | None
    ahead: int | None
    behind: int | None
    gone: bool


@dataclass(frozen=True, slots=True)
class Action:
    """An operation in progress, in gitstatus's words (`merge`, `rebase-i`, `am`, `cherry-seq`, `bisect` ...)."""

    name: str
    step: int | None
    total: int | None


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of porcelain v2 entries: staged = type 1/2 with X not `.`; unstaged = those with Y not `.`."""

    staged: int = 0
    unstaged: int = 0
    untracked: int = 0
    conflicted: int = 0
    staged_new: int = 0
    staged_modified: int = 0
    staged_deleted: int = 0
    staged_renamed: int = 0
    staged_copied: int = 0
    staged_typechange: int = 0
    unstaged_modified: int = 0
    unstaged_deleted: int = 0
    unstaged_renamed: int = 0
    unstaged_typechange: int = 0
    modified: int = 0
    """Entries with M, A, R, C or T in either column, conflicts among them: one that is `MM` counts once."""
    deleted: int = 0
    """Entries with D in either column."""


HIDES = ("untracked", "bash-untracked", "bash-dirty")
"""status.showUntrackedFiles = no, bash.showUntrackedFiles = false, bash.showDirtyState = false. The first is git's own,
and the counts follow it; the other two are for prompts, which gitstatus heeds as git's own prompt does."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What an analysis finds. Times are epoch seconds; names, URLs and subjects are bytes as git has them."""

    oid: bytes | None = None
    """Hex of HEAD's commit; None when unborn."""
    branch: bytes | None = None
    detached: bool | None = None
    unborn: bool | None = None
    summary: bytes | None = None
    tag: bytes | None = None
    upstream: Tracking | None = None
    push: Tracking | None = None
    counts: Counts | None = None
    stashes: int | None = None
    action: Action | None = None
    index_size: int | None = None
    skip_worktree: int | None = None
    assume_unchanged: int | None = None
    submodules: int | None = None
    worktrees: int | None = None
    mtime: float | None = None
    """Newest modification time among tracked and untracked, not ignored, files."""
    ident: bytes | None = None
    """`name <email>` that a commit made now would carry, by configuration."""
    fetched_at: float | None = None
    """Newest FETCH_HEAD of any worktree in which a fetch left something: a failed one leaves it empty."""
    hides: tuple[str, ...] | None = None
    """What configuration keeps out of a prompt (`HIDES`)."""

    @property
    def dirty(self) -> bool | None:
        c = self.counts
        return None if c is None else bool(c.staged or c.unstaged or c.untracked or c.conflicted)


Wire = dict[str, Any]
"""A map ready for msgpack: keys are str; byte strings that are valid UTF-8 are str, others stay bytes."""


def text_or_bytes(value: bytes | None) -> str | bytes | None:
    """A path, ref or message as the protocol has it: a string when it is valid UTF-8, raw bytes otherwise."""
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


@overload
def to_bytes(value: str | bytes) -> bytes: ...
@overload
def to_bytes(value: None) -> None: ...
def to_bytes(value: str | bytes | None) -> bytes | None:
    """The inverse of `text_or_bytes`."""
    return value.encode() if isinstance(value, str) else value


_TEXT_FIELDS = ("oid", "branch", "summary", "tag", "ident")
_PLAIN_FIELDS = (
    "detached", "unborn", "stashes", "index_size", "skip_worktree", "assume_unchanged",
    "submodules", "worktrees", "mtime", "fetched_at",
)  # fmt: skip
_COUNT_FIELDS = tuple(f.name for f in fields(Counts))


def _tracking_to_wire(t: Tracking | None) -> Wire | None:
    if t is None:
        return None
    return {
        "name": text_or_bytes(t.name), "remote": text_or_bytes(t.remote), "url": text_or_bytes(t.url),
        "ahead": t.ahead, "behind": t.behind, "gone": t.gone,
    }  # fmt: skip


def _tracking_from_wire(w: Wire | None) -> Tracking | None:
    if w is None:
        return None
    return Tracking(
        name=to_bytes(w["name"]) or b"", remote=to_bytes(w["remote"]), url=to_bytes(w["url"]),
        ahead=w["ahead"], behind=w["behind"], gone=w["gone"],
    )  # fmt: skip


def facts_to_wire(facts: Facts) -> Wire:
    """The facts part of a report, in the field order of the protocol. The pool and the cache use the same form."""
    wire: Wire = {name: text_or_bytes(getattr(facts, name)) for name in _TEXT_FIELDS}
    wire.update({name: getattr(facts, name) for name in _PLAIN_FIELDS})
    wire["upstream"] = _tracking_to_wire(facts.upstream)
    wire["push"] = _tracking_to_wire(facts.push)
    c, a = facts.counts, facts.action
    wire["counts"] = None if c is None else {name: getattr(c, name) for name in _COUNT_FIELDS}
    wire["action"] = None if a is None else {"name": a.name, "step": a.step, "total": a.total}
    wire["dirty"] = facts.dirty
    wire["hides"] = None if facts.hides is None else list(facts.hides)
    return wire


def facts_from_wire(wire: Wire) -> Facts:
    """The inverse of `facts_to_wire`; unknown keys are ignored, missing ones are None."""
    c, a, hides = wire.get("counts"), wire.get("action"), wire.get("hides")
    return Facts(
        **{name: to_bytes(wire.get(name)) for name in _TEXT_FIELDS},
        **{name: wire.get(name) for name in _PLAIN_FIELDS},
        upstream=_tracking_from_wire(wire.get("upstream")),
        push=_tracking_from_wire(wire.get("push")),
        counts=None if c is None else Counts(**{name: c.get(name, 0) for name in _COUNT_FIELDS}),
        action=None if a is None else Action(a["name"], a["step"], a["total"]),
        hides=None if hides is None else tuple(hides),
    )


@dataclass(frozen=True, slots=True)
class Standing:
    """What the engine adds to the facts at the moment of an answer."""

    state: State
    watch: Watch
    reason: str = ""
    hint: str = ""
    as_of: float | None = None
    """Epoch seconds of the last verification; None when there was none."""
    age_ms: int | None = field(default=None)


def standing_to_wire(standing: Standing) -> Wire:
    return {
        "state": standing.state.value, "reason": standing.reason, "hint": standing.hint,
        "watch": standing.watch.value, "as_of": standing.as_of, "age_ms": standing.age_ms,
    }  # fmt: skip
