"""Questions about single repositories beyond their status: branches, unsaved work, changed lines. Git answers them.

Owns: the threads that wait for git, and what they found out. Runs: serving thread; the work itself on the threads.
Invariant: every inquiry ends, with its finding or with Failed, at the latest `LONGEST_S` after its work began; a thread
that hangs then is left behind and another takes its place.
Invariant: a finding is given again only while the repository is watched and at the generation at which its work began,
so it is as true as the status beside it. Whoever asks has had the status brought up to date before.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from gitwatchd.engine.repository import Repository
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.repository import Failed, RepoPath

_log = logging.getLogger(__name__)

THREADS = 4
"""They wait for git children, which are what takes the cores."""
LONGEST_S = 300.0

Finding = object
OnFinding = Callable[[Finding], None]


@dataclass(slots=True)
class _Inquiry:
    work: Callable[[], Finding]
    done: OnFinding
    deadline: Timer | None = None
    over: bool = False


class Inquiries:
    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._waiting: deque[_Inquiry] = deque()
        self._running = 0
        self._queue: queue.SimpleQueue[_Inquiry] = queue.SimpleQueue()
        self._threads = 0
        self._found: dict[tuple[str, RepoPath], tuple[int, Finding]] = {}

    def ask(self, kind: str, repository: Repository, work: Callable[[], Finding], done: OnFinding) -> None:
        """`done` is called once, on the serving thread, at once when the finding is known; `kind` says what `work` asks
        for, which depends on nothing but the repository."""
        key, generation = (kind, repository.path), repository.generation
        known = self._found.get(key)
        if known is not None and known[0] == generation and repository.current:
            done(known[1])
            return

        def take(finding: Finding) -> None:
            if not isinstance(finding, Failed):
                self._found[key] = (generation, finding)
            done(finding)

        self.run(work, take)

    def run(self, work: Callable[[], Finding], done: OnFinding) -> None:
        """The same for work whose finding nobody should be given again."""
        self._waiting.append(_Inquiry(work, done))
        self._hand_out()

    def forget(self, path: RepoPath) -> None:
        for key in [key for key in self._found if key[1] == path]:
            del self._found[key]

    def _hand_out(self) -> None:
        while self._waiting and self._running < THREADS:
            inquiry = self._waiting.popleft()
            self._running += 1
            inquiry.deadline = self._loop.call_later(LONGEST_S, partial(self._give_up, inquiry))
            if self._threads < self._running:
                self._threads += 1
                threading.Thread(target=self._work, name="inquire", daemon=True).start()
            self._queue.put(inquiry)

    def _work(self) -> None:
        while True:
            inquiry = self._queue.get()
            finding: Finding
            try:
                finding = inquiry.work()
            except EnvironmentFailure as failure:
                finding = Failed(failure.message, failure.hint)
            except OSError as error:
                finding = Failed(str(error.strerror or error))
            except Exception:  # noqa: BLE001 - the seam "worker job" of errors.py: a bug ends this inquiry only
                _log.exception("bug in an inquiry")
                finding = Failed("a bug ended the inquiry: see the log", "gitwatch daemon logs")
            if inquiry.over:
                return  # given up meanwhile: another thread has this one's place
            self._loop.call_from_thread(partial(self._end, inquiry, finding))

    def _give_up(self, inquiry: _Inquiry) -> None:
        self._threads -= 1
        self._end(inquiry, Failed(f"no answer within {LONGEST_S:g} s", "a disk or mount may hang"))

    def _end(self, inquiry: _Inquiry, finding: Finding) -> None:
        if inquiry.over:
            return
        inquiry.over = True
        if inquiry.deadline is not None:
            inquiry.deadline.cancel()
        self._running -= 1
        self._hand_out()
        inquiry.done(finding)
