"""The queue on FSEvents, held against a stand-in for watchdog's extension module.

It has never run on macOS: what is tested is that it does the right thing if watchdog's `Stream` and `NativeEvent` do
what watchdog's own source takes them to do.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from gitwatchd.watch.events import CREATE, DELETE, DELETE_SELF, ISDIR, MODIFY, OVERFLOW

Callback = Callable[[list[str], list[int], list[int], list[int]], None]
_FLAGS = (
    "is_created", "is_removed", "is_renamed", "is_modified", "is_directory", "is_root_changed", "must_scan_subdirs",
    "is_user_dropped", "is_kernel_dropped", "is_inode_meta_mod",
)  # fmt: skip


class NativeEvent:
    def __init__(self, path: str, inode: int, flags: int, event_id: int) -> None:
        self.path, self.inode, self.event_id = path, inode, event_id
        for number, name in enumerate(_FLAGS):
            setattr(self, name, bool(flags >> number & 1))


def flags(*names: str) -> int:
    return sum(1 << _FLAGS.index(name) for name in names)


class Stream:
    """Delivers what `happened` in order, with a file that appears in its second path (the cookie) in its turn."""

    made: list[Stream] = []  # noqa: RUF012
    """Those that run. (watchdog's emitter makes one that we replace.)"""
    deaf = False

    def __init__(self, paths: list[str], latency: float) -> None:
        self.paths, self.latency = paths, latency
        self._wake = threading.Event()
        self._pending: list[tuple[str, int]] = []
        self._seen: set[str] = set()
        self._stopped = False

    def run(self, callback: Callback, started: Callable[[], None]) -> None:
        self.made.append(self)
        started()
        while not self._stopped:
            self._wake.wait(0.005)
            self._wake.clear()
            if self._stopped:
                return
            cookies = sorted(set(os.listdir(self.paths[1])) - self._seen) if os.path.isdir(self.paths[1]) else []
            batch, self._pending = self._pending, []
            self._seen.update(cookies)
            if not self.deaf:
                batch += [(f"{self.paths[1]}/{name}", flags("is_created")) for name in cookies]
            for path, bits in batch:
                callback([path], [1], [bits], [1])

    def happened(self, path: Path | bytes, *names: str) -> None:
        self._pending.append((os.fsdecode(path), flags(*names)))

    def stop(self) -> None:
        self._stopped = True
        self._wake.set()

    @property
    def stopped(self) -> bool:
        return self._stopped


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    fake = ModuleType("_watchdog_fsevents")
    fake.Stream, fake.NativeEvent = Stream, NativeEvent  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "_watchdog_fsevents", fake)
    for name in ("watchdog.observers.fsevents", "gitwatchd.watch.fsevents"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    Stream.made, Stream.deaf = [], False
    import gitwatchd.watch.fsevents as module

    monkeypatch.setattr(module, "COOKIE_S", 30.0)  # but where none is to come: this machine may be slow
    yield module
    for name in ("watchdog.observers.fsevents", "gitwatchd.watch.fsevents"):
        sys.modules.pop(name, None)


@pytest.fixture
def queue(module: Any) -> Iterator[Any]:
    queue = module.FSEventsQueue()
    yield queue
    queue.close()
    assert all(stream.stopped for stream in Stream.made)
    assert not os.path.exists(queue._cookies)


@pytest.fixture
def top(tmp_path: Path) -> Path:
    (tmp_path / "top/d").mkdir(parents=True)
    return (tmp_path / "top").resolve()


def watch(queue: Any, *paths: Path) -> list[int]:
    return [queue.add(os.fsencode(path)) for path in paths]


def told(queue: Any) -> list[tuple[int, int, bytes]]:
    queue.queued_bytes()
    events, _size = queue.read()
    return list(events)


def test_one_stream_for_all_below_its_first_directory(queue: Any, top: Path) -> None:
    first, below = watch(queue, top, top / "d")
    assert first != below and watch(queue, top) == [first]
    assert [stream.paths[0] for stream in Stream.made] == [str(top)]
    assert Stream.made[0].latency == 0.001


def test_what_happened_before_the_request_is_told_after_the_barrier(queue: Any, top: Path) -> None:
    wd, below = watch(queue, top, top / "d")
    for number in range(50):
        (top / "d/f").write_bytes(b"%d" % number)
        Stream.made[0].happened(top / "d/f", "is_modified", "is_created")
        assert told(queue) == [(below, CREATE | MODIFY, b"f")]
    Stream.made[0].happened(top / "gone", "is_created", "is_removed")
    assert told(queue) == [(wd, DELETE, b"gone")]
    assert told(queue) == []


def test_directories_are_walked_anew(queue: Any, top: Path) -> None:
    (wd,) = watch(queue, top)
    Stream.made[0].happened(top / "d", "is_renamed", "is_directory")
    Stream.made[0].happened(top / "left", "is_renamed", "is_directory")
    Stream.made[0].happened(top / "d", "is_modified", "is_directory")
    Stream.made[0].happened(top / "unwatched/x/f", "is_modified")
    assert told(queue) == [(wd, DELETE | ISDIR, b"d"), (wd, CREATE | ISDIR, b"d"), (wd, DELETE | ISDIR, b"left")]


@pytest.mark.parametrize("flag", ["must_scan_subdirs", "is_user_dropped", "is_kernel_dropped"])
def test_lost_events_are_told_as_such(queue: Any, top: Path, flag: str) -> None:
    watch(queue, top)
    Stream.made[0].happened(top, flag, "is_directory")
    assert told(queue) == [(-1, OVERFLOW, b"")]


def test_a_stream_that_does_not_answer_has_lost_something(
    queue: Any, module: Any, top: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch(queue, top)
    Stream.deaf = True
    monkeypatch.setattr(module, "COOKIE_S", 0.05)
    assert told(queue) == [(-1, OVERFLOW, b"")]
    Stream.deaf = False
    monkeypatch.setattr(module, "COOKIE_S", 30.0)
    assert told(queue) == []


def test_every_stream_has_to_answer(queue: Any, module: Any, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = top.parent / "other"
    other.mkdir()
    watch(queue, top, other)
    assert told(queue) == []
    Stream.made[1].stop()
    monkeypatch.setattr(module, "COOKIE_S", 0.05)
    assert told(queue) == [(-1, OVERFLOW, b"")]


def test_the_root_of_a_stream_changed(queue: Any, top: Path) -> None:
    (wd,) = watch(queue, top)
    Stream.made[0].happened(top, "is_root_changed", "is_directory")
    assert told(queue) == [(wd, DELETE_SELF, b"")]


def test_a_wider_directory_takes_over_and_the_last_one_ends_the_stream(queue: Any, top: Path) -> None:
    inner, outer = watch(queue, top / "d", top)
    assert [stream.stopped for stream in Stream.made] == [True, False]
    Stream.made[1].happened(top / "d/f", "is_created")
    assert told(queue) == [(inner, DELETE, b"f")]
    queue.remove(outer)
    assert not Stream.made[1].stopped
    queue.remove(inner)
    assert Stream.made[1].stopped


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="takes /proc for another volume")
def test_another_volume_is_refused(queue: Any, top: Path) -> None:
    with pytest.raises(OSError, match="another volume"):
        watch(queue, Path("/proc"))
    (top / "f").touch()
    with pytest.raises(NotADirectoryError):
        watch(queue, top / "f")
