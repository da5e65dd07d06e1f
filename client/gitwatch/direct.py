"""`gitwatch status --direct`: no daemon; search and run git here.

Owns: the threads that wait for git. Runs: one process a command. The only module of the client that imports
the daemon's parts, and only when called: that takes 150 ms, which is nothing beside the work.
Invariant: the same discovery, analysis and rendering as the daemon's, under the same configuration; only who does it
differs. Trust given with `gitwatch trust` is the daemon's to check: what only that allows stays `unsafe` here.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from typing import Any

from gitwatch import output
from gitwatch.cli import Invocation
from gitwatch.json_form import complain_of, complain_of_each
from gitwatch.link import places_of
from gitwatch.progress import Progress
from gitwatch.selection import Selection, show_chosen
from gitwatch.status import columns_of
from gitwatchd.analysis.facts import complete_facts
from gitwatchd.analysis.job import analyse
from gitwatchd.analysis.pool import pool_ceiling
from gitwatchd.errors import EnvironmentFailure, NotARepository, UserError
from gitwatchd.git.files import read_regular
from gitwatchd.git.index_file import read_index
from gitwatchd.git.layout import find_start, find_worktree, read_format
from gitwatchd.git.lines import count_lines
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.report import Facts, Standing, State, Watch, text_or_bytes
from gitwatchd.model.repository import (
    ANY_DRIVERS,
    Analysed,
    Failed,
    Gone,
    Job,
    Location,
    Outcome,
    Unsafe,
    report_to_wire,
)
from gitwatchd.render.status_view import render_status
from gitwatchd.render.table import COLUMNS, Frame, NoSuchColumn, parse_columns, row_of, with_lines
from gitwatchd.settings.colours import palette
from gitwatchd.settings.globs import covers, names_repository
from gitwatchd.settings.model import DEFAULTS, Settings
from gitwatchd.settings.parser import MOST_BYTES, parse
from gitwatchd.watch.discovery import find_repositories

_STEP_S = 0.02

Lines = dict[str, int]
Found = tuple[Location, Facts | None, Standing, Lines | None]


def direct(invocation: Invocation) -> int:
    selection = Selection(invocation)
    if "lines" in selection.names:
        invocation.options["--lines"] = True
    settings = _settings(invocation)
    columns = _columns(invocation, settings)
    if "lines" in columns:
        invocation.options["--lines"] = True
    places = _Places(invocation, settings)
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        found = sorted(_analyse_all(invocation, settings, places, progress), key=lambda each: each[0].path)
    strict = invocation.has("--strict")
    by_path = {text_or_bytes(each[0].path): each for each in found}
    reports = [_report(*each, with_lines=invocation.has("--lines")) for each in found]
    chosen = selection.choose(reports)
    doubtful = selection.doubtful(reports, chosen)
    if not show_chosen(invocation, selection, chosen):
        view = render_status(
            [
                (with_lines(row_of(location, facts, standing), lines), standing)
                for location, facts, standing, lines in (by_path[report["path"]] for report in chosen)
            ],
            frame=Frame(places.base, os.fsencode(os.environ.get("HOME", "")) or None, time.time()),
            width=output.width(output.STDOUT),
            colour=palette(settings.colours) if output.wants_colour() else {},
            columns=columns,
            links=output.wants_links(),
        )
        if reports or not places.errors:
            output.write_text(view.text)
        if not invocation.has("--errors"):
            for note in view.notes:
                output.complain(note)
            code = int(bool(view.failed or (strict and view.strict_failed)))
            return complain_of(doubtful, places.errors, strict=strict) or code
    if invocation.has("--errors"):
        return complain_of_each(reports, places.errors, strict=strict)
    return complain_of([*chosen, *doubtful], places.errors, strict=strict)


def _settings(invocation: Invocation) -> Settings:
    """What config.toml says; what is wrong with it is told, and then the defaults count."""
    file = places_of(invocation).config
    try:
        parsed = parse(read_regular(file, MOST_BYTES + 1), os.fsencode(os.environ.get("HOME", "")), COLUMNS)
    except (FileNotFoundError, NotADirectoryError):
        return DEFAULTS
    except OSError as error:
        output.complain(f"{output.plain(file)}: cannot be read: {(error.strerror or str(error)).lower()}", _INSTEAD)
        return DEFAULTS
    for number, problem in enumerate(parsed.problems, 1):
        place = f"{output.plain(file)}:{problem.line}" if problem.line else output.plain(file)
        hint = f" ({problem.hint})" if problem.hint else ""
        output.complain(f"{place}: {problem.what}{hint}", _INSTEAD * (number == len(parsed.problems)))
    return parsed.settings or DEFAULTS


_INSTEAD = "until this is put right, nothing of that file is in force for --direct"


def _columns(invocation: Invocation, settings: Settings) -> list[str]:
    try:
        return parse_columns(columns_of(invocation), parse_columns(settings.columns))
    except NoSuchColumn as error:
        raise UserError(f"there is no column {str(error)!r}", f"one of: {', '.join(COLUMNS)}") from None


def _start_of(path: bytes) -> bytes:
    """Where the search for what PATH means begins: the worktree's top when it lies in one.

    Raises EnvironmentFailure for a path that there is not, or a file in no worktree.
    """
    if not os.path.lexists(path):
        raise EnvironmentFailure("no such file or directory")
    try:
        return find_worktree(path).path
    except NotARepository:
        if not os.path.isdir(path):
            raise EnvironmentFailure("a file that lies in no repository") from None
        return path


class _Places:
    """Where repositories are looked for, and which of those that are found are meant."""

    def __init__(self, invocation: Invocation, settings: Settings) -> None:
        groups = invocation.groups().get("groups", [])
        for group in groups:
            if group not in settings.groups:
                known = ", ".join(f"@{name}" for name in settings.groups) or "none are configured"
                raise UserError(f"there is no group {group!r:.80}", f"known: {known}")
        self._globs = [glob for group in groups for glob in settings.groups[group]]
        self._ignore = settings.ignore
        self._include_ignored = invocation.has("--include-ignored")
        self._named: list[bytes] = []
        self.errors: list[dict[str, Any]] = []
        """Paths that stand for nothing."""
        for path in invocation.paths():
            try:
                self._named.append(_start_of(path))
            except EnvironmentFailure as failure:
                self.errors.append({"path": text_or_bytes(path), "reason": failure.message})
        named_all = bool(self._named or self.errors) and not groups
        self._roots = [] if named_all else _known_roots(invocation, settings)
        self.base = self._named[0] if len(self._named) == 1 and not groups else None

    def repositories(self) -> Iterator[Location]:
        """Each once."""
        seen = set()
        for top in (*self._named, *self._roots):
            for location in find_repositories(top, include_ignored=self._include_ignored):
                if location.path not in seen and self._is_meant(location.path, top):
                    seen.add(location.path)
                    yield location

    def _is_meant(self, path: bytes, top: bytes) -> bool:
        if self._ignore and covers(self._ignore, path, below=top):
            return False
        return not self._globs or top in self._named or names_repository(self._globs, path)


def _known_roots(invocation: Invocation, settings: Settings) -> list[bytes]:
    """The roots that the daemon keeps, read from its file, and those of the configuration."""
    from gitwatchd.store.intent import Intent

    file = places_of(invocation).intent
    kept = []
    if os.path.exists(file):
        with closing(Intent(file)) as intent:
            kept = [root.path for root in intent.roots()]
    configured = [os.path.realpath(root) for root in settings.roots if os.path.isdir(root)]
    roots = list(dict.fromkeys((*kept, *configured)))
    if not roots:
        raise UserError("no PATH, and no roots are known", "name a directory, or `gitwatch roots add` one")
    return roots


def _analyse_all(invocation: Invocation, settings: Settings, places: _Places, progress: Progress) -> Iterator[Found]:
    """Each repository as soon as git has answered about it; analysing begins while the search goes on."""
    most = settings.limits.jobs if invocation.jobs is None else invocation.jobs
    jobs = pool_ceiling(os.cpu_count() or 1) if most is None else max(most, 1)
    running: dict[Future[tuple[Outcome, Lines | None]], Location] = {}
    total, done, searching = 0, 0, True
    stop = threading.Event()
    with tempfile.TemporaryDirectory(prefix="gitwatch-") as indexes, ThreadPoolExecutor(jobs) as pool:

        def carry_out(location: Location) -> tuple[Outcome, Lines | None]:
            if stop.is_set():
                return Failed("interrupted"), None
            if invocation.has("--metadata-only"):
                return _read_refs(location), None
            trusted = ANY_DRIVERS if settings.trust and covers(settings.trust, location.path) else None
            timeout_s = min(invocation.remaining_s(), settings.limits.timeout_s)
            outcome = analyse(Job(location, os.fsencode(indexes), timeout_s, trusted))
            return outcome, _count_lines(location, outcome) if invocation.has("--lines") else None

        def tell() -> None:
            progress.update("discovering" if searching else "analysing", total, done, total)

        try:
            for location in places.repositories():
                running[pool.submit(carry_out, location)] = location
                total += 1
                tell()
            searching = False
            while running:
                finished, _ = wait(running, _STEP_S, FIRST_COMPLETED)
                for future in finished:
                    done += 1
                    yield _found(running.pop(future), *future.result())
                tell()
        except BaseException:
            # Leaving the pool waits for what was submitted: an interrupted scan must not run to its end
            # first.
            stop.set()
            raise


def _read_refs(location: Location) -> Outcome:
    """--metadata-only: no file of the worktree is looked at, and git is asked for no status."""
    try:
        if find_start(location) is None:
            return Gone()
        index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
        return Analysed(complete_facts(location, read_config(location), None, index), None)
    except EnvironmentFailure as failure:
        return Failed(failure.message, failure.hint)
    except OSError as error:
        return Failed(error.strerror or str(error))


def _count_lines(location: Location, outcome: Outcome) -> Lines | None:
    if not isinstance(outcome, Analysed):
        return None
    try:
        added, removed = count_lines(location) if outcome.facts.dirty else (0, 0)
    except (EnvironmentFailure, OSError):
        return None
    return {"added": added, "removed": removed}


def _found(location: Location, outcome: Outcome, lines: Lines | None) -> Found:
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
    return location, facts, Standing(state, Watch.POLLED, reason, hint, as_of=time.time(), age_ms=0), lines


def _report(
    location: Location, facts: Facts | None, standing: Standing, lines: Lines | None, *, with_lines: bool
) -> dict[str, Any]:
    report = report_to_wire(location, facts or Facts(), standing)
    return {**report, "lines": lines} if with_lines else report
