"""A real daemon of the tests' own, and a client that speaks to it.

Owns: one `python -m gitwatchd --foreground` process at a time. Runs: in the test's thread, blocking.
Invariant: it never meets the user's daemon: everything it has is below its state directory.
Invariant: it must end with exit 0 on SIGTERM and have logged no traceback, whatever was done to it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gitwatch.link import wait_gone

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.model.report import text_or_bytes
from gitwatchd.wire.address import Places, places
from gitwatchd.wire.blocking import Connection, DaemonSilent
from tests.zoo.commands import without_git
from tests.zoo.waiting import wait_until

CALL_DEADLINE_S = 60.0


@dataclass(frozen=True, slots=True)
class Entries:
    """The daemon's answer for the judge's question."""

    state: str
    reason: str
    exit: int
    stdout: bytes
    stderr: bytes


def _end_and_tell_why(pid: int) -> str:
    """What a daemon that hangs was about: it ends with the stacks of its threads."""
    try:
        stderr = Path(f"/proc/{pid}/fd/2").readlink()
        os.kill(pid, signal.SIGABRT)
    except OSError as error:
        return f"the daemon's stacks are not to be had: {error}"
    wait_gone(pid, 10.0)
    return stderr.read_text(errors="replace")


class Client:
    """One persistent connection. `path` arguments are anything os.fsencode takes."""

    def __init__(self, socket: bytes) -> None:
        self._connection = Connection(socket, CALL_DEADLINE_S)
        self.hello: dict[str, Any] = self.call("hello", "test", [1, 0])

    def call(self, method: str, *params: Any, deadline_s: float = CALL_DEADLINE_S) -> Any:
        self._connection.renew_deadline(deadline_s)
        try:
            return self._connection.call(method, *params)
        except DaemonSilent as silence:
            if method == "hello":
                raise
            silence.add_note(_end_and_tell_why(int(self.hello["pid"])))
            raise

    def entries(self, path: str | bytes | os.PathLike[str], **options: Any) -> Entries:
        answer = self.call("entries", text_or_bytes(os.fsencode(path)), {"z": True, **options})
        return Entries(
            answer["state"],
            answer["reason"],
            answer["exit"],
            *(part.encode() if isinstance(part, str) else part for part in (answer["stdout"], answer["stderr"])),
        )

    def reports(self, *paths: str | bytes | os.PathLike[str], **options: Any) -> list[dict[str, Any]]:
        """`status` of these paths; raises AssertionError when the daemon has errors for some."""
        answer = self.call("status", [text_or_bytes(os.fsencode(path)) for path in paths], options)
        assert answer["errors"] == []
        repos: list[dict[str, Any]] = answer["repos"]
        return repos

    def end_daemon(self) -> None:
        """Its socket goes first. Until its process has ended, too, it writes into HOME, if it is the user's own: into
        what the next test clears away."""
        self.call("shutdown")
        assert wait_gone(int(self.hello["pid"]), 60.0), "the daemon does not end"

    def close(self) -> None:
        self._connection.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Daemon:
    """Started when made; use as a context manager, or call `stop`."""

    def __init__(
        self,
        state_dir: Path,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
        deadline_s: float = 60.0,
    ) -> None:
        """`before`: what it is run by; it has to end in `exec`, so that the process is the daemon's."""
        state_dir.mkdir(parents=True, exist_ok=True)
        environment = {**without_git(os.environ), "PYTHONFAULTHANDLER": "1", **(env or {})}
        self.state_dir = state_dir
        self.places: Places = places(environment, os.getuid(), os.fsencode(state_dir))
        self.stderr_path = state_dir / "stderr"
        with self.stderr_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                [
                    *before,
                    sys.executable,
                    "-m",
                    "gitwatchd",
                    "--foreground",
                    "--state-dir",
                    str(state_dir),
                    *arguments,
                ],
                cwd="/",
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
        try:
            wait_until(self._answers, deadline_s, "the daemon's first answer")
        except BaseException:
            self.kill()
            raise

    @property
    def pid(self) -> int:
        return self.process.pid

    def connect(self) -> Client:
        return Client(self.places.socket)

    def said(self) -> str:
        """Everything it logged so far, for the report of a failure."""
        log = Path(os.fsdecode(self.places.log))
        return "".join(p.read_text(errors="replace") for p in (self.stderr_path, log) if p.exists())

    def stop(self, deadline_s: float = 60.0) -> None:
        """SIGTERM; it must exit 0 in time and leave no traceback behind."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            exit_code = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"the daemon did not stop within {deadline_s} s\n{self.said()}") from None
        said = self.said()
        assert exit_code == 0, f"the daemon ended with {exit_code}\n{said}"
        assert "Traceback" not in said, said

    def kill(self) -> None:
        """SIGKILL, as the kernel's out-of-memory killer would."""
        self.process.kill()
        self.process.wait()

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the daemon ended with {self.process.returncode} at its start\n{self.said()}")
        try:
            self.connect().close()
        except DaemonUnavailable:
            return False
        return True

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.kill()  # the test's own failure is the news
        else:
            self.stop()
