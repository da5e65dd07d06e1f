"""Which repositories may run the filter drivers of their own configuration.

Owns nothing: the decisions are the user's and lie with `Intent`. Runs: serving thread; reads a config file where a decision
exists, which is rare.
"""

from __future__ import annotations

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.model.repository import Location
from gitwatchd.store.intent import Intent


class Trust:
    def __init__(self, intent: Intent) -> None:
        self._intent = intent

    def covers(self, location: Location) -> bool:
        """Whether its filter drivers are those that the user allowed."""
        digest = self._intent.trusted(location.path)
        if digest is None:
            return False
        try:
            return digest == _drivers_digest(location)
        except (EnvironmentFailure, OSError):
            return False

    def grant(self, location: Location) -> None:
        """Allow the drivers that are defined now, until they change. Raises EnvironmentFailure."""
        self._intent.trust(location.path, _drivers_digest(location))


def _drivers_digest(location: Location) -> bytes:
    """Changes when a filter driver of the repository's own configuration does."""
    # Imported here: hardly any daemon ever needs it, and its start is counted in milliseconds.
    from hashlib import sha256

    from gitwatchd.git.repository_config import read_config

    config = read_config(location)
    drivers = {b"filter." + name for name in config.filter_drivers_of_repository()}
    lines = [repr((entry.key, entry.value)) for entry in config.entries if entry.key.rpartition(b".")[0] in drivers]
    return sha256("\n".join(lines).encode()).digest()
