"""A loop on the test's own thread, turned by hand, so that every order of events is the test's choice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

import pytest

from gitwatchd.loop import Loop


class Turn(Protocol):
    def __call__(self, condition: Callable[[], object], timeout_s: float = 60.0) -> None: ...


@pytest.fixture
def loop() -> Iterator[Loop]:
    bugs: list[BaseException] = []
    loop = Loop(bugs.append)
    yield loop
    loop.close()
    assert bugs == []


@pytest.fixture
def turn(loop: Loop) -> Turn:
    """`turn(condition)`: run the loop until it holds."""

    def run(condition: Callable[[], object], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the loop turned and turned, and it did not come"
            loop.run_once(0.01)

    return run
