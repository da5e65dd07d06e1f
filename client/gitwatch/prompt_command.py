"""`gitwatch prompt`: what the executable `gitwatch-prompt` does not do itself (JSON, help, mistakes), and all it does.

Owns nothing. Runs: one process a command. The deadline is for everything; whatever fails shows nothing and exits 0,
but for what the user mistyped.
"""

from __future__ import annotations

import os

from gitwatch import output
from gitwatch import prompt as quick
from gitwatch.cli import Invocation, absolute, working_directory
from gitwatch.link import places_of
from gitwatchd.errors import DaemonUnavailable, EnvironmentFailure, PeerError, UserError
from gitwatchd.wire.blocking import Connection, DaemonSilent
from gitwatchd.wire.rpc import USAGE, RemoteError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

_FORMATS = ("text", "zsh", "bash", "tmux", "shell", "fish", "json")


def prompt(invocation: Invocation) -> int:
    wanted = str(invocation.options.get("--format", "text"))
    if wanted not in _FORMATS:
        raise UserError(f"no format {wanted!r}", f"one of: {', '.join(_FORMATS)}")
    try:
        answer = _ask(invocation, "report" if wanted == "json" else wanted)
    except RemoteError as error:
        if error.code == USAGE:
            raise
        return 0
    except DaemonSilent:
        return 0
    except DaemonUnavailable:
        quick.start_daemon(places_of(invocation).run_dir, invocation.state_dir)
        return 0
    except (EnvironmentFailure, PeerError):
        return 0
    if wanted == "json":
        if answer is not None:
            from gitwatch.json_form import encode_reports

            output.write(encode_reports([answer], lines=True))
    elif answer:
        output.write(answer if answer.endswith(b"\n") else answer + b"\n")
    return 0


def _ask(invocation: Invocation, wanted: str) -> Any:
    where = places_of(invocation)
    deadline_s = invocation.timeout_s or quick.configured_deadline_s(where.run_dir)
    git_dir = os.environb.get(b"GIT_DIR", b"")
    options: dict[str, Any] = {"format": wanted, "wait_s": deadline_s * 0.9, "ascii": not quick.is_utf8(os.environb)}
    if "--template" in invocation.options:
        options["template"] = str(invocation.options["--template"])
    if invocation.operands:
        directory = absolute(invocation.operands[0])
    elif git_dir:
        directory, options["git_dir"] = absolute(os.fsdecode(git_dir)), True
    else:
        directory = working_directory()
    return Connection(where.socket, deadline_s).call("prompt", directory, options)
