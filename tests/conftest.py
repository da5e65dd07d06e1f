"""Fixtures that every test shares. Importing this file isolates the environment, before any fixture runs.

`git(path)` gives a runner: `run = git(path); run("add", "-A")` returns stdout and raises when git fails;
`run.ask(...)` returns exit, stdout and stderr. `repository(files)` makes one with one commit. `judge(path)`
is git's own answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.zoo import commands
from tests.zoo.commands import Git, new_repository
from tests.zoo.isolation import Isolation
from tests.zoo.waiting import wait_until as wait_until_true

if TYPE_CHECKING:
    from tests.zoo.daemon import Client, Daemon

_isolation = Isolation()


def pytest_unconfigure() -> None:
    _isolation.remove()


@pytest.fixture(autouse=True)
def _isolated() -> Iterator[None]:
    before = len(_isolation.touched)
    yield
    _isolation.restore()
    assert _isolation.touched[before:] == [], "this test touched the real HOME"


@pytest.fixture(scope="session")
def home() -> Path:
    """The session's HOME, with a .gitconfig; what a test changes there is undone after it."""
    return _isolation.home


@pytest.fixture(scope="session")
def git() -> Callable[..., Git]:
    return Git


@pytest.fixture(scope="session")
def judge() -> Callable[..., bytes]:
    return commands.judge


@pytest.fixture(scope="session")
def wait_until() -> Callable[..., object]:
    return wait_until_true


@pytest.fixture
def repository(tmp_path: Path) -> Callable[..., Git]:
    """`repository({"a": b"text"}, "name") -> Git`: below tmp_path, with these files committed."""

    def make(files: Mapping[str, bytes] | None = None, name: str = "repo", *options: str) -> Git:
        return new_repository(tmp_path / name, files, *options)

    return make


@pytest.fixture
def dead() -> Iterator[bytes]:
    """A mount point of which this process keeps away; nothing is mounted there, so looking would say: not there."""
    from gitwatchd.git import reach
    from gitwatchd.mounts import Mounts

    mounts = Mounts({b"/": "ext4", b"/srv/dead": "nfs4", b"/srv/alive": "ext4"})
    reach.keep_local(lambda: mounts)
    yield b"/srv/dead"
    reach.keep_local(None)


@pytest.fixture
def start_daemon(tmp_path: Path) -> Iterator[Callable[..., Daemon]]:
    """`start_daemon(*arguments, env=..., before=...)`: a daemon with its state below tmp_path (kept when it ends).

    Those that still run at the end of the test are stopped and verified.
    """
    from tests.zoo.daemon import Daemon  # most tests need none, and not the packages it imports

    started: list[Daemon] = []

    def start(*arguments: str, env: Mapping[str, str] | None = None, before: Sequence[str] = ()) -> Daemon:
        started.append(Daemon(tmp_path / "state", *arguments, env=env, before=before))
        return started[-1]

    yield start
    for daemon in started:
        if daemon.process.poll() is None:
            daemon.stop()


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon]) -> Daemon:
    return start_daemon()


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.connect() as connected:
        yield connected
