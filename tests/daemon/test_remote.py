"""A mount that falls silent while work on it runs: that work ends then, and holds up none on other mounts."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.daemon import remote as remote_module
from gitwatchd.daemon.remote import WORKERS, Remote
from gitwatchd.loop import Loop
from gitwatchd.model.repository import Analysed, Failed, Job, Result
from tests.analysis.test_pool import Running, alive, gated, pids_at
from tests.zoo.commands import Git

Make = Callable[..., Git]


@pytest.fixture
def loop() -> Iterator[Loop]:
    loop = Loop(lambda error: pytest.fail(repr(error)))
    yield loop
    loop.close()


def run_until(loop: Loop, condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "not in time"
        loop.run_once(0.02)


def test_work_on_a_mount_that_falls_silent_ends_then(
    repository: Make, tmp_path: Path, loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """More of it than there are workers, so that not even a probe would get a place among them."""
    monkeypatch.setattr(remote_module, "LONG_S", 0.2)
    dead, well = tmp_path / "dead", tmp_path / "well"
    for mount in (dead, well):
        (mount / "point").mkdir(parents=True)
    gates = [tmp_path / f"gate{number}" for number in range(3 * WORKERS)]
    stuck = [gated(repository({"f": b"1\n"}, f"dead-{number}"), gate) for number, gate in enumerate(gates)]
    works = repository({"f": b"1\n"}, "well")

    def mount_of(path: bytes) -> bytes:
        return os.fsencode((dead if b"dead" in path else well) / "point")

    maker = Running(1, tmp_path / "indexes")
    remote = Remote(loop, mount_of, lambda _mount: "nfs4")
    results: list[Result] = []
    jobs: list[Job] = [maker.job(git, trusted=True, timeout_s=600) for git in stuck]
    try:
        for job in jobs:
            remote.submit(job, results.append)
        run_until(loop, lambda: sum(len(pids_at(gate)) for gate in gates) >= WORKERS)
        held = [pid for gate in gates for pid in pids_at(gate)]
        # While it answers, work may take its time.
        probes: list[object] = []
        monkeypatch.setattr(
            remote._probers, "submit", lambda probe, ask=remote._probers.submit: (probes.append(probe), ask(probe))
        )
        run_until(loop, lambda: len(probes) >= 3)
        assert results == []
        (dead / "point").rmdir()
        dead.rmdir()
        dead.touch()  # what is asked of a mount point below fails from now on
        run_until(loop, lambda: len(results) == len(jobs))
        for result in results:
            assert isinstance(result, Failed) and "nfs4 file system" in result.reason
        others: list[Result] = []
        remote.submit(maker.job(works), others.append)
        run_until(loop, lambda: others)
        assert isinstance(others[0], Analysed)
        run_until(loop, lambda: not any(alive(pid) for pid in held))
    finally:
        remote.close()
        maker.pool.close()
        maker.loop.close()
