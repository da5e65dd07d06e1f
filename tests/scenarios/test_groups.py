"""A group of the configuration stands wherever several paths may."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch
from tests.scenarios.test_live import Terminal, read_line, wait_subscribed
from tests.zoo.commands import Git, new_repository
from tests.zoo.waiting import wait_until


@pytest.fixture
def api(gitwatch: Gitwatch, tmp_path: Path) -> Git:
    """In the group @api, beside `web`, which is in none; both are known."""
    for name in ("api-one", "web"):
        new_repository(tmp_path / "root" / name, {"a": b"1\n"}, "--template=")
    config = Path(os.fsdecode(gitwatch.places.config))
    config.parent.mkdir(exist_ok=True)
    config.write_text('[groups]\napi = ["api-*"]\n')
    assert len(gitwatch.reports(tmp_path / "root")) == 2
    return Git(tmp_path / "root/api-one")


def test_refresh_and_verify(gitwatch: Gitwatch, api: Git, tmp_path: Path) -> None:
    assert gitwatch("refresh", "@api").stdout == b"refreshed 1 repository\n"
    assert gitwatch("refresh", "@api", tmp_path / "root/web").stdout == b"refreshed 2 repositories\n"
    assert gitwatch("verify", "@api").stdout == b"verified 1 repository: 0 differ from git\n"
    for command in ("refresh", "verify", "events", "unsaved"):
        done = gitwatch(command, "@nosuch")
        assert (done.returncode, done.stdout) == (2, b"")
        assert done.stderr.startswith(b"gitwatch: there is no group 'nosuch'\n  known: @api"), command


def test_events(gitwatch: Gitwatch, api: Git, tmp_path: Path) -> None:
    process = gitwatch.start("events", "@api")
    wait_subscribed(gitwatch, api, process)
    (tmp_path / "root/web/a").write_text("2")
    gitwatch.reports(tmp_path / "root/web")
    api("checkout", "-q", "--", "a")
    gitwatch.reports(api.path)
    told = []
    while not told or told[-1]["counts"]["unstaged"]:
        told.append(json.loads(read_line(process)))
    process.kill()
    process.communicate()
    assert {report["name"] for report in told} == {"api-one"}


def test_watch(gitwatch: Gitwatch, api: Git) -> None:
    terminal = Terminal(gitwatch, "@api")
    try:
        wait_until(lambda: b"1 repository: all clean" in terminal.screen(), what="the first table")
        (api.path / "new").write_text("x")
        wait_until(lambda: b"1 repository: 1 dirty" in terminal.screen(), what="the change")
        os.write(terminal.master, b"q")
        assert terminal.end() == 0
    finally:
        terminal.close()
