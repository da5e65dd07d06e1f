"""Which repositories can be followed, and how; by real configurations."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.index_file import read_index
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import read_config
from gitwatchd.incremental.terms import Conversion, Inexact, Terms, read_terms
from gitwatchd.watch.walk import configuration_files
from tests.zoo.commands import Git
from tests.zoo.nursery import write

Make = Callable[..., Git]


def terms_of(git: Git, attributes: Iterable[bytes] = ()) -> Terms:
    location = read_location(os.fsencode(git.path))
    assert location is not None
    index = read_index(location.git_dir + b"/index", 20)
    return read_terms(location, read_config(location), index, attributes)


@pytest.fixture
def git(repository: Make) -> Git:
    return repository({"a": b"1\n"})


def test_an_ordinary_repository(git: Git) -> None:
    assert terms_of(git) == Terms(True, True, True, False, Conversion.NONE)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("core.trustctime", "false"),
        ("core.checkStat", "minimal"),
        ("core.symlinks", "false"),
        ("core.ignoreCase", "true"),
        ("core.worktree", "/elsewhere"),
        ("attr.tree", "HEAD"),
        ("status.showUntrackedFiles", "all"),
        ("status.renames", "copies"),
        ("diff.renames", "copy"),
        ("core.fileMode", "perhaps"),
    ],
)
def test_what_only_git_can_follow(git: Git, name: str, value: str) -> None:
    git("config", name, value)
    with pytest.raises((Inexact, EnvironmentFailure)):
        terms_of(git)


def test_of_several_diff_renames_the_first_counts(git: Git, home: Path) -> None:
    write(home / ".gitconfig", (home / ".gitconfig").read_bytes() + b"[diff]\n\trenames = false\n")
    git("config", "diff.renames", "true")
    assert not terms_of(git).renames
    git("config", "status.renames", "true")
    assert terms_of(git).renames


@pytest.mark.parametrize(
    ("attributes", "conversion"),
    [
        (b"", Conversion.NONE),
        (b"*.txt text eol=crlf\n", Conversion.LINE_ENDS),
        (b"*.c ident\n", Conversion.ANY),
        (b"*.sec filter=zoo\n", Conversion.ANY),
        (b"*.u16 working-tree-encoding=UTF-16LE\n", Conversion.ANY),
    ],
)
@pytest.mark.parametrize("where", [".gitattributes", "sub/.gitattributes", ".git/info/attributes"])
def test_attributes_say_what_happens_to_content(
    git: Git, where: str, attributes: bytes, conversion: Conversion
) -> None:
    write(git.path / where, attributes)
    seen = [os.path.dirname(where).encode()] if where.endswith(".gitattributes") else []
    assert terms_of(git, seen).conversion is conversion


def test_attributes_of_the_whole_system_lie_beside_its_configuration(
    git: Git, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever this git was built to look for both."""
    monkeypatch.setattr(
        "gitwatchd.git.repository_config.system_config_file", lambda: os.fsencode(tmp_path / "gitconfig")
    )
    write(tmp_path / "gitattributes", b"*.psd filter=lfs\n")
    assert terms_of(git).conversion is Conversion.ANY
    location = read_location(os.fsencode(git.path))
    assert location is not None
    assert os.fsencode(tmp_path / "gitattributes") in configuration_files(location)


@pytest.mark.parametrize("version", ["2", "4"])
def test_a_tracked_attributes_file_that_is_absent_is_read_from_the_index_by_git(git: Git, version: str) -> None:
    git("update-index", "--index-version", version)
    for name in ("b/x", "sub/.gitattributes", "sub/.gitattributes-not"):
        write(git.path / name, b"*.txt text\n")
    git("add", "-A")
    assert terms_of(git).conversion is Conversion.LINE_ENDS
    (git.path / "sub/.gitattributes").unlink()
    assert terms_of(git).conversion is Conversion.ANY
