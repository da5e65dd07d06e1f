"""Who carries out a whole analysis (L3): a thread of the daemon for one or two, the process pool for a backlog.

Owns: the threads, the pool. Runs: serving thread; `analyse` itself on the threads and in the workers.
A cold pool costs 200 ms, which is a hundred times a single `git status`: so one at a time goes the direct way. What
lies on a mount that may hang goes to a worker, which can be killed.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial

from gitwatchd.analysis.pool import Pool
from gitwatchd.daemon.remote import Remote
from gitwatchd.git.child import end_running_children
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.repository import Answers, Failed, Job, LedAway, Outcome, RepoPath, Result, Surveyed, Work

_log = logging.getLogger(__name__)

DIRECT_SLOTS = 2
SLOW_S, MOST_DIRECT = 2.0, 8
"""An analysis that takes longer keeps its thread, not its slot, or two repositories that hold git up (rules made for
that, a huge file) would keep all others waiting until their deadline; up to so many threads."""
BACKLOG_FOR_POOL = 6
"""Jobs wanted at once from which the start of worker processes pays."""
SAFETY_S = 5.0
"""How long a thread may overrun its job's deadline (git was ended by then) before the job counts as hanging."""

OnOutcome = Callable[[Job, Outcome], None]


class Analyst:
    def __init__(
        self,
        loop: Loop,
        ceiling: int,
        on_outcome: OnOutcome,
        mount_of: Callable[[bytes], bytes],
        type_of: Callable[[bytes], str],
        on_room: Callable[[], None],
        on_led_away: Callable[[RepoPath, bytes], None],
    ) -> None:
        """`on_room`: there is room for more than when a job was submitted. `on_led_away`: something of that repository
        lies on that mount; its job goes on where nothing waits for it."""
        self._loop = loop
        self._on_room = on_room
        self._on_led_away = on_led_away
        self._on_outcome = on_outcome
        self.pool = Pool(loop, ceiling, self._pool_done, mount_of, on_room)
        self.remote = Remote(loop, mount_of, type_of)
        self._direct: dict[int, Timer] = {}
        """The jobs that threads carry, by number, with the timer that gives each up."""
        self._quick: dict[int, Timer] = {}
        """Those of them that hold a slot, with the timer that takes it."""
        self._number = 0
        self._in_pool = 0
        self._pool_pays = False
        self._queue: queue.SimpleQueue[tuple[int, Job] | None] = queue.SimpleQueue()
        self._threads = 0
        self.limit: int | None = None
        """Most jobs at once that a request allows; 0: one at a time, in one worker."""

    def room(self, backlog: int) -> int:
        """How many more jobs are welcome now, given how many repositories want work in all."""
        self._pool_pays = backlog > BACKLOG_FOR_POOL
        room = self._direct_room()
        if self.limit is not None:
            return max(0, max(1, self.limit) - len(self._direct) - self._in_pool)
        # With the pool at work, a thread of ours would only slow down the walks and the answers.
        return max(0, self.pool.capacity() if self._pool_pays else room)

    def _direct_room(self) -> int:
        return min(DIRECT_SLOTS - len(self._quick), MOST_DIRECT - len(self._direct))

    def submit(self, job: Job) -> None:
        """Ends in exactly one `on_outcome`, on the serving thread."""
        if not job.local:
            self.remote.submit(job, lambda result: self._end(job, result))
            return
        if self.limit == 0 or self._pool_pays or self._direct_room() <= 0:
            self._in_pool += 1
            self.pool.submit(job)
            return
        self._number += 1
        number = self._number
        self._direct[number] = self._loop.call_later(job.timeout_s + SAFETY_S, lambda: self._give_up(number, job))
        self._quick[number] = self._loop.call_later(SLOW_S, lambda: self._take_slot(number))
        if self._threads < len(self._direct) and not self._start_thread() and not self._threads:
            self._take_out(number)
            self._in_pool += 1
            self.pool.submit(job)  # which says so when it cannot start a process either
            return
        self._queue.put((number, job))

    def _pool_done(self, work: Work, result: Result) -> None:
        self._in_pool -= 1
        self._hand_on(work, result)

    def _hand_on(self, work: Work, result: Result) -> None:
        if isinstance(work, Job) and work.local and isinstance(result, LedAway):
            self._on_led_away(work.location.path, result.mount)
            self.remote.submit(replace(work, local=False), lambda result: self._end(work, result))
        else:
            self._end(work, result)

    def _end(self, work: Work, result: Result) -> None:
        if not isinstance(work, Job) or isinstance(result, Surveyed | Answers | LedAway):
            raise TypeError(f"{type(result).__name__} is no outcome of {type(work).__name__}")
        self._on_outcome(work, result)

    def _start_thread(self) -> bool:
        try:
            threading.Thread(target=self._work, name="analyse", daemon=True).start()
        except RuntimeError as reason:  # the limit of processes, or of memory
            _log.warning("no thread could be started: %s", reason)
            return False
        self._threads += 1
        return True

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            number, job = item
            outcome: Outcome | LedAway
            try:
                # Here: pygit2 takes 70 ms that the start of the daemon does not pay, and for want of a descriptor not
                # even an import works.
                from gitwatchd.analysis.job import try_to_analyse

                outcome = try_to_analyse(job)
            except OSError as error:
                outcome = Failed(f"it could not be analysed: {error.strerror or error}", "gitwatch daemon logs")
            except Exception:  # noqa: BLE001 - a seam of errors.py: a bug ends this job only
                _log.exception("analysing %r", job.location.path)
                outcome = Failed("a bug ended its analysis: see the log", "gitwatch daemon logs")
            self._loop.call_from_thread(partial(self._done, number, job, outcome))

    def _done(self, number: int, job: Job, outcome: Outcome | LedAway) -> None:
        if self._take_out(number):
            self._hand_on(job, outcome)

    def _take_out(self, number: int) -> bool:
        """False: it was given up before."""
        for timers in (self._direct, self._quick):
            if (timer := timers.get(number)) is not None:
                timer.cancel()
        self._quick.pop(number, None)
        return self._direct.pop(number, None) is not None

    def _take_slot(self, number: int) -> None:
        if self._quick.pop(number, None) is not None:
            self._on_room()

    def _give_up(self, number: int, job: Job) -> None:
        if not self._take_out(number):
            return
        # The thread hangs in the kernel or in a library and cannot be ended: leave it behind, try once more where it
        # can.
        self._threads -= 1
        _log.warning("a thread hangs analysing %r", job.location.path)
        self._in_pool += 1
        self.pool.submit(job)

    def prune(self, index_cache: bytes, index_paths: list[bytes]) -> None:
        """Remove the private copies of all other indexes, and the oldest of too many. On a thread of its own."""
        from gitwatchd.analysis.private_index import prune

        with suppress(RuntimeError):  # no thread is to be had: the next hour will do
            threading.Thread(target=prune, args=(index_cache, index_paths), name="prune", daemon=True).start()

    def close(self) -> None:
        for _ in range(self._threads):
            self._queue.put(None)
        end_running_children()
        self.pool.close()
        self.remote.close()
