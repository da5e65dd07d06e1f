"""Why the work in a repository exists only here."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from gitwatchd.model.report import Wire, text_or_bytes


@dataclass(frozen=True, slots=True)
class Reason:
    """`kind`: uncommitted, hidden, action, stashed, unpushed, no_remote, detached, unchecked. What a kind has no use
    for is None."""

    kind: str
    branch: bytes | None = None
    count: int | None = None
    """Commits of `unpushed`, `no_remote`, `detached`; entries of `stashed`."""
    upstream: bytes | None = None
    gone: bool | None = None
    oid: bytes | None = None
    worktree: bytes | None = None
    """Git dir of another worktree, one that is not there any more."""
    staged: int | None = None
    unstaged: int | None = None
    untracked: int | None = None
    conflicted: int | None = None
    submodule: bytes | None = None
    """Path of the submodule that it is about (its git dir, when it is checked out nowhere), or of a linked worktree of
    that one."""
    note: str | None = None
    """The action's name; why something could not be checked."""

    def of_submodule(self, path: bytes) -> Reason:
        return replace(self, submodule=path)


@dataclass(frozen=True, slots=True)
class Unsaved:
    reasons: tuple[Reason, ...]
    git_dirs: frozenset[bytes] = frozenset()
    """Of the submodules that were looked at with it."""


def reason_to_wire(reason: Reason) -> Wire:
    """Only what that kind has."""
    values = {field.name: getattr(reason, field.name) for field in fields(reason)}
    return {
        name: text_or_bytes(value) if isinstance(value, bytes) else value
        for name, value in values.items()
        if value is not None
    }
