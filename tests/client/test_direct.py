from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitwatchd.store.intent import Intent, RootKind
from gitwatchd.wire.address import places
from tests.client.conftest import FakeDaemon, Gitwatch


@pytest.fixture
def two(repository: Callable[..., Any], tmp_path: Path) -> Path:
    """`src` with a clean repository, a dirty one, and one nested in that, ignored there."""
    repository({"a": b"1\n"}, "src/clean")
    repository({"a": b"1\n", ".gitignore": b"/nested\n"}, "src/dirty")
    (tmp_path / "src" / "dirty" / "a").write_bytes(b"22\n")
    repository({"b": b"1\n"}, "src/dirty/nested")
    return tmp_path / "src"


def test_table_without_a_daemon(daemon: FakeDaemon, gitwatch: Gitwatch, two: Path) -> None:
    done = gitwatch("status", "--direct", "src")
    assert (done.returncode, done.stderr) == (0, b"")
    rows = [line.split() for line in done.stdout.decode().splitlines()]
    assert [row[:3] for row in rows[2:]] == [
        ["clean", "main", "clean"], ["dirty", "main", "!1"], ["2", "repositories:", "1"],
    ]  # fmt: skip
    assert not daemon.pids() and not (daemon.directory / "run").exists()


def test_inside_a_worktree_and_ignored_ones(gitwatch: Gitwatch, two: Path) -> None:
    done = gitwatch(
        "status", "--direct", "--json", "--include-ignored", "--jobs", "0", cwd=two / "dirty" / "nested" / ".."
    )
    assert json.loads(gitwatch("status", "--direct", "--json", str(two / "dirty" / "a")).stdout)[0]["dirty"] is True
    assert done.returncode == 2
    reports = json.loads(gitwatch("status", "--direct", "--json", "--include-ignored", str(two)).stdout)
    assert [report["name"] for report in reports] == ["clean", "dirty", "nested"]
    assert {report["state"] for report in reports} == {"fresh"}
    assert reports[1]["counts"]["unstaged"] == 1


def test_without_a_path_the_roots_on_disk(daemon: FakeDaemon, gitwatch: Gitwatch, two: Path) -> None:
    done = gitwatch("status", "--direct")
    assert done.returncode == 2 and b"no roots are known" in done.stderr
    where = places(os.environ, os.getuid(), os.fsencode(daemon.directory))
    intent = Intent(where.intent)
    intent.add_root(os.fsencode(two), RootKind.DIRECTORY, permanent=True, include_ignored=False, asked_at=0.0)
    assert [r["name"] for r in json.loads(gitwatch("status", "--direct", "--json").stdout)] == ["clean", "dirty"]


def configure(daemon: FakeDaemon, text: str) -> Path:
    file = daemon.directory / "config.toml"
    file.write_text(text)
    return file


def test_the_configuration_counts(daemon: FakeDaemon, gitwatch: Gitwatch, two: Path, repository: Any) -> None:
    repository({"a": b"1\n"}, "src/vendor/lib")
    configure(
        daemon,
        f'roots = ["{two}"]\nignore = ["vendor"]\ncolumns = ["-mtime", "oid"]\ncolours.clean = "blue"\n'
        '[groups]\nmine = ["di*"]\n',
    )
    lines = gitwatch("status", "--direct").stdout.decode().splitlines()
    assert lines[1].split() == ["REPOSITORY", "BRANCH", "CHANGES", "COMMIT"]
    assert [line.split()[0].rpartition("/")[2] for line in lines[2:-1]] == ["clean", "dirty"]
    assert gitwatch("status", "--direct", "-p", "name", "@mine").stdout == b"dirty\n"
    assert gitwatch("status", "--direct", "-p", "name", "@mine", "src/clean").stdout == b"clean\ndirty\n"
    assert gitwatch("status", "--direct", "-p", "name", "src/vendor").stdout == b"lib\n"
    done = gitwatch("status", "--direct", "@nosuch")
    assert done.returncode == 2 and b"there is no group 'nosuch'" in done.stderr and b"known: @mine" in done.stderr


def test_trust_and_limits_of_the_configuration(daemon: FakeDaemon, gitwatch: Gitwatch, repository: Any) -> None:
    git = repository({"a": b"1\n", ".gitattributes": b"* filter=own\n"}, "src/filtered")
    git("config", "filter.own.clean", "cat")
    assert b"unsafe" in gitwatch("status", "--direct", "src").stdout
    configure(daemon, f'trust = ["{git.path.parent}/*"]\nlimits.jobs = 0\n')
    done = gitwatch("status", "--direct", "src")
    assert (done.returncode, done.stderr) == (0, b"") and b"all clean" in done.stdout
    configure(daemon, "limits.timeout_s = 0.000001\n")
    git("config", "--unset", "filter.own.clean")
    assert b"1 failed" in gitwatch("status", "--direct", "src").stdout


def test_a_mistake_in_the_configuration_is_told(daemon: FakeDaemon, gitwatch: Gitwatch, two: Path) -> None:
    file = configure(daemon, "root = []\n")
    done = gitwatch("status", "--direct", "src")
    assert done.returncode == 0 and b"2 repositories" in done.stdout
    assert done.stderr.decode().splitlines() == [
        f"gitwatch: {file}:1: there is no key \"root\" (did you mean 'roots'?)",
        "  until this is put right, nothing of that file is in force for --direct",
    ]
    file.unlink()
    os.mkfifo(file)
    assert b"cannot be read: not a regular file" in gitwatch("status", "--direct", "src").stderr


def test_lines(gitwatch: Gitwatch, two: Path) -> None:
    reports = json.loads(gitwatch("status", "--direct", "--json", "--lines", "src").stdout)
    assert [report["lines"] for report in reports] == [{"added": 0, "removed": 0}, {"added": 1, "removed": 1}]
    assert gitwatch("status", "--direct", "-w", "lines.added", "-p", "name", "src").stdout == b"dirty\n"
    rows = [line.split() for line in gitwatch("status", "--direct", "-c", "-,dir,lines", "src").stdout.splitlines()]
    assert rows[:3] == [[b"REPOSITORY", b"LINES"], [b"clean"], [b"dirty", b"+1/-1"]]


def test_metadata_only_asks_git_for_no_status(gitwatch: Gitwatch, two: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/git").write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/started\nexit 1\n')
    (tmp_path / "bin/git").chmod(0o755)
    path = f"{tmp_path}/bin:{os.environ['PATH']}"
    done = gitwatch("status", "--direct", "--metadata-only", "--json", "src", PATH=path)
    assert (done.returncode, done.stderr) == (0, b"")
    reports = json.loads(done.stdout)
    assert [(r["name"], r["state"], r["branch"], r["summary"] is None, r["dirty"]) for r in reports] == [
        ("clean", "fresh", "main", False, None), ("dirty", "fresh", "main", False, None),
    ]  # fmt: skip
    assert "status" not in (tmp_path / "started").read_text()


def test_a_failed_repository_fails_the_command(gitwatch: Gitwatch, two: Path) -> None:
    (two / "clean" / ".git" / "index").write_bytes(b"damaged")
    done = gitwatch("status", "--direct", "src")
    assert done.returncode == 1
    assert b"1 failed" in done.stdout and b"gitwatch: failed: clean: " in done.stderr


def test_a_path_that_does_not_exist(gitwatch: Gitwatch) -> None:
    done = gitwatch("status", "--direct", "nowhere")
    assert (done.returncode, done.stdout) == (1, b"") and b"nowhere: no such file" in done.stderr
