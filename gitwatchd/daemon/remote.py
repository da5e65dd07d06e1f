"""Work on mounts that may not answer: network file systems, FUSE, 9p.

Owns: worker processes of its own, so that nothing on a local disk waits behind a dead server; which mounts answer.
Runs: serving thread, which touches none of these mounts.
Invariant: work is handed out only after its mount answered a probe. A dead mount holds one probe at a time, and not a
worker for each repository on it; the rest fails at once, with the mount's name.
Invariant: a mount that falls silent while work on it runs is found out in `LONG_S + PROBE_S`, and that work fails then,
not at its own deadline of a minute or two: a search of it holds up every question about the root that it belongs to.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from gitwatchd.analysis.pool import Pool
from gitwatchd.git.child import shown
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Answers, Failed, Job, Probe, Result, Survey, Work, place_of

WORKERS = 4
PROBE_S = 4.0
"""A server that takes longer to say how big its file system is is no use for a status."""
LONG_S = 4.0
"""Work on a mount that is not done after so long has that mount asked again whether it answers."""
_PROBERS = 2
"""Workers that ask this: the others may all be waiting for the mount in question."""
PAUSE_S = 5.0
"""A mount that did not answer is not asked again for so long; requests that come meanwhile fail at once."""

OnResult = Callable[[Result], None]


@dataclass(slots=True)
class _Mount:
    waiting: list[tuple[Job | Survey, OnResult]] = field(default_factory=list)
    """Until it has answered the next probe."""
    probing: bool = False
    silent_until: float | None = None
    """Monotonic; None: it answers, or was never asked."""
    is_looked_after: bool = False
    """It will be asked again, if work on it takes long."""


@dataclass(frozen=True, slots=True)
class _Running:
    mount: _Mount
    work: Job | Survey
    on_result: OnResult


class Remote:
    def __init__(self, loop: Loop, mount_of: Callable[[bytes], bytes], type_of: Callable[[bytes], str]) -> None:
        self._loop = loop
        self._mount_of = mount_of
        self._type_of = type_of
        self.pool = Pool(loop, WORKERS, self._done, mount_of)
        self._probers = Pool(loop, _PROBERS, self._looked, mount_of)
        self._mounts: dict[bytes, _Mount] = {}
        self._running: dict[int, _Running] = {}
        """By the identity of the work; what was given up is no longer there."""

    def submit(self, work: Job | Survey, on_result: OnResult) -> None:
        """Ends in exactly one call of `on_result`, from the loop."""
        point = self._mount_of(place_of(work))
        mount = self._mounts.setdefault(point, _Mount())
        mount.waiting.append((work, on_result))
        if mount.silent_until is not None and time.monotonic() < mount.silent_until:
            self._fail(point, mount)
        elif not mount.probing:
            mount.probing = True
            self.pool.submit(Probe(point, PROBE_S))

    def silent(self) -> dict[bytes, Failed]:
        """Mounts that did not answer the last time they were asked."""
        return {point: self._silence(point) for point, mount in self._mounts.items() if mount.silent_until is not None}

    def close(self) -> None:
        self.pool.close()
        self._probers.close()

    def _done(self, work: Work, result: Result) -> None:
        if not isinstance(work, Probe):
            if (running := self._running.pop(id(work), None)) is not None:
                running.on_result(result)
            return
        mount = self._mounts[work.path]
        mount.probing = False
        if not isinstance(result, Answers):
            mount.silent_until = time.monotonic() + PAUSE_S
            self._fail(work.path, mount)
            return
        mount.silent_until = None
        waiting, mount.waiting = mount.waiting, []
        for asked, on_result in waiting:
            self._running[id(asked)] = _Running(mount, asked, on_result)
            self.pool.submit(asked)
        self._look_after(work.path, mount)

    def _look_after(self, point: bytes, mount: _Mount) -> None:
        began = self._running_on(mount)
        if began and not mount.is_looked_after:
            mount.is_looked_after = True
            self._loop.call_later(LONG_S, lambda: self._look(point, mount, began))

    def _running_on(self, mount: _Mount) -> dict[int, _Running]:
        return {number: running for number, running in self._running.items() if running.mount is mount}

    def _look(self, point: bytes, mount: _Mount, began: dict[int, _Running]) -> None:
        if any(self._running.get(number) is running for number, running in began.items()):
            self._probers.submit(Probe(point, PROBE_S))
        else:
            mount.is_looked_after = False
            self._look_after(point, mount)

    def _looked(self, work: Work, result: Result) -> None:
        point = place_of(work)
        mount = self._mounts[point]
        mount.is_looked_after = False
        if isinstance(result, Answers):
            self._look_after(point, mount)
            return
        mount.silent_until = time.monotonic() + PAUSE_S
        given_up = self._running_on(mount)
        for number in given_up:
            del self._running[number]
        self.pool.give_up([running.work for running in given_up.values()], point)
        mount.waiting += [(running.work, running.on_result) for running in given_up.values()]
        self._fail(point, mount)

    def _fail(self, point: bytes, mount: _Mount) -> None:
        waiting, mount.waiting = mount.waiting, []
        failed = self._silence(point)
        for _work, on_result in waiting:
            self._loop.call_soon(lambda on_result=on_result: on_result(failed))  # type: ignore[misc]

    def _silence(self, point: bytes) -> Failed:
        where = f"{self._type_of(point) or 'its'} file system at {shown(point)}"
        return Failed(f"the {where} does not answer", f"bring its server back, or give it up: umount -l {shown(point)}")
