"""Look at a file system that may not answer: in a worker process, which can be left behind.

Owns nothing. Runs: worker processes only, never the daemon itself: nothing may be able to end a process that waits for
a dead mount.
"""

from __future__ import annotations

import os

from gitwatchd.errors import reason_of
from gitwatchd.model.repository import Answers, Failed, Probe, Survey, Surveyed
from gitwatchd.watch.discovery import find_repositories


def survey(wanted: Survey) -> Surveyed | Failed:
    try:
        os.stat(wanted.path)
    except OSError as error:
        return Failed(reason_of(error))
    return Surveyed(tuple(find_repositories(wanted.path, include_ignored=wanted.include_ignored)))


def probe(wanted: Probe) -> Answers | Failed:
    """Asks the server: of a path alone the kernel may know enough to answer in its place."""
    try:
        os.statvfs(wanted.path)
    except FileNotFoundError:
        return Answers()
    except OSError as error:
        return Failed(reason_of(error))
    return Answers()
