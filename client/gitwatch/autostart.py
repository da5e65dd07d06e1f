"""Start the daemon because a command needs it.

Owns: the process it starts, until somebody answers. Runs: one process a command.
Invariant: clients that come at once end with one daemon. Each may start a process; the daemon's own lock
decides, the process that loses ends with ANOTHER_RUNS, and every client connects to whoever listens.
Never waits for a time: it tries to connect, again and again, until its deadline.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from typing import IO

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.wire.address import ANOTHER_RUNS, ENVIRONMENT_NAMES, Places
from gitwatchd.wire.blocking import Connection, DaemonSilent

START_S = 20.0
"""From exec to the first connection is 0.1 s warm; a cold disk and a loaded machine take several."""
_YIELD_S = 1.0
"""After another process proved to hold the lock: it is starting and will listen, or ending and lets go."""
_STEP_S = 0.005
_SYSTEMCTL_S = 10.0
_SYSTEMD_S = 5.0
"""After systemd said yes; then it is started without systemd."""

_KEPT = frozenset({"HOME", "PATH", "LANG", "USER", *ENVIRONMENT_NAMES})

DAEMON = (sys.executable, "-P", "-m", "gitwatchd")
"""-P: the working directory will be `/`, and nothing that lies there may be imported."""

_OWN_WORDS = "gitwatchd: "

UNITS = ("gitwatchd.socket", "gitwatchd.service")


def start_daemon(where: Places, state_dir: bytes | None, limit_s: float = START_S) -> Connection:
    """Start a daemon for `where` and connect to whichever daemon listens there, within `limit_s`.

    Through the user's systemd where our unit is installed, else as a process of its own. Raises
    DaemonUnavailable with what the process said when it fails, or when nothing listens in time.
    """
    if state_dir is None and (unit := find_unit(os.environ)) is not None and systemctl("start", unit):
        connection = _connect_until(where, time.monotonic() + min(_SYSTEMD_S, limit_s))
        if connection is not None:
            return connection
    ends_at = time.monotonic() + limit_s
    with tempfile.TemporaryFile() as said:
        while True:
            process = _spawn(state_dir, said.fileno())
            connection = _connect_until(where, ends_at, process)
            if connection is None and process.returncode not in (None, 0, ANOTHER_RUNS):
                raise _not_started(where, process.returncode, _last_words(said))
            if connection is None:
                connection = _connect_until(where, min(ends_at, time.monotonic() + _YIELD_S))
            if connection is not None:
                return connection
            if time.monotonic() > ends_at:
                raise DaemonUnavailable(f"gitwatchd did not answer within {limit_s:g} s of its start", _HINT)


_HINT = "`gitwatchd --foreground` shows what it does; `gitwatch status --direct` works without it"


def _not_started(where: Places, status: int, said: tuple[str, str]) -> DaemonUnavailable:
    reason, hint = said
    if reason:
        return DaemonUnavailable(f"gitwatchd did not start: {reason}", hint or _HINT)
    return DaemonUnavailable(
        f"gitwatchd did not start: it ended with status {status}",
        f"{os.fsdecode(where.log)} says why; `gitwatch status --direct` works without it",
    )


def _spawn(state_dir: bytes | None, stderr: int) -> subprocess.Popen[bytes]:
    command: list[str | bytes] = [*DAEMON]
    if state_dir is not None:
        command += ["--state-dir", state_dir]
    try:
        return subprocess.Popen(
            command,
            cwd="/",
            env=clean_environment(os.environ),
            umask=0o077,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
        )
    except OSError as why:
        raise DaemonUnavailable(f"cannot start gitwatchd: {why.strerror}") from None


def clean_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """What the daemon keeps of the environment of whoever happened to start it."""
    # TMPDIR is among the names: without XDG_RUNTIME_DIR it decides where the socket is.
    return {name: value for name, value in environ.items() if name in _KEPT or name.startswith("XDG_")}


def _connect_until(where: Places, ends_at: float, process: subprocess.Popen[bytes] | None = None) -> Connection | None:
    """A connection as soon as something listens; None at `ends_at`, or when `process` ended and none does."""
    while True:
        # Asked before connecting: a daemon that listened and then ended would otherwise be missed.
        over = time.monotonic() > ends_at or (process is not None and process.poll() is not None)
        try:
            return Connection(where.socket, max(ends_at - time.monotonic(), _STEP_S))
        except DaemonSilent:
            raise
        except DaemonUnavailable:
            if over:
                return None
        time.sleep(_STEP_S)


def _last_words(said: IO[bytes]) -> tuple[str, str]:
    """The reason and the hint in what the process wrote: its own two lines, or else the last line of a traceback."""
    said.seek(0)
    lines = [line.strip() for line in said.read(1 << 16).decode(errors="replace").split("\n") if line.strip()]
    for number in range(len(lines) - 1, -1, -1):
        if lines[number].startswith(_OWN_WORDS):
            return lines[number].removeprefix(_OWN_WORDS), "".join(lines[number + 1 : number + 2])
    return (lines[-1], "") if lines else ("", "")


def find_unit(environ: Mapping[str, str]) -> str | None:
    """Our unit, where it is installed and a user manager answers: the socket rather than the service."""
    runtime = environ.get("XDG_RUNTIME_DIR")
    if not runtime or not os.path.exists(f"{runtime}/systemd/private"):
        return None
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    data = environ.get("XDG_DATA_HOME") or f"{home}/.local/share"
    directories = [
        f"{config}/systemd/user", f"{runtime}/systemd/user", f"{data}/systemd/user",
        "/etc/systemd/user", "/run/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user",
    ]  # fmt: skip
    return next((u for u in UNITS for d in directories if os.path.exists(f"{d}/{u}")), None)


def systemctl(*arguments: str) -> bool:
    """Whether `systemctl --user ARGUMENTS` succeeded."""
    try:
        done = subprocess.run(
            ["systemctl", "--user", "--quiet", *arguments],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            timeout=_SYSTEMCTL_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
