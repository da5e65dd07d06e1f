"""Read the cache of reports once, at start.

Owns: the schema's description (version, table, columns), shared with the writer in `cache.py`. Runs: any
thread, before the writer's first batch; the daemon's start path. Imports plain sqlite3 and msgpack only:
sqlite_utils costs 90 ms, which is half the budget of a restart.
Invariant: whatever is wrong with the file, the answer is "nothing known" and a reason; the cache is
disposable.
Never: writes a row, makes a file, removes a file (the writer rebuilds what cannot be used).
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass

import msgpack

from gitwatchd.model.report import Wire
from gitwatchd.model.repository import Location, RepoPath

SCHEMA = 1
"""`PRAGMA user_version` of a file that this program reads and writes; any other is rebuilt."""

TABLE = "repository"
COLUMNS = (
    "path", "git_dir", "common_dir", "bare", "facts", "entries", "verified_at", "asked_at", "fingerprint",
)  # fmt: skip

_SELECT = f"SELECT {', '.join(COLUMNS)} FROM {TABLE}"  # noqa: S608 - constants only
_BUSY_S = 0.2
"""Somebody's `sqlite3` shell may hold the file; the start of the daemon does not wait for it."""


@dataclass(frozen=True, slots=True)
class CachedRepository:
    """One row. `facts` is `facts_to_wire`'s form. Times are epoch seconds."""

    location: Location
    facts: Wire
    entries: bytes | None
    """The judge's bytes; None where git refuses (bare) or was not asked (unsafe)."""
    verified_at: float
    asked_at: float
    fingerprint: bytes | None
    """Opaque to the store: what the caller compares to tell whether anything changed while the daemon was
    away.
    """


@dataclass(frozen=True, slots=True)
class Loaded:
    repositories: list[CachedRepository]
    """Most recently asked first."""
    reason: str | None
    """One line: why the file could not be used; None when it was, or when there is none yet."""


def load(path: bytes) -> Loaded:
    """All rows of the cache file. Never raises for the file's fault."""
    if not os.path.lexists(path):
        return Loaded([], None)
    last_error: sqlite3.Error | None = None
    for address in _addresses(path):
        try:
            return _load(address)
        except sqlite3.DatabaseError as error:
            last_error = error
            if not isinstance(error, sqlite3.OperationalError):
                break  # damaged: no other way of opening makes it better
        except (ValueError, TypeError, RecursionError) as error:
            return Loaded([], f"the cache is damaged: {error!r}")
    return Loaded([], f"the cache cannot be read: {last_error}")


def uri(path: bytes, mode: str) -> str:
    """SQLite's form of a file name that may hold `?`, `#`, `%` or bytes that are not UTF-8."""
    return f"file:{''.join(f'%{byte:02X}' for byte in os.path.abspath(path))}?{mode}"


def _addresses(path: bytes) -> list[str]:
    """Ways to open the file, best first.

    Read-only is the usual one: closing it does not checkpoint the WAL, which costs a sync. But a rollback
    journal left by a killed writer needs write access to be played back. And in a directory that cannot be
    written SQLite cannot make the WAL's shared memory, so there the file is declared immutable, unless a WAL
    holds something: without it the file itself may be half of a checkpoint.
    """
    addresses = [uri(path, "mode=ro"), uri(path, "mode=rw")]
    try:
        wal_is_empty = os.stat(path + b"-wal").st_size == 0
    except OSError:
        wal_is_empty = True
    if wal_is_empty and not os.path.lexists(path + b"-journal"):
        addresses.append(uri(path, "immutable=1"))
    return addresses


def _load(address: str) -> Loaded:
    connection = sqlite3.connect(address, uri=True, timeout=_BUSY_S)
    try:
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA:
            return Loaded([], f"the cache has schema {version}, this program uses {SCHEMA}")
        repositories = [_repository(row) for row in connection.execute(_SELECT)]
    finally:
        connection.close()
    # Sorted here: ORDER BY would carry every row's blobs through SQLite's sorter.
    repositories.sort(key=lambda repository: -repository.asked_at)
    return Loaded(repositories, None)


def _repository(row: tuple[object, ...]) -> CachedRepository:
    """SQLite's columns hold values of any type, so a damaged or foreign row must not become a wrong type far
    away.
    """
    path, git_dir, common_dir, bare, facts, entries, verified_at, asked_at, fingerprint = row
    if not (
        isinstance(path, bytes)
        and isinstance(git_dir, bytes)
        and isinstance(common_dir, bytes)
        and isinstance(facts, bytes)
        and isinstance(entries, bytes | None)
        and isinstance(verified_at, float)
        and isinstance(asked_at, float)
        and isinstance(fingerprint, bytes | None)
    ):
        raise TypeError("a column holds another type")
    wire = msgpack.unpackb(facts)
    if not isinstance(wire, dict):
        raise TypeError("facts are not a map")
    location = Location(RepoPath(path), git_dir, common_dir, bool(bare))
    return CachedRepository(location, wire, entries, verified_at, asked_at, fingerprint)
