"""Which directories hold what the index does not name, and for how long that is known."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gitwatchd.git.index_file import Index, read_index
from gitwatchd.incremental import strays as strays_module
from gitwatchd.incremental.strays import Strays
from tests.zoo.commands import Git
from tests.zoo.nursery import write

Make = Callable[..., Git]


@pytest.fixture
def git(repository: Make) -> Git:
    return repository({"a/one": b"1\n", "b/c/two": b"2\n", "top": b"3\n"})


def index_of(git: Git) -> Index:
    return read_index(os.fsencode(git.path / ".git/index"), 20)


def known(index: Index, *directories: bytes) -> Strays:
    strays = Strays()
    strays.begin()
    strays.add(directories)
    strays.complete(index)
    return strays


def test_nothing_is_known_before_all_was_listed(git: Git) -> None:
    strays = Strays()
    strays.begin()
    strays.add((b"a",))
    assert strays.below(b"") is None
    strays.complete(index_of(git))
    assert strays.below(b"") == {b"a"}
    strays.begin()
    assert strays.below(b"") is None


def test_those_at_and_below_a_directory(git: Git) -> None:
    strays = known(index_of(git), b"", b"a", b"ab", b"b/c", b"b")
    assert strays.below(b"b") == {b"b", b"b/c"}
    assert strays.below(b"a") == {b"a"}
    strays.remove(b"b")
    assert strays.below(b"") == {b"", b"a", b"ab", b"b/c"}


def test_what_an_index_names_no_longer_lies_about_from_then_on(git: Git) -> None:
    old = index_of(git)
    strays = known(old)
    git("rm", "-q", "--cached", "b/c/two")
    new = index_of(git)
    assert not strays.agree(new)
    strays.follow(old, new, {b"b/c"})
    assert strays.agree(new) and not strays.agree(old)
    assert strays.below(b"") == {b"b/c"}


def test_an_index_that_was_not_followed_makes_it_unknown(git: Git) -> None:
    old = index_of(git)
    strays = known(old, b"a")
    strays.expect(old)
    assert strays.below(b"") == {b"a"}
    git("rm", "-q", "--cached", "b/c/two")
    new = index_of(git)
    strays.follow(new, old, {b"b/c"})
    assert strays.below(b"") == {b"a"} and strays.agree(old)
    strays.expect(new)
    assert strays.below(b"") is None and not strays.agree(old)


def test_indexes_without_a_checksum_are_told_apart_by_their_bytes(git: Git) -> None:
    git("-c", "index.skipHash=true", "add", "top")
    raw = bytearray((git.path / ".git/index").read_bytes())
    raw[-20:] = bytes(20)
    moment = (1_600_000_000, 0)
    for name, content in (("one", raw), ("two", raw.replace(b"b/c/two", b"b/c/owt"))):
        write(git.path / name, bytes(content))
        os.utime(git.path / name, moment)
    one, two = (read_index(os.fsencode(git.path / name), 20) for name in ("one", "two"))
    assert one.mtime_ns == two.mtime_ns and len(one.raw) == len(two.raw)
    strays = known(one)
    assert strays.agree(one) and not strays.agree(two)


def test_an_index_that_only_git_reads_agrees_with_nothing(git: Git) -> None:
    git("update-index", "--split-index")
    index = index_of(git)
    strays = known(index, b"a")
    assert not strays.agree(index)
    assert strays.below(b"") == {b"a"}, "what walks need of it does not depend on the index"
    git("update-index", "--no-split-index")
    strays.expect(index_of(git))
    assert strays.below(b"") is None


def test_too_many_are_none_until_all_is_listed_again(git: Git, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays_module, "MOST_HOLDERS", 3)
    index = index_of(git)
    strays = known(index, b"a", b"b", b"c")
    strays.add((b"a",))
    assert strays.below(b"") == {b"a", b"b", b"c"}
    strays.add((b"d",))
    assert strays.below(b"") is None and not strays.agree(index)
    strays.add((b"e",))
    strays.complete(index)
    assert strays.below(b"") is None, "events of the time in between are missing"
    strays.begin()
    strays.complete(index)
    assert strays.below(b"") == set()
