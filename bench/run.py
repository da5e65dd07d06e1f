"""Measure the budgets: `python -m bench.run`, from the top of the checkout.

One command, one table. What is compared is measured in one run, interleaved, and shown as medians. The material (500
repositories, one of 100,001 files; 1 GB) is built on first use below --data and kept; HOME and the daemons' state are
directories of the benchmark's own.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
from pathlib import Path

from bench import edits, fleet, prompts, storm
from bench.material import Material
from bench.measure import Row, machine, render
from bench.subject import SCENARIOS, Bench
from tests.zoo.isolation import isolated_environment, write_home

_ = (fleet, edits, storm, prompts)  # their import fills SCENARIOS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("--only", metavar="NAME", action="append", choices=SCENARIOS, help=", ".join(SCENARIOS))
    parser.add_argument(
        "--data", metavar="DIR", type=Path, help="where the material is kept (default: a temporary directory)"
    )
    parser.add_argument("--rounds", metavar="N", type=int, default=7, help="repetitions of whole processes (default 7)")
    parser.add_argument(
        "--idle", metavar="SECONDS", type=float, default=60.0, help="length of the idle scenario (default 60)"
    )
    parser.add_argument(
        "--huge", action="store_true", help="hot query and edit to answer at 400,000 files too; 2 GB more"
    )
    parser.add_argument("--markdown", action="store_true", help="print the table for bench/RESULTS.md")
    arguments = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that daemons and directories are cleaned up
    with tempfile.TemporaryDirectory(prefix="gw-bench-") as temporary:
        home = Path(temporary) / "home"
        environment = isolated_environment(os.environ, home)
        os.environ.clear()
        os.environ.update(environment)
        write_home(home)
        material = Material(arguments.data or Path(temporary) / "data")
        material.prepare(huge=arguments.huge)
        rows: list[Row] = []
        notes: list[str] = []
        try:
            for name in arguments.only or SCENARIOS:
                print(f"{name} ...", file=sys.stderr, flush=True)
                rows += SCENARIOS[name](Bench(material, arguments.rounds, arguments.idle, arguments.huge, notes))
        finally:  # a scenario that fails does not take the others' minutes with it
            print(machine(), render(rows, arguments.markdown), "\n".join(notes), sep="\n\n")


if __name__ == "__main__":
    main()
