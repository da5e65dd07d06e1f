"""The daemon is killed (SIGKILL) at random moments under load, again and again; every answer after it must be right.

`python -m tests.kill_loop --times 200 [--seed S]`. While it runs, clients ask, repositories change, roots are added and
removed, reports go to the cache. After each kill a new daemon starts over what the old one left, and

- what it answers without waiting is git's answer, or says that it is not confirmed;
- what it answers when asked to wait is fresh, and git's;
- every root and every trust that was acknowledged is there, every root whose removal was acknowledged is not;
- no file of the user's decisions was found damaged, and nothing logged a bug.

Exit 1 at the first violation, with the seed.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.store.cache_reader import load
from gitwatchd.wire.rpc import RemoteError
from tests.zoo.commands import Git, judge, new_repository
from tests.zoo.daemon import Client, Daemon
from tests.zoo.isolation import isolated_environment, write_home
from tests.zoo.waiting import wait_until

REPOSITORIES = 6
ROOTS = 4
LIVES_S = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2.3)
"""How long it is under load before it is killed; the cache is written two seconds after the first report."""


class Violation(AssertionError):
    pass


class KillLoop:
    """Counts into `tally`."""

    def __init__(self, directory: Path, seed: int, tally: Counter[str]) -> None:
        self._random = Random(seed)
        self._directory = directory
        self._tally = tally
        self._root = directory / "root"
        files = {f"d{n % 5}/f{n}": b"%d\n" % n for n in range(40)}
        self._paths = [new_repository(self._root / f"r{n}", files).path for n in range(REPOSITORIES)]
        self._trusted = self._make_filtered(self._root / "filtered")
        self._roots = [directory / f"apart{n}" for n in range(ROOTS)]
        for root in self._roots:
            new_repository(root / "r", {"a": b"1\n"})
        self._kept: dict[Path, bool | None] = dict.fromkeys(self._roots, False)
        """Whether each is a root, as far as a daemon acknowledged it; None: it was killed before it said."""
        self._stopped = threading.Event()
        self._failures: list[BaseException] = []

    def _make_filtered(self, path: Path) -> Path:
        git = new_repository(path, {"a": b"1\n"})
        git("config", "filter.own.clean", "cat")
        (path / ".gitattributes").write_bytes(b"* filter=own\n")
        return path

    def run(self, times: int) -> None:
        """Raises Violation."""
        for number in range(times):
            daemon = self._daemon()
            try:
                self._verify(daemon, first=number == 0)
                self._live_and_die(daemon)
            finally:
                daemon.kill()
            self._tally["kills"] += 1
        daemon = self._daemon()
        self._verify(daemon, first=False)
        daemon.stop()
        with closing(sqlite3.connect(os.fsdecode(daemon.places.intent))) as connection:
            verdict = connection.execute("PRAGMA integrity_check").fetchone()[0]
        if verdict != "ok" or list(self._directory.glob("state/*damaged*")):
            raise Violation(f"the user's decisions are damaged: {verdict}")
        if "Traceback" in daemon.said():
            raise Violation(f"a bug was logged\n{daemon.said()}")

    def _daemon(self) -> Daemon:
        began = time.monotonic()
        daemon = Daemon(self._directory / "state", deadline_s=60.0)
        self._tally["ms of start, in all"] += int(1000 * (time.monotonic() - began))
        return daemon

    # ---- after the kill

    def _verify(self, daemon: Daemon, *, first: bool) -> None:
        with daemon.connect() as client:
            if first:
                client.call("trust", str(self._trusted))
                client.reports(self._root)
            for path in self._paths:
                self._compare(client, path, wait_s=0)
            listed = {Path(root["path"]) for root in client.call("roots.list") if root["permanent"]}
            for root, kept in self._kept.items():
                if kept is not None and (root in listed) != kept:
                    raise Violation(f"{root} is {'not ' * kept}a root any more, or again: {listed}")
                self._kept[root] = root in listed
                self._tally["roots checked"] += 1
            for path in (*self._paths, self._trusted):
                self._compare(client, path, wait_s=60)
            problems = [p for p in client.call("doctor")["problems"] if "damaged" in p["what"]]
            if problems:
                raise Violation(str(problems))

    def _compare(self, client: Client, path: Path, *, wait_s: float) -> None:
        answer, expected = client.entries(path, wait_s=wait_s), judge(path)
        self._tally["answers compared"] += 1
        self._tally[f"answers {'at once' if not wait_s else 'waited for'}: {answer.state}"] += 1
        honest = ("stale", "pending") if not wait_s else ()
        if answer.state in honest or (answer.state == "fresh" and answer.stdout == expected):
            return
        raise Violation(f"{path}: {answer.state} {answer.reason}\nanswered {answer.stdout!r}\ngit      {expected!r}")

    # ---- before the next

    def _live_and_die(self, daemon: Daemon) -> None:
        self._stopped.clear()
        seeds = [self._random.randrange(1 << 30) for _ in range(4)]
        work = (self._ask, self._ask, self._change, self._decide)
        threads = [
            threading.Thread(target=self._guarded, args=(each, daemon, Random(seed)))
            for each, seed in zip(work, seeds, strict=True)
        ]
        for thread in threads:
            thread.start()
        if not self._tally["kills"]:
            # Or the short form might never have a cache to begin from or, on a slow machine, no load to end under.
            wait_until(lambda: load(daemon.places.cache).repositories, 60.0, "the first write of the cache")
            for what in ("decisions acknowledged", "changes under load"):
                wait_until(lambda what=what: self._tally[what] > 10 or self._failures, 60.0, what)  # type: ignore[misc]
        time.sleep(self._random.choice(LIVES_S) * self._random.random())
        daemon.kill()
        self._stopped.set()
        for thread in threads:
            thread.join()
        for failure in self._failures:
            raise failure

    def _guarded(self, work: Callable[[Daemon, Random], None], daemon: Daemon, random: Random) -> None:
        try:
            work(daemon, random)
        except DaemonUnavailable:
            pass  # it was killed
        except BaseException as failure:  # noqa: BLE001 - raised again in the thread that judges
            self._failures.append(failure)

    def _ask(self, daemon: Daemon, random: Random) -> None:
        with daemon.connect() as client:
            while not self._stopped.is_set():
                if random.random() < 0.5:
                    client.entries(random.choice(self._paths))
                else:
                    client.reports(self._root, wait_s=random.choice((0, 5)))
                self._tally["questions under load"] += 1

    def _change(self, daemon: Daemon, random: Random) -> None:
        while not self._stopped.is_set():
            path = random.choice(self._paths)
            kind = random.randrange(6)
            if kind == 0:
                Git(path)("add", "-A")
            elif kind == 1:
                Git(path)("commit", "-qam", "edit", "--allow-empty")
            elif kind == 2:
                shutil.rmtree(path / f"d{random.randrange(5)}", ignore_errors=True)
            elif kind == 3:
                Git(path)("reset", "-q", "--hard")
            else:
                file = path / f"d{random.randrange(5)}/n{random.randrange(5)}"
                file.parent.mkdir(exist_ok=True)
                file.write_bytes(b"%d\n" % random.randrange(1000))
            self._tally["changes under load"] += 1

    def _decide(self, daemon: Daemon, random: Random) -> None:
        with daemon.connect() as client:
            while not self._stopped.is_set():
                root = random.choice(self._roots)
                kept = self._kept[root]
                self._kept[root] = None
                try:
                    client.call("roots.remove" if kept else "roots.add", str(root))
                except RemoteError as refused:
                    raise Violation(f"{root}: {refused}") from None
                self._kept[root] = not kept
                self._tally["decisions acknowledged"] += 1


def run_loop(directory: Path, times: int, seed: int) -> Counter[str]:
    """Raises Violation."""
    tally: Counter[str] = Counter()
    KillLoop(directory, seed, tally).run(times)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.kill_loop")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gw-kill-") as name:
        directory = Path(name)
        os.environ.update(isolated_environment(os.environ, directory / "home"))
        write_home(directory / "home")
        try:
            tally = run_loop(directory, options.times, options.seed)
        except Violation as violation:
            sys.exit(f"seed {options.seed}: {violation}")
    print(f"seed {options.seed}: all answers right")
    for name, count in sorted(tally.items()):
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
