"""What the kernel allows of inotify, and the commands that raise it.

Runs: any thread; reads files of /proc only. Every limit is the user's, shared by all programs of theirs.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

_WATCHES = {
    "fs.inotify.max_user_watches": "/proc/sys/fs/inotify/max_user_watches",
    "user.max_inotify_watches": "/proc/sys/user/max_inotify_watches",
}
_INSTANCES = {
    "fs.inotify.max_user_instances": "/proc/sys/fs/inotify/max_user_instances",
    "user.max_inotify_instances": "/proc/sys/user/max_inotify_instances",
}
"""The second of each counts in a user namespace of its own (a container); elsewhere it is out of reach."""

_EVENTS = {"fs.inotify.max_queued_events": "/proc/sys/fs/inotify/max_queued_events"}

_ENOUGH_EVENTS = 65_536
_ENOUGH_WATCHES = 524_288
_ENOUGH_INSTANCES = 1024
MORE_FILES_HINT = "raise the daemon's limit of open files (systemd: LimitNOFILE=, a shell: ulimit -n)"


def read_max_watches() -> int | None:
    """The lowest of the limits that hold here; None where they cannot be read."""
    return min(_read(_WATCHES).values(), default=None)


def own_share(limit: int | None) -> int | None:
    """How many of them this daemon takes at most: an editor that finds none left stops following its files."""
    return None if limit is None else limit - limit // 8


def more_watches_hint(wanted: int) -> str:
    """The command after which there is room for `wanted` watches of ours; it names the limit that is in the way."""
    name, now = _lowest(_WATCHES, 8192)
    enough = max(_ENOUGH_WATCHES, 2 * now)
    while (own_share(enough) or 0) < wanted:
        enough *= 2
    return f"sudo sysctl {name}={enough}"


def more_instances_hint() -> str:
    name, now = _lowest(_INSTANCES, 128)
    return f"sudo sysctl {name}={max(_ENOUGH_INSTANCES, 2 * now)}"


def more_events_hint() -> str:
    """The command after which more events find room between two reads."""
    name, now = _lowest(_EVENTS, 16_384)
    return f"sudo sysctl {name}={max(_ENOUGH_EVENTS, 2 * now)}"


def _lowest(files: Mapping[str, str], default: int) -> tuple[str, int]:
    """The limit that is in the way."""
    limits = _read(files) or {next(iter(files)): default}
    return min(limits.items(), key=lambda item: item[1])


def _read(files: Mapping[str, str]) -> dict[str, int]:
    limits: dict[str, int] = {}
    for name, path in files.items():
        try:
            with open(path, encoding="ascii") as file:
                limits[name] = int(file.read())
        except (OSError, ValueError):
            continue
    return limits


def descriptors_left() -> bool:
    try:
        os.close(os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
