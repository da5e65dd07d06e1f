"""`gitwatch daemon start|stop|restart|status|logs`.

Owns nothing. Runs: one process a command. Where the user's systemd runs our unit, it is told instead of the
daemon: a service that ends by itself would be started again by the next connection to its socket.
"""

from __future__ import annotations

import os

from gitwatch import output
from gitwatch.link import connect, find_running, places_of, shut_down, wait_gone
from gitwatch.output import plain
from gitwatchd.errors import DaemonUnavailable, EnvironmentFailure
from gitwatchd.wire.blocking import DaemonSilent

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from gitwatch.cli import Invocation
    from gitwatch.link import Link

_COPY_BYTES = 1 << 16
_GENTLE_S = 5.0
"""For the daemon to end its children after SIGTERM."""


def start(invocation: Invocation) -> int:
    _describe(connect(invocation))
    return 0


def stop(invocation: Invocation) -> int:
    output.write_text("stopped\n" if stop_daemon(invocation) else "not running\n")
    return 0


def restart(invocation: Invocation) -> int:
    stop_daemon(invocation)
    return start(invocation)


def status(invocation: Invocation) -> int:
    where = places_of(invocation)
    link = find_running(where)
    if link is None:
        raise DaemonUnavailable(
            f"no daemon answers at {os.fsdecode(where.socket)}", "`gitwatch daemon start` starts one"
        )
    _describe(link)
    return 0


def logs(invocation: Invocation) -> int:
    if _systemd_runs_it(invocation):
        os.execvp("journalctl", ["journalctl", "--user", "--unit", "gitwatchd.service", "--no-pager"])  # noqa: S606
    log = places_of(invocation).log
    try:
        with open(log, "rb") as file:
            while data := file.read(_COPY_BYTES):
                output.write(data)
    except OSError as why:
        raise EnvironmentFailure(
            f"no log at {os.fsdecode(log)}: {why.strerror}", "it is written once the daemon runs"
        ) from None
    return 0


def _describe(link: Link) -> None:
    hello = link.hello
    output.write_text(
        f"gitwatchd {plain(hello['version'])} runs (pid {hello['pid']})\n"
        f"  socket  {plain(link.places.socket)}\n"
        f"  state   {plain(hello['state_dir'])}\n"
        f"  git     {plain(hello['git'] or '-')} ({plain(hello['git_version'] or '-')})\n"
    )


def _systemd_runs_it(invocation: Invocation) -> bool:
    if invocation.state_dir is not None:
        return False
    from gitwatch.autostart import find_unit, systemctl

    return find_unit(os.environ) is not None and systemctl("is-active", "gitwatchd.service")


def stop_daemon(invocation: Invocation) -> bool:
    """Whether there was one to stop."""
    from gitwatch.autostart import UNITS, find_unit, systemctl

    by_systemd = False
    if invocation.state_dir is None and find_unit(os.environ) is not None:
        by_systemd = systemctl("is-active", *UNITS) and systemctl("stop", *UNITS)
    where = places_of(invocation)
    try:
        link = find_running(where)
        if link is not None:
            shut_down(link)
    except DaemonSilent:
        _end_hung(where.socket)
        return True
    return by_systemd or link is not None


def _end_hung(socket: bytes) -> None:
    """End the daemon that listens there and does not answer. Raises DaemonUnavailable where that is not possible."""
    import signal

    pid = _listening_pid(socket)
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            is_ours = b"gitwatchd" in file.read()
        if not is_ours:  # systemd, listening for it
            raise DaemonUnavailable(f"gitwatchd does not answer, and pid {pid} is not gitwatchd")
        if _catches(pid, signal.SIGUSR1):
            os.kill(pid, signal.SIGUSR1)  # its threads say in the log where they are
        os.kill(pid, signal.SIGTERM)
        os.kill(pid, signal.SIGCONT)  # a stopped process acts on SIGTERM only when it goes on
        if not wait_gone(pid, _GENTLE_S):
            os.kill(pid, signal.SIGKILL)
            if not wait_gone(pid, _GENTLE_S):
                raise DaemonUnavailable(f"gitwatchd (pid {pid}) cannot be ended: it waits for a disk or mount")
    except (FileNotFoundError, ProcessLookupError):
        pass  # it has just ended


def _catches(pid: int, number: int) -> bool:
    """Whether that process has a handler for the signal; an older daemon would end by it, and leave its children."""
    with open(f"/proc/{pid}/status", "rb") as file:
        caught = next((line for line in file if line.startswith(b"SigCgt:")), b"SigCgt: 0")
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def _listening_pid(path: bytes) -> int:
    """The process that listens, as the kernel recorded it: a pid in a file could be another process's by now."""
    import socket
    import struct

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_GENTLE_S)
        try:
            probe.connect(path)
        except OSError as why:
            raise DaemonUnavailable(f"gitwatchd does not answer: {why.strerror}") from None
        pid, _, _ = struct.unpack("=iII", probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
