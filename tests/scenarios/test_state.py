"""What the daemon keeps on disk cannot be written, is of another version, is removed, or grows.

(A full disk is in `test_exhaustion.py`, a damaged cache in `test_restart.py`, a kill in `tests/kill_loop.py`.)
"""

from __future__ import annotations

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from gitwatchd.daemon.logs import FILES, MAX_FILE_BYTES
from gitwatchd.wire.rpc import FAILED, RemoteError
from tests.scenarios.commands import WITHOUT_PRIVILEGE, Gitwatch
from tests.zoo.commands import Git, judge
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

Start = Callable[..., Daemon]


@pytest.fixture
def git(repository: Callable[..., Git]) -> Git:
    return repository({"a": b"1\n", "b": b"1\n"}, "root/one")


def permanent(client: Client) -> list[str]:
    return [root["path"] for root in client.call("roots.list") if root["permanent"]]


def problems(client: Client) -> str:
    return "\n".join(problem["what"] for problem in client.call("doctor")["problems"])


@pytest.fixture
def closing_down() -> Iterator[Callable[[Path], None]]:
    """`closing_down(directory)`: nothing can be made in it any more; undone at the end of the test."""
    closed: list[Path] = []

    def close(directory: Path) -> None:
        directory.chmod(0o500)
        closed.append(directory)

    yield close
    for directory in closed:
        if directory.exists():
            directory.chmod(0o700)


def test_a_state_directory_that_is_read_only(
    start_daemon: Start, git: Git, tmp_path: Path, closing_down: Callable[[Path], None]
) -> None:
    """Answers go on, what was decided is known, what cannot be kept is refused in one line; and it heals."""
    root, other = str(git.path.parent), str(tmp_path / "other")
    Path(other).mkdir()
    daemon = start_daemon(before=WITHOUT_PRIVILEGE)
    state, cache = daemon.state_dir, Path(os.fsdecode(daemon.places.cache_dir))
    with daemon.connect() as client:
        client.call("roots.add", root)
        assert difference(client, git.path) is None
        closing_down(state)
        closing_down(cache)
        (git.path / "a").write_bytes(b"22\n")
        assert difference(client, git.path) is None
        with pytest.raises(RemoteError, match="cannot keep roots and trust") as refused:
            client.call("roots.add", other)
        assert refused.value.code == FAILED and refused.value.hint
        assert permanent(client) == [root]
    daemon.stop()
    daemon = start_daemon(before=WITHOUT_PRIVILEGE)
    with daemon.connect() as client:
        assert permanent(client) == [root]
        (git.path / "b").write_bytes(b"22\n")
        assert difference(client, git.path) is None
        with pytest.raises(RemoteError, match="cannot keep roots and trust"):
            client.call("roots.add", other)
        wait_until(lambda: "the cache cannot be written" in problems(client), what="the doctor tells")
        state.chmod(0o700)
        cache.chmod(0o700)
        client.call("roots.add", other)
        assert permanent(client) == sorted([root, other])


@pytest.mark.parametrize("version", [0, 999])
def test_files_of_an_older_and_of_a_newer_program(start_daemon: Start, git: Git, version: int) -> None:
    """The cache is made anew; what was decided is read as far as it is known, and nothing of it is thrown away."""
    daemon = start_daemon()
    with daemon.connect() as client:
        client.call("roots.add", str(git.path.parent))
        assert difference(client, git.path) is None
    daemon.stop()
    cache, intent = (Path(os.fsdecode(path)) for path in (daemon.places.cache, daemon.places.intent))
    with closing(sqlite3.connect(cache)) as connection:
        assert connection.execute("SELECT count(*) FROM repository").fetchone() == (1,)
        connection.execute(f"PRAGMA user_version = {version}")
        connection.commit()
    with closing(sqlite3.connect(intent)) as connection:
        if version:
            connection.execute("ALTER TABLE root ADD COLUMN colour TEXT DEFAULT 'red'")
            connection.execute("CREATE TABLE operation (id)")
            connection.execute(f"PRAGMA user_version = {version}")
        else:
            # Before the first version there was an empty file.
            connection.executescript("DROP TABLE root; DROP TABLE trust; PRAGMA user_version = 0")
        connection.commit()
    (git.path / "a").write_bytes(b"22\n")
    daemon = start_daemon()
    with daemon.connect() as client:
        assert permanent(client) == ([str(git.path.parent)] if version else [])
        assert difference(client, git.path) is None
        client.call("roots.add", str(git.path))
    daemon.stop()
    with closing(sqlite3.connect(cache)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone()[0] not in (0, 999)
        assert connection.execute("SELECT count(*) FROM repository").fetchone() == (1,)
    if version:
        with closing(sqlite3.connect(intent)) as connection:
            assert connection.execute("PRAGMA user_version").fetchone() == (version,)
            assert connection.execute("SELECT count(*), min(colour) FROM root").fetchone() == (2, "red")
    with start_daemon().connect() as client:
        assert str(git.path) in permanent(client)


def test_everything_is_deleted_under_us(gitwatch: Gitwatch, git: Git, tmp_path: Path) -> None:
    """All but the socket, without which nobody could ask. The log goes on, and no decision is lost with the daemon."""
    (tmp_path / "other").mkdir()
    assert gitwatch("roots", "add", git.path.parent).returncode == 0
    assert gitwatch.porcelain(git.path) == judge(git.path)
    for entry in gitwatch.state.iterdir():
        if entry.name != "run":
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    (git.path / "a").write_bytes(b"22\n")
    assert gitwatch.porcelain(git.path) == judge(git.path)
    assert gitwatch("roots", "add", tmp_path / "other").returncode == 0
    git("commit", "-qam", "2")
    assert gitwatch.porcelain(git.path) == judge(git.path)
    with Client(gitwatch.places.socket) as client:
        garbage(gitwatch)
        assert "closing a connection" in gitwatch.log()
        os.kill(client.hello["pid"], 9)
    listed = gitwatch("roots", "list").stdout
    assert os.fsencode(git.path.parent) in listed and os.fsencode(tmp_path / "other") in listed
    assert gitwatch.porcelain(git.path) == judge(git.path)
    modes = {p.stat().st_mode & 0o777 for p in gitwatch.state.rglob("*") if p.is_file()}
    assert modes == {0o600}


def garbage(gitwatch: Gitwatch) -> None:
    """A line in the log."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(20.0)
        peer.connect(gitwatch.places.socket)
        peer.sendall(b"\xc1")
        while peer.recv(1 << 16):
            pass


def test_the_log_is_rotated(gitwatch: Gitwatch, git: Git) -> None:
    """With a daemon that runs as it does for a user, detached: three files, private, and the newest lines are shown."""
    gitwatch.state.mkdir()
    log = Path(os.fsdecode(gitwatch.places.log))
    for name, line in ((f"{log.name}.2", b"oldest\n"), (f"{log.name}.1", b"older\n"), (log.name, b"before\n")):
        path = log.with_name(name)
        path.write_bytes(line)
        path.chmod(0o644)
    with log.open("ab") as file:  # lines of half a megabyte, up to a few hundred bytes below the limit
        file.write((b"x" * ((1 << 19) - 1) + b"\n") * (MAX_FILE_BYTES // (1 << 19) - 1))
        file.write(b"x" * (MAX_FILE_BYTES - file.tell() - 300) + b"\n")
    assert gitwatch.porcelain(git.path) == judge(git.path)
    number = 0
    while b"before\n" not in log.with_name(f"{log.name}.1").read_bytes()[:10]:
        garbage(gitwatch)
        number += 1
        assert number < 100, "it is never rotated"
    garbage(gitwatch)
    files = sorted(path.name for path in log.parent.glob(f"{log.name}*"))
    assert files == [log.name, *(f"{log.name}.{n}" for n in range(1, FILES))]
    assert log.with_name(f"{log.name}.2").read_bytes() == b"older\n"
    assert {log.with_name(name).stat().st_mode & 0o777 for name in files} == {0o600}
    assert log.stat().st_size < 10_000
    assert b"closing a connection" in gitwatch("daemon", "logs").stdout
    assert gitwatch.porcelain(git.path) == judge(git.path)
