"""The audit: when nothing else is to do, ask git about one repository and compare.

Owns: whose turn it is, and the counts. Runs: serving thread; git itself in a worker or thread, like any analysis.
Invariant: at most `SHARE` of a core on average: after an audit that took a second nothing is audited for half an hour.
Never: on battery, or while anything else is analysed.
A difference is a bug of the highest class, so it is logged with all that tells it apart, and healed by git's answer.
What the kernel does not report by nature (a write through a link outside of the tree) is counted apart.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from typing import Protocol

from gitwatchd.engine.repository import Repository
from gitwatchd.git import reach
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Analysed, Outcome, RepoPath

_log = logging.getLogger(__name__)

SHARE = 0.0005
LOOK_EVERY_S = 10.0
"""How often it is looked for an opportunity; the wake-up itself costs 50 us."""
POWER_SUPPLIES = "/sys/class/power_supply"
_SHOWN_BYTES = 2000


class Audited(Protocol):
    """What the audit needs of the fleet."""

    def idle_repositories(self) -> list[Repository]:
        """Those whose outcome is current, in any order; none while something is analysed."""

    def ask_git_about(self, repository: Repository, done: Callable[[Outcome], None]) -> None:
        """Analyse whole, beside the engine."""

    def is_current(self, path: RepoPath) -> Repository | None: ...
    def distrust(self, repository: Repository) -> None:
        """Its answers were wrong: forget what they rest on."""


class Audit:
    def __init__(
        self, loop: Loop, audited: Audited, on_battery: Callable[[], bool] = lambda: runs_on_battery()
    ) -> None:
        self._loop = loop
        self._audited = audited
        self._on_battery = on_battery
        self.done = 0
        self.wrong = 0
        self.unreported = 0
        self._turns: dict[RepoPath, int] = {}
        """How often each repository had its turn."""
        self._not_before = 0.0
        self._running = False

    def start(self) -> None:
        self._loop.call_later(LOOK_EVERY_S, self._look_again)

    def count(self, checked: int, wrong: int) -> None:
        """Comparisons that somebody asked for count too."""
        self.done += checked
        self.wrong += wrong

    def _look_again(self) -> None:
        self._loop.call_later(LOOK_EVERY_S, self._look_again)
        self.look()

    def look(self) -> None:
        """Audit the next one, if this is the time for it."""
        if self._running or time.monotonic() < self._not_before or self._on_battery():
            return
        repository = self.next_turn()
        if repository is not None:
            self.audit(repository)

    def next_turn(self) -> Repository | None:
        """The one that was audited least often."""
        candidates = self._audited.idle_repositories()
        return min(candidates, key=lambda r: self._turns.get(r.path, 0), default=None)

    def audit(self, repository: Repository) -> None:
        """Compare one repository's answer with git's."""
        path, generation, outcome = repository.path, repository.generation, repository.outcome
        self._turns[path] = self._turns.get(path, 0) + 1
        self._running = True
        began = time.monotonic()

        def compare(theirs: Outcome) -> None:
            self._running = False
            self._not_before = time.monotonic() + (time.monotonic() - began) / SHARE
            current = self._audited.is_current(path)
            if current is not repository or repository.generation != generation or repository.outcome is not outcome:
                return  # it moved on meanwhile: nothing can be said
            if not isinstance(outcome, Analysed) or not isinstance(theirs, Analysed):
                return
            self.done += 1
            if theirs.entries != outcome.entries:
                self._report(repository, outcome.entries or b"", theirs.entries or b"")

        self._audited.ask_git_about(repository, compare)

    def _report(self, repository: Repository, ours: bytes, theirs: bytes) -> None:
        only_ours, only_theirs = set(ours.split(b"\0")), set(theirs.split(b"\0"))
        differing = only_ours ^ only_theirs
        if all(_has_other_links(repository.path, record) for record in differing):
            self.unreported += 1
            _log.info("a change that the kernel does not report in %r", repository.path)
        else:
            self.wrong += 1
            _log.error(
                "wrong answer for %r: git only %r, answered only %r",
                repository.path,
                b"\0".join(sorted(only_theirs - only_ours))[:_SHOWN_BYTES],
                b"\0".join(sorted(only_ours - only_theirs))[:_SHOWN_BYTES],
            )
        self._audited.distrust(repository)


def _has_other_links(top: bytes, record: bytes) -> bool:
    """Whether a status record is about a file that can be written through another name."""
    if not record.startswith(b"1 "):
        return False
    try:
        path = os.path.join(top, record.split(b" ", 8)[8])
        reach.check(os.path.dirname(path))
        return os.lstat(path).st_nlink > 1
    except (OSError, IndexError, reach.LeadsAway):
        return False


def runs_on_battery(directory: str = POWER_SUPPLIES) -> bool:
    """Whether the machine has mains supplies and none of them is on line."""
    found = False
    try:
        supplies = os.listdir(directory)
    except OSError:
        return False
    for name in supplies:
        try:
            with open(os.path.join(directory, name, "type"), encoding="ascii", errors="replace") as file:
                if file.read().strip() != "Mains":
                    continue
            with open(os.path.join(directory, name, "online"), encoding="ascii", errors="replace") as file:
                if file.read().strip() == "1":
                    return False
            found = True
        except OSError:
            continue
    return found
