"""Worker processes for backlogs of whole analyses: first scans, verification after a restart.

Owns: the workers, their sockets, and every submitted job until its outcome is handed on. Runs: serving thread
only; never waits (but in `close`).
Invariant: every job submitted has exactly one outcome, delivered from the loop, never from within `submit`.
Invariant: a worker has at most one job in hand and one waiting, so that it need not wait for us between two.
Invariant: a worker that dies or hangs costs its job one retry and one `Failed`; other jobs only time.
Invariant: a job that takes long holds up none behind it: what waits at its worker goes to another, of which there may
be one more for it.
Never: `fork` without exec (the daemon has threads); a pickled anything.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from gitwatchd.analysis.process import WorkerProcess
from gitwatchd.analysis.worker import Frames, encode_frame, outcome_from_wire, work_to_wire
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.repository import Failed, Probe, Result, Work, place_of

log = logging.getLogger(__name__)

PREFETCH = 2
"""Jobs of one worker: in hand and waiting."""

SLOW_S = 2.0
"""A job that takes longer than this has a slow disk or mount, or a huge repository."""
_IDLE_S = 5.0
_MARGIN_S = 5.0
"""Beyond the job's own deadline: a worker's start on a loaded machine, ending git, reading objects."""
_UNKILLABLE_S = 2.0
"""What lives this long after SIGKILL sleeps uninterruptibly, on a dead mount."""
_REAP_INTERVAL_S = 0.02
_CHUNK_BYTES = 1 << 20
_ATTEMPTS = 2
_BUSY_LOAD = 4
"""Runnable tasks of others a core. No lower: the load of the last minute says little about the next second."""
_LOAD_S = 1.0
_CORES = os.cpu_count() or 1
_MAX_STUCK = 8
"""Beyond that the machine has worse troubles than one dead mount."""
_NO_ANSWER = Failed("its file system does not answer", "see: gitwatch doctor")


def pool_ceiling(cores: int) -> int:
    """gitoverit's rule."""
    return max(1, cores) if cores <= 2 else min(cores - 1, 8)


@dataclass(slots=True)
class _Task:
    number: int
    job: Work
    attempts: int = 0
    moved: bool = False
    """It was given to another worker: this one's answer is nobody's."""

    @property
    def place(self) -> bytes:
        return place_of(self.job)


class _Worker:
    __slots__ = ("deadline", "frames", "idle", "process", "sock", "tasks")

    def __init__(self, started: WorkerProcess) -> None:
        self.process, self.sock = started.process, started.sock
        self.frames = Frames()
        self.tasks: deque[_Task] = deque()
        self.deadline: Timer | None = None
        self.idle: Timer | None = None


class Pool:
    """`on_outcome` is called once for each job submitted, from the loop.

    `mount_of` names the file system a path lies on, without touching it: when a worker cannot be killed, jobs
    of the same one fail at once.
    """

    def __init__(
        self,
        loop: Loop,
        ceiling: int,
        on_outcome: Callable[[Work, Result], None],
        mount_of: Callable[[bytes], bytes] = lambda path: path,
        on_room: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_room`: there is room for more than when a job was submitted."""
        self._loop = loop
        self._ceiling = max(1, ceiling)
        self._on_outcome = on_outcome
        self._mount_of = mount_of
        self._workers: list[_Worker] = []
        self._stuck: dict[_Worker, bytes | None] = {}
        """Those that SIGKILL does not end, and the mount each was at work on."""
        self._slow: dict[_Worker, Timer | None] = {}
        """Those with a job in hand, and the timer that takes it for slow; None: it is."""
        self._backlog: deque[_Task] = deque()
        self._submitted = 0
        self._last_load, self._load_until = 0.0, 0.0
        self._on_room = on_room

    def capacity(self) -> int:
        """How many more jobs it can use now; what is submitted beyond that waits its turn."""
        places = PREFETCH * max(1, self._limit(), len(self._workers))
        return max(0, places - self.pending())

    def pending(self) -> int:
        """Jobs without an outcome yet."""
        return len(self._backlog) + sum(not task.moved for worker in self._workers for task in worker.tasks)

    def adopt(self, started: WorkerProcess) -> None:
        """Have a worker before there is work for it."""
        self._expect(self._add(_Worker(started)))

    def pids(self) -> list[int]:
        return [worker.process.pid for worker in self._workers]

    def submit(self, job: Work) -> None:
        self._submitted += 1
        self._backlog.append(_Task(self._submitted, job))
        self._distribute()

    def give_up(self, works: Collection[Work], mount: bytes) -> None:
        """End that work, whose file system does not answer any more: its outcomes are nobody's."""
        numbers = {id(work) for work in works}

        def on_it(task: _Task) -> bool:
            return id(task.job) in numbers

        self._backlog = deque(task for task in self._backlog if not on_it(task))
        for worker in [worker for worker in self._workers if worker.tasks and on_it(worker.tasks[0])]:
            _in_hand, *behind = worker.tasks
            self._end(worker)
            self._backlog.extendleft(task for task in reversed(behind) if not task.moved and not on_it(task))
            self._reap(worker, time.monotonic() + _UNKILLABLE_S, mount=mount)
        self._distribute()

    def close(self) -> None:
        """End all workers, and with them their git children; jobs without outcome are dropped. Waits a second, and
        `_UNKILLABLE_S` more if some have to be killed: on a busy machine those are not gone at once."""
        self._backlog.clear()
        workers, self._workers = self._workers, []
        for worker in workers:
            self._let_go(worker)
        left = _wait_for([worker.process for worker in workers], 1.0)
        for process in left:
            _kill_session(process.pid)
        _wait_for(left, _UNKILLABLE_S)

    def _limit(self) -> int:
        """How many workers there may be now: the ceiling, less stuck ones, halved on a machine busy with
        others."""
        limit = self._ceiling
        if self._load() - len(self._workers) > _BUSY_LOAD * _CORES:
            limit = (limit + 1) // 2
        # Each waits rather than works; but a backlog of nothing but slow ones must not start a process for each.
        limit += min(self._slow_ones(), self._ceiling)
        if len(self._stuck) >= _MAX_STUCK:
            return 0
        return max(1, limit - len(self._stuck))

    def _load(self) -> float:
        """Of the last minute. Asked several times for each job, and the kernel counts it anew every five seconds."""
        now = time.monotonic()
        if now >= self._load_until:
            self._load_until, self._last_load = now + _LOAD_S, os.getloadavg()[0]
        return self._last_load

    def _distribute(self) -> None:
        while self._backlog:
            job = self._backlog[0].job
            if self._stuck and self._mount_of(place_of(job)) in self._stuck.values():
                self._backlog.popleft()
                self._deliver(job, _NO_ANSWER)
                continue
            worker = self._find_place()
            if worker is not None:
                self._hand(worker, self._backlog.popleft())
            elif self._workers:
                return
            else:
                self._fail_backlog()

    def _find_place(self) -> _Worker | None:
        quick = (worker for worker in self._workers if worker not in self._slow or self._slow[worker] is not None)
        least = min(quick, key=lambda worker: len(worker.tasks), default=None)
        if least is not None and not least.tasks:
            return least
        # A start costs 100 ms of a core: a worker more for every two jobs that wait.
        slow = self._slow_ones()
        wanted = min(self._limit(), slow - (slow - self.pending()) // PREFETCH)
        if len(self._workers) < wanted:
            return self._start()
        if least is not None and len(least.tasks) < PREFETCH:
            return least
        return None

    def _start(self) -> _Worker | None:
        try:
            return self._add(_Worker(WorkerProcess()))
        except OSError as error:  # no process, no descriptor: go on with those there are
            log.warning("no worker could be started: %s", error)
            return None

    def _add(self, worker: _Worker) -> _Worker:
        self._workers.append(worker)
        self._loop.on_readable(worker.sock.fileno(), lambda: self._receive(worker))
        return worker

    def _hand(self, worker: _Worker, task: _Task) -> None:
        if worker.idle is not None:
            worker.idle.cancel()
            worker.idle = None
        worker.tasks.append(task)
        # Two jobs, of four paths each, always fit a socket's buffer. When the worker has died, its end of
        # file tells.
        with suppress(OSError):
            worker.sock.sendall(encode_frame([task.number, work_to_wire(task.job)]))
        if len(worker.tasks) == 1:
            self._expect(worker)

    def _expect(self, worker: _Worker) -> None:
        """Set the deadline of the job in hand, or the end of an idle worker."""
        if worker.deadline is not None:
            worker.deadline.cancel()
            worker.deadline = None
        self._take_time(worker)
        if worker.tasks:
            self._slow[worker] = self._loop.call_later(SLOW_S, lambda: self._note_slow(worker))
            job = worker.tasks[0].job
            timeout_s = job.timeout_s + (0.0 if isinstance(job, Probe) else _MARGIN_S)
            worker.deadline = self._loop.call_later(timeout_s, lambda: self._lose(worker, "did not end in time"))
        elif len(self._workers) > max(1, self._limit()):
            self._dismiss(worker)
        else:
            worker.idle = self._loop.call_later(_IDLE_S, lambda: self._dismiss(worker))

    def _slow_ones(self) -> int:
        return sum(timer is None for timer in self._slow.values())

    def _take_time(self, worker: _Worker) -> None:
        """The job in hand is done, or nobody's any more."""
        timer = self._slow.pop(worker, None)
        if timer is not None:
            timer.cancel()

    def _note_slow(self, worker: _Worker) -> None:
        self._slow[worker] = None
        in_hand, *behind = worker.tasks
        # What was sent cannot be taken back: it does that work as well, some time.
        worker.tasks = deque([in_hand, *(replace(task, moved=True) for task in behind)])
        for task in reversed(behind):
            if not task.moved:
                self._submitted += 1
                self._backlog.appendleft(_Task(self._submitted, task.job, task.attempts))
        self._distribute()
        self._on_room()

    def _receive(self, worker: _Worker) -> None:
        if worker not in self._workers:
            return  # let go in this very turn of the loop, which had found its socket readable
        try:
            data = worker.sock.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._lose(worker, "died")
            return
        for number, wire, trace in worker.frames.feed(data):
            task = worker.tasks.popleft()
            if task.number != number:
                raise AssertionError(f"worker answered {number}, not {task.number}")
            if trace is not None:
                log.error("analysis of %r: %s", task.place, trace)
            if not task.moved:
                self._deliver(task.job, outcome_from_wire(wire))
            self._take_time(worker)
            # Before the deadline is set: an idle worker must not be dismissed while others' jobs wait.
            self._distribute()
            self._expect(worker)

    def _deliver(self, job: Work, outcome: Result) -> None:
        self._loop.call_soon(lambda: self._on_outcome(job, outcome))

    def _lose(self, worker: _Worker, how: str) -> None:
        """The worker died or must die. The job in hand waits for its end, the one behind it just moves on."""
        self._end(worker)
        task = worker.tasks.popleft() if worker.tasks else None
        if task is not None and task.moved:
            task = None
        if task is not None:
            log.warning("the worker that analysed %r %s", task.place, how)
        self._backlog.extendleft(behind for behind in reversed(worker.tasks) if not behind.moved)
        worker.tasks.clear()
        mount = None if task is None else self._mount_of(task.place)
        self._reap(worker, time.monotonic() + _UNKILLABLE_S, task, how, mount)
        self._distribute()

    def _end(self, worker: _Worker) -> None:
        self._workers.remove(worker)
        self._let_go(worker)
        # Before it is reaped: until then nobody else can have its number, which is its session's.
        _kill_session(worker.process.pid)

    def _dismiss(self, worker: _Worker) -> None:
        """Let an idle worker end by itself."""
        self._workers.remove(worker)
        self._let_go(worker)
        self._reap(worker, time.monotonic() + _UNKILLABLE_S)

    def _let_go(self, worker: _Worker) -> None:
        self._take_time(worker)
        for timer in (worker.deadline, worker.idle):
            if timer is not None:
                timer.cancel()
        self._loop.forget(worker.sock.fileno())
        worker.sock.close()

    def _reap(
        self,
        worker: _Worker,
        deadline: float,
        task: _Task | None = None,
        how: str = "",
        mount: bytes | None = None,
    ) -> None:
        """Collect the ended process, and try the job it had in hand once more; one that will not end is stuck, on
        `mount`."""
        if worker.process.poll() is not None:
            self._stuck.pop(worker, None)
            if task is not None:
                self._retry(task, how)
            self._distribute()
        elif time.monotonic() < deadline:
            self._loop.call_later(_REAP_INTERVAL_S, lambda: self._reap(worker, deadline, task, how, mount))
        else:
            if worker not in self._stuck:
                log.error("worker %d cannot be killed", worker.process.pid)
                self._stuck[worker] = mount
                if task is not None:
                    self._deliver(task.job, _NO_ANSWER)
                self._distribute()
            _kill_session(worker.process.pid)
            self._loop.call_later(_UNKILLABLE_S, lambda: self._reap(worker, deadline))

    def _retry(self, task: _Task, how: str) -> None:
        task.attempts += 1
        if task.attempts < _ATTEMPTS and not isinstance(task.job, Probe):
            self._backlog.appendleft(task)
        else:
            failed = Failed(f"the process that analysed it {how}, twice", "see: gitwatch doctor")
            self._deliver(task.job, failed)

    def _fail_backlog(self) -> None:
        """No worker and none to be had: say so, rather than wait for ever."""
        while self._backlog:
            task = self._backlog.popleft()
            self._deliver(task.job, Failed("no process could be started to analyse it", "see: gitwatch doctor"))


def _wait_for(processes: Iterable[subprocess.Popen[bytes]], limit_s: float) -> list[subprocess.Popen[bytes]]:
    """Returns those that did not end within `limit_s`, all together."""
    deadline = time.monotonic() + limit_s
    left = []
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            left.append(process)
    return left


def _kill_session(leader: int) -> None:
    """SIGKILL to a worker and all it started: its git children are in process groups of their own."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
    with suppress(OSError):  # no /proc: an orphaned git ends with its own work
        for name in os.listdir("/proc"):
            if name.isdigit() and _session_of(int(name)) == leader:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(int(name), signal.SIGKILL)


def _session_of(pid: int) -> int | None:
    with suppress(OSError):
        return os.getsid(pid)
    return None
