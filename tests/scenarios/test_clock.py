"""The clock is stepped by an hour and more, and times of files lie in the future.

The daemon's own clock, injected: what `time.time` gives it is moved, not the host's.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.store.cache_reader import load
from tests.scenarios.commands import wait_settled
from tests.zoo.commands import Git, judge
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

HOUR = 3600.0
_PATCH = """
import time as _time
_true = _time.time
def _stepped():
    with open({path!r}) as file:
        return _true() + float(file.read())
_time.time = _stepped
"""


@pytest.fixture
def step(tmp_path: Path) -> Callable[[float], None]:
    """`step(seconds)`: what the daemon takes for the time is that much off from now on."""

    def to(seconds: float) -> None:
        aside = tmp_path / "offset.new"
        aside.write_text(str(seconds))
        aside.rename(tmp_path / "offset")

    to(0.0)
    directory = tmp_path / "patch"
    directory.mkdir()
    (directory / "sitecustomize.py").write_text(_PATCH.format(path=str(tmp_path / "offset")))
    return to


@pytest.fixture
def stepped(step: Callable[[float], None], start_daemon: Callable[..., Daemon], tmp_path: Path) -> Callable[[], Daemon]:
    paths = [str(tmp_path / "patch"), *filter(None, [os.environ.get("PYTHONPATH")])]
    return lambda: start_daemon(env={"PYTHONPATH": ":".join(paths)})


def check(client: Client, git: Git) -> None:
    answer = client.entries(git.path)
    assert (answer.state, answer.stdout) == ("fresh", judge(git.path))
    (report,) = client.reports(git.path)
    assert report["age_ms"] == 0
    (old,) = client.reports(git.path, wait_s=0)
    assert old["age_ms"] >= 0


def test_answers_stay_right_and_ages_are_never_negative(
    step: Callable[[float], None], stepped: Callable[[], Daemon], repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n", "b": b"1\n"})
    daemon = stepped()
    with daemon.connect() as client:
        client.call("roots.add", str(git.path.parent))
        for number, offset in enumerate((0.0, HOUR, -HOUR, 30 * 24 * HOUR, -30 * 24 * HOUR, 0.0)):
            step(offset)
            (git.path / "a").write_bytes(b"%d\n" % number)
            # Unasked: what waits for a time waits by the clock that nobody steps.
            wait_settled(client, git.path)
            check(client, git)
            git("commit", "-qam", f"{number}")
            check(client, git)
        (report,) = client.reports(git.path)
        assert abs(report["as_of"] - time.time()) < 60
        wait_until(lambda: [row.verified_at for row in load(daemon.places.cache).repositories] == [report["as_of"]])
        step(-HOUR)
        (git.path / "a").write_bytes(b"x\n")
        check(client, git)
        daemon.kill()
        # What an earlier process wrote down comes from the future now.
        daemon = stepped()
    with daemon.connect() as client:
        (report,) = client.reports(git.path, wait_s=0)
        assert report["state"] == "stale" and report["age_ms"] == 0
        assert [root["path"] for root in client.call("roots.list")] == [str(git.path.parent)]
        check(client, git)


def test_after_a_night_in_which_the_machine_slept(
    step: Callable[[float], None], stepped: Callable[[], Daemon], repository: Callable[..., Git], home: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    """As suspended as a test can have it: no process of ours runs, and the wall clock has gone on. What
    changed around it is in the first answer, git's own configuration too, and nobody was idle for a night."""
    git = repository({"a": b"1\n", "b": b"1\n", "x.log": b""})
    with (tmp_path / "patch/sitecustomize.py").open("a") as patch:
        patch.write("import gitwatchd.daemon.main\ngitwatchd.daemon.main.HOUSEKEEPING_S = 0.05\n")
    daemon = stepped()
    intent = Path(os.fsdecode(daemon.places.intent))
    with daemon.connect() as client:
        check(client, git)
        os.kill(daemon.pid, signal.SIGSTOP)
        try:
            step(9 * HOUR)
            (git.path / "a").write_bytes(b"22\n")
            (git.path / "new.log").write_bytes(b"")
            (home / ".config/git").mkdir(parents=True, exist_ok=True)
            (home / ".config/git/ignore").write_bytes(b"*.log\n")
            intent.unlink()
        finally:
            os.kill(daemon.pid, signal.SIGCONT)
        # It has looked after the house, and the night was not 8 hours in which nobody asked.
        wait_until(intent.exists)
        check(client, git)
        assert b"new.log" not in client.entries(git.path).stdout


def test_files_from_the_future(client: Client, repository: Callable[..., Git]) -> None:
    """Same-size edits before and after `git add`, with mtimes of tomorrow, of next year and of the index itself."""
    git = repository({"a": b"1\n", "b": b"1\n"})
    for ahead in (0.0, 24 * HOUR, 365 * 24 * HOUR, -365 * 24 * HOUR):
        at = time.time() + ahead
        for content in (b"2\n", b"3\n"):
            (git.path / "a").write_bytes(content)
            os.utime(git.path / "a", (at, at))
            answer = client.entries(git.path)
            assert (answer.state, answer.stdout) == ("fresh", judge(git.path))
            git("add", "a")
            (git.path / "a").write_bytes(content.translate(bytes.maketrans(b"23", b"45")))
            os.utime(git.path / "a", (at, at))
            answer = client.entries(git.path)
            assert (answer.state, answer.stdout) == ("fresh", judge(git.path))
        os.utime(git.path / ".git/index", (at, at))
        answer = client.entries(git.path)
        assert (answer.state, answer.stdout) == ("fresh", judge(git.path))
