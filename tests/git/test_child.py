"""Running git: its environment, its deadline, and that nothing it started outlives that."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest

from gitwatchd.errors import EnvironmentFailure, GitMissing, GitTimedOut
from gitwatchd.git import child
from gitwatchd.git.child import end_running_children, git_version, run_git
from gitwatchd.git.repository_config import _system_config_file, system_config_file
from tests.zoo.commands import Git

Make = Callable[..., Git]
WaitUntil = Callable[..., object]


def fake_git(directory: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program called git, first on PATH."""
    directory.mkdir(exist_ok=True)
    program = directory / "git"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{directory}:{os.environ['PATH']}")


def let_the_deadline_pass_once(condition: Callable[[], object], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever time the machine takes until then."""
    looked: list[float] = []

    def monotonic() -> float:
        looked.append(time.monotonic())
        # Not the first time, by which the deadline is set.
        return looked[-1] + (1000.0 if len(looked) > 1 and condition() else 0.0)

    monkeypatch.setattr(child, "time", SimpleNamespace(monotonic=monotonic))
    monkeypatch.setattr(child, "_LOOK_EVERY_S", 0.01)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_nothing_of_the_callers_git_environment_reaches_the_child(
    repository: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_git(tmp_path / "bin", "env", monkeypatch)
    for name, value in {
        "GIT_DIR": "/nowhere", "GIT_INDEX_FILE": "/nowhere", "GIT_CONFIG_COUNT": "1",
        "GIT_OPTIONAL_LOCKS": "1", "GIT_ASKPASS": "/bin/ask", "SSH_ASKPASS": "/bin/ask",
        "LC_ALL": "de_DE.UTF-8", "XDG_CONFIG_HOME": "/config",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    out = run_git(["status"], cwd=b"/", timeout_s=10).stdout.decode()
    seen = dict(line.partition("=")[::2] for line in out.splitlines())
    assert {n: v for n, v in seen.items() if n.startswith("GIT_")} == {
        "GIT_OPTIONAL_LOCKS": "0", "GIT_NO_LAZY_FETCH": "1", "GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "",
    }  # fmt: skip
    assert (seen["LC_ALL"], seen["XDG_CONFIG_HOME"]) == ("C", "/config")
    assert seen["HOME"] == os.environ["HOME"]
    assert "SSH_ASKPASS" not in seen


def test_a_repositorys_own_fsmonitor_and_hooks_do_not_run(repository: Make, tmp_path: Path) -> None:
    git = repository({"f": b"1"})
    proof = tmp_path / "ran"
    for key in ("core.fsmonitor", "core.pager"):
        git("config", key, f"touch {proof} #")
    hook = git.path / ".git/hooks/post-index-change"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {proof}\n")
    hook.chmod(0o755)
    copy = tmp_path / "index"
    copy.write_bytes((git.path / ".git/index").read_bytes())
    os.utime(git.path / "f", ns=(1, 1))  # stat-dirty: git will write the index it may write
    where = os.fsencode(git.path)
    answer = run_git(["status"], cwd=where, timeout_s=10, index_file=os.fsencode(copy), refresh_index=True)
    assert answer.returncode == 0 and not proof.exists()
    git("status")
    assert proof.exists(), "the trap works"


def test_the_users_index_may_not_be_refreshed() -> None:
    with pytest.raises(ValueError, match="private"):
        run_git(["status"], cwd=b"/", timeout_s=1, refresh_index=True)


def test_input_output_and_failure_are_an_answer(repository: Make) -> None:
    where = os.fsencode(repository({"f": b"1"}).path)
    answer = run_git(["hash-object", "--stdin"], cwd=where, timeout_s=10, stdin=b"hello")
    assert answer.stdout == b"b6fc4c620b67d95f953a5c1c1230aaab5db5a1b0\n"
    refused = run_git(["rev-parse", "--verify", "nothing"], cwd=where, timeout_s=10)
    assert refused.returncode == 128 and refused.stderr.startswith(b"fatal: ")


def test_the_ceiling_keeps_git_from_the_repository_around(repository: Make) -> None:
    outer = repository({"f": b"1"})
    damaged = outer.path / "inner"
    (damaged / ".git").mkdir(parents=True)
    where = os.fsencode(damaged)
    assert run_git(["rev-parse", "HEAD"], cwd=where, timeout_s=10).returncode == 0
    answer = run_git(["rev-parse", "HEAD"], cwd=where, timeout_s=10, ceiling=os.path.dirname(where))
    assert b"not a git repository" in answer.stderr


@pytest.mark.parametrize("stubborn", [False, True])
def test_the_deadline_ends_git_and_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil, stubborn: bool
) -> None:
    trap = "trap '' TERM; " if stubborn else ""
    started = f"sh -c '{trap}echo $$ >> {tmp_path}/pids; while :; do sleep 600; done' &"
    fake_git(tmp_path / "bin", f"{trap}echo $$ >> {tmp_path}/pids\n{started}\nwait; sleep 600", monkeypatch)

    def pids() -> list[int]:
        return [int(line) for line in (tmp_path / "pids").read_text().split()] if (tmp_path / "pids").exists() else []

    let_the_deadline_pass_once(lambda: len(pids()) == 2, monkeypatch)
    with pytest.raises(GitTimedOut, match=r"git status .*600 s"):
        run_git(["status"], cwd=b"/", timeout_s=600)
    assert len(pids()) == 2
    wait_until(lambda: not any(alive(pid) for pid in pids()))


def test_output_without_end_meets_the_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path / "bin", "exec yes >&2", monkeypatch)
    monkeypatch.setattr(child, "_MOST_OUTPUT_BYTES", 1 << 40)
    with pytest.raises(GitTimedOut):
        run_git(["status"], cwd=b"/", timeout_s=0.1)


def test_large_output_is_in_memory_once_and_then_no_more(repository: Make) -> None:
    git = repository({"f": b"1"})
    blob = git("hash-object", "-w", "--stdin", stdin=bytes(96 << 20)).strip().decode()
    asks = f"""
import json, os, sys
from gitwatchd.daemon.main import _give_memory_back
from gitwatchd.git import child

def kilobytes(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

_give_memory_back()
child.git_version()
read, kept = os.read, []
def read_and_keep(fd, most):
    chunk = read(fd, most)
    kept.append(bytearray(1000))  # what other threads keep, between any two pieces
    return chunk
child.os.read = read_and_keep
before = kilobytes("VmRSS")
size = len(child.run_git(["cat-file", "blob", "{blob}"], cwd=os.fsencode("{git.path}"), timeout_s=60).stdout)
print(json.dumps([size >> 10, kilobytes("VmHWM") - before, kilobytes("VmRSS") - before]))
"""
    done = subprocess.run([sys.executable, "-c", asks], stdout=subprocess.PIPE, check=True)
    size, peak, left = json.loads(done.stdout)
    assert size == 96 << 10
    assert peak < 1.4 * size
    assert left < size / 10


def test_a_long_question_and_a_long_answer_at_once(repository: Make) -> None:
    git = repository({"f": b"1"})
    where = os.fsencode(git.path)
    oid = git("rev-parse", "HEAD:f").strip() + b"\n"
    asked = run_git(["cat-file", "--batch-check"], cwd=where, timeout_s=30, stdin=oid * 50_000)
    assert asked.stdout.count(b" blob 1\n") == 50_000
    # Nobody listens to all of it.
    assert run_git(["cat-file", "--wrong"], cwd=where, timeout_s=30, stdin=oid * 50_000).returncode == 129


def test_an_answer_to_a_question_is_bounded_too(repository: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    git = repository({"f": bytes(1 << 20)})
    oid = git("rev-parse", "HEAD:f").strip() + b"\n"
    monkeypatch.setattr(child, "_MOST_OUTPUT_BYTES", 1 << 19)
    with pytest.raises(EnvironmentFailure, match="says more than"):
        run_git(["cat-file", "--batch"], cwd=os.fsencode(git.path), timeout_s=30, stdin=oid)


def test_whatever_goes_wrong_git_does_not_run_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    fake_git(tmp_path / "bin", f"echo $$ > {tmp_path}/pid; echo said; exec sleep 600", monkeypatch)

    def lack_memory(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(child._Output, "add", lack_memory)
    with pytest.raises(MemoryError):
        run_git(["status"], cwd=b"/", timeout_s=60)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_of_large_outputs_only_one_is_taken_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    monkeypatch.setattr(child, "_SMALL_OUTPUT_BYTES", 1 << 20)
    here, turn, waits_s = threading.get_ident(), threading.Lock(), list[float]()

    def wait_for_turn(timeout: float) -> bool:
        """In this thread the deadline passes soon after the wait has begun, however long it took to come to it."""
        if threading.get_ident() == here:
            waits_s.append(timeout)
            timeout = 0.1
        return turn.acquire(timeout=timeout)

    monkeypatch.setattr(child._Output, "_large", SimpleNamespace(acquire=wait_for_turn, release=turn.release))
    said, go_on = tmp_path / "said", tmp_path / "go-on"
    large = f"head -c 4000000 /dev/zero; echo large >> {said}; until [ -e {go_on} ]; do sleep 0.01; done"
    fake_git(tmp_path / "bin", f"case $* in *small*) echo small;; *) {large};; esac", monkeypatch)

    def say(what: str) -> int:
        return len(run_git([what], cwd=b"/", timeout_s=30.0).stdout)

    with ThreadPoolExecutor() as threads:
        runs = [threads.submit(say, "large") for _ in range(2)]
        wait_until(said.exists)
        assert say("small") == len("small\n")
        with pytest.raises(EnvironmentFailure, match="another that does"):
            say("large")
        assert len(waits_s) == 1 and 0.0 < waits_s[0] <= 30.0
        assert said.read_text() == "large\n", "only one has got rid of its words"
        go_on.touch()
        assert [each.result() for each in runs] == [4_000_000] * 2


def test_records_are_taken_as_they_come_and_not_kept(repository: Make) -> None:
    git = repository({f"{number:03}": b"" for number in range(700)})
    where, long = os.fsencode(git.path), b"l" * 251
    oid = git("hash-object", "-w", "--stdin").strip()
    git(
        "update-index",
        "-z",
        "--index-info",
        stdin=b"".join(b"100644 %s\t%s%04d\0" % (oid, long, n) for n in range(2000)),
    )
    taken: list[bytes] = []
    answer = run_git(["ls-files", "-z"], cwd=where, timeout_s=30, take_record=taken.append)
    assert taken == [b"%03d" % n for n in range(700)] + [b"%s%04d" % (long, n) for n in range(2000)]
    assert (answer.returncode, answer.stdout) == (0, b"")
    # What is complained of is in the answer all the same.
    refused = run_git(["ls-files", "-z", "--wrong"], cwd=where, timeout_s=30, take_record=taken.append)
    assert refused.returncode == 129 and b"wrong" in refused.stderr and len(taken) == 2700


def test_records_without_end_and_one_without_end_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "_MOST_OUTPUT_BYTES", 1 << 22)
    for program, message in (("cat /dev/zero", "says more than 4 MiB"), ("yes", "a path of more than 1024 KiB")):
        fake_git(tmp_path / "bin", f"echo $$ > {tmp_path}/pid; exec {program}", monkeypatch)
        with pytest.raises(EnvironmentFailure, match=message):
            run_git(["ls-files"], cwd=b"/", timeout_s=30, take_record=lambda _: None)
        assert not alive(int((tmp_path / "pid").read_text()))


def test_a_million_paths_are_not_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do they wait for another git that says much."""
    monkeypatch.setattr(child, "_SMALL_OUTPUT_BYTES", 1 << 16)
    fake_git(tmp_path / "bin", "yes 12345678901234567890 | head -c 64000000 | tr '\\n' '\\0'", monkeypatch)
    counted = 0

    def count(_: bytes) -> None:
        nonlocal counted
        counted += 1

    tracemalloc.start()
    try:
        with child._Output._large:
            run_git(["ls-files"], cwd=b"/", timeout_s=60, take_record=count)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert counted == 64_000_000 // 21
    assert peak < 4 << 20


def test_whatever_the_taker_raises_git_does_not_run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path / "bin", f"echo $$ > {tmp_path}/pid; printf 'said\\0'; exec sleep 600", monkeypatch)

    def refuse(record: bytes) -> None:
        raise ValueError(record)

    with pytest.raises(ValueError, match="said"):
        run_git(["ls-files"], cwd=b"/", timeout_s=60, take_record=refuse)
    assert not alive(int((tmp_path / "pid").read_text()))


def test_output_closed_long_before_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path / "bin", "echo out; exec >&- 2>&-; sleep 0.2; exit 3", monkeypatch)
    answer = run_git(["status"], cwd=b"/", timeout_s=10)
    assert (answer.returncode, answer.stdout) == (3, b"out\n")
    fake_git(tmp_path / "bin", "exec >&- 2>&-; exec sleep 600", monkeypatch)
    with pytest.raises(GitTimedOut):
        run_git(["status"], cwd=b"/", timeout_s=0.1)


def test_with_more_descriptors_than_select_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand clients are connected."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 1200:
        pytest.skip(f"this system gives {hard} descriptors at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    fake_git(tmp_path / "bin", "echo out; exec >&- 2>&-; sleep 0.2; exit 3", monkeypatch)
    held = [os.open("/", os.O_RDONLY) for _ in range(1100)]
    try:
        assert run_git(["status"], cwd=b"/", timeout_s=10).returncode == 3
    finally:
        for fd in held:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_running_children_can_be_ended_from_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_until: WaitUntil
) -> None:
    fake_git(tmp_path / "bin", f"echo $$ > {tmp_path}/pid; exec sleep 600", monkeypatch)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(run_git(["status"], cwd=b"/", timeout_s=100).returncode))
    thread.start()
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    end_running_children()
    thread.join(60)
    assert codes == [-15]


def test_what_cannot_be_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EnvironmentFailure, match="gone cannot be entered: No such file or directory"):
        run_git(["status"], cwd=os.fsencode(tmp_path / "gone"), timeout_s=1)
    (tmp_path / ".gitconfig").write_text("[trace2]\n\tnormalTarget = relative\n")  # of which git warns first
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(EnvironmentFailure, match=r"gone cannot be entered: No such file or directory$"):
        run_git(["status"], cwd=os.fsencode(tmp_path / "here\nor gone"), timeout_s=1)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitMissing):
        run_git(["status"], cwd=b"/", timeout_s=1)


def test_the_version_is_asked_again_when_git_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_git(tmp_path / "bin", "echo git version 9.9.1", monkeypatch)
    assert git_version() == "9.9.1"
    fake_git(tmp_path / "bin", "echo git version 9.9.2", monkeypatch)
    os.utime(tmp_path / "bin/git", ns=(1, 1))
    assert git_version() == "9.9.2"


def test_what_git_says_of_itself_does_not_wait_for_the_user_s_configuration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which may lie on a mount that hangs. Nobody opens the other end of a FIFO, either."""
    for name in (".gitconfig", ".config/git/config"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        os.mkfifo(tmp_path / name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    for known in (child._read_version, child._git_programs, _system_config_file):
        known.cache_clear()
    assert git_version()
    assert system_config_file().endswith(b"gitconfig")
    with pytest.raises((EnvironmentFailure, GitTimedOut)):
        run_git(["config", "--list"], cwd=b"/", timeout_s=1.5)
