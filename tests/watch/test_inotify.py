"""The contract with watchdog's private names, and what the kernel's queue promises."""

from __future__ import annotations

import ctypes
import errno
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watchdog.observers import inotify_c
from watchdog.observers.inotify_c import InotifyConstants

from gitwatchd.watch import events, inotify
from gitwatchd.watch.events import (
    CLOSE_WRITE,
    CREATE,
    ISDIR,
    MODIFY,
    MOVED_FROM,
    MOVED_TO,
    InstanceLimitReached,
    WatchLimitReached,
)
from gitwatchd.watch.inotify import DIRECTORY_MASK, InotifyQueue

NOBODY = 65534


@pytest.fixture
def queue() -> Iterator[InotifyQueue]:
    queue = InotifyQueue()
    yield queue
    queue.close()


def test_the_constants_are_the_kernel_s() -> None:
    # linux/inotify.h
    assert (MODIFY, CLOSE_WRITE, CREATE, MOVED_FROM, MOVED_TO) == (0x2, 0x8, 0x100, 0x40, 0x80)
    assert (events.ATTRIB, events.DELETE, events.DELETE_SELF, events.MOVE_SELF) == (0x4, 0x200, 0x400, 0x800)
    assert (events.UNMOUNT, events.OVERFLOW, events.IGNORED, ISDIR) == (0x2000, 0x4000, 0x8000, 0x40000000)
    assert DIRECTORY_MASK == 0xFCE | 0x02000000 | 0x01000000 | 0x04000000


def test_the_mask_never_asks_for_accesses() -> None:
    in_access, in_close_nowrite, in_open = 0x1, 0x10, 0x20
    assert DIRECTORY_MASK & (in_access | in_close_nowrite | in_open) == 0


def test_watchdog_is_what_we_wrote_for(queue: InotifyQueue) -> None:
    assert isinstance(queue, threading.Thread) and not queue.is_alive()
    assert queue._closed is False
    assert list(inotify_c.InotifyFD._parse_event_buffer(b"")) == []
    assert inotify_c.libc.inotify_init1 is not None


def test_the_descriptor_does_not_block_and_is_not_inherited(queue: InotifyQueue) -> None:
    assert os.get_blocking(queue.fileno()) is False
    assert os.get_inheritable(queue.fileno()) is False
    assert queue.read() == ([], 0)


def test_events_are_queued_before_the_call_returns(queue: InotifyQueue, tmp_path: Path) -> None:
    wd = queue.add(os.fsencode(tmp_path))
    (tmp_path / "f").write_bytes(b"x")
    queued = queue.queued_bytes()
    events, size = queue.read()
    assert events == [(wd, CREATE, b"f"), (wd, MODIFY, b"f"), (wd, CLOSE_WRITE, b"f")]
    assert size == queued > 0
    assert queue.queued_bytes() == 0


def test_names_are_bytes_as_they_are(queue: InotifyQueue, tmp_path: Path) -> None:
    queue.add(os.fsencode(tmp_path))
    os.mkdir(os.fsencode(tmp_path) + b"/caf\xe9\n")
    assert [(mask, name) for _, mask, name in queue.read()[0]] == [(CREATE | ISDIR, b"caf\xe9\n")]


def test_the_same_directory_has_one_descriptor(queue: InotifyQueue, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    first = queue.add(os.fsencode(tmp_path / "d"))
    (tmp_path / "d").rename(tmp_path / "e")
    assert queue.add(os.fsencode(tmp_path / "e")) == first


def test_a_removed_watch_is_silent_and_may_be_removed_again(queue: InotifyQueue, tmp_path: Path) -> None:
    wd = queue.add(os.fsencode(tmp_path))
    queue.remove(wd)
    (tmp_path / "f").touch()
    assert [(mask, name) for _, mask, name in queue.read()[0]] == [(events.IGNORED, b"")]
    queue.remove(wd)
    queue.remove(12345)


@pytest.mark.parametrize(
    ("name", "expected"), [("missing", FileNotFoundError), ("file", NotADirectoryError), ("link", NotADirectoryError)]
)
def test_what_cannot_be_watched_says_why(
    queue: InotifyQueue, tmp_path: Path, name: str, expected: type[OSError]
) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(expected):
        queue.add(os.fsencode(tmp_path / name))


def test_a_directory_that_may_not_be_read_is_an_error_not_a_watch(tmp_path: Path) -> None:
    # watchdog's own `add_callback` swallows EACCES. Root ignores modes, so another user tries.
    done = subprocess.run(
        [sys.executable, "-c", _TRY_TO_WATCH, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.stdout == "PermissionError\n", done.stderr


_TRY_TO_WATCH = f"""
import os, sys
from gitwatchd.watch.inotify import InotifyQueue
os.chmod(sys.argv[1], 0o700)
os.chdir(sys.argv[1])
os.mkdir("closed", 0o000)
if os.getuid() == 0:
    os.chmod(sys.argv[1], 0o755)
    os.setuid({NOBODY})
try:
    InotifyQueue().add(b"closed")
except OSError as error:
    print(type(error).__name__)
"""


def test_the_kernel_s_watch_limit_has_a_type_of_its_own(
    queue: InotifyQueue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(*_arguments: object) -> int:
        ctypes.set_errno(errno.ENOSPC)
        return -1

    monkeypatch.setattr(inotify, "inotify_add_watch", no_space)
    with pytest.raises(WatchLimitReached):
        queue.add(os.fsencode(tmp_path))


def test_the_instance_limit_has_a_type_of_its_own() -> None:
    # Its own process: the limit of descriptors is the one that may be lowered without harm to others.
    done = subprocess.run([sys.executable, "-c", _TRY_TO_OPEN], capture_output=True, text=True, check=False)
    assert done.stdout == "InstanceLimitReached\n", done.stderr


_TRY_TO_OPEN = """
import resource
from gitwatchd.watch.inotify import InotifyQueue
import os
first_free = os.dup(0)
os.close(first_free)
resource.setrlimit(resource.RLIMIT_NOFILE, (first_free, first_free))
try:
    InotifyQueue()
except OSError as error:
    print(type(error).__name__)
"""


def test_closing_gives_every_descriptor_back(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(5):
        queue = InotifyQueue()
        queue.add(os.fsencode(tmp_path))
        queue.close()
        queue.close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_instance_limit_is_an_os_error() -> None:
    assert issubclass(InstanceLimitReached, OSError) and not issubclass(InstanceLimitReached, WatchLimitReached)


def test_the_words_of_all_platforms_are_the_kernel_s_own() -> None:
    for name in (
        "MODIFY", "ATTRIB", "CLOSE_WRITE", "MOVED_FROM", "MOVED_TO", "CREATE", "DELETE", "DELETE_SELF", "MOVE_SELF",
        "UNMOUNT", "IGNORED", "ISDIR",
    ):  # fmt: skip
        assert getattr(events, name) == getattr(InotifyConstants, f"IN_{name}"), name
    assert events.OVERFLOW == InotifyConstants.IN_Q_OVERFLOW
