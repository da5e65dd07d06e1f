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


def test_a_failed_repository_fails_the_command(gitwatch: Gitwatch, two: Path) -> None:
    (two / "clean" / ".git" / "index").write_bytes(b"damaged")
    done = gitwatch("status", "--direct", "src")
    assert done.returncode == 1
    assert b"1 failed" in done.stdout and b"gitwatch: failed: clean: " in done.stderr


def test_a_path_that_does_not_exist(gitwatch: Gitwatch) -> None:
    done = gitwatch("status", "--direct", "nowhere")
    assert done.returncode == 2 and b"nowhere: no such file" in done.stderr
