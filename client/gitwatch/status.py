"""`gitwatch status`: choose the form of the answer, ask the daemon, print.

Owns nothing. Runs: one process a command. The daemon renders the table, so that this imports next to nothing.
"""

from __future__ import annotations

from gitwatch import output
from gitwatch.link import connect
from gitwatch.progress import Progress
from gitwatchd.errors import UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from typing import Any

    from gitwatch.cli import Invocation

_MARGIN = 0.9
"""The share of --timeout that the daemon may wait: it must still have time to say what is not finished."""

_EXCLUSIVE = (
    ("--json", "--jsonl", "--porcelain"),
    ("--no-wait", "--verify"),
    ("--no-wait", "--direct"),
)


def status(invocation: Invocation) -> int:
    _check_options(invocation)
    if invocation.has("--porcelain"):
        from gitwatch.porcelain import porcelain

        return porcelain(invocation)
    if invocation.has("--direct"):
        from gitwatch.direct import direct

        return direct(invocation)
    if invocation.has("--json") or invocation.has("--jsonl"):
        return _reports(invocation)
    return _table(invocation)


def _check_options(invocation: Invocation) -> None:
    for options in _EXCLUSIVE:
        given = [option for option in options if invocation.has(option)]
        if len(given) > 1:
            raise UserError(f"{given[0]} and {given[1]} exclude each other")
    if invocation.has("-z") and not invocation.has("--porcelain"):
        raise UserError("-z goes with --porcelain=v2")


def wait_option(invocation: Invocation) -> dict[str, float]:
    """The option that says how long the daemon may wait for analyses; empty leaves it to the daemon."""
    if invocation.has("--no-wait"):
        return {"wait_s": 0}
    return {} if invocation.timeout_s is None else {"wait_s": invocation.remaining_s() * _MARGIN}


def _options(invocation: Invocation, progress: Progress) -> dict[str, Any]:
    options: dict[str, Any] = {**wait_option(invocation), "progress": progress.wanted}
    if invocation.has("--verify"):
        options["verify"] = True
    if invocation.has("--include-ignored"):
        options["include_ignored"] = True
    if invocation.jobs is not None:
        options["jobs"] = invocation.jobs
    return options


def _table(invocation: Invocation) -> int:
    paths = invocation.paths()
    link = connect(invocation)
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        options = {
            **_options(invocation, progress),
            "paths": paths,
            "width": output.width(output.STDOUT),
            "colour": output.wants_colour(),
        }
        view = link.call(
            "render", "status", options,
            timeout_s=invocation.remaining_s(), on_notification=progress.on_notification,
        )  # fmt: skip
    output.write_text(view["text"])
    for note in view["notes"]:
        output.complain(note)
    return int(bool(view["failed"] or (invocation.has("--strict") and view["strict_failed"])))


def _reports(invocation: Invocation) -> int:
    from gitwatch.json_form import complain_of, encode_reports

    paths = invocation.paths()
    link = connect(invocation)
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        answer = link.call(
            "status", paths, _options(invocation, progress),
            timeout_s=invocation.remaining_s(), on_notification=progress.on_notification,
        )  # fmt: skip
    output.write(encode_reports(answer["repos"], lines=invocation.has("--jsonl")))
    return complain_of(answer["repos"], answer["errors"], strict=invocation.has("--strict"))
