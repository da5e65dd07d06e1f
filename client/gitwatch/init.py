"""`gitwatch init SHELL`: the integration of a shell, ready to be evaluated by it.

Owns: what is filled into the scripts beside this module. Runs: one process a command.
"""

from __future__ import annotations

import os
import sys

from gitwatch import output
from gitwatch.link import places_of
from gitwatch.prompt import is_utf8
from gitwatchd.errors import UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from gitwatch.cli import Invocation

_SHELLS = ("zsh", "bash", "fish")


def init(invocation: Invocation) -> int:
    shell = invocation.operands[0]
    if shell not in _SHELLS:
        raise UserError(f"no integration for {shell!r}", f"there is one for {', '.join(_SHELLS)}")
    with open(os.path.join(os.path.dirname(__file__), f"init.{shell}"), encoding="utf-8") as file:
        script = file.read()
    for name, value in _values(invocation, shell).items():
        script = script.replace(f"@{name}@", value)
    output.write(os.fsencode(script))
    return 0


def _values(invocation: Invocation, shell: str) -> dict[str, str]:
    utf8 = is_utf8(os.environb)
    python = [sys.executable, "-P", "-m"]
    prompt = os.path.join(os.path.dirname(os.path.abspath(sys.argv[0])), "gitwatch-prompt")
    if not os.access(prompt, os.X_OK):
        prompt = "gitwatch-prompt"
    ascii_word = {"zsh": "\\xc2" if utf8 else "\\xc3", "bash": "" if utf8 else "ascii", "fish": ""}[shell]
    return {
        "SOCKET": _quoted(os.fsdecode(places_of(invocation).socket), shell),
        "GITWATCH": " ".join(_quoted(word, shell) for word in (*python, "gitwatch")),
        "RELAY": " ".join(_quoted(word, shell) for word in (*python, "gitwatch.bash_relay")),
        "PROMPT": _quoted(prompt, shell),
        "ASCII": ascii_word,
        "STALE": "…" if utf8 else "...",
    }


def _quoted(word: str, shell: str) -> str:
    if shell == "fish":
        return "'" + word.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return "'" + word.replace("'", "'\\''") + "'"
