"""Keep what the user decided: roots and trust.

Owns: the intent file, its connection, and a copy of its content in memory, so that reading costs nothing.
Runs: one thread, the one that opened it (the serving thread); writes are synchronous, durable and rare. Plain
sqlite3: this is opened at the start, where sqlite_utils would cost 90 ms.
Invariant: nothing here is ever thrown away. A damaged file is renamed aside and told by `found_damaged`, and
the copy made after the last decision takes its place; one removed while the daemon runs is written back; one of
a newer program is used as it is, or refused, never changed.
Invariant: another daemon of the same user (with another XDG_RUNTIME_DIR) may use the file at the same time. What it
decided is read before anything is written, within the same transaction, and by `reread` when the file changed: no
decision is made on what is no longer so.
Invariant: only files of this user count: another's could grant trust.
Invariant: schemas only grow (new tables, new columns with defaults), so an older program may use a newer
file.
Never: a write-ahead log (the home may be on a network), a write for each question asked.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.store.private_file import create_private, identity_of, make_ours

KEPT_UNASKED_S = 14 * 86400.0
"""A directory merely asked for is forgotten after this time."""
_ASKED_RESOLUTION_S = 3600.0
"""`asked_at` on disk may lag by this much: a sync for each question would cost more than the answer."""
_BUSY_S = 2.0
_COPY = b".copy"
_UNFINISHED_S = 60.0
"""Nobody takes that long to write one."""
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)

_MIGRATIONS = (
    # 0 -> 1
    (
        """CREATE TABLE root (path BLOB PRIMARY KEY NOT NULL, kind TEXT NOT NULL, permanent INTEGER NOT NULL,
           include_ignored INTEGER NOT NULL, asked_at REAL NOT NULL)""",
        "CREATE TABLE trust (path BLOB PRIMARY KEY NOT NULL, digest BLOB NOT NULL)",
    ),
)
SCHEMA = len(_MIGRATIONS)


class RootKind(StrEnum):
    DIRECTORY = "directory"
    """Every repository beneath."""
    WORKTREE = "worktree"
    """That worktree and the repositories beneath it."""


@dataclass(frozen=True, slots=True)
class Root:
    path: bytes
    """Absolute, no symlinks, no trailing slash."""
    kind: RootKind
    permanent: bool
    """Added by `roots add`; otherwise asked for, and forgotten 14 days after the last question."""
    include_ignored: bool
    """Repositories in ignored directories count too."""
    asked_at: float
    """Epoch seconds."""


class Intent:
    """Opening raises EnvironmentFailure where there is no place to keep what the user decides."""

    def __init__(self, path: bytes) -> None:
        self.path = path
        self.found_damaged: bytes | None = None
        """Where a damaged file now lies; its content is not in use. For the log and `doctor`."""
        self.came_back = ""
        """... and what is in use in its stead, for the same."""
        self.problem: str | None = None
        """Why the file on disk is not what is known here (one line), since the last `keep`. For `doctor`."""
        self._roots: dict[bytes, Root] = {}
        self._asked: dict[bytes, float] = {}
        """Newer than what is on disk, by less than `_ASKED_RESOLUTION_S`."""
        self._trust: dict[bytes, bytes] = {}
        self._version = 0
        """Of what is known here, as `_data_version` counts."""
        try:
            self._connection = self._opened()
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(path, error) from error

    def roots(self) -> list[Root]:
        """In order of their paths."""
        return [self._current(root) for _, root in sorted(self._roots.items())]

    def add_root(self, path: bytes, kind: RootKind, *, permanent: bool, include_ignored: bool, asked_at: float) -> Root:
        """A root that is permanent stays so when merely asked for again, and so does `include_ignored`."""
        wanted = Root(path, kind, permanent, include_ignored, asked_at)
        known = self._roots.get(path)
        root = _merged(known, wanted)
        if known is not None and replace(known, asked_at=asked_at) == root:
            self.touch_root(path, asked_at)
            if path in self._roots:
                return root
        with self._writing() as connection:
            root = _merged(self._roots.get(path), wanted)
            self._store_root(connection, root)
        self._roots[path] = root
        self._asked.pop(path, None)
        return root

    def remove_root(self, path: bytes) -> bool:
        """False when it is not a root."""
        with self._writing() as connection:
            known = path in self._roots
            connection.execute("DELETE FROM root WHERE path = ?", (path,))
        self._roots.pop(path, None)
        self._asked.pop(path, None)
        return known

    def touch_root(self, path: bytes, asked_at: float) -> None:
        """Somebody asked for it at `asked_at` (epoch seconds). Unknown paths are ignored.

        Reaches the disk once an hour. Never raises: a full disk is no reason to refuse a question.
        """
        root = self._roots.get(path)
        if root is None:
            return
        if asked_at - root.asked_at >= _ASKED_RESOLUTION_S:
            try:
                with self._writing() as connection:
                    # Not the whole row: another daemon may have removed the root, or made it one for ever.
                    connection.execute(_TOUCH, (asked_at, path))
                    root = self._roots.get(path)
            except EnvironmentFailure:
                pass  # or every question would try again, and wait
            if root is None:
                return
            self._roots[path] = replace(root, asked_at=max(asked_at, root.asked_at))
        self._asked[path] = max(asked_at, self._asked.get(path, 0.0))

    def expired_roots(self, now: float) -> list[Root]:
        """Roots merely asked for, of any daemon, and not during the last 14 days; the caller removes them."""
        self.reread()
        return [root for root in self.roots() if not root.permanent and root.asked_at < now - KEPT_UNASKED_S]

    def trust(self, path: bytes, digest: bytes) -> None:
        """The user allows what `digest` stands for in the repository at `path`; an earlier digest lapses."""
        with self._writing() as connection:
            connection.execute("INSERT OR REPLACE INTO trust (path, digest) VALUES (?, ?)", (path, digest))
        self._trust[path] = digest

    def distrust(self, path: bytes) -> bool:
        """The user allows it no more. False when it was not trusted."""
        with self._writing() as connection:
            known = path in self._trust
            connection.execute("DELETE FROM trust WHERE path = ?", (path,))
        self._trust.pop(path, None)
        return known

    def trusted(self, path: bytes) -> bytes | None:
        return self._trust.get(path)

    @property
    def known_trust(self) -> Mapping[bytes, bytes]:
        """Digests by path; `reread` puts another map in its place."""
        return self._trust

    def keep(self) -> None:
        """Look after the file: one that was removed is written back before this process can end. Never raises."""
        self.problem = None
        if identity_of(self.path) != self._identity:
            try:
                self._come_back()
            except (sqlite3.Error, OSError, EnvironmentFailure) as error:
                self.problem = f"roots and trust are not on disk: {str(error).splitlines()[0]}"

    def reread(self) -> bool:
        """Take over what another daemon decided; whether it decided anything. For when the file changed. Never raises:
        while it cannot be read, what was known holds."""
        try:
            if self._data_version() == self._version:
                return False
            before = (self._roots, self._trust)
            with _transaction(self._connection, "DEFERRED"):  # one moment of all tables
                self._read(self._connection)
            self._version = self._data_version()
        except sqlite3.Error:
            return False
        return before != (self._roots, self._trust)

    def _data_version(self) -> int:
        """Changes when somebody else has written to the file; our own writes do not count."""
        return int(self._connection.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Also writes the times of the last questions, if it can."""
        with suppress(EnvironmentFailure):
            if self._asked:
                with self._writing() as connection:
                    connection.executemany(_TOUCH, [(t, path) for path, t in self._asked.items()])
        self.keep()
        self._connection.close()

    def _current(self, root: Root) -> Root:
        asked_at = self._asked.get(root.path, 0.0)
        return replace(root, asked_at=asked_at) if asked_at > root.asked_at else root

    def _store_root(self, connection: sqlite3.Connection, root: Root) -> None:
        connection.execute(
            "INSERT OR REPLACE INTO root (path, kind, permanent, include_ignored, asked_at) VALUES (?, ?, ?, ?, ?)",
            (root.path, root.kind.value, root.permanent, root.include_ignored, root.asked_at),
        )

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One durable transaction. Raises EnvironmentFailure; then nothing has changed, here or on disk."""
        try:
            if identity_of(self.path) != self._identity:
                self._come_back()
            with _transaction(self._connection):
                # Nobody else can write from here on: what is decided now rests on what the others have decided.
                if self._data_version() != self._version:
                    self._read(self._connection)
                    self._version = self._data_version()
                yield self._connection
            self._copy()
        except (sqlite3.Error, OSError) as error:
            raise _unavailable(self.path, error) from error

    def _come_back(self) -> None:
        """The file was removed or replaced while we hold it. A removed one is restored; another's is left
        alone.
        """
        if os.path.lexists(self.path):
            raise EnvironmentFailure(
                f"{os.fsdecode(self.path)} was replaced by another file while the daemon ran",
                "restart the daemon to use what it holds",
            )
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        aside = self.path + b".restored"
        with suppress(FileNotFoundError):
            os.unlink(aside)
        create_private(aside)
        connection = _connect(aside)
        try:
            self._connection.backup(connection)
        finally:
            connection.close()
        os.rename(aside, self.path)
        self._connection.close()
        self._connection = self._opened()

    def _copy(self) -> None:
        """What was decided, once more, for the day on which the file is damaged. A full disk costs only that."""
        # A name of our own: another daemon may be at it, too.
        aside = self.path + _COPY + b".new-%d-%d" % (os.getpid(), id(self))
        with suppress(sqlite3.Error, OSError):
            with suppress(FileNotFoundError):
                os.unlink(aside)
            create_private(aside)
            connection = _connect(aside)
            try:
                for quick in ("journal_mode = OFF", "synchronous = OFF"):  # nobody knows it until it has its name
                    connection.execute(f"PRAGMA {quick}")
                self._connection.backup(connection)
            finally:
                connection.close()
            fd = os.open(aside, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            os.replace(aside, self.path + _COPY)

    def _opened(self) -> sqlite3.Connection:
        """The file, checked, migrated and read into memory; a damaged one is moved aside first."""
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        if not os.path.lexists(self.path):
            create_private(self.path)
        make_ours(self.path)
        _clear_away(self.path + _COPY + b".new")
        connection = _connect(self.path)
        try:
            damage = _emptied(self.path) or _damage(connection)
            if damage is None:
                connection.execute("PRAGMA synchronous = FULL")
                _migrate(connection)
                with _transaction(connection, "DEFERRED"):
                    self._read(connection)
                    self._version = int(connection.execute("PRAGMA data_version").fetchone()[0])
                self._identity = identity_of(self.path)
                return connection
        except BaseException:
            connection.close()
            raise
        connection.close()
        moved = _move_aside(self.path)
        self.came_back = ""
        if self.found_damaged is None:
            self.found_damaged = moved
            with suppress(OSError):
                os.rename(self.path + _COPY, self.path)
                self.came_back = ": what was decided is back from its copy"
        return self._opened()

    def _read(self, connection: sqlite3.Connection) -> None:
        roots = connection.execute("SELECT path, kind, permanent, include_ignored, asked_at FROM root")
        self._roots = {
            path: Root(path, _root_kind(kind), bool(permanent), bool(include_ignored), float(asked_at))
            for path, kind, permanent, include_ignored, asked_at in roots
        }
        self._trust = dict(connection.execute("SELECT path, digest FROM trust"))


_TOUCH = "UPDATE root SET asked_at = max(asked_at, ?) WHERE path = ?"


def _merged(known: Root | None, wanted: Root) -> Root:
    """A root that is permanent stays so when merely asked for again."""
    if known is not None and known.permanent and not wanted.permanent:
        return replace(wanted, permanent=True, include_ignored=known.include_ignored)
    return wanted


def _unavailable(path: bytes, error: Exception) -> EnvironmentFailure:
    where = os.fsdecode(path)
    return EnvironmentFailure(
        f"cannot keep roots and trust in {where}: {error}",
        f"see that {os.path.dirname(where)} can be written and has room, then try again",
    )


def _root_kind(kind: str) -> RootKind:
    """A newer program's kind is treated as the most general one."""
    try:
        return RootKind(kind)
    except ValueError:
        return RootKind.DIRECTORY


def _connect(path: bytes) -> sqlite3.Connection:
    # isolation_level None: transactions are begun and ended here, PRAGMA user_version inside them.
    return sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)


def _clear_away(beginning: bytes) -> None:
    """Copies that were not finished, because whoever made them was killed."""
    directory, _, name = beginning.rpartition(b"/")
    for found in os.listdir(directory):
        path = directory + b"/" + found
        with suppress(OSError):
            if found.startswith(name) and time.time() - os.stat(path).st_mtime > _UNFINISHED_S:
                os.unlink(path)


def _emptied(path: bytes) -> str | None:
    """An empty file is a new one to SQLite; with a copy beside it, something was decided and is gone."""
    return "empty" if os.stat(path).st_size == 0 and os.path.lexists(path + _COPY) else None


def _damage(connection: sqlite3.Connection) -> str | None:
    """What is wrong with the file's structure. Raises sqlite3.Error for what is not the file's own fault."""
    try:
        verdict = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.DatabaseError as error:
        if (getattr(error, "sqlite_errorcode", 0) & 0xFF) not in _DAMAGED:
            raise
        return str(error)
    return None if verdict == "ok" else str(verdict)


def _migrate(connection: sqlite3.Connection) -> None:
    """A newer version is left as it is: if our columns are not in it, the reading that follows says so."""
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version >= SCHEMA:
        return
    with _transaction(connection):
        version = connection.execute("PRAGMA user_version").fetchone()[0]  # again: another process may have been first
        for statements in _MIGRATIONS[version:]:
            for statement in statements:
                connection.execute(statement)
        if version < SCHEMA:
            connection.execute(f"PRAGMA user_version = {SCHEMA}")


@contextmanager
def _transaction(connection: sqlite3.Connection, kind: str = "IMMEDIATE") -> Iterator[None]:
    connection.execute(f"BEGIN {kind}")
    try:
        yield
        connection.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):  # some failures have already rolled back
            connection.execute("ROLLBACK")
        raise


def _move_aside(path: bytes) -> bytes:
    """Rename the file, and its journal with it, to a name that says when; returns the new name."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ").encode()
    aside, number = path + b".damaged-" + stamp, 1
    while os.path.lexists(aside):
        aside, number = path + b".damaged-" + stamp + b"-%d" % number, number + 1
    with suppress(FileNotFoundError):
        os.rename(path + b"-journal", aside + b"-journal")
    os.rename(path, aside)
    return aside
