"""The queue that compares directories: what it tells, and that it misses nothing that a comparison can show."""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.watch import polling
from gitwatchd.watch.events import CREATE, DELETE, DELETE_SELF, IGNORED, ISDIR, MODIFY, MOVED_TO
from gitwatchd.watch.polling import PollingQueue


@pytest.fixture
def queue() -> PollingQueue:
    return PollingQueue()


def told(queue: PollingQueue) -> list[tuple[int, bytes]]:
    assert queue.queued_bytes() >= 0
    events, _size = queue.read()
    return [(mask, name) for _wd, mask, name in events]


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """What was changed so far was changed long ago."""

    def pass_by() -> None:
        now = time.time_ns() + 10 * polling.RACY_NS
        monkeypatch.setattr(polling.time, "time_ns", lambda: now)

    return pass_by


def test_what_changed_is_told_once_it_is_old(queue: PollingQueue, tmp_path: Path, later: Callable[[], None]) -> None:
    (tmp_path / "f").write_bytes(b"1")
    (tmp_path / "d").mkdir()
    queue.add(os.fsencode(tmp_path))
    assert told(queue) == [(MODIFY, b"f")], "it may have changed again in the same tick"
    later()
    told(queue)
    assert told(queue) == []
    (tmp_path / "f").write_bytes(b"22")
    (tmp_path / "d/below").touch()
    assert told(queue) == [(MODIFY, b"f")]


def test_a_second_change_that_leaves_no_trace_is_told(queue: PollingQueue, tmp_path: Path) -> None:
    """The same size within one tick of the clock: the times are equal, and only their newness tells."""
    file = tmp_path / "f"
    file.write_bytes(b"1")
    queue.add(os.fsencode(tmp_path))
    told(queue)
    for _ in range(3):
        assert told(queue) == [(MODIFY, b"f")]


def test_names_come_go_and_become_others(queue: PollingQueue, tmp_path: Path, later: Callable[[], None]) -> None:
    for name in ("gone", "replaced", "turned"):
        (tmp_path / name).write_bytes(b"1")
    (tmp_path / "dir").mkdir()
    queue.add(os.fsencode(tmp_path))
    later()
    told(queue)
    (tmp_path / "gone").unlink()
    (tmp_path / "new").touch()
    (tmp_path / "other").write_bytes(b"1")
    os.replace(tmp_path / "other", tmp_path / "replaced")
    (tmp_path / "turned").unlink()
    (tmp_path / "turned").mkdir()
    (tmp_path / "dir").rename(tmp_path / "moved")
    assert sorted(told(queue)) == sorted(
        [
            (DELETE, b"gone"), (CREATE, b"new"), (DELETE, b"replaced"), (MOVED_TO, b"replaced"),
            (DELETE, b"turned"), (MOVED_TO | ISDIR, b"turned"), (DELETE | ISDIR, b"dir"), (CREATE | ISDIR, b"moved"),
        ]
    )  # fmt: skip


def test_a_directory_that_goes_or_is_replaced_ends_its_watch(queue: PollingQueue, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        queue.add(os.fsencode(tmp_path / name))
    (tmp_path / "a").rmdir()
    os.rename(tmp_path / "b", tmp_path / "kept")
    (tmp_path / "b").mkdir()
    assert told(queue) == [(DELETE_SELF, b""), (IGNORED, b"")] * 2
    assert told(queue) == []


def test_the_same_directory_has_one_descriptor(queue: PollingQueue, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    wd = queue.add(os.fsencode(tmp_path / "d"))
    (tmp_path / "d/f").touch()
    assert queue.add(os.fsencode(tmp_path / "d")) == wd
    assert told(queue) == [(CREATE, b"f")], "asked for again, what happened before is still told"
    os.rename(tmp_path / "d", tmp_path / "e")
    assert queue.add(os.fsencode(tmp_path / "e")) == wd
    queue.remove(wd)
    queue.remove(wd)
    assert queue.add(os.fsencode(tmp_path / "e")) != wd


def test_what_is_too_large_is_refused(queue: PollingQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "MOST_ENTRIES", 5)
    for name in ("a", "b"):
        for number in range(3):
            (tmp_path / name).mkdir(exist_ok=True)
            (tmp_path / name / str(number)).touch()
    wd = queue.add(os.fsencode(tmp_path / "a"))
    with pytest.raises(OSError) as refused:  # noqa: PT011
        queue.add(os.fsencode(tmp_path / "b"))
    assert refused.value.errno == errno.EFBIG
    queue.remove(wd)
    queue.add(os.fsencode(tmp_path / "b"))
    shutil.rmtree(tmp_path / "b")
    told(queue)
    queue.add(os.fsencode(tmp_path / "a"))


@pytest.mark.parametrize(("name", "expected"), [("no", FileNotFoundError), ("f", NotADirectoryError)])
def test_what_cannot_be_watched(queue: PollingQueue, tmp_path: Path, name: str, expected: type[OSError]) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(expected):
        queue.add(os.fsencode(tmp_path / name))
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError):
        queue.add(os.fsencode(tmp_path / "link"))


def test_names_are_bytes_as_they_are(queue: PollingQueue, tmp_path: Path) -> None:
    queue.add(os.fsencode(tmp_path))
    with open(os.fsencode(tmp_path) + b"/\xff\n", "wb"):
        pass
    assert told(queue) == [(CREATE, b"\xff\n")]
