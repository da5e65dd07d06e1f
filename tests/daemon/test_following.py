"""Following a large repository: the making of its state is waited for, not begun anew by each edit."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gitwatchd.analysis.first_sight import look
from gitwatchd.daemon.increments import _FOLLOWED, LARGE_INDEX_BYTES, Increments, told
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import read_config
from gitwatchd.git.worktree import Found, read_tree, walk_directories
from gitwatchd.incremental.strays import Strays
from gitwatchd.incremental.untracked_column import UntrackedColumn
from gitwatchd.loop import Loop
from gitwatchd.watch.changes import Aspect, Changes
from tests.zoo.commands import Git, judge
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client
from tests.zoo.nursery import append, write

Make = Callable[..., Git]


def test_edits_right_after_the_first_answer_are_followed(client: Client, repository: Make) -> None:
    git = repository({f"directory-{n % 90:02}/a-name-of-some-length-{n:05}": b"%d\n" % n for n in range(7000)})
    assert (git.path / ".git/index").stat().st_size > LARGE_INDEX_BYTES
    assert difference(client, git.path) is None
    for _ in range(5):
        append(git.path / "directory-00/a-name-of-some-length-00000", b"more\n")
        assert difference(client, git.path) is None
    answers = client.call("doctor")["answers"]
    assert (answers["L1"], answers["L3"]) == (5, 1)


def test_a_commit_of_named_files_is_followed(client: Client, repository: Make) -> None:
    """git makes an index of its own for it, `next-index-PID`, beside the one it leaves behind."""
    git = repository({"one": b"1\n", "other": b"2\n"})
    assert difference(client, git.path) is None
    before = client.call("doctor")["answers"]["L3"]
    append(git.path / "one", b"more\n")
    git("commit", "-qm", "one", "one")
    assert difference(client, git.path) is None
    assert client.call("doctor")["answers"]["L3"] == before


def test_what_a_walk_saw_is_followed_with_all_that_it_knows_of_strays(
    repository: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    git = repository({"a/one": b"1\n", ".gitignore": b"*.o\n"})
    write(git.path / "a/x.o", b"")
    location = read_location(os.fsencode(git.path))
    assert location is not None
    tree, found, strays = read_tree(location, read_config(location)), Found(files=[]), Strays()
    strays.begin()
    walk_directories(tree, [b""], lambda _path, _prefix: True, found)
    strays.add(found.holders)
    strays.complete(tree.index)
    monkeypatch.setattr(UntrackedColumn, "relist", None)  # nothing is listed with all below it
    loop = Loop(lambda _bug: None)
    increments = Increments(loop, lambda _path: None, lambda _path: set(), lambda _path: None, lambda _path: strays)
    increments.adopt(location.path, look(location, tree, found))
    write(git.path / ".gitignore", b"")
    *_, outcome = increments.advance(location.path, Changes(Aspect.IGNORE, {b".gitignore"}))
    assert outcome is not None and outcome.entries == judge(git.path)
    loop.close()


def test_doctor_says_in_words_why_git_was_asked() -> None:
    for aspect in Aspect:
        if not aspect & _FOLLOWED:
            assert told(aspect) and not any(flag.name in told(aspect) for flag in Aspect if flag.name)
    assert told(Aspect.CONFIG | Aspect.IDENTITY | Aspect.OTHER) == told(Aspect.IDENTITY)
