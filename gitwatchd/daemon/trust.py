"""Which repositories may run the filter drivers of their own configuration.

Owns nothing: the decisions are the user's and lie with `Intent`, or in the globs of `config.toml`. Runs: serving
thread. Whether a decision still holds is for the analysis to say, right before it would run them.
"""

from __future__ import annotations

import time

from gitwatchd.daemon.configuration import Configuration
from gitwatchd.model.repository import ANY_DRIVERS, Location
from gitwatchd.settings.model import Settings
from gitwatchd.store.intent import Intent

_GRANT_TIMEOUT_S = 10.0


def is_trusted(settings: Settings, path: bytes) -> bool:
    """Whether a glob of `config.toml` says so: it names a place, whatever the drivers there are or become."""
    if not settings.trust:
        return False
    from gitwatchd.settings.globs import covers

    return covers(settings.trust, path)


class Trust:
    def __init__(self, intent: Intent, configuration: Configuration) -> None:
        self._intent = intent
        self._configuration = configuration

    def allowed(self, location: Location) -> bytes | None:
        """What `Job.trusted` is to be for this repository."""
        if is_trusted(self._configuration.settings, location.path):
            return ANY_DRIVERS
        return self._intent.trusted(location.path)

    def grant(self, location: Location) -> None:
        """Allow the drivers that are defined now, submodules' included, until any changes. Raises
        EnvironmentFailure."""
        # Imported here: hardly any daemon ever needs it, and its start is counted in milliseconds.
        from gitwatchd.analysis.drivers import drivers_digest, find_drivers
        from gitwatchd.git.layout import check_parts
        from gitwatchd.git.repository_config import read_config

        check_parts(location)
        drivers = find_drivers(location, read_config(location), time.monotonic() + _GRANT_TIMEOUT_S)
        self._intent.trust(location.path, drivers_digest(drivers))

    def revoke(self, path: bytes) -> bool:
        """Take that back. False when it was not granted. Raises EnvironmentFailure."""
        return self._intent.distrust(path)
