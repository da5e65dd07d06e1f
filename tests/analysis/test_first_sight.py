"""A whole status without git: the judge's bytes, or none at all."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.analysis.first_sight import look_unwatched
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.repository import Analysed
from tests.zoo.commands import Git, ask_judge
from tests.zoo.nursery import write
from tests.zoo.repositories import UNSAFE, build_zoo

Make = Callable[..., Git]


def sight(path: Path) -> Analysed | None:
    location = read_location(os.fsencode(path))
    assert location is not None
    return look_unwatched(location, read_config(location), nested=False).outcome


def test_over_the_zoo_it_is_git_s_answer_or_none(tmp_path: Path) -> None:
    told, silent = [], []
    for name, path in build_zoo(tmp_path / "zoo").items():
        if name in UNSAFE:
            assert sight(path) is None
            continue
        location = read_location(os.fsencode(path))
        if location is None or os.fsencode(path.resolve()) != location.path:
            continue  # git is not asked in the worktree itself
        seen = sight(path)
        (silent if seen is None else told).append(name)
        if seen is not None:
            assert seen.entries == ask_judge(path).stdout, name
            assert not seen.by_git
    assert len(told) > len(silent), silent


def test_what_a_tracked_directory_replaced_by_a_link_holds_is_missing(repository: Make) -> None:
    git = repository({"a/one": b"1\n", "b": b"2\n"})
    (git.path / "a").rename(git.path.parent / "elsewhere")
    (git.path / "a").symlink_to(git.path.parent / "elsewhere")
    seen = sight(git.path)
    assert seen is not None
    assert seen.entries == ask_judge(git.path).stdout


def test_a_same_size_edit_within_the_second_of_the_index_is_seen(repository: Make) -> None:
    git = repository({"one": b"1111\n"})
    for content in (b"2222\n", b"3333\n"):
        write(git.path / "one", content)
        git("add", "one")
        write(git.path / "one", content[::-1][1:] + b"\n"[:1] if content == b"2222\n" else b"4444\n")
        seen = sight(git.path)
        assert seen is not None and seen.entries == ask_judge(git.path).stdout


def test_renames_are_left_to_git(repository: Make) -> None:
    git = repository({"one": b"content that is long enough to be recognised\n"})
    git("mv", "one", "other")
    assert sight(git.path) is None


@pytest.mark.parametrize("name", ["filter.x.clean", "filter.x.process"])
def test_a_repository_with_filters_of_its_own_is_left_to_the_question_of_trust(repository: Make, name: str) -> None:
    git = repository({"one": b"1\n"})
    git("config", name, "cat")
    assert sight(git.path) is None
