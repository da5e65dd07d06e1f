"""Successors against full parses, and differences against a comparison of every field of every entry."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gitwatchd.git.index_diff import read_successor, successor
from gitwatchd.git.index_file import Index, IndexDamaged, parse_index, read_index
from tests.zoo.commands import Git

Repository = Callable[..., Git]


def differing_names(old: Index, new: Index) -> set[bytes]:
    """The meaning of a difference, spelled out."""
    before = {old.entry(row) for row in range(len(old))}
    after = {new.entry(row) for row in range(len(new))}
    return {entry.name for entry in before ^ after}


def assert_same(index: Index, full: Index) -> None:
    assert index.names == full.names
    assert index.offsets == full.offsets
    assert index.flag_bytes == full.flag_bytes
    assert (index.raw, index.version, index.oid_bytes, index.mtime_ns, index.inexact) == (
        full.raw, full.version, full.oid_bytes, full.mtime_ns, full.inexact,
    )  # fmt: skip
    assert index.cache_tree_root() == full.cache_tree_root()


def index_path(git: Git) -> bytes:
    return os.fsencode(git.path / ".git" / "index")


def follow(git: Git, old: Index) -> tuple[Index, set[bytes]]:
    """One step of the repository's index, checked all round."""
    step = read_successor(old, index_path(git))
    full = read_index(index_path(git), old.oid_bytes)
    assert_same(step.index, full)
    assert step.changed == differing_names(old, full)
    return step.index, step.changed


@pytest.mark.parametrize(("hash_name", "oid_bytes"), [("sha1", 20), ("sha256", 32)])
@pytest.mark.parametrize("version", ["2", "4"])
def test_follows_what_git_does(repository: Repository, version: str, hash_name: str, oid_bytes: int) -> None:
    files = {f"d{n % 9}/file{n:04}": b"%d" % n for n in range(900)}
    git = repository(files, "repo", f"--object-format={hash_name}")
    git("update-index", "--index-version", version)
    index = read_index(index_path(git), oid_bytes)

    def after(*arguments: str) -> set[bytes]:
        nonlocal index
        git(*arguments)
        index, changed = follow(git, index)
        return changed

    assert after("status") == set()
    (git.path / "d3" / "file0003").write_bytes(b"changed")
    assert after("add", "d3/file0003") == {b"d3/file0003"}
    (git.path / "d3" / "a new one").write_bytes(b"new")
    assert after("add", "d3/a new one") == {b"d3/a new one"}
    for name in ("0", "d4/x", "zz"):
        (git.path / name).write_bytes(b"new")
    assert after("add", "-A") == {b"0", b"d4/x", b"zz"}
    assert after("commit", "-qm", "second") == set()
    assert after("rm", "-q", "--cached", "d0/file0000") == {b"d0/file0000"}
    assert after("update-index", "--assume-unchanged", "d1/file0001") == {b"d1/file0001"}
    assert after("update-index", "--skip-worktree", "d1/file0001") == {b"d1/file0001"}
    assert after("update-index", "--no-skip-worktree", "d1/file0001") == {b"d1/file0001"}
    (git.path / "later").write_bytes(b"")
    assert after("add", "-N", "later") == {b"later"}
    assert after("update-index", "--chmod=+x", "d2/file0002") == {b"d2/file0002"}
    (git.path / "d2" / "file0002").chmod(0o755)
    os.utime(git.path / "d5" / "file0005", ns=(0, 1_000_000_000))
    assert b"d5/file0005" in after("update-index", "-q", "--refresh")
    assert len(after("rm", "-rqf", "d6")) == 100
    after("reset", "-q", "--hard")
    after("read-tree", "--empty")
    assert len(index) == 0
    after("read-tree", "HEAD")
    assert len(index) == 904


@pytest.mark.parametrize("version", ["2", "4"])
def test_follows_a_conflict_and_its_end(repository: Repository, version: str) -> None:
    git = repository({f"f{n:03}": b"%d\n" % n for n in range(600)})
    git("update-index", "--index-version", version)
    git("checkout", "-qb", "side")
    (git.path / "f300").write_bytes(b"theirs\n")
    git("commit", "-qam", "side")
    git("checkout", "-q", "main")
    (git.path / "f300").write_bytes(b"ours\n")
    git("commit", "-qam", "main")
    index = read_index(index_path(git), 20)
    assert git.ask("merge", "side").exit == 1
    index, changed = follow(git, index)
    assert b"f300" in changed and index.conflicts() == [b"f300"]
    git("rm", "-q", "--cached", "f300")
    index, changed = follow(git, index)
    assert changed == {b"f300"}


def test_change_of_version_is_compared_entry_by_entry(repository: Repository) -> None:
    git = repository({f"f{n:03}": b"%d\n" % n for n in range(300)})
    index = read_index(index_path(git), 20)
    git("update-index", "--index-version", "4")
    index, changed = follow(git, index)
    assert index.version == 4 and changed == set()
    (git.path / "new").write_bytes(b"")
    git("add", "new")
    git("update-index", "--index-version", "2")
    assert follow(git, index)[1] == {b"new"}


def test_unchanged_rows_are_shared(repository: Repository) -> None:
    git = repository({"a": b"a", "b": b"b"})
    old = read_index(index_path(git), 20)
    (git.path / "a").write_bytes(b"changed")
    git("add", "a")
    new, changed = follow(git, old)
    assert changed == {b"a"}
    assert new.names is old.names and new.offsets is old.offsets


# Indexes made by hand: an entry is its name, stage, extended flags, and a number that fills the other fields.
Row = tuple[bytes, int, int, int]
ROWS = st.lists(
    st.tuples(
        st.text("ab/\u00ff", min_size=1, max_size=12).map(lambda text: text.encode("latin-1")),
        st.sampled_from([0, 0, 0, 0, 1, 2, 3]),
        st.sampled_from([0, 0, 0, 0x2000, 0x4000]),
        st.integers(0, 3),
    ),
    max_size=40,
)


def make_index(rows: list[Row], version: int) -> bytes:
    ordered = sorted({(name, stage): (extended, fill) for name, stage, extended, fill in rows}.items())
    raw = struct.pack(">4sII", b"DIRC", version, len(ordered))
    previous = b""
    for (name, stage), (extended, fill) in ordered:
        flags = stage << 12 | len(name) | (0x4000 if extended else 0)
        entry = struct.pack(">10I20sH", *[fill] * 10, bytes([fill] * 20), flags)
        if extended:
            entry += struct.pack(">H", extended)
        if version == 4:
            kept = next((n for n, (a, b) in enumerate(zip(previous, name, strict=False)) if a != b), None)
            kept = min(len(previous), len(name)) if kept is None else kept
            entry += bytes([len(previous) - kept]) + name[kept:] + b"\0"
        else:
            entry += name
            entry += bytes(8 - len(entry) % 8)
        raw += entry
        previous = name
    return raw + bytes(20)


VERSIONS = st.sampled_from([2, 4])


@given(base=ROWS, gone=st.sets(st.integers(0, 39)), came=ROWS, version=VERSIONS, many=st.booleans())
@settings(max_examples=200, deadline=None)
def test_any_successor_equals_the_full_parse(
    base: list[Row], gone: set[int], came: list[Row], version: int, many: bool
) -> None:
    # Many rows that never change, so that whole blocks are walked over on the way.
    ballast: list[Row] = [(b"a%04d" % n, 0, 0, 1) for n in range(700)] if many else []
    old = parse_index(make_index(base + ballast, version), 20, 1)
    kept = [row for n, row in enumerate(base) if n not in gone]
    raw = make_index(kept + ballast + came, version)
    full = parse_index(raw, 20, 2)
    step = successor(old, raw, 2)
    assert_same(step.index, full)
    assert step.changed == differing_names(old, full)


@pytest.mark.parametrize("version", [2, 4])
def test_successor_in_disorder_is_inexact(version: int) -> None:
    rows: list[Row] = [(b"%03d" % n, 0, 0, 1) for n in range(400)]
    old = parse_index(make_index(rows, version), 20, 1)
    at, until = old.offsets[200], old.offsets[201]
    raw = old.raw[:8] + struct.pack(">I", 401) + old.raw[12:until] + old.raw[at:until] + old.raw[until:]
    if version == 4:
        raw = raw[:until] + raw[at : at + 62] + b"\x03200\0" + old.raw[until:]
    step = successor(old, raw, 1)
    assert step.index.inexact is not None
    assert_same(step.index, parse_index(raw, 20, 1))
    # And back to order from there.
    back = successor(step.index, old.raw, 1)
    assert_same(back.index, old)
    assert back.changed == differing_names(step.index, old)


@pytest.mark.parametrize("count", [1, 299, 301, 0xFFFFFFFF])
def test_successor_with_a_wrong_count_is_damaged(count: int) -> None:
    old = parse_index(make_index([(b"%03d" % n, 0, 0, 1) for n in range(300)], 2), 20, 1)
    raw = old.raw[:8] + struct.pack(">I", count) + old.raw[12:]
    for damaged in (lambda: parse_index(raw, 20, 1), lambda: successor(old, raw, 1)):
        with pytest.raises(IndexDamaged):
            damaged()


@pytest.mark.parametrize("version", [2, 4])
def test_damaged_successor_is_refused_like_the_full_parse(version: int) -> None:
    rows: list[Row] = [(b"%03d" % n, n % 4, 0x4000 * (n % 2), 1) for n in range(30)]
    old = parse_index(make_index(rows, version), 20, 1)
    new = make_index([*rows[:10], (b"0095", 0, 0, 1), *rows[12:]], version)
    for at in range(len(new)):
        for damaged in (new[:at], new[:at] + b"\xff" + new[at + 1 :], new[:at] + b"\0" + new[at + 1 :]):
            try:
                full = parse_index(damaged, 20, 2)
            except IndexDamaged:
                with pytest.raises(IndexDamaged):
                    successor(old, damaged, 2)
            else:
                step = successor(old, damaged, 2)
                assert_same(step.index, full)
                assert step.changed == differing_names(old, full)
