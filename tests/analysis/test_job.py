"""A whole analysis: the judge's bytes and nobody's code, whatever the repository is."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from gitwatchd.analysis import drivers as drivers_module
from gitwatchd.analysis import job as job_module
from gitwatchd.analysis.drivers import drivers_digest, find_drivers
from gitwatchd.analysis.job import analyse, try_to_analyse
from gitwatchd.git import reach
from gitwatchd.git.index_file import Index, read_index
from gitwatchd.git.layout import read_location
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.repository import Analysed, Failed, Gone, Job, LedAway, Location, Outcome, Unsafe
from gitwatchd.mounts import Mounts
from tests.zoo.commands import Git, ask_judge
from tests.zoo.waiting import wait_for_the_next_second

Make = Callable[..., Git]
Judge = Callable[[Path], bytes]
Analyse = Callable[..., Outcome]


def _allowed(location: Location) -> bytes:
    """What `gitwatch trust` would write down now."""
    return drivers_digest(find_drivers(location, read_config(location), time.monotonic() + 10))


@pytest.fixture
def job_of(tmp_path: Path) -> Callable[..., Job]:
    def make(top: Path, *, trusted: bool = False, timeout_s: float = 30) -> Job:
        location = read_location(os.fsencode(top))
        assert location is not None
        return Job(location, os.fsencode(tmp_path / "indexes"), timeout_s, _allowed(location) if trusted else None)

    return make


@pytest.fixture
def analysed(job_of: Callable[..., Job]) -> Analyse:
    return lambda top, **options: analyse(job_of(top, **options))


def state_of(top: Path) -> dict[bytes, tuple[object, ...]]:
    found = {}
    for directory, _, files in os.walk(os.fsencode(top)):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            s = os.lstat(path)
            # git, however it is run, marks a shared index as used when it reads it.
            times = () if b"/sharedindex." in path else (s.st_mtime_ns, s.st_ctime_ns)
            found[path] = (s.st_ino, s.st_mode, s.st_size, *times)
    return found


def add_submodule(git: Git, source: Git, name: str) -> Git:
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(source.path), name)
    git("commit", "-qm", "submodule")
    return Git(git.path / name)


def set_trap(git: Git, proof: Path) -> None:
    """A clean filter in the repository's own config, which git status runs: the file is stat-dirty."""
    git("config", "filter.trap.clean", f"touch {proof}; cat")
    info = Path(os.fsdecode(git("rev-parse", "--absolute-git-dir").strip())) / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("* filter=trap\n")
    os.utime(git.path / "f", ns=(10**18, 10**18))


def test_an_edit_that_keeps_its_times_within_the_second_of_a_refresh(
    repository: Make, judge: Judge, job_of: Callable[..., Job], wait_until: Callable[..., object]
) -> None:
    """The user's index has an older ctime for the file and shows the edit; git's refreshed copy has the same second."""
    git = repository({"f": b"1\n"})
    os.utime(git.path / "f", ns=(10**18, 10**18))
    git("update-index", "--refresh")

    def within_one_later_second() -> Outcome | None:
        indexed_s = (git.path / ".git/index").stat().st_mtime // 1
        wait_until(lambda: time.time() // 1 > indexed_s and 0.1 < time.time() % 1 < 0.4)  # files' clock is some ms late
        os.utime(git.path / "f", ns=(10**18, 10**18))
        job = replace(job_of(git.path), by_git=True)
        refreshed_s = (git.path / "f").stat().st_ctime_ns // 10**9
        analyse(job)
        (git.path / "f").write_bytes(b"2\n")
        os.utime(git.path / "f", ns=(10**18, 10**18))
        if (git.path / "f").stat().st_ctime_ns // 10**9 != refreshed_s:
            git("checkout", "-q", "--", "f")  # the machine was too slow for the case to arise
            return None
        return analyse(job)

    outcome = wait_until(within_one_later_second, 100.0, "a second in which all of it happens")
    assert isinstance(outcome, Analysed)
    assert b" f\0" in judge(git.path)
    assert outcome.entries == judge(git.path)


@pytest.mark.parametrize(
    ("setting", "kept"), [(None, 1), ("core.trustctime=false", 0), ("core.checkStat=minimal", 0), ("attr.tree=HEAD", 0)]
)
def test_copies_of_the_index_are_kept_where_nothing_else_decides_what_is_clean(
    repository: Make, job_of: Callable[..., Job], setting: str | None, kept: int
) -> None:
    git = repository({"f": b"1\n"})
    if setting is not None:
        git("config", *setting.split("="))
    os.utime(git.path / "f", ns=(10**18, 10**18))
    wait_for_the_next_second(git.path.parent)
    job = replace(job_of(git.path), by_git=True)
    assert isinstance(analyse(job), Analysed)
    assert len(list(Path(os.fsdecode(job.index_cache)).glob("*/*"))) == kept


def test_the_judges_bytes_and_nothing_written(repository: Make, judge: Judge, analysed: Analyse) -> None:
    git = repository({"f": b"1", "g h": b"2", ".gitignore": b"*.o\n"})
    (git.path / "f").write_bytes(b"changed")
    (git.path / "new").write_bytes(b"")
    (git.path / "x.o").write_bytes(b"")
    os.utime(git.path / "g h", ns=(10**18, 10**18))
    before = state_of(git.path)
    for _ in range(3):  # on a new copy of the index, and on the kept one
        outcome = analysed(git.path)
        assert isinstance(outcome, Analysed)
        assert outcome.entries == judge(git.path)
        assert outcome.facts.counts is not None
        assert (outcome.facts.counts.unstaged, outcome.facts.counts.untracked) == (1, 1)
        assert outcome.facts.summary == b"first" and outcome.facts.index_size == 3
        newest = max((git.path / name).stat().st_mtime for name in ("f", "g h", ".gitignore", "new"))
        assert outcome.facts.mtime == pytest.approx(newest)
    assert state_of(git.path) == before


def test_split_index_submodules_and_unborn_without_a_copy(
    repository: Make, judge: Judge, analysed: Analyse, tmp_path: Path
) -> None:
    split = repository({"f": b"1"}, "split")
    split("update-index", "--split-index")
    outer = repository({"f": b"1"}, "outer")
    inner = add_submodule(outer, repository({"f": b"1"}, "source"), "sub")
    unborn = repository(None, "unborn")
    for git in (split, outer, unborn, inner):
        (git.path / "f").write_bytes(b"22")
        before = state_of(git.path)
        outcome = analysed(git.path)
        assert isinstance(outcome, Analysed) and outcome.entries == judge(git.path), git.path
        assert state_of(git.path) == before, git.path
    # The submodule may have one for itself; nothing but its own index is in there.
    assert len(list((tmp_path / "indexes").glob("*/*"))) <= 1


def test_core_split_index_does_not_write_beside_the_users_index(
    repository: Make, judge: Judge, analysed: Analyse
) -> None:
    git = repository({"f": b"1"})
    git("config", "core.splitIndex", "true")
    os.utime(git.path / "f", ns=(10**18, 10**18))
    before = state_of(git.path)
    outcome = analysed(git.path)
    assert isinstance(outcome, Analysed) and outcome.entries == judge(git.path)
    assert state_of(git.path) == before


def test_linked_worktree_and_worktree_elsewhere(
    repository: Make, judge: Judge, analysed: Analyse, tmp_path: Path
) -> None:
    git = repository({"f": b"1"})
    git("worktree", "add", "-q", str(tmp_path / "linked"))
    (tmp_path / "linked/f").write_bytes(b"2")
    outcome = analysed(tmp_path / "linked")
    assert isinstance(outcome, Analysed) and outcome.entries == judge(tmp_path / "linked")
    (tmp_path / "elsewhere").mkdir()
    git("config", "core.worktree", str(tmp_path / "elsewhere"))
    outcome = analysed(git.path)
    assert isinstance(outcome, Analysed) and outcome.entries == judge(git.path)


def test_bare_has_gits_own_refusal(repository: Make, analysed: Analyse, tmp_path: Path) -> None:
    repository({"f": b"1"})("clone", "-q", "--bare", ".", str(tmp_path / "bare.git"))
    outcome = analysed(tmp_path / "bare.git")
    assert isinstance(outcome, Analysed) and outcome.entries is None
    assert outcome.message == ask_judge(tmp_path / "bare.git").stderr
    assert outcome.facts.summary == b"first" and outcome.facts.counts is None


def test_a_filter_of_its_own_is_not_run_until_trusted(
    repository: Make, judge: Judge, analysed: Analyse, tmp_path: Path
) -> None:
    git = repository({"f": b"1"}, "re po")
    proof = tmp_path / "ran"
    set_trap(git, proof)
    outcome = analysed(git.path)
    assert isinstance(outcome, Unsafe)
    assert "filter.trap" in outcome.reason and outcome.hint == f"gitwatch trust '{git.path}'"
    assert outcome.facts.summary == b"first" and outcome.facts.counts is None
    assert not proof.exists()
    outcome = analysed(git.path, trusted=True)
    assert isinstance(outcome, Analysed) and proof.exists()
    assert outcome.entries == judge(git.path)


@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("absorbed", [False, True])
def test_a_submodules_own_filter_is_not_run(
    repository: Make, analysed: Analyse, tmp_path: Path, nested: bool, absorbed: bool
) -> None:
    source = repository({"f": b"1"}, "source")
    outer = repository({"f": b"1"}, "outer")
    inner = add_submodule(outer, source, "sub")
    if nested:
        inner = add_submodule(inner, source, "deeper")
    if not absorbed:  # a git dir of its own, far from .git/modules
        own = Path(os.fsdecode(inner("rev-parse", "--absolute-git-dir").strip()))
        inner("config", "--unset", "core.worktree")
        (inner.path / ".git").unlink()
        shutil.move(own, inner.path / ".git")
    proof = tmp_path / "ran"
    set_trap(inner, proof)
    outcome = analysed(outer.path)
    assert isinstance(outcome, Unsafe) and "submodule" in outcome.reason
    assert not proof.exists()
    outer("status")
    assert proof.exists(), "the trap works"


def test_a_filter_of_the_global_configuration_is_allowed(
    repository: Make, judge: Judge, analysed: Analyse, home: Path
) -> None:
    git = repository({"f": b"1"})
    git("config", "--global", "filter.tr.clean", "tr a-z A-Z")
    (git.path / ".gitattributes").write_text("* filter=tr\n")
    (git.path / "f").write_bytes(b"x")
    outcome = analysed(git.path)
    assert isinstance(outcome, Analysed) and outcome.entries == judge(git.path)


@pytest.mark.skipif(os.getuid() != 0, reason="needs another owner's repository")
def test_foreign_owner(repository: Make, analysed: Analyse) -> None:
    git = repository({"f": b"1"})
    for directory, _, files in os.walk(git.path):
        for path in (directory, *(os.path.join(directory, name) for name in files)):
            os.lchown(path, 65534, 65534)
    if b"dubious ownership" not in ask_judge(git.path).stderr:
        pytest.skip("this git trusts everybody's")
    outcome = analysed(git.path)
    assert isinstance(outcome, Unsafe)
    assert outcome.hint == f"git config --global --add safe.directory {git.path}"
    assert outcome.facts.counts is None


def test_gone_replaced_and_damaged(repository: Make, job_of: Callable[..., Job], tmp_path: Path) -> None:
    outer = repository({"f": b"1"}, "outer")  # around all others: git must not answer for it
    shutil.copytree(outer.path / ".git", tmp_path / ".git")
    gone, moved, damaged, index = (repository({"f": b"1"}, n) for n in ("gone", "moved", "damaged", "index"))
    jobs = [job_of(git.path) for git in (gone, moved, damaged, index)]
    shutil.rmtree(gone.path)
    (moved.path / ".git").rename(tmp_path / "git-dir")
    (moved.path / ".git").write_text(f"gitdir: {tmp_path}/git-dir\n")
    (damaged.path / ".git/HEAD").write_text("nonsense\n")
    (index.path / ".git/index").write_bytes(b"DIRC nonsense" * 9)
    outcomes = [analyse(job) for job in jobs]
    assert outcomes[:2] == [Gone(), Gone()]
    assert isinstance(outcomes[2], Failed)
    assert isinstance(outcomes[3], Failed) and "index" in outcomes[3].reason
    assert outcomes[3].hint == f"git -C {index.path} status"


def test_a_damaged_config_is_gits_failure(repository: Make, job_of: Callable[..., Job]) -> None:
    git = repository({"f": b"1"})
    job = job_of(git.path)
    with (git.path / ".git/config").open("a") as file:
        file.write("[bad\n")
    outcome = analyse(job)
    assert isinstance(outcome, Failed) and "bad config" in outcome.reason


def test_a_filter_that_hangs_meets_the_deadline(repository: Make, analysed: Analyse) -> None:
    git = repository({"f": b"1"})
    git("config", "filter.slow.clean", "sleep 600")
    (git.path / ".git/info/attributes").write_text("* filter=slow\n")
    os.utime(git.path / "f", ns=(10**18, 10**18))
    outcome = analysed(git.path, trusted=True, timeout_s=0.5)
    assert isinstance(outcome, Failed) and "did not end" in outcome.reason


def test_a_configuration_of_two_megabytes(repository: Make, judge: Judge, analysed: Analyse) -> None:
    git = repository({"a": b"1\n"})
    with (git.path / ".git/config").open("a") as config:
        for number in range(25_000):
            name = f"topic/of-a-long-lived-clone-{number}"
            config.write(f'[branch "{name}"]\n\tremote = .\n\tmerge = refs/heads/main\n')
    git("checkout", "-qb", "topic/of-a-long-lived-clone-7")
    outcome = analysed(git.path)
    assert isinstance(outcome, Analysed)
    assert outcome.entries == judge(git.path)
    assert b"branch.upstream main" in outcome.entries


@pytest.mark.parametrize("sealed", [True, False])
def test_the_index_is_parsed_once_where_git_is_sealed(
    repository: Make, analysed: Analyse, monkeypatch: pytest.MonkeyPatch, sealed: bool
) -> None:
    """Submodules may bring drivers. Where nothing keeps git from those the index has to be of this very moment."""
    git = repository({"a": b"1\n"})
    read: list[bytes] = []

    def note(path: bytes, oid_bytes: int) -> Index:
        read.append(path)
        return read_index(path, oid_bytes)

    monkeypatch.setattr(drivers_module, "read_index", note)
    monkeypatch.setattr(job_module, "seal_obstacle", lambda: None if sealed else "not here")
    assert isinstance(analysed(git.path), Analysed)
    assert len(read) == (0 if sealed else 1)


@pytest.mark.parametrize("what", ["d", ".gitmodules", "sub/d", "sub/.gitmodules"])
def test_git_is_not_started_where_it_would_follow_a_link_onto_a_mount_that_may_hang(
    repository: Make, tmp_path: Path, job_of: Callable[..., Job], what: str
) -> None:
    """git looks at what is tracked below such a link, and reads `.gitmodules` through it: in submodules, too."""
    git = repository({"d/f": b"1\n"})
    add_submodule(git, repository({"d/f": b"1\n", ".gitmodules": b""}, "source"), "sub")
    job = job_of(git.path)
    (tmp_path / "far").mkdir()
    (git.path / what).rename(tmp_path / "far/moved")
    (git.path / what).symlink_to(tmp_path / "far/moved")
    assert isinstance(try_to_analyse(job), Analysed | Failed)
    far = os.fsencode((tmp_path / "far").resolve())
    reach.keep_local(lambda: Mounts({b"/": "ext4", far: "nfs4"}))
    try:
        assert try_to_analyse(job) == LedAway(far)
    finally:
        reach.keep_local(None)
