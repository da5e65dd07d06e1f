"""Fixtures of the scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch, HangingGit
from tests.zoo.daemon import Daemon
from tests.zoo.nursery import Nursery


@pytest.fixture
def gitwatch(tmp_path: Path) -> Iterator[Gitwatch]:
    """The command, with the same state directory as `daemon`'s; the daemon that it starts is ended and verified."""
    command = Gitwatch(tmp_path / "state", tmp_path)
    yield command
    command.end()


@pytest.fixture
def zoo(tmp_path: Path) -> Nursery:
    """Builders' material below tmp_path/zoo."""
    return Nursery(tmp_path / "zoo")


@pytest.fixture
def hanging_git(tmp_path: Path) -> Iterator[HangingGit]:
    git = HangingGit(tmp_path / "bin")
    yield git
    git.release()


@pytest.fixture
def held_daemon(start_daemon: Callable[..., Daemon], hanging_git: HangingGit) -> Daemon:
    """A daemon whose git hangs on demand."""
    return start_daemon(env=hanging_git.env)
