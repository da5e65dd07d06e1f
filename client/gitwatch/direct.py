"""`gitwatch status --direct`: no daemon; search and run git here.

Owns: the threads that wait for git. Runs: one process a command. The only module of the client that imports
the daemon's parts, and only when called: that takes 150 ms, which is nothing beside the work.
Invariant: the same discovery, analysis and rendering as the daemon's; only who does it differs. Trust given
with `gitwatch trust` is the daemon's to check, so an untrusted repository stays `unsafe` here.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

from gitwatch import output
from gitwatch.cli import Invocation
from gitwatch.json_form import complain_of, complain_of_each
from gitwatch.link import places_of
from gitwatch.progress import Progress
from gitwatch.selection import Selection, show_chosen
from gitwatch.status import columns_of
from gitwatchd.analysis.job import analyse
from gitwatchd.analysis.pool import pool_ceiling
from gitwatchd.errors import NotARepository, UserError
from gitwatchd.git.layout import find_worktree
from gitwatchd.model.report import Facts, Standing, State, Watch, facts_to_wire, text_or_bytes
from gitwatchd.model.repository import Analysed, Failed, Gone, Job, Location, Outcome, Unsafe
from gitwatchd.render.status_view import render_status
from gitwatchd.render.table import COLUMNS, Frame, NoSuchColumn, parse_columns, row_of
from gitwatchd.settings.colours import palette
from gitwatchd.settings.model import DEFAULTS
from gitwatchd.watch.discovery import find_repositories

_STEP_S = 0.02

Found = tuple[Location, Facts | None, Standing]


def direct(invocation: Invocation) -> int:
    if invocation.groups():
        raise UserError("groups are the daemon's to know: --direct takes paths only")
    selection = Selection(invocation)
    columns = _columns(invocation)
    roots = [_start_of(path) for path in invocation.paths() or _known_roots(invocation)]
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        found = sorted(_analyse_all(invocation, roots, progress), key=lambda each: each[0].path)
    strict = invocation.has("--strict")
    by_path = {text_or_bytes(each[0].path): each for each in found}
    reports = [_report(*each) for each in found]
    chosen = selection.choose(reports)
    if not show_chosen(invocation, selection, chosen):
        view = render_status(
            [(row_of(*by_path[report["path"]]), by_path[report["path"]][2]) for report in chosen],
            frame=Frame(
                roots[0] if len(roots) == 1 else None, os.fsencode(os.environ.get("HOME", "")) or None, time.time()
            ),
            width=output.width(output.STDOUT),
            colour=palette(DEFAULTS.colours) if output.wants_colour() else {},
            columns=columns,
            links=output.wants_links(),
        )
        output.write_text(view.text)
        if not invocation.has("--errors"):
            for note in view.notes:
                output.complain(note)
            code = int(bool(view.failed or (strict and view.strict_failed)))
            paths = {report["path"] for report in chosen}
            return complain_of([report for report in reports if report["path"] not in paths], [], strict=strict) or code
    tell = complain_of_each if invocation.has("--errors") else complain_of
    return tell(reports, [], strict=strict)


def _columns(invocation: Invocation) -> list[str]:
    try:
        return parse_columns(columns_of(invocation))
    except NoSuchColumn as error:
        raise UserError(f"there is no column {str(error)!r}", f"one of: {', '.join(COLUMNS)}") from None


def _start_of(path: bytes) -> bytes:
    """Where the search for what PATH means begins: the worktree's top when it lies in one."""
    if not os.path.lexists(path):
        raise UserError(f"{os.fsdecode(path)}: no such file or directory")
    try:
        return find_worktree(path).path
    except NotARepository:
        return path


def _known_roots(invocation: Invocation) -> list[bytes]:
    """The roots that the daemon keeps, read from its file."""
    from gitwatchd.store.intent import Intent

    file = places_of(invocation).intent
    roots = [root.path for root in Intent(file).roots()] if os.path.exists(file) else []
    if not roots:
        raise UserError("no PATH, and no roots are known", "name a directory, or `gitwatch roots add` one")
    return roots


def _analyse_all(invocation: Invocation, roots: Sequence[bytes], progress: Progress) -> Iterator[Found]:
    """Each repository as soon as git has answered about it; analysing begins while the search goes on."""
    jobs = pool_ceiling(os.cpu_count() or 1) if invocation.jobs is None else max(invocation.jobs, 1)
    running: dict[Future[Outcome], Location] = {}
    total, done, searching = 0, 0, True
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="gitwatch-") as indexes, ThreadPoolExecutor(jobs) as pool:

        def carry_out(location: Location) -> Outcome:
            if stop.is_set():
                return Failed("interrupted")
            return analyse(Job(location, os.fsencode(indexes), invocation.remaining_s(), trusted=None))

        def tell() -> None:
            progress.update("discovering" if searching else "analysing", total, done, total)

        try:
            for location in _each_once(roots, include_ignored=invocation.has("--include-ignored")):
                running[pool.submit(carry_out, location)] = location
                total += 1
                tell()
            searching = False
            while running:
                finished, _ = wait(running, _STEP_S, FIRST_COMPLETED)
                for future in finished:
                    done += 1
                    yield _found(running.pop(future), future.result())
                tell()
        except BaseException:
            # Leaving the pool waits for what was submitted: an interrupted scan must not run to its end
            # first.
            stop.set()
            raise


def _each_once(roots: Iterable[bytes], *, include_ignored: bool) -> Iterator[Location]:
    seen = set()
    for root in roots:
        for location in find_repositories(root, include_ignored=include_ignored):
            if location.path not in seen:
                seen.add(location.path)
                yield location


def _found(location: Location, outcome: Outcome) -> Found:
    state, reason, hint = State.FRESH, "", ""
    facts: Facts | None = None
    match outcome:
        case Analysed():
            facts = outcome.facts
        case Unsafe():
            state, reason, hint, facts = State.UNSAFE, outcome.reason, outcome.hint, outcome.facts
        case Failed():
            state, reason, hint = State.FAILED, outcome.reason, outcome.hint
        case Gone():
            state = State.GONE
    return location, facts, Standing(state, Watch.POLLED, reason, hint, as_of=time.time(), age_ms=0)


def _report(location: Location, facts: Facts | None, standing: Standing) -> dict[str, Any]:
    return {
        "path": text_or_bytes(location.path),
        "name": text_or_bytes(os.path.basename(location.path)),
        "git_dir": text_or_bytes(location.git_dir),
        "common_dir": text_or_bytes(location.common_dir),
        "bare": location.bare,
        "state": standing.state.value,
        "reason": standing.reason,
        "hint": standing.hint,
        "watch": standing.watch.value,
        "as_of": standing.as_of,
        "age_ms": standing.age_ms,
        **facts_to_wire(facts or Facts()),
    }
