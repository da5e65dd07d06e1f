"""The `gitwatch` command as a user types it, and a git that hangs or dies when a test wants that. Blocking."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from gitwatch.link import wait_gone

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.wire.address import Places, places
from tests.zoo.commands import Git, without_git
from tests.zoo.daemon import Client
from tests.zoo.nursery import configure
from tests.zoo.waiting import wait_until

Completed = subprocess.CompletedProcess[bytes]

DEADLINE_S = 60.0

WITHOUT_PRIVILEGE = (
    sys.executable,
    "-c",
    "import ctypes, os, sys\n"
    "if os.getuid() == 0:\n"
    "    libc = ctypes.CDLL(None, use_errno=True)\n"
    "    for capability in (1, 2):\n"
    "        assert libc.prctl(24, capability, 0, 0, 0) == 0, ctypes.get_errno()\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n",
)
"""Run a command to which file modes apply. Root keeps its uid (another could not read root's own Python) and loses, for
itself and whatever it starts, CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (PR_CAPBSET_DROP)."""


class Gitwatch:
    """`gitwatch("status", path)` runs the command with everything below `state`, a daemon that it starts included."""

    def __init__(self, state: Path, directory: Path) -> None:
        self.state = state
        self.directory = directory
        self.env: dict[str, str] = {}
        """Added to the environment of every command, and so of the daemon that one of them starts."""
        self.before: Sequence[str] = ()
        """What the command is run by (`WITHOUT_PRIVILEGE`)."""
        self.expects_bugs = False
        """The log may hold a traceback."""
        self._started: list[subprocess.Popen[bytes]] = []

    @property
    def places(self) -> Places:
        return places(os.environ, os.getuid(), os.fsencode(self.state))

    def start(self, *arguments: str | bytes | Path, cwd: Path | None = None) -> subprocess.Popen[bytes]:
        """The running command, with pipes for its outputs."""
        command = [*self.before, sys.executable, "-m", "gitwatch", "--state-dir", str(self.state), *arguments]
        process = subprocess.Popen(
            command, cwd=cwd or self.directory, env={**without_git(os.environ), **self.env},
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            bufsize=0,  # or a line that was read ahead would be one that no select tells of
        )  # fmt: skip
        self._started.append(process)
        return process

    def __call__(self, *arguments: str | bytes | Path, cwd: Path | None = None) -> Completed:
        process = self.start(*arguments, cwd=cwd)
        stdout, stderr = process.communicate(timeout=DEADLINE_S)
        assert b"Traceback" not in stderr, stderr.decode()
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def reports(self, *arguments: str | bytes | Path) -> list[dict[str, Any]]:
        """`gitwatch status --json ARGUMENTS`; it must succeed without a word on standard error."""
        done = self("status", "--json", *arguments)
        assert (done.returncode, done.stderr) == (0, b"")
        reports: list[dict[str, Any]] = json.loads(done.stdout)
        return reports

    def porcelain(self, path: Path) -> bytes:
        """The judge's question; it must succeed without a word on standard error."""
        done = self("status", "--porcelain=v2", "-z", path)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    def daemon_pid(self) -> int | None:
        """The daemon that answers there now."""
        with suppress(DaemonUnavailable), Client(self.places.socket) as client:
            return int(client.hello["pid"])
        return None

    def log(self) -> str:
        log = Path(os.fsdecode(self.places.log))
        return log.read_text(errors="replace") if log.exists() else ""

    def end(self) -> None:
        """Nothing that it started runs on. A daemon gets SIGTERM, and must have had no bug."""
        for process in self._started:
            if process.stdout is not None and not process.stdout.closed:  # its test failed
                process.kill()
                process.communicate()
        pid = self.daemon_pid()
        if pid is not None:
            os.kill(pid, signal.SIGTERM)
            assert wait_gone(pid, 60.0), f"the daemon does not end\n{self.log()}"
        assert self.expects_bugs or "Traceback" not in self.log(), self.log()


class HangingGit:
    """A `git` for the front of PATH that hangs in `git status` for as long as `hold` is in effect."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir()
        self._held = directory / "held"
        self._pids = directory / "pids"
        git = directory / "git"
        real = next(p for d in os.environ["PATH"].split(":") if os.access(p := Path(d) / "git", os.X_OK))
        git.write_text(
            "#!/bin/sh\n"
            f'case " $* " in *" status "*) if [ -e {self._held} ]; then echo $$ >>{self._pids}; '
            f"while [ -e {self._held} ]; do sleep 0.01; done; fi;; esac\n"
            f'exec {real} "$@"\n'
        )
        git.chmod(0o755)
        self.path = f"{directory}:{os.environ['PATH']}"

    @property
    def env(self) -> Mapping[str, str]:
        return {"PATH": self.path}

    def hold(self) -> None:
        """Every `git status` that starts from now on hangs."""
        self._held.touch()

    def release(self) -> None:
        """All go on, those that hang already as well."""
        self._held.unlink(missing_ok=True)

    def hanging(self) -> list[int]:
        """Process ids of those that hang or hung and live."""
        if not self._pids.exists():
            return []
        return [pid for pid in map(int, self._pids.read_text().split()) if runs(pid)]

    def wait(self, count: int = 1) -> list[int]:
        """Until that many hang."""
        return wait_until(lambda: pids if len(pids := self.hanging()) >= count else [], what="git hangs")


def for_git_alone(git: Git) -> Git:
    """From now on no answer about it can be made without starting git: what "stat equal" means is git's to know."""
    configure(git, "[core]\n\tcheckStat = minimal\n")
    return git


def runs(pid: int) -> bool:
    """Whether that process lives; one that ended and is not collected does not."""
    return not wait_gone(pid, 0.0)


def children_of(pid: int) -> dict[int, bytes]:
    """Command lines of the processes whose parent is `pid`."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                parent = int((entry / "stat").read_bytes().rpartition(b")")[2].split()[1])
                if parent == pid:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes()
    return found


def wait_settled(client: Client, path: Path) -> None:
    """Until the daemon has nothing to do for `path`: it answers at once, and as fresh."""
    wait_until(lambda: client.entries(path, wait_s=0).state == "fresh", what=f"{path} is fresh unasked")
