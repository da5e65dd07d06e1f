"""Watchers below one root, which are closed in the end and had no bug."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.watch.watched import Fleet


@pytest.fixture
def fleets(tmp_path: Path) -> Iterator[Callable[..., Fleet]]:
    made: list[Fleet] = []
    (tmp_path / "root").mkdir()

    def make(limit: int | None = None) -> Fleet:
        made.append(Fleet(tmp_path / "root", limit))
        return made[-1]

    yield make
    for fleet in made:
        fleet.watcher.close()
        fleet.loop.close()
        assert fleet.bugs == []


@pytest.fixture
def fleet(fleets: Callable[..., Fleet]) -> Fleet:
    return fleets()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return (tmp_path / "root").resolve()
