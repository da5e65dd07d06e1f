"""Settings of status: as git itself shows them to be, where a run of git can show it."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from gitwatchd.git.config_file import BadValue
from gitwatchd.git.repository_config import read_config
from gitwatchd.git.status_settings import AutoCrlf, Renames, StatusSettings, UntrackedFiles, status_settings
from gitwatchd.model.repository import Location, RepoPath

Run = Callable[..., bytes]


def settings_of(run: Run) -> StatusSettings:
    top = RepoPath(os.path.realpath(os.fsencode(run.path)))  # type: ignore[attr-defined]
    return status_settings(read_config(Location(top, top + b"/.git", top + b"/.git", bare=False)))


def test_a_new_repository_has_gits_defaults(repository: Callable[..., Run]) -> None:
    settings = settings_of(repository())
    assert settings.stat_is_default
    assert not settings.converts_line_ends
    assert settings.file_mode
    assert settings.untracked_files is UntrackedFiles.NORMAL
    assert settings.renames is Renames.RENAMES


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("core.checkStat", "MINIMAL"),
        ("core.trustctime", "no"),
        ("core.symlinks", "0"),
        ("core.ignoreStat", "1"),
        ("core.ignoreCase", "yes"),
    ],
)
def test_each_setting_that_changes_what_stat_means_is_seen(
    repository: Callable[..., Run], key: str, value: str
) -> None:
    run = repository()
    run("config", key, value)
    assert not settings_of(run).stat_is_default


@pytest.mark.parametrize(
    ("lines", "renamed"),
    [
        ([], True),
        (["diff.renames=false"], False),
        (["diff.renames=true", "diff.renames=false"], True),
        (["diff.renames=false", "diff.renames=true"], False),
        (["diff.renames=false", "status.renames=true"], True),
        (["status.renames=false", "diff.renames=true"], False),
        (["status.renames=false", "status.renames=copies"], True),
    ],
)
def test_renames_are_detected_when_git_status_detects_them(
    repository: Callable[..., Run], lines: list[str], renamed: bool
) -> None:
    run = repository({"a": b"some content\n" * 20})
    run("mv", "a", "b")
    for line in lines:
        key, _, value = line.partition("=")
        run("config", "--add", key, value)
    assert run("status", "--porcelain").startswith(b"R") is renamed
    assert (settings_of(run).renames is not Renames.NO) is renamed


def test_text_settings_are_typed(repository: Callable[..., Run]) -> None:
    run = repository()
    run("config", "core.autocrlf", "Input")
    run("config", "status.showUntrackedFiles", "all")
    settings = settings_of(run)
    assert settings.autocrlf is AutoCrlf.INPUT
    assert settings.converts_line_ends
    assert settings.untracked_files is UntrackedFiles.ALL


def test_what_ends_git_status_is_refused(repository: Callable[..., Run]) -> None:
    run = repository()
    run("config", "status.showUntrackedFiles", "some")
    assert run.ask("status").exit  # type: ignore[attr-defined]
    with pytest.raises(BadValue):
        settings_of(run)
