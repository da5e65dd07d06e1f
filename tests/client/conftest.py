"""A daemon with canned answers, and the `gitwatch` command as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest

from gitwatchd import __version__

FAKE = Path(__file__).with_name("fake_gitwatchd.py")

Completed = subprocess.CompletedProcess[bytes]


class FakeDaemon:
    """`answers[method] = {"result": ...}` before `start`; `calls(method)` are the params it was called with."""

    def __init__(self, directory: Path, wait_until: Callable[..., object]) -> None:
        self.directory = directory
        self._wait_until = wait_until
        hello = {
            "version": __version__, "protocol": [1, 0], "pid": 0, "git": shutil.which("git"), "git_version": "2",
            "home": os.environ["HOME"], "xdg_config_home": os.environ["XDG_CONFIG_HOME"],
            "state_dir": str(directory),
        }  # fmt: skip
        self.answers: dict[str, dict[str, Any]] = {"hello": {"result": hello}}

    def write_answers(self) -> None:
        (self.directory / "answers").write_bytes(msgpack.packb(self.answers))

    def start(self) -> None:
        self.write_answers()
        subprocess.Popen([sys.executable, FAKE, self.directory]).returncode = 0
        self._wait_until(lambda: self.pids(), what="the fake daemon listens")

    def pids(self) -> list[int]:
        with suppress(FileNotFoundError):
            return [int(pid) for pid in (self.directory / "served").read_text().split()]
        return []

    def stop(self) -> None:
        for pid in self.pids():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
                os.kill(pid, signal.SIGKILL)
                with suppress(ChildProcessError):
                    os.waitpid(pid, 0)

    def calls(self, method: str) -> list[list[Any]]:
        unpacker = msgpack.Unpacker()
        unpacker.feed((self.directory / "requests").read_bytes())
        return [params for called, params in unpacker if called == method]


@pytest.fixture
def daemon(tmp_path: Path, wait_until: Callable[..., object]) -> Iterator[FakeDaemon]:
    directory = tmp_path / "state"
    directory.mkdir()
    fake = FakeDaemon(directory, wait_until)
    yield fake
    fake.stop()


Gitwatch = Callable[..., Completed]


@pytest.fixture
def gitwatch(daemon: FakeDaemon, tmp_path: Path) -> Gitwatch:
    """Run `gitwatch ARGUMENTS`; a daemon that it starts is the fake one."""
    script = (
        "import sys; from gitwatch import autostart; from gitwatch.__main__ import main; "
        f"autostart.DAEMON = ({sys.executable!r}, {str(FAKE)!r}); sys.exit(main())"
    )

    def run(*arguments: str | bytes, cwd: Path | None = None, **environment: str) -> Completed:
        command = [sys.executable, "-c", script, "--state-dir", daemon.directory, *arguments]
        return subprocess.run(
            command, cwd=cwd or tmp_path, env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    return run
