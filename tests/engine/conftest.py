"""An engine to be played, which must want nothing in the end that no test expected."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gitwatchd.engine.engine import Engine
from tests.engine.play import Play


@pytest.fixture
def play() -> Iterator[Play]:
    play = Play(Engine())
    yield play
    assert play.effects == [], "effects nobody expected"
