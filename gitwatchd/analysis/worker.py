"""A worker process: `python -m gitwatchd.analysis.worker`; its stdin is a socket for jobs and outcomes.

Owns: the mount table, to know how far a job may look. Runs: a process of its own, one job at a time on the main
thread; a second thread waits for the end of the daemon, which ends a worker in the middle of a job, and its git child
with it. A frame is four bytes of length (big endian) and that many of MessagePack: `[number, job]` in, `[number,
outcome, traceback or None]` out, in the order of the jobs.
Invariant: a bug in a job is answered like any job, with its traceback; the worker goes on.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from typing import Any, assert_never

import msgpack

from gitwatchd.model.report import facts_from_wire, facts_to_wire
from gitwatchd.model.repository import (
    Analysed,
    Answers,
    Failed,
    Gone,
    Job,
    LedAway,
    Location,
    Probe,
    RepoPath,
    Result,
    Survey,
    Surveyed,
    Unsafe,
    Work,
)
from gitwatchd.mounts import Mounts, watch_mounts

_LENGTH = struct.Struct(">I")
_CHUNK_BYTES = 1 << 18


class Frames:
    """Bytes in, frames out. No I/O."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[list[Any]]:
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            end = _LENGTH.size + _LENGTH.unpack_from(self._buffer)[0]
            if len(self._buffer) < end:
                return
            payload = bytes(memoryview(self._buffer)[_LENGTH.size : end])
            del self._buffer[:end]
            yield msgpack.unpackb(payload)


def encode_frame(message: list[Any]) -> bytes:
    payload: bytes = msgpack.packb(message)
    return _LENGTH.pack(len(payload)) + payload


def work_to_wire(work: Work) -> list[Any]:
    match work:
        case Job():
            return ["analyse", *_job_to_wire(work)]
        case Survey(path, include_ignored, timeout_s):
            return ["survey", path, include_ignored, timeout_s]
        case Probe(path, timeout_s):
            return ["probe", path, timeout_s]
        case _:
            assert_never(work)


def work_from_wire(wire: list[Any]) -> Work:
    match wire:
        case ["analyse", *job]:
            return _job_from_wire(job)
        case ["survey", path, include_ignored, timeout_s]:
            return Survey(path, include_ignored, timeout_s)
        case ["probe", path, timeout_s]:
            return Probe(path, timeout_s)
        case _:
            raise ValueError(f"not work: {wire!r:.80}")


def _job_to_wire(job: Job) -> list[Any]:
    return [
        _location_to_wire(job.location),
        job.index_cache, job.timeout_s, job.trusted, job.reuse_index, job.by_git, job.local, job.unwalked,
    ]  # fmt: skip


def _job_from_wire(wire: list[Any]) -> Job:
    where, *rest = wire
    return Job(_location_from_wire(where), *rest)


def _location_to_wire(where: Location) -> list[Any]:
    return [where.path, where.git_dir, where.common_dir, where.bare]


def _location_from_wire(wire: list[Any]) -> Location:
    path, git_dir, common_dir, bare = wire
    return Location(RepoPath(path), git_dir, common_dir, bare)


def outcome_to_wire(outcome: Result) -> list[Any]:
    match outcome:
        case Analysed(facts, entries, message, by_git, nested, took_s, quote_path, relative_paths):
            rest = [by_git, [*map(_location_to_wire, nested)], took_s, quote_path, relative_paths]
            return ["analysed", facts_to_wire(facts), entries, message, *rest]
        case Surveyed(locations):
            return ["surveyed", [*map(_location_to_wire, locations)]]
        case Answers():
            return ["answers"]
        case Unsafe(reason, hint, facts, nested):
            return ["unsafe", reason, hint, facts_to_wire(facts), [*map(_location_to_wire, nested)]]
        case Failed(reason, hint):
            return ["failed", reason, hint]
        case Gone():
            return ["gone"]
        case LedAway(mount):
            return ["led away", mount]
        case _:
            assert_never(outcome)


def outcome_from_wire(wire: list[Any]) -> Result:
    match wire:
        case ["analysed", facts, entries, message, by_git, nested, *rest]:
            where = tuple(map(_location_from_wire, nested))
            return Analysed(facts_from_wire(facts), entries, message, by_git, where, *rest)
        case ["surveyed", locations]:
            return Surveyed(tuple(map(_location_from_wire, locations)))
        case ["answers"]:
            return Answers()
        case ["unsafe", reason, hint, facts, nested]:
            return Unsafe(reason, hint, facts_from_wire(facts), tuple(map(_location_from_wire, nested)))
        case ["failed", reason, hint]:
            return Failed(reason, hint)
        case ["gone"]:
            return Gone()
        case ["led away", mount]:
            return LedAway(mount)
        case _:
            raise ValueError(f"not an outcome: {wire!r:.80}")


def main() -> None:
    # Away from descriptor 0, and close-on-exec: a git child that held it would hide our end from the daemon.
    sock = socket.socket(fileno=os.dup(0))
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    threading.Thread(target=_end_with_daemon, args=(sock,), daemon=True).start()
    if not select.select([sock], [], [], 0)[0]:
        # Started before there was work: what most of it needs, while nobody waits.
        import gitwatchd.analysis.job  # noqa: F401
    for number, work in _jobs(sock):
        try:
            frame = encode_frame([number, outcome_to_wire(_perform(work)), None])
        except Exception as bug:  # noqa: BLE001 - one of the four seams of errors.py: a bug ends its job only
            failed = Failed(f"internal error: {type(bug).__name__}", "see the log: gitwatch daemon logs")
            frame = encode_frame([number, outcome_to_wire(failed), traceback.format_exc()])
        try:
            sock.sendall(frame)
        except OSError:
            return  # the daemon is gone


def _jobs(sock: socket.socket) -> Iterator[tuple[int, Work]]:
    frames = Frames()
    with suppress(OSError):  # a reset: the daemon is as gone as after an orderly end
        while data := sock.recv(_CHUNK_BYTES):
            for number, work in frames.feed(data):
                yield number, work_from_wire(work)


def _perform(work: Work) -> Result:
    # Imported here: the daemon imports this module for its frames, and a probe needs none of it.
    from gitwatchd.git import reach

    reach.keep_local(_current_mounts() if isinstance(work, Job) and work.local else None)
    if isinstance(work, Job):
        from gitwatchd.analysis.job import try_to_analyse

        return try_to_analyse(work)
    from gitwatchd.analysis.survey import probe, survey

    return survey(work) if isinstance(work, Survey) else probe(work)


@cache
def _current_mounts() -> Callable[[], Mounts]:
    return watch_mounts().look


def _end_with_daemon(sock: socket.socket) -> None:
    """Sleeps until the other end is closed. What can be read does not wake it: a thread that takes each job from the
    socket and hands it on costs an eighth of a small repository's analysis."""
    from gitwatchd.git.child import end_running_children

    poller = select.poll()
    poller.register(sock, 0)  # POLLHUP and POLLERR are told in any case
    poller.poll()
    end_running_children(for_good=True)
    # Not sys.exit: the main thread may hang in a call on a dead mount.
    os._exit(0)


if __name__ == "__main__":
    main()
