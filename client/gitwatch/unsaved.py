"""`gitwatch unsaved`: what exists only here, before a disk is wiped.

Owns nothing. Runs: one process a command. Exit code: 1 when there is anything, or when something
could not be checked or fetched.
"""

from __future__ import annotations

from gitwatch import output
from gitwatch.link import connect
from gitwatch.progress import Progress
from gitwatch.status import wait_option

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

    from gitwatch.cli import Invocation
    from gitwatch.link import Link


def unsaved(invocation: Invocation) -> int:
    paths = invocation.paths()
    link = connect(invocation)
    unfetched = _fetch(invocation, link) if invocation.has("--fetch") else 0
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        options: dict[str, Any] = {**wait_option(invocation), **invocation.groups(), "progress": progress.wanted}
        looks = {"paths": paths, "width": output.width(output.STDOUT), "colour": output.wants_colour()}
        method, *params = (
            ("unsaved", paths, options) if invocation.has("--json") else ("render", "unsaved", {**options, **looks})
        )
        answer = link.call(
            method, *params, timeout_s=invocation.remaining_s(), on_notification=progress.on_notification
        )
    if not invocation.has("--json"):
        output.write_text(answer["text"])
        for note in answer["notes"]:
            output.complain(note)
        return int(bool(answer["failed"] or unfetched))
    from gitwatch.json_form import encode_reports

    output.write(encode_reports(answer["repos"], lines=False))
    for error in answer["errors"]:
        output.complain(f"{output.plain(error['path'])}: {error['reason']}", error.get("hint") or "")
    return int(bool(answer["errors"] or unfetched) or any(repo["unsaved"] for repo in answer["repos"]))


def _fetch(invocation: Invocation, link: Link) -> int:
    """Learn what the remotes have now. How many repositories that failed for: of those it is not known."""
    from gitwatch.exchanging import exchange
    from gitwatch.status import ask_status

    reports, _ = exchange(invocation, link, ask_status(invocation, link)["repos"])
    failed = [report for report in reports if report["fetch_failed"]]
    for report in failed:
        output.complain(f"{output.plain(report['path'])}: fetch failed: {report['remote_reason']}")
    return len(failed)
