"""Must show: whatever a user or a peer gets wrong is one clear line, the right exit code, and harms nobody."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.wire.rpc import FAILED, MALFORMED, UNKNOWN_METHOD, USAGE, Decoder, RemoteError, Response, encode_request
from tests.scenarios.commands import WITHOUT_PRIVILEGE, Gitwatch
from tests.zoo.commands import Git, judge, new_repository
from tests.zoo.daemon import Client, Daemon

USAGE_ERRORS = [
    ([], "which command?"),
    (["nonsense"], "no command 'nonsense'"),
    (["statsu"], "no command 'statsu'"),
    (["--nonsense"], "no option '--nonsense'"),
    (["--state-dir"], "--state-dir needs a value"),
    (["status", "--nonsense"], "no option '--nonsense' of `gitwatch status`"),
    (["status", "-x"], "no option '-x'"),
    (["status", "--json=yes"], "--json takes no value"),
    (["status", "--json", "--jsonl"], "--json and --jsonl exclude each other"),
    (["status", "--json", "--porcelain=v2"], "exclude each other"),
    (["status", "--no-wait", "--verify"], "exclude each other"),
    (["status", "--no-wait", "--direct"], "exclude each other"),
    (["status", "-z"], "-z goes with --porcelain=v2"),
    (["status", "--porcelain"], "--porcelain needs a value"),
    (["status", "--porcelain=v1"], "no porcelain format 'v1'"),
    (["status", "--porcelain=v2", ".", "."], "answers about one PATH"),
    (["status", "--jobs", "many"], "--jobs needs a whole number"),
    (["status", "--jobs=-1"], "--jobs needs a whole number"),
    (["status", "--jobs"], "--jobs needs a value"),
    (["status", "--timeout", "0"], "--timeout needs a number of seconds above 0"),
    (["status", "--timeout=nan"], "--timeout needs a number"),
    (["status", "--timeout=1e300"], "--timeout needs a number"),
    (["status", ""], "a PATH is empty"),
    (["roots"], "needs one of: add, rm, list"),
    (["roots", "drop"], "no command 'roots drop'"),
    (["roots", "add"], "`gitwatch roots add` needs a PATH"),
    (["roots", "add", "a", "b"], "takes no 'b'"),
    (["roots", "add", "--json", "a"], "no option '--json'"),
    (["roots", "rm"], "needs a PATH"),
    (["roots", "list", "x"], "takes no 'x'"),
    (["refresh", "--timeout", "soon"], "--timeout needs a number"),
    (["verify", "--timeout="], "--timeout needs a number"),
    (["trust"], "needs a PATH"),
    (["trust", "a", "b"], "takes no 'b'"),
    (["doctor", "x"], "takes no 'x'"),
    (["daemon"], "needs one of: start, stop, restart, status, logs"),
    (["daemon", "dance"], "no command 'daemon dance'"),
    (["daemon", "start", "x"], "takes no 'x'"),
    (["daemon", "stop", "--force"], "no option '--force'"),
    (["help", "nonsense"], "no command or topic 'nonsense'"),
    (["help", "a", "b", "c"], "takes no 'c'"),
]


@pytest.mark.parametrize(
    ("arguments", "reason"), USAGE_ERRORS, ids=[" ".join(arguments) or "nothing" for arguments, _ in USAGE_ERRORS]
)
def test_usage(gitwatch: Gitwatch, arguments: list[str], reason: str) -> None:
    done = gitwatch(*arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    first, *hint = done.stderr.decode().splitlines()
    assert first.startswith("gitwatch: ") and reason in first and len(hint) <= 1
    assert not gitwatch.state.exists(), "nothing was started for it"


def test_what_the_daemon_itself_takes(daemon: Daemon, gitwatch: Gitwatch) -> None:
    for arguments, code, text in (
        (["--nonsense"], 2, "gitwatchd: unknown argument --nonsense"),
        (["--state-dir"], 2, "gitwatchd: unknown argument --state-dir"),
        (["status"], 2, "gitwatchd: unknown argument status"),
        (["--state-dir", "/proc/nowhere"], 1, "gitwatchd: cannot make /proc/nowhere"),
        (["--state-dir", "/dev/null"], 1, "gitwatchd: /dev/null is no directory"),
    ):
        done = subprocess.run([sys.executable, "-m", "gitwatchd", *arguments], capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (code, b"")
        assert done.stderr.decode().splitlines()[0].startswith(text)
    for arguments, start in ((["--version"], b"gitwatchd "), (["--help"], b"usage: gitwatchd ")):
        done = subprocess.run([sys.executable, "-m", "gitwatchd", *arguments], capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(start)


def test_places_that_are_not_there_or_not_repositories(
    gitwatch: Gitwatch, daemon: Daemon, repository: Callable[..., Git], tmp_path: Path
) -> None:
    """One line that names the place, and exit 1; the others of the same request are answered."""
    git = repository({"a": b"1\n"})
    missing, plain, file = tmp_path / "missing", tmp_path / "plain", tmp_path / "file"
    plain.mkdir()
    file.write_bytes(b"")
    for arguments, place, reason in (
        (["status", missing], missing, "no such file"),
        (["status", "--json", missing], missing, "no such file"),
        (["status", "--porcelain=v2", missing], missing, "no such file"),
        (["status", "--porcelain=v2", plain], plain, "not a git repository"),
        (["refresh", missing], missing, "no such file"),
        (["verify", missing], missing, "no such file"),
        (["trust", missing], missing, "no such file"),
        (["trust", plain], plain, "not a git repository"),
        (["status", file], file, "a file that lies in no repository"),
        (["unsaved", file], file, "a file that lies in no repository"),
        (["branches", file], file, "a file that lies in no repository"),
        (["status", "--direct", missing], missing, "no such file"),
        (["status", "--direct", file], file, "a file that lies in no repository"),
        (["status", "--direct", "--json", missing], missing, "no such file"),
        (["roots", "add", missing], missing, "no such file"),
        (["roots", "add", file], file, "not a directory"),
        (["roots", "rm", missing], missing, "not a root"),
    ):
        done = gitwatch(*arguments)
        assert (done.returncode, 1 <= done.stderr.count(b"\n") <= 2) == (1, True), (arguments, done)
        first = done.stderr.decode().splitlines()[0]
        assert str(place) in first and reason in first.lower(), first
        assert done.stdout in (b"", b"[]\n")
    for direct in ([], ["--direct"]):
        done = gitwatch("status", "--json", *direct, missing, git.path)
        assert [r["path"] for r in json.loads(done.stdout)] == [str(git.path)]
        assert done.returncode == 1 and done.stderr.count(b"\n") <= 2
    assert gitwatch("roots", "list").stdout.count(b"\n") <= 2, "the directory of the file is watched for nobody"
    # A directory without repositories is no failure; saying nothing at all would be.
    done = gitwatch("status", plain)
    assert done.returncode == 0 and done.stdout + done.stderr != b""
    assert gitwatch.porcelain(git.path) == judge(git.path)


def test_what_may_not_be_read(gitwatch: Gitwatch, repository: Callable[..., Git], tmp_path: Path) -> None:
    """Without root's privilege: one line for each, exit 1, and the rest is answered."""
    root = tmp_path / "root"
    good, index, whole, inside = (repository({"a": b"1\n"}, f"root/{n}") for n in ("good", "index", "whole", "inside"))
    (inside.path / "dir").mkdir()
    (inside.path / "dir/file").write_bytes(b"")
    locked = [index.path / ".git/index", whole.path / ".git", inside.path / "dir", root / "no-repository"]
    locked[-1].mkdir()
    gitwatch.before = WITHOUT_PRIVILEGE
    modes = [path.stat().st_mode for path in locked]
    for path in locked:
        path.chmod(0)
    try:
        done = gitwatch("status", "--json", root)
        reports = {r["name"]: r for r in json.loads(done.stdout)}
        assert reports["good"]["state"] == "fresh"
        assert reports["index"]["state"] == "failed" and "index" in reports["index"]["reason"]
        assert "ermission denied" in reports["index"]["reason"]
        # git warns of a directory that it cannot open, and answers; so its answer counts.
        assert reports["inside"]["state"] == "fresh"
        assert (done.returncode, b"Traceback" in done.stderr) == (1, False)
        assert len([line for line in done.stderr.splitlines() if line.startswith(b"gitwatch: ")]) <= 2
        done = gitwatch("status", "--porcelain=v2", "-z", index.path)
        assert (done.returncode, done.stdout) == (1, b"") and b"ermission denied" in done.stderr
        done = gitwatch("status", whole.path)
        assert done.returncode == 1 and str(whole.path).encode() in done.stdout + done.stderr
        assert gitwatch.porcelain(good.path) == judge(good.path)
        doctor = gitwatch("doctor")
        assert doctor.returncode == 1 and b"no-repository" in doctor.stdout
    finally:
        for path, mode in zip(locked, modes, strict=True):
            path.chmod(mode)
    for git in (good, index, whole, inside):
        assert gitwatch.porcelain(git.path) == judge(git.path)
    assert gitwatch("verify", root).returncode == 0


def ask_raw(daemon: Daemon, data: bytes) -> list[Response]:
    """Send these bytes; the responses until the daemon hangs up."""
    decoder = Decoder(1 << 20)
    found: list[Response] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
        peer.settimeout(20)
        peer.connect(daemon.places.socket)
        peer.sendall(data)
        while received := peer.recv(1 << 16):
            found += [m for m in decoder.feed(received) if isinstance(m, Response)]
    return found


@pytest.mark.parametrize(
    "frame",
    [
        b"\xc1",
        b"GET / HTTP/1.0\r\n\r\n",
        b"\x00\x00\x00\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\x91" * 1000 + b"\xc0",
        b"\x94\x00\x01\xa6status",
        b"\x94\x00\x01\xdb\xff\xff\xff\xff" + b"x" * (1 << 20),
        b"\x94\x07\x01\xa6status\x90",
        b"\x94\x00\x01\x02\x90",
        b"\x94\x00\x01\xa6status\x80",
    ],
    ids=lambda frame: frame[:12].hex(),
)
def test_a_malformed_frame_ends_that_connection_only(
    daemon: Daemon, client: Client, repository: Callable[..., Git], frame: bytes
) -> None:
    git = repository({"a": b"1\n"})
    if frame == b"\x94\x00\x01\xa6status":  # cut off: nothing is wrong with it until the peer leaves
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.connect(daemon.places.socket)
            peer.sendall(frame)
    else:
        (response,) = ask_raw(daemon, frame)
        assert response.error is not None and response.error[0] == MALFORMED
    # A good request before the garbage has its answer.
    responses = ask_raw(daemon, encode_request(5, "roots.list", []) + b"\xc1")
    assert [(r.id, r.error is None) for r in responses] == [(5, True), (None, False)]
    assert client.entries(git.path).stdout == judge(git.path)


def refusal(client: Client, method: str, params: list[Any]) -> RemoteError | None:
    try:
        client.call(method, *params)
    except RemoteError as refused:
        return refused
    return None


def test_every_bad_request_is_refused_in_two_lines(client: Client, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    path = str(git.path)
    for method, params, code in (
        ("nonsense", [], UNKNOWN_METHOD),
        ("x" * 10_000, [], UNKNOWN_METHOD),
        ("status", ["not a list"], USAGE),
        ("status", [["relative"]], USAGE),
        ("status", [[1]], USAGE),
        ("status", [["/with\0nul"]], USAGE),
        ("status", [[path], "no map"], USAGE),
        ("status", [[path], {"wait_s": "long"}], USAGE),
        ("status", [[path], {"wait_s": True}], USAGE),
        ("status", [[path], {"wait_s": float("nan")}], USAGE),
        ("status", [[path], {"fields": "oid"}], USAGE),
        ("status", [[path], {"jobs": 1.5}], USAGE),
        ("status", [[path], {"verify": "yes"}], USAGE),
        ("render", [], USAGE),
        ("render", ["nonsense", {}], USAGE),
        ("render", [["status"], {}], USAGE),
        ("render", ["status", {"paths": "x"}], USAGE),
        ("render", ["status", {"width": "wide"}], USAGE),
        ("entries", [], USAGE),
        ("entries", [None], USAGE),
        ("entries", [path, {"cwd": "relative"}], USAGE),
        ("entries", ["/nowhere/at/all"], FAILED),
        ("roots.add", [], USAGE),
        ("roots.add", ["relative"], USAGE),
        ("roots.add", ["/nowhere/at/all"], FAILED),
        ("roots.add", [path, {"include_ignored": 1}], USAGE),
        ("roots.remove", [], USAGE),
        ("roots.remove", ["/nowhere/at/all"], FAILED),
        ("refresh", [["relative"]], USAGE),
        ("refresh", [["/nowhere/at/all"]], FAILED),
        ("verify", ["x"], USAGE),
        ("trust", [], USAGE),
        ("trust", ["/nowhere/at/all"], FAILED),
        ("trust", ["/"], FAILED),
        ("subscribe", ["x"], USAGE),
        ("subscribe", [{"paths": ["relative"]}], USAGE),
        ("subscribe", [{"settle_s": "soon"}], USAGE),
        ("subscribe", [{"settle_s": float("nan")}], USAGE),
        ("subscribe", [{"method": 5}], USAGE),
        ("subscribe", [{"args": "x"}], USAGE),
    ):
        refused = refusal(client, method, params)
        assert refused is not None and refused.code == code, (method, params, refused)
        assert len(str(refused)) < 1000 and str(refused).count("\n") <= 1
    assert client.entries(path).stdout == judge(git.path)


def test_a_client_that_leaves_or_never_reads_harms_nobody(
    daemon: Daemon, client: Client, repository: Callable[..., Git]
) -> None:
    git = repository({f"f{n}": b"1\n" for n in range(500)})
    for file in git.path.glob("f*"):
        file.write_bytes(b"22\n")
    deaf = [socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) for _ in range(4)]
    try:
        for peer in deaf:
            peer.connect(daemon.places.socket)
            peer.setblocking(False)
            sent = 0
            frame = b"".join(encode_request(n, "entries", [str(git.path)]) for n in range(200))
            while sent < len(frame):
                try:
                    sent += peer.send(frame[sent:])
                except BlockingIOError:
                    break
        assert client.entries(git.path).stdout == judge(git.path)
    finally:
        for peer in deaf:
            peer.close()
    assert client.entries(git.path).stdout == judge(git.path)


def test_a_full_disk_or_a_closed_pipe_at_the_other_end(gitwatch: Gitwatch, repository: Callable[..., Git]) -> None:
    git = repository({"a": b"1\n"})
    gitwatch.reports(git.path)
    command = [sys.executable, "-m", "gitwatch", "--state-dir", str(gitwatch.state), "status", "--json", str(git.path)]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and done.stderr == b"gitwatch: cannot write the answer: No space left on device\n"
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (-13, b"")


def test_a_message_that_is_too_long_is_refused(daemon: Daemon, client: Client) -> None:
    with pytest.raises((RemoteError, DaemonUnavailable)):
        client.call("status", ["/x" * 1_000_000], {})
    with daemon.connect() as other:
        assert other.call("roots.list") == []


def test_fields_that_are_no_names_are_left_out(client: Client, repository: Callable[..., Git]) -> None:
    git = repository({"f": b""})
    for fields in ([[[]]], [{}], [7, None, "branch"]):
        (report,) = client.call("status", [str(git.path)], {"fields": fields})["repos"]
        assert report.keys() <= {"path", "branch"}


def test_doctor_tells_of_what_has_no_name_in_utf_8(client: Client, tmp_path: Path) -> None:
    git = new_repository(tmp_path / "place/x", {"f": b""})
    top = os.fsencode(tmp_path) + b"/place/caf\xe9"
    git.path.rename(os.fsdecode(top))
    with open(top + b"/.git/config", "ab") as config:
        config.write(b"[bad\n")
    assert client.reports(tmp_path / "place")[0]["state"] == "failed"
    assert any("caf" in problem["what"] for problem in client.call("doctor")["problems"])
