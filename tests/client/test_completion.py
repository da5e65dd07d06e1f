"""What Tab offers: first as words, then in real shells, where they are installed."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import shutil
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Collection
from pathlib import Path

import pytest
from gitwatch.cli import COMMANDS, FLAG, GLOBAL_OPTIONS
from gitwatch.completion import DIRECTORIES, SCRIPTS, _unsplit, candidates

from tests.client.conftest import FakeDaemon, Gitwatch

KNOWN = {
    "repositories": ["/c/api-users", "/c/apples", "/c/web", "/c/deep/api"],
    "groups": ["api", "web"],
    "roots": ["/c", "/d"],
}


def ask(kind: str) -> Collection[str]:
    return KNOWN[kind]


def offered(*words: str) -> list[str]:
    return candidates(words[:-1], words[-1], ask)


def test_every_command_and_option_is_offered() -> None:
    for name, (_, _, options, _, _) in COMMANDS.items():
        words = name.split()
        for position, word in enumerate(words):
            assert word in offered(*words[:position], "")
        assert set(offered(*words, "-")) == {*options, *GLOBAL_OPTIONS}
        assert offered(*words, "-- no such") == []


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["st"], ["status"]),
        (["--state-dir", "/x", "st"], ["status"]),
        (["--state-dir=/x", "roots", "a"], ["add"]),
        (["status", "--js"], ["--json", "--jsonl"]),
        (["status", "--porcelain="], ["--porcelain=v2"]),
        (["status", "--state-dir", "x"], [DIRECTORIES]),
        (["status", "--sort", "branch_"], ["branch_remote"]),
        (["status", "-s", "branch_"], ["branch_remote"]),
        (["status", "--timeout", ""], []),
        (["status", "--columns", "branch,-na"], ["branch,-name"]),
        (["status", "--where", "dirty and not unt"], ["dirty and not untracked"]),
        (["status", "--jobs", "2", "--js"], ["--json", "--jsonl"]),
        (["status", ""], [DIRECTORIES]),
        (["status", "./x"], [DIRECTORIES]),
        (["status", "~"], [DIRECTORIES]),
        (["status", "api"], ["/c/api-users", "/c/deep/api", DIRECTORIES]),
        (["status", "one", "ap"], ["/c/api-users", "/c/apples", "/c/deep/api", DIRECTORIES]),
        (["status", "@"], ["@api", "@web"]),
        (["status", "@w"], ["@web"]),
        (["unsaved", "@"], ["@api", "@web"]),
        (["branches", "@"], [DIRECTORIES]),
        (["status", "--", "--js"], [DIRECTORIES]),
        (["trust", "one", "ap"], []),
        (["roots", "rm", "/d"], ["/d"]),
        (["roots", "list", ""], []),
        (["daemon", "st"], ["start", "stop", "status"]),
        (["help", "roo"], ["roots"]),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["nonsense", "x"], []),
    ],
)
def test_what_is_offered(words: list[str], expected: list[str]) -> None:
    if words == ["status", "--", "--js"]:
        expected = [DIRECTORIES]
    assert sorted(offered(*words)) == sorted(expected)


@pytest.mark.parametrize(
    ("words", "whole", "cut"),
    [
        (["status", "--sort", "=", "na"], ["status", "--sort=na"], 7),
        (["status", "--sort", "="], ["status", "--sort="], 7),
        (["status", "@", "ap"], ["status", "@ap"], 1),
        (["status", "@"], ["status", "@"], 1),
        (["status", "--json", "x"], ["status", "--json", "x"], 0),
    ],
)
def test_what_bash_split_is_put_together(words: list[str], whole: list[str], cut: int) -> None:
    assert _unsplit(words) == (whole, cut)


def test_every_option_with_words_for_values_offers_some() -> None:
    for _, _, options, _, _ in COMMANDS.values():
        for option, kind in options.items():
            if kind is not FLAG and option in ("--sort", "--columns", "--where", "--print", "--porcelain", "--format"):
                assert offered("status", option, ""), option


def test_no_daemon_is_started_and_nothing_is_said(daemon: FakeDaemon, gitwatch: Gitwatch) -> None:
    for arguments in (
        ("zsh", "status", "ap"), ("bash", "status", "@"), ("fish",), (), ("zsh", "--state-dir"), ("fish", "--x=", ""),
    ):  # fmt: skip
        done = complete(daemon, *arguments)
        assert (done.returncode, done.stderr) == (0, b"")
    assert daemon.pids() == []
    assert gitwatch("completion", "tcsh").returncode == 2
    assert gitwatch("completion").returncode == 2


def complete(daemon: FakeDaemon, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    shell, *words = arguments or ("",)
    with_state = [shell, "--state-dir", str(daemon.directory), *words] if words else list(arguments)
    command = [sys.executable, "-m", "gitwatch", "__complete", *with_state]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, check=False)


@pytest.fixture
def known(daemon: FakeDaemon) -> FakeDaemon:
    daemon.answers["status"] = {"result": {"repos": [{"path": p} for p in ("/c/api-users", b"/\xff", "/c/a\nb")]}}
    daemon.answers["config"] = {"result": {"values": {"groups.apis": {}, "limits.jobs": {}}}}
    daemon.answers["roots.list"] = {"result": [{"path": "/c"}]}
    daemon.start()
    return daemon


def test_names_are_the_running_daemons(known: FakeDaemon) -> None:
    assert complete(known, "zsh", "status", "a").stdout == b"/c/api-users\n:directories\n"
    assert complete(known, "zsh", "watch", "@").stdout == b"@apis\n"
    assert complete(known, "bash", "watch", "@", "a").stdout == b"apis\n"
    assert complete(known, "fish", "roots", "rm", "").stdout == b"/c\n"
    assert known.calls("status") == [[[], {"wait_s": 0, "fields": ["path"]}]]


def test_a_daemon_that_refuses_says_nothing(daemon: FakeDaemon) -> None:
    daemon.answers["status"] = {"error": [1, "no"]}
    daemon.start()
    done = complete(daemon, "zsh", "status", "a")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


# ---- real shells


def shell(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture
def command(tmp_path: Path) -> dict[str, str]:
    """An environment in which `gitwatch` is ours."""
    (tmp_path / "bin").mkdir()
    gitwatch = tmp_path / "bin/gitwatch"
    gitwatch.write_text(f'#!/bin/sh\nexec {sys.executable} -m gitwatch "$@"\n')
    gitwatch.chmod(0o755)
    return {**os.environ, "PATH": f"{tmp_path}/bin:{os.environ['PATH']}", "HOME": str(tmp_path)}


def run(arguments: list[str], environment: dict[str, str], cwd: Path) -> list[str]:
    done = subprocess.run(arguments, env=environment, cwd=cwd, capture_output=True, timeout=60, check=False)
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


def test_bash(known: FakeDaemon, command: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "a dir").mkdir()
    script = tmp_path / "script"
    script.write_text(
        SCRIPTS["bash"]
        + 'reply() { COMP_WORDS=(gitwatch "$@"); COMP_CWORD=$#; _gitwatch; printf "%s\\n" "${COMPREPLY[@]}"; }\n'
        f"reply roots a; reply status --sort = branch_; reply --state-dir {known.directory} status a\n"
        f"reply --state-dir {known.directory} status @ a\n"
    )
    offered = run([shell("bash"), "--norc", str(script)], command, tmp_path)
    assert offered == ["add", "branch_remote", "/c/api-users", "a dir", "apis"]


def test_fish(known: FakeDaemon, command: dict[str, str], tmp_path: Path) -> None:
    here = tmp_path / "here"
    (here / "dir").mkdir(parents=True)
    script = tmp_path / "script"
    state = f"--state-dir {known.directory}"
    lines = ("roots a", "status di", "status --sort=branch_", f"{state} status a", f"{state} status @")
    script.write_text(SCRIPTS["fish"] + "".join(f"complete -C 'gitwatch {line}'\n" for line in lines))
    offered = run([shell("fish"), "--no-config", str(script)], command, here)
    assert [line.split("\t")[0] for line in offered] == [
        "add", "dir/", "--sort=branch_remote", "/c/api-users", "@apis",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["bash", "zsh"])
def test_a_tab_in_a_real_terminal(name: str, known: FakeDaemon, command: dict[str, str], tmp_path: Path) -> None:
    start = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[name]
    before = {"bash": "", "zsh": "autoload -Uz compinit && compinit -u -D\n"}[name]
    (tmp_path / "script").write_text(before + SCRIPTS[name])
    master, slave = pty.openpty()
    # Wide enough for the line: a shell that scrolls it sideways shows only a part.
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("4H", 24, 2000, 0, 0))
    process = subprocess.Popen(
        [shell(name), *start], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=tmp_path,
        env={**command, "TERM": "dumb", "PS1": "> ", "PROMPT": "> "},
    )  # fmt: skip
    os.close(slave)
    try:
        os.write(master, f". {tmp_path}/script && echo re''ady\n".encode())
        said = read_until(master, b"\nready")
        os.write(
            master, f"echo [gitwatch]; gitwatch --state-dir {known.directory} ro\tad\t; gitwatch --state-dir ".encode()
        )
        os.write(master, f"{known.directory} status api\t".encode())
        said += read_until(master, b"/c/api-users")
        assert b"roots add" in as_shown(said)
    finally:
        process.kill()
        process.wait()
        os.close(master)


def as_shown(said: bytes) -> bytes:
    """With what was written over after a backspace, as the terminal shows it."""
    shown, at = bytearray(), 0
    for byte in said:
        if byte == 0x08:
            at -= 1
        else:
            shown[at : at + 1] = bytes([byte])
            at += 1
    return bytes(shown)


def read_until(descriptor: int, wanted: bytes) -> bytes:
    said, ends_at = b"", time.monotonic() + 30
    while wanted not in said:
        assert select.select([descriptor], [], [], max(0.0, ends_at - time.monotonic()))[0], said
        said += os.read(descriptor, 1 << 16)
    return said
