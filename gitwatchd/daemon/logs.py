"""Where the daemon's log goes, and what a line of it looks like.

Owns: the root logger's only handler, and the log file. Runs: `configure` once, at the start, on the main
thread; the handler on whatever thread logs.
Invariant: one record is one line: UTC time, level, logger, message, and a traceback with its line ends
escaped. Control characters from paths and from git's messages are escaped, so that no name can forge a line
or speak to a terminal.
Invariant: no URL keeps its userinfo, in messages, arguments or tracebacks.
Never: raises, or stops the daemon, because a line could not be written.
SIGUSR1 writes there where every thread is, also while the serving thread hangs.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import select
import signal
import stat
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from enum import Enum
from types import TracebackType

from gitwatchd.render.remote_names import scrub

MAX_FILE_BYTES = 5 * 1000 * 1000
FILES = 3
"""The current one, `.1` and `.2`."""
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))} | {
    ord("\n"): "\\n", ord("\t"): "\t", 0x2028: "\\u2028", 0x2029: "\\u2029",
}  # fmt: skip


class Destination(Enum):
    JOURNAL = "journal"
    STDERR = "stderr"
    FILE = "file"


def configure(path: bytes, *, foreground: bool, environ: Mapping[str, str]) -> Destination:
    """Send all records to the journal (systemd gave us stderr), to stderr (`--foreground`), or to `path`.

    A file that cannot be written falls back to stderr. Uncaught exceptions of any thread are logged as well.
    """
    destination = _destination(foreground, environ)
    handler: logging.Handler = NeverWaiting(2)
    problem: OSError | None = None
    if destination is Destination.FILE:
        try:
            handler = PrivateRotatingFile(path)
        except OSError as error:
            problem, destination = error, Destination.STDERR
    handler.setFormatter(_OneLine(journal=destination is Destination.JOURNAL))
    handler.addFilter(ScrubUserinfo())  # on the handler: a logger's filters do not see its children's records
    if destination is not Destination.FILE:
        _stacks_go_to(2)
    root = logging.getLogger()
    for former in root.handlers[:]:
        root.removeHandler(former)
        former.close()
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    logging.raiseExceptions = False  # else a full disk would print a traceback for each line
    logging.captureWarnings(capture=True)
    sys.excepthook = _log_uncaught
    threading.excepthook = lambda args: _log_uncaught(args.exc_type, args.exc_value)
    if problem is not None:
        logging.getLogger(__name__).warning("cannot write the log file: %s; logging to stderr", problem)
    return destination


def _stacks_go_to(fd: int) -> None:
    with suppress(RuntimeError, OSError, ValueError):  # a standard error that is closed
        faulthandler.register(signal.SIGUSR1, fd, all_threads=True)


class ScrubUserinfo(logging.Filter):
    """Removes userinfo from a record for good, whatever formats it later."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError, KeyError):  # raised here, it would be raised where the line was logged
            message = f"{record.msg} (with arguments that do not fit: {record.args!r})"
        record.msg, record.args = scrub(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = scrub(record.exc_text)  # formatters use this text rather than exc_info
        if record.stack_info:
            record.stack_info = scrub(record.stack_info)
        return True


class NeverWaiting(logging.Handler):
    """Standard error, which may be a pipe that nobody reads: the serving thread must not wait for that. A line that
    there is no room for is lost, and the next that is written says how many were."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self._poll = select.poll()
        self._poll.register(fd, select.POLLOUT)
        self._lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = f"[{self._lost} lines lost] " if self._lost else ""
            line = f"{self.format(record)}\n".encode("utf-8", "backslashreplace")
            if text:
                line = text.encode() + line
            # A pipe that can be written has room for so much without waiting.
            for at in range(0, len(line), select.PIPE_BUF):
                ready = self._poll.poll(0)
                if not ready or not ready[0][1] & select.POLLOUT:
                    self._lost += 1
                    return
                os.write(self._fd, line[at : at + select.PIPE_BUF])
            self._lost = 0
        except (OSError, ValueError):
            self.handleError(record)


class PrivateRotatingFile(logging.Handler):
    """A file of mode 0600, renamed at `MAX_FILE_BYTES`, `FILES` of them in all. Opening it raises OSError.

    logging.handlers.RotatingFileHandler opens with the umask's mode, keeps writing to a file that somebody
    removed, and its module costs 5 ms of the start.
    """

    def __init__(self, path: bytes) -> None:
        super().__init__()
        self._path = path
        self._fd = -1
        self._open()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = (self.format(record) + "\n").encode("utf-8", "backslashreplace")
            self._make_ready(len(line))
            os.write(self._fd, line)  # one write: lines of two processes never mix
        except (OSError, ValueError):
            self.handleError(record)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        super().close()

    def _make_ready(self, more_bytes: int) -> None:
        try:
            there, here = os.stat(self._path), os.fstat(self._fd)
        except OSError:
            self._open()
            return
        if (there.st_dev, there.st_ino) != (here.st_dev, here.st_ino):
            self._open()
        elif here.st_size and here.st_size + more_bytes > MAX_FILE_BYTES:
            for number in range(FILES - 1, 0, -1):
                older = self._path + b".%d" % number
                with suppress(FileNotFoundError):
                    os.replace(self._path + b".%d" % (number - 1) if number > 1 else self._path, older)
            self._open()

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self._path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(self._path, flags, 0o600)
        if stat.S_ISREG(os.fstat(fd).st_mode):  # a device is not ours to change
            os.fchmod(fd, 0o600)  # an older file, or a umask that takes away our own rights
        former, self._fd = self._fd, fd
        _stacks_go_to(fd)
        if former >= 0:
            os.close(former)


class _OneLine(logging.Formatter):
    """With `journal`, the priority in front that journald takes off again (sd-daemon(3))."""

    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]
        text = f"{at}Z {record.levelname} {record.name}: {record.getMessage()}"
        for extra in (record.exc_text, record.stack_info):
            if extra:
                text = f"{text}\n{extra}"
        text = text.translate(_ESCAPED)
        return f"<{_priority(record.levelno)}>{text}" if self._journal else text


def _priority(level: int) -> int:
    """syslog's number: crit, err, warning, info, debug."""
    for number, least in ((2, logging.CRITICAL), (3, logging.ERROR), (4, logging.WARNING), (6, logging.INFO)):
        if level >= least:
            return number
    return 7


def _destination(foreground: bool, environ: Mapping[str, str]) -> Destination:
    """JOURNAL_STREAM is inherited by everything started from a service, so it counts only if it names our
    stderr.
    """
    with suppress(OSError):
        status = os.fstat(2)
        if environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}":
            return Destination.JOURNAL
    return Destination.STDERR if foreground else Destination.FILE


def _log_uncaught(
    kind: type[BaseException], error: BaseException | None, _traceback: TracebackType | None = None
) -> None:
    if issubclass(kind, KeyboardInterrupt | SystemExit):
        return
    thread = threading.current_thread().name
    logging.getLogger("gitwatchd").critical("uncaught exception in thread %s", thread, exc_info=error)
