"""Looks for repositories below roots, and watches where new ones may appear.

Owns nothing that outlives a search. Runs: the discovering thread.
Invariant: what is found is told at once; what was left out for want of descriptors is looked at again, or named.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable

from gitwatchd.errors import is_exhaustion
from gitwatchd.model.repository import Location
from gitwatchd.mounts import Mounts
from gitwatchd.watch.discovery import Skip, walk_root
from gitwatchd.watch.discovery_watch import DiscoveryWatch
from gitwatchd.watch.walk import find_nested

_log = logging.getLogger(__name__)

_STARVED_TURNS, _STARVED_PAUSE_S = 100, 0.1
"""A search that finds no descriptor left waits for one: what it left out would be missing from an answer."""


class Discoverer:
    """`found` and `led_away` (as in `walk_root`) are called on the discovering thread."""

    def __init__(
        self,
        watch: DiscoveryWatch,
        mounts: Callable[[], Mounts],
        found: Callable[[Location], None],
        led_away: Callable[[bytes, bytes], None],
    ) -> None:
        self._watch = watch
        self._mounts = mounts
        self._found = found
        self._led_away = led_away

    def discover(self, directory: bytes, root: bytes, *, include_ignored: bool, skip: Skip) -> list[tuple[bytes, str]]:
        """At and below `directory`, itself at or below `root`. Returns directories that could not be read, and why."""
        unreadable: list[tuple[bytes, str]] = []
        starved: list[bytes] = []

        def cannot_read(path: bytes, error: OSError) -> None:
            if is_exhaustion(error):
                starved.append(path)
            else:
                unreadable.append((path, error.strerror or str(error)))

        try:
            for turn in range(_STARVED_TURNS):
                again, starved[:] = [directory] if turn == 0 else list(starved), []
                for below in again:
                    for location in walk_root(
                        below,
                        self._mounts(),
                        enter=lambda path: self._watch.enter(path, root),
                        half_made=self._watch.await_head,
                        found=self._watch.leave,
                        unreadable=cannot_read,
                        led_away=self._led_away,
                        skip=skip,
                    ):
                        self._found(location)
                        if include_ignored:
                            self._find_ignored(location)
                if not starved:
                    break
                time.sleep(_STARVED_PAUSE_S)
            unreadable += [(path, os.strerror(errno.EMFILE)) for path in starved]
        except Exception:  # noqa: BLE001 - a seam of errors.py: a bug in one walk must not end the thread
            _log.exception("looking for repositories below %r", directory)
        return unreadable

    def _find_ignored(self, location: Location) -> None:
        pending, seen = [location], {location.path}
        while pending:
            for nested in find_nested(pending.pop(), include_ignored=True):
                if nested.path not in seen:
                    seen.add(nested.path)
                    self._found(nested)
                    pending.append(nested)
