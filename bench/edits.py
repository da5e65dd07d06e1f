"""Scenarios of one big repository: hot, after an edit, after git's own commands.

Every row stands beside plain `git status` and beside git with its untracked cache, measured in the same run.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.material import big_names, fill_untracked_cache, huge_names
from bench.measure import Row, Series, interleaved, run, show_s, timed
from bench.subject import (
    WITH_UNTRACKED_CACHE,
    Bench,
    HotLine,
    Started,
    borrowed,
    plain_status,
    scenario,
)
from tests.zoo.commands import JUDGE, Git
from tests.zoo.nursery import append

FIRST_EDITS_S = 15.0
"""How long edits asked at once may all be answered by git before it is waited for the daemon to follow."""
PRIMED_S = 30.0


@contextmanager
def index_with_untracked_cache(git: Git) -> Iterator[dict[str, str]]:
    """The environment for git with its untracked cache, in an index beside the user's; for changes of the worktree."""
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as directory:
        index = Path(directory) / "index"
        shutil.copy2(git.path / ".git/index", index)
        fill_untracked_cache(git.path, index)
        yield {**os.environ, "GIT_INDEX_FILE": str(index)}


@scenario
def hot_query(bench: Bench) -> list[Row]:
    rows: list[Row] = []
    places = [("100k", bench.material.big)] + [("400k", bench.material.huge)] * bench.huge
    for size, path in places:
        with Started() as ours, index_with_untracked_cache(Git(path)) as cached:
            small, big = ours.line(bench.material.small), ours.line(path)
            measured = interleaved(4000, small=lambda: timed(small.ask), big=lambda: timed(big.ask))  # noqa: B023
            small.report()
            big.report()
            gits = interleaved(
                bench.rounds,
                plain=lambda: plain_status(path),  # noqa: B023
                cached=lambda: timed(lambda: run(WITH_UNTRACKED_CACHE, cwd=path, env=cached)),  # noqa: B023
            )
        median, few = measured["big"].median, measured["small"].median
        rows += [
            Row(
                f"hot query, {size} files", "`status`, persistent connection, clean",
                f"{show_s(median)} (p99 {show_s(measured['big'].percentile(99))})",
                f"git status: {show_s(gits['plain'].median)}", median / gits["plain"].median,
                "<= 150 us" if size == "100k" else "", median <= 150e-6 if size == "100k" else None,
            ),
            _cached_row(median, gits["cached"].median),
            Row(
                f"hot query, {size} to small", "the same beside 100 files", show_s(median),
                f"100 files: {show_s(few)} (p99 {show_s(measured['small'].percentile(99))})", median / few,
                "<= 1.3x", median <= 1.3 * few,
            ),
        ]  # fmt: skip
    return rows


def _cached_row(ours_s: float, cached_s: float) -> Row:
    return Row("", "", "", f"git with untracked cache: {show_s(cached_s)}", ours_s / cached_s)


EDITS = 2000
EDITING_S = 90.0
"""An answer that costs a whole `git status` would take a quarter of an hour for all of them: enough is known before."""
COMPARED_EVERY = 100


class Editor:
    """Appends to one tracked file and undoes that in turn, and asks at once."""

    def __init__(self, file: Path, line: HotLine) -> None:
        self._file = file
        self._content = file.read_bytes()
        self._line = line
        self._dirty = False
        self.series = Series()
        self.stale = 0

    def edit_and_ask(self) -> None:
        self._dirty = not self._dirty
        if self._dirty:
            append(self._file, b"more\n")
        else:
            self._file.write_bytes(self._content)
        started = time.perf_counter()
        report = self._line.report()
        self.series.seconds.append(time.perf_counter() - started)
        self.stale += report["dirty"] is not self._dirty


@scenario
def edit_to_answer(bench: Bench) -> list[Row]:
    """An answer that does not show the last edit is stale; every hundredth is compared with git's, byte for byte."""
    rows = _edit_to_answer(bench, bench.material.big, big_names()[50_000], "edit to answer", with_budget=True)
    if bench.huge:
        rows += _edit_to_answer(
            bench, bench.material.huge, huge_names()[200_000], "edit to answer, 400k", with_budget=False
        )
    return rows


def _edit_to_answer(bench: Bench, path: Path, file: str, name: str, *, with_budget: bool) -> list[Row]:
    plain, cached_git = Series(), Series()
    different = compared = 0
    with borrowed(path) as git, index_with_untracked_cache(git) as cached, Started() as ours:
        line = ours.line(path)
        first = Editor(path / file, line)
        followed = _edit_until_followed(ours, first)
        editor = Editor(path / file, line)
        until = time.monotonic() + EDITING_S
        while len(editor.series.seconds) < EDITS and time.monotonic() < until:
            editor.edit_and_ask()
            # An odd number: the last edit was an append as often as its undoing.
            if len(editor.series.seconds) % COMPARED_EVERY == compared % 2:
                compared += 1
                answered = ours.client.entries(path).stdout
                plain.seconds.append(timed(lambda: run(JUDGE, cwd=path)))
                different += answered != run(JUDGE, cwd=path)
                cached_git.seconds.append(timed(lambda: run(WITH_UNTRACKED_CACHE, cwd=path, env=cached)))
        ours.note(bench, name)
    stale = first.stale + editor.stale
    median, edits = editor.series.median, len(editor.series.seconds)
    return [
        Row(
            name, f"append or undo, then `status`; {stale} of {edits} stale, {different} of {compared} unlike git's",
            f"{show_s(median)} (p99 {show_s(editor.series.percentile(99))})",
            f"git status: {show_s(plain.median)}", median / plain.median,
            "<= 1 ms, 0 stale" if with_budget else "",
            median <= 1e-3 and not stale and not different if with_budget else None,
        ),
        _cached_row(median, cached_git.median),
        Row(
            f"{name}, first", f"the {len(first.series.seconds)} edits after the scan; {followed}",
            f"{show_s(first.series.median)} (first {show_s(first.series.seconds[0])})",
        ),
    ]  # fmt: skip


def _edit_until_followed(ours: Started, editor: Editor) -> str:
    """Edit until the daemon takes one in without git; says what that took. The last edit was an undoing."""
    for pause_s, lasting_s, said in ((0.0, FIRST_EDITS_S, "back to back"), (1.0, PRIMED_S, "with pauses of 1 s")):
        until = time.monotonic() + lasting_s
        while time.monotonic() < until:
            before = ours.levels()["L1"]
            editor.edit_and_ask()
            editor.edit_and_ask()
            if ours.levels()["L1"] >= before + 2:
                return f"followed {said}"
            time.sleep(pause_s)
    return "never followed"


def _after_git(
    bench: Bench,
    name: str,
    work: str,
    budget: float | None,
    change: Callable[[Git, int], None],
    undo: Callable[[Git], None] = lambda _git: None,
) -> list[Row]:
    """One `change` by git, then our answer or git's, in turn; the change's own time does not count.

    git with its untracked cache has a repository of its own with that cache in the index, and the same changes: our
    daemon would leave such an index to git.
    """
    number = 0
    with borrowed(bench.material.big) as git, borrowed(bench.material.cached) as cached, Started() as ours:
        line = ours.line(git.path)

        def after_change(where: Git, ask: Callable[[], object]) -> float:
            nonlocal number
            number += 1
            change(where, number)
            seconds = timed(ask)
            line.report()  # every side starts the next change from a daemon that is up to date
            return seconds

        measured = interleaved(
            max(bench.rounds, 10),
            ours=lambda: after_change(git, line.report),
            plain=lambda: after_change(git, lambda: run(JUDGE, cwd=git.path)),
            cached=lambda: after_change(cached, lambda: run(WITH_UNTRACKED_CACHE, cwd=cached.path)),
        )
        if ours.client.entries(git.path).stdout != run(JUDGE, cwd=git.path):
            raise SystemExit(f"{name}: the last answer differs from git's")
        ours.note(bench, name)
        undo(git)
        undo(cached)
    median, plain = measured["ours"].median, measured["plain"].median
    return [
        Row(
            name, work, f"{show_s(median)} (worst {show_s(max(measured['ours'].seconds))})",
            f"git status: {show_s(plain)}", median / plain,
            "" if budget is None else f"<= {budget}x", None if budget is None else median <= budget * plain,
        ),
        _cached_row(median, measured["cached"].median),
    ]  # fmt: skip


def _stage_one(git: Git, number: int) -> None:
    name = big_names()[1000 + number]
    append(git.path / name, b"staged\n")
    git("add", name)


def _commit_one(git: Git, number: int) -> None:
    name = big_names()[2000 + number]
    append(git.path / name, b"committed\n")
    git("add", name)
    git("commit", "-qm", "one")


def _commit_only(git: Git, number: int) -> None:
    name = big_names()[3000 + number]
    append(git.path / name, b"committed\n")
    git("commit", "-qm", "one", "--only", "--", name)


def _switch(git: Git, _number: int) -> None:
    on_other = git("symbolic-ref", "--short", "HEAD") == b"other\n"
    git("checkout", "-q", "bench" if on_other else "other")


@scenario
def add(bench: Bench) -> list[Row]:
    return _after_git(bench, "add", "right after `git add` of one file, 100k files", 0.1, _stage_one)


@scenario
def commit(bench: Bench) -> list[Row]:
    work = "right after `git add` and `git commit` of one file, 100k files"
    return [
        *_after_git(bench, "commit", work, 0.1, _commit_one),
        *_after_git(bench, "commit --only", "right after `git commit FILE`, 100k files", 0.1, _commit_only),
    ]


@scenario
def switch(bench: Bench) -> list[Row]:
    return _after_git(bench, "switch", "right after a checkout that differs in 1,000 files", 0.6, _switch)


@scenario
def rules(bench: Bench) -> list[Row]:
    """What a private index (L2) would be for: changes that concern more than the paths that they name. No budgets."""
    rows: list[Row] = []
    for name, file, line in (
        ("root .gitignore", ".gitignore", "*.ignored"),
        ("nested .gitignore", "part40/section40/.gitignore", "*.ignored"),
        (".gitattributes", ".gitattributes", "*.binary -text"),
    ):

        def edit(git: Git, number: int) -> None:
            (git.path / file).write_text(f"{line}{number}\n")  # noqa: B023

        def remove(git: Git) -> None:
            (git.path / file).unlink()  # noqa: B023

        rows += _after_git(bench, name, f"right after an edit of {file}, 100k files", None, edit, remove)
    return rows


@scenario
def reset(bench: Bench) -> list[Row]:
    def reset_mixed(git: Git, _number: int) -> None:
        at_main = git("rev-parse", "HEAD") == git("rev-parse", "main")
        git("reset", "-q", "other" if at_main else "main")

    work = "right after a mixed reset that differs in 1,000 entries, 100k files"
    return _after_git(bench, "reset", work, None, reset_mixed)


@scenario
def big_checkout(bench: Bench) -> list[Row]:
    """Every file of a repository of 20,000 is written anew."""
    with borrowed(bench.material.storm) as git, Started() as ours:
        line = ours.line(git.path)

        def after_checkout(ask: Callable[[], object]) -> float:
            _switch(git, 0)
            seconds = timed(ask)
            line.report()
            return seconds

        measured = interleaved(
            bench.rounds,
            ours=lambda: after_checkout(line.report),
            plain=lambda: after_checkout(lambda: run(JUDGE, cwd=git.path)),
        )
        if ours.client.entries(git.path).stdout != run(JUDGE, cwd=git.path):
            raise SystemExit("big checkout: the last answer differs from git's")
        ours.note(bench, "big checkout")
    median, plain = measured["ours"].median, measured["plain"].median
    return [
        Row(
            "big checkout", "right after a checkout that writes 20k of 20k files",
            f"{show_s(median)} (worst {show_s(max(measured['ours'].seconds))})",
            f"git status: {show_s(plain)}", median / plain,
        ),
    ]  # fmt: skip
