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
    from gitwatch.link import Link

_MARGIN = 0.9
"""The share of --timeout that the daemon may wait: it must still have time to say what is not finished."""

_EXCLUSIVE = (
    ("--json", "--jsonl", "--porcelain", "--print"),
    ("--metadata-only", "--lines"),
    ("--no-wait", "--verify"),
    ("--no-wait", "--direct"),
    *(("--no-wait", option) for option in ("--fetch", "--pull-safe", "--push-safe")),
    *(("--direct", option) for option in ("--fetch", "--pull-safe", "--push-safe")),
)
EXCHANGING = ("--fetch", "--pull-safe", "--push-safe")
_SELECTING = (
    "--where", "--print", "--dirty", "--depth", "--sort", "--reverse", "--metadata-only", "--errors", *EXCHANGING,
)  # fmt: skip
"""Options that this side carries out, on whole reports. Without them the daemon sends a table and nothing else."""


def status(invocation: Invocation) -> int:
    if invocation.has("--help-where"):
        from gitwatch.help_where import STATUS

        output.write_text(STATUS)
        return 0
    _check_options(invocation)
    if invocation.has("--porcelain"):
        from gitwatch.porcelain import porcelain

        return porcelain(invocation)
    if invocation.has("--direct"):
        from gitwatch.direct import direct

        return direct(invocation)
    if any(map(invocation.has, _SELECTING)):
        return _selected(invocation)
    if is_json(invocation):
        return _reports(invocation)
    return _table(invocation)


def is_json(invocation: Invocation) -> bool:
    return invocation.has("--json") or invocation.has("--jsonl")


def _check_options(invocation: Invocation) -> None:
    form = invocation.options.pop("--format", "table")
    if form not in ("table", "json"):
        raise UserError(f"no format {form!r}", "one of: table, json")
    if form == "json":
        invocation.options["--json"] = True
    for options in _EXCLUSIVE:
        given = [option for option in options if invocation.has(option)]
        if len(given) > 1:
            raise UserError(f"{given[0]} and {given[1]} exclude each other")
    if invocation.has("-z") and not invocation.has("--porcelain"):
        raise UserError("-z goes with --porcelain=v2")
    if invocation.has("--print0") and not invocation.has("--print"):
        raise UserError("-0 goes with --print")


def columns_of(invocation: Invocation) -> list[str]:
    """What the table's columns are to be, as --columns has it."""
    given = str(invocation.options["--columns"]).split(",") if invocation.has("--columns") else []
    if invocation.has("--lines") and not {"lines", "-lines"}.intersection(given):
        given.append("lines")
    if not invocation.has("--metadata-only"):
        return given
    if unknown := sorted({"changes", "status", "mtime", "lines"}.intersection(given)):
        raise UserError(f"--metadata-only and --columns {unknown[0]} exclude each other: no file is looked at")
    return ["-changes", "-mtime", *given]


def wait_option(invocation: Invocation) -> dict[str, float]:
    """The option that says how long the daemon may wait for analyses; empty leaves it to the daemon."""
    if invocation.has("--no-wait"):
        return {"wait_s": 0}
    return {} if invocation.timeout_s is None else {"wait_s": invocation.remaining_s() * _MARGIN}


def _options(invocation: Invocation, progress: Progress) -> dict[str, Any]:
    options: dict[str, Any] = {**wait_option(invocation), **invocation.groups(), "progress": progress.wanted}
    if invocation.has("--verify"):
        options["verify"] = True
    if invocation.has("--lines"):
        options["lines"] = True
    if invocation.has("--include-ignored"):
        options["include_ignored"] = True
    if invocation.jobs is not None:
        options["jobs"] = invocation.jobs
    return options


def _looks(invocation: Invocation) -> dict[str, Any]:
    """How the daemon should draw."""
    looks: dict[str, Any] = {"width": output.width(output.STDOUT), "colour": output.wants_colour()}
    if output.wants_links():
        looks["links"] = True
    if columns := columns_of(invocation):
        looks["columns"] = columns
    return looks


def _table(invocation: Invocation) -> int:
    paths, looks = invocation.paths(), _looks(invocation)
    link = connect(invocation)
    with Progress(shown=not invocation.has("--no-progress"), above_table=True) as progress:
        if progress.room:
            looks["rows"] = progress.room
        view = link.call(
            "render", "status", {**_options(invocation, progress), "paths": paths, **looks},
            timeout_s=invocation.remaining_s(), on_notification=progress.on_notification,
        )  # fmt: skip
    return _show(invocation, view)


def _show(invocation: Invocation, view: dict[str, Any]) -> int:
    output.write_text(view["text"])
    for note in () if invocation.has("--errors") else view["notes"]:
        output.complain(note)
    return int(bool(view["failed"] or (invocation.has("--strict") and view["strict_failed"])))


def ask_status(invocation: Invocation, link: Link) -> dict[str, Any]:
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        answer: dict[str, Any] = link.call(
            "status", invocation.paths(), _options(invocation, progress),
            timeout_s=invocation.remaining_s(), on_notification=progress.on_notification,
        )  # fmt: skip
    return answer


def _reports(invocation: Invocation) -> int:
    from gitwatch.json_form import complain_of, encode_reports

    answer = ask_status(invocation, connect(invocation))
    output.write(encode_reports(answer["repos"], lines=invocation.has("--jsonl")))
    return complain_of(answer["repos"], answer["errors"], strict=invocation.has("--strict"))


def _selected(invocation: Invocation) -> int:
    """The reports are chosen and put in order here; a table of them is drawn by the daemon all the same."""
    from gitwatch.json_form import complain_of, complain_of_each
    from gitwatch.selection import Selection, show_chosen

    selection = Selection(invocation)
    if "lines" in selection.names:
        invocation.options["--lines"] = True
    looks = _looks(invocation)
    link = connect(invocation)
    answer = ask_status(invocation, link)
    reports, errors, code = answer["repos"], answer["errors"], 0
    marks: dict[Any, str] = {}
    if any(map(invocation.has, EXCHANGING)):
        from gitwatch.exchanging import exchange

        reports, marks = exchange(invocation, link, reports)
    failed = any(report.get(field) for report in reports for field in ("fetch_failed", "pull_failed", "push_failed"))
    chosen = selection.choose(reports)
    doubtful = selection.doubtful(reports, chosen)
    told = [*chosen, *doubtful]
    if not show_chosen(invocation, selection, chosen):
        named = {"paths": invocation.paths(), "repositories": [report["path"] for report in chosen]}
        if marks:
            looks["marks"] = marks
        view = link.call(
            "render", "status", {**wait_option(invocation), **named, **looks}, timeout_s=invocation.remaining_s()
        )
        code = _show(invocation, view)
        # The table tells of those that are in it.
        if not invocation.has("--errors"):
            told, errors = doubtful, []
    if invocation.has("--errors"):
        return complain_of_each(reports, errors, strict=invocation.has("--strict")) or code or int(failed)
    return complain_of(told, errors, strict=invocation.has("--strict")) or code or int(failed)
