"""`gitwatch service install|uninstall|status`: the daemon as a systemd user service.

Owns: the two unit files, and the link that enables the socket, in the user's own directory of units. Runs: one process
a command.
Invariant: what `install` writes bears its mark; a unit without it is somebody else's, and neither changed nor
removed.
Invariant: each of them can be done twice, and `uninstall` leaves nothing of what `install` made.
The link is made here and not by `systemctl enable`: that needs a user manager that answers, and there is none in a
session by `su`, in a container, or before the first login.
"""

from __future__ import annotations

import os
import sys

from gitwatch import output
from gitwatch.output import plain
from gitwatchd.errors import EnvironmentFailure, UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gitwatch.cli import Invocation

_MARK = "# Written by `gitwatch service install`; `gitwatch service uninstall` removes it.\n"
_SOCKET, _SERVICE = "gitwatchd.socket", "gitwatchd.service"
_WANTED_BY = "sockets.target.wants"
BOOTED = "/run/systemd/system"
"""Is there where systemd is the init, and nowhere else (sd_booted)."""


def install(invocation: Invocation) -> int:
    directory = _directory(invocation)
    units = {name: _MARK + text for name, text in _units().items()}
    for name in units:
        _refuse_foreign(f"{directory}/{name}")
    changed = [name for name, text in units.items() if _read(f"{directory}/{name}") != text]
    link = f"{directory}/{_WANTED_BY}/{_SOCKET}"
    try:
        os.makedirs(os.path.dirname(link), exist_ok=True)
        for name in changed:
            _write(f"{directory}/{name}", units[name])
        if not os.path.lexists(link):
            os.symlink(f"../{_SOCKET}", link)
    except OSError as why:
        raise EnvironmentFailure(f"cannot install in {directory}: {why.strerror}", "make it writable") from None
    for name in units:
        _say(f"{'wrote' if name in changed else 'unchanged'} {directory}/{name}")
    _start(invocation, changed=bool(changed))
    return 0


def uninstall(invocation: Invocation) -> int:
    directory = _directory(invocation)
    paths = [path for name in (_SOCKET, _SERVICE) if os.path.lexists(path := f"{directory}/{name}")]
    for path in paths:
        _refuse_foreign(path)
    if not paths:
        _say("not installed")
        return 0
    from gitwatch.autostart import systemctl

    systemctl("disable", "--now", _SOCKET, _SERVICE)  # with links that the user made, too
    link = f"{directory}/{_WANTED_BY}/{_SOCKET}"
    try:
        for path in (link, *paths):
            if os.path.lexists(path):
                os.unlink(path)
    except OSError as why:
        raise EnvironmentFailure(f"cannot remove from {directory}: {why.strerror}") from None
    for empty in (os.path.dirname(link), directory):
        try:
            os.rmdir(empty)
        except OSError:
            break  # others have something there
    systemctl("daemon-reload")
    for path in paths:
        _say(f"removed {path}")
    _say("commands start the daemon themselves, as before")
    return 0


def status(invocation: Invocation) -> int:
    """Exit 1 when it is not installed."""
    facts = service_facts(_directory(invocation))
    for name, value in facts.items():
        _say(f"{name.replace('_', ' ')}: {plain(value)}")
    return int(facts["installed"] == "no")


def service_facts(directory: str) -> dict[str, str]:
    """For `doctor` as well: `installed`, `starts` (what the unit runs), `manager`, `socket`, `service`."""
    from gitwatch.autostart import find_unit, systemctl

    unit = _read(f"{directory}/{_SERVICE}")
    facts = {"installed": "no" if unit is None else "yes" if unit.startswith(_MARK) else "yes, by hand"}
    if unit is None and find_unit(os.environ) is not None:
        facts["installed"] = "yes, for all users"
    if unit is not None:
        commands = [line.partition("=")[2] for line in unit.splitlines() if line.startswith("ExecStart=")]
        facts["starts"] = commands[-1] if commands else "nothing"
    if not _has_manager():
        facts["manager"] = "no systemd user manager answers here"
        return facts
    facts["socket"] = "listens" if systemctl("is-active", _SOCKET) else "does not listen"
    facts["service"] = "runs" if systemctl("is-active", _SERVICE) else "does not run"
    return facts


def facts_for_doctor(environ: Mapping[str, str]) -> dict[str, Any]:
    return dict(service_facts(_units_directory(environ)))


def _start(invocation: Invocation, *, changed: bool) -> None:
    from gitwatch.autostart import systemctl

    if not _has_manager():
        if os.path.isdir(BOOTED):
            _say("no systemd user manager answers here: the socket is opened at your next login")
        else:
            _say("systemd does not run this machine: commands start the daemon themselves, as before")
        return
    if changed:
        systemctl("daemon-reload")
    if not systemctl("is-active", _SOCKET):
        from gitwatch.control import stop_daemon

        # One that runs by itself holds the socket's path, and would be unreachable once systemd takes that.
        stop_daemon(invocation)
        if not systemctl("start", _SOCKET):
            raise EnvironmentFailure(
                "systemd does not start gitwatchd.socket", "`systemctl --user status gitwatchd.socket` says why"
            )
    _say("systemd listens: the next command starts the daemon")


def _has_manager() -> bool:
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return bool(runtime) and os.path.exists(f"{runtime}/systemd/private")


def _directory(invocation: Invocation) -> str:
    if invocation.state_dir is not None:
        raise UserError("the service is the daemon without --state-dir", "leave that option out")
    if not sys.platform.startswith("linux"):
        raise EnvironmentFailure("this system has no systemd", "commands start the daemon themselves")
    return _units_directory(os.environ)


def _units_directory(environ: Mapping[str, str]) -> str:
    config = environ.get("XDG_CONFIG_HOME", "")
    if not config.startswith("/"):
        config = os.path.expanduser("~/.config")
    return f"{config.rstrip('/')}/systemd/user"


def _units() -> dict[str, str]:
    here = os.path.dirname(os.path.abspath(__file__))
    # In a checkout (an editable installation) they lie where people look for them; a wheel brings them along.
    for directory in (f"{here}/units", f"{here}/../../systemd"):
        texts = {name: _read(f"{directory}/{name}") for name in (_SERVICE, _SOCKET)}
        if None not in texts.values():
            whole = {name: str(text) for name, text in texts.items()}
            whole[_SERVICE] = _with_command(whole[_SERVICE], command())
            return whole
    raise EnvironmentFailure("this installation lacks the unit files", "install gitwatchd again")


def command() -> list[str]:
    """What starts the daemon of this installation: its script beside this Python, else Python itself."""
    script = os.path.join(os.path.dirname(sys.executable), "gitwatchd")
    return [script] if os.access(script, os.X_OK) else [sys.executable, "-P", "-m", "gitwatchd"]


def _with_command(unit: str, words: list[str]) -> str:
    if any(character in words[0] for character in "\"'\\$"):
        words = ["/usr/bin/env", *words]  # systemd takes these in an argument only, however they are quoted
    command_line = f"ExecStart={' '.join(map(_quoted, words))}"
    return "\n".join(command_line if line.startswith("ExecStart=") else line for line in unit.split("\n"))


def _quoted(word: str) -> str:
    """As systemd reads it: `%` begins a specifier and `$` a variable, also within quotes."""
    if word.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum():
        return word
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return f'"{word}"'


def _refuse_foreign(path: str) -> None:
    text = _read(path)
    if (text is None and os.path.lexists(path)) or (text is not None and not text.startswith(_MARK)):
        raise EnvironmentFailure(
            f"{path} was not written by `gitwatch service install`", "move it away, then try again"
        )


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except (OSError, UnicodeDecodeError):
        return None


def _write(path: str, text: str) -> None:
    # Whole or not at all: systemd may read it at any moment.
    with open(f"{path}.new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(f"{path}.new", path)


def _say(line: str) -> None:
    output.write_text(line + "\n")
