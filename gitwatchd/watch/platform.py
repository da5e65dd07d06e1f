"""Which queue tells of changes on this platform.

Linux has inotify, macOS FSEvents; elsewhere directories are compared with what they were (`polling.py`).
"""

from __future__ import annotations

import sys

from gitwatchd.watch.events import EventQueue


def open_queue() -> EventQueue:
    """Raises OSError when none is to be had."""
    if sys.platform == "linux":
        from gitwatchd.watch.inotify import InotifyQueue

        return InotifyQueue()
    if sys.platform == "darwin":
        from gitwatchd.watch.fsevents import FSEventsQueue

        return FSEventsQueue()
    from gitwatchd.watch.polling import PollingQueue

    return PollingQueue()


def shares_queues() -> bool:
    """Whether repositories may share a queue. Not where reading one costs as much as all that it watches."""
    return sys.platform in ("linux", "darwin")
