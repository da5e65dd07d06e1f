"""What `status` and `branches` do for --fetch, --pull-safe and --push-safe: ask; fetch, pull, push; ask after each.

Owns nothing. Runs: one process a command; imported only for these options.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gitwatch.cli import Invocation
from gitwatch.exchange import Exchange, Report, blank, mark_of, taken_over
from gitwatch.link import Link
from gitwatch.output import complain, plain
from gitwatch.progress import Progress
from gitwatch.status import ask_status


def exchange(invocation: Invocation, link: Link, reports: Sequence[Report]) -> tuple[list[Report], dict[Any, str]]:
    """The reports as they are afterwards, and what the table notes of each."""
    found = [blank(report) for report in reports]
    with_remotes = [report for report in found if report["state"] not in ("gone", "failed")]
    work = _exchange(invocation, link, obey=len(found) == 1)
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        work.fetch(with_remotes, _teller(progress, "fetching", len(with_remotes)))
        for option, step, verb in (("--pull-safe", work.pull, "pulling"), ("--push-safe", work.push, "pushing")):
            found = _again(invocation, link, found)
            if invocation.has(option):
                step(found, _teller(progress, verb, len(found)))
    found = _again(invocation, link, found)
    marks = {report["path"]: mark for report in found if (mark := mark_of(report)) is not None}
    return found, marks


def fetch_one(invocation: Invocation, link: Link, paths: list[bytes]) -> bool:
    """Fetch and prune the repository that holds this path; whether that failed, which was told then."""
    answer = link.call("branches", paths, {}, timeout_s=invocation.remaining_s())
    report = blank({"path": answer["path"]})
    _exchange(invocation, link, obey=True).fetch([report], lambda _: None, prune=True)
    if report["fetch_failed"]:
        complain(f"{plain(report['path'])}: fetch failed: {report['remote_reason']}")
    return bool(report["fetch_failed"])


def _exchange(invocation: Invocation, link: Link, *, obey: bool) -> Exchange:
    settings = link.call("config", timeout_s=invocation.remaining_s())["values"]
    limits = {name: settings[name]["value"] for name in ("fetch.jobs", "fetch.timeout_s")}
    jobs = limits["fetch.jobs"] if invocation.jobs is None else invocation.jobs
    timeout_s = min(float(limits["fetch.timeout_s"]), invocation.remaining_s())
    return Exchange(link.places.state_dir, jobs=int(jobs), timeout_s=timeout_s, obey=obey)


def _again(invocation: Invocation, link: Link, before: Sequence[Report]) -> list[Report]:
    earlier = {report["path"]: report for report in before}
    return [taken_over(report, earlier) for report in ask_status(invocation, link)["repos"]]


def _teller(progress: Progress, verb: str, total: int) -> Callable[[int], None]:
    return lambda done: progress.update(verb, total, done, total)
