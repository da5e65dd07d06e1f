from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.client.conftest import FakeDaemon, Gitwatch

VIEW: dict[str, Any] = {"text": "TABLE ↑2\n", "notes": ["stale: a: b"], "failed": 0, "strict_failed": 1}
REPORT = {"path": "/r", "branch": b"gr\xfcn", "state": "fresh", "reason": "", "hint": ""}


def test_table_is_the_daemons(daemon: FakeDaemon, gitwatch: Gitwatch, tmp_path: Path) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.start()
    (tmp_path / "d").mkdir()
    done = gitwatch("status", "d", "--jobs", "0", "--include-ignored", "--verify")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        VIEW["text"].encode(),
        b"gitwatch: stale: a: b\n",
    )
    assert daemon.calls("render") == [
        [
            "status",
            {
                "progress": False, "verify": True, "include_ignored": True, "jobs": 0,
                "paths": [os.fsencode(tmp_path / "d")], "width": None, "colour": False,
            },
        ]
    ]  # fmt: skip


def test_strict_counts_what_is_not_fresh(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.start()
    assert gitwatch("status", "--strict").returncode == 1


def test_json_and_lines(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["status"] = {"result": {"repos": [REPORT, REPORT], "errors": []}}
    daemon.start()
    reports = json.loads(gitwatch("status", "--json").stdout)
    assert [report["branch"] for report in reports] == ["gr\ufffdn"] * 2
    lines = gitwatch("status", "--jsonl", "--no-wait").stdout.splitlines()
    assert [json.loads(line) for line in lines] == reports
    assert daemon.calls("status")[1] == [[], {"wait_s": 0, "progress": False}]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--json", "--jsonl"], "--json and --jsonl exclude each other"),
        (["--no-wait", "--verify"], "--no-wait and --verify exclude each other"),
        (["-z"], "-z goes with --porcelain=v2"),
        (["--porcelain=v1"], "no porcelain format 'v1'"),
        (["--porcelain=v2", ".", "."], "--porcelain=v2 answers about one PATH"),
    ],
)
def test_usage(gitwatch: Gitwatch, arguments: list[str], message: str) -> None:
    done = gitwatch("status", *arguments)
    assert done.returncode == 2 and done.stdout == b""
    assert done.stderr.decode().splitlines()[0] == f"gitwatch: {message}"


@pytest.mark.parametrize(("code", "exit_code"), [(1, 1), (2, 2), (3, 3), (-32603, 1)])
def test_the_daemons_error_decides_the_exit_code(
    daemon: FakeDaemon, gitwatch: Gitwatch, code: int, exit_code: int
) -> None:
    daemon.answers["render"] = {"error": [code, "why\nhint"]}
    daemon.start()
    done = gitwatch("status")
    assert (done.returncode, done.stdout, done.stderr) == (exit_code, b"", b"gitwatch: why\n  hint\n")


def test_timeout_ends_the_wait_for_a_daemon_that_says_nothing(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"silent": True}
    daemon.start()
    done = gitwatch("status", "--timeout", "0.3")
    assert done.returncode == 4
    assert b"the daemon did not answer within" in done.stderr
    ((_, options),) = daemon.calls("render")
    assert 0 < options["wait_s"] <= 0.9 * 0.3


def test_a_stopped_daemon_is_not_waited_for(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.start()
    os.kill(daemon.pids()[0], signal.SIGSTOP)
    done = gitwatch("status", "--timeout", "0.3")
    assert done.returncode == 4
    assert b"gitwatch daemon restart" in done.stderr


def test_a_reader_that_leaves_ends_it_quietly(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"result": {**VIEW, "text": "x" * (1 << 20), "notes": []}}
    daemon.start()
    command = [sys.executable, "-m", "gitwatch", "--state-dir", str(daemon.directory), "status"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == -signal.SIGPIPE


def test_interrupted_while_waiting(daemon: FakeDaemon, wait_until: Callable[..., object]) -> None:
    daemon.answers["render"] = {"silent": True}
    daemon.start()
    command = [sys.executable, "-m", "gitwatch", "--state-dir", str(daemon.directory), "status"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        wait_until(lambda: (daemon.directory / "requests").exists() and daemon.calls("render"))
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (130, b"", b"")


def test_a_newer_incompatible_daemon_is_left_alone(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["hello"]["result"]["protocol"] = [2, 0]
    daemon.start()
    done = gitwatch("status")
    assert done.returncode == 4 and b"speaks protocol 2" in done.stderr
    assert daemon.calls("shutdown") == []


def test_an_older_incompatible_daemon_is_replaced(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.answers["hello"]["result"]["protocol"] = [0, 9]
    daemon.start()
    daemon.answers["hello"]["result"]["protocol"] = [1, 5]
    daemon.write_answers()
    assert gitwatch("status").returncode == 0
    assert len(daemon.calls("shutdown")) == 1 and len(daemon.pids()) == 2


@pytest.mark.parametrize(("version", "protocol"), [("0.0.1", [1, 0]), ("99.0", [1, 9])])
def test_of_the_same_protocol_the_running_daemon_stays_whatever_its_version(
    daemon: FakeDaemon, gitwatch: Gitwatch, version: str, protocol: list[int]
) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.answers["hello"]["result"].update(version=version, protocol=protocol, nonsense_of_later={"x": 1})
    daemon.start()
    assert gitwatch("status").returncode == 0
    assert daemon.calls("shutdown") == [] and len(daemon.pids()) == 1


def test_not_a_terminal_gets_neither_progress_nor_colour_and_a_latin1_locale_no_arrows(
    daemon: FakeDaemon, gitwatch: Gitwatch
) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.start()
    assert gitwatch("status", PYTHONIOENCODING="latin-1").stdout == b"TABLE ^2\n"


@pytest.mark.parametrize("locale", [{"LC_ALL": "C"}, {"LANG": "C"}, {"LANG": "xx_XX.ISO-8859-1"}])
def test_a_locale_that_is_not_utf8_gets_signs_of_ascii_and_names_as_they_are(
    daemon: FakeDaemon, gitwatch: Gitwatch, locale: dict[str, str]
) -> None:
    daemon.answers["render"] = {
        "result": {**VIEW, "text": "caf\u00e9 \u21e32\u21e11 \u2026\n", "notes": ["caf\u00e9 \u2026"]}
    }
    daemon.start()
    done = gitwatch("status", **locale)
    assert done.stdout == "caf\u00e9 v2^1 ~\n".encode()
    assert done.stderr == "gitwatch: caf\u00e9 ~\n".encode()
    done = gitwatch("status", PYTHONIOENCODING="latin-1", **locale)
    assert (done.stdout, done.stderr) == (b"caf\xe9 v2^1 ~\n", b"gitwatch: caf\xe9 ~\n")


def test_progress_on_a_terminal_is_gone_when_done(daemon: FakeDaemon) -> None:
    from gitwatch.progress import Progress

    leader, follower = pty.openpty()
    script = (
        "import time; from gitwatch import progress; progress._BLINK_S = progress._BETWEEN_S = 0\n"
        "with progress.Progress(shown=True) as p:\n"
        "  p.on_notification('progress', [{'phase': 'discovering', 'found': 1234, 'done': 0, 'total': None}])\n"
        "  p.on_notification('progress', [{'phase': 'analysing', 'found': 9, 'done': 3, 'total': 9}])\n"
        "  assert p.wanted\n"
    )
    subprocess.run([sys.executable, "-c", script], stderr=follower, check=True)
    os.close(follower)
    drawn = os.read(leader, 4096).decode()
    os.close(leader)
    first, second, blank, end = drawn.split("\r")[1:]
    assert first == "discovering: 1234 repositories"
    assert second.startswith("analysing 3/9 [##########....")
    assert blank.strip() == "" and len(blank) >= len(first) and end == ""
    assert not Progress(shown=False).wanted


@pytest.mark.parametrize(("options", "wanted"), [((), True), (("--no-progress",), False)])
def test_a_terminal_is_asked_progress_for_unless_told_not_to(
    daemon: FakeDaemon, options: tuple[str, ...], wanted: bool
) -> None:
    told = {"phase": "analysing", "found": 9, "done": 3, "total": 9, "rows": ["one"]}
    daemon.answers["render"] = {"result": VIEW, "notify": [["progress", [told]]]}
    daemon.start()
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (24, 80))
    script = (
        "import sys; from gitwatch import progress; progress._BLINK_S = 0\n"
        "from gitwatch.__main__ import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", script, "--state-dir", daemon.directory, "status", *options]
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": ""}
    subprocess.run(command, stdout=follower, stderr=follower, env=environment, check=True)
    os.close(follower)
    drawn = os.read(leader, 4096)
    os.close(leader)
    ((_view, asked),) = daemon.calls("render")
    assert (asked["progress"], "rows" in asked) == (wanted, wanted)
    assert (b"analysing 3/9" in drawn, b"one" in drawn) == (wanted, wanted)


def test_early_rows_stand_above_the_progress_as_long_as_there_is_room_and_are_wiped_out(daemon: FakeDaemon) -> None:
    leader, follower = pty.openpty()
    termios.tcsetwinsize(follower, (6, 80))
    script = (
        "from gitwatch import progress; progress._BETWEEN_S = 0\n"
        "with progress.Progress(shown=True, above_table=True) as p:\n"
        "  assert p.room == 4\n"
        "  state = {'phase': 'analysing', 'found': 9, 'done': 3, 'total': 9}\n"
        "  p.on_notification('progress', [{**state, 'rows': ['one']}])\n"
        "  progress._BLINK_S = p._next = 0\n"
        "  p.on_notification('progress', [{**state, 'rows': ['two']}])\n"
        "  p.on_notification('progress', [state])\n"
        "  p.on_notification('progress', [{**state, 'rows': ['three', 'four', 'five', 'six']}])\n"
    )
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": ""}
    subprocess.run([sys.executable, "-c", script], stdout=follower, env=environment, check=True)
    os.close(follower)
    drawn = os.read(leader, 4096).decode().replace("\r\n", "\n")
    os.close(leader)
    bar = "analysing 3/9 [##########....................]"
    assert drawn == (
        f"\r\x1b[Kone\ntwo\n\r{bar}\r{bar}\r\x1b[Kthree\nfour\n\r{bar}"  # the screen is full
        "\r\x1b[4A\x1b[J"
    )


def test_fast_answers_draw_no_progress(daemon: FakeDaemon) -> None:
    leader, follower = pty.openpty()
    script = (
        "from gitwatch import progress\n"
        "with progress.Progress(shown=True) as p:\n"
        "  p.update('discovering', 1, 0, None)\n"
    )
    subprocess.run([sys.executable, "-c", script], stderr=follower, check=True)
    os.write(follower, b"end")
    assert os.read(leader, 4096) == b"end"
    os.close(follower)
    os.close(leader)


def test_status_imports_next_to_nothing(daemon: FakeDaemon) -> None:
    daemon.answers["render"] = {"result": VIEW}
    daemon.start()
    script = (
        "import sys; before = set(sys.modules); from gitwatch.__main__ import main; code = main(); "
        "print(*sorted(set(sys.modules) - before), file=sys.stderr); sys.exit(code)"
    )
    command = [sys.executable, "-I", "-c", script, "--state-dir", str(daemon.directory), "status"]
    done = subprocess.run(command, capture_output=True, check=True)
    loaded = set(done.stderr.decode().splitlines()[-1].split())
    dear = {
        "argparse",
        "json",
        "dataclasses",
        "typing",
        "pathlib",
        "subprocess",
        "socket",
        "re",
        "inspect",
        "selectors",
    }
    assert "msgpack" in loaded
    assert not loaded & dear
