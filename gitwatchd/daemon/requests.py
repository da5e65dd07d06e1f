"""What a request names: parameters checked, paths resolved to repositories.

Runs: serving thread. It looks at local paths only (a dead network mount would hang every client).
"""

from __future__ import annotations

import errno
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from gitwatchd.daemon.fleet import Fleet
from gitwatchd.daemon.queries import Answer, Scope
from gitwatchd.engine.repository import Repository
from gitwatchd.errors import EnvironmentFailure, UserError, reason_of
from gitwatchd.git import reach
from gitwatchd.git.reach import resolve_links
from gitwatchd.model.report import Wire, text_or_bytes
from gitwatchd.model.repository import RepoPath
from gitwatchd.render.table import NoSuchColumn, parse_columns
from gitwatchd.server.session import Session
from gitwatchd.settings.globs import names_repository
from gitwatchd.store.intent import RootKind
from gitwatchd.wire.rpc import Request


class Ask(Protocol):
    """`Methods._ask`."""

    def __call__(
        self, session: Session, request: Request, scope: Scope, options: Mapping[str, Any],
        on_complete: Callable[[Answer], None], /,
    ) -> None: ...  # fmt: skip


def options_of(params: list[Any], position: int) -> Mapping[str, Any]:
    """The map of named options, the last element of `params`; empty when it is left out."""
    if len(params) <= position:
        return {}
    options = params[position]
    if not isinstance(options, dict):
        raise UserError("the named options must be one map", "pass them as the last element of params")
    return options


def option(options: Mapping[str, Any], name: str, kinds: type | tuple[type, ...], default: Any = None) -> Any:
    """Raises UserError when it is of another type. None counts as absent; True is no number."""
    value = options.get(name)
    if value is None:
        return default
    if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool) or value != value:  # NaN
        raise UserError(f"option {name}: {type(value).__name__} is not what it takes")
    return value


def path_of(value: Any) -> bytes:
    """An absolute path as the wire has it."""
    if isinstance(value, str):
        value = value.encode("utf-8", "surrogateescape")
    if not isinstance(value, bytes) or not value.startswith(b"/") or b"\0" in value:
        raise UserError("a path must be absolute, as a string or bytes", "the client makes it so")
    return value


def paths_of(params: list[Any]) -> list[bytes]:
    if not params:
        return []
    if not isinstance(params[0], list | tuple):
        raise UserError("the first parameter must be a list of paths")
    return [path_of(value) for value in params[0]]


def columns_of(options: Mapping[str, Any], known: Sequence[str], start: Sequence[str]) -> list[str]:
    """The columns of a table: `start`, changed as the option `columns` says. Raises UserError."""
    words = option(options, "columns", list, [])
    try:
        return parse_columns([word for word in words if isinstance(word, str)], start, known)
    except NoSuchColumn as error:
        raise UserError(f"there is no column {str(error)!r:.80}", f"one of: {', '.join(known)}") from None


_TAKEN = "no longer watched: it was taken from the roots while it was asked about"
_ASK_AGAIN = "ask again to have it watched"


class NotLookedAt(EnvironmentFailure):
    """What lies at `top` is on a mount that may hang, or leads onto one: a worker has to say whether it is a
    repository."""

    def __init__(self, top: bytes, reason: str | None = None) -> None:
        """`reason`: why the last look came to nothing."""
        shown = os.fsdecode(top)
        reason = reason or "on a file system that may not answer, and not looked at yet"
        super().__init__(f"{shown}: {reason}", f"gitwatch status {shlex.quote(shown)}")
        self.top = top


@dataclass(slots=True)
class Named:
    """What the paths of a request stand for."""

    scope: Scope
    errors: list[Wire] = field(default_factory=list)
    """Paths that stand for nothing: `{path, reason, hint}`."""
    keep: Callable[[RepoPath], bool] | None = None
    """Of the scope only these; None: all."""
    taken: Callable[[], list[bytes]] = list
    """Of the directories that were named, those that are no longer watched."""

    def kept(self, answer: Answer) -> Answer:
        """What of the answer is meant. A directory that was taken from the roots meanwhile becomes an error: that there
        is no repository would be said of one that nobody looks at."""
        self.errors += [{"path": text_or_bytes(top), "reason": _TAKEN, "hint": _ASK_AGAIN} for top in self.taken()]
        if self.keep is None:
            return answer
        return Answer(
            [(repository, standing) for repository, standing in answer.repositories if self.keep(repository.path)]
        )


def name_with_groups(fleet: Fleet, paths: list[bytes], options: Mapping[str, Any]) -> Named:
    """As `name_all`, and the repositories of the groups that the option `groups` names. Raises UserError."""
    include_ignored = option(options, "include_ignored", bool, False)
    groups = option(options, "groups", list, [])
    if not groups:
        return name_all(fleet, paths, include_ignored=include_ignored)
    globs = globs_of(fleet, groups)
    fleet.start()
    named = name_all(fleet, paths, include_ignored=include_ignored) if paths else Named(Scope(()))
    tops = named.scope.tops
    everywhere = tuple(dict.fromkeys((*tops, *fleet.roots.listed())))

    def belongs(path: RepoPath) -> bool:
        return names_repository(globs, path) or any(path == top or path.startswith(top + b"/") for top in tops)

    if fleet.roots.looking(everywhere):
        # Whatever is found until then may belong to the group, too.
        named.scope, named.keep = Scope(everywhere), belongs
    else:
        # Apart from each other: what is left out of lists further up is not, for who names it.
        there = {r.path for r in (*fleet.listed(tops), *fleet.listed(tuple(fleet.roots.listed())))}
        named.scope = Scope((), tuple(sorted(path for path in there if belongs(path))))
    return named


def globs_of(fleet: Fleet, groups: Sequence[Any]) -> list[bytes]:
    """What the configuration says that these groups are. Raises UserError for one that there is not."""
    configured = fleet.configuration.settings.groups
    for group in groups:
        if not isinstance(group, str) or group not in configured:
            known = ", ".join(f"@{name}" for name in configured) or "none are configured"
            raise UserError(f"there is no group {group!r:.80}", f"known: {known}")
    return [glob for group in groups for glob in configured[group]]


def name_all(fleet: Fleet, paths: list[bytes], *, include_ignored: bool = False) -> Named:
    """The repositories that `status` is to show for `paths`; none: every known one.

    A path inside a worktree stands for that worktree and the repositories beneath it; another directory for all beneath
    it. A directory asked for the first time becomes a root and is walked.
    """
    if not paths:
        return Named(Scope(tuple(fleet.roots.listed())))
    tops: dict[bytes, None] = {}
    errors: list[Wire] = []
    for path in paths:
        try:
            top, kind = resolve(fleet, path)
        except OSError as error:
            hint = "gitwatch roots list shows the directories that are known"
            errors.append({"path": text_or_bytes(path), "reason": reason_of(error), "hint": hint})
            continue
        if not fleet.roots.cover(top) or (include_ignored and not _includes_ignored(fleet, top)):
            fleet.decisions.add_root(top, kind, permanent=False, include_ignored=include_ignored)
        tops[top] = None
    return Named(Scope(tuple(tops)), errors, taken=lambda: [top for top in tops if not fleet.roots.cover(top)])


def _includes_ignored(fleet: Fleet, top: bytes) -> bool:
    above = fleet.roots.above(top)
    return any(root.path == above and root.include_ignored for root in fleet.roots.all())


def resolve(fleet: Fleet, path: bytes) -> tuple[bytes, RootKind]:
    """The worktree that holds `path`, or else the directory itself.

    Raises OSError when there is no such path, or it is a file in no worktree: the directory that it lies in is not what
    was named, and may be a whole home.
    """
    known = fleet.repository(path)
    if known is not None and is_found_from_its_top(fleet, known):
        return path, RootKind.WORKTREE
    directory = real_path(fleet, path, strict=True)
    if not fleet.watcher.is_local(directory):
        above = known_above(fleet, directory)
        return (directory, RootKind.DIRECTORY) if above is None else (above, RootKind.WORKTREE)
    is_file = not os.path.isdir(directory)
    try:
        worktree = find_worktree_top(fleet, os.path.dirname(directory) if is_file else directory)
    except NotLookedAt as away:
        return away.top, RootKind.WORKTREE
    if worktree is not None:
        return worktree, RootKind.WORKTREE
    if is_file:
        raise NotADirectoryError(errno.ENOTDIR, "a file that lies in no repository")
    return directory, RootKind.DIRECTORY


def resolve_strictly(fleet: Fleet, path: bytes) -> tuple[bytes, RootKind]:
    """As `resolve`; raises EnvironmentFailure, as of a request that is refused."""
    try:
        return resolve(fleet, path)
    except OSError as error:
        raise EnvironmentFailure(f"{os.fsdecode(path)}: {reason_of(error)}") from None


def worktree_of(fleet: Fleet, path: bytes) -> RepoPath:
    """The repository that `path` lies in. Raises EnvironmentFailure where there is none."""
    top, kind = resolve_strictly(fleet, path)
    if fleet.repository(top) is None and not fleet.stays_local(top):
        raise NotLookedAt(top, fleet.roots.unreadable.get(top))
    elsewhere = kind is RootKind.DIRECTORY and fleet.watcher.is_local(top)
    if elsewhere or fleet.repository(top) is None:
        raise EnvironmentFailure(f"{os.fsdecode(path)}: not a git repository (or any of the parent directories)")
    return RepoPath(top)


def real_path(fleet: Fleet, path: bytes, *, strict: bool = False) -> bytes:
    """`path` with its symbolic links followed, but not onto a mount that may hang. Raises OSError when `strict`."""
    return resolve_links(path, fleet.watcher.is_local, strict=strict)


def known_above(fleet: Fleet, directory: bytes) -> RepoPath | None:
    """The nearest known repository at or above a directory that must not be touched."""
    while directory != b"/":
        known = fleet.repository(directory)
        if known is not None and not known.gone:
            return known.path
        directory = os.path.dirname(directory)
    return None


def find_worktree_top(fleet: Fleet, directory: bytes) -> RepoPath | None:
    """The repository that `directory` (resolved, local) lies in; one that nobody knew becomes known.

    Raises OSError where git refuses to look further up, NotLookedAt.
    """
    # Not needed for the first replies after a start.
    from gitwatchd.git.layout import is_git_dir, read_location
    from gitwatchd.git.reach import LeadsAway

    candidate = directory
    while True:
        known = fleet.repository(candidate)
        if known is not None and is_found_from_its_top(fleet, known):
            return known.path
        if os.path.lexists(candidate + b"/.git") or os.path.lexists(candidate + b"/HEAD"):
            try:
                location = read_location(candidate)
            except LeadsAway as away:
                led = find_known_by_git_dir(fleet, candidate + b"/.git")
                if led is not None:
                    return led  # its core.worktree leads away
                fleet.watcher.note_led_away(candidate, away.mount)
                if not fleet.roots.is_root(candidate):  # even below one: its worktree may lie elsewhere
                    fleet.decisions.add_root(candidate, RootKind.WORKTREE, permanent=False, include_ignored=False)
                raise NotLookedAt(candidate) from away
            if location is None and _is_closed(candidate + b"/.git"):
                # To look for one further up, as git does, would be an answer about another repository.
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), candidate + b"/.git")
            if location is None and os.path.isfile(candidate + b"/.git"):
                raise OSError(errno.EINVAL, "its .git file does not lead to a repository", candidate + b"/.git")
            if location is None and is_git_dir(candidate):
                # git has no work tree there, and the one around, should there be one, may be another repository's.
                raise OSError(errno.EINVAL, "inside a git directory, not in a work tree", candidate)
            if location is not None:
                if not fleet.roots.cover(location.path):
                    fleet.decisions.add_root(location.path, RootKind.WORKTREE, permanent=False, include_ignored=False)
                fleet.adopt(location)
                return location.path
        above = os.path.dirname(candidate)
        if above == candidate:
            return None
        candidate = above


def is_found_from_its_top(fleet: Fleet, repository: Repository) -> bool:
    """git finds none from a worktree that only core.worktree of a git dir elsewhere leads to."""
    location = repository.location
    if repository.gone:
        return False
    if location.bare or location.git_dir == location.path + b"/.git":
        return True
    try:
        reach.check(location.path)
    except reach.LeadsAway:
        return True  # what is there by now is for a worker to say
    return os.path.lexists(location.path + b"/.git")


def find_known_by_git_dir(fleet: Fleet, git_dir: bytes) -> RepoPath | None:
    repositories = fleet.engine.repositories.values()
    return next((r.path for r in repositories if r.location.git_dir == git_dir and not r.gone), None)


def find_by_git_dir(fleet: Fleet, git_dir: bytes) -> RepoPath | None:
    """The repository whose git dir that is (resolved), if it has a worktree."""
    if (known := find_known_by_git_dir(fleet, git_dir)) is not None:
        return known
    from gitwatchd.git.layout import find_worktree_of, read_location
    from gitwatchd.git.reach import LeadsAway

    try:
        starts = [start for start in (find_worktree_of(git_dir), git_dir) if start is not None]
        # The git dir may name a worktree on a mount that hangs.
        found = [read_location(start) for start in starts if fleet.watcher.is_local(real_path(fleet, start))]
    except LeadsAway:
        return None
    location = next((each for each in found if each is not None and each.git_dir == git_dir and not each.bare), None)
    if location is None:
        return None
    if not fleet.roots.cover(location.path):
        fleet.decisions.add_root(location.path, RootKind.WORKTREE, permanent=False, include_ignored=False)
    fleet.adopt(location)
    return location.path


def _is_closed(directory: bytes) -> bool:
    """It is there, and nothing in it can be looked at."""
    return os.path.isdir(directory) and not os.access(directory, os.X_OK)
