"""Configuration that changes between our look at it and git's own: no window, because git cannot start a program."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gitwatchd.analysis import job as job_module
from gitwatchd.analysis.drivers import drivers_digest, find_drivers
from gitwatchd.analysis.job import analyse
from gitwatchd.analysis.private_index import read_snapshot
from gitwatchd.git.child import seal_obstacle
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.repository import Analysed, Failed, Job, Unsafe
from tests.zoo.commands import Git, judge
from tests.zoo.nursery import configure

Make = Callable[..., Git]

pytestmark = pytest.mark.skipif(seal_obstacle() is not None, reason=f"not here: {seal_obstacle()}")


@pytest.fixture
def job(repository: Make, tmp_path: Path) -> Job:
    """A repository whose attributes name the drivers `own`, which nobody defines, and the user's own `zoo`."""
    git = repository({".gitattributes": b"a filter=own\nb filter=zoo\n", "a": b"1\n", "b": b"1\n"})
    for name in "ab":
        os.utime(git.path / name, (1, 1))
    os.utime(git.path / ".git/index", (2, 2))
    while (snapshot := read_snapshot(os.fsencode(git.path / ".git/index"))) is None or not snapshot.settled():
        pass  # no copy is made of an index younger than the tick of the file clock
    location = read_location(os.fsencode(git.path))
    assert location is not None
    return Job(location, os.fsencode(tmp_path / "indexes"), 30.0, None)


def between(monkeypatch: pytest.MonkeyPatch, *what: Callable[[], object]) -> None:
    """Do `what` right after each look for drivers: at the worst moment there is."""
    steps = iter(what)

    def look(*arguments: object) -> object:
        found = find_drivers(*arguments)  # type: ignore[arg-type]
        next(steps, lambda: None)()
        return found

    monkeypatch.setattr(job_module, "find_drivers", look)


@pytest.mark.parametrize("required", ["true", "false"])
def test_a_driver_slipped_in_is_unsafe_and_does_not_run(
    job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, required: str
) -> None:
    git = Git(os.fsdecode(job.location.path))
    driver = f'[filter "own"]\n\tclean = touch {tmp_path}/ran\n\trequired = {required}\n'
    between(monkeypatch, lambda: configure(git, driver))
    outcome = analyse(job)
    assert isinstance(outcome, Unsafe) and "filter.own" in outcome.reason
    assert not (tmp_path / "ran").exists()


def test_a_driver_slipped_in_and_out_is_no_answer(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = Git(os.fsdecode(job.location.path))
    (Path(os.environ["HOME"]) / ".gitconfig").write_bytes(b"")
    config = (git.path / ".git/config").read_bytes()
    real = job_module.read_config
    reads = []

    def read(*arguments: object) -> object:
        if reads:
            (git.path / ".git/config").write_bytes(config)
        reads.append(1)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(job_module, "read_config", read)
    between(monkeypatch, lambda: configure(git, f'[filter "own"]\n\tclean = touch {tmp_path}/ran\n'))
    outcome = analyse(job)
    assert isinstance(outcome, Failed) and "kept from a program" in outcome.reason
    assert not (tmp_path / "ran").exists()


def test_the_user_s_driver_runs_and_its_answer_is_git_s(job: Job) -> None:
    path = Path(os.fsdecode(job.location.path))
    (path / "b").write_bytes(b"secret\n")
    outcome = analyse(job)
    assert isinstance(outcome, Analysed) and outcome.entries == judge(path)
    (path / "b").write_bytes(b"1\n")
    outcome = analyse(job)
    assert isinstance(outcome, Analysed) and outcome.entries == judge(path)


def test_what_git_took_for_clean_without_the_driver_is_not_kept(job: Job) -> None:
    """Without its driver the file is what the index has, and git notes so in the copy; with it, it is not."""
    path = Path(os.fsdecode(job.location.path))
    home = Path(os.environ["HOME"])
    config = (home / ".gitconfig").read_bytes()
    (home / ".gitconfig").write_bytes(config + b'[filter "own"]\n\tclean = tr 1 2\n')
    outcome = analyse(job)
    assert b" a\0" in judge(path)
    assert isinstance(outcome, Analysed) and outcome.entries == judge(path)


def test_trusted_drivers_run_until_they_change(job: Job, tmp_path: Path) -> None:
    git = Git(os.fsdecode(job.location.path))
    configure(git, f'[filter "own"]\n\tclean = touch {tmp_path}/ran; cat\n')
    drivers = find_drivers(job.location, read_config(job.location), float("inf"))
    trusting = replace(job, trusted=drivers_digest(drivers))
    outcome = analyse(trusting)
    assert isinstance(outcome, Analysed) and (tmp_path / "ran").exists()
    (tmp_path / "ran").unlink()
    git("config", "filter.own.clean", f"touch {tmp_path}/ran; tac")
    assert isinstance(analyse(trusting), Unsafe) and not (tmp_path / "ran").exists()


def test_an_extension_of_git_lfs_is_a_driver(job: Job) -> None:
    configure(Git(os.fsdecode(job.location.path)), '[lfs "extension.own"]\n\tclean = touch x\n')
    outcome = analyse(job)
    assert isinstance(outcome, Unsafe) and "lfs.extension.own" in outcome.reason
