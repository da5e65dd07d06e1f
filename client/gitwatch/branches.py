"""`gitwatch branches [PATH]`: the local branches of one repository, chosen and put in order as `status` does.

Owns nothing. Runs: one process a command.
"""

from __future__ import annotations

from gitwatch import output
from gitwatch.cli import absolute
from gitwatch.link import connect
from gitwatch.output import plain
from gitwatch.status import wait_option
from gitwatchd.errors import UserError

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from gitwatch.cli import Invocation
    from gitwatch.link import Link

    Branch = dict[str, Any]

_CHOOSING = ("--glob", "--regex", "--where", "--sort", "--reverse", "--print", "--json")


def branches(invocation: Invocation) -> int:
    if invocation.has("--help-where"):
        from gitwatch.help_where import BRANCHES

        output.write_text(BRANCHES)
        return 0
    paths = invocation.paths() or [absolute(".")]
    if invocation.has("--fetch"):
        return _fetch_first(invocation, paths)
    return _show(invocation, connect, paths)


def _fetch_first(invocation: Invocation, paths: list[bytes]) -> int:
    from gitwatch.exchanging import fetch_one

    _Choice(invocation)  # what is wrong with the other options is told before anything is done
    link = connect(invocation)
    failed = fetch_one(invocation, link, paths)
    return _show(invocation, lambda _: link, paths) or int(failed)


def _show(invocation: Invocation, connect: Callable[[Invocation], Link], paths: list[bytes]) -> int:
    if not any(map(invocation.has, _CHOOSING)) and not invocation.has("--print0"):
        return _table(invocation, connect(invocation), paths, None)
    choice = _Choice(invocation)
    link = connect(invocation)
    answer = link.call("branches", paths, wait_option(invocation), timeout_s=invocation.remaining_s())
    chosen = choice.choose(answer["branches"])
    if choice.printed is not None:
        choice.print(chosen)
    elif invocation.has("--json"):
        from gitwatch.json_form import encode_reports

        output.write(encode_reports(chosen, lines=False))
    else:
        return _table(invocation, link, paths, [branch["branch"] for branch in chosen])
    if answer["state"] not in ("fresh", "unsafe"):
        output.complain(f"{answer['state']}: {plain(answer['path'])}: {answer['reason']}", answer["hint"])
    return 0


def _table(invocation: Invocation, link: Link, paths: list[bytes], chosen: list[Any] | None) -> int:
    options: dict[str, Any] = {
        **wait_option(invocation), "paths": paths, "width": output.width(output.STDOUT),
        "colour": output.wants_colour(), "links": output.wants_links(),
    }  # fmt: skip
    if chosen is not None:
        options["branches"] = chosen
    if invocation.has("--columns"):
        options["columns"] = str(invocation.options["--columns"]).split(",")
    view = link.call("render", "branches", options, timeout_s=invocation.remaining_s())
    output.write_text(view["text"])
    for note in view["notes"]:
        output.complain(note)
    return 0


class _Choice:
    """The options of one invocation, checked before anything is asked. Raises UserError."""

    def __init__(self, invocation: Invocation) -> None:
        from gitwatch.expression import Expression
        from gitwatch.words import BRANCH_NAMES, BRANCH_ORDERS

        self._invocation = invocation
        if invocation.has("--print0") and not invocation.has("--print"):
            raise UserError("-0 goes with --print")
        if invocation.has("--print") and invocation.has("--json"):
            raise UserError("--print and --json exclude each other")
        where, printed = invocation.options.get("--where"), invocation.options.get("--print")
        self._where = None if where is None else Expression(str(where), "--where", BRANCH_NAMES, command="branches")
        self.printed = (
            None if printed is None else Expression(str(printed), "--print", BRANCH_NAMES, command="branches")
        )
        self._order = str(invocation.options.get("--sort", "branch")).casefold()
        if self._order not in BRANCH_ORDERS:
            raise UserError(f"--sort: there is no order {self._order!r}", f"one of: {', '.join(BRANCH_ORDERS)}")

    def choose(self, branches: Sequence[Branch]) -> list[Branch]:
        from gitwatch.words import BRANCH_ORDERS, BranchWords

        key = BRANCH_ORDERS[self._order]
        with self._deadline():
            keep = self._tests()
            chosen = [branch for branch in branches if all(test(BranchWords(branch)) for test in keep)]
        if self._order == "none":
            return chosen[::-1] if self._invocation.has("--reverse") else chosen
        return sorted(chosen, key=lambda branch: key(BranchWords(branch)), reverse=self._invocation.has("--reverse"))

    def _tests(self) -> list[Callable[[Any], Any]]:
        tests: list[Callable[[Any], Any]] = []
        if (glob := self._invocation.options.get("--glob")) is not None:
            from fnmatch import fnmatchcase

            pattern = str(glob)
            tests.append(lambda words: fnmatchcase(words["branch"], pattern))
        if (regex := self._invocation.options.get("--regex")) is not None:
            import re

            try:
                search = re.compile(str(regex)).search
            except (re.error, RecursionError, OverflowError) as why:
                raise UserError(f"--regex: {regex!r} is no regular expression: {why}") from None
            tests.append(lambda words: search(words["branch"]))
        return [*tests, *([self._where] if self._where else [])]

    def print(self, branches: Sequence[Branch]) -> None:
        from gitwatch.selection import write_values
        from gitwatch.words import BranchWords

        evaluate = self.printed
        if evaluate is not None:
            with self._deadline():
                texts = [evaluate.text_for(BranchWords(branch)) for branch in branches]
            write_values(texts, with_nul=self._invocation.has("--print0"))

    def _deadline(self) -> Any:
        from gitwatch.expression import LIMIT_S, deadline

        return deadline(min(LIMIT_S, self._invocation.remaining_s()), "the choice of branches")
