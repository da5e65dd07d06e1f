"""`gitwatch-gitstatusd`: the protocol, and over the whole zoo every field beside what git says.

The last tests run gitstatus's own plugins, unchanged. They are not part of this repository (they have another licence):
`GITSTATUS_PLUGINS=DIR` names a directory with gitstatus.plugin.zsh, gitstatus.plugin.sh, install, install.info and
build.info of gitstatus 1.5.5.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.render.prompt import VARIABLES
from gitwatchd.wire.address import places
from tests.conftest import _isolation
from tests.shells.gitstatus import EVERYTHING, HELPER, Helper, expected, expected_action
from tests.shells.terminal import Terminal, lacks
from tests.zoo.commands import Git
from tests.zoo.daemon import Client, Daemon
from tests.zoo.nursery import configure
from tests.zoo.repositories import REFUSED, UNSAFE, build_zoo
from tests.zoo.waiting import wait_until

PLUGINS = _isolation.plugins

NOT_SHOWN = REFUSED | UNSAFE


@pytest.fixture(scope="module")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build_zoo(tmp_path_factory.mktemp("zoo"))


@pytest.fixture
def environment(runtime: Path) -> dict[str, str]:
    return {"XDG_RUNTIME_DIR": str(runtime)}


@pytest.fixture
def helper(daemon: Daemon, environment: dict[str, str]) -> Iterator[Helper]:
    with Helper(*EVERYTHING, env=environment) as helper:
        yield helper


def wrong_fields(path: Path, answered: dict[str, str] | None) -> list[str]:
    if answered is None:
        return [f"{path.name}: not a repository"]
    wanted = expected(path)
    action = expected_action(path)
    wanted["ACTION"] = answered["ACTION"] if action == "*" else action
    return [
        f"{path.name}: {name} is {answered.get(name)!r}, by git {value!r}"
        for name, value in wanted.items()
        if answered.get(name) != value
    ]


@pytest.mark.timeout(300)
def test_every_field_over_the_zoo(helper: Helper, zoo: dict[str, Path]) -> None:
    wrong = []
    for name, path in zoo.items():
        answered = helper.ask(path)
        if name in UNSAFE | REFUSED:
            assert answered is None, name
        elif name not in NOT_SHOWN:
            wrong += wrong_fields(path, answered)
    assert not wrong, "\n".join(wrong)


def test_hello_first_and_ids_come_back(helper: Helper, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n", "dir/b": b"2\n"})
    helper.send(b"}hello\x1f")
    assert helper.receive() == [b"}hello", b"0"]
    request = b"1732464000.123 typeset -g x=$(( 1 ))\nnext; f 'y z'"
    helper.send(request + b"\x1f" + os.fsencode(git.path / "dir") + b"\x1f0")
    response = helper.receive()
    assert response[0] == request.replace(b"\n", b"?")
    assert response[2] == os.fsencode(git.path) and len(response) == 29


def test_a_slow_request_does_not_hold_up_the_others(
    start_daemon: Callable[..., Daemon], environment: dict[str, str], repository: Callable[..., Git], tmp_path: Path
) -> None:
    from tests.scenarios.commands import HangingGit, for_git_alone

    hanging = HangingGit(tmp_path / "bin")
    start_daemon(env=hanging.env)
    slow, quick = for_git_alone(repository({"a": b"1\n"}, "slow")), repository({"a": b"1\n"}, "quick")
    with Helper(*EVERYTHING, env=environment) as helper:
        hanging.hold()
        try:
            helper.send(b"slow\x1f" + os.fsencode(slow.path), b"quick\x1f" + os.fsencode(quick.path))
            assert helper.receive()[0] == b"quick"
        finally:
            hanging.release()
        assert helper.receive()[0] == b"slow"


def test_git_dirs(helper: Helper, repository: Callable[..., Git], tmp_path: Path) -> None:
    git = repository({"a": b"1\n"})
    git("worktree", "add", "-q", "../linked")
    (tmp_path / "linked/new").write_bytes(b"x")
    for git_dir, worktree in ((".git", git.path), (".git/worktrees/linked", tmp_path / "linked")):
        answered = helper.ask(b":" + os.fsencode(git.path / git_dir))
        assert answered is not None and answered["WORKDIR"] == str(worktree)
    assert answered["NUM_UNTRACKED"] == "1"
    assert helper.ask(b":" + os.fsencode(tmp_path)) is None


def test_a_git_dir_that_no_worktree_leads_to(helper: Helper, repository: Callable[..., Git], tmp_path: Path) -> None:
    """As people keep their dotfiles: GIT_DIR=~/.dotfiles, and core.worktree says the rest."""
    git = repository({"a": b"1\n"}, "home")
    (git.path / ".git").rename(tmp_path / "dotfiles")
    with (tmp_path / "dotfiles/config").open("a") as config:
        config.write(f"[core]\n\tworktree = {git.path}\n")
    (git.path / "a").write_bytes(b"2\n")
    answered = helper.ask(b":" + os.fsencode(tmp_path / "dotfiles"))
    assert answered is not None
    assert (answered["WORKDIR"], answered["NUM_UNSTAGED"]) == (str(git.path), "1")
    assert helper.ask(git.path) is None


def test_without_the_index(helper: Helper, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    (git.path / "new").write_bytes(b"x")
    answered = helper.ask(git.path, b"1")
    assert answered is not None
    assert (answered["LOCAL_BRANCH"], answered["NUM_UNTRACKED"], answered["INDEX_SIZE"]) == ("main", "0", "0")


def test_limits(daemon: Daemon, environment: dict[str, str], repository: Callable[..., Git]) -> None:
    git = repository(dict.fromkeys("abcdef", b"1\n"))
    for name in "abc":
        (git.path / name).unlink()
    git("rm", "-q", "--cached", "d", "e")
    for options, wanted in (
        ((), ("1", "1", "1", "1", "1")),
        (("-s5", "--max-num-unstaged=2", "--max-num-untr", "0"), ("2", "2", "2", "2", "0")),
        (("-m", "3", *EVERYTHING), ("2", "2", "0", "0", "0")),
        (("-m", "4", *EVERYTHING), ("2", "2", "3", "3", "2")),
    ):
        with Helper(*options, env=environment) as helper:
            a = helper.ask(git.path)
            assert a is not None
            names = "STAGED", "STAGED_DELETED", "UNSTAGED", "UNSTAGED_DELETED", "UNTRACKED"
            assert tuple(a[f"NUM_{name}"] for name in names) == wanted, options


def test_the_summary_is_cut_between_characters(
    daemon: Daemon, environment: dict[str, str], repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    git("commit", "-q", "--allow-empty", "-m", "ab\u20ac" + "x" * 10)
    for most, wanted in (("4", "ab"), ("5", "ab\u20ac"), ("-1", "ab\u20ac" + "x" * 10)):
        with Helper("-z", most, env=environment) as helper:
            answered = helper.ask(git.path)
            assert answered is not None and answered["COMMIT_SUMMARY"] == wanted


def test_what_configuration_hides(daemon: Daemon, environment: dict[str, str], repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    (git.path / "a").write_bytes(b"2\n")
    for name in ("x/1", "x/2", "y"):
        (git.path / name).parent.mkdir(exist_ok=True)
        (git.path / name).write_bytes(b"")

    def counts(*options: str) -> tuple[str, str]:
        with Helper(*EVERYTHING, *options, env=environment) as helper:
            answered = helper.ask(git.path)
            assert answered is not None
            return answered["NUM_UNSTAGED"], answered["NUM_UNTRACKED"]

    assert counts() == ("1", "2")
    assert counts("-e") == ("1", "3")
    assert counts("-e", "-d", "2") == ("1", "2")
    configure(git, "[bash]\n\tshowUntrackedFiles = false\n")
    assert (counts(), counts("-W"), counts("-eW")) == (("1", "0"), ("1", "2"), ("1", "3"))
    configure(git, "[bash]\n\tshowUntrackedFiles = true\n\tshowDirtyState = false\n")
    assert (counts(), counts("-D")) == (("0", "2"), ("1", "2"))
    configure(git, "[bash]\n\tshowDirtyState = true\n[status]\n\tshowUntrackedFiles = no\n")
    assert (counts(), counts("-U"), counts("-eU")) == (("1", "0"), ("1", "2"), ("1", "3"))
    configure(git, "[status]\n\tshowUntrackedFiles = all\n")
    assert counts() == ("1", "3")


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (("-G", "v1.4.*"), 11),
        (("-G", "v1.5.?", "-V"), 0),
        (("--nope",), 10),
        (("operand",), 10),
        (("-t", "0"), 10),
        (("-s", "x"), 10),
        (("-v", "LOUD"), 10),
        (("-h",), 0),
        ((), 0),
    ],
)
def test_exit_codes(options: tuple[str, ...], code: int) -> None:
    done = subprocess.run([HELPER, *options], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    assert done.returncode == code
    assert bool(done.stderr) == (code > 0)


def test_it_ends_with_its_shell(daemon: Daemon, environment: dict[str, str]) -> None:
    with subprocess.Popen(["sleep", "1000"]) as shell, Helper("-p", str(shell.pid), env=environment) as helper:
        helper.send(b"}hello\x1f")
        helper.receive()
        assert helper.process.poll() is None
        shell.kill()
        shell.wait()
        assert helper.process.wait(30) == 0


def test_the_daemon_that_it_starts_outlives_it_and_a_killed_one_is_replaced(
    tmp_path: Path, repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    directory = tmp_path / "own"
    directory.mkdir(mode=0o700)
    # Elsewhere, if this path is too long for one.
    socket = places({**os.environ, "XDG_RUNTIME_DIR": str(directory)}, os.getuid()).socket
    helpers = [Helper(*EVERYTHING, env={"XDG_RUNTIME_DIR": str(directory)}) for _ in range(4)]
    try:
        for helper in helpers:
            helper.send(b"id\x1f" + os.fsencode(git.path))
        assert [helper.receive()[1] for helper in helpers] == [b"1"] * 4
        with Client(socket) as client:
            first = int(client.hello["pid"])
        os.kill(first, signal.SIGKILL)
        assert helpers[0].ask(git.path) is not None
        with Client(socket) as client:
            second = int(client.hello["pid"])
        assert second != first
        os.killpg(helpers[0].process.pid, signal.SIGTERM)  # as the plugin stops it
        helpers[0].process.wait(30)
        assert helpers[1].ask(git.path) is not None
        with Client(socket) as client:
            assert client.hello["pid"] == second
            client.end_daemon()
    finally:
        for helper in helpers:
            helper.__exit__()
    assert not os.path.exists(socket)


# ---- gitstatus's own plugins

_QUERIES = {
    "zsh": "source {plugin}/gitstatus.plugin.zsh\ngitstatus_start -s -1 -u -1 -c -1 -d -1 T || print FAILED\n"
    "query() {{ gitstatus_query -d $1 T }}\n",
    "bash": "source {plugin}/gitstatus.plugin.sh\ngitstatus_start -s -1 -u -1 -c -1 -d -1 || echo FAILED\n"
    'query() {{ gitstatus_query -d "$1"; }}\n',
}
_DUMP = (
    'dump() {{ query "$1"; {{ printf \'RESULT=%s\\0\' "$VCS_STATUS_RESULT"; '
    + " ".join(f"printf '{name}=%s\\0' \"${{{{VCS_STATUS_{name}}}}}\";" for name in VARIABLES)
    + ' }} >"$2.new"; mv "$2.new" "$2"; }}\n'
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("shell", ["zsh", "bash"])
@pytest.mark.skipif(PLUGINS is None, reason="needs GITSTATUS_PLUGINS=DIR (see the top of this file)")
def test_the_unchanged_plugins_over_the_zoo(
    shell: str, daemon: Daemon, environment: dict[str, str], zoo: dict[str, Path], tmp_path: Path
) -> None:
    missing = lacks(shell)
    if missing is not None:
        pytest.skip(missing)
    assert PLUGINS is not None
    rc = (_QUERIES[shell] + _DUMP).format(plugin=shlex.quote(PLUGINS)) + "PS1='READY> '\n"
    env = {**environment, "GITSTATUS_DAEMON": str(HELPER)}
    there = Terminal(shell, tmp_path / "t", tmp_path, env=env, rc=rc)
    wrong = []
    try:
        there.wait_line(lambda last: last == "READY>", "the plugin started")
        assert "FAILED" not in there.lines()
        for name, path in zoo.items():
            if not str(path).isprintable():
                continue  # nobody can type that
            out = tmp_path / "answer"
            out.unlink(missing_ok=True)
            there.type(f"dump {shlex.quote(str(path))} {out}")
            wait_until(out.exists, what=f"an answer about {name} in\n" + "\n".join(there.lines()))
            answered = dict(pair.partition("=")[::2] for pair in out.read_text().split("\0")[:-1])
            if name in UNSAFE | REFUSED:
                assert answered["RESULT"] == "norepo-sync", name
            elif name not in NOT_SHOWN:
                assert answered["RESULT"] == "ok-sync", name
                wrong += wrong_fields(path, answered)
    finally:
        there.close()
    assert not wrong, "\n".join(wrong)


def test_the_helper_is_installed() -> None:
    assert shutil.which(str(HELPER)) is not None
