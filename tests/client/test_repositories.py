from __future__ import annotations

import json
import os
import time
from pathlib import Path

from gitwatchd import __version__
from tests.client.conftest import FakeDaemon, Gitwatch


def test_roots(daemon: FakeDaemon, gitwatch: Gitwatch, tmp_path: Path) -> None:
    daemon.answers["roots.add"] = daemon.answers["roots.remove"] = {"result": None}
    daemon.answers["roots.list"] = {
        "result": [
            {"path": "/src", "permanent": True, "repositories": 12, "asked_at": 0},
            {"path": b"/\xff\n", "permanent": False, "repositories": 3, "asked_at": time.time() - 3 * 86400},
        ]
    }
    daemon.start()
    place = os.fsencode(tmp_path)
    assert gitwatch("roots", "add", ".", "--include-ignored").stdout == b"watching " + place + b"\n"
    assert gitwatch("roots", "rm", ".").stdout == b"no longer watching " + place + b"\n"
    assert daemon.calls("roots.add") == [[place, {"include_ignored": True}]]
    assert daemon.calls("roots.remove") == [[place]]
    assert gitwatch("roots", "list").stdout.decode().splitlines() == [
        "ROOT     REPOSITORIES  KEPT",
        "/src     12            for ever",
        "/\\xff\\n  3             for 14 days after it was last asked for (3 days ago)",
    ]


def test_verify_exits_1_on_a_difference(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    difference = {
        "path": "/r",
        "expected": b"# branch.head main\0? a\0",
        "answered": b"# branch.head main\0? b\0",
    }
    daemon.answers["verify"] = {"result": {"checked": 2, "differences": [difference]}}
    daemon.start()
    done = gitwatch("verify")
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "/r: the daemon's answer is not git's",
        "  git only:    ? a",
        "  daemon only: ? b",
        "verified 2 repositories: 1 differ from git",
    ]


def test_refresh_trust_and_doctor(daemon: FakeDaemon, gitwatch: Gitwatch, tmp_path: Path) -> None:
    daemon.answers["refresh"] = {"result": {"repositories": 1, "failed": 0, "unfinished": 0}}
    daemon.answers["trust"] = {"result": None}
    daemon.answers["render"] = {"result": {"text": "well\n", "notes": [], "failed": 1}}
    daemon.start()
    assert gitwatch("refresh", ".").stdout == b"refreshed 1 repository\n"
    assert gitwatch("trust", ".").returncode == 0
    done = gitwatch("doctor")
    assert (done.returncode, done.stdout) == (1, b"well\n")
    assert daemon.calls("refresh") == [[[os.fsencode(tmp_path)], {"progress": False}]]
    assert daemon.calls("trust") == [[os.fsencode(tmp_path)]]
    assert daemon.calls("render") == [["doctor", {"width": None, "colour": False}]]


def test_doctor_says_when_the_daemon_is_of_another_version(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["hello"]["result"]["version"] = "0.0.9"
    daemon.answers["doctor"] = {"result": {"failed": 0}}
    daemon.start()
    done = gitwatch("doctor", "--json")
    assert (done.returncode, json.loads(done.stdout)) == (0, {"failed": 0})
    first, hint = done.stderr.decode().splitlines()
    assert first.startswith(f"gitwatch: the daemon is gitwatchd 0.0.9, this is gitwatch {__version__}")
    assert hint.strip() == "gitwatch daemon restart"


def test_trust_is_taken_back(daemon: FakeDaemon, gitwatch: Gitwatch, tmp_path: Path) -> None:
    daemon.answers["trust"] = {"result": {"path": "/r", "configured": False}}
    daemon.start()
    assert gitwatch("trust", "--remove", ".").stdout == b"no longer trusting /r\n"
    assert daemon.calls("trust") == [[os.fsencode(tmp_path), {"remove": True}]]


def test_refresh_says_what_failed_and_what_is_not_finished(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["refresh"] = {"result": {"repositories": 7, "failed": 1, "unfinished": 2}}
    daemon.start()
    done = gitwatch("refresh", "--timeout", "10")
    assert (done.returncode, done.stdout) == (1, b"refreshed 5 repositories\n")
    assert b"2 not finished in time" in done.stderr and b"1 failed" in done.stderr
    ((_paths, options),) = daemon.calls("refresh")
    assert 0 < options["wait_s"] < 10
