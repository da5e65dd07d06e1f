"""The executable `gitwatch-prompt`, and `gitwatch prompt` for what it leaves to it, with a real daemon."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from gitwatch.prompt import find_socket

from gitwatchd.wire.address import places
from tests.zoo.commands import Git, without_git
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

BIN = Path(sys.executable).parent
Completed = subprocess.CompletedProcess[bytes]
Prompt = Callable[..., Completed]

ALLOWED = {"_socket", "gitwatch", "gitwatch.prompt"}
"""What the executable may import beyond what `python -I -S -c pass` has."""


@pytest.fixture
def real(start_daemon: Callable[..., Daemon], tmp_path: Path) -> Daemon:
    """(The fixture `daemon` of this directory is one with canned answers.)"""
    return start_daemon()


@pytest.fixture
def prompt(tmp_path: Path) -> Prompt:
    def run(cwd: Path, *arguments: str | Path, program: str = "gitwatch-prompt", **env: str) -> Completed:
        words = [BIN / "gitwatch", "prompt"] if program == "gitwatch" else [BIN / program]
        return subprocess.run(
            [*words, "--state-dir", tmp_path / "state", *arguments], cwd=cwd, env={**without_git(os.environ), **env},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
        )  # fmt: skip

    return run


def test_a_line(real: Daemon, prompt: Prompt, repository: Callable[..., Git], tmp_path: Path) -> None:
    git = repository({"a": b"1\n", "dir/b": b"2\n"})
    (git.path / "new").write_bytes(b"x")
    for program in ("gitwatch-prompt", "gitwatch"):
        for cwd, more in ((git.path, []), (git.path / "dir", []), (tmp_path, [git.path / "dir"]), (tmp_path, ["repo"])):
            done = prompt(cwd, "--timeout", "30", *more, program=program)
            assert (done.returncode, done.stdout, done.stderr) == (0, b"main ?1\n", b"")
        done = prompt(tmp_path, "--timeout", "30", program=program)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_directory_that_a_prompt_stood_in_is_not_searched(
    real: Daemon, prompt: Prompt, repository: Callable[..., Git], tmp_path: Path
) -> None:
    repository({"a": b"1\n"})
    prompt(tmp_path, "--timeout", "30")
    with real.connect() as client:
        assert client.call("roots.list") == [] and client.reports() == []


def test_git_dir_and_other_worlds(real: Daemon, prompt: Prompt, repository: Callable[..., Git], tmp_path: Path) -> None:
    git = repository({"a": b"1\n"})
    asked = ("--timeout", "30")
    assert prompt(tmp_path, *asked, GIT_DIR=str(git.path / ".git")).stdout == b"main\n"
    assert prompt(tmp_path, *asked, GIT_DIR="repo/.git").stdout == b"main\n"
    assert prompt(git.path, *asked, GIT_INDEX_FILE="other").stdout == b""


def test_template_formats_and_locale(real: Daemon, prompt: Prompt, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    git("checkout", "-q", "-b", "50%#é")
    asked = ("--timeout", "30", "--template", "{bold}{branch}[ {tag}]{reset}⇡")
    lines = {name: prompt(git.path, *asked, "--format", name).stdout.decode() for name in ("text", "zsh", "tmux")}
    assert lines == {
        "text": "\x1b[1m50%#é\x1b[0m⇡\n", "zsh": "%{\x1b[1m%}50%%#é%{\x1b[0m%}⇡\n",
        "tmux": "#[bold]50%##é#[default]⇡\n",
    }  # fmt: skip
    # Python replaces LC_CTYPE where the locale is C, or one that this machine has not.
    for locale in ({"LC_ALL": "C"}, {"LANG": "C"}, {"LC_CTYPE": "C"}, {"LANG": "xx_XX.ISO-8859-1"}):
        assert prompt(git.path, *asked, **locale).stdout == b"\x1b[1m50%#?\x1b[0m^\n", locale


def test_mistakes_are_told(real: Daemon, prompt: Prompt, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    for arguments, said in (
        (("--timeout", "30", "--template", "{nope}"), "no field or colour 'nope'"),
        (("--format", "csv"), "no format 'csv'"),
        (("--timeout", "0"), "--timeout needs"),
        (("--nope",), "no option '--nope'"),
        (("a", "b"), "takes no 'b'"),
    ):
        done = prompt(git.path, *arguments)
        assert done.returncode == 2 and said in done.stderr.decode() and done.stdout == b""
    assert b"usage: gitwatch-prompt" in prompt(git.path, "--help").stdout


def test_json(real: Daemon, prompt: Prompt, repository: Callable[..., Git], tmp_path: Path) -> None:
    git = repository({"a": b"1\n"})
    (report,) = [json.loads(prompt(git.path, "--timeout", "30", "--format", "json").stdout)]
    assert (report["path"], report["state"], report["branch"]) == (str(git.path), "fresh", "main")
    assert prompt(tmp_path, "--timeout", "30", "--format", "json").stdout == b""


def test_shell_variables_are_what_the_shell_gets(
    real: Daemon, prompt: Prompt, repository: Callable[..., Git], tmp_path: Path
) -> None:
    git = repository({"a": b"1\n"}, "it's \\ $(true>PWNED)`true>PWNED`")
    (git.path / "new").write_bytes(b"x")
    answer = prompt(git.path, "--timeout", "30", "--format", "shell").stdout
    script = (
        answer + b'printf "%s|" "$VCS_STATUS_WORKDIR" $VCS_STATUS_RESULT $VCS_STATUS_HAS_UNTRACKED "$GITWATCH_PROMPT"'
    )
    done = subprocess.run(["sh", "-euc", script], cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout.decode() == f"{git.path}|ok-sync|1|main ?1|"
    assert os.listdir(tmp_path).count("PWNED") == 0
    none = prompt(tmp_path, "--timeout", "30", "--format", "shell").stdout
    done = subprocess.run(
        ["sh", "-ec", script + b"\n" + none + b"echo ${VCS_STATUS_WORKDIR-unset}"], capture_output=True, check=True
    )
    assert done.stdout.endswith(b"|unset\n")


def test_a_deleted_directory_is_no_repository(
    real: Daemon, prompt: Prompt, repository: Callable[..., Git], tmp_path: Path
) -> None:
    repository({"a": b"1\n"})
    script = 'mkdir gone && cd gone && rmdir "$PWD" && exec "$0" --state-dir "$1" --format fish --timeout 30'
    done = subprocess.run(
        ["sh", "-c", script, BIN / "gitwatch-prompt", tmp_path / "state"], cwd=tmp_path, stdin=subprocess.DEVNULL,
        env=without_git(os.environ), capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    assert b"VCS_STATUS_STATE 'none'" in done.stdout
    assert not (tmp_path / "state/run/prompt-started").exists()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("program", ["gitwatch-prompt", "gitwatch"])
def test_an_output_that_takes_nothing_is_no_error(
    real: Daemon, repository: Callable[..., Git], tmp_path: Path, program: str
) -> None:
    git = repository({"a": b"1\n"})
    words = [BIN / program, *(["prompt"] if program == "gitwatch" else []), "--state-dir", tmp_path / "state"]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [*words, "--timeout", "30"], cwd=git.path, env=without_git(os.environ), stdin=subprocess.DEVNULL,
            stdout=full, stderr=subprocess.PIPE, timeout=60, check=False,
        )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_stopped_daemon_costs_no_more_than_the_deadline(
    real: Daemon, prompt: Prompt, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    assert prompt(git.path, "--timeout", "30").stdout == b"main\n"
    os.kill(real.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        done = prompt(git.path)
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
        assert time.monotonic() - started < 30.0  # 0.07 s where nothing else runs; without a deadline it never ends
    finally:
        os.kill(real.pid, signal.SIGCONT)


def test_what_takes_longer_is_the_last_answer_and_marked(
    start_daemon: Callable[..., Daemon], prompt: Prompt, repository: Callable[..., Git], tmp_path: Path
) -> None:
    from tests.scenarios.commands import HangingGit, for_git_alone

    hanging = HangingGit(tmp_path / "bin")
    start_daemon(env=hanging.env)
    git = for_git_alone(repository({"a": b"1\n"}))
    assert prompt(git.path, "--timeout", "30").stdout == b"main\n"
    hanging.hold()
    try:
        (git.path / "a").write_bytes(b"2\n")
        assert prompt(git.path, "--timeout", "2").stdout.decode() == "main …\n"
        assert b"VCS_STATUS_STATE='stale'" in prompt(git.path, "--timeout", "2", "--format", "shell").stdout
    finally:
        hanging.release()
    assert prompt(git.path, "--timeout", "30").stdout == b"main !1\n"


def test_the_configured_deadline_and_template(
    real: Daemon, prompt: Prompt, repository: Callable[..., Git], tmp_path: Path
) -> None:
    told = tmp_path / "state/run/prompt-deadline-ms"
    wait_until(lambda: told.exists() and told.read_text() == "50")
    git = repository({"a": b"1\n"})
    config = tmp_path / "state/config.toml"
    config.write_text("[prompt]\ndeadline_ms = 30000\ntemplate = 'on {branch}'\n")
    assert prompt(git.path, "--timeout", "30").stdout == b"on main\n"
    assert told.read_text() == "30000"
    config.write_text("[prompt]\ntemplate = '{nope}'\n")
    assert prompt(git.path, "--timeout", "30").stdout == b"main\n"


def test_imports_next_to_nothing(real: Daemon, repository: Callable[..., Git], tmp_path: Path) -> None:
    git = repository({"a": b"1\n"})
    runtime = tmp_path / "x"
    runtime.mkdir()
    (runtime / "gitwatchd").symlink_to(tmp_path / "state/run")
    client = Path(__file__).parents[2] / "client"
    script = (
        "import sys; before = set(sys.modules); "
        f"sys.path.append({str(client)!r}); sys.argv[1:] = ['--timeout', '30']; "
        "from gitwatch.prompt import main; assert main() == 0; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", script], cwd=git.path, capture_output=True, check=True,
        env={**without_git(os.environ), "XDG_RUNTIME_DIR": str(runtime)},
    )  # fmt: skip
    line, modules = done.stdout.decode().splitlines()
    assert line == "main"
    assert set(modules.split()) <= ALLOWED


@pytest.mark.parametrize(
    "written",
    [
        "#!{python}\n# -*- coding: utf-8 -*-\n",
        "#!{python} -E\n",
        "#!/bin/sh\n'''exec' \"{python}\" \"$0\" \"$@\"\n' '''\n",
        "#!/bin/sh\n'''exec' '{python}' \"$0\" \"$@\"\n' '''\n",
        "#!/bin/sh\n'''exec' {python} \"$0\" \"$@\"\n' '''\n",
    ],
    ids=["pip", "pipx", "pip-spaces", "uv-spaces", "pip-long"],
)
def test_the_interpreter_is_the_one_that_the_installer_wrote(written: str, tmp_path: Path) -> None:
    directory = tmp_path / ("with space" if '{python}" ' in written or "{python}' " in written else "plain")
    directory.mkdir()
    python = directory / "python"
    python.write_text('#!/bin/sh\necho "$@"\n')
    python.chmod(0o755)
    program = directory / "gitwatch-prompt"
    shutil.copy(BIN / "gitwatch-prompt", program)
    (directory / "gitwatch").write_text(written.format(python=python))
    link = tmp_path / "bin"
    link.mkdir()
    for name in ("gitwatch", "gitwatch-prompt"):
        (link / name).symlink_to(directory / name)
    for each in (program, link / "gitwatch-prompt"):
        done = subprocess.run([each, "a b"], capture_output=True, check=True)
        assert done.stdout.decode() == f"-I -S {each} a b\n"


@pytest.mark.parametrize("uid_dir", ["", "relative", "/run/user/1000/", "/" + "x" * 74, "/" + "x" * 75, "/"])
@pytest.mark.parametrize("temporary", ["", "/var/tmp/", "/" + "y" * 120])
@pytest.mark.parametrize("state_dir", [None, "/s", "/" + "z" * 90, "some/../where"])
def test_the_socket_is_where_the_daemon_has_it(uid_dir: str, temporary: str, state_dir: str | None) -> None:
    environ = {"HOME": "/home/u", "XDG_RUNTIME_DIR": uid_dir, "TMPDIR": temporary}
    encoded = {name.encode(): value.encode() for name, value in environ.items()}
    where = places(environ, os.getuid(), None if state_dir is None else state_dir.encode())
    found = find_socket(encoded, None if state_dir is None else state_dir.encode())
    assert found == (where.socket, where.run_dir)


def test_an_absent_daemon_is_started_for_the_next_prompt(repository: Callable[..., Git], tmp_path: Path) -> None:
    git = repository({"a": b"1\n"})
    runtime = tmp_path / "own"
    runtime.mkdir(mode=0o700)
    env = {**without_git(os.environ), "XDG_RUNTIME_DIR": str(runtime)}

    def ask(*arguments: str) -> Completed:
        return subprocess.run(
            [BIN / "gitwatch-prompt", *arguments], cwd=git.path, env=env, capture_output=True, check=True
        )

    assert ask().stdout == b""
    socket = places(env, os.getuid()).socket
    wait_until(lambda: os.path.exists(socket), what="a daemon")
    try:
        wait_until(lambda: ask("--timeout", "30").stdout == b"main\n", what="a line")
    finally:
        with Client(socket) as client:
            client.end_daemon()
    assert not os.path.exists(socket)
