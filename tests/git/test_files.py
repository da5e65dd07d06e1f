"""What stands where a file is expected: it is read, refused or absent, and costs no descriptor."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gitwatchd.analysis.private_index import read_snapshot
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.config_file import read_config_file
from gitwatchd.git.files import read_if_there, read_regular, read_whole
from gitwatchd.git.ignore import read_shared, worktree_reader
from gitwatchd.git.index_file import read_index_bytes

READERS: dict[str, Callable[[bytes], object]] = {
    "first bytes": lambda path: read_regular(path, 10),
    "whole": lambda path: read_whole(path, 10),
    "if there": lambda path: read_if_there(path, 10),
    "configuration": lambda path: read_config_file(path, may_be_unreadable=False),
    "index": lambda path: read_index_bytes(path, 20),
    "snapshot of an index": read_snapshot,
    "exclude file": read_shared,
    ".gitignore": lambda path: worktree_reader(os.path.dirname(path))(os.path.basename(path)),
}
KINDS: dict[str, Callable[[bytes], None]] = {
    "directory": os.mkdir,
    "FIFO": os.mkfifo,
    "device": lambda path: os.symlink(b"/dev/zero", path),
}


def lowest_free_descriptor() -> int:
    fd = os.open(os.devnull, os.O_RDONLY)
    os.close(fd)
    return fd


@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_what_is_no_file_holds_nobody_and_no_descriptor(
    tmp_path: Path, read: Callable[[bytes], object], make: Callable[[bytes], None]
) -> None:
    path = os.fsencode(tmp_path / "x")
    make(path)
    before = lowest_free_descriptor()
    found: object = None
    with suppress(OSError, EnvironmentFailure):
        found = read(path)
    assert not found
    assert lowest_free_descriptor() == before


def test_the_first_bytes_of_a_file(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "x")
    assert read_if_there(path, 10) == b""
    with pytest.raises(FileNotFoundError):
        read_regular(path, 10)
    (tmp_path / "x").write_bytes(b"0123456789")
    assert read_regular(path, 4) == read_if_there(path, 4) == b"0123"
    assert read_whole(path, 10) == b"0123456789"
    with pytest.raises(OSError, match="too big") as caught:
        read_whole(path, 9)
    assert caught.value.errno == errno.EFBIG
    os.symlink(path, path + b".link")
    assert read_regular(path + b".link", 4) == b"0123"
    with pytest.raises(OSError):  # noqa: PT011  its number depends on the system
        read_regular(path + b".link", 4, os.O_NOFOLLOW)


@pytest.mark.parametrize("size", [0, 10, 4095, 4096, 10_000])
def test_a_file_that_grows_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    (tmp_path / "x").write_bytes(b"." * size)
    look = os.fstat

    def grow(fd: int) -> os.stat_result:
        seen = look(fd)
        with (tmp_path / "x").open("ab") as file:
            file.write(b"+" * 5_000)
        return seen

    monkeypatch.setattr(os, "fstat", grow)
    assert read_regular(os.fsencode(tmp_path / "x"), 1 << 20) == b"." * size + b"+" * 5_000
    assert len(read_regular(os.fsencode(tmp_path / "x"), 12_000)) == min(size + 10_000, 12_000)
