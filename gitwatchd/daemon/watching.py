"""What is found and what the watcher tells, made events of the engine; and whether a path still holds the repository
that was walked.

Owns: device and inode of each repository as of its last walk, the directories whose watches are being placed.
Runs: serving thread.
Invariant: the renaming of a directory above a repository raises no event inside it, so whoever answers about one has
compared its identity first.
"""

from __future__ import annotations

import logging
import os
import time
from typing import TYPE_CHECKING

from gitwatchd.engine.events import Analysed, Busy, Changed, Discovered, Forgotten, Found, Level, Refused, Walked
from gitwatchd.git import reach
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Failed, Gone, Location, RepoPath, Result, Survey, Surveyed
from gitwatchd.store.intent import RootKind
from gitwatchd.watch.changes import Aspect, Changes

if TYPE_CHECKING:
    from gitwatchd.daemon.fleet import Fleet
    from gitwatchd.store.intent import Root
    from gitwatchd.watch.listener import Identity, WalkResult

_log = logging.getLogger(__name__)


class Watching:
    """The watcher's listener, and what has it look for repositories."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._identities: dict[RepoPath, Identity] = {}
        self._placing: dict[RepoPath, frozenset[bytes] | None] = {}
        """Directories whose watches are being placed, by repository; None: all."""

    def note_walk(self, path: RepoPath, directories: frozenset[bytes] | None) -> None:
        """A walk begins."""
        self._placing[path] = directories

    def forget(self, path: RepoPath) -> None:
        self._identities.pop(path, None)
        self._placing.pop(path, None)

    def discover(self, directory: bytes, root: Root) -> None:
        """Look for repositories below `directory`; `on_found` and `on_discovered` tell of them."""
        fleet = self._fleet
        if not fleet.stays_local(directory):
            self._survey(directory, root)
            return
        if not (ignore := fleet.roots.ignore):
            fleet.watcher.discover(directory, root.path, include_ignored=root.include_ignored)
            return
        from gitwatchd.settings.globs import matches_directory

        fleet.watcher.discover(
            directory, root.path, include_ignored=root.include_ignored,
            skip=lambda path: matches_directory(ignore, path),
        )  # fmt: skip

    def _survey(self, directory: bytes, root: Root) -> None:
        """The same where looking may hang."""

        def found(result: Result) -> None:
            unreadable = []
            if isinstance(result, Surveyed):
                for location in result.locations:
                    if root.kind is RootKind.WORKTREE and not self._fleet.roots.cover(location.path):
                        # It was asked for by the place from which its core.worktree leads here.
                        self._fleet.decisions.add_root(
                            location.path, RootKind.WORKTREE, permanent=False, include_ignored=False
                        )
                    self.on_found(location)
            elif isinstance(result, Failed):
                unreadable = [(directory, result.reason)]
            self.on_discovered(root.path, unreadable)

        timeout_s = self._fleet.configuration.settings.limits.timeout_s
        self._fleet.analyst.remote.submit(Survey(directory, root.include_ignored, timeout_s), found)

    def on_settings(self) -> None:
        self._fleet.configuration.note()

    def on_changed(self, path: RepoPath, changes: Changes) -> None:
        self._fleet.analyses.note_changes(path, changes)
        if changes.busy is not None:
            self._fleet.feed(Busy(path, changes.busy))
        rewalk = bool(changes.aspects & (Aspect.IDENTITY | Aspect.LOST))
        if not rewalk and not changes.paths and not changes.new_directories and not changes.aspects:
            return
        from gitwatchd.watch.repository_watch import TRACKED

        followed = self._fleet.increments.note(path, changes)
        new_directories = frozenset(changes.new_directories)
        if changes.aspects & Aspect.INDEX and not followed:
            new_directories |= {TRACKED}
        self._fleet.feed(Changed(path, rewalk, whole=not followed, new_directories=new_directories))

    def on_walked(self, result: WalkResult) -> None:
        try:
            self._take_walk(result)
        except Exception:  # noqa: BLE001 - a seam of errors.py: without an end of its walk a repository waits for ever
            _log.exception("after the walk of %r", result.path)
            self._fleet.fail_walk(result.path, "a bug ended its walk: see the log")

    def _take_walk(self, result: WalkResult) -> None:
        if result.path not in self._fleet.engine.repositories:
            self._fleet.watcher.release(result.path)
            return
        if result.location is None:
            self.lose(result.path)
            return
        if result.identity is not None:
            self._identities[result.path] = result.identity
        if result.location.path != result.path:
            self.lose(result.path)
            self.on_found(result.location)
            return
        from gitwatchd.watch.repository_watch import TRACKED

        placed = self._placing.pop(result.path, None)
        if placed is None:
            self._fleet.analyses.note_blindness(result.path)
        if result.watch is not Watch.WATCHED:
            self._fleet.increments.drop(result.path)  # what happens from now on is in nobody's list of changes
        outcome = None if result.sight is None else self._fleet.increments.adopt(result.path, result.sight)
        if result.looked and outcome is None:
            self._fleet.analyses.note_seen_in_vain(result.path)
        if result.new_attributes or (placed is not None and TRACKED in placed):
            self._fleet.increments.drop(result.path)
        elif placed is not None:
            self._look_again(result, placed)
        for nested in result.nested:
            self.on_found(nested)
        for submodule in result.submodules:
            # It was a repository of its own until its parent's index named it.
            if submodule.path in self._fleet.engine.repositories and not self._fleet.roots.is_root(submodule.path):
                self._fleet.feed(Forgotten(submodule.path))
        self._fleet.feed(
            Walked(
                result.location, result.watch, result.reason, result.hint, outcome, result.began, result.watches,
                result.shortage,
            )
        )  # fmt: skip

    def _look_again(self, result: WalkResult, placed: frozenset[bytes]) -> None:
        from gitwatchd.watch.repository_watch import find_rules

        if changed := find_rules(placed):
            # What rules no longer leave out lies there; all else was watched, and changed rules are noted themselves.
            # After a walk of all in place of the one that was asked for, it may lie anywhere below them.
            placed -= changed.keys()
            placed |= frozenset(changed.values()) if result.entered is None else result.entered
            if not placed:
                return
        self._fleet.increments.look_again(result.path, placed)

    def lose(self, path: RepoPath) -> None:
        self._identities.pop(path, None)
        self._fleet.increments.drop(path)
        self._fleet.watcher.release(path)
        self._fleet.forget_cached(path)
        self._fleet.feed(Analysed(path, Gone(), Level.L3, time.time()))
        if self._fleet.is_directory(path):
            self._fleet.roots.look(path)

    def on_found(self, location: Location) -> None:
        known = self._fleet.engine.repositories.get(location.path)
        if known is None and not self._fleet.roots.cover(location.path):
            return  # left out, or its root is one no longer
        if known is None or known.gone:
            self._fleet.feed(Found(location))
        else:
            self.check_identity(location.path)

    def on_discovered(self, root: bytes, unreadable: list[tuple[bytes, str]]) -> None:
        self._fleet.roots.ended(root, unreadable)
        held = self._fleet.watcher.discovery_refused
        if held is not None:
            self._fleet.feed(Refused(held))
        for query, waiting in list(self._fleet.engine.queries.items()):
            if waiting.discovering and not self._fleet.roots.looking(waiting.scope):
                self._fleet.feed(Discovered(query))

    def on_led_away(self, directory: bytes) -> None:
        self._fleet.roots.look(directory)

    def on_left(self, path: bytes) -> None:
        for repository in self._fleet.below((path,)):
            self.check_identity(repository.path)

    def on_suspicion(self) -> None:
        self._fleet.roots.look_everywhere()

    def on_appeared(self, directory: bytes) -> None:
        self._fleet.roots.look(directory)

    def on_mounts(self, points: set[bytes]) -> None:
        from gitwatchd.mounts import lies_below

        for path, repository in list(self._fleet.engine.repositories.items()):
            location = repository.location
            parts = {location.path, location.git_dir, location.common_dir}
            if (mount := self._fleet.watcher.leads_onto(path)) is not None:
                parts.add(mount)
            if any(lies_below(part, point) or lies_below(point, part) for point in points for part in parts):
                self._fleet.increments.drop(path)
                self._fleet.feed(Changed(path, rewalk=True))
        for point in points:
            for root in self._fleet.roots.all():
                if lies_below(root.path, point):
                    self._fleet.roots.look(root.path)
            if not self._fleet.watcher.is_mount_point(point) and not self._in_worktree(point):
                self._fleet.roots.look(point)

    def _in_worktree(self, path: bytes) -> bool:
        """What lies there is found by the walk of a repository."""
        return any(path.startswith(r.path + b"/") and not r.gone for r in self._fleet.engine.repositories.values())

    def on_configuration(self) -> None:
        self._fleet.analyses.note_configuration()
        self._fleet.increments.drop_all()
        for path in list(self._fleet.engine.repositories):
            self._fleet.feed(Changed(path, whole=True))

    def check_identity(self, path: RepoPath) -> None:
        repository = self._fleet.engine.repositories.get(path)
        if repository is None or not self._fleet.started or not self._fleet.watcher.is_local(path):
            return
        # Nothing of what is watched lay elsewhere when it was walked.
        if repository.watch is not Watch.WATCHED and not self._fleet.is_local(repository.location):
            return
        from gitwatchd.watch.listener import read_identity

        known = self._identities.get(path)
        now: Identity | None = None
        try:
            # A directory above may be a link by now, or become one right after it was moved away.
            there = all([reach.may_be_there(path), reach.may_be_there(repository.location.git_dir)])
            if there and known is not None and not repository.gone:
                now = read_identity(repository.location, [directory for directory, _ in known.borrowed])
        except reach.LeadsAway as away:
            if not repository.gone:
                self._identities.pop(path, None)
                self._fleet.on_led_away(path, away.mount)
            return
        if repository.gone:
            if there and os.path.exists(repository.location.git_dir):
                self._fleet.feed(Changed(path, rewalk=True))
        elif known is not None and now != known:
            del self._identities[path]
            self._fleet.feed(Changed(path, rewalk=True))
