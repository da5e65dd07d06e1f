"""Where the daemon's socket and files lie: one answer for the daemon and for every client.

Owns: the names. Runs: anywhere, the client's start included, so it imports next to nothing.
Pure: it touches no disk. Making a directory and verifying its owner is `gitwatchd.server.listener`'s work.
Invariant: the same `ENVIRONMENT_NAMES`, uid and state directory give the same places. Whoever starts a daemon
must hand these variables on, or daemon and client look for each other in different directories.
"""

from __future__ import annotations

import os

from gitwatchd.errors import EnvironmentFailure

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Mapping

ENVIRONMENT_NAMES = ("HOME", "XDG_RUNTIME_DIR", "XDG_STATE_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "TMPDIR")

ANOTHER_RUNS = 3
"""`gitwatchd` exits with this (refused) where another daemon has these places: for a client no failure, it connects to
that one."""

MAX_SOCKET_PATH_BYTES = 100
"""sun_path holds 108 bytes on Linux and 104 on macOS, the final NUL included."""


class Places:
    """Absolute paths, bytes. `socket` and `lock` share a directory (0700) on this machine's own disk.

    The lock is beside the socket and not beside the databases: it says who may replace that socket, and a
    home directory may be shared by several machines, each with a daemon of its own.
    """

    __slots__ = ("cache", "cache_dir", "config", "indexes", "intent", "lock", "log", "run_dir", "socket", "state_dir")

    def __init__(self, socket: bytes, state_dir: bytes, cache_dir: bytes, config: bytes) -> None:
        self.socket = socket
        self.run_dir = os.path.dirname(socket)
        self.lock = socket.removesuffix(b".sock") + b".lock"
        self.state_dir = state_dir
        self.intent = state_dir + b"/intent.db"
        self.log = state_dir + b"/gitwatchd.log"
        self.cache_dir = cache_dir
        self.cache = cache_dir + b"/cache.db"
        self.indexes = cache_dir + b"/indexes"
        """Directory of the private copies of indexes."""
        self.config = config
        """What the user configured; it need not exist, and is never made."""


def places(environ: Mapping[str, str], uid: int, state_dir: bytes | None = None) -> Places:
    """Places of `uid`'s daemon; with `state_dir` everything is below it.

    Raises EnvironmentFailure when there is no home directory.
    """
    run_dir, state, cache, config = (
        _standard_directories(environ, uid) if state_dir is None else _directories_below(os.path.abspath(state_dir))
    )
    socket = run_dir + b"/gitwatchd.sock"
    if len(socket) > MAX_SOCKET_PATH_BYTES:
        from hashlib import sha256  # 4 ms, and rarely needed

        name = sha256(socket).hexdigest()[:16].encode() + b".sock"
        socket = _temporary_run_dir(environ, uid) + b"/" + name
        if len(socket) > MAX_SOCKET_PATH_BYTES:
            socket = _temporary_run_dir({}, uid) + b"/" + name
    return Places(socket, state, cache, config)


def _standard_directories(environ: Mapping[str, str], uid: int) -> tuple[bytes, bytes, bytes, bytes]:
    runtime = _absolute(environ, "XDG_RUNTIME_DIR")
    run_dir = _temporary_run_dir(environ, uid) if runtime is None else runtime + b"/gitwatchd"
    state = _absolute(environ, "XDG_STATE_HOME") or _home(environ, uid) + b"/.local/state"
    cache = _absolute(environ, "XDG_CACHE_HOME") or _home(environ, uid) + b"/.cache"
    config = _absolute(environ, "XDG_CONFIG_HOME") or _home(environ, uid) + b"/.config"
    return run_dir, state + b"/gitwatchd", cache + b"/gitwatchd", config + b"/gitwatch/config.toml"


def _directories_below(top: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    # The socket gets a directory of its own: it must be 0700, and TOP may have been made for more than us.
    return top + b"/run", top, top + b"/cache", top + b"/config.toml"


def _temporary_run_dir(environ: Mapping[str, str], uid: int) -> bytes:
    return (_absolute(environ, "TMPDIR") or b"/tmp") + b"/gitwatchd-%d" % uid


def _absolute(environ: Mapping[str, str], name: str) -> bytes | None:
    """The variable's directory; None when unset, empty or relative (the XDG specification: to be ignored)."""
    value = os.fsencode(environ.get(name, ""))
    return (value.rstrip(b"/") or b"/") if value.startswith(b"/") else None


def _home(environ: Mapping[str, str], uid: int) -> bytes:
    home = _absolute(environ, "HOME")
    if home is not None:
        return home
    import pwd  # not needed where HOME is set

    try:
        return os.fsencode(pwd.getpwuid(uid).pw_dir)
    except KeyError:
        raise EnvironmentFailure(
            f"no home directory: HOME is not set and uid {uid} is not in the user database",
            "set HOME, or name a directory with --state-dir",
        ) from None
