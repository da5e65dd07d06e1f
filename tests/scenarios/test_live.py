"""Must show: `gitwatch events` and `gitwatch watch` follow what happens, and leave quietly."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch
from tests.zoo.commands import Git, new_repository, without_git
from tests.zoo.daemon import Client
from tests.zoo.waiting import wait_until

DEADLINE_S = 30.0


@pytest.fixture
def repo(tmp_path: Path) -> Git:
    return new_repository(tmp_path / "root/one", {"a": b"1\n"}, "--template=")


def read_line(process: subprocess.Popen[bytes]) -> bytes:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], DEADLINE_S)
    assert ready, "no line came"
    return process.stdout.readline()


def next_where(process: subprocess.Popen[bytes], unstaged: int) -> dict[str, object]:
    """The next report with so many changed files; those before it are of earlier moments."""
    while True:
        report: dict[str, object] = json.loads(read_line(process))
        counts = report["counts"]
        assert isinstance(counts, dict)
        if counts["unstaged"] == unstaged:
            return report


def wait_subscribed(gitwatch: Gitwatch, repo: Git, process: subprocess.Popen[bytes]) -> None:
    """Until a change is told: then it has subscribed. Each try is another change."""
    tries = iter(range(10_000))

    def told() -> bool:
        (repo.path / "b").write_text(str(next(tries)))
        (repo.path / "a").write_text(f"changed {next(tries)}\n")
        gitwatch.reports(repo.path)
        return bool(select.select([process.stdout], [], [], 0.05)[0])

    wait_until(told, what="the first change is told")


def test_each_change_is_a_line_at_once(gitwatch: Gitwatch, repo: Git, tmp_path: Path) -> None:
    gitwatch.reports(tmp_path / "root")
    process = gitwatch.start("events", tmp_path / "root")
    wait_subscribed(gitwatch, repo, process)
    assert next_where(process, unstaged=1)["name"] == "one"
    repo("checkout", "-q", "--", "a")
    assert next_where(process, unstaged=0)["state"] == "fresh"
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 130
    process.communicate()


def test_events_end_when_their_reader_goes_without_waiting_for_a_change(gitwatch: Gitwatch, repo: Git) -> None:
    gitwatch.reports(repo.path)
    process = gitwatch.start("events")
    wait_subscribed(gitwatch, repo, process)
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.wait(DEADLINE_S) == -signal.SIGPIPE
    assert process.stderr.read() == b""
    process.stderr.close()


def test_events_end_with_the_daemon(gitwatch: Gitwatch, repo: Git) -> None:
    gitwatch.reports(repo.path)
    process = gitwatch.start("events")
    wait_subscribed(gitwatch, repo, process)
    assert gitwatch("daemon", "stop").returncode == 0
    _, stderr = process.communicate(timeout=DEADLINE_S)
    assert (process.returncode, stderr.splitlines()[0]) == (4, b"gitwatch: the daemon has ended")


def test_what_cannot_be_followed_is_one_line(gitwatch: Gitwatch, tmp_path: Path) -> None:
    done = gitwatch("events", tmp_path / "nowhere")
    assert done.returncode == 1
    assert done.stderr.startswith(f"gitwatch: {tmp_path}/nowhere: no such file or directory\n".encode())
    done = gitwatch("watch")
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"gitwatch: `gitwatch watch` needs a terminal\n")


_WATCH = """
import sys
from gitwatch import watch
from gitwatch.__main__ import main
watch._ANYWAY_S = 600.0  # nothing is seen because it is drawn anyway
sys.exit(main())
"""


class Terminal:
    """`gitwatch watch` in a terminal of its own."""

    def __init__(self, gitwatch: Gitwatch, *arguments: str | Path, rows: int = 24, columns: int = 80) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.said = b""
        command = [sys.executable, "-c", _WATCH, "--state-dir", str(gitwatch.state), "watch", *arguments]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=gitwatch.directory,
            env={**without_git(os.environ), "TERM": "xterm"},
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )  # fmt: skip

    def read(self) -> bytes:
        while select.select([self.master], [], [], 0)[0]:
            try:
                self.said += os.read(self.master, 1 << 16)
            except OSError:  # EIO: nobody has the other end open
                break
        return self.said

    def screen(self) -> bytes:
        """What was drawn last."""
        return self.read().rpartition(b"\x1b[H")[2]

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for end in (self.master, self.slave):
            with suppress(OSError):
                os.close(end)

    def end(self) -> int:
        """Its exit code; the terminal must be as it was."""
        wait_until(lambda: (self.read(), self.process.poll())[1] is not None, what="it ends")
        assert self.read().endswith(b"\x1b[?25h\x1b[?1049l") or b"\x1b[?25h\x1b[?1049l" in self.said
        assert termios.tcgetattr(self.slave) == self.before
        return self.process.returncode


@pytest.fixture
def terminal(gitwatch: Gitwatch, repo: Git, tmp_path: Path) -> Iterator[Terminal]:
    gitwatch.reports(tmp_path / "root")
    terminal = Terminal(gitwatch, tmp_path / "root")
    yield terminal
    terminal.close()


def test_the_table_follows_and_q_quits(terminal: Terminal, repo: Git) -> None:
    wait_until(lambda: b"1 repository: all clean" in terminal.screen(), what="the first table")
    assert terminal.said.startswith(b"\x1b[?1049h\x1b[?25l")
    (repo.path / "a").write_text("2\n")
    wait_until(lambda: b"1 repository: 1 dirty" in terminal.screen(), what="the change")
    os.write(terminal.master, b"x")
    os.write(terminal.master, b"q")
    assert terminal.end() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_terminal_is_given_back_however_it_ends(terminal: Terminal, number: int, code: int) -> None:
    wait_until(lambda: b"all clean" in terminal.screen(), what="the first table")
    assert termios.tcgetattr(terminal.slave) != terminal.before
    terminal.process.send_signal(number)
    assert terminal.end() == code


def test_the_terminal_is_given_back_when_the_daemon_ends(terminal: Terminal, gitwatch: Gitwatch) -> None:
    wait_until(lambda: b"all clean" in terminal.screen(), what="the first table")
    assert gitwatch("daemon", "stop").returncode == 0
    assert terminal.end() == 4
    assert terminal.said.partition(b"\x1b[?1049l")[2].startswith(b"gitwatch: the daemon has ended")


def test_stopped_it_lends_the_terminal_and_takes_it_again(terminal: Terminal) -> None:
    wait_until(lambda: b"all clean" in terminal.screen(), what="the first table")
    terminal.process.send_signal(signal.SIGTSTP)
    wait_until(lambda: terminal.read().endswith(b"\x1b[?25h\x1b[?1049l"), what="it lends the terminal")
    wait_until(lambda: termios.tcgetattr(terminal.slave) == terminal.before, what="keys are lines again")
    terminal.process.send_signal(signal.SIGCONT)
    wait_until(lambda: terminal.read().count(b"\x1b[?1049h") == 2, what="it takes it again")
    wait_until(lambda: b"all clean" in terminal.screen(), what="the table")
    os.write(terminal.master, b"q")
    assert terminal.end() == 0


def test_another_size_is_drawn_at_once(terminal: Terminal) -> None:
    wait_until(lambda: b"all clean" in terminal.screen(), what="the first table")
    fcntl.ioctl(terminal.slave, termios.TIOCSWINSZ, struct.pack("HHHH", 4, 20, 0, 0))
    wait_until(lambda: b"more lines" in terminal.screen(), what="a lower screen")
    os.write(terminal.master, b"q")
    terminal.end()


def test_it_draws_at_most_five_times_a_second(terminal: Terminal, repo: Git, gitwatch: Gitwatch) -> None:
    wait_until(lambda: b"all clean" in terminal.screen(), what="the first table")
    drawn, began, changes = terminal.read().count(b"\x1b[H"), time.monotonic(), 0
    with Client(gitwatch.places.socket) as client:
        while time.monotonic() - began < 1.0:
            (repo.path / "a").write_text(f"{changes}\n" * (changes % 2))
            client.reports(repo.path)  # each answer is a change that is told
            changes += 1
            terminal.read()
    drawn = terminal.read().count(b"\x1b[H") - drawn
    assert drawn <= (time.monotonic() - began) / 0.2 + 1
    os.write(terminal.master, b"q")
    terminal.end()
