"""`gitwatch init`: what the prompt says, and that typing never waits for a daemon that does not answer."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from gitwatch.link import wait_gone

from gitwatchd.wire.address import places
from tests.shells.terminal import SHELLS, Terminal, lacks
from tests.zoo.commands import Git
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest) -> str:
    missing = lacks(request.param)
    if missing is not None:
        pytest.skip(missing)
    return str(request.param)


OpenTerminal = Callable[..., Terminal]


@pytest.fixture
def terminal(shell: str, tmp_path: Path, runtime: Path) -> Iterator[OpenTerminal]:
    opened: list[Terminal] = []

    def open_one(cwd: Path, before: str = "", **more: str) -> Terminal:
        env = {"XDG_RUNTIME_DIR": str(runtime), **more}
        opened.append(Terminal(shell, tmp_path / f"t{len(opened)}", cwd, env=env, before=before))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def test_follows_what_is_done(daemon: Daemon, terminal: OpenTerminal, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n", "dir/b": b"2\n"})
    there = terminal(git.path)
    there.draw_until("main")
    there.type("echo x >>a")
    there.wait_prompt("main !1")
    there.type("cd dir; touch new")
    there.wait_prompt("main !1 ?1")
    there.type("git add -A ..")
    there.wait_prompt("main +2")
    there.type("git commit -qm more")
    there.wait_prompt("main")
    there.type("echo y >>b; git stash -q")
    there.wait_prompt("main *1")
    there.type("cd /")
    there.wait_prompt("", "none")
    there.type(f"cd {git.path}")
    there.wait_prompt("main *1")


def test_a_stopped_rebase(daemon: Daemon, terminal: OpenTerminal, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    git("checkout", "-q", "-b", "topic")
    for text in (b"2\n", b"3\n"):
        (git.path / "a").write_bytes(text)
        git("commit", "-qam", "topic")
    git("checkout", "-q", "main")
    (git.path / "a").write_bytes(b"4\n")
    git("commit", "-qam", "main")
    git("checkout", "-q", "topic")
    there = terminal(git.path)
    there.draw_until("topic")
    there.type("git rebase main >/dev/null 2>&1; clear")
    oid = git("rev-parse", "--short=8", "main").decode().strip()
    there.wait_prompt(f"@{oid} rebase-i 1/2 ~1")
    there.type("git rebase --abort; clear")
    there.wait_prompt("topic")


INJECTIONS = ("$(true>PWNED)", "`true>PWNED`", "%F{red}%(!.x.y)", "${HOME}!")


def test_names_are_shown_and_never_run(daemon: Daemon, terminal: OpenTerminal, repository: Callable[..., Git]) -> None:
    """One with escape codes can only be written by hand, and is none for git either."""
    git = repository({"a": b"1\n"})
    there = terminal(git.path)
    there.draw_until("main")
    for name in INJECTIONS:
        if git.ask("check-ref-format", "--branch", name).exit:
            (git.path / ".git/HEAD").write_bytes(b"ref: refs/heads/" + name.encode() + b"\n")
            git("update-ref", "HEAD", git("rev-parse", "main").strip(), "")
        else:
            git("checkout", "-q", "-b", name)
        there.type("clear")
        there.wait_prompt(name)
    (git.path / ".git/HEAD").write_bytes(b"ref: refs/heads/a\x1b[31mb\x07\n")
    there.type("clear")
    there.wait_line(lambda last: last.startswith("<(unknown)"), "no branch for git")
    assert not (git.path / "PWNED").exists()


def test_a_stopped_daemon_holds_nobody_up(
    daemon: Daemon, terminal: OpenTerminal, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    there = terminal(git.path)
    there.draw_until("main")
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        for _ in range(10):
            there.run("true")
        assert time.monotonic() - started < 8.0  # ten prompts, each drawn anew by tmux on a loaded machine
        there.type("clear")
        there.wait_prompt("main …", "stale")
        (git.path / "a").write_bytes(b"2\n")
        there.type("cd /")
        there.wait_prompt("", "pending")
        there.run("cd - >/dev/null; clear")
        there.wait_prompt("", "pending")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    if there.shell == "bash":  # it cannot draw a prompt again by itself
        there.draw_until("main !1")
    else:
        there.wait_prompt("main !1")


def test_what_was_late_is_asked_again_for_where_the_shell_is_by_then(
    daemon: Daemon, terminal: OpenTerminal, repository: Callable[..., Git]
) -> None:
    first, second = repository({"a": b"1\n"}, "first"), repository({"a": b"1\n"}, "second")
    second("checkout", "-q", "-b", "topic")
    there = terminal(first.path)
    there.draw_until("main")
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        there.run("clear")
        there.wait_prompt("main …", "stale")
        there.type(f"clear; cd {second.path}")
        there.wait_prompt("", "pending")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    if there.shell == "bash":
        there.draw_until("topic")
    else:
        there.wait_prompt("topic")


def test_another_git_than_the_daemon_s_is_not_answered_for(
    daemon: Daemon, terminal: OpenTerminal, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    there = terminal(git.path)
    there.draw_until("main")
    export, unset = ("set -gx GIT_WORK_TREE /tmp", "set -e GIT_WORK_TREE") if there.shell == "fish" else (
        "export GIT_WORK_TREE=/tmp", "unset GIT_WORK_TREE",
    )  # fmt: skip
    there.type(f"clear; {export}")
    there.wait_prompt("", "none")
    there.type(f"clear; {unset}")
    there.wait_prompt("main")


OPTIONS = {
    "zsh": "setopt nounset ksh_arrays sh_word_split glob_subst warn_create_global warn_nested_var err_return noclobber "
    "extended_glob null_glob all_export",
    "bash": "set -uf; IFS=:; shopt -s nullglob extglob; set -o noclobber; set -o posix; set -ET\n"
    "PROMPT_COMMAND=('n=$((${n-0}+1))' 'm=1'); trap 'k=1' DEBUG",
    "fish": "set -g fish_key_bindings fish_vi_key_bindings",
}


def test_with_options_that_people_set(
    daemon: Daemon, terminal: OpenTerminal, shell: str, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    there = terminal(git.path, before=OPTIONS[shell])

    def shows(line: str, state: str) -> None:
        # In vi mode fish has the mode before it.
        there.wait_line(lambda last: f"<{line}|{state}|" in last and last.endswith(">"), f"{line} {state}")
        assert len(there.lines()) == 1, "nothing but the prompt: " + "\n".join(there.lines())

    there.run("clear; echo x >new")
    for command, line, state in (("cd /", "", "none"), (f"cd {git.path}", "main ?1", "fresh")):
        there.type(f"{command}; clear")
        shows(line, state)


def test_descriptors_below_ten_are_the_user_s(
    daemon: Daemon, terminal: OpenTerminal, shell: str, repository: Callable[..., Git]
) -> None:
    if shell == "fish":
        pytest.skip("keeps nothing open")
    git = repository({"a": b"1\n"})
    there = terminal(git.path)
    there.draw_until("main")
    there.run("for f in 3 4 5 6 7 8 9; do eval exec $f'>../taken'; done; clear")
    for command, line in (("touch new", "main ?1"), ("rm new", "main")):
        there.type(f"{command}; clear")
        there.wait_prompt(line)
    assert (git.path.parent / "taken").read_bytes() == b""


def test_evaluated_again(daemon: Daemon, terminal: OpenTerminal, repository: Callable[..., Git]) -> None:
    """As by `source ~/.zshrc`, also while an answer is under way: what was open before is neither kept nor used."""
    git = repository({"a": b"1\n"})
    there = terminal(git.path)
    there.draw_until("main")
    again = "gitwatch init fish | source" if there.shell == "fish" else f'eval "$(gitwatch init {there.shell})"'
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        there.run("clear")
        there.wait_prompt("main …", "stale")
        there.run(f"{again}; {again}; clear")
        there.wait_prompt("", "pending")
        (git.path / "a").write_bytes(b"2\n")
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    if there.shell == "bash":
        there.draw_until("main !1")
    else:
        there.wait_prompt("main !1")
    there.run("echo $$ >../shell; clear" if there.shell != "fish" else "echo $fish_pid >../shell; clear")
    pid = int((git.path.parent / "shell").read_text())
    there.wait_prompt("main !1")
    opened = [link.readlink() for link in Path(f"/proc/{pid}/fd").iterdir()]
    assert sum(str(target).startswith("socket:") for target in opened) <= 1


@pytest.fixture
def own_runtime(tmp_path: Path) -> Iterator[Path]:
    """An XDG_RUNTIME_DIR without a daemon; one that is started there is ended."""
    directory = tmp_path / "own"
    directory.mkdir(mode=0o700)
    yield directory
    for pid in _daemons(directory):
        os.kill(pid, signal.SIGTERM)
        assert wait_gone(pid, 10.0), "the daemon does not end"


def _daemons(runtime: Path) -> list[int]:
    path = places({**os.environ, "XDG_RUNTIME_DIR": str(runtime)}, os.getuid()).socket
    if not os.path.exists(path):
        return []
    try:
        with Client(path) as client:
            return [int(client.hello["pid"])]
    except OSError:
        return []
    except Exception:  # noqa: BLE001 - dead, and its socket left behind
        return []


def test_an_absent_daemon_is_started_and_a_killed_one_replaced(
    terminal: OpenTerminal, own_runtime: Path, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    there = terminal(git.path, XDG_RUNTIME_DIR=str(own_runtime))
    wait_until(lambda: _daemons(own_runtime), what="a daemon was started")
    there.draw_until("main")
    (pid,) = _daemons(own_runtime)
    assert os.getsid(pid) == pid
    os.kill(pid, signal.SIGKILL)
    (git.path / "a").write_bytes(b"2\n")
    there.draw_until("main !1")
    assert _daemons(own_runtime) not in ([], [pid])
