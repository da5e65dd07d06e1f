"""Which reports `gitwatch status` shows, and in which order: --where, --dirty, --depth, --sort, --reverse; --print.

Owns nothing. Runs: one process a command; imported only when one of these options is given.
"""

from __future__ import annotations

import os

from gitwatch import output
from gitwatch.expression import LIMIT_S, Expression, deadline
from gitwatch.words import ALWAYS_KNOWN, NAMES, OF_THE_WORKTREE, ORDERS, UNCHECKED, Words, to_bytes
from gitwatchd.errors import UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from gitwatch.cli import Invocation

    Report = dict[str, Any]

_NEEDS_FILES = (
    ("--dirty", "dirty state is"),
    ("--pull-safe", "a clean worktree is"),
    ("--push-safe", "a clean worktree is"),
)


class Selection:
    """The options of one invocation, checked before anything is asked. Raises UserError."""

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._cwd, self._home = _cwd(), os.environ.get("HOME", "")
        self.where = self._expression("--where")
        self.printed = self._expression("--print")
        self.order = str(invocation.options.get("--sort", "none")).casefold()
        if self.order not in ORDERS:
            raise UserError(f"--sort: there is no order {self.order!r}", f"one of: {', '.join(ORDERS)}")
        if invocation.has("--depth") and not invocation.paths():
            raise UserError("--depth needs a PATH to count from")
        if invocation.has("--metadata-only"):
            self._check_metadata_only()

    def _expression(self, option: str) -> Expression | None:
        given = self._invocation.options.get(option)
        return None if given is None else Expression(str(given), option, NAMES)

    def _check_metadata_only(self) -> None:
        for option, what in _NEEDS_FILES:
            if self._invocation.has(option):
                raise UserError(f"--metadata-only and {option} exclude each other: {what} not known then")
        if self.order in ("mtime", "age"):
            raise UserError(f"--metadata-only and --sort {self.order} exclude each other: no file is looked at")
        for expression in (self.where, self.printed):
            if expression is not None and (names := sorted(expression.names & UNCHECKED)):
                raise UserError(f"{expression.option} with --metadata-only: {', '.join(names)} cannot be known then")

    @property
    def names(self) -> set[str]:
        """Those that the expressions mention."""
        return {name for expression in (self.where, self.printed) if expression for name in expression.names}

    def choose(self, reports: Sequence[Report]) -> list[Report]:
        """The reports to be shown, in their order."""
        invocation = self._invocation
        if invocation.has("--metadata-only"):
            reports = [{**report, **dict.fromkeys(OF_THE_WORKTREE)} for report in reports]
        if invocation.has("--depth"):
            tops, depth = invocation.paths(), int(invocation.options["--depth"])
            reports = [report for report in reports if _is_near(to_bytes(report["path"]), tops, depth)]
        if invocation.has("--dirty"):
            reports = [report for report in reports if report["dirty"] or any(map(report.get, _FAILURES))]
        if self.where is not None:
            evaluate = self.where
            with self._deadline(evaluate):
                reports = [report for report in reports if evaluate(self._words(report))]
        if self.order == "none":
            return list(reversed(reports) if invocation.has("--reverse") else reports)
        key = ORDERS[self.order]
        return sorted(reports, key=lambda report: key(self._words(report)), reverse=invocation.has("--reverse"))

    def doubtful(self, reports: Sequence[Report], chosen: Sequence[Report]) -> list[Report]:
        """Of the reports that were not chosen, those that are not fresh and could have been, if more were known."""
        invocation = self._invocation
        shown = {report["path"] for report in chosen}
        left = [report for report in reports if report["path"] not in shown and report["state"] != "fresh"]
        if invocation.has("--depth"):
            tops, depth = invocation.paths(), int(invocation.options["--depth"])
            left = [report for report in left if _is_near(to_bytes(report["path"]), tops, depth)]
        asked = set() if self.where is None else self.where.names
        if invocation.has("--dirty"):
            asked = {*asked, "dirty"}
        if asked <= ALWAYS_KNOWN:
            return []
        # Of an unsafe repository HEAD and refs are known, and true.
        return [report for report in left if report["state"] != "unsafe" or asked & UNCHECKED]

    def print(self, reports: Sequence[Report]) -> None:
        """The value of --print for each report, one a line, or each ended by a NUL."""
        evaluate = self.printed
        if evaluate is None:
            return
        with self._deadline(evaluate):
            texts = [evaluate.text_for(self._words(report)) for report in reports]
        write_values(texts, with_nul=self._invocation.has("--print0"))

    def _deadline(self, expression: Expression) -> Any:
        return deadline(min(LIMIT_S, self._invocation.remaining_s()), expression.option)

    def _words(self, report: Report) -> Words:
        return Words(report, self._cwd, self._home)


def write_values(texts: Sequence[str], *, with_nul: bool) -> None:
    """One a line, or each ended by a NUL; bytes of names that are not UTF-8 come out as they were."""
    if not with_nul and output.is_terminal(output.STDOUT):
        texts = [output.plain(text) for text in texts]
    end = "\0" if with_nul else "\n"
    output.write("".join([text + end for text in texts]).encode("utf-8", "surrogateescape"))


def show_chosen(invocation: Invocation, selection: Selection, chosen: Sequence[Report]) -> bool:
    """Write what was chosen as JSON or by --print. False when a table was asked for."""
    if selection.printed is not None:
        selection.print(chosen)
    elif invocation.has("--json") or invocation.has("--jsonl"):
        from gitwatch.json_form import encode_reports

        output.write(encode_reports(chosen, lines=invocation.has("--jsonl")))
    else:
        return False
    return True


_FAILURES = ("fetch_failed", "pull_failed", "push_failed")


def _is_near(path: bytes, tops: Sequence[bytes], depth: int) -> bool:
    """At most `depth` directories below one of `tops`; a repository that holds such a one is at depth 0."""
    for top in tops:
        if path == top or top.startswith(path.rstrip(b"/") + b"/"):
            return True
        above = top.rstrip(b"/") + b"/"
        if path.startswith(above) and path.count(b"/", len(above)) < depth:
            return True
    return False


def _cwd() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""
