"""The one doorway to running git.

Owns: the git children that run now, each in a process group of its own so that a deadline ends the filters
and the submodule children that git started, too. Runs: any thread of the daemon except the serving one (it
blocks), and workers.
Invariant: a call returns or raises within its deadline plus `_GENTLE_S + _FORCED_S`, whatever git does.
Invariant: git starts no other program, and writes nothing but the index it was given, unless the caller allows
filter drivers (`Programs.DRIVERS`): the kernel sees to that where it can (`sealed`).
Never: a shell, an inherited `GIT_*`, a hook, a prompt, the caller's standard input.
"""

from __future__ import annotations

import os
import re
import resource
import select
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from io import BytesIO
from typing import IO, Self

from gitwatchd.errors import EnvironmentFailure, GitMissing, GitTimedOut
from gitwatchd.git import sealed
from gitwatchd.git.environment import FIXED_OPTIONS, PRIVATE_INDEX_OPTIONS, child_environment

_GENTLE_S = 0.5
"""After SIGTERM git removes its lock and temporary files; a filter may ignore the signal."""
_FORCED_S = 2.0
"""After SIGKILL; a child in uninterruptible sleep (a dead mount) is left to init."""
_VERSION_TIMEOUT_S = 10.0
_CHUNK_BYTES = 1 << 18
_LOOK_EVERY_S = 1.0
_MOST_OUTPUT_BYTES = 1 << 27
"""A million paths. A few megabytes of index can stand for a terabyte of names."""
_SMALL_OUTPUT_BYTES = 1 << 24
_LONGEST_RECORD_BYTES = 1 << 20
"""Of what is taken record by record. A path of more than 4 KiB cannot be opened, but can stand in an index."""
_MOST_DATA_BYTES = 1 << 32
"""Of a sealed git's own memory, files that it maps not counted: an index of 10 million entries takes half of it. An
object of a megabyte can stand for a terabyte of zeros."""

_FATAL = 128
_NOT_ENTERED = re.compile(rb"^fatal: cannot change to '[\s\S]*': (.*)$", re.MULTILINE)
"""What git says of its option -C, perhaps below warnings about the user's configuration."""

_running: set[subprocess.Popen[bytes]] = set()
_leaving = False
"""None is to be started any more."""
_running_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class GitAnswer:
    returncode: int
    stdout: bytes
    stderr: bytes


class Programs(Enum):
    """What git may start."""

    GIT_ALONE = "git alone"
    """Itself only."""
    DRIVERS = "drivers"
    """Whatever its configuration says: filter drivers that the user allowed."""


class About(Enum):
    """What git is asked about."""

    REPOSITORY = "a repository"
    GIT = "git itself"
    """It reads the user's configuration even for its version (trace2.*), and that may lie on a mount that hangs. Before
    2.32 it cannot be told not to."""


def run_git(
    arguments: Sequence[str | bytes],
    *,
    cwd: bytes,
    timeout_s: float,
    index_file: bytes | None = None,
    refresh_index: bool = False,
    ceiling: bytes | None = None,
    stdin: bytes = b"",
    take_record: Callable[[bytes], None] | None = None,
    programs: Programs = Programs.GIT_ALONE,
    about: About = About.REPOSITORY,
) -> GitAnswer:
    """Run `git ARGUMENTS` in `cwd` and wait for its end; any return code is an answer.

    `index_file` is read instead of the repository's own; `refresh_index` lets git write that file back (it
    needs `index_file`: the user's index is never written). `ceiling`: git looks for the repository no higher
    than below this directory (without it a damaged `.git` in `cwd` makes git answer for the repository around
    it). `take_record` is given each record of standard output (`-z`; without its NUL) as git says it, and the
    answer's `stdout` is empty: of a million paths only those are in memory that the caller keeps. What was taken
    counts for nothing when this raises or git fails. `programs`: what git may start; where the kernel cannot keep
    it from more, nobody does (`seal_obstacle`). `about`: what is asked.
    Raises GitMissing; GitTimedOut when `timeout_s` passes, with git and what it started ended;
    EnvironmentFailure when `cwd` cannot be entered or no process can be made.
    """
    if refresh_index and index_file is None:
        raise ValueError("only a private index may be refreshed")
    environment = dict(_environment(*map(os.environ.get, ("HOME", "XDG_CONFIG_HOME", "PATH"))))
    if about is About.GIT:
        environment[b"GIT_CONFIG_GLOBAL"] = b"/dev/null"
    options = FIXED_OPTIONS
    if index_file is not None:
        environment[b"GIT_INDEX_FILE"] = index_file
    if refresh_index:
        environment[b"GIT_OPTIONAL_LOCKS"] = b"1"
        options += PRIVATE_INDEX_OPTIONS
    if ceiling is not None and b":" not in ceiling:  # a colon cannot be quoted there
        environment[b"GIT_CEILING_DIRECTORIES"] = ceiling
    git = git_path()
    command = [git, "-C", cwd, *options, *arguments]
    # git writes the new index beside the old one. The directory above is that of all copies: one set of rules for all.
    copies = os.path.dirname(os.path.dirname(index_file)) if refresh_index and index_file is not None else None
    rules = None if programs is Programs.DRIVERS else _rules(git, copies)
    with _running_lock:  # or `end_running_children` could come between the two, and leave it to itself
        if _leaving:
            raise EnvironmentFailure("no git is started any more: the daemon has ended")
        child = _start(command, environment, rules, takes_stdin=bool(stdin))
        _running.add(child)
    if rules is not None:
        with suppress(OSError, ValueError):  # it ended already; or somebody allows us even less
            resource.prlimit(child.pid, resource.RLIMIT_DATA, (_MOST_DATA_BYTES, _MOST_DATA_BYTES))
    try:
        stdout, stderr = _collect(child, stdin, take_record, timeout_s)
    except subprocess.TimeoutExpired:
        _end(child)
        what = " ".join(a if isinstance(a, str) else shown(a) for a in arguments[:2])
        raise GitTimedOut(
            f"git {what} did not end within {timeout_s:g} s",
            "see what it waits for: a slow disk or mount, or a filter driver",
        ) from None
    except BaseException:
        _end(child)
        raise
    finally:
        with _running_lock:
            _running.discard(child)
    if child.returncode == _FATAL and (refusal := _NOT_ENTERED.search(stderr)) is not None:
        raise EnvironmentFailure(f"{shown(cwd)} cannot be entered: {shown(refusal[1])}")
    return GitAnswer(child.returncode, stdout, stderr)


@lru_cache(maxsize=4)
def _environment(*_what_may_change: str | None) -> dict[bytes, bytes]:
    """Made once, and again for another HOME, XDG_CONFIG_HOME or PATH: it costs as much as a tenth of a small
    status."""
    return {os.fsencode(n): os.fsencode(value) for n, value in child_environment(os.environ).items()}


def seal_obstacle() -> str | None:
    """Why nothing but our own look beforehand keeps git from running what a repository names; None: the kernel does.

    Raises GitMissing.
    """
    git = git_path()
    try:
        return sealed.find_obstacle(git)
    except OSError as error:
        raise GitMissing(f"{git} cannot be read", "install git or put it on PATH") from error


def _rules(git: str, directory: bytes | None) -> sealed.Rules | None:
    if seal_obstacle() is not None:
        return None
    return sealed.Rules(_git_programs(git, os.stat(git).st_mtime_ns), directory)


@lru_cache(maxsize=4)
def _git_programs(git: str, _mtime_ns: int) -> tuple[str, ...]:
    # It reads no repository, and what may be run cannot be said before it has answered.
    answer = run_git(
        ["--exec-path"], cwd=b"/", timeout_s=_VERSION_TIMEOUT_S, programs=Programs.DRIVERS, about=About.GIT
    )
    return sealed.git_programs(git, os.fsdecode(answer.stdout.strip()))


def _start(
    command: list[str | bytes], environment: dict[bytes, bytes], rules: sealed.Rules | None, *, takes_stdin: bool
) -> subprocess.Popen[bytes]:
    def start() -> subprocess.Popen[bytes]:
        # close_fds=False and no preexec_fn: CPython then uses vfork and closes nothing, which matters in a
        # process with a thousand descriptors. All of ours are close-on-exec.
        # Until the child executes git this thread waits, without a deadline, and all that would start git after it. So
        # a directory that may hang is not for the child to enter, but for git, by its option -C.
        return subprocess.Popen(
            command,
            cwd="/",
            env=environment,
            stdin=subprocess.PIPE if takes_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            close_fds=False,
            process_group=0,
        )

    try:
        return start() if rules is None else sealed.start(rules, start)
    except FileNotFoundError as error:
        raise GitMissing("git vanished while we ran", "install git or put it on PATH") from error
    except OSError as error:
        raise EnvironmentFailure(f"git does not start: {error.strerror}") from error


def _collect(
    child: subprocess.Popen[bytes], stdin: bytes, take_record: Callable[[bytes], None] | None, timeout_s: float
) -> tuple[bytes, bytes]:
    """What it says. `communicate` knows no bound, and, given a timeout, waits for the end of a child in sleeps of up to
    50 ms, which a git of 2 ms feels."""
    deadline = time.monotonic() + timeout_s
    poll = select.poll()
    pipes = [pipe for pipe in (child.stdout, child.stderr) if pipe is not None]
    for pipe in pipes:
        poll.register(pipe, select.POLLIN)
    reading = {pipe.fileno() for pipe in pipes}
    if child.stdin is not None:
        os.set_blocking(child.stdin.fileno(), False)
        poll.register(child.stdin, select.POLLOUT)
    unsaid = memoryview(stdin)
    records = None if take_record is None else _Records(take_record)
    with _Output(reading) as output:
        while reading:
            left_s = deadline - time.monotonic()  # also while output comes without end
            ready = poll.poll(min(left_s, _LOOK_EVERY_S) * 1000) if left_s > 0 else []
            if not ready and left_s <= _LOOK_EVERY_S:
                raise subprocess.TimeoutExpired(child.args, timeout_s)
            if not ready and _waits_for_a_fifo(child.pid):
                raise EnvironmentFailure(
                    "git waits for a FIFO that stands in the place of one of its files", "find . -type p"
                )
            for fd, _ in ready:
                if fd not in reading:
                    unsaid = _say(fd, unsaid)
                    if not unsaid:
                        poll.unregister(fd)
                        _close(child.stdin)
                elif not (chunk := os.read(fd, _CHUNK_BYTES)):
                    poll.unregister(fd)
                    reading.discard(fd)
                elif records is not None and fd == pipes[0].fileno():
                    records.add(chunk)
                else:
                    output.add(fd, chunk, deadline)
            said_bytes = output.size + (records.size if records is not None else 0)
            if said_bytes > _MOST_OUTPUT_BYTES:
                raise EnvironmentFailure(f"git says more than {_MOST_OUTPUT_BYTES >> 20} MiB")
        _close(child.stdin)
        _await_end(child, deadline)
        said = [output.of(pipe.fileno()) for pipe in pipes]
        _close(*pipes)
    return said[0], said[1]


def _close(*pipes: IO[bytes] | None) -> None:
    for pipe in pipes:
        if pipe is not None:
            with suppress(OSError):  # closing flushes: EPIPE
                pipe.close()


def _say(fd: int, words: memoryview) -> memoryview:
    """What is left of them, nothing once nobody listens."""
    try:
        return words[os.write(fd, words[:_CHUNK_BYTES]) :]
    except BlockingIOError:
        return words
    except BrokenPipeError:
        return words[:0]


class _Output:
    """What one git says, by descriptor. Of all that a process runs, one at a time may be saying more than
    `_SMALL_OUTPUT_BYTES`, and the others wait: those that are ended for saying too much do not pile up.

    One block each that grows and is handed over as it is: 100 MB in pieces are there twice when they are joined, and
    pieces below the size that malloc maps may never go back to the system."""

    _large = threading.Lock()

    def __init__(self, fds: Iterable[int]) -> None:
        self.size = 0
        self._is_large = False  # holds `_large`
        self._said = {fd: BytesIO() for fd in fds}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_large:
            self._large.release()

    def add(self, fd: int, chunk: bytes, deadline: float) -> None:
        """`deadline`: monotonic seconds. Raises EnvironmentFailure when its turn has not come by then."""
        if self.size > _SMALL_OUTPUT_BYTES and not self._is_large:
            self._is_large = self._large.acquire(timeout=max(0.0, deadline - time.monotonic()))
            if not self._is_large:
                raise EnvironmentFailure(
                    f"git says more than {_SMALL_OUTPUT_BYTES >> 20} MiB, and another that does was not done in time"
                )
        self._said[fd].write(chunk)
        self.size += len(chunk)

    def of(self, fd: int) -> bytes:
        return self._said[fd].getvalue()


class _Records:
    """What one git says on its standard output, where somebody takes it record by record."""

    def __init__(self, take: Callable[[bytes], None]) -> None:
        self.size = 0
        self._take = take
        self._begun = b""
        """A record whose end has not been said."""

    def add(self, chunk: bytes) -> None:
        """Raises EnvironmentFailure, and whatever the taker raises."""
        self.size += len(chunk)
        *ended, self._begun = (self._begun + chunk).split(b"\0")
        for record in ended:
            self._take(record)
        if len(self._begun) > _LONGEST_RECORD_BYTES:
            raise EnvironmentFailure(f"git names a path of more than {_LONGEST_RECORD_BYTES >> 10} KiB")


def _waits_for_a_fifo(pid: int) -> bool:
    """Whether git, or a git that it started for a submodule, waits for somebody to open the other end."""
    pids = [str(pid)]
    with suppress(OSError), open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as children:
        pids += children.read().split()
    for one in pids:
        with suppress(OSError), open(f"/proc/{one}/wchan", encoding="ascii") as place:
            if place.read() == "wait_for_partner":
                return True
    return False


def _await_end(child: subprocess.Popen[bytes], deadline: float) -> None:
    """A child that has closed its outputs ends at once, or has a filter to wait for."""
    if child.poll() is None and hasattr(os, "pidfd_open"):
        with suppress(OSError), open(os.pidfd_open(child.pid), "rb", buffering=0) as ended:
            poll = select.poll()  # not `select`, which takes no descriptor above 1,023
            poll.register(ended, select.POLLIN)
            poll.poll(max(0.0, deadline - time.monotonic()) * 1000)
    child.wait(max(0.0, deadline - time.monotonic()))


def _end(child: subprocess.Popen[bytes]) -> None:
    """End the whole process group; give up on what survives SIGKILL."""
    for sign, patience_s in ((signal.SIGTERM, _GENTLE_S), (signal.SIGKILL, _FORCED_S)):
        _signal_group(child, sign)
        with suppress(subprocess.TimeoutExpired):
            child.wait(patience_s)
    _close(child.stdin, child.stdout, child.stderr)


def _signal_group(child: subprocess.Popen[bytes], sign: signal.Signals) -> None:
    # Also when git itself is gone: a filter it started may live. The group's number is not used again while
    # it does; when nobody is left in it, there is nothing to signal.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(child.pid, sign)


def end_running_children(*, for_good: bool = False) -> None:
    """End every git child of this process, from any thread: the last act of a worker or daemon that must leave.

    `for_good`: none is started after that, either; a job would ask again where the first git was ended.
    """
    global _leaving
    with _running_lock:
        _leaving = _leaving or for_good
        children = list(_running)
    for child in children:
        _signal_group(child, signal.SIGTERM)
    for child in children:
        with suppress(subprocess.TimeoutExpired):
            child.wait(_GENTLE_S)
        _signal_group(child, signal.SIGKILL)


def shown(path: bytes) -> str:
    """A path for a message: always valid text, which `os.fsdecode` does not give (a report must encode as
    UTF-8)."""
    return path.decode(errors="replace")


def git_path() -> str:
    """The git on PATH, absolute. Raises GitMissing."""
    return _find_git(os.environ.get("PATH", os.defpath))


@lru_cache(maxsize=4)
def _find_git(path: str) -> str:
    found = shutil.which("git", path=path)
    if found is None:
        raise GitMissing("there is no git on PATH", "install git or put it on PATH")
    return os.path.abspath(found)


def git_version() -> str:
    """`2.39.5` and the like, as `git --version` has it. Asked again when the program's file changes."""
    program = git_path()
    try:
        return _read_version(program, os.stat(program).st_mtime_ns)
    except OSError as error:
        raise GitMissing(f"{program} cannot be read", "install git or put it on PATH") from error


@lru_cache(maxsize=4)
def _read_version(_program: str, _mtime_ns: int) -> str:
    answer = run_git(["--version"], cwd=b"/", timeout_s=_VERSION_TIMEOUT_S, about=About.GIT)
    return answer.stdout.decode(errors="replace").strip().removeprefix("git version ")
