"""The listening socket: made or adopted, guarded, and taken away at the end.

Owns: the listening socket, its file, the reserve descriptor. Runs: serving thread only.
Invariant: the socket is only ever reachable by its user: directory 0700, socket 0600, and the peer's uid is
checked.
Invariant: a socket file is unlinked only when it is dead and the caller holds the daemon's lock, or when it
is ours.
Never knows what a connection says: an accepted socket is handed on at once.
"""

from __future__ import annotations

import logging
import os
import socket
import stat
from collections.abc import Callable, MutableMapping
from contextlib import suppress

from gitwatchd.errors import EnvironmentFailure, is_exhaustion
from gitwatchd.loop import Loop
from gitwatchd.wire.blocking import peer_uid

_log = logging.getLogger(__name__)

_BACKLOG = 4096
"""A thousand prompts may ask at once; the kernel lowers this to net.core.somaxconn."""

_ACCEPTS_A_TURN = 64
"""Then those already connected have their turn."""

_PAUSE_S = 0.1
"""When there is nothing left to accept with, not even the reserve: the socket stays readable and would spin
the loop."""

_FIRST_ADOPTED_FD = 3
"""SD_LISTEN_FDS_START"""


def bind_socket(path: bytes, uid: int) -> socket.socket:
    """A listening socket at `path`, its directory made or verified.

    The caller holds the daemon's lock (`Places.lock`): a dead socket file there is unlinked, and without the
    lock that could be the one another daemon is just about to listen on.
    Raises EnvironmentFailure when the directory is not `uid`'s own, or the path is taken.
    """
    _prepare_directory(os.path.dirname(path), uid)
    _remove_dead_socket(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(path)
        os.chmod(path, 0o600)  # before `listen`; and the directory has let nobody else in at any time
        sock.listen(_BACKLOG)
    except OSError as why:
        sock.close()
        raise EnvironmentFailure(
            f"cannot listen on {os.fsdecode(path)}: {why.strerror or why}",
            "make that directory writable, or name another with --state-dir",
        ) from None
    return sock


def _prepare_directory(directory: bytes, uid: int) -> None:
    shown = os.fsdecode(directory)
    try:
        os.makedirs(os.path.dirname(directory), mode=0o700, exist_ok=True)
        with suppress(FileExistsError):
            os.mkdir(directory, 0o700)
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as why:
        if os.path.islink(directory):
            raise EnvironmentFailure(
                f"{shown} is a symbolic link",
                "remove it: whoever made it could have the socket put elsewhere",
            ) from None
        raise EnvironmentFailure(
            f"cannot make the directory {shown}: {why.strerror}",
            "set XDG_RUNTIME_DIR to a directory of your own",
        ) from None
    try:
        found = os.fstat(fd)
        if found.st_uid != uid:
            raise EnvironmentFailure(
                f"{shown} belongs to uid {found.st_uid}, not to {uid}",
                "set XDG_RUNTIME_DIR to a directory of your own, or have that one removed",
            )
        if stat.S_IMODE(found.st_mode) != 0o700:
            os.fchmod(fd, 0o700)
    finally:
        os.close(fd)


def _remove_dead_socket(path: bytes) -> None:
    shown = os.fsdecode(path)
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise EnvironmentFailure(f"{shown} exists and is no socket", "remove it, or move it elsewhere")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:  # alive, with a full backlog
            pass
        except OSError:
            with suppress(FileNotFoundError):
                os.unlink(path)
            return
    # Our lock is held and yet somebody listens: a daemon with another lock, or one that systemd listens for.
    raise EnvironmentFailure(f"something already listens on {shown}", "stop it, or name another with --state-dir")


def adopt_socket(environ: MutableMapping[str, str], pid: int) -> socket.socket | None:
    """The listening socket that systemd handed to process `pid` (sd_listen_fds), or None.

    Removes LISTEN_* from `environ`, so that children do not take them for theirs. Raises EnvironmentFailure
    when what was handed over is not one listening Unix stream socket.
    """
    meant_for = environ.pop("LISTEN_PID", None)
    count = environ.pop("LISTEN_FDS", None)
    environ.pop("LISTEN_FDNAMES", None)
    if meant_for != str(pid) or count is None:
        return None
    hint = "the socket unit needs exactly one ListenStream= with a path"
    if count != "1":
        raise EnvironmentFailure(f"systemd handed over {count} sockets, expected 1", hint)
    try:
        sock = socket.socket(fileno=_FIRST_ADOPTED_FD)
    except OSError as why:
        raise EnvironmentFailure(f"the socket that systemd handed over is unusable: {why.strerror}", hint) from None
    os.set_inheritable(sock.fileno(), False)
    if (
        sock.family != socket.AF_UNIX
        or sock.type != socket.SOCK_STREAM
        or not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    ):
        sock.close()
        raise EnvironmentFailure("systemd handed over something that is no listening Unix stream socket", hint)
    return sock


class Listener:
    def __init__(
        self,
        loop: Loop,
        sock: socket.socket,
        on_connection: Callable[[socket.socket], None],
        *,
        uid: int,
        adopted: bool,
    ) -> None:
        """Takes over `sock`, listening already, and accepts peers of `uid`. An adopted one's file is left."""
        sock.setblocking(False)
        self._loop = loop
        self._socket = sock
        self._on_connection = on_connection
        self._uid = uid
        self._adopted = adopted
        self._path = os.fsencode(sock.getsockname())
        self._identity = _identity(self._path)
        self._reserve = _open_reserve()
        self._closed = False
        loop.on_readable(sock.fileno(), self._accept)

    def socket_vanished(self) -> bool:
        """Whether no client can find us any more: our file is gone, or another is in its place."""
        return self._identity is None or _identity(self._path) != self._identity

    def close(self) -> None:
        """Stop listening; unlink the socket's file if it is still ours. Idempotent."""
        if self._closed:
            return
        self._closed = True
        if not self._adopted and not self.socket_vanished():
            with suppress(OSError):
                os.unlink(self._path)
        self._loop.forget(self._socket.fileno())
        self._socket.close()
        if self._reserve is not None:
            os.close(self._reserve)

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if self._closed:
                return
            try:
                connection, _ = self._socket.accept()
            except BlockingIOError:
                return
            except ConnectionAbortedError:
                continue
            except OSError as why:
                if is_exhaustion(why) and self._turn_one_away():
                    continue
                self._pause(why)
                return
            peer = peer_uid(connection)
            if peer != self._uid:
                _log.warning("refused a connection of uid %d", peer)
                connection.close()
                continue
            self._on_connection(connection)

    def _turn_one_away(self) -> bool:
        """No descriptor is left: accept with the reserve and hang up, so that the client learns it now."""
        if self._reserve is None:
            return False
        os.close(self._reserve)
        self._reserve = None
        try:
            connection, _ = self._socket.accept()
        except OSError:
            return False
        else:
            connection.close()
            _log.warning("out of file descriptors: turned a client away")
            return True
        finally:
            self._reserve = _open_reserve()

    def _pause(self, why: OSError) -> None:
        _log.warning("cannot accept: %s; trying again in %g s", why.strerror, _PAUSE_S)
        self._loop.forget(self._socket.fileno())
        self._loop.call_later(_PAUSE_S, self._resume)

    def _resume(self) -> None:
        if self._closed:
            return
        if self._reserve is None:
            self._reserve = _open_reserve()
        self._loop.on_readable(self._socket.fileno(), self._accept)


def _open_reserve() -> int | None:
    """Any descriptor will do; None when none is to be had."""
    try:
        return os.open("/", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None


def _identity(path: bytes) -> tuple[int, int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
