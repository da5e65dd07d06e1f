"""Waiting for a condition, never for a time. Any thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")


def wait_for_the_next_second(directory: Path) -> None:
    """By the clock that stamps files. A copy of an index made within the second of a ctime in it is not kept."""
    probe = directory / "clock"
    probe.write_bytes(b"")
    now_s = int(probe.stat().st_ctime)
    while int(probe.stat().st_ctime) == now_s:
        probe.write_bytes(b"")


def wait_until(condition: Callable[[], T], timeout_s: float = 30.0, what: str = "") -> T:
    """Call `condition` until it is true and return its result; AssertionError after `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    pause = threading.Event()
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s} s: {what or getattr(condition, '__qualname__', condition)}")
        pause.wait(0.002)
    return result
