"""Keep the tests away from the real HOME.

Runs at the import of conftest, before any fixture. Owns: the session's HOME and the process environment.
Invariant: no GIT_* and no XDG_* of the caller is seen by a test or by a child of one.
Invariant: opening, listing or changing anything below the real HOME fails the test, unless it belongs to this
Python or to this checkout (both often live there).
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

GITCONFIG = b"""[user]
\tname = Zoo Keeper
\temail = keeper@zoo.example
[init]
\tdefaultBranch = main
[gc]
\tauto = 0
[maintenance]
\tauto = false
[advice]
\tdetachedHead = false
[filter "zoo"]
\tclean = sed s/secret/public/
\tsmudge = cat
"""
"""gc.auto = 0: a repack in the background would change the repository between the judge's answer and ours."""

_XDG = {
    "XDG_CONFIG_HOME": ".config",
    "XDG_CACHE_HOME": ".cache",
    "XDG_STATE_HOME": ".local/state",
    "XDG_DATA_HOME": ".local/share",
    "XDG_RUNTIME_DIR": "run",
}

_AUDITED = frozenset(
    {
        "open",
        "os.chmod",
        "os.link",
        "os.listdir",
        "os.mkdir",
        "os.remove",
        "os.rename",
        "os.rmdir",
        "os.scandir",
        "os.symlink",
        "os.truncate",
        "os.utime",
        "sqlite3.connect",
    }
)

_DISPLAY_AND_CALLER = (
    "LS_COLORS",
    "EDITOR",
    "VISUAL",
    "PAGER",
    "EMAIL",
    "LISTEN_FDS",
    "LISTEN_PID",
    "NOTIFY_SOCKET",
    "COLUMNS",
    "NO_COLOR",
    "FORCE_COLOR",
    "CLICOLOR_FORCE",
)
"""Also removed: they change what git or this program prints or whom it tells."""


class RealHomeTouchedError(AssertionError):
    pass


class Isolation:
    """The session's own HOME, and what was done to the real one (must stay empty)."""

    def __init__(self) -> None:
        self.real_home = os.path.realpath(os.path.expanduser("~"))
        self.directory = Path(tempfile.mkdtemp(prefix="gw-tests-"))  # short: sockets below it have 107 bytes
        self.home = self.directory / "home"
        self.touched: list[str] = []
        self.plugins = os.environ.get("GITSTATUS_PLUGINS")
        """Before the variables that begin so are taken away: `tests/shells` says what it is."""
        checkout = str(Path(__file__).parents[2])
        allowed = (sys.prefix, sys.base_prefix, *filter(None, sys.path), tempfile.gettempdir(), checkout)
        self._allowed = tuple(os.path.realpath(path).rstrip("/") + "/" for path in allowed)
        environment = isolated_environment(os.environ, self.home)
        self.environment = environment
        self.restore()
        if self.real_home != "/":
            sys.addaudithook(self._audit)

    def restore(self) -> None:
        """Undo what a test did to the environment or below HOME; unchanged files keep their identity."""
        now = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
        if now != self.environment:
            for name in now.keys() - self.environment.keys():
                del os.environ[name]
            os.environ.update(self.environment)
        write_home(self.home)

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def _audit(self, event: str, arguments: tuple[object, ...]) -> None:
        if event == "subprocess.Popen":
            environment = arguments[3]
            if isinstance(environment, Mapping) and environment.get("HOME") == self.real_home:
                self._refuse(event, "a child's HOME")
        elif event in _AUDITED:
            # What a new link says is no place that is touched, and a relative one is not relative to here.
            for argument in arguments[event == "os.symlink" : 2]:
                if isinstance(argument, bytes | str | os.PathLike):
                    self._check(event, os.path.abspath(os.fsdecode(argument)))

    def _check(self, event: str, path: str) -> None:
        if not (path + "/").startswith(self.real_home + "/"):
            return
        if any((path + "/").startswith(allowed) for allowed in self._allowed) or "__pycache__" in path:
            return
        self._refuse(event, path)

    def _refuse(self, event: str, what: str) -> None:
        # Recorded as well as raised: code under test may catch the exception at one of its seams.
        self.touched.append(f"{event}: {what}")
        raise RealHomeTouchedError(f"a test touched the real HOME ({event}: {what})")


def isolated_environment(base: Mapping[str, str], home: Path) -> dict[str, str]:
    """`base` without GIT_*, XDG_* and the caller's taste, with HOME and the XDG directories below `home`."""
    environment = {
        name: value
        for name, value in base.items()
        if not name.startswith(("PYTEST_", "GIT_", "XDG_", "LC_", "GITWATCH", "GITSTATUS_"))
        and name not in _DISPLAY_AND_CALLER
    }
    environment.update({name: str(home / below) for name, below in _XDG.items()})
    environment.update(HOME=str(home), LANG="C.UTF-8", TERM="dumb", USER="keeper", LOGNAME="keeper")
    return environment


def write_home(home: Path) -> None:
    """Make `home` what it is at the start of every test: `.gitconfig` and an empty, private runtime dir."""
    runtime = home / _XDG["XDG_RUNTIME_DIR"]
    runtime.mkdir(mode=0o700, parents=True, exist_ok=True)
    for entry in (*home.iterdir(), *runtime.iterdir()):
        if entry.name == ".gitconfig" or entry == runtime:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    config = home / ".gitconfig"
    if config.is_symlink() or not config.is_file() or config.read_bytes() != GITCONFIG:
        if config.is_dir() and not config.is_symlink():
            shutil.rmtree(config)
        config.unlink(missing_ok=True)
        config.write_bytes(GITCONFIG)
