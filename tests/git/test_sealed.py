"""What the kernel lets a sealed git do: run git, and write its own copy of an index."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import child, sealed
from gitwatchd.git.child import Programs, run_git, seal_obstacle
from tests.zoo.commands import Git
from tests.zoo.nursery import configure

Make = Callable[..., Git]

pytestmark = pytest.mark.skipif(seal_obstacle() is not None, reason=f"not here: {seal_obstacle()}")

STATUS = ("status", "--porcelain=v2", "-z")


def rules(directory: Path | None = None) -> sealed.Rules:
    found = child._rules(child.git_path(), None if directory is None else os.fsencode(directory))
    assert found is not None
    return found


def filtered(repository: Make, settings: str, name: str = "filtered") -> Git:
    git = repository({".gitattributes": b"a filter=own\n", "a": b"1\n"}, name)
    configure(git, f'[filter "own"]\n{settings}\n')
    os.utime(git.path / "a", (1, 1))
    return git


@pytest.mark.parametrize("required", ["true", "false"])
@pytest.mark.parametrize("kind", ["clean", "process"])
@pytest.mark.parametrize("shell", ["", " #"])
def test_a_filter_driver_does_not_start(repository: Make, tmp_path: Path, kind: str, required: str, shell: str) -> None:
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\n: >{tmp_path}/ran\ncat\n")
    program.chmod(0o755)
    git = filtered(repository, f'\t{kind} = "{program}{shell}"\n\trequired = {required}\n')
    where = os.fsencode(git.path)
    answer = run_git(STATUS, cwd=where, timeout_s=10)
    assert b"cannot exec" in answer.stderr and not (tmp_path / "ran").exists()
    run_git(STATUS, cwd=where, timeout_s=10, programs=Programs.DRIVERS)
    assert (tmp_path / "ran").exists(), "the trap works"


@pytest.mark.parametrize("kind", ["clean", "process"])
def test_git_itself_as_a_filter_changes_nothing(repository: Make, kind: str) -> None:
    """It needs no shell: the kernel lets `git-stash` and its like run, but not write."""
    git = filtered(repository, f"\t{kind} = git-update-server-info\n")
    (git.path / "a").write_bytes(b"2\n")  # of the size that it has in the index: else no filter is asked
    written = git.path / ".git/info/refs"
    answer = run_git(STATUS, cwd=os.fsencode(git.path), timeout_s=10)
    assert answer.stderr and not written.exists()
    run_git(STATUS, cwd=os.fsencode(git.path), timeout_s=10, programs=Programs.DRIVERS)
    assert written.exists(), "the trap works"


def test_submodules_are_looked_at_and_their_filters_do_not_start(repository: Make, tmp_path: Path) -> None:
    inner = filtered(repository, "\tclean = cat\n", "inner")
    git = repository({"one": b"1\n"}, "outer")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", os.fspath(inner.path), "sub")
    git("commit", "-qm", "submodule")
    (git.path / "sub/new").write_bytes(b"")
    where = os.fsencode(git.path)
    answer = run_git(STATUS, cwd=where, timeout_s=10)
    assert (answer.stdout[:10], answer.stderr) == (b"1 .M S..U ", b"")
    Git(git.path / "sub")("config", "filter.own.clean", f"touch {tmp_path}/ran #")
    os.utime(git.path / "sub/a", (1, 1))
    assert b"cannot exec" in run_git(STATUS, cwd=where, timeout_s=10).stderr
    assert not (tmp_path / "ran").exists()


def test_only_the_copy_of_the_index_is_written(repository: Make, tmp_path: Path) -> None:
    git = repository({"f": b"1"})
    index = git.path / ".git/index"
    os.utime(git.path / "f", (1, 1))
    copy = tmp_path / "cache/one/copy"
    copy.parent.mkdir(parents=True)
    before = copy.write_bytes(index.read_bytes())
    assert before
    where = os.fsencode(git.path)
    run_git(["status"], cwd=where, timeout_s=10, index_file=os.fsencode(copy), refresh_index=True)
    assert copy.read_bytes() != index.read_bytes(), "git refreshed it"
    # The caller's mistake would be the user's loss: git is told to write, and may not.
    answer = run_git(["add", "f"], cwd=where, timeout_s=10)
    assert answer.returncode == 128 and b"Permission denied" in answer.stderr


def test_no_program_no_file_no_connection(tmp_path: Path) -> None:
    for attempt in (
        lambda: subprocess.run(["/bin/true"], check=True),
        lambda: subprocess.run([sys.executable, "-c", ""], check=True),
        lambda: (tmp_path / "file").write_bytes(b""),
        lambda: (tmp_path / "directory").mkdir(),
        lambda: os.symlink("x", tmp_path / "link"),
        lambda: os.rename(tmp_path / "here", tmp_path / "there"),
        lambda: os.truncate(tmp_path / "here", 0),
    ):
        (tmp_path / "here").write_bytes(b"1")
        with pytest.raises(PermissionError):
            sealed.start(rules(), attempt)
    if sealed._abi() >= 4:
        with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(PermissionError):
            sealed.start(rules(), lambda: socket.create_connection(server.getsockname(), 5))
    assert sealed.start(rules(), lambda: subprocess.run(["git", "--version"], check=True, capture_output=True)).stdout


def test_a_sealed_git_has_a_limit_of_memory_and_of_words(repository: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    git = repository({f"file-{number}": b"" for number in range(200)})
    where = os.fsencode(git.path)
    # Not a blob: those it passes on piece by piece.
    tag = git("hash-object", "-w", "-t", "tag", "--literally", "--stdin", stdin=bytes(64 << 20)).strip()
    assert run_git(["cat-file", "-s", tag], cwd=where, timeout_s=30).returncode == 0
    monkeypatch.setattr(child, "_MOST_OUTPUT_BYTES", 1000)
    with pytest.raises(EnvironmentFailure, match="says more than"):
        run_git(["ls-files"], cwd=where, timeout_s=10)
    monkeypatch.setattr(child, "_MOST_DATA_BYTES", 16 << 20)
    # It reads the object's name from its standard input, so the limit is there before it begins.
    answer = run_git(["cat-file", "--batch"], cwd=where, timeout_s=30, stdin=tag + b"\n")
    assert answer.returncode == 128 and b"memory" in answer.stderr


def test_git_does_not_wait_for_a_fifo(repository: Make) -> None:
    git = repository({"f": b"1", "d/f": b"1"})
    os.mkfifo(git.path / "d/.gitignore")
    began = time.monotonic()
    with pytest.raises(EnvironmentFailure, match="FIFO"):
        run_git(STATUS, cwd=os.fsencode(git.path), timeout_s=60)
    assert time.monotonic() - began < 30


def test_the_caller_stays_free(tmp_path: Path) -> None:
    assert sealed.start(rules(), threading.get_ident) != threading.get_ident()
    subprocess.run(["/bin/true"], check=True)
    (tmp_path / "file").write_bytes(b"")


def test_a_cache_made_anew_can_be_written_again(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    for _ in range(3):
        cache.mkdir()
        sealed.start(rules(cache), lambda: (cache / "file").write_bytes(b""))
        (cache / "file").unlink()
        (cache.with_name("spare")).mkdir()  # so that the next one has another inode
        cache.rmdir()
        with pytest.raises(OSError, match=r"file"):
            sealed.start(rules(cache), lambda: (cache / "file").write_bytes(b""))
        cache.with_name("spare").rmdir()


def test_threads_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(10):
        directory = tmp_path / str(number)
        directory.mkdir()
        sealed.start(rules(directory), lambda: None)
    assert len(sealed._threads) <= sealed._MOST_THREADS


def test_a_script_called_git_cannot_be_sealed_and_runs_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "git"
    program.write_text("#!/bin/sh\necho script\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert "is a script" in (seal_obstacle() or "")
    assert run_git(["status"], cwd=b"/", timeout_s=10).stdout == b"script\n"


def test_without_landlock_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed._find_obstacle.cache_clear()
    monkeypatch.setattr(sealed, "_abi", lambda: 0)
    try:
        assert "no Landlock" in (seal_obstacle() or "")
        assert run_git(["--version"], cwd=b"/", timeout_s=10).returncode == 0
    finally:
        sealed._find_obstacle.cache_clear()
