"""Real directories and a real queue; lost and impossible events are put into it by hand."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gitwatchd.watch import platform
from gitwatchd.watch.changes import Role
from gitwatchd.watch.events import (
    CREATE,
    IGNORED,
    ISDIR,
    OVERFLOW,
    UNMOUNT,
    InstanceLimitReached,
    WatchLimitReached,
)
from gitwatchd.watch.inotify import InotifyQueue
from gitwatchd.watch.table import Allowance, WatchTable, path_below


class Noting:
    def __init__(self) -> None:
        self.noted: list[tuple[Role, bytes, int, bytes]] = []
        self.losses = 0

    def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
        self.noted.append((role, prefix, mask, name))

    def lost(self) -> None:
        self.losses += 1

    def names(self) -> list[bytes]:
        names = [prefix + name for _, prefix, _, name in self.noted]
        self.noted.clear()
        return names


@pytest.fixture
def table() -> Iterator[WatchTable]:
    table = WatchTable()
    yield table
    check(table)
    table.close()


@pytest.fixture
def top(tmp_path: Path) -> bytes:
    return os.fsencode(tmp_path.resolve())


def check(table: WatchTable) -> None:
    """Every map tells the same."""
    directories = [directory for same in table._by_wd.values() for directory in same]
    assert {d.path for d in directories} == table._by_path.keys()
    assert len(directories) == len(table._by_path)
    for path, directory in table._by_path.items():
        assert directory.path == path
        assert directory.owners, "watched for nobody"
        for child in (directory.children or {}).values():
            assert table._by_path[child.path] is child
    for sink, paths in table._of_sink.items():
        owned = {path for path, d in table._by_path.items() if any(owner[0] is sink for owner in d.owners)}
        assert owned == paths


def watch(table: WatchTable, sink: Noting, top: bytes, *relative: bytes) -> None:
    for name in relative:
        path = top + b"/" + name if name else top
        os.makedirs(path, exist_ok=True)
        table.add(path, sink, Role.WORKTREE, name + b"/" if name else b"")


def inject(table: WatchTable, *events: tuple[int, int, bytes]) -> None:
    assert table.queue is not None
    with table.lock:
        table._apply(list(events))


def wd_of(table: WatchTable, path: bytes) -> int:
    return table._by_path[path].wd


def test_events_reach_the_owner_with_the_prefix_of_the_directory(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    os.mkdir(top + b"/a")
    watch(table, sink, top, b"", b"a")
    assert table.drain() is False
    os.mkdir(top + b"/a/b")
    assert table.drain() is True
    assert sink.noted == [(Role.WORKTREE, b"a/", CREATE | ISDIR, b"b")]
    assert table.take_touched() == {sink}
    assert table.take_touched() == set()
    assert table.events == 1


def test_every_owner_of_a_directory_is_told(table: WatchTable, top: bytes) -> None:
    one, other = Noting(), Noting()
    table.add(top, one, Role.WORKTREE, b"")
    table.add(top, other, Role.NESTED, b"inner/")
    table.add(top, other, Role.NESTED, b"inner/")
    os.mkdir(top + b"/x")
    table.drain()
    assert [len(one.noted), len(other.noted), len(table)] == [1, 1, 1]


def test_a_moved_directory_is_no_longer_watched_under_its_old_path(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    watch(table, sink, top, b"", b"a", b"a/b", b"ab")
    os.rename(top + b"/a", top + b"/c")
    table.drain()
    assert table._by_path.keys() == {top, top + b"/ab"}
    sink.noted.clear()
    open(top + b"/c/b/f", "w").close()
    table.drain()
    assert sink.noted == []


def test_who_watches_below_a_directory_that_moves_is_told_though_only_its_parent_s_owner_sees_it(
    table: WatchTable, top: bytes
) -> None:
    """The events of the directory itself come later, when its descriptor is known to nobody any more."""
    outer, inner = Noting(), Noting()
    os.makedirs(top + b"/a/inner/b")
    watch(table, outer, top, b"", b"a")
    watch(table, inner, top, b"a/inner", b"a/inner/b")
    os.rename(top + b"/a", top + b"/away")
    os.rename(top + b"/away", top + b"/a")
    assert table.drain()
    assert (outer.losses, inner.losses) == (0, 1)
    assert table.take_touched() == {outer, inner}


def test_a_directory_moved_out_and_a_deleted_one_leave_nothing(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    watch(table, sink, top, b"", b"in", b"in/a", b"in/b", b"out")
    table.withdraw(top + b"/out", sink)
    os.rename(top + b"/in/a", top + b"/out/a")
    shutil.rmtree(top + b"/in")
    table.drain()
    assert table._by_path.keys() == {top}
    assert len(table) == 1 == table.count(sink)


def test_a_new_directory_at_the_path_of_a_moved_one_is_not_taken_for_it(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    watch(table, sink, top, b"", b"a", b"a/b")
    os.rename(top + b"/a", top + b"/c")
    os.mkdir(top + b"/a")
    watch(table, sink, top, b"a")  # a walk, before the events are read
    os.mkdir(top + b"/a/x")
    os.mkdir(top + b"/c/y")
    table.drain()
    assert b"a/y" not in sink.names()


def test_the_same_inode_under_two_paths_until_the_move_is_read(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    watch(table, sink, top, b"", b"a")
    os.rename(top + b"/a", top + b"/b")
    watch(table, sink, top, b"b")  # the walk is faster than the event
    assert wd_of(table, top + b"/a") == wd_of(table, top + b"/b")
    assert len(table) == 2
    table.drain()
    assert table._by_path.keys() == {top, top + b"/b"}
    sink.noted.clear()
    os.mkdir(top + b"/b/x")
    table.drain()
    assert sink.names() == [b"b/x"]


def test_a_parent_watched_after_its_child_is_dropped_with_it_all_the_same(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    watch(table, sink, top, b"a", b"a/b", b"")
    os.rename(top + b"/a", top + b"/c")
    table.drain()
    assert table._by_path.keys() == {top}


def test_withdraw_ends_one_owner_s_watches_below_a_path(table: WatchTable, top: bytes) -> None:
    one, other = Noting(), Noting()
    watch(table, one, top, b"", b"a", b"a/b", b"ab")
    watch(table, other, top, b"a/b")
    table.withdraw(top + b"/a", one)
    assert table._by_path.keys() == {top, top + b"/a/b", top + b"/ab"}
    assert (table.count(one), table.count(other)) == (2, 1)


def test_withdraw_as_one_role_keeps_the_other(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    watch(table, sink, top, b"a", b"a/b")
    table.add(top + b"/a", sink, Role.NESTED, b"a/")
    table.withdraw(top + b"/a", sink, Role.WORKTREE)
    assert table._by_path.keys() == {top + b"/a"}
    os.mkdir(top + b"/a/c")
    table.drain()
    assert {role for role, _, _, name in sink.noted if name == b"c"} == {Role.NESTED}


def test_release_ends_what_only_that_sink_wanted(table: WatchTable, top: bytes) -> None:
    one, other = Noting(), Noting()
    watch(table, one, top, b"", b"a")
    watch(table, other, top, b"a")
    os.mkdir(top + b"/a/b")
    table.drain()
    table.release(one)
    assert table.take_touched() == {other}
    assert table._by_path.keys() == {top + b"/a"}
    table.release(other)
    table.release(other)
    assert len(table) == 0 == table.count(other)
    assert table._of_sink == {}


def test_overflow_makes_everybody_lose(table: WatchTable, top: bytes) -> None:
    one, other, gone = Noting(), Noting(), Noting()
    watch(table, one, top, b"")
    watch(table, other, top, b"a")
    watch(table, gone, top, b"b")
    table.release(gone)
    inject(table, (-1, OVERFLOW, b""))
    assert (one.losses, other.losses, gone.losses, table.overflows) == (1, 1, 0, 1)
    assert table.take_touched() == {one, other}


def test_unmount_makes_its_owners_lose_and_ends_the_watch(table: WatchTable, top: bytes) -> None:
    one, other = Noting(), Noting()
    watch(table, one, top, b"a")
    watch(table, other, top, b"b")
    wd = wd_of(table, top + b"/a")
    inject(table, (wd, UNMOUNT, b""), (wd, IGNORED, b""))
    assert (one.losses, other.losses) == (1, 0)
    assert table._by_path.keys() == {top + b"/b"}


def test_events_of_a_watch_that_has_ended_are_nobody_s(table: WatchTable, top: bytes) -> None:
    sink = Noting()
    watch(table, sink, top, b"a")
    wd = wd_of(table, top + b"/a")
    table.drop_tree(top + b"/a")
    table.drop_tree(top + b"/a")
    inject(table, (wd, CREATE, b"f"), (wd, IGNORED, b""), (wd, UNMOUNT, b""))
    assert sink.noted == [] and sink.losses == 0


def test_who_loses_a_directory_to_another_inode_is_told_though_its_events_are_not_read(
    table: WatchTable, top: bytes
) -> None:
    one, other = Noting(), Noting()
    watch(table, one, top, b"a")
    watch(table, other, top, b"a/b")
    os.rename(top + b"/a", top + b"/old")
    os.mkdir(top + b"/a")
    watch(table, one, top, b"a")
    assert table.drain()
    assert (one.losses, other.losses) == (0, 1)
    assert other in table.take_touched()
    table.drain()
    assert other.losses == 1


def test_own_limit_counts_directories_once(top: bytes) -> None:
    table, sink = WatchTable(Allowance(2)), Noting()
    watch(table, sink, top, b"", b"a")
    watch(table, sink, top, b"", b"a")
    with pytest.raises(WatchLimitReached):
        watch(table, sink, top, b"b")
    table.drop_tree(top + b"/a")
    watch(table, sink, top, b"b")
    check(table)
    table.close()


def test_a_closed_table_refuses_and_is_silent(top: bytes) -> None:
    table, sink = WatchTable(), Noting()
    watch(table, sink, top, b"a")
    table.close()
    with pytest.raises(OSError, match="closed"):
        watch(table, sink, top, b"b")
    assert table.drain() is False
    table.close()


def test_without_an_instance_a_table_is_blind(top: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> InotifyQueue:
        raise InstanceLimitReached(errno.EMFILE, "none")

    monkeypatch.setattr(platform, "open_queue", none_left)
    table = WatchTable()
    with pytest.raises(InstanceLimitReached):
        watch(table, Noting(), top, b"a")
    assert table.drain() is False
    table.close()


def test_a_bug_in_a_sink_loses_no_event_silently(table: WatchTable, top: bytes) -> None:
    class Broken(Noting):
        def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
            raise ValueError(name)

    broken, sink = Broken(), Noting()
    watch(table, broken, top, b"a")
    watch(table, sink, top, b"b")
    os.mkdir(top + b"/a/x")
    os.mkdir(top + b"/b/x")
    assert table.drain()
    assert (broken.losses, sink.losses) == (1, 1)


def test_a_drain_ends_though_the_queue_is_filled_meanwhile(table: WatchTable, top: bytes) -> None:
    class Writing(Noting):
        def note(self, role: Role, prefix: bytes, mask: int, name: bytes) -> None:
            super().note(role, prefix, mask, name)
            os.mkdir(b"%s/%d" % (top, len(self.noted)))

    sink = Writing()
    watch(table, sink, top, b"")
    os.mkdir(top + b"/0")
    assert table.drain()
    assert len(sink.noted) == 1
    assert table.drain()
    assert len(sink.noted) == 2


def test_paths_below_the_root_of_the_file_system() -> None:
    assert path_below(b"/", b"a") == b"/a"
    assert path_below(b"/a", b"b") == b"/a/b"


def test_a_real_queue_overflows_and_everybody_is_told(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", _OVERFLOW, str(tmp_path)], capture_output=True, text=True, check=False
    )
    if "unshare" in done.stderr:
        pytest.skip("no user namespaces here")
    assert done.stdout.split() == ["1", "1"], done.stderr


_OVERFLOW = """
import os, sys
from gitwatchd.watch.changes import Role
from gitwatchd.watch.table import Allowance, WatchTable
class Sink:
    losses = 0
    def note(self, *_): pass
    def lost(self): self.losses += 1
# The queue's length is the whole machine's, not the namespace's: it is filled for real.
with open("/proc/sys/fs/inotify/max_queued_events") as file:
    length = int(file.read())
table, sink, top = WatchTable(), Sink(), os.fsencode(sys.argv[1])
table.add(top, sink, Role.WORKTREE, b"")
os.mkdir(top + b"/0")
for i in range(length // 2 + 1):
    os.rename(b"%s/%d" % (top, i % 2), b"%s/%d" % (top, 1 - i % 2))
table.drain()
print(sink.losses, table.overflows)
"""


def test_the_kernel_s_own_limit_of_watches(tmp_path: Path) -> None:
    done = subprocess.run(
        ["unshare", "-Ur", sys.executable, "-c", _NO_WATCHES_LEFT, str(tmp_path)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "unshare" in done.stderr or "read-only" in done.stderr.lower():
        pytest.skip("the limit cannot be lowered here")
    assert done.stdout.split() == ["3", "WatchLimitReached"], done.stderr


_NO_WATCHES_LEFT = """
import os, sys
from gitwatchd.watch.changes import Role
from gitwatchd.watch.table import Allowance, WatchTable
class Sink: pass
with open("/proc/sys/user/max_inotify_watches", "w") as file:
    file.write("3")
table, top = WatchTable(), os.fsencode(sys.argv[1])
try:
    for i in range(10):
        os.mkdir(b"%s/%d" % (top, i))
        table.add(b"%s/%d" % (top, i), Sink(), Role.WORKTREE, b"")
except OSError as error:
    print(len(table), type(error).__name__)
"""
