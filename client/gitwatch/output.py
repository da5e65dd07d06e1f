"""What the command writes: bytes to standard output, lines to standard error.

Owns: descriptors 1 and 2. Runs: one process a command, one thread. Writes to the descriptors themselves:
names that are not UTF-8 pass unchanged, and nothing is left to be flushed when the interpreter ends.
Invariant: a line on standard error holds no control character, wherever its text comes from.
"""

from __future__ import annotations

import os
import sys

from gitwatch.prompt import is_utf8
from gitwatchd.errors import EnvironmentFailure

STDOUT = 1
STDERR = 2

_ASCII_FORMS = str.maketrans("↑⇡↓⇣⇠⇢…", "^^vv<>~")
"""For a terminal that is not UTF-8, each as wide as what it stands for."""


class OutputClosed(Exception):
    """Whoever read standard output has gone: a pager that was quit, `head`."""


def write(data: bytes) -> None:
    """All of `data` to standard output. Raises OutputClosed, EnvironmentFailure (disk full)."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(STDOUT, rest) :]
        except BlockingIOError:
            import select

            # Somebody who shares the terminal or pipe made it non-blocking; that is theirs to keep.
            select.select([], [STDOUT], [])
        except BrokenPipeError:
            raise OutputClosed from None
        except OSError as why:
            raise EnvironmentFailure(f"cannot write the answer: {why.strerror}") from None


def write_text(text: str | bytes) -> None:
    """Text for people, in the encoding of this locale."""
    write(text if isinstance(text, bytes) else encoded(text))


def encoded(text: str) -> bytes:
    """`text` in the encoding of this locale; what that lacks is replaced. In the locale C names stay as they are on the
    disk, and only our own signs are ASCII."""
    if text.isascii():
        return text.encode()
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    if encoding.lower().replace("-", "") != "utf8" or not is_utf8(os.environb):
        text = text.translate(_ASCII_FORMS)
    return text.encode(encoding, "replace")


def complain(message: str, hint: str = "") -> None:
    """One line on standard error, and one with what to do about it. Quiet when nobody can read it."""
    lines = f"gitwatch: {plain(message)}\n"
    if hint:
        lines += f"  {plain(hint)}\n"
    try:
        os.write(STDERR, encoded(lines))
    except OSError:
        pass


def plain(raw: str | bytes) -> str:
    r"""`raw` without control characters (they show as `\xNN`): a file's name must not steer the terminal."""
    text = raw.decode(errors="backslashreplace") if isinstance(raw, bytes) else raw
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode() for c in text)


def is_terminal(descriptor: int) -> bool:
    try:
        return os.isatty(descriptor)
    except OSError:
        return False


def width(descriptor: int) -> int | None:
    """Columns of the terminal; None when it is none, or does not say."""
    if not is_terminal(descriptor):
        return None
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns):
        return int(columns)
    try:
        return os.get_terminal_size(descriptor).columns or None
    except OSError:
        return None


def height(descriptor: int) -> int | None:
    """Lines of a terminal on which text can be wiped out again; None when it is none."""
    if not is_terminal(descriptor) or os.environ.get("TERM", "dumb") == "dumb":
        return None
    try:
        return os.get_terminal_size(descriptor).lines or None
    except OSError:
        return None


def wants_colour() -> bool:
    """Standard output is a terminal that can, and the user did not say no (no-color.org)."""
    return is_terminal(STDOUT) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


_LINKING_TERMINALS = ("iTerm.app", "WezTerm", "vscode", "ghostty", "Hyper", "Tabby", "rio")


def wants_links() -> bool:
    """Standard output is a terminal that is known to make OSC 8 links. Others may print them as rubbish."""
    if not is_terminal(STDOUT):
        return False
    environ = os.environ
    if "FORCE_HYPERLINK" in environ:  # the word that other programs listen to, either way
        return environ["FORCE_HYPERLINK"] not in ("", "0")
    if environ.get("TERM", "dumb").startswith(("dumb", "screen", "linux")):
        return False
    return (
        environ.get("TERM_PROGRAM") in _LINKING_TERMINALS
        or environ.get("TERM", "").startswith(("xterm-kitty", "foot", "alacritty", "xterm-ghostty", "wezterm"))
        or any(name in environ for name in ("KITTY_WINDOW_ID", "WT_SESSION", "KONSOLE_VERSION", "DOMTERM"))
        or (environ.get("VTE_VERSION", "").isdecimal() and int(environ["VTE_VERSION"]) >= 5000)
    )
