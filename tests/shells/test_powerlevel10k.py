"""powerlevel10k, unchanged, with our helper in gitstatusd's place: its prompt in a real zsh.

It is not part of this repository: `POWERLEVEL10K=DIR` names a checkout of it.
"""

from __future__ import annotations

import os
import shlex
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.shells.gitstatus import HELPER
from tests.shells.terminal import Terminal, lacks
from tests.zoo.commands import Git
from tests.zoo.daemon import Daemon

THEME = os.environ.get("POWERLEVEL10K")

pytestmark = [
    pytest.mark.timeout(180),
    pytest.mark.skipif(THEME is None, reason="needs POWERLEVEL10K=DIR (see the top of this file)"),
]

_RC = """\
POWERLEVEL9K_DISABLE_CONFIGURATION_WIZARD=true
POWERLEVEL9K_DISABLE_GITSTATUS=false
source {theme}/powerlevel10k.zsh-theme
source {theme}/config/p10k-lean.zsh
typeset -g POWERLEVEL9K_INSTANT_PROMPT=off POWERLEVEL9K_TRANSIENT_PROMPT=off
typeset -g POWERLEVEL9K_MODE=ascii POWERLEVEL9K_BACKGROUND= POWERLEVEL9K_VISUAL_IDENTIFIER_EXPANSION=
typeset -g POWERLEVEL9K_LEFT_PROMPT_ELEMENTS=(vcs prompt_char) POWERLEVEL9K_RIGHT_PROMPT_ELEMENTS=()
typeset -g POWERLEVEL9K_PROMPT_CHAR_{{OK,ERROR}}_VIINS_CONTENT_EXPANSION='>'
typeset -g POWERLEVEL9K_PROMPT_ADD_NEWLINE=false POWERLEVEL9K_VCS_BRANCH_ICON=
"""


@pytest.fixture
def there(daemon: Daemon, tmp_path: Path) -> Iterator[Callable[[Path], Terminal]]:
    missing = lacks("zsh")
    if missing is not None:
        pytest.skip(missing)
    runtime = tmp_path / "x"
    runtime.mkdir()
    (runtime / "gitwatchd").symlink_to(tmp_path / "state" / "run")
    opened: list[Terminal] = []

    def open_one(cwd: Path) -> Terminal:
        env = {"XDG_RUNTIME_DIR": str(runtime), "GITSTATUS_DAEMON": str(HELPER), "LANG": "C.UTF-8"}
        rc = _RC.format(theme=shlex.quote(str(THEME)))
        opened.append(Terminal("zsh", tmp_path / f"t{len(opened)}", cwd, env=env, rc=rc))
        return opened[-1]

    yield open_one
    for each in opened:
        each.close()


def wait_prompt(there: Terminal, text: str) -> None:
    there.wait_line(lambda last: last == f"{text} >".strip(), text)


def test_follows_what_is_done(there: Callable[[Path], Terminal], repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n", "dir/b": b"2\n"})
    shell = there(git.path)
    wait_prompt(shell, "main")
    shell.type("echo x >>a")
    wait_prompt(shell, "main !1")
    shell.type("cd dir; touch new")
    wait_prompt(shell, "main !1 ?1")
    shell.type("git add -A ..")
    wait_prompt(shell, "main +2")
    shell.type("git commit -qm more")
    wait_prompt(shell, "main")
    shell.type("echo y >>b; git stash -q")
    wait_prompt(shell, "main *1")
    shell.type("cd /")
    wait_prompt(shell, "")
    shell.type(f"cd {git.path}")
    wait_prompt(shell, "main *1")


def test_a_stopped_rebase(there: Callable[[Path], Terminal], repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    git("checkout", "-q", "-b", "topic")
    (git.path / "a").write_bytes(b"2\n")
    git("commit", "-qam", "topic")
    git("checkout", "-q", "main")
    (git.path / "a").write_bytes(b"4\n")
    git("commit", "-qam", "main")
    git("checkout", "-q", "topic")
    shell = there(git.path)
    wait_prompt(shell, "topic")
    oid = git("rev-parse", "--short=8", "main").decode().strip()
    shell.type("git rebase main >/dev/null 2>&1; clear")
    wait_prompt(shell, f"@{oid} rebase-i 1/1 ~1")
    shell.type("git rebase --abort; clear")
    wait_prompt(shell, "topic")


def test_a_stopped_daemon_holds_nobody_up(
    daemon: Daemon, there: Callable[[Path], Terminal], repository: Callable[..., Git]
) -> None:
    git = repository({"a": b"1\n"})
    shell = there(git.path)
    wait_prompt(shell, "main")
    os.kill(daemon.pid, signal.SIGSTOP)
    try:
        for _ in range(5):
            shell.run("true")
        shell.type("clear; echo x >>a")
        wait_prompt(shell, "main")  # in grey: its way to say that this is an earlier answer
    finally:
        os.kill(daemon.pid, signal.SIGCONT)
    wait_prompt(shell, "main !1")


def test_names_are_shown_and_never_run(there: Callable[[Path], Terminal], repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    shell = there(git.path)
    wait_prompt(shell, "main")
    for name in ("$(true>PWNED)", "`true>PWNED`", "%F{red}"):
        git("checkout", "-q", "-b", name)
        shell.type("clear")
        wait_prompt(shell, name)
    assert not (git.path / "PWNED").exists()
