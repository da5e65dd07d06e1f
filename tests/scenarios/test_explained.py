"""A daemon that hangs, or waits for long, explains itself."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable

from gitwatch.link import wait_gone

from tests.scenarios.commands import Gitwatch, HangingGit, for_git_alone
from tests.zoo.commands import Git
from tests.zoo.daemon import Daemon


def test_the_dump_tells_what_is_waited_for(
    start_daemon: Callable[..., Daemon], hanging_git: HangingGit, gitwatch: Gitwatch, repository: Callable[..., Git]
) -> None:
    git = for_git_alone(repository({"a": b"1\n"}))
    start_daemon(env=hanging_git.env)
    hanging_git.hold()
    waiting = gitwatch.start("status", git.path)
    hanging_git.wait()
    done = gitwatch("doctor", "--dump")
    hanging_git.release()
    waiting.communicate(timeout=20)
    dump = json.loads(done.stdout)
    assert done.returncode == 0
    assert "analysing from generation" in dump["repositories"][str(git.path)]
    (query,) = dump["queries"].values()
    assert list(query["need"]) == [str(git.path)]
    assert {"Found", "Walked", "Asked"} <= {name for _, name, _ in dump["events"]}
    assert any(name.startswith("analyse ") for name in dump["threads"])
    after = json.loads(gitwatch("doctor", "--dump").stdout)
    assert after["queries"] == {} and [w[1] for w in after["work"]] == ["walk", "analysis"]
    assert "render" in {name for _, name, _ in after["requests"]}


def test_a_hung_daemon_that_is_replaced_leaves_its_stacks_in_the_log(
    gitwatch: Gitwatch, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    gitwatch.reports(git.path)
    pid = gitwatch.daemon_pid()
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    done = gitwatch("daemon", "restart")
    assert done.returncode == 0 and wait_gone(pid, 10.0)
    said = gitwatch.log()
    assert "most recent call first" in said and "in run_once" in said
