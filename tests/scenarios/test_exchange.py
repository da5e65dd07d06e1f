"""--fetch, --pull-safe, --push-safe: the user's git, which asks nobody and never hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from gitwatch.exchange import classify

from tests.scenarios.commands import Gitwatch, runs
from tests.zoo.commands import Git, new_repository
from tests.zoo.nursery import write


class Place:
    def __init__(self, directory: Path, gitwatch: Gitwatch) -> None:
        self.directory = directory
        self.gitwatch = gitwatch
        self.origin = new_repository(directory / "origin", {"a": b"a\n"})
        self.origin("config", "receive.denyCurrentBranch", "ignore")
        self.src = directory / "src"
        self.src.mkdir()

    def clone(self, name: str) -> Git:
        Git(self.src)("clone", "-q", "../origin", name)
        return Git(self.src / name)

    def advance(self) -> None:
        self.origin("commit", "-q", "--allow-empty", "-m", "news")

    def report(self, *options: str | Path, code: int = 0) -> dict[str, Any]:
        done = self.gitwatch("status", "--json", *options)
        assert done.returncode == code, done
        (report,) = json.loads(done.stdout)
        assert isinstance(report, dict)
        return report


@pytest.fixture
def place(tmp_path: Path, gitwatch: Gitwatch) -> Place:
    return Place(tmp_path, gitwatch)


def commit(git: Git) -> bytes:
    git("commit", "-q", "--allow-empty", "-m", "ours")
    return git("rev-parse", "HEAD")


def outcome(report: dict[str, Any]) -> str:
    return " ".join(w for w in ("fetch_failed", "pull_failed", "push_failed", "pulled", "pushed") if report[w])


def test_fetch_sees_what_is_new_and_runs_the_users_hooks(place: Place) -> None:
    git = place.clone("repo")
    place.advance()
    assert place.report("src")["upstream"]["behind"] == 0
    report = place.report("--fetch", "src")
    assert (report["upstream"]["behind"], outcome(report), report["remote_reason"]) == (1, "", None)
    assert time.time() - report["fetched_at"] < 60
    assert b"repo" in place.gitwatch("status", "-f", "-w", "behind > 0", "src").stdout
    assert git("rev-parse", "HEAD") != place.origin("rev-parse", "HEAD")


def test_every_remote_is_fetched_but_those_the_user_excepts(place: Place) -> None:
    git = place.clone("repo")
    for name in ("second", "third"):
        Git(place.directory)("clone", "-q", "origin", name)
        git("remote", "add", name, f"../../{name}")
    git("config", "remote.third.skipFetchAll", "true")
    assert outcome(place.report("-f", "src")) == ""
    assert git("rev-parse", "refs/remotes/second/main") and git.ask("rev-parse", "-q", "--verify", "third/main").exit


def test_pull_safe_moves_only_what_is_clean_and_behind(place: Place) -> None:
    behind, dirty, diverged, ahead = map(place.clone, ("behind", "dirty", "diverged", "ahead"))
    write(dirty.path / "new", b"")
    commit(diverged)
    log = behind.path / "hooked"
    write(behind.path / ".git/hooks/post-merge", b"#!/bin/sh\ntouch hooked\n")
    (behind.path / ".git/hooks/post-merge").chmod(0o755)
    place.advance()
    before = [git("rev-parse", "HEAD") for git in (dirty, diverged, ahead)]
    ahead("fetch", "-q")
    ahead("merge", "-q", "--ff-only", "@{u}")
    ours = commit(ahead)
    done = place.gitwatch("status", "-P", "--json", "src")
    assert done.returncode == 0
    found = {report["name"]: outcome(report) for report in json.loads(done.stdout)}
    assert found == {"behind": "pulled", "dirty": "", "diverged": "", "ahead": ""}
    assert behind("rev-parse", "HEAD") == place.origin("rev-parse", "HEAD") and log.exists()
    assert [dirty("rev-parse", "HEAD"), diverged("rev-parse", "HEAD")] == [before[0], diverged("rev-parse", "HEAD")]
    assert ahead("rev-parse", "HEAD") == ours != before[2]
    log.unlink()
    assert b"pulled" not in place.gitwatch("status", "--pull-safe", "src").stdout


def test_push_safe_pushes_the_branch_to_its_upstream_and_nothing_else(place: Place) -> None:
    ahead, dirty, diverged = map(place.clone, ("ahead", "dirty", "diverged"))
    place.origin("branch", "theirs")
    for git in (ahead, dirty, diverged):
        git("fetch", "-q")
        git("checkout", "-q", "-b", "theirs", "origin/theirs")
    other = ahead("rev-parse", "main")
    ahead("branch", "-f", "main")
    ours = commit(ahead)
    ahead("tag", "-a", "-m", "t", "v1")
    ahead("config", "push.followTags", "true")
    ahead("config", "push.default", "matching")
    ahead("config", "remote.origin.push", "+refs/heads/*:refs/heads/*")
    commit(dirty)
    write(dirty.path / "new", b"")
    theirs = place.origin("rev-parse", "theirs")
    diverged("reset", "-q", "--hard", "HEAD")
    write(ahead.path / ".git/hooks/pre-push", b"#!/bin/sh\ncat > ../../pushed\n")
    (ahead.path / ".git/hooks/pre-push").chmod(0o755)
    done = place.gitwatch("status", "--push-safe", "--json", "src")
    assert done.returncode == 0, done
    found = {report["name"]: outcome(report) for report in json.loads(done.stdout)}
    assert found == {"ahead": "pushed", "dirty": "", "diverged": ""}
    assert place.origin("rev-parse", "theirs") == ours != theirs
    assert place.origin("rev-parse", "main") == other and place.origin("tag") == b""
    assert (place.directory / "pushed").read_text().split()[0::2] == ["refs/heads/theirs", "refs/heads/theirs"]


def test_push_safe_goes_nowhere_that_git_push_would_not_go(place: Place) -> None:
    git = place.clone("repo")
    before = place.origin("rev-parse", "main")
    git("checkout", "-q", "-b", "topic", "origin/main")
    ours = commit(git)
    report = place.report("-U", "src")
    assert (outcome(report), place.origin("rev-parse", "main")) == ("", before)
    assert report["remote_reason"] == "not pushed: its upstream has another name, origin/main (see push.default)"
    assert b"not pushed: its upstream has another name" in place.gitwatch("status", "-U", "src").stdout
    git("config", "push.default", "upstream")
    git("config", "remote.pushDefault", "fork")
    report = place.report("-U", "src")
    assert (outcome(report), place.origin("rev-parse", "main")) == ("", before)
    assert report["remote_reason"] == "not pushed: git push goes to fork, its upstream is on origin"
    git("config", "--unset", "remote.pushDefault")
    assert outcome(place.report("-U", "src")) == "pushed"
    assert place.origin("rev-parse", "main") == ours


def test_pull_safe_replaces_no_ignored_file(place: Place) -> None:
    git = place.clone("repo")
    write(git.path / ".git/info/exclude", b"/local.conf\n")
    write(git.path / "local.conf", b"mine\n")
    write(place.origin.path / "local.conf", b"theirs\n")
    place.origin("add", "-f", "local.conf")
    place.origin("commit", "-qm", "news")
    report = place.report("-P", "src", code=1)
    assert outcome(report) == "pull_failed" and "would be overwritten" in report["remote_reason"]
    assert (git.path / "local.conf").read_bytes() == b"mine\n"


def test_a_push_that_is_refused_is_told_and_forces_nothing(place: Place) -> None:
    git = place.clone("repo")
    write(place.origin.path / ".git/hooks/pre-receive", b"#!/bin/sh\nexit 1\n")
    (place.origin.path / ".git/hooks/pre-receive").chmod(0o755)
    commit(git)
    before = place.origin("rev-parse", "main")
    report = place.report("-U", "src", code=1)
    assert outcome(report) == "push_failed" and report["remote_reason"]
    assert place.origin("rev-parse", "main") == before
    done = place.gitwatch("status", "-U", "src")
    assert done.returncode == 1 and b"push failed: " in done.stdout
    assert done.stdout.splitlines()[-1] == b"1 repository: 1 ahead, 1 push failed"
    # `--dirty` keeps what failed.
    assert b"repo" in place.gitwatch("status", "-U", "-d", "src").stdout


def test_pull_and_push_together(place: Place) -> None:
    commit(place.clone("ahead"))
    done = place.gitwatch("status", "-P", "-U", "-p", 'f"{name} {pulled} {pushed}"', "src")
    assert (done.returncode, done.stdout) == (0, b"ahead False True\n")


@pytest.fixture
def asking(place: Place) -> Git:
    """A repository whose remote is reached by `ssh`, which a test puts on PATH."""
    git = place.clone("repo")
    git("config", "remote.origin.url", "ssh://git@host.example/repo")
    return git


def fake(place: Place, name: str, script: str) -> Path:
    path = place.directory / "bin" / name
    write(path, f"#!/bin/sh\n{script}\n".encode())
    path.chmod(0o755)
    place.gitwatch.env["PATH"] = f"{path.parent}:{os.environ['PATH']}"
    return path


def test_nothing_asks_anybody(place: Place, asking: Git) -> None:
    said = place.directory / "said"
    fake(
        place, "ssh",
        f'(echo "$@"; env; echo SID $(cut -d" " -f6 /proc/$$/stat).; (: </dev/tty) 2>&1 && echo TTY) > {said}; '
        "echo 'git@host.example: Permission denied (publickey).' >&2; exit 255",
    )  # fmt: skip
    place.gitwatch.env |= {"SSH_ASKPASS": "/bin/false", "GIT_ASKPASS": "/bin/false", "GIT_DIR": "/nowhere"}
    report = place.report("--fetch", "src", code=1)
    assert report["remote_reason"] == "auth_needed: git@host.example: Permission denied (publickey)."
    words = said.read_text()
    assert words.startswith("-o BatchMode=yes") and "GIT_TERMINAL_PROMPT=0\n" in words and "\nGIT_ASKPASS=\n" in words
    assert "SSH_ASKPASS=" not in words and "GIT_DIR=" not in words and "\nTTY" not in words
    assert "SID " in words and f"SID {os.getsid(0)}." not in words


def test_the_users_own_ssh_command_stays(place: Place, asking: Git) -> None:
    said = place.directory / "said"
    fake(place, "my-ssh", f'echo "$@" > {said}; exit 255')
    asking("config", "core.sshCommand", "my-ssh -i key")
    place.report("--fetch", "src", code=1)
    assert said.read_text().startswith("-i key -o BatchMode=yes")


_TIME_PASSES_ONCE_SSH_RUNS = """
import pathlib, subprocess, time
tries, wait = pathlib.Path({tries!r}), subprocess.Popen.communicate
def started():
    return len(tries.read_text().split()) if tries.exists() else 0
known = started()
def communicate(self, input=None, timeout=None):
    global known
    if "fetch" in self.args and timeout is not None:
        until = time.monotonic() + timeout
        while started() == known and self.poll() is None and time.monotonic() < until:
            time.sleep(0.005)
        known, timeout = started(), 0.1
    return wait(self, input, timeout)
subprocess.Popen.communicate = communicate
"""


def test_a_host_that_hangs_costs_its_time_once_and_nothing_stays_behind(place: Place, asking: Git) -> None:
    for number in range(5):
        git = place.clone(f"more{number}")
        git("config", "remote.origin.url", "ssh://git@host.example/repo")
    tries = place.directory / "tries"
    fake(place, "ssh", f"echo $$ >> {tries}; sleep 600")
    config = Path(os.fsdecode(place.gitwatch.places.config))
    write(config, b"[fetch]\njobs = 1\ntimeout_s = 60\n")
    write(place.directory / "patch/sitecustomize.py", _TIME_PASSES_ONCE_SSH_RUNS.format(tries=str(tries)).encode())
    place.gitwatch.env["PYTHONPATH"] = f"{place.directory}/patch"
    done = place.gitwatch("status", "--fetch", "--json", "src")
    assert done.returncode == 1
    reasons = [report["remote_reason"] for report in json.loads(done.stdout)]
    assert reasons[0] == "timed_out: git fetch did not end within 60 s"
    assert all("host.example was not reachable; not tried again for 1 min" in reason for reason in reasons[1:])
    (pid,) = tries.read_text().split()
    assert not runs(int(pid))
    # The next command knows, too; whoever names one repository is obeyed, and the pause grows.
    place.gitwatch("status", "--fetch", "src")
    assert len(tries.read_text().split()) == 1
    place.gitwatch("status", "--fetch", "src/more1")
    assert len(tries.read_text().split()) == 2
    hosts = (
        json.loads((place.gitwatch.state / "hosts.json").read_text())
        if (place.gitwatch.state / "hosts.json").exists()
        else json.loads(Path(os.fsdecode(place.gitwatch.places.state_dir + b"/hosts.json")).read_text())
    )
    assert hosts["host.example"]["failures"] == 2


def _refuse(server: socket.socket) -> None:
    """Every request wants a password."""
    with suppress(OSError):
        while True:
            connection, _ = server.accept()
            connection.settimeout(10)
            connection.recv(65536)
            connection.sendall(
                b"HTTP/1.1 401 no\r\nWWW-Authenticate: Basic realm=x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            )
            connection.close()


def test_a_password_that_is_asked_for(place: Place) -> None:
    git = place.clone("repo")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        git("config", "remote.origin.url", f"http://me:s3cret@127.0.0.1:{port}/repo")
        threading.Thread(target=_refuse, args=(server,), daemon=True).start()
        done = place.gitwatch("status", "--fetch", "--json", "src")
    (report,) = json.loads(done.stdout)
    if "is not a git command" in report["remote_reason"] or "remote-http" in report["remote_reason"]:
        pytest.skip("this git has no HTTP")
    assert report["remote_reason"].startswith("auth_needed: ")
    assert b"s3cret" not in done.stdout + done.stderr
    state = Path(os.fsdecode(place.gitwatch.places.state_dir))
    assert "s3cret" not in (state / "hosts.json").read_text()


def test_a_held_lock_is_a_reason(place: Place) -> None:
    git = place.clone("repo")
    place.advance()
    git("pack-refs", "--all")
    write(git.path / ".git/refs/remotes/origin/main.lock", b"")
    report = place.report("--fetch", "src", code=1)
    assert outcome(report) == "fetch_failed" and "lock" in report["remote_reason"]


def test_an_interrupted_fetch_leaves_nothing_behind(
    place: Place, asking: Git, wait_until: Callable[..., object]
) -> None:
    pids = place.directory / "pids"
    fake(place, "ssh", f"echo $$ >> {pids}; exec sleep 600")
    process = place.gitwatch.start("status", "--fetch", "src")
    wait_until(lambda: pids.exists() and pids.read_text().strip(), what="ssh")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    wait_until(lambda: not runs(int(pids.read_text())), what="the end of ssh")


def test_branches_fetch_prunes(place: Place) -> None:
    place.origin("branch", "side")
    git = place.clone("repo")
    git("branch", "mine", "origin/side")
    place.origin("branch", "-D", "side")
    assert b"gone" not in place.gitwatch("branches", "src/repo").stdout
    assert place.gitwatch("branches", "-f", "-w", "gone", "-p", "branch", "src/repo").stdout == b"mine\n"
    git("config", "remote.origin.url", "/nowhere")
    done = place.gitwatch("branches", "--fetch", "-p", "branch", "src/repo")
    assert (done.returncode, done.stdout) == (1, b"main\nmine\n") and b"fetch failed" in done.stderr


@pytest.mark.parametrize(("option", "other"), [("-f", "--no-wait"), ("-P", "--direct"), ("-U", "--metadata-only")])
def test_what_cannot_go_together(place: Place, option: str, other: str) -> None:
    assert place.gitwatch("status", option, other, "src").returncode == 2


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (b"fatal: could not read Username for 'https://github.com': terminal prompts disabled", "auth_needed"),
        (b"remote: x\nfatal: Authentication failed for 'https://me:pw@h/r/'", "auth_needed"),
        (b"fatal: Authentication failed for 'https://me:x@pw@h/r/'", "auth_needed"),
        (b"fatal: Authentication failed for 'https://me:x/pw@h/r/'", "auth_needed"),
        (b"Host key verification failed.\nfatal: Could not read from remote repository.", "auth_needed"),
        (b"fatal: unable to access 'https://h/r': Could not resolve host: h", "unreachable"),
        (b"ssh: connect to host h port 22: Connection refused\nfatal: Could not read", "unreachable"),
        (b"fatal: '/nowhere' does not appear to be a git repository", "failed"),
        (b"", "failed"),
    ],
)
def test_kinds(said: bytes, kind: str) -> None:
    trouble = classify(said)
    assert trouble.kind == kind and "pw" not in str(trouble) and "\n" not in str(trouble)


def test_unsaved_learns_first_what_the_remotes_have(place: Place) -> None:
    git = place.clone("repo")
    commit(git)
    assert b"1 commit on no remote" in place.gitwatch("unsaved", "src").stdout
    git("push", "-q", "origin", "HEAD:refs/heads/main")
    git("update-ref", "-d", "refs/remotes/origin/main")
    assert place.gitwatch("unsaved", "src").returncode == 1
    done = place.gitwatch("unsaved", "--fetch", "src")
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(b"1 repository: nothing exists only")
    place.origin.path.rename(place.origin.path.with_name("away"))
    for form in ([], ["--json"]):
        done = place.gitwatch("unsaved", "-f", *form, "src")
        assert done.returncode == 1
        assert done.stderr.startswith(f"gitwatch: {git.path}: fetch failed: ".encode())


def test_groups_are_resolved_by_the_daemon(place: Place) -> None:
    for name in ("api-one", "api-two", "web"):
        place.clone(name)
    config = Path(os.fsdecode(place.gitwatch.places.config))
    write(config, b'[groups]\napi = ["api-*"]\n')
    assert place.gitwatch("status", "src").returncode == 0
    assert place.gitwatch("status", "-p", "name", "@api").stdout == b"api-one\napi-two\n"
    assert place.gitwatch("status", "-p", "name", "@api", "src/web").stdout == b"api-one\napi-two\nweb\n"
    assert b"2 repositories" in place.gitwatch("status", "@api").stdout
    assert [repo["name"] for repo in json.loads(place.gitwatch("unsaved", "--json", "@api").stdout)] == [
        "api-one", "api-two",
    ]  # fmt: skip
    done = place.gitwatch("status", "@nosuch")
    assert done.returncode == 2 and b"there is no group 'nosuch'" in done.stderr and b"known: @api" in done.stderr
    assert b"2 repositories" in place.gitwatch("status", "--direct", "@api").stdout
    assert place.gitwatch("status", "--porcelain=v2", "@api").returncode == 2
