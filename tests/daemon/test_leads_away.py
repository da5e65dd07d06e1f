"""What became a link onto a mount that may hang since it was last looked at is refused by whoever looks at it next."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.analysis.left_out import find_left_out
from gitwatchd.daemon.configuration import Configuration
from gitwatchd.daemon.increments import LARGE_INDEX_BYTES, Increments
from gitwatchd.daemon.trust import Trust
from gitwatchd.git import reach
from gitwatchd.git.hidden import count_hidden_changes, list_index
from gitwatchd.git.layout import read_location
from gitwatchd.git.reach import LeadsAway
from gitwatchd.loop import Loop
from gitwatchd.model.report import Facts
from gitwatchd.model.repository import Analysed, Location
from gitwatchd.mounts import Mounts
from gitwatchd.render.table import COLUMNS
from gitwatchd.store.intent import Intent
from tests.zoo.commands import Git, judge

Make = Callable[..., Git]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(lambda _bug: None)
    yield loop
    loop.close()


def location_of(git: Git) -> Location:
    location = read_location(os.fsencode(git.path))
    assert location is not None
    return location


def turn(path: Path, dead: bytes) -> None:
    """It is a link onto the mount from now on."""
    path.rename(path.with_name("before"))
    path.symlink_to(os.fsdecode(dead) + "/x")


def test_files_that_somebody_told_git_not_to_show(dead: bytes, repository: Make) -> None:
    git = repository({"d/f": b"1\n"})
    git("update-index", "--assume-unchanged", "d/f")
    location = location_of(git)
    entries = list(list_index(location))
    turn(git.path / "d", dead)
    with pytest.raises(LeadsAway):
        count_hidden_changes(location, entries)


def test_a_directory_in_which_repositories_are_looked_for(dead: bytes, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()

    def skip(path: bytes) -> bool:
        if path.endswith(b"/d"):
            turn(tmp_path / "d", dead)
        return False

    (left_out,) = find_left_out([os.fsencode(tmp_path)], skip, frozenset(), frozenset(), frozenset(), b"")
    (reason,) = left_out.reasons
    assert (left_out.path, reason.kind) == (os.fsencode(tmp_path / "d"), "unchecked")
    assert "leads onto the file system at /srv/dead" in reason.note


def test_the_index_of_one_that_is_to_be_trusted(dead: bytes, repository: Make, tmp_path: Path, loop: Loop) -> None:
    location = location_of(git := repository({"f": b"1\n"}))
    intent = Intent(os.fsencode(tmp_path / "intent.db"))
    home = os.fsencode(tmp_path)
    trust = Trust(intent, Configuration(loop, home + b"/config.toml", home, COLUMNS))
    turn(git.path / ".git/index", dead)
    with pytest.raises(LeadsAway):
        trust.grant(location)
    assert intent.trusted(location.path) is None
    intent.close()


def test_a_git_dir_that_is_about_to_be_followed(repository: Make, loop: Loop, tmp_path: Path) -> None:
    git = repository({"f": b"1\n"})
    location, outcome = location_of(git), Analysed(Facts(), judge(git.path))
    increments = Increments(loop, lambda _path: None, lambda _path: set(), lambda _path: None)
    # It would answer, and whoever looked at the index would have a thread read one of that size.
    (tmp_path / "mount").mkdir()
    (tmp_path / "mount/x").write_bytes(b"\0" * (LARGE_INDEX_BYTES + 1))
    mounts = Mounts({b"/": "ext4", os.fsencode(tmp_path / "mount"): "nfs4"})
    turn(git.path / ".git/index", os.fsencode(tmp_path / "mount"))
    reach.keep_local(lambda: mounts)
    try:
        increments.prime(location, outcome, lambda: True)
        assert not increments.is_priming(location.path)
    finally:
        reach.keep_local(None)
    assert increments.reasons == {"it leads onto a mount that may not answer": 1}


def test_a_git_dir_while_its_large_index_is_read(dead: bytes, repository: Make, loop: Loop) -> None:
    git = repository({f"a-name-of-quite-some-length-{n:05}": b"" for n in range(LARGE_INDEX_BYTES // 80)})
    location, outcome = location_of(git), Analysed(Facts(), judge(git.path))
    increments = Increments(loop, lambda _path: None, lambda _path: set(), lambda _path: None)
    increments.prime(location, outcome, lambda: True)
    assert increments.is_priming(location.path)
    turn(git.path / ".git/logs", dead)
    while increments.is_priming(location.path):
        loop.run_once(1.0)
    assert increments.reasons == {"it leads onto a mount that may not answer": 1}
