"""`gitwatch events`: a line of JSON for each report that changes.

Owns nothing. Runs: one process a command, one thread, until it is interrupted, its reader or the daemon goes.
Invariant: a line is written whole and at once. Nothing is kept back for a later one.
"""

from __future__ import annotations

import select

from gitwatch import output
from gitwatch.json_form import encode_reports
from gitwatch.link import connect
from gitwatchd.errors import EnvironmentFailure

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

    from gitwatch.cli import Invocation
    from gitwatch.link import Link


def events(invocation: Invocation) -> int:
    paths = invocation.paths()
    link = connect(invocation)
    subscribe(link, invocation, paths)
    waiting = select.poll()
    waiting.register(link.fileno(), select.POLLIN)
    # Asked for nothing, a pipe tells of one thing only: that its reader has gone. No write would tell before the
    # next change, which may never come.
    waiting.register(output.STDOUT, 0)
    while True:
        for descriptor, _ in waiting.poll():
            if descriptor == output.STDOUT:
                raise output.OutputClosed
            link.take_notifications(_write)


def _write(method: str, params: list[Any]) -> None:
    if method == "changed" and params:
        output.write(encode_reports(params[:1], lines=True))


def subscribe(link: Link, invocation: Invocation, paths: list[bytes]) -> None:
    """From now on the daemon tells of changes at and below `paths`, and in the groups.

    Raises EnvironmentFailure for a path that is none.
    """
    groups = invocation.groups()
    options = {"fields": ["path"], "wait_s": 0, **groups}
    for error in link.call("status", paths, options, timeout_s=invocation.remaining_s())["errors"]:
        raise EnvironmentFailure(f"{output.plain(error['path'])}: {error['reason']}", error.get("hint") or "")
    link.call("subscribe", {"paths": paths, **groups}, timeout_s=invocation.remaining_s())
