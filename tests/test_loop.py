from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from gitwatchd.loop import Loop

WaitUntil = Callable[..., object]


@pytest.fixture
def bugs() -> list[BaseException]:
    return []


@pytest.fixture
def loop(bugs: list[BaseException]) -> Iterator[Loop]:
    loop = Loop(bugs.append)
    yield loop
    loop.close()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    one, other = socket.socketpair()
    for end in (one, other):
        end.setblocking(False)
    yield one, other
    one.close()
    other.close()


Pair = tuple[socket.socket, socket.socket]


def test_a_readable_descriptor_calls_until_it_is_forgotten(loop: Loop, pair: Pair) -> None:
    calls: list[str] = []
    loop.on_readable(pair[0].fileno(), lambda: calls.append("read"))
    loop.run_once(0)
    assert calls == []
    pair[1].send(b"x")
    loop.run_once(0)
    loop.run_once(0)
    assert calls == ["read", "read"], "level triggered: nobody read it"
    loop.forget(pair[0].fileno())
    loop.forget(pair[0].fileno())
    loop.run_once(0)
    assert calls == ["read", "read"]


def test_reading_and_writing_are_asked_for_apart(loop: Loop, pair: Pair) -> None:
    calls: list[str] = []
    fd = pair[0].fileno()
    loop.on_writable(fd, lambda: calls.append("write"))
    loop.on_readable(fd, lambda: calls.append("read"))
    pair[1].send(b"x")
    loop.run_once(0)
    assert calls == ["read", "write"]
    loop.on_writable(fd, None)
    loop.run_once(0)
    assert calls == ["read", "write", "read"]
    loop.on_readable(fd, lambda: calls.append("other"))
    loop.run_once(0)
    assert calls[3:] == ["other"]


def test_a_hang_up_is_readable(loop: Loop, pair: Pair) -> None:
    calls: list[str] = []
    loop.on_readable(pair[0].fileno(), lambda: calls.append("read"))
    pair[1].close()
    loop.run_once(0)
    assert calls == ["read"]


def test_a_descriptor_forgotten_in_a_turn_is_not_called_in_it(loop: Loop) -> None:
    pairs = [socket.socketpair() for _ in range(2)]
    calls: list[int] = []

    def close_all_but(index: int) -> None:
        calls.append(index)
        for one, _ in pairs:
            loop.forget(one.fileno())

    for index, (one, other) in enumerate(pairs):
        loop.on_readable(one.fileno(), lambda index=index: close_all_but(index))  # type: ignore[misc]
        other.send(b"x")
    loop.run_once(0)
    assert len(calls) == 1
    for one, other in pairs:
        one.close()
        other.close()


def test_a_bug_in_a_callback_is_handed_on_and_the_others_run(loop: Loop, pair: Pair, bugs: list[BaseException]) -> None:
    calls: list[str] = []

    def buggy() -> None:
        raise ZeroDivisionError

    loop.on_readable(pair[0].fileno(), buggy)
    loop.call_later(0, buggy)
    loop.call_soon(buggy)
    loop.call_soon(lambda: calls.append("after"))
    pair[1].send(b"x")
    loop.run_once(0)
    assert [type(bug) for bug in bugs] == [ZeroDivisionError] * 3
    assert calls == ["after"]


def test_timers_run_in_order_of_time_and_not_before(loop: Loop) -> None:
    calls: list[tuple[str, float]] = []
    started = time.monotonic()
    for name, delay_s in (("late", 0.04), ("soon", 0.0), ("middle", 0.02)):
        loop.call_later(delay_s, lambda name=name: calls.append((name, time.monotonic() - started)))  # type: ignore[misc]
    while len(calls) < 3:
        loop.run_once(1)
    assert [name for name, _ in calls] == ["soon", "middle", "late"]
    assert calls[1][1] >= 0.02 and calls[2][1] >= 0.04


def test_a_cancelled_timer_does_not_run_or_wake(loop: Loop) -> None:
    calls: list[str] = []
    timer = loop.call_later(0, lambda: calls.append("cancelled"))
    timer.cancel()
    timer.cancel()
    loop.call_later(0.01, lambda: calls.append("due"))
    loop.run_once(5)
    assert calls == ["due"]


def test_cancelled_timers_do_not_pile_up(loop: Loop) -> None:
    calls: list[str] = []
    kept = [loop.call_later(0.02, lambda: calls.append("kept")) for _ in range(10)]
    for _ in range(20_000):
        loop.call_later(600, lambda: None).cancel()
    assert len(loop._timers) < 1_000
    while len(calls) < len(kept):
        loop.run_once(1)


def test_a_call_made_while_calls_run_waits_for_the_next_turn(loop: Loop) -> None:
    calls: list[str] = []

    def again() -> None:
        calls.append("again")
        loop.call_soon(again)

    loop.call_soon(again)
    loop.run_once(5)
    assert calls == ["again"]
    loop.run_once(5)
    assert calls == ["again", "again"]


def test_a_call_from_a_thread_wakes_the_loop(loop: Loop) -> None:
    seen: list[int] = []

    def call() -> None:
        seen.append(threading.get_ident())
        loop.stop()

    worker = threading.Thread(target=lambda: loop.call_from_thread(call))
    loop.call_soon(worker.start)
    loop.run()
    worker.join()
    assert seen == [threading.get_ident()]


def test_no_call_from_threads_is_lost(loop: Loop) -> None:
    counted: list[int] = []

    def call_often() -> None:
        for _ in range(30_000):
            loop.call_from_thread(lambda: counted.append(1))

    threads = [threading.Thread(target=call_often) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:  # meanwhile the wake-up pipe is full: it holds 64 KB
        thread.join()
    while len(counted) < 90_000:
        loop.run_once(0)
    loop.run_once(0)
    assert loop._wait_s(1.5) == 1.5, "no wake-up is left over"


def test_stop_from_a_signal_handler_ends_the_wait(loop: Loop) -> None:
    before = signal.signal(signal.SIGUSR1, lambda *_: loop.stop())
    # The signal has to come while the loop waits, with nothing else to wake it.
    alarm = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
    alarm.start()
    try:
        loop.run()
    finally:
        signal.signal(signal.SIGUSR1, before)
        alarm.join()


def test_a_call_from_a_thread_after_the_end_writes_nowhere() -> None:
    loop = Loop(lambda bug: None)
    write_end = loop._wake_write
    loop.close()
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    taken = os.dup2(writer, write_end)
    try:
        loop.call_from_thread(lambda: None)
        loop.stop()
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        for fd in {reader, writer, taken}:
            os.close(fd)
