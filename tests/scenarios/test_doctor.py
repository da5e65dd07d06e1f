"""Must show: `gitwatch doctor` says what is wrong, what is slow and what to type."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from gitwatchd.model.report import text_or_bytes
from tests.scenarios.commands import Gitwatch, HangingGit, for_git_alone
from tests.zoo.commands import new_repository
from tests.zoo.daemon import Daemon
from tests.zoo.waiting import wait_until


def examine(gitwatch: Gitwatch) -> dict[str, Any]:
    done = gitwatch("doctor", "--json")
    assert done.stderr == b""
    facts: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == int(bool(facts["failed"]))
    return facts


def test_a_mistake_in_the_configuration_and_a_root_that_is_not_there(gitwatch: Gitwatch, tmp_path: Path) -> None:
    gitwatch.state.mkdir()
    config = gitwatch.state / "config.toml"
    config.write_text(f'\nroots = ["{tmp_path}/later"]\n')
    facts = examine(gitwatch)
    assert facts["problems"] == [
        {
            "what": f"{tmp_path}/later: no such directory; {config}:2 names it as a root",
            "hint": "make it, or take it out there; once it exists it is watched by itself",
        }
    ]
    assert (facts["configuration"], facts["configured"]) == (str(config), 1)
    new_repository(tmp_path / "later/repo", {"a": b"1\n"})
    assert examine(gitwatch)["problems"] == []
    assert [report["name"] for report in gitwatch.reports()] == ["repo"]
    # Known from the cache and not walked yet is no problem of anybody's.
    assert gitwatch("daemon", "stop").returncode == 0
    assert gitwatch("doctor").stdout.endswith(b"\nNothing is wrong.\n")
    config.write_text("root = []")
    assert [problem["what"] for problem in examine(gitwatch)["problems"]] == [
        f"{config}:1: there is no key \"root\" (did you mean 'roots'?)"
    ]
    text = gitwatch("doctor").stdout.decode()
    assert f"problem: {config}:1: there is no key" in text
    assert "  max user watches    sudo sysctl fs.inotify.max_user_watches=" in text
    # It lies below --state-dir, which no service serves.
    assert "service" not in facts and "systemd service" not in text


def test_what_was_slow_is_named_with_its_time(held_daemon: Daemon, hanging_git: HangingGit, tmp_path: Path) -> None:
    git = for_git_alone(new_repository(tmp_path / "slow", {"a": b"1\n"}))
    with held_daemon.connect() as client, held_daemon.connect() as other:
        hanging_git.hold()
        client.call("status", [text_or_bytes(bytes(git.path))], {"wait_s": 0.01})
        hanging_git.wait()
        held_at = time.monotonic()
        wait_until(lambda: time.monotonic() - held_at > 0.6)
        hanging_git.release()
        other.reports(git.path)
        (name, seconds), *others = other.call("doctor")["slowest_s"].items()
        assert (name, others) == (str(git.path), []) and 0.6 <= seconds < 60
