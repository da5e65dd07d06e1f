"""An interactive shell in a terminal of its own (tmux), as a user has it. Blocking."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.zoo.waiting import wait_until

SHELLS = ("zsh", "bash", "fish")

_PROMPTS = {
    "zsh": "PROMPT='<${GITWATCH_PROMPT}|${VCS_STATUS_STATE}|${VCS_STATUS_RESULT}>'",
    "bash": "PS1='<${GITWATCH_PROMPT}|${VCS_STATUS_STATE}|${VCS_STATUS_RESULT}>'",
    "fish": "function fish_prompt; echo -n '<'$GITWATCH_PROMPT'|'$VCS_STATUS_STATE'|'$VCS_STATUS_RESULT'>'; end",
}


def lacks(shell: str) -> str | None:
    """What there is not, of what a test in that shell needs."""
    missing = [name for name in ("tmux", shell) if shutil.which(name) is None]
    return f"needs {' and '.join(missing)}: apt-get install tmux zsh fish" if missing else None


def start_command(shell: str, directory: Path, rc: str) -> list[str]:
    """That shell, interactive, with nothing but `rc` read at its start."""
    if shell == "zsh":
        (directory / ".zshrc").write_text(rc)
        return ["env", f"ZDOTDIR={directory}", "zsh", "-d", "-i"]
    file = directory / f"rc.{shell}"
    file.write_text(rc)
    if shell == "bash":
        return ["bash", "--noprofile", "--rcfile", str(file), "-i"]
    return ["fish", "--no-config", "-i", "-C", f"source {shlex.quote(str(file))}"]


class Terminal:
    def __init__(
        self,
        shell: str,
        directory: Path,
        cwd: Path,
        *,
        env: Mapping[str, str] | None = None,
        rc: str | None = None,
        before: str = "",
    ) -> None:
        """The prompt is `<LINE|STATE|RESULT>`, unless `rc` says otherwise. `before`: what stands before ours there."""
        self.shell = shell
        directory.mkdir(parents=True, exist_ok=True)
        bin_dir = Path(sys.executable).parent
        environment = {
            **os.environ, **(env or {}), "PATH": f"{bin_dir}:{os.environ['PATH']}", "TERM": "xterm-256color",
            "PS1": "", "fish_greeting": "",
        }  # fmt: skip
        environment.pop("TMUX", None)
        evaluate = "gitwatch init fish | source" if shell == "fish" else f'eval "$(gitwatch init {shell})"'
        command = start_command(shell, directory, f"{before}\n{evaluate}\n{_PROMPTS[shell]}\n" if rc is None else rc)
        self._tmux = ["tmux", "-S", str(directory / "tmux"), "-f", "/dev/null"]
        subprocess.run(
            [*self._tmux, "new-session", "-d", "-x", "150", "-y", "50", "-c", str(cwd), *command],
            env=environment, check=True, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def type(self, line: str) -> None:
        """And the return key."""
        subprocess.run([*self._tmux, "send-keys", "-l", line], check=True)
        subprocess.run([*self._tmux, "send-keys", "Enter"], check=True)

    def lines(self) -> list[str]:
        done = subprocess.run([*self._tmux, "capture-pane", "-p", "-J"], capture_output=True, check=False)
        return [line.rstrip() for line in done.stdout.decode().split("\n") if line.strip()]

    def wait_line(self, is_it: Callable[[str], bool], what: str, timeout_s: float = 30.0) -> str:
        """Until the last line on the screen is such a one."""

        def found() -> str:
            line = (self.lines() or [""])[-1]
            return line if is_it(line) else ""

        try:
            return wait_until(found, timeout_s, what)
        except AssertionError as why:
            raise AssertionError(f"{why}\n" + "\n".join(self.lines())) from None

    def wait_prompt(self, line: str, state: str = "fresh") -> None:
        """Until the prompt stands there with that line, and nothing is typed."""
        self.wait_line(lambda last: last.startswith(f"<{line}|{state}|") and last.endswith(">"), f"{line} {state}")

    def draw_until(self, line: str) -> None:
        """Have new prompts drawn until one has that line, as somebody who works does: bash draws none by itself."""

        def shown() -> bool:
            self.type("clear")
            try:
                self.wait_line(lambda last: last.startswith(f"<{line}|fresh|"), line, timeout_s=1.0)
            except AssertionError:
                return False
            return True

        wait_until(shown, what=f"{line} is shown in\n" + "\n".join(self.lines()))

    def run(self, line: str) -> None:
        """Type a command and wait until it has ended, by a mark that it leaves after itself."""
        self._marks = getattr(self, "_marks", 0) + 1
        mark = f"done-{self._marks}"
        self.type(f"{line}; echo {mark[:2]}''{mark[2:]}")
        wait_until(lambda: mark in self.lines(), what=f"{line!r} ended in\n" + "\n".join(self.lines()))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, stderr=subprocess.DEVNULL)
