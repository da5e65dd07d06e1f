"""What the user decided survives everything."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.store.intent import KEPT_UNASKED_S, SCHEMA, Intent, Root, RootKind

DAY = 86400.0


@pytest.fixture
def path(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path / "state" / "intent.db")


@pytest.fixture
def intent(path: bytes) -> Iterator[Intent]:
    opened = Intent(path)
    yield opened
    opened.close()


@pytest.fixture
def open_intent() -> Iterator[Callable[[bytes], Intent]]:
    """Opens what the test need not close."""
    opened: list[Intent] = []

    def open_(path: bytes) -> Intent:
        opened.append(Intent(path))
        return opened[-1]

    yield open_
    for intent in opened:
        intent.close()


def add(intent: Intent, path: bytes, asked_at: float = 0.0, permanent: bool = True) -> Root:
    return intent.add_root(path, RootKind.DIRECTORY, permanent=permanent, include_ignored=False, asked_at=asked_at)


def reopened(path: bytes) -> Intent:
    """What another process would read now."""
    other = Intent(path)
    other.close()
    return other


def sql(path: bytes, *statements: str) -> None:
    connection = sqlite3.connect(os.fsdecode(path))
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


def test_everything_is_on_disk_when_the_call_returns(intent: Intent, path: bytes) -> None:
    root = intent.add_root(b"/\xff", RootKind.WORKTREE, permanent=True, include_ignored=True, asked_at=7.0)
    intent.trust(b"/r", b"digest")
    other = reopened(path)
    assert other.roots() == [root] == intent.roots()
    assert other.trusted(b"/r") == b"digest" and other.trusted(b"/other") is None
    assert intent.remove_root(b"/\xff") and not intent.remove_root(b"/\xff")
    assert reopened(path).roots() == []


def test_private_under_any_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Intent(os.fsencode(tmp_path / "s" / "intent.db")).close()
    finally:
        os.umask(before)
    assert (tmp_path / "s").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "s" / "intent.db").stat().st_mode & 0o777 == 0o600


def test_trust_is_taken_back(intent: Intent, path: bytes) -> None:
    intent.trust(b"/a", b"d")
    intent.trust(b"/b", b"d")
    assert intent.distrust(b"/a")
    assert not intent.distrust(b"/a")
    assert dict(reopened(path).known_trust) == dict(intent.known_trust) == {b"/b": b"d"}


def test_asking_for_a_permanent_root_keeps_it_permanent(intent: Intent) -> None:
    intent.add_root(b"/a", RootKind.DIRECTORY, permanent=True, include_ignored=True, asked_at=1.0)
    again = add(intent, b"/a", 2.0, permanent=False)
    assert again == Root(b"/a", RootKind.DIRECTORY, True, True, 2.0)
    assert intent.roots() == [again]
    add(intent, b"/b", 1.0, permanent=False)
    assert add(intent, b"/b", 1.0, permanent=True).permanent


def test_roots_merely_asked_for_expire(intent: Intent) -> None:
    now = 100 * DAY
    add(intent, b"/for-ever", 0.0)
    add(intent, b"/old", now - KEPT_UNASKED_S - 1, permanent=False)
    add(intent, b"/recent", now - KEPT_UNASKED_S + 1, permanent=False)
    assert [root.path for root in intent.expired_roots(now)] == [b"/old"]
    intent.touch_root(b"/old", now - 5)
    assert intent.expired_roots(now) == []


def test_questions_reach_the_disk_once_an_hour_and_at_the_end(path: bytes) -> None:
    intent = Intent(path)
    add(intent, b"/a", 1000.0)
    before = os.stat(path).st_mtime_ns
    for n in range(1000):
        intent.touch_root(b"/a", 1000.0 + n)
    intent.touch_root(b"/unknown", 5.0)
    assert os.stat(path).st_mtime_ns == before
    assert intent.roots()[0].asked_at == 1999.0
    intent.touch_root(b"/a", 1000.0 + 3600.0)
    assert reopened(path).roots()[0].asked_at == 4600.0
    intent.touch_root(b"/a", 4700.0)
    intent.touch_root(b"/a", 4650.0)
    intent.close()
    assert reopened(path).roots()[0].asked_at == 4700.0


@pytest.mark.parametrize(
    ("damage", "copied"),
    [("foreign", True), ("foreign", False), ("scribbled", True), ("scribbled", False), ("cut", True), ("empty", True)],
)
def test_a_damaged_file_is_moved_aside_whole(path: bytes, damage: str, copied: bool) -> None:
    """And the copy takes its place, where there is one."""
    intent = Intent(path)
    for n in range(40):
        add(intent, b"/%d" % n)
    intent.close()
    with open(path, "r+b") as file:
        if damage in ("cut", "empty"):
            file.truncate(5000 if damage == "cut" else 0)
        else:
            file.seek(0 if damage == "foreign" else 4096)
            file.write(os.urandom(4096))
    size = os.stat(path).st_size
    with open(path, "rb") as file:
        raw = file.read()
    known = intent.roots()
    if not copied:
        os.unlink(path + b".copy")
    again = Intent(path)
    assert again.roots() == (known if copied else [])
    assert bool(again.came_back) == copied
    assert again.found_damaged is not None and os.stat(again.found_damaged).st_size == size
    with open(again.found_damaged, "rb") as file:
        assert file.read() == raw
    add(again, b"/new")
    again.close()
    assert [root.path for root in reopened(path).roots()] == [
        *(sorted(r.path for r in known) if copied else []),
        b"/new",
    ]


def test_a_damaged_copy_is_kept_as_well(path: bytes) -> None:
    intent = Intent(path)
    add(intent, b"/a")
    intent.close()
    for file in (path, path + b".copy"):
        with open(file, "wb") as damaged:
            damaged.write(b"x" * 8192)
    again = Intent(path)
    assert again.roots() == [] and again.came_back == ""
    again.close()
    left = sorted(os.listdir(os.path.dirname(path)))
    assert len([name for name in left if b".damaged-" in name]) == 2


def test_a_file_removed_while_nobody_decides_comes_back_too(intent: Intent, path: bytes) -> None:
    add(intent, b"/a")
    os.unlink(path)
    intent.keep()
    assert intent.problem is None and [root.path for root in reopened(path).roots()] == [b"/a"]
    os.unlink(path)
    os.mkdir(path)
    intent.keep()
    assert intent.problem is not None and "replaced" in intent.problem
    os.rmdir(path)
    os.unlink(path + b".copy")  # which would do as well
    intent.close()
    assert [root.path for root in reopened(path).roots()] == [b"/a"]


def test_a_file_open_to_others_is_closed_and_another_users_is_refused(path: bytes) -> None:
    intent = Intent(path)
    add(intent, b"/a")
    intent.close()
    os.chmod(path, 0o644)
    Intent(path).close()
    assert os.stat(path).st_mode & 0o777 == 0o600
    if os.geteuid():
        pytest.skip("only root can give a file away")
    os.chown(path, 65534, 65534)
    with pytest.raises(EnvironmentFailure, match="belongs to uid 65534"):
        Intent(path)


def test_a_full_database_refuses_and_keeps_what_there_was(intent: Intent, path: bytes) -> None:
    """SQLITE_FULL by an injected limit."""
    add(intent, b"/a")
    pages = intent._connection.execute("PRAGMA page_count").fetchone()[0]
    intent._connection.execute(f"PRAGMA max_page_count = {pages}")

    def add_many() -> None:
        for n in range(1000):
            add(intent, b"/%d/" % n + b"x" * 200)

    with pytest.raises(EnvironmentFailure, match="full"):
        add_many()
    known = intent.roots()
    assert b"/a" in {root.path for root in known} and reopened(path).roots() == known
    intent._connection.execute("PRAGMA max_page_count = 1000000")
    add(intent, b"/later")
    assert b"/later" in {root.path for root in reopened(path).roots()}


def test_two_damaged_files_in_one_second_are_both_kept(path: bytes) -> None:
    os.makedirs(os.path.dirname(path))
    for n in range(3):
        with open(path, "wb") as file:
            file.write(b"garbage %d" % n * 1000)
        assert reopened(path).found_damaged is not None
    assert len(os.listdir(os.path.dirname(path))) == 4


def test_a_newer_file_is_used_as_far_as_it_is_known_and_left_as_it_is(intent: Intent, path: bytes) -> None:
    add(intent, b"/a")
    intent.close()
    sql(
        path,
        f"PRAGMA user_version = {SCHEMA + 3}",
        "ALTER TABLE root ADD COLUMN colour TEXT DEFAULT 'red'",
        "CREATE TABLE operation (id)",
        "UPDATE root SET kind = 'galaxy'",
    )
    newer = Intent(path)
    assert [(root.path, root.kind) for root in newer.roots()] == [(b"/a", RootKind.DIRECTORY)]
    add(newer, b"/b")
    newer.close()
    connection = sqlite3.connect(os.fsdecode(path))
    assert connection.execute("PRAGMA user_version").fetchone() == (SCHEMA + 3,)
    assert connection.execute("SELECT count(*), min(colour) FROM root").fetchone() == (2, "red")
    connection.close()


def test_a_file_that_cannot_be_understood_is_refused_and_left_alone(intent: Intent, path: bytes) -> None:
    add(intent, b"/a")
    intent.close()
    sql(path, f"PRAGMA user_version = {SCHEMA + 3}", "ALTER TABLE root RENAME TO roots")
    with open(path, "rb") as file:
        before = file.read()
    with pytest.raises(EnvironmentFailure, match="no such table"):
        Intent(path)
    with open(path, "rb") as file:
        assert file.read() == before


def test_removed_while_the_daemon_runs_it_comes_back(intent: Intent, path: bytes) -> None:
    add(intent, b"/a")
    intent.trust(b"/r", b"d")
    os.unlink(path)
    os.unlink(path + b".copy")
    os.rmdir(os.path.dirname(path))
    add(intent, b"/b")
    other = reopened(path)
    assert [root.path for root in other.roots()] == [b"/a", b"/b"] and other.trusted(b"/r") == b"d"
    assert os.stat(path).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(os.path.dirname(path))) == [b"intent.db", b"intent.db.copy"]


def test_another_file_in_its_place_is_left_alone(intent: Intent, path: bytes, tmp_path: Path) -> None:
    add(intent, b"/a")
    backup = Intent(os.fsencode(tmp_path / "backup.db"))
    add(backup, b"/from-backup")
    backup.close()
    os.replace(tmp_path / "backup.db", path)
    with pytest.raises(EnvironmentFailure, match="replaced"):
        add(intent, b"/b")
    assert [root.path for root in intent.roots()] == [b"/a"]
    assert [root.path for root in reopened(path).roots()] == [b"/from-backup"]


def test_a_refused_write_changes_nothing_and_a_question_never_fails(intent: Intent, path: bytes) -> None:
    add(intent, b"/a", 0.0)
    other = sqlite3.connect(os.fsdecode(path), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    intent._connection.execute("PRAGMA busy_timeout = 10")
    with pytest.raises(EnvironmentFailure, match="locked") as failure:
        add(intent, b"/b")
    assert failure.value.hint
    intent.touch_root(b"/a", 9 * DAY)
    other.execute("ROLLBACK")
    other.close()
    assert [(root.path, root.asked_at) for root in intent.roots()] == [(b"/a", 9 * DAY)]
    intent.close()
    assert [(root.path, root.asked_at) for root in reopened(path).roots()] == [(b"/a", 9 * DAY)]


def test_no_place_to_keep_it_is_an_environment_failure(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFailure, match="cannot keep"):
        Intent(os.fsencode(tmp_path / "file" / "intent.db"))


WRITER = """
import sys
from gitwatchd.store.intent import Intent, RootKind
intent = Intent(sys.argv[1].encode())
n = len(intent.roots())
while True:
    intent.add_root(b"/%06d" % n, RootKind.DIRECTORY, permanent=True, include_ignored=False, asked_at=0.0)
    print(n, flush=True)
    n += 1
"""


def test_killed_in_the_middle_of_writing_nothing_promised_is_lost(path: bytes) -> None:
    promised = -1
    for attempt in range(12):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, os.fsdecode(path)], stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        said = [writer.stdout.readline()]
        try:
            writer.wait(0.011 * attempt)
        except subprocess.TimeoutExpired:
            writer.kill()
        said += writer.communicate()[0].splitlines()
        promised = max(promised, *(int(line) for line in said if line.strip()))
        again = reopened(path)
        assert again.found_damaged is None
        names = [root.path for root in again.roots()]
        assert names == [b"/%06d" % n for n in range(len(names))]
        assert len(names) in (promised + 1, promised + 2)  # one may be on disk and not yet told


# ---- two daemons of one user


def test_what_the_other_decided_is_read_before_anything_is_written(tmp_path, open_intent):
    path = os.fsencode(tmp_path / "intent.db")
    one, other = open_intent(path), open_intent(path)
    one.add_root(b"/r", RootKind.DIRECTORY, permanent=True, include_ignored=True, asked_at=1.0)
    # It does not know of that, and merely asks.
    root = other.add_root(b"/r", RootKind.DIRECTORY, permanent=False, include_ignored=False, asked_at=2.0)
    assert (root.permanent, root.include_ignored) == (True, True)
    one.add_root(b"/s", RootKind.DIRECTORY, permanent=False, include_ignored=False, asked_at=1.0)
    assert other.remove_root(b"/s") and not other.remove_root(b"/s")
    one.touch_root(b"/s", 10_000.0)  # must not bring it back
    assert [r.path for r in one.roots()] == [b"/r"]
    for intent in (one, other):
        intent.close()
    assert [(r.path, r.permanent) for r in open_intent(path).roots()] == [(b"/r", True)]


def test_reread_tells_whether_the_other_decided_anything(tmp_path, open_intent):
    path = os.fsencode(tmp_path / "intent.db")
    one, other = open_intent(path), open_intent(path)
    assert not one.reread()
    one.add_root(b"/own", RootKind.DIRECTORY, permanent=True, include_ignored=False, asked_at=1.0)
    assert not one.reread()
    other.trust(b"/r", b"digest")
    assert one.reread() and one.trusted(b"/r") == b"digest"
    assert not one.reread()
    assert other.reread() is False and [r.path for r in other.roots()] == [b"/own"]


def test_a_root_that_the_other_is_asked_about_does_not_expire(tmp_path, open_intent):
    path = os.fsencode(tmp_path / "intent.db")
    one, other = open_intent(path), open_intent(path)
    one.add_root(b"/r", RootKind.DIRECTORY, permanent=False, include_ignored=False, asked_at=1.0)
    other.reread()
    other.touch_root(b"/r", 2.0 + KEPT_UNASKED_S)
    assert one.expired_roots(3.0 + KEPT_UNASKED_S) == []


def test_two_that_write_at_once_lose_nothing(tmp_path, open_intent):
    path = os.fsencode(tmp_path / "intent.db")
    Intent(path).close()

    def add(name: str) -> None:
        intent = Intent(path)
        for number in range(10):
            root = os.fsencode(f"/{name}/{number}")
            intent.add_root(root, RootKind.DIRECTORY, permanent=True, include_ignored=False, asked_at=1.0)
        intent.close()

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(add, name) for name in ("one", "other")]:
            done.result()
    assert len(open_intent(path).roots()) == 20
