"""The index against `git ls-files`, which prints every field that git itself has read from the same file."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.git.index_file import (
    ASSUME_VALID,
    INTENT_TO_ADD,
    SKIP_WORKTREE,
    Index,
    IndexDamaged,
    parse_index,
    read_index,
)
from gitwatchd.git.index_format import parse_cache_tree
from tests.zoo.commands import Git

Repository = Callable[..., Git]

# What ls-files prints of an entry with --debug -s -z, in the order of these groups.
LISTED = re.compile(
    rb"(\d+) ([0-9a-f]+) (\d)\t([^\0]+)\0"
    rb"  ctime: (\d+):(\d+)\n  mtime: (\d+):(\d+)\n  dev: (\d+)\tino: (\d+)\n  uid: (\d+)\tgid: (\d+)\n"
    rb"  size: (\d+)\tflags: ([0-9a-f]+)\n"
)


def read(git: Git, oid_bytes: int = 20) -> Index:
    return read_index(os.fsencode(git.path / ".git" / "index"), oid_bytes)


def assert_as_git_reads_it(git: Git, oid_bytes: int = 20) -> Index:
    """Every field of every entry."""
    index = read(git, oid_bytes)
    listed = LISTED.findall(git("ls-files", "-s", "-z", "--debug"))
    assert [index.entry(row).name for row in range(len(index))] == [fields[3] for fields in listed]
    assert listed, "nothing was compared"
    for row, (mode, oid, stage, _, *numbers, flags) in enumerate(listed):
        entry = index.entry(row)
        bits = int(flags, 16)
        assert (entry.mode, entry.oid.hex().encode(), entry.stage) == (int(mode, 8), oid, int(stage))
        assert [
            entry.ctime_s, entry.ctime_ns, entry.mtime_s, entry.mtime_ns,
            entry.dev, entry.ino, entry.uid, entry.gid, entry.size,
        ] == [int(number) for number in numbers]  # fmt: skip
        assert entry.assume_valid == bool(bits & ASSUME_VALID)
        assert entry.skip_worktree == bool(bits & SKIP_WORKTREE)
        assert entry.intent_to_add == bool(bits & INTENT_TO_ADD)
        assert index.oid(row) == entry.oid
    assert len(index.offsets) == len(index) + 1
    assert index.mtime_ns == (git.path / ".git" / "index").stat().st_mtime_ns
    return index


def set_version(git: Git, version: int) -> None:
    git("update-index", "--index-version", str(version))


def with_many_states(repository: Repository, *options: str) -> Git:
    """Assume-unchanged, skip-worktree, intent-to-add, executable, symlink, long and odd names, a conflict."""
    deep = "deep/" + "/".join(["d" * 100] * 3) + "/file"
    names = ["a", "a.b", "a/b", "dir/one", "dir/two", "dir.x", deep, "z" * 200]
    files = {name: name.encode() for name in names if name != "a"}
    git = repository(files, "many", *options)
    (git.path / "exec").write_bytes(b"#!")
    (git.path / "exec").chmod(0o755)
    (git.path / "link").symlink_to("dir/one")
    for odd in (b"new\nline", b"latin-\xe9", b'quo"te\\', b"\xff\x01"):
        with open(os.path.join(os.fsencode(git.path), odd), "wb") as file:
            file.write(odd)
    git("add", "-A")
    oids = [git("hash-object", "-w", "--stdin", stdin=text).strip().decode() for text in (b"1", b"2", b"3")]
    lines = "".join(f"100644 {oid} {stage}\tdir/conflict\n" for stage, oid in enumerate(oids, 1))
    git("update-index", "--index-info", stdin=lines.encode())
    git("update-index", "--assume-unchanged", "dir/one")
    git("update-index", "--skip-worktree", "dir/two")
    (git.path / "later").write_bytes(b"later")
    git("add", "-N", "later")
    return git


@pytest.mark.parametrize(("hash_name", "oid_bytes"), [("sha1", 20), ("sha256", 32)])
@pytest.mark.parametrize("version", [2, 4])
def test_every_field_is_as_git_reads_it(repository: Repository, version: int, hash_name: str, oid_bytes: int) -> None:
    git = with_many_states(repository, f"--object-format={hash_name}")
    set_version(git, version)
    index = assert_as_git_reads_it(git, oid_bytes)
    assert index.inexact is None
    assert index.version == (3 if version == 2 else 4), "extended flags make version 3 of 2"
    assert index.tallies() == (len(index), 1, 1)
    assert index.conflicts() == [b"dir/conflict"]
    assert len(index.rows(b"dir/conflict")) == 3
    assert len(index.flagged_rows()) == 6


def test_plain_index_is_version_2_and_4(repository: Repository) -> None:
    git = repository({f"d{n % 7}/file{n}": b"x" for n in range(300)})
    assert assert_as_git_reads_it(git).version == 2
    set_version(git, 4)
    assert assert_as_git_reads_it(git).version == 4


@pytest.mark.parametrize("version", [2, 4])
def test_names_longer_than_the_length_field(repository: Repository, version: int) -> None:
    git = repository({"a": b"a"})
    oid = git("hash-object", "-w", "--stdin", stdin=b"x").strip()
    lengths = (255, 256, 257, 4093, 4094, 4095, 4096, 5000)
    names = [(b"%05d/" % length * 1000)[: length - 1] + b"e" for length in lengths]
    git("update-index", "--index-info", stdin=b"".join(b"100644 %s 0\t%s\n" % (oid, name) for name in names))
    set_version(git, version)
    index = assert_as_git_reads_it(git)
    assert set(names) <= set(index.names)


def test_padding_of_every_width(repository: Repository) -> None:
    assert_as_git_reads_it(repository({"x" * n: b"x" for n in range(1, 40)}))


def test_lookup(repository: Repository) -> None:
    index = read(with_many_states(repository))
    for row, name in enumerate(index.names):
        assert index.find(name) in (row, row - 1, row - 2)
        assert row in index.rows(name)
    assert index.entry(index.find(b"dir/conflict") or 0).stage == 1
    for absent in (b"", b"dir", b"dir/", b"dir/onf", b"zzz" * 99):
        assert index.find(absent) is None
        assert len(index.rows(absent)) == 0


def test_directories_are_those_above_the_names(repository: Repository) -> None:
    index = read(with_many_states(repository))
    expected = {b""}
    for name in index.names:
        parts = name.split(b"/")
        expected |= {b"/".join(parts[:depth]) for depth in range(1, len(parts))}
    assert index.tracked_directories() == expected
    for directory in expected:
        assert index.tracks_below(directory)
    # `dir.x` sorts before `dir/...`, and must not hide it.
    for other in (b"di", b"dir.x", b"dir/one", b"nowhere", b"zzzz"):
        assert not index.tracks_below(other)


def test_gitlinks(repository: Repository) -> None:
    git = repository({"a": b"a", "\u00e0\u00e0": b"b"})
    inner = repository({"f": b"f"}, "repo/sub/inner")
    git("add", "sub/inner")
    assert inner.path == git.path / "sub" / "inner"
    index = assert_as_git_reads_it(git)
    assert index.gitlinks() == index.gitlinks() == [b"sub/inner"]
    assert b"sub/inner" not in index.tracked_directories()


def test_empty_and_missing_index(repository: Repository) -> None:
    git = repository()
    missing = read(git)
    assert (len(missing), missing.mtime_ns, missing.inexact) == (0, 0, None)
    git("read-tree", "--empty")
    empty = read(git)
    assert (git.path / ".git" / "index").exists()
    for index in (missing, empty):
        assert len(index) == 0
        assert index.tracked_directories() == {b""}
        assert index.gitlinks() == [] and index.tallies() == (0, 0, 0)
        assert index.find(b"a") is None and not index.tracks_below(b"")


@pytest.mark.parametrize(("hash_name", "oid_bytes"), [("sha1", 20), ("sha256", 32)])
def test_cache_tree_root_only_while_valid(repository: Repository, hash_name: str, oid_bytes: int) -> None:
    git = repository({"a": b"a", "d/b": b"b"}, "repo", f"--object-format={hash_name}")
    root = bytes.fromhex(git("rev-parse", "HEAD^{tree}").decode())
    assert read(git, oid_bytes).cache_tree_root() == root
    (git.path / "d" / "b").write_bytes(b"bb")
    git("add", "d/b")
    assert b"TREE" in read(git, oid_bytes).raw
    assert read(git, oid_bytes).cache_tree_root() is None
    tree = git("write-tree").decode()
    assert read(git, oid_bytes).cache_tree_root() == bytes.fromhex(tree)
    (git.path / "later").write_bytes(b"")
    git("add", "-N", "later")
    assert read(git, oid_bytes).cache_tree_root() is None


def test_the_noted_trees_agree_with_the_entries(repository: Repository) -> None:
    """git notes the shorter of two names first, whatever the order of the entries."""
    git = repository({"a": b"a", "d/b": b"b", "d/e/c": b"c", "d.x": b"", "z/y/x/w": b"w", "b/long": b"", "bb": b""})
    (git.path / "cc").mkdir()
    (git.path / "cc" / "a").write_bytes(b"")
    git("add", "-A")
    git("commit", "-qm", "cc")
    index = read(git, 20)
    noted = dict(parse_cache_tree(index.raw, index.offsets[-1], 20))
    assert noted == {b"": 8, b"b/": 1, b"d/": 2, b"d/e/": 1, b"z/": 1, b"z/y/": 1, b"z/y/x/": 1, b"cc/": 1}
    assert list(noted)[-1] == b"cc/"
    assert index.cache_tree_agrees()
    (git.path / "d" / "e" / "c").write_bytes(b"cc")
    git("add", "d/e/c")
    index = read(git, 20)
    assert dict(parse_cache_tree(index.raw, index.offsets[-1], 20)) == {**noted, b"": -1, b"d/": -1, b"d/e/": -1}
    assert index.cache_tree_agrees()


@pytest.mark.parametrize("directory", [b"", b"d", b"z"])
def test_noted_trees_that_lack_entries_do_not_agree(repository: Repository, directory: bytes) -> None:
    """What `git rebase` leaves where there was no index (soak, seeds 910022 and 920012)."""
    git = repository({"a": b"a", "d/b": b"b", "z/y/w": b"w"})
    raw = read(git, 20).raw
    entries = {b"": 3, b"d": 1, b"z": 1}[directory]
    lying = raw.replace(b"%b\0%d " % (directory, entries), b"%b\0%d " % (directory, entries + 1))
    assert lying != raw
    index = parse_index(lying, 20, 1)
    assert not index.cache_tree_agrees()
    assert index.cache_tree_agrees(whole=False) is (directory != b"")
    assert index.cache_tree_root() == (None if directory == b"" else parse_index(raw, 20, 1).cache_tree_root())


def test_untracked_cache_and_fsmonitor_do_not_matter(repository: Repository) -> None:
    git = repository({"a": b"a", "d/b": b"b"})
    hook = git.path / ".git" / "answer"
    hook.write_bytes(b"#!/bin/sh\nprintf 'token\\0/\\0'\n")
    hook.chmod(0o755)
    git("config", "core.fsmonitor", ".git/answer")
    git("update-index", "--fsmonitor")
    git("update-index", "--force-untracked-cache")
    git("status")
    index = assert_as_git_reads_it(git)
    assert b"UNTR" in index.raw and b"FSMN" in index.raw
    assert index.inexact is None


def test_zeroed_trailer_is_fine(repository: Repository) -> None:
    git = repository({"a": b"a"})
    raw = read(git).raw
    (git.path / ".git" / "index").write_bytes(raw[:-20] + bytes(20))
    assert_as_git_reads_it(git)


def test_split_index_is_inexact(repository: Repository) -> None:
    git = repository({"a": b"a", "b": b"b"})
    git("update-index", "--split-index")
    assert read(git).inexact == "split index"
    for name in ("a", "b"):
        (git.path / name).write_bytes(b"changed")
    git("add", "a", "b")
    index = read(git)
    assert index.inexact == "split index"
    assert b"" in index.names, "the replacement of an entry has no name"


def test_sparse_index_is_inexact(repository: Repository) -> None:
    git = repository({"in/a": b"a", "out/b": b"b", "out/c": b"c"})
    git("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    index = read(git)
    assert index.inexact == "sparse index"
    assert b"out/" in index.names


def test_sparse_checkout_without_sparse_index_is_exact(repository: Repository) -> None:
    git = repository({"in/a": b"a", "out/b": b"b", "out/c": b"c"})
    git("sparse-checkout", "set", "--cone", "--no-sparse-index", "in")
    index = assert_as_git_reads_it(git)
    assert index.inexact is None
    assert index.tallies() == (3, 2, 0)


def with_extension(raw: bytes, signature: bytes) -> bytes:
    return raw[:-20] + signature + struct.pack(">I", 3) + b"abc" + raw[-20:]


def test_unknown_extension_matters_only_when_required(repository: Repository) -> None:
    git = repository({"a": b"a"})
    raw = read(git).raw
    assert parse_index(with_extension(raw, b"ABCD"), 20, 0).inexact is None
    assert parse_index(with_extension(raw, b"abcd"), 20, 0).inexact is not None
    # git draws the line at the same place.
    for signature, refused in ((b"ABCD", False), (b"abcd", True)):
        (git.path / ".git" / "index").write_bytes(with_extension(raw, signature)[:-20] + bytes(20))
        assert bool(git.ask("ls-files").exit) == refused


def test_entries_out_of_order_are_inexact(repository: Repository) -> None:
    index = read(repository({"a": b"a", "b": b"b"}))
    first, second, end = index.offsets
    swapped = index.raw[:first] + index.raw[second:end] + index.raw[first:second] + index.raw[end:]
    assert parse_index(swapped, 20, 0).inexact is not None
    doubled = struct.pack(">4sII", b"DIRC", 2, 2) + index.raw[first:second] * 2 + bytes(20)
    assert parse_index(doubled, 20, 0).inexact is not None


@pytest.mark.parametrize("version", [2, 4])
def test_cut_off_anywhere_is_damaged(repository: Repository, version: int) -> None:
    git = with_many_states(repository)
    set_version(git, version)
    raw = read(git).raw
    # Cut here, what is left of the TREE extension is taken for the checksum, by git too: nobody verifies it.
    unseen = read(git).offsets[-1] + 20
    for length in sorted(set(range(len(raw))) - {unseen}):
        with pytest.raises(IndexDamaged):
            parse_index(raw[:length], 20, 0)


@pytest.mark.parametrize("version", [2, 4])
def test_any_damaged_byte_is_read_or_refused_but_no_bug(repository: Repository, version: int) -> None:
    git = with_many_states(repository)
    set_version(git, version)
    raw = read(git).raw
    for at in range(len(raw)):
        for value in (0x00, 0x2F, 0xFF):
            damaged = raw[:at] + bytes([value]) + raw[at + 1 :]
            try:
                index = parse_index(damaged, 20, 0)
            except IndexDamaged:
                continue
            assert len(index.names) == len(index.flag_bytes) == len(index.offsets) - 1
            index.tallies(), index.gitlinks()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"DIRC",
        bytes(100),
        b"DIRC" + struct.pack(">II", 1, 0) + bytes(20),
        b"DIRC" + struct.pack(">II", 5, 0) + bytes(20),
        b"DIRC" + struct.pack(">II", 2, 0xFFFFFFFF) + bytes(200),
        b"DIRC" + struct.pack(">II", 2, 1) + bytes(64 + 20),
        b"DIRC" + struct.pack(">II", 2, 1) + bytes(64 + 200),
    ],
)
def test_not_an_index(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "index"
    path.write_bytes(raw)
    with pytest.raises(IndexDamaged) as caught:
        read_index(os.fsencode(path), 20)
    assert str(path) in caught.value.message


def test_something_else_in_the_index_place(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    with open(tmp_path / "huge", "wb") as file:
        file.truncate(5 << 30)
    expected = (("fifo", "not a file"), ("directory", "Is a directory"), ("loop", "symbolic"), ("huge", "larger"))
    for name, reason in expected:
        with pytest.raises(IndexDamaged, match=f"{name}.*{reason}"):
            read_index(os.fsencode(tmp_path / name), 20)


def one_entry(version: int, flags: int, rest: bytes) -> bytes:
    return struct.pack(">4sII40s20sH", b"DIRC", version, 1, b"", b"", flags) + rest + bytes(20)


def test_extended_flags_that_git_does_not_know() -> None:
    index = parse_index(one_entry(3, 0x4001, b"\x60\x00" + b"a" + bytes(7)), 20, 0)
    assert index.flags(0) == SKIP_WORKTREE | INTENT_TO_ADD
    for unknown in (b"\x80\x00", b"\x10\x00", b"\x00\x01"):
        with pytest.raises(IndexDamaged):
            parse_index(one_entry(3, 0x4001, unknown + b"a" + bytes(7)), 20, 0)


def test_name_that_cuts_off_more_than_there_is() -> None:
    assert parse_index(one_entry(4, 1, b"\x00a\0"), 20, 0).names == [b"a"]
    for flags, rest in ((1, b"\x01a\0"), (1, b"\x80\x00a\0"), (0x4001, b"\x20\x00\x01a\0")):
        with pytest.raises(IndexDamaged):
            parse_index(one_entry(4, flags, rest), 20, 0)
