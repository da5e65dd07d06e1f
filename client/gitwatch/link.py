"""The way to the daemon: connect, start one if none runs, agree on the protocol.

Owns: the connection of one command. Runs: one process a command, one thread.
Invariant: everything ends by a deadline. The greeting has a short one of its own: the daemon's serving
thread never blocks, so one that does not greet is stopped or hung, and a long wait for it is a wait for
nothing.
"""

from __future__ import annotations

import os
import time

from gitwatch.output import complain
from gitwatchd import __version__
from gitwatchd.errors import DaemonUnavailable, EnvironmentFailure
from gitwatchd.wire.address import Places, places
from gitwatchd.wire.blocking import Connection, DaemonSilent
from gitwatchd.wire.rpc import PROTOCOL

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

    from gitwatch.cli import Invocation
    from gitwatchd.wire.blocking import OnNotification

_GREETING_S = 5.0
_GONE_S = 10.0
_ENDING_S = 2.0
"""For a daemon that was killed, or told to end, to let go of what it holds."""
_STEP_S = 0.005


class Link:
    """A connection to a daemon that speaks our protocol; `hello` is its greeting."""

    __slots__ = ("_connection", "hello", "places")

    def __init__(self, connection: Connection, hello: dict[str, Any], where: Places) -> None:
        self._connection = connection
        self.hello = hello
        self.places = where

    def call(
        self,
        method: str,
        *params: Any,
        timeout_s: float,
        on_notification: OnNotification | None = None,
    ) -> Any:
        """The result of one request, within `timeout_s`; raises as `Connection.call`."""
        self._connection.renew_deadline(timeout_s)
        return self._connection.call(method, *params, on_notification=on_notification)

    def fileno(self) -> int:
        return self._connection.fileno()

    def take_notifications(self, on_notification: OnNotification) -> None:
        """Those that have arrived; does not wait. Raises DaemonUnavailable when the daemon has gone."""
        self._connection.take_notifications(on_notification)

    def close(self) -> None:
        self._connection.close()


def places_of(invocation: Invocation) -> Places:
    return places(os.environ, os.getuid(), invocation.state_dir)


def connect(invocation: Invocation) -> Link:
    """To the running daemon, or to one that is started for this. What is wrong with `config.toml` is told.

    Raises DaemonUnavailable when none runs and none can be started, or when it is a newer, incompatible one;
    DaemonSilent when it does not greet.
    """
    where = places_of(invocation)
    # Half of the time at most: the rest is for what can be done without a daemon that does not greet.
    limit_s = min(_GREETING_S, invocation.remaining_s() / 2)
    link = find_running(where, limit_s)
    if link is not None and link.hello["protocol"][0] < PROTOCOL[0]:
        shut_down(link)
        link = None
    if link is None:
        link = _start(invocation, where, limit_s)
    theirs = link.hello["protocol"][0]
    if theirs != PROTOCOL[0]:
        # A newer daemon is never replaced by an older client: two versions would end each other in turn.
        raise DaemonUnavailable(
            f"gitwatchd {link.hello['version']} speaks protocol {theirs}, this gitwatch only {PROTOCOL[0]}",
            "use the newer gitwatch, or `gitwatch status --direct`",
        )
    if not link.hello["git"]:
        raise EnvironmentFailure(
            "gitwatchd finds no git on its PATH", "put git on PATH, then `gitwatch daemon restart`"
        )
    # The commands that show the configuration tell it in their own way.
    notes = () if invocation.command in ("config", "doctor") else link.hello.get("notes") or ()
    for number, note in enumerate(notes, 1):
        complain(note, "until this is put right, what the file said before is in force" * (number == len(notes)))
    return link


def _start(invocation: Invocation, where: Places, limit_s: float) -> Link:
    from gitwatch.autostart import START_S, start_daemon

    ends_at = time.monotonic() + _ENDING_S
    while True:
        started = start_daemon(where, invocation.state_dir, min(START_S, invocation.remaining_s()))
        try:
            return _greet(started, where, limit_s)
        except DaemonSilent:
            raise
        except DaemonUnavailable:
            # That was one on its way out. Until it is gone it holds the lock, and nobody can take its place.
            if time.monotonic() > ends_at:
                raise DaemonUnavailable(
                    "gitwatchd ended right after its start", f"{os.fsdecode(where.log)} says why"
                ) from None
            time.sleep(_STEP_S)


def find_running(where: Places, limit_s: float = _GREETING_S) -> Link | None:
    """The daemon that runs now, of any protocol; None when none does. Raises DaemonSilent, PeerError."""
    try:
        # A process that was killed or ends may still take connections, and closes them without a greeting.
        return _greet(Connection(where.socket, limit_s), where, limit_s)
    except DaemonSilent:
        raise
    except DaemonUnavailable:
        return None


def _greet(connection: Connection, where: Places, limit_s: float) -> Link:
    connection.renew_deadline(limit_s)
    return Link(connection, connection.call("hello", __version__, list(PROTOCOL)), where)


def shut_down(link: Link) -> None:
    """Ask the daemon to end, and wait until its process is gone. Raises DaemonSilent after some seconds."""
    pid = int(link.hello["pid"])
    link.call("shutdown", timeout_s=_GREETING_S)
    link.close()
    if not wait_gone(pid, _GONE_S):
        raise DaemonSilent(f"gitwatchd (pid {pid}) does not end", f"end it yourself: `kill {pid}`")


def wait_gone(pid: int, limit_s: float) -> bool:
    """Whether the process ended within `limit_s`."""
    ends_at = time.monotonic() + limit_s
    while _runs(pid):
        if time.monotonic() > ends_at:
            return False
        time.sleep(_STEP_S)
    return True


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return not _is_zombie(pid)


def _is_zombie(pid: int) -> bool:
    """It has ended, but its parent (a test, a container without init) does not collect it."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return False
