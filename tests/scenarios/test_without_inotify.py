"""A part of the scenarios on other ways of watching: comparing directories (`polling.py`), and none at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios import test_repositories_come_and_go as come_and_go
from tests.scenarios import test_worktree_changes as worktree_changes
from tests.zoo.commands import Git, new_repository
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client, Daemon

root = come_and_go.root

test_a_file_in_a_directory_made_right_before_it = worktree_changes.test_a_file_in_a_directory_made_right_before_it
test_the_ways_in_which_editors_save = worktree_changes.test_the_ways_in_which_editors_save
test_an_edit_of_the_same_size_in_the_same_tick = worktree_changes.test_an_edit_of_the_same_size_in_the_same_tick
test_a_directory_is_renamed_while_it_is_scanned = worktree_changes.test_a_directory_is_renamed_while_it_is_scanned
test_removed_and_cloned_again_at_the_same_path = come_and_go.test_removed_and_cloned_again_at_the_same_path
test_moved_within_out_of_and_into_the_root = come_and_go.test_moved_within_out_of_and_into_the_root
test_the_root_itself_is_moved_away_and_back = come_and_go.test_the_root_itself_is_moved_away_and_back

_START = """
import errno, os, runpy, sys
from gitwatchd.watch import platform
if sys.argv[1] == "polling":
    from gitwatchd.watch.polling import PollingQueue as open_queue
else:
    def open_queue():
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
platform.open_queue, platform.shares_queues = open_queue, lambda: False
sys.argv = ["gitwatchd", *sys.argv[5:]]
runpy.run_module("gitwatchd", run_name="__main__")
"""


@pytest.fixture(params=["polling", "none"])
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def daemon(start_daemon: Callable[..., Daemon], way: str) -> Daemon:
    return start_daemon(before=(sys.executable, "-c", _START, way))


def test_how_it_is_watched_is_said(client: Client, tmp_path: Path, way: str) -> None:
    small = new_repository(tmp_path / "small", {"d/f": b"1\n"}).path
    large = new_repository(tmp_path / "large", {f"d/f{n}": b"" for n in range(2100)}).path
    reports = {name: client.reports(tmp_path / name)[0] for name in ("small", "large")}
    assert {report["state"] for report in reports.values()} == {"fresh"}
    assert reports["small"]["watch"] == ("watched" if way == "polling" else "polled"), reports["small"]["reason"]
    assert reports["large"]["watch"] == "polled" and reports["large"]["reason"]
    for path in (small, large):
        (path / "d/f").write_bytes(b"2\n")
        os.utime(path / "d/f", (2**31, 2**31))  # a moment ago, however long the looks take here
        assert difference(client, path) is None
    answers = client.call("doctor")["answers"]
    assert difference(client, small) is None
    hit = client.call("doctor")["answers"]["L0"] - answers["L0"]
    assert hit == 0, "what changed a moment ago is looked at again; and what is polled always is"


def test_refs_index_and_ignore_rules(client: Client, repository: Callable[..., Git], home: Path) -> None:
    git = repository({"d/f": b"1\n", "build/x": b"", ".gitignore": b"*.o\n"})
    path = git.path

    def step(*arguments: str) -> None:
        git(*arguments)
        assert difference(client, path) is None, arguments

    assert difference(client, path) is None
    (path / "d/g.o").write_bytes(b"")
    assert difference(client, path) is None
    (path / ".gitignore").write_bytes(b"*.x\n")
    assert difference(client, path) is None
    (path / ".git/info").mkdir(exist_ok=True)
    (path / ".git/info/exclude").write_bytes(b"*.o\n")
    assert difference(client, path) is None
    (path / "d/f").write_bytes(b"2\n")
    for arguments in (
        ("add", "-A"), ("commit", "-qm", "second"), ("branch", "other", "HEAD~"), ("checkout", "-q", "other"),
        ("tag", "v1"), ("pack-refs", "--all"), ("checkout", "-q", "main"), ("reset", "-q", "--soft", "HEAD~"),
        ("stash", "-q"), ("stash", "pop", "-q"), ("mv", "d", "e"), ("commit", "-qam", "third"),
        ("config", "status.showUntrackedFiles", "no"), ("config", "--unset", "status.showUntrackedFiles"),
        ("config", "--global", "core.excludesFile", str(home / "ignored")),
    ):  # fmt: skip
        step(*arguments)
    (home / "ignored").write_bytes(b"build\n")
    (path / "build/y").write_bytes(b"")
    assert difference(client, path) is None
    (home / "ignored").write_bytes(b"")
    assert difference(client, path) is None


def test_what_lies_below_a_known_root_is_found_when_somebody_asks(client: Client, root: Path, way: str) -> None:
    assert come_and_go.names(client, root) == {"first": "fresh"}
    new_repository(root / "a/b/made", {"a": b"1\n"})
    assert come_and_go.names(client, root) == {"first": "fresh", "a/b/made": "fresh"}
    assert difference(client, root / "a/b/made") is None
