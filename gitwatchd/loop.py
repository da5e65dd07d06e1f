"""The event loop of the serving thread: readable and writable descriptors, timers, calls from other threads.

Owns: the selector, the timers, the wake-up pipe. Runs: serving thread only, except what says
otherwise.
Our own, because the answer path is counted in microseconds: asyncio costs 50 ms to import and about 20 us
more for each request, and nothing here needs its coroutines.
A callback that raises is a bug: it is handed to `on_bug` and the loop goes on. One that takes longer than `slow_s` is
told to `on_slow`: all others waited for it.
"""

from __future__ import annotations

import heapq
import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

Callback = Callable[[], None]

_SWEEP_TIMERS_AT = 256


class Timer:
    """A call in the future; `cancel` is idempotent."""

    __slots__ = ("callback", "due")

    def __init__(self, due: float, callback: Callback) -> None:
        self.due = due
        self.callback: Callback | None = callback

    def cancel(self) -> None:
        self.callback = None

    def __lt__(self, other: Timer) -> bool:
        return self.due < other.due


class Loop:
    def __init__(
        self,
        on_bug: Callable[[BaseException], None],
        on_slow: Callable[[Callback, float], None] | None = None,
        slow_s: float = 0.1,
    ) -> None:
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._sweep_at = _SWEEP_TIMERS_AT
        self._calls: deque[Callback] = deque()
        self._stopping = False
        self._on_bug = on_bug
        self.on_slow = on_slow
        self._slow_s = slow_s
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)
        self.on_readable(self._wake_read, self._drain_wakeups)

    def on_readable(self, fd: int, callback: Callback) -> None:
        """Call `callback` whenever `fd` can be read (or hung up). Replaces an earlier callback for
        reading."""
        self._set(fd, selectors.EVENT_READ, callback)

    def on_writable(self, fd: int, callback: Callback | None) -> None:
        """Call `callback` whenever `fd` can be written; None ends that."""
        self._set(fd, selectors.EVENT_WRITE, callback)

    def _set(self, fd: int, event: int, callback: Callback | None) -> None:
        try:
            key = self._selector.get_key(fd)
        except KeyError:
            if callback is not None:
                self._selector.register(fd, event, {event: callback})
            return
        callbacks: dict[int, Callback] = key.data
        if callback is None:
            callbacks.pop(event, None)
        else:
            callbacks[event] = callback
        if not callbacks:
            self._selector.unregister(fd)
        elif key.events != sum(callbacks):
            self._selector.modify(fd, sum(callbacks), callbacks)

    def forget(self, fd: int) -> None:
        """Stop listening to `fd`; to be called before it is closed."""
        with suppress(KeyError):
            # Emptied, because this turn may hold an event for it still, and the number may be another's by
            # then.
            self._selector.unregister(fd).data.clear()

    def call_later(self, delay_s: float, callback: Callback) -> Timer:
        if len(self._timers) >= self._sweep_at:
            # A deadline for each request, cancelled by its answer, would otherwise stay until it is due.
            self._timers = [timer for timer in self._timers if timer.callback is not None]
            heapq.heapify(self._timers)
            self._sweep_at = max(_SWEEP_TIMERS_AT, 2 * len(self._timers))
        timer = Timer(time.monotonic() + delay_s, callback)
        heapq.heappush(self._timers, timer)
        return timer

    def call_soon(self, callback: Callback) -> None:
        """From the serving thread: call after the descriptors that are ready now."""
        self._calls.append(callback)

    def call_from_thread(self, callback: Callback) -> None:
        """From any thread or a signal handler: call `callback` on the serving thread, soon. No effect once
        closed."""
        self._calls.append(callback)
        self._wake()

    def stop(self) -> None:
        """From any thread or a signal handler: let `run` return after this turn."""
        self._stopping = True
        self._wake()  # a signal alone does not end the wait: Python resumes it (PEP 475)

    def _wake(self) -> None:
        with suppress(OSError):  # full: it wakes anyway; closed: nobody is left to wake
            os.write(self._wake_write, b"\0")

    def run(self) -> None:
        """Run until `stop`."""
        while not self._stopping:
            self.run_once()

    def run_once(self, longest_wait_s: float | None = None) -> None:
        """One turn: wait for a descriptor, a timer or a call, then run what is due."""
        for key, mask in self._selector.select(self._wait_s(longest_wait_s)):
            callbacks: dict[int, Callback] = key.data
            for event in (selectors.EVENT_READ, selectors.EVENT_WRITE):
                if mask & event and event in callbacks:
                    self._run(callbacks[event])
        if self._timers:
            now = time.monotonic()
            while self._timers and self._timers[0].due <= now:
                timer = heapq.heappop(self._timers)
                if timer.callback is not None:
                    self._run(timer.callback)
        for _ in range(len(self._calls)):
            self._run(self._calls.popleft())

    def _wait_s(self, longest_s: float | None) -> float | None:
        if self._calls or self._stopping:
            return 0.0
        while self._timers and self._timers[0].callback is None:
            heapq.heappop(self._timers)
        if not self._timers:
            return longest_s
        wait = max(0.0, self._timers[0].due - time.monotonic())
        return wait if longest_s is None else min(wait, longest_s)

    def _run(self, callback: Callback) -> None:
        began = time.monotonic()
        try:
            callback()
        except Exception as bug:  # noqa: BLE001 - one of the four seams of errors.py: a bug must not end the loop
            self._on_bug(bug)
        took_s = time.monotonic() - began
        if took_s > self._slow_s and self.on_slow is not None:
            self.on_slow(callback, took_s)

    def _drain_wakeups(self) -> None:
        with suppress(BlockingIOError):
            os.read(self._wake_read, 4096)

    def close(self) -> None:
        self._selector.close()
        os.close(self._wake_read)
        # A worker thread may finish later; it must not write into whatever gets this number next.
        wake_write, self._wake_write = self._wake_write, -1
        os.close(wake_write)
