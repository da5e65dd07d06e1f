"""Which repositories may run the filter drivers of their own configuration.

Owns nothing: the decisions are the user's and lie with `Intent`. Runs: serving thread. Whether a decision still holds
is for the analysis to say, right before it would run them.
"""

from __future__ import annotations

import time

from gitwatchd.model.repository import Location
from gitwatchd.store.intent import Intent

_GRANT_TIMEOUT_S = 10.0


class Trust:
    def __init__(self, intent: Intent) -> None:
        self._intent = intent

    def allowed(self, location: Location) -> bytes | None:
        """Digest of the drivers that the user allowed for this repository."""
        return self._intent.trusted(location.path)

    def grant(self, location: Location) -> None:
        """Allow the drivers that are defined now, submodules' included, until any changes. Raises
        EnvironmentFailure."""
        # Imported here: hardly any daemon ever needs it, and its start is counted in milliseconds.
        from gitwatchd.analysis.drivers import drivers_digest, find_drivers
        from gitwatchd.git.repository_config import read_config

        drivers = find_drivers(location, read_config(location), time.monotonic() + _GRANT_TIMEOUT_S)
        self._intent.trust(location.path, drivers_digest(drivers))
