"""The writer: real files, real threads, real kills."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gitwatchd.model.report import Counts, Facts, facts_to_wire
from gitwatchd.model.repository import Location, RepoPath
from gitwatchd.store import cache as cache_module
from gitwatchd.store.cache import KEPT_UNASKED_S, Cache, journal_mode
from gitwatchd.store.cache_reader import CachedRepository, load

AS_NOBODY = 65534


def row(name: bytes, asked_at: float = 1.0, branch: bytes = b"main") -> CachedRepository:
    path = b"/home/u/" + name
    facts = facts_to_wire(Facts(branch=branch, counts=Counts(staged=1), summary=b"\xff latin"))
    return CachedRepository(
        Location(RepoPath(path), path + b"/.git", path + b"/.git", False),
        facts,
        b"1 M. x\0",
        5.0,
        asked_at,
        b"fp",
    )


class Written:
    """A cache in use, and what its callback said."""

    def __init__(self, path: Path) -> None:
        self.path = os.fsencode(path)
        self.rebuilt: list[str] = []
        self.cache = Cache(self.path, self.rebuilt.append)

    def names(self) -> list[bytes]:
        return [r.location.path.rsplit(b"/", 1)[1] for r in load(self.path).repositories]


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], Written]:
    monkeypatch.setattr(cache_module, "_BATCH_WINDOW_S", 0.01)
    return lambda: Written(tmp_path / "cache" / "cache.db")


def fill(path: Path, *rows: CachedRepository) -> bytes:
    """A closed cache file with these rows."""
    cache = Cache(os.fsencode(path), pytest.fail)
    for each in rows:
        cache.save(each)
    cache.close()
    return os.fsencode(path)


def test_what_was_saved_is_loaded_most_recently_asked_first(tmp_path: Path) -> None:
    bare = CachedRepository(
        Location(RepoPath(b"/srv/\xff.git"), b"/srv/\xff.git", b"/srv/\xff.git", True),
        {},
        None,
        1.5,
        2.0,
        None,
    )
    path = fill(tmp_path / "c.db", row(b"old", 1.0), bare, row(b"new", 3.0))
    assert load(path).repositories == [row(b"new", 3.0), bare, row(b"old", 1.0)]
    assert load(path).reason is None


def test_file_and_directory_are_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        cache = Cache(os.fsencode(tmp_path / "made" / "c.db"), pytest.fail)
        cache.save(row(b"a"))
        cache.close()
    finally:
        os.umask(before)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o700
    assert {f.name: f.stat().st_mode & 0o777 for f in (tmp_path / "made").iterdir()} == {"c.db": 0o600}


def test_later_notes_win_within_a_batch_and_across_batches(tmp_path: Path) -> None:
    path = fill(tmp_path / "c.db", row(b"a"), row(b"b"), row(b"c", 1.0))
    cache = Cache(path, pytest.fail)
    cache.save(row(b"a", branch=b"x"))
    cache.forget([row(b"a").location.path, row(b"b").location.path])
    cache.save(row(b"b", branch=b"again"))
    cache.touch([row(b"c").location.path, RepoPath(b"/unknown")], 9.0)
    cache.close()
    assert load(path).repositories == [row(b"c", 9.0), row(b"b", branch=b"again")]


def test_a_touch_never_goes_back_in_time(tmp_path: Path) -> None:
    path = fill(tmp_path / "c.db", row(b"a", 50.0))
    cache = Cache(path, pytest.fail)
    cache.touch([row(b"a").location.path], 3)
    cache.close()
    assert load(path).repositories == [row(b"a", 50.0)]


def test_prune_forgets_what_nobody_asked_for_in_90_days(tmp_path: Path) -> None:
    now = 10 * KEPT_UNASKED_S
    path = fill(tmp_path / "c.db", row(b"old", now - KEPT_UNASKED_S - 1), row(b"kept", now - KEPT_UNASKED_S + 1))
    cache = Cache(path, pytest.fail)
    cache.prune(now)
    cache.close()
    assert [r.location.path for r in load(path).repositories] == [b"/home/u/kept"]


def test_nothing_noted_starts_no_thread_and_makes_no_file(tmp_path: Path) -> None:
    cache = Cache(os.fsencode(tmp_path / "c.db"), pytest.fail)
    cache.close()
    assert list(tmp_path.iterdir()) == []


def test_written_while_open(written: Callable[[], Written], wait_until: Callable[..., object]) -> None:
    w = written()
    w.cache.save(row(b"a"))
    wait_until(lambda: w.names() == [b"a"])
    w.cache.save(row(b"b"))
    wait_until(lambda: sorted(w.names()) == [b"a", b"b"])
    w.cache.close()
    assert w.rebuilt == []


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (
            lambda path: path.write_bytes(b"no database at all, but long enough to have a header" * 99),
            "damaged",
        ),
        (lambda path: path.write_bytes(path.read_bytes()[:5000]), "damaged"),
        (lambda path: scribble(path, 4096, 8192), "damaged"),
        (lambda path: sql(path, "PRAGMA user_version = 2"), "schema 2"),
        (lambda path: sql(path, "PRAGMA user_version = 0"), "schema 0"),
        (lambda path: path.write_bytes(b""), "schema 0"),
        (lambda path: sql(path, "ALTER TABLE repository ADD COLUMN more"), "other columns"),
        (lambda path: sql(path, "DROP TABLE repository"), "other columns"),
    ],
    ids=["foreign", "truncated", "scribbled", "newer", "older", "empty", "columns", "table"],
)
def test_an_unusable_file_is_rebuilt_with_a_reason(
    tmp_path: Path, damage: Callable[[Path], object], reason: str
) -> None:
    fill(tmp_path / "c.db", *(row(b"%d" % n) for n in range(50)))
    damage(tmp_path / "c.db")
    w = Written(tmp_path / "c.db")
    loaded = load(w.path)
    if "columns" not in reason or "no such table" in (loaded.reason or ""):
        assert loaded.repositories == [] and loaded.reason
    w.cache.save(row(b"new"))
    w.cache.close()
    assert w.names() == [b"new"] and load(w.path).reason is None
    assert len(w.rebuilt) == 1 and reason in w.rebuilt[0] and "\n" not in w.rebuilt[0]


def scribble(path: Path, start: int, end: int) -> None:
    raw = bytearray(path.read_bytes())
    raw[start:end] = os.urandom(end - start)
    path.write_bytes(raw)


def sql(path: Path, statement: str) -> None:
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()


def test_an_old_wal_is_not_played_into_a_new_file(tmp_path: Path) -> None:
    """A WAL belongs to no database in particular: left beside a rebuilt file it would damage it."""
    path = tmp_path / "c.db"
    kill_writer_after(path, rows=40)
    assert (tmp_path / "c.db-wal").stat().st_size > 0
    path.unlink()
    w = Written(path)
    w.cache.save(row(b"new"))
    w.cache.close()
    assert w.names() == [b"new"]


def test_damage_while_open_is_healed_by_the_next_write(
    written: Callable[[], Written], wait_until: Callable[..., object]
) -> None:
    w = written()
    for n in range(200):
        w.cache.save(row(b"%d" % n))
    wait_until(lambda: len(w.names()) == 200)
    sql(Path(os.fsdecode(w.path)), "PRAGMA wal_checkpoint(TRUNCATE)")
    with open(w.path, "r+b") as file:
        file.write(os.urandom(os.stat(w.path).st_size))
    w.cache.save(row(b"next"))
    wait_until(lambda: w.names() == [b"next"])
    assert len(w.rebuilt) == 1 and "damaged" in w.rebuilt[0]
    w.cache.close()


@pytest.mark.parametrize("whole_directory", [False, True])
def test_deleted_under_us(
    written: Callable[[], Written], wait_until: Callable[..., object], whole_directory: bool
) -> None:
    w = written()
    w.cache.save(row(b"a"))
    wait_until(lambda: w.names() == [b"a"])
    directory = os.path.dirname(w.path)
    for name in os.listdir(directory) if whole_directory else [b"cache.db"]:
        os.unlink(directory + b"/" + name)
    if whole_directory:
        os.rmdir(directory)
    w.cache.save(row(b"b"))
    wait_until(lambda: w.names() == [b"b"])
    assert w.rebuilt == ["the cache file was removed"]
    w.cache.close()
    assert w.names() == [b"b"]


def test_what_cannot_be_written_is_kept_told_and_tried_again(
    written: Callable[[], Written], wait_until: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_RETRY_S", 0.02)
    w = written()
    os.makedirs(w.path)  # a directory in its place: nobody, not even root, can write that
    w.cache.save(row(b"a"))
    wait_until(lambda: w.cache.problem)
    assert "cannot be written" in str(w.cache.problem)
    w.cache.save(row(b"b"))
    os.rmdir(w.path)
    wait_until(lambda: sorted(w.names()) == [b"a", b"b"])
    wait_until(lambda: w.cache.problem is None)
    w.cache.close()


def test_locked_by_somebody_else_is_kept_for_later(
    written: Callable[[], Written], wait_until: Callable[..., object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache_module, "_RETRY_S", 0.02)
    monkeypatch.setattr(cache_module, "_BUSY_S", 0.02)
    w = written()
    w.cache.save(row(b"a"))
    wait_until(lambda: w.names() == [b"a"])
    other = sqlite3.connect(os.fsdecode(w.path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    w.cache.save(row(b"b"))
    wait_until(lambda: "locked" in str(w.cache.problem))
    assert w.names() == [b"a"]
    other.execute("ROLLBACK")
    other.close()
    wait_until(lambda: sorted(w.names()) == [b"a", b"b"])
    w.cache.close()


@pytest.fixture
def open_directory() -> Iterator[Path]:
    """A directory that another uid can reach; tmp_path's parents are closed, and are not ours to open."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


@pytest.mark.skipif(os.geteuid() != 0, reason="drops to another uid, since root ignores modes")
def test_a_read_only_directory_can_be_read_but_not_written(open_directory: Path) -> None:
    directory = open_directory
    fill(directory / "c.db", row(b"a"))
    for place, mode in ((directory / "c.db", 0o444), (directory, 0o555)):
        place.chmod(mode)
    code = f"""
import os, sys
from gitwatchd.store.cache_reader import load
from gitwatchd.store.cache import Cache
import sqlite_utils
os.setgroups([]); os.setgid({AS_NOBODY}); os.setuid({AS_NOBODY})
loaded = load(sys.argv[1].encode())
print(len(loaded.repositories), loaded.reason)
cache = Cache(sys.argv[1].encode(), print)
cache.save(loaded.repositories[0])
cache.close()
print(cache.problem)
"""
    result = python(code, directory / "c.db")
    lines = result.stdout.splitlines()
    assert lines[0] == "1 None"
    assert "cannot be written" in lines[1] and len(lines) == 2
    assert [f.name for f in directory.iterdir()] == ["c.db"]


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK) or os.geteuid() != 0, reason="mounts a small tmpfs")
def test_a_full_disk_keeps_the_last_good_state(tmp_path: Path) -> None:
    code = """
import os, subprocess, sys
from gitwatchd.store import cache as m
from tests.store.test_cache import row
m._BATCH_WINDOW_S = 0.0
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "none", sys.argv[1]], check=True)
path = os.fsencode(sys.argv[1]) + b"/c.db"
c = m.Cache(path, print); c.save(row(b"a")); c.close()
c = m.Cache(path, print)
with c._condition:  # one batch
    for n in range(2000): c.save(row(b"x" * 300 + b"%d" % n))
c.close()
print(c.problem)
from gitwatchd.store.cache_reader import load
print([r.location.path for r in load(path).repositories], load(path).reason)
"""
    place = tmp_path / "small"
    place.mkdir()
    result = subprocess.run(
        ["unshare", "--mount", sys.executable, "-c", code, place], capture_output=True, text=True, check=False
    )
    if "unshare failed" in result.stderr or "permission denied" in result.stderr.lower():
        pytest.skip("no mount namespaces here")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert "full" in lines[0]
    assert lines[-1] == "[b'/home/u/a'] None"


def python(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert result.returncode == 0, result.stderr
    return result


WRITER = """
import sys
from gitwatchd.store import cache as m
from tests.store.test_cache import row
m._BATCH_WINDOW_S = 0.0
cache = m.Cache(sys.argv[1].encode(), lambda reason: print("rebuilt", reason, flush=True))
generation = 0
while True:
    generation += 1
    with cache._condition:  # so that a batch holds whole generations
        for n in range(int(sys.argv[2])):
            cache.save(row(b"%d" % n, branch=b"%d" % generation))
    if generation == 1:
        print("go", flush=True)
"""


def start_writer(path: Path, rows: int) -> subprocess.Popen[str]:
    writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path), str(rows)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None
    assert writer.stdout.readline() == "go\n"
    return writer


def kill_writer_after(path: Path, rows: int) -> None:
    """Leave the file as a writer leaves it that is killed once it has written something."""
    writer = start_writer(path, rows)
    deadline = time.monotonic() + 60
    while not load(os.fsencode(path)).repositories:
        assert time.monotonic() < deadline
    writer.send_signal(signal.SIGKILL)
    writer.communicate()


def stamps(path: Path) -> list[int]:
    """Changes whenever a writer has written to the file or its WAL."""
    return [each.stat().st_mtime_ns for each in (path, path.with_name(path.name + "-wal")) if each.exists()]


@pytest.mark.parametrize("journal", ["WAL", "DELETE"])
def test_killed_in_the_middle_of_writing_serves_the_last_good_state(
    tmp_path: Path, wait_until: Callable[..., object], journal: str
) -> None:
    """Killed while it starts, and, every other time, once it writes without a pause."""
    path = tmp_path / "c.db"
    code = WRITER.replace("generation = 0", f"m.journal_mode = lambda *_: {journal!r}\ngeneration = 0")
    seen = 0
    for attempt in range(8):
        before = stamps(path)
        writer = subprocess.Popen([sys.executable, "-c", code, str(path), "30"], stdout=subprocess.PIPE, text=True)
        try:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "go\n"
            if attempt % 2:
                wait_until(lambda b=before: stamps(path) != b and load(os.fsencode(path)).repositories)
            with suppress(subprocess.TimeoutExpired):
                writer.wait(0.005 * attempt)
        finally:
            writer.kill()
        assert "rebuilt" not in writer.communicate()[0]
        loaded = load(os.fsencode(path))
        assert loaded.reason is None
        assert len(loaded.repositories) in ((30,) if seen else (0, 30))
        assert len({each.facts["branch"] for each in loaded.repositories}) <= 1, "half of a batch"
        seen = max(seen, len(loaded.repositories))
    assert seen == 30


@pytest.mark.parametrize(
    ("file_system", "mode"),
    [
        ("ext4", "WAL"),
        ("tmpfs", "WAL"),
        ("nfs4", "DELETE"),
        ("fuse.sshfs", "DELETE"),
        ("unheard-of", "DELETE"),
        ("", "DELETE"),
    ],
)
def test_wal_only_where_the_file_system_is_known_to_be_local(file_system: str, mode: str) -> None:
    assert journal_mode(file_system) == mode


def test_a_home_that_moved_to_the_network_loses_its_wal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fill(tmp_path / "c.db", row(b"a"))
    monkeypatch.setattr(cache_module, "journal_mode", lambda *_: "DELETE")
    cache = Cache(path, pytest.fail)
    cache.save(row(b"b"))
    cache.close()
    connection = sqlite3.connect(os.fsdecode(path))
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    connection.close()
    assert len(load(path).repositories) == 2
