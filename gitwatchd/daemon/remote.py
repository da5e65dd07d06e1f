"""Work on mounts that may not answer: network file systems, FUSE, 9p.

Owns: worker processes of its own, so that nothing on a local disk waits behind a dead server; which mounts answer.
Runs: serving thread, which touches none of these mounts.
Invariant: work is handed out only after its mount answered a probe. A dead mount holds one probe at a time, and not a
worker for each repository on it; the rest fails at once, with the mount's name.
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


class Remote:
    def __init__(self, loop: Loop, mount_of: Callable[[bytes], bytes], type_of: Callable[[bytes], str]) -> None:
        self._loop = loop
        self._mount_of = mount_of
        self._type_of = type_of
        self.pool = Pool(loop, WORKERS, self._done, mount_of)
        self._mounts: dict[bytes, _Mount] = {}
        self._running: dict[int, OnResult] = {}
        """By the identity of the work."""

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

    def _done(self, work: Work, result: Result) -> None:
        if not isinstance(work, Probe):
            self._running.pop(id(work))(result)
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
            self._running[id(asked)] = on_result
            self.pool.submit(asked)

    def _fail(self, point: bytes, mount: _Mount) -> None:
        waiting, mount.waiting = mount.waiting, []
        failed = self._silence(point)
        for _work, on_result in waiting:
            self._loop.call_soon(lambda on_result=on_result: on_result(failed))  # type: ignore[misc]

    def _silence(self, point: bytes) -> Failed:
        where = f"{self._type_of(point) or 'its'} file system at {shown(point)}"
        return Failed(f"the {where} does not answer", f"bring its server back, or give it up: umount -l {shown(point)}")
