"""The reader of the start path: cheap, and never in the way."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import msgpack
import pytest

from gitwatchd.store.cache_reader import COLUMNS, SCHEMA, TABLE, load


def make(path: Path, *rows: tuple[object, ...], schema: int = SCHEMA) -> bytes:
    connection = sqlite3.connect(path)
    connection.execute(f"CREATE TABLE {TABLE} ({', '.join(COLUMNS)})")
    connection.executemany(f"INSERT INTO {TABLE} VALUES ({','.join('?' * len(COLUMNS))})", rows)  # noqa: S608
    connection.execute(f"PRAGMA user_version = {schema}")
    connection.commit()
    connection.close()
    return os.fsencode(path)


GOOD = (b"/a", b"/a/.git", b"/a/.git", 0, msgpack.packb({"branch": "m"}), None, 1.0, 2.0, None)


def test_no_file_is_no_fault(tmp_path: Path) -> None:
    loaded = load(os.fsencode(tmp_path / "none" / "c.db"))
    assert loaded.repositories == [] and loaded.reason is None


@pytest.mark.parametrize("name", ["a?b#c%41.db", "\udcff.db"])
def test_any_file_name(tmp_path: Path, name: str) -> None:
    assert len(load(make(tmp_path / name, GOOD)).repositories) == 1
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("column", "value"),
    [
        (0, "text"),
        (0, None),
        (4, None),
        (4, b"\xc1"),
        (4, b"\x93\x01"),
        (4, b"\x01"),
        (5, "text"),
        (6, "soon"),
        (8, 1),
    ],
)
def test_a_row_of_other_types_is_damage(tmp_path: Path, column: int, value: object) -> None:
    bad = (*GOOD[:column], value, *GOOD[column + 1 :])
    loaded = load(make(tmp_path / "c.db", GOOD, bad))
    assert loaded.repositories == [] and loaded.reason is not None and "damaged" in loaded.reason


@pytest.mark.parametrize("schema", [SCHEMA - 1, SCHEMA + 1])
def test_another_schema_is_not_read(tmp_path: Path, schema: int) -> None:
    loaded = load(make(tmp_path / "c.db", GOOD, schema=schema))
    assert loaded.repositories == [] and str(schema) in str(loaded.reason)


def test_a_directory_in_its_place(tmp_path: Path) -> None:
    loaded = load(os.fsencode(tmp_path))
    assert loaded.repositories == [] and "cannot be read" in str(loaded.reason)


def test_a_rollback_journal_left_by_a_killed_writer_is_played_back(tmp_path: Path) -> None:
    path = make(tmp_path / "c.db", GOOD)
    code = """
import os, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute("PRAGMA cache_size = 1"); c.execute("PRAGMA cache_spill = 1")
c.execute("BEGIN")
c.execute("DELETE FROM repository")
rows = [(b"x%d" % n, b"x" * 3000) for n in range(200)]
c.executemany("INSERT INTO repository (path, facts) VALUES (?, ?)", rows)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code, os.fsdecode(path)], check=False)
    assert (tmp_path / "c.db-journal").stat().st_size > 0
    loaded = load(path)
    assert loaded.reason is None and [r.location.path for r in loaded.repositories] == [b"/a"]


def test_importing_the_start_path_pulls_nothing_heavy() -> None:
    code = """
import sys
import gitwatchd.store.cache_reader, gitwatchd.store.intent, gitwatchd.store.cache
import gitwatchd.daemon.lock, gitwatchd.daemon.notify, gitwatchd.daemon.logs
heavy = "sqlite_utils", "pygit2", "watchdog", "asyncio", "click", "logging.handlers", "urllib.parse"
print([m for m in heavy if m in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"
