"""`gitwatch watch`: the status table, drawn again whenever something changes.

Owns: the terminal while it runs (its other screen, the cursor, how it hands over keys). Runs: one process a command,
one thread.
Invariant: the terminal is given back as it was however this ends, and while it is stopped (Ctrl-Z).
Invariant: it draws at most 5 times a second, whatever happens in the repositories.
"""

from __future__ import annotations

import os
import select
import signal
import termios
import time

from gitwatch import output
from gitwatch.events import subscribe
from gitwatch.link import connect
from gitwatchd.errors import UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any

    from gitwatch.cli import Invocation
    from gitwatch.link import Link

_BETWEEN_S = 0.2
_ANYWAY_S = 5.0
"""Ages grow although nothing changes, and of what no event tells (`polled`) only a new question does."""
_WAIT_S = 0.5
"""For analyses, before what is known is drawn: keys wait as long."""
_ANSWER_S = 10.0
"""A daemon that takes longer hangs."""

_ENTER = b"\x1b[?1049h\x1b[?25l"
_LEAVE = b"\x1b[?25h\x1b[?1049l"
_HOME, _END_OF_LINE, _END_OF_SCREEN = "\x1b[H", "\x1b[K\r\n", "\x1b[J"
_STDIN = 0


def watch(invocation: Invocation) -> int:
    if not output.is_terminal(output.STDOUT):
        raise UserError("`gitwatch watch` needs a terminal", "in a pipe, `gitwatch events` prints what changes")
    paths = invocation.paths()
    link = connect(invocation)
    subscribe(link, invocation, paths)
    with _Screen() as screen:
        return _Table(link, {"paths": paths, **invocation.groups()}, screen).follow()


class _Table:
    def __init__(self, link: Link, named: dict[str, Any], screen: _Screen) -> None:
        self._link = link
        self._named = named
        self._screen = screen
        self._changed = True

    def follow(self) -> int:
        """Until `q` is pressed: 0. An interruption, or the daemon's end, is raised."""
        waiting = select.poll()
        for descriptor in (self._link.fileno(), self._screen.woken, *self._screen.keys):
            waiting.register(descriptor, select.POLLIN)
        drawn_at = -_ANYWAY_S
        while True:
            now = time.monotonic()
            if now - drawn_at >= (_BETWEEN_S if self._changed else _ANYWAY_S):
                self._draw()
                drawn_at = now = time.monotonic()
            due = drawn_at + (_BETWEEN_S if self._changed else _ANYWAY_S)
            for descriptor, _ in waiting.poll(max(0.0, due - now) * 1000):
                if descriptor == self._link.fileno():
                    self._link.take_notifications(self._on_notification)
                elif descriptor == self._screen.woken:
                    self._changed = self._screen.take_signals() or self._changed
                elif _quits(os.read(descriptor, 64)):
                    return 0

    def _on_notification(self, _method: str, _params: list[Any]) -> None:
        self._changed = True

    def _draw(self) -> None:
        self._changed = False
        columns, rows = self._screen.size()
        options = {**self._named, "width": columns, "colour": output.wants_colour(), "wait_s": _WAIT_S}
        view = self._link.call(
            "render", "status", options,
            timeout_s=_ANSWER_S, on_notification=self._on_notification,
        )  # fmt: skip
        lines = str(view["text"]).splitlines() + [output.plain(note)[:columns] for note in view["notes"]]
        output.write_text(screenful(lines, rows))


def _quits(typed: bytes) -> bool:
    """`q`, the escape key alone (other keys send more after it), or the end of what can be typed."""
    return typed in (b"", b"\x1b") or (not typed.startswith(b"\x1b") and b"q" in typed.lower())


def screenful(lines: list[str], rows: int) -> str:
    """What makes a terminal of so many rows show `lines`, with what does not fit counted, and no line moved up."""
    room = max(rows - 2, 1)
    if len(lines) > room:
        lines = [*lines[: room - 1], f"… {len(lines) - room + 1} more lines: a taller window, or a PATH, shows them"]
    drawn = "".join(line + _END_OF_LINE for line in lines)
    return f"{_HOME}{drawn}{_END_OF_LINE}q quits\x1b[K{_END_OF_SCREEN}"


class _Screen:
    """The terminal, taken over and given back. `keys`: where they are read from, if they are typed at all."""

    def __init__(self) -> None:
        self.keys = (_STDIN,) if _in_foreground() else ()
        self.woken, self._wake = os.pipe()
        os.set_blocking(self.woken, False)
        os.set_blocking(self._wake, False)
        self._mode: list[Any] | None = None

    def __enter__(self) -> _Screen:
        signal.set_wakeup_fd(self._wake, warn_on_full_buffer=False)
        for number in (signal.SIGWINCH, signal.SIGCONT):
            signal.signal(number, lambda _number, _frame: None)  # the wakeup is all that is wanted
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, _end)
        signal.signal(signal.SIGTSTP, self._stop)
        self._take()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._give_back()

    def size(self) -> tuple[int, int]:
        try:
            columns, rows = os.get_terminal_size(output.STDOUT)
        except OSError:
            columns, rows = 0, 0
        return columns or 80, rows or 24

    def take_signals(self) -> bool:
        """Whether the terminal has to be drawn anew."""
        try:
            return bool(os.read(self.woken, 64))
        except BlockingIOError:
            return False

    def _take(self) -> None:
        if self.keys:
            self._mode = termios.tcgetattr(_STDIN)
            mode = termios.tcgetattr(_STDIN)
            mode[3] &= ~(termios.ICANON | termios.ECHO)
            termios.tcsetattr(_STDIN, termios.TCSADRAIN, mode)
        output.write(_ENTER)

    def _give_back(self) -> None:
        try:
            os.write(output.STDOUT, _LEAVE)
        except OSError:
            pass  # the terminal has gone
        if self._mode is not None:
            try:
                termios.tcsetattr(_STDIN, termios.TCSADRAIN, self._mode)
            except termios.error:
                pass
            self._mode = None

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._take()  # going on from here: somebody typed `fg`


def _in_foreground() -> bool:
    """Whether keys typed at the terminal are ours; whoever else touches it is stopped by it."""
    try:
        return os.tcgetpgrp(_STDIN) == os.getpgrp()
    except OSError:
        return False


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)
