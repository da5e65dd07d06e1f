"""Children that the kernel keeps from running anything but git and from writing anything but our own copies.

A repository names programs in a dozen ways that change with git's version, and its configuration can change between
our look at it and git's own. So git is not asked to leave them alone: it cannot start them. Landlock holds a thread and
all that descends from it to a set of rules that nobody can take back; sealed children are started by such a thread.

Owns: the sealed threads, one for each set of rules in use. Runs: any thread; `start` waits for the sealed one.
Invariant: a sealed child, and whatever it starts, executes no program but git and git's own loader, writes nowhere but
below the directory it was given and to /dev/null, and makes no TCP connection (Linux 6.7).
Never: falls back unsealed by itself. `find_obstacle` says beforehand where children cannot be sealed at all.
"""

from __future__ import annotations

import ctypes
import os
import queue
import struct
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from typing import Any, NamedTuple

from gitwatchd.errors import EnvironmentFailure

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
"""The same on every architecture (Linux 5.13)."""
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_CHANGE_DIRECTORIES = sum(1 << bit for bit in range(4, 13))
"""Removing and making entries of every kind."""
_TCP = 0b11

_MOST_THREADS = 3
"""Nothing to write, and two directories of copies (a test's daemon has but one)."""

_Start = Callable[[], Any]


def find_obstacle(git: str) -> str | None:
    """Why children of this git cannot be sealed on this machine; None: they can. Raises OSError without that git."""
    return _find_obstacle(git, os.stat(git).st_mtime_ns)


@lru_cache(maxsize=4)
def _find_obstacle(git: str, _mtime_ns: int) -> str | None:
    if not sys.platform.startswith("linux"):
        return "that needs Landlock, which only Linux has"
    if _abi() < 1:
        return "the kernel has no Landlock, or was started without it (its parameter lsm=)"
    if _find_loader(git) is None:
        return f"{git} is a script, and what runs scripts could run others"
    return None


class Rules(NamedTuple):
    """What one kind of sealed children may do: run `programs`, write below `directory` (None: nowhere)."""

    programs: tuple[str, ...]
    directory: bytes | None

    def identity(self) -> tuple[tuple[int, int], ...]:
        """Rules hold for files, not for names: an update of git or of libc, or a cache made anew, needs new ones."""
        found: list[os.stat_result] = [os.stat(program) for program in self.programs]
        if self.directory is not None:
            with suppress(OSError):  # somebody empties the cache: nothing can be written there then
                found.append(os.stat(self.directory))
        return tuple([(file.st_dev, file.st_ino) for file in found])


def git_programs(git: str, exec_path: str) -> tuple[str, ...]:
    """`git` by both names that it has (it starts itself in submodules by the second), and what loads it."""
    gits = {os.path.realpath(git), *filter(os.path.exists, [os.path.realpath(exec_path + "/git")])}
    return tuple(sorted(gits | set(filter(None, map(_find_loader, gits)))))


_threads: dict[tuple[tuple[int, int], ...], queue.SimpleQueue[tuple[_Start, queue.SimpleQueue[Any]] | None]] = {}
_threads_lock = threading.Lock()


def start(rules: Rules, do: _Start) -> Any:
    """The result of `do`, which is called on a sealed thread: what it starts is sealed. Raises what `do` raises;
    EnvironmentFailure when the thread cannot be sealed."""
    answer: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with _threads_lock:  # or its end could overtake the question
        _thread_for(rules).put((do, answer))
    result = answer.get()
    if isinstance(result, BaseException):
        raise result
    return result


def _thread_for(rules: Rules) -> queue.SimpleQueue[tuple[_Start, queue.SimpleQueue[Any]] | None]:
    identity = rules.identity()
    known = _threads.get(identity)
    if known is not None:
        return known
    while len(_threads) >= _MOST_THREADS:
        _threads.pop(next(iter(_threads))).put(None)
    sealed: queue.SimpleQueue[OSError | None] = queue.SimpleQueue()
    jobs: queue.SimpleQueue[tuple[_Start, queue.SimpleQueue[Any]] | None] = queue.SimpleQueue()
    threading.Thread(target=_run, args=(rules, sealed, jobs), name="sealed", daemon=True).start()
    problem = sealed.get()
    if problem is not None:
        raise EnvironmentFailure(
            f"git cannot be kept from running other programs: {problem.strerror}", "gitwatch doctor"
        ) from problem
    _threads[identity] = jobs
    return jobs


def _run(
    rules: Rules,
    sealed: queue.SimpleQueue[OSError | None],
    jobs: queue.SimpleQueue[tuple[_Start, queue.SimpleQueue[Any]] | None],
) -> None:
    try:
        _seal_this_thread(rules)
    except OSError as error:
        sealed.put(error)
        return
    sealed.put(None)
    while (job := jobs.get()) is not None:
        do, answer = job
        try:
            answer.put(do())
        except BaseException as raised:  # noqa: BLE001 - handed over: `start` raises it where it was called
            answer.put(raised)


def _seal_this_thread(rules: Rules) -> None:
    """For good. Raises OSError, and then the thread may not be used."""
    abi = _abi()
    write_file = _WRITE_FILE | (_TRUNCATE if abi >= 3 else 0)
    write = write_file | _CHANGE_DIRECTORIES | (_REFER if abi >= 2 else 0)
    handled = struct.pack("=QQ", _EXECUTE | write, _TCP)[: 16 if abi >= 4 else 8]
    ruleset = _call(_CREATE_RULESET, handled, ctypes.c_size_t(len(handled)), 0)
    try:
        for program in rules.programs:
            _allow(ruleset, program, _EXECUTE)
        _allow(ruleset, os.devnull, write_file)
        if rules.directory is not None:
            with suppress(FileNotFoundError):
                _allow(ruleset, rules.directory, write)
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _allow(ruleset: int, path: str | bytes, access: int) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", access, fd), 0)
    finally:
        os.close(fd)


def _abi() -> int:
    try:
        return _call(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION_FLAG)
    except OSError:
        return 0


def _call(number: int, *arguments: Any) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    result: int = libc.syscall(number, *arguments)
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


_PT_INTERP = 3


def _find_loader(program: str) -> str | None:
    """What the kernel runs this program by, "" for a static one; None for a script."""
    with open(program, "rb") as file:
        header = file.read(64)
        if header[:4] != b"\x7fELF":
            return None
        wide = header[4] == 2
        at, size, count = struct.unpack_from("=Q14xHH" if wide else "=I10xHH", header, 32 if wide else 28)
        for number in range(count):
            file.seek(at + number * size)
            entry = file.read(size)
            if struct.unpack_from("=I", entry)[0] == _PT_INTERP:
                offset, length = (
                    struct.unpack_from("=Q16xQ", entry, 8) if wide else struct.unpack_from("=I8xI", entry, 4)
                )
                file.seek(offset)
                return os.path.realpath(os.fsdecode(file.read(length).rstrip(b"\0")))
    return ""
