"""What there is not enough of: disk, descriptors, room in a pipe; and a thousand clients."""

from __future__ import annotations

import os
import resource
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from gitwatchd.wire.rpc import MAX_RESPONSE_BYTES, Decoder, Response, encode_request
from tests.scenarios.commands import for_git_alone
from tests.zoo.commands import Git, judge
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

TOP = Path(__file__).parents[2]
CLIENTS = 1000


def test_a_full_disk_costs_no_answer_and_no_decision(repository: Callable[..., Git], tmp_path: Path) -> None:
    namespace = ("unshare", "--user", "--map-root-user", "--mount")
    if subprocess.run([*namespace, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system lets nobody make a mount namespace")
    git = repository({"a": b"1\n"}, "root/r")
    state = tmp_path / "state"
    state.mkdir()
    script = 'mount -t tmpfs -o size=400k none "$1" && exec "$2" -m tests.scenarios.full_disk "$1" "$3"'
    done = subprocess.run(
        [*namespace, "sh", "-c", script, "sh", str(state), sys.executable, str(git.path)],
        cwd=TOP, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < CLIENTS + 200:
        pytest.skip(f"this system gives {hard} descriptors at most")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, CLIENTS + 200), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def ask_at_once(daemon: Daemon, frame: bytes, count: int) -> list[tuple[float, Response]]:
    """`count` clients connect, then ask this, each once; the seconds that each waited, and its answer."""
    answers: list[tuple[float, Response]] = []
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        peers = []
        for _ in range(count):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            peer.settimeout(60.0)
            peer.connect(daemon.places.socket)
            peers.append(peer)
        began = time.monotonic()
        for peer in peers:
            selector.register(peer, selectors.EVENT_READ, Decoder(MAX_RESPONSE_BYTES))
            peer.sendall(frame)
        while len(answers) < count:
            ready = selector.select(60.0)
            assert ready, f"{len(answers)} of {count} were answered"
            for key, _ in ready:
                data = os.read(key.fd, 1 << 16)
                assert data, "the daemon hung up"
                for message in key.data.feed(data):
                    assert isinstance(message, Response)
                    answers.append((time.monotonic() - began, message))
    return answers


@pytest.fixture
def frugal_daemon(start_daemon: Callable[..., Daemon], many_descriptors: None) -> Daemon:
    """Started with the few descriptors that a login gives."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        return start_daemon()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_clients_at_once(frugal_daemon: Daemon, repository: Callable[..., Git]) -> None:
    git = repository({f"f{n}": b"1\n" for n in range(50)})
    with frugal_daemon.connect() as other:
        assert other.entries(git.path).stdout == judge(git.path)
        (git.path / "f1").write_bytes(b"22\n")
        answers = ask_at_once(frugal_daemon, encode_request(1, "status", [[str(git.path)]]), CLIENTS)
        assert {response.error for _, response in answers} == {None}
        reports = [response.result["repos"][0] for _, response in answers]
        assert {report["state"] for report in reports} == {"fresh"}
        assert {report["counts"]["unstaged"] for report in reports} == {1}
        waits = sorted(seconds for seconds, _ in answers)
        assert waits[int(0.99 * CLIENTS)] < 30.0, "for a loaded machine; 0.1 s on an idle one"
        assert other.entries(git.path).stdout == judge(git.path)


def test_out_of_descriptors_it_turns_clients_away_and_heals(daemon: Daemon, repository: Callable[..., Git]) -> None:
    plain, by_git = repository({"a": b"1\n"}, "plain"), for_git_alone(repository({"a": b"1\n"}, "by-git"))
    before = resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)
    with daemon.connect() as client, ExitStack() as stack:
        for git in (plain, by_git):
            assert client.entries(git.path).stdout == judge(git.path)
        used = len(os.listdir(f"/proc/{daemon.pid}/fd"))
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, (used + 8, before[1]))
        turned_away = 0
        for _ in range(30):
            peer = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            peer.settimeout(20.0)
            peer.connect(daemon.places.socket)
            try:
                peer.sendall(encode_request(1, "roots.list", []))
                turned_away += not peer.recv(1 << 16)
            except (ConnectionResetError, BrokenPipeError):
                turned_away += 1
        assert 10 < turned_away < 30
        for git in (plain, by_git):
            (git.path / "a").write_bytes(b"22\n")
            answer = client.entries(git.path, wait_s=20)
            # Not one may be left to open the file with, or for a git child's pipes.
            assert answer.state == "failed" or (answer.state, answer.stdout) == ("fresh", judge(git.path))
        resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE, before)
        for git in (plain, by_git):
            wait_until(lambda git=git: client.entries(git.path).state == "fresh", what="it heals")  # type: ignore[misc]
            assert client.entries(git.path).stdout == judge(git.path)
    with daemon.connect() as other:
        assert other.entries(by_git.path).stdout == judge(by_git.path)


def test_a_log_that_nobody_reads_holds_nobody(repository: Callable[..., Git], tmp_path: Path) -> None:
    """In the foreground, into a pager in which somebody stopped."""
    git = repository({"a": b"1\n"})
    read, write = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "gitwatchd", "--foreground", "--state-dir", str(tmp_path / "state")],
        cwd="/", stdin=subprocess.DEVNULL, stdout=write, stderr=write,
    )  # fmt: skip
    os.close(write)
    try:
        address = tmp_path / "state/run/gitwatchd.sock"
        wait_until(address.exists)
        client = wait_until(lambda: _connected(address))
        for _ in range(3000):  # a line in the log for each
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
                peer.settimeout(20.0)
                peer.connect(str(address))
                peer.sendall(b"\xc1")
                while peer.recv(1 << 16):
                    pass
        assert client.entries(git.path).stdout == judge(git.path)
        client.close()
        process.terminate()
        assert process.wait(60.0) == 0
    finally:
        process.kill()
        process.wait()
        os.close(read)


def _connected(address: Path) -> Client | None:
    from gitwatchd.errors import DaemonUnavailable

    try:
        return Client(os.fsencode(address))
    except DaemonUnavailable:
        return None


def test_idle_it_sleeps(daemon: Daemon, repository: Callable[..., Git]) -> None:
    """Nothing happens, nobody asks: no thread wakes. For a second only, because other tests make files in the directory
    above this HOME, which is watched."""
    git = repository({"a": b"1\n"})
    with daemon.connect() as client:
        assert client.entries(git.path).stdout == judge(git.path)

        def wakeups() -> int:
            total = 0
            for task in Path(f"/proc/{daemon.pid}/task").iterdir():
                lines = (task / "status").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("voluntary_ctxt_switches"))
            return total

        seen: list[tuple[float, int]] = []

        def slept() -> bool:
            now = time.monotonic()
            seen.append((now, wakeups()))
            past = [count for at, count in seen if at <= now - 1.0]
            return bool(past) and seen[-1][1] == past[-1]

        wait_until(slept, what="a second in which no thread of the daemon woke")
