"""Foreign bytes, millions of times: the wire, a session, a live daemon's methods, and the parsers of git's files.

`python -m tests.fuzz --minutes N [--seed S] [--only TARGET]` mutates seeds at random (each target its share of the
time) and asks a live daemon structured nonsense. `--coverage TARGET --minutes N` lets atheris guide one target, where
it is installed (`pip install atheris`; no dependency). Prints inputs a target; exit 1 at a finding, with the input.

A finding: anything raised that is not declared, an input that takes longer than SLOW_S, memory that grows, a request
without an answer, an answer that admits a bug, a traceback in the daemon's log.
"""

from __future__ import annotations

import argparse
import logging
import os
import resource
import socket
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.wire.rpc import FAILED, INTERNAL, MALFORMED, REFUSED, UNKNOWN_METHOD, USAGE, RemoteError, encode_request
from tests.fuzz_targets import Target, targets
from tests.zoo.commands import judge, new_repository
from tests.zoo.daemon import Daemon
from tests.zoo.isolation import isolated_environment, write_home

SLOW_S = 1.0
GROWN_KB = 60_000
"""Of this process, for all parsers; of the daemon, for all requests."""
LONGEST_BYTES = 2000
_LIVE = "daemon"
_ODD = (
    None, True, False, 0, 1, -1, 1 << 63, -(1 << 63), 1.5, -0.0, float("nan"), float("inf"), "", "x", "\0", "/\0",
    "relative", "/nowhere", "/" + "a" * 5000, "/nowhere" * 50, "/nowhere/../x/y", "\ud7ff", b"", b"/\xff",
    [], {}, [[]], [None], {"a": 1}, {1: 2}, ["/nowhere"] * 3, "é" * 100,
)  # fmt: skip
# Never the root of the file system: it would become one of ours, and the whole machine be searched.
_OPTIONS = (
    "wait_s", "verify", "fields", "jobs", "include_ignored", "progress", "z", "cwd", "paths", "width", "colour",
    "settle_s", "method", "args", "format", "nonsense",
)  # fmt: skip
_METHODS = (
    "hello", "status", "render", "entries", "prompt", "roots.add", "roots.remove", "roots.list", "refresh", "verify",
    "trust", "doctor", "dump", "subscribe", "config", "nonsense", "",
)  # fmt: skip
_CODES = (FAILED, USAGE, REFUSED, UNKNOWN_METHOD)


class Finding(AssertionError):
    pass


def mutate(random: Random, data: bytes, other: bytes) -> bytes:
    """One to a few edits: bytes changed, removed, repeated, inserted, or the tail of another seed."""
    changed = bytearray(data)
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        at = random.randrange(len(changed) + 1)
        kind = random.randrange(8)
        if kind == 0:
            changed[at : at + random.randrange(1, 9)] = b""
        elif kind == 1:
            changed[at:at] = random.randbytes(random.randrange(1, 9))
        elif kind == 2:
            changed[at:at] = changed[at : at + random.randrange(1, 65)] * random.choice((1, 1, 2, 20))
        elif kind == 3:
            changed[at:] = other[random.randrange(len(other) + 1) :]
        elif kind == 4 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 5:
            changed[at : at + 4] = random.choice((b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x80\0\0\0"))
        elif at < len(changed):
            changed[at] = random.choice((0, 0xFF, 0x80, 0x0A, 0x20, random.randrange(256)))
    return bytes(changed[:LONGEST_BYTES])


def attempt(target: Target, data: bytes) -> None:
    """Raises Finding."""
    began = time.perf_counter()
    try:
        target.run(data)
    except target.declared:
        pass
    except Exception as bug:
        raise Finding(f"{target.name}: {type(bug).__name__}: {bug}\n{data!r}") from bug
    took_s = time.perf_counter() - began
    if took_s > SLOW_S:
        raise Finding(f"{target.name}: {took_s:.1f} s for {data!r}")


def fuzz_parser(target: Target, random: Random, seconds: float, most: int | None = None) -> int:
    """Inputs tried. Raises Finding."""
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends_at = time.monotonic() + seconds
    corpus = list(target.seeds)
    tried = 0
    while time.monotonic() < ends_at and tried != most:
        data = mutate(random, random.choice(corpus), random.choice(target.seeds))
        attempt(target, data)
        tried += 1
        if random.random() < 0.01:  # steps away from what git writes, and back from time to time
            corpus = [*target.seeds, *corpus[-50:], data]
    grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
    if grown_kb > GROWN_KB:
        raise Finding(f"{target.name}: {grown_kb} KB more after {tried} inputs")
    return tried


class LiveFuzz:
    """Requests and broken streams for a daemon with one repository. Counts into `tally`."""

    def __init__(self, directory: Path, random: Random, tally: Counter[str]) -> None:
        self._random = random
        self._tally = tally
        self._repository = new_repository(directory / "r", {"a": b"1\n"})
        (directory / "plain").mkdir()
        self._places = [str(self._repository.path), str(directory / "plain"), str(self._repository.path / "a")]
        self._daemon = Daemon(directory / "state")
        self._client = self._daemon.connect()

    def run(self, seconds: float, most: int | None = None) -> None:
        """Raises Finding."""
        try:
            self._compare()
            before_kb = self._rss_kb()
            ends_at = time.monotonic() + seconds
            while time.monotonic() < ends_at and self._tally[_LIVE] != most:
                if self._random.random() < 0.1:
                    self._send_garbage()
                else:
                    self._ask()
                self._tally[_LIVE] += 1
            self._compare()
            grown_kb = self._rss_kb() - before_kb
        except BaseException:
            self._daemon.kill()
            raise
        finally:
            self._client.close()
        self._daemon.stop()  # without a traceback in its log
        if grown_kb > GROWN_KB:
            raise Finding(f"the daemon has {grown_kb} KB more after {self._tally[_LIVE]} requests")

    def _rss_kb(self) -> int:
        return int(Path(f"/proc/{self._daemon.pid}/statm").read_text().split()[1]) * resource.getpagesize() // 1024

    def _compare(self) -> None:
        answer = self._client.entries(self._repository.path)
        if (answer.state, answer.stdout) != ("fresh", judge(self._repository.path)):
            raise Finding(f"after {self._tally[_LIVE]} requests it answers {answer}")

    def _value(self, depth: int = 0) -> Any:
        random = self._random
        kind = random.randrange(8)
        if kind < 2:
            return random.choice(self._places)
        if kind == 2 and depth < 3:
            return [self._value(depth + 1) for _ in range(random.randrange(4))]
        if kind == 3 and depth < 3:
            return self._options()
        return random.choice(_ODD)

    def _options(self) -> dict[str, Any]:
        options = {name: self._value(2) for name in self._random.sample(_OPTIONS, self._random.randrange(4))}
        return {"wait_s": self._random.choice((0, 0.01)), **options}

    def _reconnect(self) -> None:
        self._client.close()
        self._client = self._daemon.connect()

    def _ask(self) -> None:
        """Raises Finding."""
        random = self._random
        method = random.choice(_METHODS)
        if random.random() < 0.5:
            paths = [random.choice(self._places) for _ in range(random.randrange(3))]
            params: list[Any] = [random.choice((paths, self._value())), self._options()]
        else:
            params = [self._value() for _ in range(random.randrange(4))]
        try:
            self._client.call(method, *params, deadline_s=30.0)
            self._tally["answered"] += 1
        except RemoteError as refused:
            if refused.code == MALFORMED:  # a key that is no string
                self._reconnect()
            elif refused.code == INTERNAL or refused.code not in _CODES or len(str(refused)) > 12_000:
                raise Finding(f"{method} {params!r:.300}: {refused.code} {refused!s:.300}") from None
            else:
                self._tally["refused"] += 1
        except (ValueError, OverflowError, UnicodeError):
            self._reconnect()  # nothing that can be sent
        except DaemonUnavailable as silence:
            raise Finding(f"{method} {params!r:.300}: {silence}") from None
        if random.random() < 0.002:  # subscriptions go with their connection
            self._reconnect()

    def _send_garbage(self) -> None:
        # None that would make a root of a mutated path.
        method = self._random.choice(("hello", "entries", "roots.list", "trust", "doctor", "nonsense"))
        frame = encode_request(1, method, [self._places[0], {"wait_s": 0}])
        data = mutate(self._random, frame * self._random.randrange(1, 4), frame)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(20.0)
            peer.connect(self._daemon.places.socket)
            peer.sendall(data)
            self._tally["broken streams"] += 1


def guide(target: Target, seconds: float) -> None:
    """Never returns: atheris ends the process."""
    import atheris

    atheris.instrument_all()
    corpus = tempfile.mkdtemp(prefix="gw-fuzz-corpus-")
    for number, seed in enumerate(target.seeds):
        Path(corpus, str(number)).write_bytes(seed)
    arguments = [sys.argv[0], corpus, f"-max_total_time={int(seconds)}", "-timeout=5", "-rss_limit_mb=1024",
                 f"-max_len={LONGEST_BYTES}", "-print_final_stats=1", "-verbosity=0"]  # fmt: skip
    atheris.Setup(arguments, lambda data: attempt(target, data))
    atheris.Fuzz()


def run(seconds: float, seed: int, only: str | None = None, most: int | None = None) -> Counter[str]:
    """Inputs tried, a target; at most `most` each. Raises Finding."""
    tally: Counter[str] = Counter()
    parsers = targets()
    names = [only] if only else [*parsers, _LIVE]
    for name in names:
        share = seconds / len(names)
        if name == _LIVE:
            with tempfile.TemporaryDirectory(prefix="gw-fuzz-") as directory:
                LiveFuzz(Path(directory), Random(seed), tally).run(share, most)
        else:
            tally[name] = fuzz_parser(parsers[name], Random(seed), share, most)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", metavar="TARGET")
    parser.add_argument("--coverage", metavar="TARGET")
    options = parser.parse_args()
    logging.disable(logging.WARNING)  # each malformed frame is one
    with tempfile.TemporaryDirectory(prefix="gw-fuzz-home-") as home:
        os.environ.update(isolated_environment(os.environ, Path(home)))
        write_home(Path(home))
        known = targets()
        for chosen in (options.only, options.coverage):
            if chosen is not None and chosen not in known and (chosen, options.coverage) != (_LIVE, None):
                parser.error(f"no target {chosen!r}; there are {', '.join(known)}, {_LIVE}")
        if options.coverage:
            guide(known[options.coverage], options.minutes * 60)
        try:
            tally = run(options.minutes * 60, options.seed, options.only)
        except Finding as finding:
            sys.exit(f"seed {options.seed}: {finding}")
    print(f"seed {options.seed}: nothing found")
    for name, count in tally.items():
        print(f"  {name}: {count}")


if __name__ == "__main__":
    main()
