"""Prompts: the program, the integrations of shells, gitstatusd's place; beside a prompt made of `git status`.

The program is measured as an installer puts it there (compiled package, interpreter named by `gitwatch`), because an
editable install has it take a longer way. The shells measure themselves: a loop of what they run before each prompt.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Row, Series, interleaved, run, show_s, timed
from bench.subject import Bench, Started, plain_status, scenario
from tests.shells.gitstatus import EVERYTHING, Helper

CLIENT = Path(__file__).parents[1] / "client"
PROMPTS = 300
GIT_PROMPTS = 20
_LOOPS = {
    "zsh": (
        ["zsh", "-d", "-f", "-i", "-c"],
        "{init}; repeat 20 _gitwatch_precmd; a=$EPOCHREALTIME; repeat {n} {{ {step} }}; b=$EPOCHREALTIME; "
        "print $(( (b - a) / {n} )) $VCS_STATUS_STATE",
        "_gitwatch_precmd",
        1e-3,
    ),
    "bash": (
        ["bash", "--norc", "-i", "-c"],
        "{init}; for ((i = 0; i < 20; i++)); do _gitwatch_prompt; done; a=${{EPOCHREALTIME/./}}; "
        "for ((i = 0; i < {n}; i++)); do {step}; done; b=${{EPOCHREALTIME/./}}; "
        "printf '%d.%09d %s\\n' 0 $(((b - a) * 1000 / {n})) \"$VCS_STATUS_STATE\"",
        "_gitwatch_prompt",
        2e-3,
    ),
}
_BY_GIT = "line=$(git status --porcelain=v2 --branch)"


@contextmanager
def installed() -> Iterator[Path]:
    """A directory with `python`, `gitwatch` and `gitwatch-prompt`, as in an environment."""
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as name:
        top = Path(name)
        packages = top / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
        packages.mkdir(parents=True)
        shutil.copytree(CLIENT / "gitwatch", packages / "gitwatch")
        (top / "bin").mkdir()
        (top / "bin/python").symlink_to(os.path.realpath(sys.executable))
        (top / "bin/gitwatch").write_text(f"#!{top}/bin/python\n")
        shutil.copy(CLIENT / "gitwatch-prompt", top / "bin")
        yield top / "bin"


@contextmanager
def own_runtime(ours: Started) -> Iterator[dict[str, str]]:
    """The environment in which that daemon is the user's own."""
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as name:
        os.symlink(ours.daemon.places.run_dir, os.fsencode(name) + b"/gitwatchd")
        yield {**os.environ, "XDG_RUNTIME_DIR": name}


@scenario
def prompt_process(bench: Bench) -> list[Row]:
    with Started() as ours, installed() as bin_dir, own_runtime(ours) as env:
        ours.line(bench.material.small).close()
        python = [str(bin_dir / "python"), "-I", "-S", "-c", "pass"]
        prompt = [str(bin_dir / "gitwatch-prompt"), "--timeout", "5"]
        if run(prompt, cwd=bench.material.small, env=env) != b"main\n":  # also compiles the package
            raise SystemExit("no prompt")
        measured = interleaved(
            15 * bench.rounds,
            prompt=lambda: timed(lambda: run(prompt, cwd=bench.material.small, env=env)),
            python=lambda: timed(lambda: run(python, cwd=bench.material.small, env=env)),
        )
        git = interleaved(bench.rounds, git=lambda: plain_status(bench.material.big))["git"]
    ours_s, bare = measured["prompt"].median, measured["python"].median
    return [
        Row(
            "prompt process", "`gitwatch-prompt`, whole process", show_s(ours_s),
            f"python -I -S -c pass: {show_s(bare)}", ours_s / bare, "<= 1.6x", ours_s <= 1.6 * bare,
        ),
        Row("", "the same, 100k files", show_s(ours_s), f"git status: {show_s(git.median)}", ours_s / git.median),
    ]  # fmt: skip


@scenario
def shell_prompt(bench: Bench) -> list[Row]:
    rows = []
    for shell, (command, loop, step, budget_s) in _LOOPS.items():
        if shutil.which(shell) is None:
            rows.append(Row(f"shell prompt, {shell}", "not measured: there is no such shell here", ""))
            continue
        with Started() as ours, own_runtime(ours) as env:
            ours.line(bench.material.small).close()
            ours.line(bench.material.big).close()
            init = f'eval "$({sys.executable} -m gitwatch init {shell})"'
            took: dict[tuple[str, str], list[float]] = {}
            for _ in range(3):
                for size, path in (("small", bench.material.small), ("100k", bench.material.big)):
                    for kind, what, count in (("ours", step, PROMPTS), ("git", _BY_GIT, GIT_PROMPTS)):
                        if (size, kind) == ("100k", "git"):
                            count = 3
                        script = loop.format(init=init, n=count, step=what)
                        done = subprocess.run(
                            [*command, script], cwd=path, env=env, stdin=subprocess.DEVNULL, capture_output=True,
                            check=True, timeout=300,
                        )  # fmt: skip
                        seconds, state = done.stdout.split()[-2:]
                        if state != b"fresh":
                            raise SystemExit(f"{shell} was answered {state.decode()}")
                        took.setdefault((size, kind), []).append(float(seconds))
        for size in ("small", "100k"):
            mine, git = statistics.median(took[size, "ours"]), statistics.median(took[size, "git"])
            rows.append(
                Row(
                    f"shell prompt, {shell}, {size}", "what runs before each prompt", show_s(mine),
                    f"`{_BY_GIT}`: {show_s(git)}", mine / git, f"<= {budget_s * 1e3:g} ms", mine <= budget_s,
                )
            )  # fmt: skip
    return rows


@scenario
def gitstatusd(bench: Bench) -> list[Row]:
    rows = []
    with Started() as ours, own_runtime(ours) as env, Helper(*EVERYTHING, env=env) as helper:
        for size, path in (("100 files", bench.material.small), ("100k files", bench.material.big)):
            ours.line(path).close()
            series = Series()
            for _ in range(1000):
                series.seconds.append(timed(lambda: helper.ask(path)))  # noqa: B023
            git = interleaved(bench.rounds, git=lambda: plain_status(path))["git"]  # noqa: B023
            rows.append(
                Row(
                    f"gitstatusd's place, {size}", "a request through the helper's pipes, clean",
                    f"{show_s(series.median)} (p99 {show_s(series.percentile(99))})",
                    f"git status: {show_s(git.median)}",
                    series.median / git.median,
                )
            )  # fmt: skip
    return rows
