"""Start, run and stop the daemon.

Runs: the process's main thread, which becomes the serving thread. The order of the start is the order of its promises:
the lock (only one daemon), the socket (clients wait in its queue from here on), the user's decisions, what an earlier
process knew, `READY=1`, and only then the work in the background.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from gitwatchd import __version__
from gitwatchd.daemon.lock import DaemonLock, read_holder
from gitwatchd.daemon.logs import configure
from gitwatchd.daemon.notify import ServiceNotifier
from gitwatchd.errors import EnvironmentFailure, GitwatchError, UserError
from gitwatchd.loop import Loop
from gitwatchd.wire.address import ANOTHER_RUNS, Places, places

if TYPE_CHECKING:
    from gitwatchd.analysis.process import WorkerProcess

_log = logging.getLogger(__name__)

HOUSEKEEPING_S = 60.0
EXPIRY_EVERY_S = 3600.0
BACKGROUND_AFTER_S = 0.25
"""The first replies after a start come from the cache; verification would compete with them for the interpreter."""

_DESCRIPTORS = 8192

USAGE = """usage: gitwatchd [--foreground] [--state-dir DIR] [--version]

Keeps the git status of this user's repositories warm and answers `gitwatch`.
  --foreground      log to stderr
  --state-dir DIR   keep socket, cache and settings below DIR, apart from the real daemon's
"""


def main(arguments: Sequence[str]) -> int:
    """The exit code: 0 stopped when told, 1 could not start, 2 usage, ANOTHER_RUNS."""
    try:
        foreground, state_dir = _parse(arguments)
    except UserError as error:
        print(f"gitwatchd: {error}", file=sys.stderr)
        return 2
    if foreground is None:
        return 0
    try:
        return _serve(foreground=foreground, state_dir=state_dir)
    except EnvironmentFailure as error:
        if logging.getLogger().handlers:  # else it would be printed here, too
            _log.error("%s", error.message)
        print(f"gitwatchd: {error}", file=sys.stderr)
        return 1


def _parse(arguments: Sequence[str]) -> tuple[bool | None, bytes | None]:
    """(foreground, state directory); foreground None: everything asked for was printed.

    The directory is without symbolic links, as the client has it: where its path is long, the socket's name depends on
    how it is written.
    """
    foreground, state_dir = False, None
    rest = list(arguments)
    while rest:
        argument = rest.pop(0)
        if argument == "--foreground":
            foreground = True
        elif argument == "--state-dir" and rest:
            state_dir = os.path.realpath(os.fsencode(rest.pop(0)))
        elif argument.startswith("--state-dir="):
            state_dir = os.path.realpath(os.fsencode(argument.partition("=")[2]))
        elif argument in ("--help", "-h"):
            sys.stdout.write(USAGE)
            return None, None
        elif argument == "--version":
            sys.stdout.write(f"gitwatchd {__version__}\n")
            return None, None
        else:
            raise UserError(f"unknown argument {argument}", "gitwatchd --help lists them")
    return foreground, state_dir


def _serve(*, foreground: bool, state_dir: bytes | None) -> int:
    os.umask(0o077)
    _raise_descriptor_limit()
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        del os.environ[name]
    where = places(os.environ, os.getuid(), state_dir)
    for directory in (where.state_dir, where.run_dir, where.cache_dir):
        _make_private(directory)
    # What an older version, a copy or a restored backup left open. A directory that the user named may be for more
    # than us.
    directories = [where.run_dir, where.cache_dir, *([where.state_dir] if state_dir is None else ())]
    _close_to_others(directories, 0o700)
    _close_to_others([where.indexes], 0o700)
    for start in (where.cache, where.intent, where.log, where.lock, where.run_dir + b"/prompt-"):
        _close_to_others(_beginning_with(start), 0o600)
    configure(where.log, foreground=foreground, environ=os.environ)
    lock = DaemonLock(where.lock)
    if not lock.acquire():
        _log.info("another daemon runs")
        _tell_who_runs(where, state_dir)
        return ANOTHER_RUNS
    try:
        return _run_daemon(where)
    finally:
        lock.release()


def _raise_descriptor_limit() -> None:
    """The usual 1,024 is there for programs that use `select`; a thousand clients at once need more."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run_daemon(where: Places) -> int:
    try:
        return _Daemon(where).run()
    except EnvironmentFailure:
        raise
    except Exception as bug:
        # The log gets the traceback. Whoever started us and waits for the socket reads only this.
        print(f"gitwatchd: {type(bug).__name__}: {bug}\n{os.fsdecode(where.log)} has the traceback", file=sys.stderr)
        raise


def _tell_who_runs(where: Places, state_dir: bytes | None) -> None:
    import shlex

    holder = read_holder(where.lock)
    who = "another daemon" if holder is None else f"another daemon (pid {holder})"
    command = "gitwatch" if state_dir is None else f"gitwatch --state-dir {shlex.quote(os.fsdecode(state_dir))}"
    print(f"gitwatchd: {who} holds {os.fsdecode(where.lock)}\n`{command} daemon stop` ends it", file=sys.stderr)


def _make_private(directory: bytes) -> None:
    try:
        os.makedirs(directory, mode=0o700, exist_ok=True)
    except FileExistsError:
        raise EnvironmentFailure(f"{os.fsdecode(directory)} is no directory", "use another --state-dir DIR") from None
    except OSError as error:
        raise EnvironmentFailure(
            f"cannot make {os.fsdecode(directory)}: {error.strerror}", "make it writable, or use --state-dir DIR"
        ) from None


def _beginning_with(start: bytes) -> list[bytes]:
    """That file, and those beside it that SQLite, a backup or the log's rotation named after it."""
    directory, name = os.path.split(start)
    try:
        return [os.path.join(directory, found) for found in os.listdir(directory) if found.startswith(name)]
    except OSError:
        return []


def _close_to_others(paths: Sequence[bytes], mode: int) -> None:
    for path in paths:
        with suppress(OSError):  # not there; or not ours to change, and then whoever opens it says so
            if os.stat(path).st_mode & 0o077:
                os.chmod(path, mode)


def _give_memory_back() -> None:
    """Have what is freed go back to the system: an index of 10 MB is read now and then, and glibc would learn from the
    first one to keep such blocks (a threshold that grows, an arena for each thread): 25 MB with one big repository."""
    import ctypes

    libc = ctypes.CDLL(None)
    if hasattr(libc, "mallopt"):  # glibc's own
        libc.mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        libc.mallopt(_M_ARENA_MAX, 1)


_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8


def _start_worker() -> WorkerProcess | None:
    """One for the first scan, which is what a daemon without a cache will be asked for. Its imports take 0.1 s, as our
    own do: on another core."""
    from gitwatchd.analysis.process import WorkerProcess

    try:
        return WorkerProcess()
    except OSError as error:
        _log.warning("no worker could be started: %s", error)
        return None


class _Daemon:
    def __init__(self, where: Places) -> None:
        # Imported here, after the lock: a start that finds another daemon running ends without paying for this.
        from gitwatchd.server.listener import Listener, adopt_socket, bind_socket

        uid = os.getuid()
        self._notifier = ServiceNotifier(os.environ)
        adopted = adopt_socket(os.environ, os.getpid())
        # After these, which nobody else may inherit, and before all other imports.
        worker = _start_worker() if not os.path.exists(where.cache) else None
        from gitwatchd.daemon.audit import Audit
        from gitwatchd.daemon.configuration import Configuration
        from gitwatchd.daemon.doctor import Doctor, LastErrors
        from gitwatchd.daemon.fleet import Fleet
        from gitwatchd.daemon.methods import Methods
        from gitwatchd.render.table import COLUMNS
        from gitwatchd.store.cache import Cache
        from gitwatchd.store.cache_reader import load
        from gitwatchd.store.intent import Intent

        sock = adopted if adopted is not None else bind_socket(where.socket, uid)
        errors = LastErrors()
        logging.getLogger().addHandler(errors)
        self._loop = Loop(lambda bug: _log.error("bug in a callback", exc_info=bug))
        intent = Intent(where.intent)
        cache = Cache(where.cache, self._on_cache_rebuilt)
        self._configuration = Configuration(self._loop, where.config, os.path.expanduser(b"~"), COLUMNS)
        self._fleet = Fleet(
            self._loop, intent, self._configuration, cache, where.indexes,
            lambda repository: self._methods.publish(repository), lambda path: self._methods.forget(path),
        )  # fmt: skip
        if worker is not None:
            self._fleet.expect_scan(worker)
        self._loop.on_slow = self._fleet.recorder.note_slow_callback
        self._audit = Audit(self._loop, self._fleet)
        self._doctor = Doctor(where, self._fleet, self._audit, errors)
        self._methods = Methods(self._loop, self._fleet, self._audit, self._doctor, where.run_dir, self._loop.stop)
        self._listener = Listener(self._loop, sock, self._on_connection, uid=uid, adopted=adopted is not None)
        loaded = load(where.cache)
        if loaded.reason is not None:
            _log.warning("the cache is not used: %s", loaded.reason)
        if intent.found_damaged is not None:
            self._doctor.problems.append(
                {
                    "what": f"the file of roots and trust was damaged{intent.came_back}",
                    "hint": f"what was left of it: {os.fsdecode(intent.found_damaged)}",
                }
            )
        self._fleet.remember(loaded.repositories)
        self._last_expiry = time.monotonic()

    def run(self) -> int:
        loop = self._loop
        self._handle_signals()
        _give_memory_back()
        loop.call_later(BACKGROUND_AFTER_S, self._fleet.start)
        loop.call_later(BACKGROUND_AFTER_S, self._methods.prepare)
        loop.call_later(HOUSEKEEPING_S, self._keep_house)
        self._audit.start()
        self._notifier.ready()
        _log.info("serving, version %s, pid %d", __version__, os.getpid())
        try:
            loop.run()
        finally:
            self._notifier.stopping()
            self._listener.close()
            self._fleet.close()
            _log.info("stopped")
        return 0

    def _on_cache_rebuilt(self, reason: str) -> None:
        """On the cache's own thread."""
        _log.warning("the cache was made anew: %s", reason)
        self._loop.call_from_thread(lambda: self._fleet.save_all())

    def _on_connection(self, sock: socket.socket) -> None:
        from gitwatchd.server.session import Session

        Session(self._loop, sock, self._methods.handle, self._methods.forget_session)

    def _handle_signals(self) -> None:
        """SIGTERM and SIGINT end the loop. The handler runs in the interpreter's own time; the pipe wakes the loop."""
        read, write = socket.socketpair()
        for end in (read, write):
            end.setblocking(False)
        self._signal_pipe = (read, write)
        signal.set_wakeup_fd(write.fileno())

        def on_wake() -> None:
            with suppress(BlockingIOError):
                read.recv(64)

        self._loop.on_readable(read.fileno(), on_wake)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: self._loop.stop())
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def _keep_house(self) -> None:
        self._loop.call_later(HOUSEKEEPING_S, self._keep_house)
        now = time.monotonic()
        if self._listener.socket_vanished():
            _log.warning("the socket's path is gone: nobody can reach this daemon any more")
            self._loop.stop()
        elif self._nobody_asks(now):
            _log.info("nobody asked for %g hours", self._configuration.settings.limits.idle_exit_hours)
            self._loop.stop()
        elif now - self._last_expiry > EXPIRY_EVERY_S:
            self._last_expiry = now
            self._fleet.expire(time.time())
        self._fleet.decisions.look_where_roots_appeared()
        self._fleet.give_up_lost()
        self._fleet.intent.keep()
        self._fleet.decisions.reread_intent()

    def _nobody_asks(self, now: float) -> bool:
        """Neither for long enough nor by subscription; the next command starts a daemon in a fifth of a second."""
        hours = self._configuration.settings.limits.idle_exit_hours
        return 0 < hours * 3600 < now - self._methods.asked_at and not len(self._methods.subscriptions)


def run() -> int:
    """The entry point: `gitwatchd`, `python -m gitwatchd`."""
    try:
        return main(sys.argv[1:])
    except GitwatchError as error:
        print(f"gitwatchd: {error}", file=sys.stderr)
        return 1
