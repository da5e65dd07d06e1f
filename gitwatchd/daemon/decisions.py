"""What the user decided takes effect: roots, `config.toml`, and what another daemon of theirs was told.

Owns nothing: decisions are kept by `store.intent` and `configuration.py`, the directories in use by `roots.py`.
Runs: serving thread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gitwatchd.daemon.trust import is_trusted
from gitwatchd.engine.events import Changed, Forgotten
from gitwatchd.git.reach import resolve_links
from gitwatchd.model.repository import Failed
from gitwatchd.settings.model import Settings
from gitwatchd.store.intent import RootKind

if TYPE_CHECKING:
    from gitwatchd.daemon.fleet import Fleet


class Decisions:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def settle(self) -> None:
        """Have in force what `config.toml` says now, what another daemon of this user decided, and roots that were not
        there before; for a request that has just arrived."""
        fleet = self._fleet
        if fleet.started:
            fleet.watcher.drain(())
            fleet.configuration.settle()
            if fleet.watcher.is_local(fleet.intent.path):  # a dead server must not hold every request
                self.reread_intent()
            self.look_where_roots_appeared()
        else:
            fleet.configuration.read()

    def reread_intent(self) -> None:
        """Another daemon may have decided something."""
        fleet = self._fleet
        before = fleet.intent.known_trust
        if not fleet.intent.reread():
            return
        self._configure_roots(look_everywhere=False)
        for path in list(fleet.engine.repositories):
            if fleet.intent.trusted(path) != before.get(path):
                fleet.feed(Changed(path, whole=True))

    def on_settings_changed(self, before: Settings) -> None:
        fleet = self._fleet
        now = fleet.configuration.settings
        if (now.roots, now.ignore) != (before.roots, before.ignore):
            self._configure_roots(look_everywhere=not set(before.ignore) <= set(now.ignore))
        fleet.limit_jobs(fleet.most_jobs)
        more_time = now.limits.timeout_s != before.limits.timeout_s
        for repository in list(fleet.engine.repositories.values()):
            failed = more_time and isinstance(repository.outcome, Failed)  # perhaps for want of it
            if failed or is_trusted(now, repository.path) != is_trusted(before, repository.path):
                fleet.feed(Changed(repository.path, whole=True))

    def is_absent(self, path: bytes) -> bool:
        """Whether no directory is there; False where looking might hang."""
        return self._fleet.is_directory(path) is False

    def look_where_roots_appeared(self) -> None:
        fleet = self._fleet
        if fleet.started and (appeared := fleet.roots.take_appeared()):
            self._configure_roots(look_everywhere=False)  # what appeared may be a link that leads elsewhere
            for path in appeared:
                fleet.roots.look(path)

    def _configure_roots(self, *, look_everywhere: bool) -> None:
        fleet = self._fleet
        added = fleet.roots.configure(self.configured_roots(), fleet.configuration.settings.ignore)
        for repository in list(fleet.engine.repositories.values()):
            if not fleet.roots.cover(repository.path):
                fleet.feed(Forgotten(repository.path))
        if fleet.started:
            for path in [root.path for root in fleet.roots.all()] if look_everywhere else added:
                fleet.roots.look(path)

    def configured_roots(self) -> list[bytes]:
        paths = self._fleet.configuration.settings.roots
        if not paths:
            return []
        from gitwatchd.mounts import read_mounts

        mounts = read_mounts()
        return [resolve_links(path, mounts.is_local) for path in paths]

    def add_root(self, path: bytes, kind: RootKind, *, permanent: bool, include_ignored: bool) -> None:
        """Look below it now, and again at each start. Raises EnvironmentFailure when it cannot be written down."""
        fleet = self._fleet
        fleet.roots.add(path, kind, permanent=permanent, include_ignored=include_ignored)
        if fleet.started:
            fleet.roots.look(path)
        else:
            fleet.start()

    def remove_root(self, path: bytes) -> bool:
        """False when it is no root. Its repositories are forgotten unless another root holds them."""
        fleet = self._fleet
        if not fleet.roots.remove(path):
            return False
        for repository in fleet.below((path,)):
            if not fleet.roots.cover(repository.path):
                fleet.feed(Forgotten(repository.path))
        return True
