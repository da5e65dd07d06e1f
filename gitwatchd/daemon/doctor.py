"""What the daemon knows of itself, for `gitwatch doctor` and for bug reports.

Owns: the last problems. Runs: serving thread. Reads, decides nothing.
"""

from __future__ import annotations

import logging
import os
import platform
import resource
import time
from collections import Counter, deque
from heapq import nlargest
from operator import itemgetter
from typing import Any

from gitwatchd import __version__
from gitwatchd.daemon.audit import Audit
from gitwatchd.daemon.fleet import Fleet
from gitwatchd.engine.events import Level
from gitwatchd.engine.repository import Repository
from gitwatchd.model.report import State, Watch, text_or_bytes
from gitwatchd.wire.address import Places

_KEPT_ERRORS = 20
_SHOWN_DEGRADED = 50
_SHOWN_REASONS = 12
_SHOWN_HOLDERS = 10
_SHOWN_SLOW = 5
_SLOW_S = 0.5
"""Shorter than this nobody waits for."""


class LastErrors(logging.Handler):
    """Keeps the newest warnings and errors of the log."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: deque[dict[str, Any]] = deque(maxlen=_KEPT_ERRORS)

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append({"at": record.created, "path": record.name, "text": record.getMessage()})


class Doctor:
    def __init__(self, places: Places, fleet: Fleet, audit: Audit, errors: LastErrors) -> None:
        self._audit = audit
        self._places = places
        self._fleet = fleet
        self._errors = errors
        self._started_at = time.time()
        self.problems: list[dict[str, str]] = []
        """What went wrong at start and has a cure: `{what, hint}`."""

    @property
    def state_dir(self) -> str | bytes | None:
        return text_or_bytes(self._places.state_dir)

    def facts(self) -> dict[str, Any]:
        """The map of `gitwatchd.render.doctor_view`."""
        from gitwatchd.git.child import git_path, git_version
        from gitwatchd.watch.limits import more_events_hint, more_instances_hint, more_watches_hint

        fleet, places, audit = self._fleet, self._places, self._audit
        epoch = time.time()
        states: Counter[str] = Counter()
        watches: Counter[str] = Counter()
        degraded: list[dict[str, Any]] = []
        for repository in fleet.engine.repositories.values():
            standing = repository.standing(fresh=repository.current, epoch=epoch)
            states[standing.state.value] += 1
            watches[standing.watch.value] += 1
            if standing.state in (State.FAILED, State.UNSAFE):
                degraded.append(_degraded(repository, standing.state, standing.reason, standing.hint))
            elif standing.watch is not Watch.WATCHED and repository.watch_reason and not repository.gone:
                # Without a reason nobody has walked it yet: the daemon has only just begun.
                degraded.append(_degraded(repository, standing.watch, repository.watch_reason, repository.watch_hint))
        degraded = [
            {"what": f"{os.fsdecode(mount)}: {failed.reason}", "hint": failed.hint}
            for mount, failed in fleet.analyst.remote.silent().items()
        ] + degraded
        if fleet.watcher.discovery_is_blind:
            degraded.append(
                {
                    "what": "no watches are left for places where new repositories may appear: they are looked for when"
                    " somebody asks",
                    "hint": more_watches_hint(fleet.engine.budget.wanted),
                }
            )
        degraded += [
            {"what": f"{os.fsdecode(path)}: cannot be read: {reason}", "hint": ""}
            for path, reason in fleet.roots.unreadable.items()
        ]
        for problem, hint in ((fleet.cache_problem, "answers are right; a restart begins from what was written last"),
                              (fleet.intent.problem, "nothing is lost while the daemon runs")):  # fmt: skip
            if problem is not None:
                degraded.insert(0, {"what": problem, "hint": hint})
        degraded += self._configuration_problems()
        counted = fleet.watcher.counts()
        if counted["overflows"]:
            degraded.append(
                {
                    "what": f"{counted['overflows']} times more happened than the kernel keeps in its queue: the"
                    " repositories concerned were looked at anew",
                    "hint": more_events_hint(),
                }
            )
        analyst = fleet.analyst
        return {
            "version": __version__,
            "python": platform.python_version(),
            "git": git_path(),
            "git_version": git_version(),
            "pid": os.getpid(),
            "started_at": self._started_at,
            "socket": text_or_bytes(places.socket),
            "state_dir": self.state_dir,
            "cache_dir": text_or_bytes(places.cache_dir),
            "log": text_or_bytes(places.log),
            "configuration": text_or_bytes(places.config),
            "configured": len(fleet.configuration.written),
            "limits": {
                "max_user_watches": _read_limit("max_user_watches"),
                "max_user_instances": _read_limit("max_user_instances"),
                "max_queued_events": _read_limit("max_queued_events"),
                "open_files": resource.getrlimit(resource.RLIMIT_NOFILE)[0],
            },
            "raised_by": {
                "max_user_watches": more_watches_hint(fleet.engine.budget.wanted),
                "max_user_instances": more_instances_hint(),
                "max_queued_events": more_events_hint(),
            },
            "watches": {
                "used": counted["watches"],
                "budget": counted["budget"],
                "wanted": max(counted["watches"] or 0, fleet.engine.budget.wanted),
                "descriptors": counted["queues"],
                "discovery": counted["discovery_watches"],
                "events": counted["events"],
                "overflows": counted["overflows"],
            },
            "watches_by_repository": {
                os.fsdecode(path): held
                for path, held in nlargest(_SHOWN_HOLDERS, fleet.engine.budget.held.items(), key=itemgetter(1))
            },
            "slowest_s": {
                os.fsdecode(path): round(seconds, 3)
                for path, seconds in nlargest(_SHOWN_SLOW, fleet.analyses.took_s.items(), key=itemgetter(1))
                if seconds >= _SLOW_S
            },
            "repositories": {
                "total": len(fleet.engine.repositories), "by_state": dict(states), "by_watch": dict(watches),
            },
            "answers": {level.value: fleet.engine.levels[level] for level in Level},
            "git_asked_because": dict(fleet.increments.reasons.most_common(_SHOWN_REASONS)),
            "audits": {"done": audit.done, "wrong": audit.wrong, "unreported": audit.unreported},
            "pool": {
                "workers": len(analyst.pool.pids()), "running": fleet.engine.analysing, "at_most": analyst.limit,
                "queued": max(0, fleet.engine.backlog - fleet.engine.analysing),
            },
            "problems": self.problems + _unsealed() + degraded[:_SHOWN_DEGRADED],
            "errors": list(self._errors.records),
        }  # fmt: skip

    def _configuration_problems(self) -> list[dict[str, str]]:
        configuration = self._fleet.configuration
        problems = [{"what": note, "hint": ""} for note in configuration.notes()]
        problems += [
            {
                "what": f"{os.fsdecode(path)}: no such directory; {configuration.place(configuration.lines['roots'])}"
                " names it as a root",
                "hint": "make it, or take it out there; once it exists it is watched by itself",
            }
            for path in sorted(self._fleet.roots.configured)
            if self._fleet.decisions.is_absent(path)
        ]
        return problems


def _degraded(repository: Repository, how: str, reason: str, hint: str) -> dict[str, Any]:
    return {
        "what": f"{os.fsdecode(repository.path)}: {how}: {reason}", "hint": hint,
        "path": text_or_bytes(repository.path), "how": str(how), "reason": reason,
    }  # fmt: skip


def _unsealed() -> list[dict[str, str]]:
    from gitwatchd.git.child import seal_obstacle

    obstacle = seal_obstacle()
    if obstacle is None:
        return []
    return [
        {
            "what": f"the kernel cannot keep git from running what a repository names: {obstacle}",
            "hint": "each repository's configuration is searched for commands right before git reads it; "
            "somebody who rewrites it in between is not noticed",
        }
    ]


def _read_limit(name: str) -> int | None:
    try:
        with open(f"/proc/sys/fs/inotify/{name}", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return None
