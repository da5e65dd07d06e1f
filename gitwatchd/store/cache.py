"""Write reports to the cache, behind the daemon's back.

Owns: the cache file and its only writing connection. Runs: `Cache`'s methods on the serving thread, where
they only note what is to be written; the file is opened and written on one thread of its own, which sleeps
when there is nothing to do.
Invariant: the file is disposable. Damaged, of another schema, or gone, it is made anew (aside, then
`os.replace`) and `on_rebuilt` is called, so that the owner of the reports may save them again.
Invariant: what was noted is written in the end or replaced by something newer; a failure (full disk,
read-only directory, locked) keeps it, is told by `problem`, and is tried again.
Never: raises into the serving thread; keeps what the user decided (that is `intent.py`).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgpack

from gitwatchd.model.repository import RepoPath
from gitwatchd.mounts import read_mounts
from gitwatchd.store.cache_reader import COLUMNS, SCHEMA, TABLE, CachedRepository, uri
from gitwatchd.store.private_file import create_private, identity_of

if TYPE_CHECKING:
    from sqlite_utils import Database

_log = logging.getLogger(__name__)

KEPT_UNASKED_S = 90 * 86400.0
_BATCH_WINDOW_S = 2.0
"""A repository in which something writes and somebody asks all the time costs one write in this time."""
_TOUCH_WINDOW_S = 60.0
"""Times of questions alone are worth one write a minute."""
_RETRY_S = 60.0
_BUSY_S = 5.0
_WAL_BYTES = 1 << 20

_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COLUMN_TYPES: dict[str, type] = {
    "path": bytes, "git_dir": bytes, "common_dir": bytes, "bare": int, "facts": bytes, "entries": bytes,
    "verified_at": float, "asked_at": float, "fingerprint": bytes,
}  # fmt: skip
_MAY_BE_NULL = frozenset({"entries", "fingerprint"})
_LOCAL_FILE_SYSTEMS = frozenset(
    ("ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs", "zfs", "bcachefs", "jfs", "reiserfs", "tmpfs", "ramfs", "overlay")
)  # fmt: skip

Row = tuple[object, ...]
"""The values of `COLUMNS`, as SQLite takes them."""


def journal_mode(file_system: str) -> str:
    """`WAL` where the file system is known to be local, else `DELETE`.

    The WAL's shared memory does not work over a network, and a file system nobody heard of may be one.
    """
    return "WAL" if file_system in _LOCAL_FILE_SYSTEMS else "DELETE"


@dataclass(slots=True)
class _Batch:
    """What is to be written, one state per repository. In order: forgotten, saved, touched, pruned."""

    forgotten: set[RepoPath] = field(default_factory=set)
    saved: dict[RepoPath, Row] = field(default_factory=dict)
    touched: dict[RepoPath, float] = field(default_factory=dict)
    prune_before: float | None = None

    def __bool__(self) -> bool:
        return bool(self.touched) or self.is_urgent()

    def is_urgent(self) -> bool:
        """It holds more than times of questions."""
        return bool(self.forgotten or self.saved or self.prune_before is not None)

    def forget(self, paths: Iterable[RepoPath]) -> None:
        for path in paths:
            self.saved.pop(path, None)
            self.touched.pop(path, None)
            self.forgotten.add(path)

    def add(self, newer: _Batch) -> None:
        self.forget(newer.forgotten)
        self.saved.update(newer.saved)
        self.touched.update(newer.touched)
        if newer.prune_before is not None:
            self.prune_before = newer.prune_before


class Cache:
    """Every method returns at once. `on_rebuilt(reason)` is called on the writer's thread."""

    def __init__(self, path: bytes, on_rebuilt: Callable[[str], None]) -> None:
        self.problem: str | None = None
        """Why the last batch could not be written (one line); None when all is well. For `doctor`."""
        self._file = _CacheFile(path, on_rebuilt)
        self._condition = threading.Condition()
        self._batch = _Batch()
        self._closing = False
        self._thread: threading.Thread | None = None

    def save(self, repository: CachedRepository) -> None:
        """Insert or replace the row of `repository.location.path`."""
        where = repository.location
        row = (
            where.path, where.git_dir, where.common_dir, int(where.bare), msgpack.packb(repository.facts),
            repository.entries, repository.verified_at, repository.asked_at, repository.fingerprint,
        )  # fmt: skip
        with self._noting() as batch:
            batch.saved[where.path] = row

    def forget(self, paths: Iterable[RepoPath]) -> None:
        with self._noting() as batch:
            batch.forget(paths)

    def touch(self, paths: Iterable[RepoPath], asked_at: float) -> None:
        """Somebody asked for these at `asked_at` (epoch seconds); unknown paths are ignored."""
        with self._noting() as batch:
            batch.touched.update(dict.fromkeys(paths, asked_at))

    def prune(self, now: float) -> None:
        """Forget what nobody asked for in the 90 days before `now` (epoch seconds).

        It starts the writer, so it is not for the first moments of a daemon.
        """
        with self._noting() as batch:
            batch.prune_before = now - KEPT_UNASKED_S

    def close(self, timeout_s: float = 5.0) -> None:
        """Write what is noted, or give up after `timeout_s`: the cache is not worth a hanging shutdown."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)

    @contextmanager
    def _noting(self) -> Iterator[_Batch]:
        with self._condition:
            before = bool(self._batch), self._batch.is_urgent()
            yield self._batch
            # A question that only adds to what is noted wakes nobody: it is the hot path.
            if before != (bool(self._batch), self._batch.is_urgent()):
                self._condition.notify_all()
            if self._thread is None:
                # Not in __init__: it imports sqlite_utils, whose 90 ms belong after the first answers.
                self._thread = threading.Thread(target=self._run, name="cache", daemon=True)
                self._thread.start()

    def _run(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._batch or self._closing)
                self._condition.wait_for(lambda: self._batch.is_urgent() or self._closing, _TOUCH_WINDOW_S)
                self._condition.wait_for(lambda: self._closing, _BATCH_WINDOW_S)
                batch, self._batch = self._batch, _Batch()
                closing = self._closing
            if batch:
                self._try_to_write(batch)
            if closing:
                self._file.close()
                return

    def _try_to_write(self, batch: _Batch) -> None:
        try:
            self._file.write(batch)
            self.problem = None
            return
        except (sqlite3.Error, OSError) as error:
            problem = f"the cache cannot be written: {error}"
        if problem != self.problem:
            _log.warning("%s", problem)
        self.problem = problem
        with self._condition:
            batch.add(self._batch)
            self._batch = batch
            self._condition.wait_for(lambda: self._closing, timeout=_RETRY_S)


class _CacheFile:
    """The file and its connection; the writer's thread only."""

    def __init__(self, path: bytes, on_rebuilt: Callable[[str], None]) -> None:
        self._path = path
        self._on_rebuilt = on_rebuilt
        self._database: Database | None = None
        self._identity: tuple[int, int] | None = None

    def write(self, batch: _Batch) -> None:
        """All of `batch` in one transaction. Raises sqlite3.Error or OSError; then nothing was written."""
        database = self._opened()
        try:
            _write(database, batch)
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            _write(self._rebuilt(f"the cache was damaged: {error}"), batch)

    def close(self) -> None:
        if self._database is not None:
            with suppress(sqlite3.Error):
                self._database.close()
        self._database = self._identity = None

    def _opened(self) -> Database:
        identity = identity_of(self._path)
        if self._database is not None:
            if identity == self._identity:
                return self._database
            # Written through the open connection, rows would go to a file without a name.
            self.close()
            if identity is None:
                return self._rebuilt("the cache file was removed")
        if identity is None:
            return self._made()
        try:
            database = self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            return self._rebuilt(f"the cache was damaged: {error}")
        reason = _unusable(database)
        return database if reason is None else self._rebuilt(reason)

    def _rebuilt(self, reason: str) -> Database:
        database = self._made()
        _log.warning("%s; made anew", reason)
        self._on_rebuilt(reason)
        return database

    def _made(self) -> Database:
        """A new, empty file in place of whatever is there. Killed at any point: the old one, or none, or the
        new.
        """
        self.close()
        directory = os.path.dirname(self._path)
        os.makedirs(directory, mode=0o700, exist_ok=True)
        aside = self._path + b".new"
        _unlink(aside, aside + b"-journal")
        create_private(aside)
        database = _connect(aside)
        try:
            database.table(TABLE).create(
                {name: _COLUMN_TYPES[name] for name in COLUMNS},
                pk="path",
                not_null=set(COLUMNS) - _MAY_BE_NULL,
            )
            database.execute(f"PRAGMA user_version = {SCHEMA}")
        finally:
            database.close()
        # A WAL is not tied to its database: the old one would be played into the new file.
        _unlink(*(self._path + suffix for suffix in (b"-wal", b"-shm", b"-journal")))
        os.replace(aside, self._path)
        return self._open()

    def _open(self) -> Database:
        database = _connect(self._path)
        self._database, self._identity = database, identity_of(self._path)
        try:
            file_system = ""
            with suppress(OSError):
                file_system = read_mounts().type_of(os.path.realpath(os.path.dirname(self._path)))
            mode = journal_mode(file_system)
            database.execute(f"PRAGMA journal_mode = {mode}")
            database.execute("PRAGMA synchronous = NORMAL")
            database.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES}")
        except sqlite3.Error:
            self.close()
            raise
        return database


def _connect(path: bytes) -> Database:
    from sqlite_utils import Database

    connection = sqlite3.connect(uri(path, "mode=rw"), uri=True, timeout=_BUSY_S)
    return Database(connection, execute_plugins=False)


def _unusable(database: Database) -> str | None:
    """Why the open file cannot serve, in one line. The check reads all pages: fine here, too dear at the
    start.
    """
    try:
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version != SCHEMA:
            return f"the cache had schema {version}, this program uses {SCHEMA}"
        verdict = database.execute("PRAGMA quick_check(1)").fetchone()[0]
        if verdict != "ok":
            return f"the cache was damaged: {' '.join(str(verdict).split())}"
        columns = {row[1] for row in database.execute(f"PRAGMA table_info({TABLE})")}
        if columns != set(COLUMNS):
            return "the cache had other columns"
    except sqlite3.DatabaseError as error:
        if not _is_damage(error):
            raise
        return f"the cache was damaged: {error}"
    return None


def _write(database: Database, batch: _Batch) -> None:
    with database.atomic():
        for path in batch.forgotten:
            database.execute(f"DELETE FROM {TABLE} WHERE path = ?", (path,))  # noqa: S608 - constants only
        if batch.saved:
            rows = (dict(zip(COLUMNS, row, strict=True)) for row in batch.saved.values())
            database.table(TABLE).insert_all(rows, pk="path", replace=True)
        for path, asked_at in batch.touched.items():
            database.execute(
                f"UPDATE {TABLE} SET asked_at = max(asked_at, ?) WHERE path = ?",  # noqa: S608 - constants
                (float(asked_at), path),
            )
        if batch.prune_before is not None:
            database.execute(f"DELETE FROM {TABLE} WHERE asked_at < ?", (batch.prune_before,))  # noqa: S608


def _is_damage(error: sqlite3.Error) -> bool:
    return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _DAMAGED


def _unlink(*paths: bytes) -> None:
    for path in paths:
        with suppress(FileNotFoundError):
            os.unlink(path)
