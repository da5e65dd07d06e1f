"""File systems whose server dies: nothing hangs, nothing is claimed, and all of it heals."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from gitwatchd.daemon.remote import LONG_S, PROBE_S
from gitwatchd.wire.rpc import RemoteError
from tests.scenarios.commands import WITHOUT_PRIVILEGE
from tests.zoo import namespace
from tests.zoo.commands import Git, new_repository
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until

Start = Callable[..., Daemon]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / "mnt").mkdir()
    return tmp_path / "mnt"


# ---- unmounted and mounted again


def agrees(client: Client, daemon: Daemon, path: Path) -> bool:
    """With git's answer inside the daemon's namespaces."""
    try:
        answer = client.entries(path)
    except RemoteError:
        return False
    expected = namespace.judge_inside(daemon.pid, str(path))
    return (answer.state, answer.stdout) == ("fresh", expected.stdout) and expected.exit == 0


def test_a_root_is_unmounted_and_mounted_again(start_daemon: Start, tmp_path: Path, place: Path) -> None:
    namespace.require()
    origin = new_repository(tmp_path / "disk/repo", {"d/f": b"1\n"}).path.parent
    daemon = start_daemon(before=namespace.entering({}, f"mount --bind {origin} {place}"))
    repo = place / "repo"
    with daemon.connect() as client:
        assert [r["state"] for r in client.reports(place)] == ["fresh"]
        for turn in range(3):
            assert agrees(client, daemon, repo)
            namespace.inside(daemon.pid, f"umount {place}")
            assert [r["state"] for r in client.reports(place)] in ([], ["gone"])
            (origin / "repo/d/f").write_bytes(b"%d: while it was away\n" % turn)
            namespace.inside(daemon.pid, f"mount --bind {origin} {place}")
            wait_until(lambda: [r["state"] for r in client.reports(repo)] == ["fresh"])
            assert agrees(client, daemon, repo)
            (origin / "repo/d/f").write_bytes(b"%d: after\n" % turn)
            assert agrees(client, daemon, repo)


# ---- closed and opened


def test_directories_and_the_root_are_closed_and_opened_again(start_daemon: Start, tmp_path: Path) -> None:
    git = new_repository(tmp_path / "root/repo", {"d/e/f": b"1\n", "g": b"1\n"})
    (git.path / "u").mkdir()
    (git.path / "u/n").write_bytes(b"")
    daemon = start_daemon(before=WITHOUT_PRIVILEGE)

    def judged() -> tuple[int, bytes]:
        done = subprocess.run(
            [*WITHOUT_PRIVILEGE, "/usr/bin/env", "git", "-C", str(git.path), "--no-optional-locks", "status",
             "--porcelain=v2", "--branch", "--show-stash", "-z"], capture_output=True, check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def right(client: Client) -> bool:
        answer = client.entries(git.path)
        exit_code, stdout = judged()
        if exit_code:
            return answer.state != "fresh"
        return (answer.state, answer.stdout) == ("fresh", stdout)

    with daemon.connect() as client:
        assert right(client)
        for closed in ("d/e", "d", "u", ".", "..", ".git", ".git/refs/heads"):
            directory = (git.path / closed).resolve()  # by a way on which it does not lie itself
            mode = directory.stat().st_mode & 0o777
            directory.chmod(0)
            try:
                (answer,) = [None] if closed == ".." else client.reports(git.path)
                if answer is not None:
                    assert answer["state"] != "fresh" or right(client), closed
            finally:
                directory.chmod(mode)
            assert right(client), f"{closed} opened again"
            (git.path / "d/e/f").write_bytes(closed.encode())
            (git.path / "u/n").write_bytes(closed.encode())
            assert right(client), f"{closed} opened again and edited"
            assert client.reports(git.path)[0]["watch"] == "watched", closed


def test_what_was_closed_at_first_sight_is_watched_once_it_is_open(start_daemon: Start, tmp_path: Path) -> None:
    git = new_repository(tmp_path / "repo", {"d/f": b"1\n"})
    closed = git.path / "u"
    (closed / "v").mkdir(parents=True)
    (closed / "v/n").write_bytes(b"")
    closed.chmod(0)
    daemon = start_daemon(before=WITHOUT_PRIVILEGE)
    with daemon.connect() as client:
        try:
            (report,) = client.reports(git.path)
            assert report["state"] == "fresh"
        finally:
            closed.chmod(0o755)
        assert difference(client, git.path) is None
        # Nothing but events inside of it tells of these.
        (closed / "v/n").unlink()
        assert difference(client, git.path) is None
        (closed / "v/n").write_bytes(b"")
        assert difference(client, git.path) is None
        assert client.reports(git.path)[0]["watch"] == "watched"


# ---- a dead server


class Mount:
    """A FUSE mount in the daemon's namespaces, and its server."""

    def __init__(self, daemon: Daemon, backing: Path, point: Path) -> None:
        self.daemon, self.point = daemon, point
        program = (sys.executable, "-m", "tests.zoo.fuse", str(backing), str(point))
        self.server = subprocess.Popen(
            [*namespace.joining(daemon.pid), *program],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=Path(__file__).parents[2],
        )  # fmt: skip
        assert self.server.stderr is not None
        if self._said() != b"mounted\n":
            reason = self.server.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            self.end()
            pytest.skip(f"no FUSE here: {reason}")

    def _said(self) -> bytes:
        assert self.server.stdout is not None
        return self.server.stdout.readline()

    def fall_silent(self) -> None:
        self.server.send_signal(signal.SIGUSR1)
        assert self._said() == b"silent\n"

    def answer_again(self) -> None:
        self.server.send_signal(signal.SIGUSR2)

    def end(self) -> None:
        """As when the server's process dies: whoever waits for it gets an error."""
        self.server.kill()
        self.server.wait()
        for stream in (self.server.stdout, self.server.stderr):
            assert stream is not None
            stream.close()


@pytest.fixture
def mounts() -> Iterator[Callable[[Daemon, Path, Path], Mount]]:
    made: list[Mount] = []

    def mount(daemon: Daemon, backing: Path, point: Path) -> Mount:
        made.append(Mount(daemon, backing, point))
        return made[-1]

    yield mount
    for one in made:
        if one.server.poll() is None:
            one.end()


Mounted = tuple[Daemon, Mount, Path]


@pytest.fixture
def mounted(start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount]) -> Mounted:
    """A daemon that knows nothing yet, a mount at `place` that answers, and what that shows."""
    namespace.require()
    backing = tmp_path / "disk"
    backing.mkdir()
    daemon = start_daemon(before=namespace.entering())
    return daemon, mounts(daemon, backing, place), backing


def _tasks(where: str) -> list[tuple[str, str, int]]:
    """Name, state and parent of the processes or threads that a glob below /proc stands for."""
    tasks = []
    for task in Path("/proc").glob(f"{where}/stat"):
        try:
            before, _, after = task.read_text().rpartition(")")
        except OSError:
            continue
        state, parent = after.split()[:2]
        tasks.append((before.partition("(")[2], state, int(parent)))
    return tasks


def wait_asleep(daemon: Daemon) -> None:
    """Some worker of the daemon waits for the server, uninterruptibly."""

    def asleep() -> bool:
        return any(state == "D" and parent == daemon.pid for _, state, parent in _tasks("[0-9]*"))

    wait_until(asleep, what="a worker in uninterruptible sleep")


@pytest.mark.parametrize("how", ["silent", "stopped"])
def test_a_dead_mount_hangs_nobody_and_recovers(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount], how: str
) -> None:
    namespace.require()
    backing = tmp_path / "disk"
    paths = [new_repository(backing / f"r{n}", {"d/f": b"1\n"}).path for n in range(4)]
    local = new_repository(tmp_path / "local", {"d/f": b"1\n"}).path
    linked = tmp_path / "link"
    linked.symlink_to(place)
    daemon = start_daemon(before=namespace.entering())
    mount = mounts(daemon, backing, place)
    there = [place / path.name for path in paths]
    with daemon.connect() as client, daemon.connect() as other:
        reports = client.reports(place)
        assert [(r["path"], r["state"], r["watch"]) for r in reports] == [(str(p), "fresh", "polled") for p in there]
        assert "fuse" in reports[0]["reason"]
        assert difference(other, local) is None
        (backing / "r0/d/f").write_bytes(b"2\n")
        (backing / "r0/d/new").write_bytes(b"")
        assert agrees(client, daemon, there[0])
        new_repository(backing / "r9", {"f": b""})
        assert len(client.reports(place)) == 5

        mount.fall_silent() if how == "silent" else mount.server.send_signal(signal.SIGSTOP)
        began = time.monotonic()
        client._connection.renew_deadline(60.0)
        told = client.call("status", [str(place), str(linked), str(linked / "r1/d")], {"wait_s": 30})
        assert {r["state"] for r in told["repos"]} == {"failed"}
        assert "does not answer" in told["repos"][0]["reason"] and "umount -l" in told["repos"][0]["hint"]
        assert time.monotonic() - began < 20
        if how == "silent":
            wait_asleep(daemon)
        # Meanwhile everybody else is served at once, and the dead mount too: with what is known of it.
        for number in range(20):
            (local / "d/f").write_bytes(b"%d\n" % number)
            began = time.monotonic()
            assert difference(other, local) is None
            other.call("status", [str(there[0])], {"wait_s": 0})
            for path in (there[2], linked / "r3", place / "none"):
                other.call("status", [str(path), str(local)], {"wait_s": 0})
            assert time.monotonic() - began < PROBE_S
        problems = {p["what"]: p["hint"] for p in other.call("doctor")["problems"]}
        assert any(what.startswith(f"{place}: ") and "does not answer" in what for what in problems)

        mount.answer_again() if how == "silent" else mount.server.send_signal(signal.SIGCONT)
        (backing / "r0/d/f").write_bytes(b"after\n")
        wait_until(lambda: client.entries(there[0]).state == "fresh", 40.0, "it is answered again")
        assert all(agrees(client, daemon, path) for path in there)
        assert {r["state"] for r in client.reports(place)} == {"fresh"}
        assert not [p for p in client.call("doctor")["problems"] if "does not answer" in p["what"]]


def test_a_linked_worktree_on_a_dead_mount_hangs_nobody(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount]
) -> None:
    """The repository itself is local; only its git dir says where that worktree is."""
    namespace.require()
    git = new_repository(tmp_path / "local/main", {"f": b"1\n"})
    backing = tmp_path / "disk"
    git("worktree", "add", "-q", "--detach", backing / "w")
    (git.path / ".git/worktrees/w/gitdir").write_text(f"{place}/w/.git\n")
    (backing / "w/new").write_bytes(b"")
    daemon = start_daemon(before=namespace.entering())
    mount = mounts(daemon, backing, place)
    with daemon.connect() as client, daemon.connect() as other:

        def reasons() -> dict[str, list[str]]:
            client._connection.renew_deadline(60.0)
            repos = client.call("unsaved", [str(git.path)], {"wait_s": 30})["repos"]
            return {repo["path"]: [reason["kind"] for reason in repo["reasons"]] for repo in repos}

        assert reasons() == {str(git.path): ["no_remote"], str(place / "w"): ["uncommitted"]}
        mount.fall_silent()
        assert reasons() == {str(git.path): ["no_remote"], str(place / "w"): ["unchecked"]}
        began = time.monotonic()
        assert difference(other, git.path) is None
        other.call("branches", [str(git.path)], {"wait_s": 1})
        assert time.monotonic() - began < LONG_S + PROBE_S
        mount.answer_again()
        wait_until(lambda: reasons()[str(place / "w")] == ["uncommitted"], 40.0, "it is looked at again")


_ASK_GIT = """
import os, sys, threading
from gitwatchd.git.child import run_git
(where,) = sys.argv[1:]
ended = threading.Event()
def ask():
    try:
        run_git(["status"], cwd=os.fsencode(where), timeout_s=1)
    except Exception as failure:
        print(type(failure).__name__, flush=True)
    ended.set()
asking = threading.Thread(target=ask, daemon=True)
asking.start()
print("asked", flush=True)
assert ended.wait(30)
"""


def test_a_git_that_hangs_in_entering_its_directory_has_a_deadline(mounted: Mounted, place: Path) -> None:
    """Until a child executes its program, whoever starts it waits, and all who would start another."""
    daemon, mount, backing = mounted
    mount.fall_silent()
    (backing / "r").mkdir()
    asking = subprocess.Popen(
        [*namespace.joining(daemon.pid), sys.executable, "-c", _ASK_GIT, str(place / "r")],
        stdout=subprocess.PIPE, cwd=Path(__file__).parents[2], text=True,
    )  # fmt: skip
    assert asking.stdout is not None
    with asking, asking.stdout as said:
        assert [said.readline() for _ in range(2)] == ["asked\n", "GitTimedOut\n"]
    assert asking.returncode == 0


def _lead_away(how: str, git: Git, there: Path, backing: Path) -> None:
    """Something of the local repository lies on the mount at `there` from now on; `backing` is what that shows."""
    dot_git = git.path / ".git"
    if how in ("a .git file", "a .git link"):
        dot_git.rename(backing / "moved.git")
        if how == "a .git file":
            dot_git.write_text(f"gitdir: {there}/moved.git\n")
        else:
            dot_git.symlink_to(there / "moved.git")
    elif how == "commondir":
        (backing / "moved.git").mkdir()
        for name in ("objects", "refs", "config", "HEAD"):
            (dot_git / name).rename(backing / "moved.git" / name)
        (dot_git / "HEAD").write_text("ref: refs/heads/main\n")
        (dot_git / "commondir").write_text(f"{there}/moved.git\n")
    elif how == "a link in the git dir":
        (dot_git / "objects").rename(backing / "objects")
        (dot_git / "objects").symlink_to(there / "objects")
    elif how == "alternates":
        (dot_git / "objects").rename(backing / "objects")
        (dot_git / "objects/info").mkdir(parents=True)
        (dot_git / "objects/info/alternates").write_text(f"{there}/objects\n")
    elif how == "an include":
        (backing / "included").write_text("[core]\n\texcludesFile = /dev/null\n")
        git("config", "include.path", there / "included")
    elif how == "an exclude file":
        (backing / "excluded").write_text("*.none\n")
        git("config", "core.excludesFile", there / "excluded")
    elif how == "a directory that is a link":
        (git.path / "d").rename(backing / "d")
        (git.path / "d").symlink_to(there / "d")
    elif how == "a submodule that is a link":
        nested = new_repository(git.path / "sub", {"f": b"1\n"}).path
        git("add", "sub")
        git("commit", "-qm", "sub")
        nested.rename(backing / "sub")
        nested.symlink_to(there / "sub")
    elif how in ("refs/heads", "objects/pack", "logs/refs"):
        (dot_git / how).rename(backing / "moved")
        (dot_git / how).symlink_to(there / "moved")
    elif how == "a worktree's git dir":
        (dot_git / "worktrees").mkdir()
        (backing / "moved").mkdir()
        (backing / "moved/gitdir").write_text("/nowhere/.git\n")
        (dot_git / "worktrees/one").symlink_to(there / "moved")
    elif how == "a nested repository":
        nested = new_repository(git.path / "nested", {"f": b"1\n"}).path
        (nested / ".git").rename(backing / "moved.git")
        (nested / ".git").write_text(f"gitdir: {there}/moved.git\n")
    else:
        assert how == "core.worktree"
        (backing / "tree").mkdir()
        git("config", "core.worktree", there / "tree")


HOWS = (
    "a .git file", "a .git link", "commondir", "a link in the git dir", "alternates", "an include", "an exclude file",
    "a directory that is a link", "a nested repository", "core.worktree", "a submodule that is a link", "refs/heads",
    "objects/pack", "logs/refs", "a worktree's git dir",
)  # fmt: skip


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_local_worktrees_that_lead_onto_a_dead_mount_hang_nobody(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount], known: bool
) -> None:
    namespace.require()
    backing, root = tmp_path / "disk", tmp_path / "root"
    led: list[Git] = []
    for number, how in enumerate(HOWS):
        led.append(new_repository(root / how.replace(" ", "_"), {"d/f": b"1\n", "top": b"1\n"}))
        (backing / str(number)).mkdir(parents=True)
        _lead_away(how, led[-1], place / str(number), backing / str(number))
    others = [new_repository(root / f"r{number}", {"d/f": b"1\n"}).path for number in range(4)]
    daemon = start_daemon(before=namespace.entering())
    mount = mounts(daemon, backing, place)

    def edit(content: bytes) -> None:
        for git in led:
            (git.path / "top").write_bytes(content)

    def wrong(client: Client) -> list[str]:
        # git refuses a submodule that is a link.
        places = {how: git.path for how, git in zip(HOWS, led, strict=True) if how != "a submodule that is a link"}
        return [how for how, path in places.items() if not agrees(client, daemon, path)]

    told: list[object] = []

    def ask(method: str, *params: object) -> None:
        with daemon.connect() as another:
            try:
                told.append(another.call(method, *params))
            except RemoteError as refused:
                told.append(refused)

    with daemon.connect() as client:
        if known:
            assert wrong(client) == []
            edit(b"2\n")
            assert wrong(client) == []
            states = Counter(r["state"] for r in client.reports(root, *(git.path for git in led)))
            assert states.keys() == {"fresh", "failed"} and states["failed"] == 1
        mount.fall_silent()
        edit(b"3\n")
        # All at once, by a list and by name, and whoever asks about others is answered meanwhile.
        asking = [
            threading.Thread(target=ask, args=(method, [str(root)], {"wait_s": 8.0}))
            for method in ("status", "unsaved")
        ]
        for git in led:
            for method, *params in (
                ("entries", str(git.path)), ("prompt", str(git.path / "d")), ("unsaved", [str(git.path)]),
                ("branches", [str(git.path)]),
            ):  # fmt: skip
                asking.append(threading.Thread(target=ask, args=(method, *params, {"wait_s": 8.0})))
        for thread in asking:
            thread.start()
        for number in range(20):
            for path in others:
                (path / "d/f").write_bytes(b"%d\n" % number)
            began = time.monotonic()
            assert all(difference(client, path) is None for path in others)
            for git in led:
                client.call("status", [str(git.path), str(git.path / "d")], {"wait_s": 0})
                client.call("prompt", str(git.path), {"wait_s": 0.001})
            assert time.monotonic() - began < LONG_S + PROBE_S
        new_repository(root / "later", {"f": b""})
        assert difference(client, root / "later") is None
        for thread in asking:
            thread.join()
        assert len(told) == len(asking)
        unsaved = [answer["repos"] for answer in told if isinstance(answer, dict) and "repos" in answer]
        (unsaved_of_all,) = [rows for rows in unsaved if len(rows) > len(HOWS) and "reasons" in rows[0]]
        assert {str(path) for path in others} <= {row["path"] for row in unsaved_of_all}
        unchecked = {row["path"] for row in unsaved_of_all if any(r["kind"] == "unchecked" for r in row["reasons"])}
        assert str(led[0].path) in unchecked
        problems = [problem["what"] for problem in client.call("doctor")["problems"]]
        assert any(what.startswith(f"{place}: ") and "does not answer" in what for what in problems)
        mount.answer_again()
        wait_until(lambda: wrong(client) == [], 60.0, "all are answered again")
        edit(b"4\n")
        assert wrong(client) == []


def _turn(path: Path, there: Path, backing: Path) -> None:
    """`path` lies on the mount at `there` from now on, and is a link; `backing` is what that shows."""
    backing.mkdir()
    path.rename(backing / path.name)
    path.symlink_to(there / path.name)


def _with_submodule(git: Git) -> None:
    nested = new_repository(git.path / "sub", {"f": b"1\n"}).path
    (git.path / ".gitmodules").write_text('[submodule "sub"]\n\tpath = sub\n\turl = ./sub\n')
    git("add", ".")
    git("commit", "-qm", "sub")
    assert nested.is_dir()


def _with_linked_worktree(git: Git) -> None:
    """It is what is asked about: its repository lies elsewhere, in a directory of its own."""
    git.path.rename(git.path.parent / "main")
    Git(git.path.parent / "main")("worktree", "add", "-q", "--detach", git.path)


TURNED: dict[str, tuple[Callable[[Git], object], str]] = {
    "above a worktree": (lambda git: None, ".."),
    "above a linked worktree": (_with_linked_worktree, ".."),
    "above its git dir": (_with_linked_worktree, "../main"),
    "its back pointer's directory": (_with_linked_worktree, "../main/.git/worktrees/r"),
    "a tracked directory": (lambda git: None, "d"),
    ".gitmodules": (_with_submodule, ".gitmodules"),
    "FETCH_HEAD": (lambda git: (git.path / ".git/FETCH_HEAD").write_text("x\n"), ".git/FETCH_HEAD"),
    "a step": (lambda git: ((git.path / ".git/sequencer").mkdir(),
                            (git.path / ".git/sequencer/todo").write_text("pick x\n")), ".git/sequencer/todo"),
    "a tag": (lambda git: git("tag", "v/1"), ".git/refs/tags/v"),
    "a pack": (lambda git: git("repack", "-adq"), ".git/objects/pack/*.pack"),
    "an index of a pack": (lambda git: git("repack", "-adq"), ".git/objects/pack/*.idx"),
    "an object": (lambda git: None, ".git/objects/??/*"),
    "objects": (lambda git: None, ".git/objects/[0-9a-f][0-9a-f]"),
}  # fmt: skip


def test_what_was_known_before_a_worker_had_to_look_is_not_gone_on_from(
    tmp_path: Path, place: Path, mounted: Mounted
) -> None:
    """That analysis has taken the change of `a`, of which no other will hear."""
    daemon, _, backing = mounted
    git = new_repository(tmp_path / "root/r", {"a": b"1\n", "b": b"1\n"})
    with daemon.connect() as client:
        assert agrees(client, daemon, git.path)
        (git.path / "b").write_bytes(b"22\n")
        assert agrees(client, daemon, git.path)
        for number, path in enumerate(sorted(git.path.glob(".git/objects/??"))):
            _turn(path, place / str(number), backing / str(number))
        (git.path / "a").write_bytes(b"22\n")
        client.call("status", [str(git.path)], {"verify": True})
        (git.path / "b").write_bytes(b"333\n")
        assert agrees(client, daemon, git.path)


def test_what_was_gone_for_a_moment_and_leads_onto_a_mount_comes_back(
    tmp_path: Path, place: Path, mounted: Mounted
) -> None:
    daemon, mount, backing = mounted
    git = new_repository(tmp_path / "root/r", {"a": b"1\n"})
    _with_linked_worktree(git)
    with daemon.connect() as client:
        assert agrees(client, daemon, git.path)
        main = git.path.parent / "main"
        main.rename(backing / "main")
        assert not agrees(client, daemon, git.path)
        mount.fall_silent()
        main.symlink_to(place / "main")
        client.call("status", [str(git.path)], {"wait_s": 8.0})
        mount.answer_again()
        wait_until(lambda: agrees(client, daemon, git.path), what="it is there again")


def test_refs_beyond_a_link_onto_a_mount_are_not_taken_for_unchanged(
    tmp_path: Path, place: Path, mounted: Mounted
) -> None:
    daemon, _, backing = mounted
    git = new_repository(tmp_path / "root/r", {"a": b"1\n"})
    git("checkout", "-qb", "x/y")
    tree = git("rev-parse", "HEAD^{tree}").strip()
    with daemon.connect() as client:
        assert agrees(client, daemon, git.path)
        _turn(git.path / ".git/refs/heads/x", place / "x", backing / "x")
        assert agrees(client, daemon, git.path)
        for number in range(3):
            commit = git("commit-tree", "-m", str(number), tree).strip()
            (backing / "x/x/y").write_bytes(commit + b"\n")
            assert agrees(client, daemon, git.path), number


@pytest.mark.parametrize("while_silent", [True, False], ids=["silent", "alive"])
def test_what_is_watched_and_turned_onto_a_dead_mount_hangs_nobody(
    tmp_path: Path, place: Path, mounted: Mounted, while_silent: bool
) -> None:
    """Neither the daemon, nor a git child until its deadline."""
    daemon, mount, backing = mounted
    root = tmp_path / "root"
    turned: dict[str, Path] = {}
    for how, (prepare, _) in TURNED.items():
        git = new_repository(root / how.replace(" ", "_") / "in/r", {"d/f": b"1\n", "top": b"1\n"})
        prepare(git)
        turned[how] = git.path
    others = [new_repository(root / f"r{number}", {"d/f": b"1\n"}).path for number in range(3)]

    def edit(content: bytes) -> None:
        for path in turned.values():
            if path.is_dir():
                (path / "top").write_bytes(content)

    def turn() -> None:
        for number, (how, path) in enumerate(turned.items()):
            for each, found in enumerate(sorted(path.glob(TURNED[how][1]))):
                name = f"{number}-{each}"
                _turn(found.resolve(), place / name, backing / name)

    def is_right(client: Client, how: str) -> bool:
        # A worktree's git dir that is a link names another common dir: git refuses that.
        refused = how == "its back pointer's directory" and turned[how].joinpath(TURNED[how][1]).is_symlink()
        return refused or agrees(client, daemon, turned[how])

    def wrong(client: Client) -> list[str]:
        return [how for how in turned if not is_right(client, how)]

    def ask(method: str, *params: object) -> None:
        with daemon.connect() as another, suppress(RemoteError):
            another.call(method, *params)

    def git_children() -> list[str]:
        return [state for name, state, parent in _tasks("[0-9]*") if (name, parent) == ("git", daemon.pid)]

    with daemon.connect() as client:
        client.reports(root)
        assert wrong(client) == []
        edit(b"2\n")
        assert wrong(client) == []
        if not while_silent:
            turn()
            client.reports(root)
        mount.fall_silent()
        if while_silent:
            # A link onto a mount that is dead is not made within the moment in which a path was found good.
            pause = time.monotonic()
            wait_until(lambda: time.monotonic() > pause + 0.3)
            turn()
        edit(b"3\n")
        asking = [threading.Thread(target=ask, args=("status", [str(root)], {"wait_s": 3.0}))]
        for path in turned.values():
            for method, *params in (
                ("entries", str(path)), ("prompt", str(path / "d")), ("unsaved", [str(path)]),
                ("branches", [str(path)]),
            ):  # fmt: skip
                asking.append(threading.Thread(target=ask, args=(method, *params, {"wait_s": 3.0})))
        for thread in asking:
            thread.start()
        for number in range(10):
            began = time.monotonic()
            for path in others:
                (path / "d/f").write_bytes(b"%d\n" % number)
                assert difference(client, path) is None
            for path in turned.values():
                client.call("status", [str(path), str(path / "d")], {"wait_s": 0})
                client.call("prompt", str(path), {"wait_s": 0.001})
            assert time.monotonic() - began < LONG_S + PROBE_S
        for thread in asking:
            thread.join()
        assert client.call("branches", [str(others[0])])["branches"]
        assert {report["state"] for report in client.reports(*others)} == {"fresh"}
        wait_until(lambda: not git_children(), 10.0, "no git of the daemon waits for the mount")
        assert [name for name, state, _ in _tasks(f"{daemon.pid}/task/*") if state == "D"] == []
        mount.answer_again()
        wait_until(lambda: wrong(client) == [], 60.0, "all are answered again")
        edit(b"4\n")
        assert wrong(client) == []


def test_a_configuration_on_a_remote_mount_is_never_taken_for_unchanged(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount]
) -> None:
    """No event tells of a change there, so nothing known may be given again without asking."""
    namespace.require()
    backing = tmp_path / "disk"
    backing.mkdir()
    (backing / "config").write_text("")
    git = new_repository(tmp_path / "r", {"f": b"1\n"})
    git("config", "include.path", place / "config")
    (git.path / "new").write_bytes(b"")
    daemon = start_daemon(before=namespace.entering())
    mounts(daemon, backing, place)
    with daemon.connect() as client:
        assert agrees(client, daemon, git.path)
        for untracked in ("no", "normal", "no"):
            (backing / "config").write_text(f"[status]\n\tshowUntrackedFiles = {untracked}\n")
            assert agrees(client, daemon, git.path)
        (report,) = client.reports(git.path)
        assert report["watch"] == "polled" and "leads onto the file system" in report["reason"]


def test_what_led_onto_a_dead_mount_and_does_no_longer_is_watched_again(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    namespace.require()
    (tmp_path / "disk").mkdir()
    git = new_repository(tmp_path / "r", {"f": b"1\n"})
    git("config", "core.excludesFile", place / "excluded")
    daemon = start_daemon(before=namespace.entering())
    mount = mounts(daemon, tmp_path / "disk", place)
    with daemon.connect() as client:
        assert client.reports(git.path)[0]["watch"] == "polled"
        mount.fall_silent()
        git("config", "--unset", "core.excludesFile")
        wait_until(lambda: client.reports(git.path)[0]["watch"] == "watched", 60.0, "it is watched")
        assert agrees(client, daemon, git.path)


@pytest.mark.parametrize("when", ["before the start", "while it was silent", "before it fell silent"])
def test_a_root_that_became_a_link_onto_a_dead_mount(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount], when: str
) -> None:
    namespace.require()
    (tmp_path / "disk").mkdir()
    repo = new_repository(tmp_path / "src/r", {"f": b"1\n"}).path
    local = new_repository(tmp_path / "local", {"d/f": b"1\n"}).path

    def turn() -> None:
        (tmp_path / "src").rename(tmp_path / "disk/src")
        (tmp_path / "src").symlink_to(place / "src")

    daemon = start_daemon(before=namespace.entering())
    with daemon.connect() as client:
        client.call("roots.add", str(tmp_path / "src"))
        assert {r["state"] for r in client.reports()} == {"fresh"}
    if when == "before the start":
        daemon.stop()
        turn()
        daemon = start_daemon(before=namespace.entering())
    mount = mounts(daemon, tmp_path / "disk", place)
    with daemon.connect() as client:
        if when == "before it fell silent":
            turn()
            client.reports()
        mount.fall_silent()
        if when == "while it was silent":
            # A link onto a mount that is dead is not made within the moment in which a path was found good.
            pause = time.monotonic()
            wait_until(lambda: time.monotonic() > pause + 0.1)
            turn()
        for number in range(10):
            (local / "d/f").write_bytes(b"%d\n" % number)
            assert difference(client, local) is None
            client.call("status", [], {"wait_s": 0})
            client.call("status", [str(repo)], {"wait_s": 0})
        client.call("doctor")
        new_repository(tmp_path / "other/later", {"f": b""})
        assert difference(client, tmp_path / "other/later") is None
        mount.answer_again()


def test_inquiries_do_not_wait_for_a_dead_mount(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount]
) -> None:
    """There are four threads for them, and more questions than that about what lies there."""
    namespace.require()
    backing = tmp_path / "disk"
    there = [place / new_repository(backing / f"r{n}", {"f": b"1\n"}).path.name for n in range(3)]
    for path in there:
        (backing / path.name / "f").write_bytes(b"2\n")
    local = new_repository(tmp_path / "local", {"f": b"1\n"}).path
    daemon = start_daemon(before=namespace.entering())
    mount = mounts(daemon, backing, place)
    with daemon.connect() as client:
        assert {r["state"] for r in client.call("status", [str(place)], {"lines": True})["repos"]} == {"fresh"}
        assert [b["branch"] for b in client.call("branches", [str(there[0])])["branches"]] == ["main"]
        mount.fall_silent()
        for path in (*there, *there):
            with pytest.raises(RemoteError, match="does not answer"):
                client.call("branches", [str(path)])
        lines = client.call("status", [str(place)], {"lines": True, "wait_s": 0})["repos"]
        assert [report["lines"] for report in lines] == [None] * 3
        client.call("unsaved", [str(place)], {"wait_s": 0.1})
        began = time.monotonic()
        assert client.call("unsaved", [str(local)])["repos"][0]["unsaved"]
        assert client.call("branches", [str(local)])["branches"]
        assert time.monotonic() - began < LONG_S + PROBE_S


def test_linked_worktrees_that_only_a_remote_git_dir_knows_are_said_to_be_unchecked(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount]
) -> None:
    namespace.require()
    backing = tmp_path / "disk"
    git = new_repository(backing / "main", {"f": b"1\n"})
    git("worktree", "add", "-q", "--detach", backing / "w")
    (git.path / ".git/worktrees/w/gitdir").write_text(f"{place}/w/.git\n")
    (backing / "w/.git").write_text(f"gitdir: {place}/main/.git/worktrees/w\n")
    (backing / "w/new").write_bytes(b"")
    daemon = start_daemon(before=namespace.entering())
    mounts(daemon, backing, place)
    with daemon.connect() as client:

        def reasons(*paths: Path) -> dict[str, list[str]]:
            repos = client.call("unsaved", [str(path) for path in paths])["repos"]
            return {Path(repo["path"]).name: [reason["kind"] for reason in repo["reasons"]] for repo in repos}

        assert reasons(place / "main") == {"main": ["no_remote", "unchecked"]}
        both = reasons(place / "main", place / "w")
        assert both == {"main": ["no_remote"], "w": ["uncommitted"]}


@pytest.mark.parametrize("turned", ["w/.git", "main/.git/worktrees/w/gitdir", "main/.git/worktrees/w"])
def test_a_linked_worktree_that_leads_onto_a_mount_is_said_to_be_unchecked_and_hides_no_other(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount], turned: str
) -> None:
    """`main` alone, with nothing to say of `w`, would be the all-clear before it is deleted."""
    namespace.require()
    backing, root = tmp_path / "disk", tmp_path / "root"
    backing.mkdir()
    git = new_repository(root / "main", {"f": b"1\n"})
    for name in ("w", "x"):
        git("worktree", "add", "-q", "--detach", root / name)
        (root / name / "new").write_bytes(b"")
    daemon = start_daemon(before=namespace.entering())
    mounts(daemon, backing, place)
    with daemon.connect() as client:

        def reasons() -> dict[str, set[str]]:
            repos = client.call("unsaved", [str(git.path)])["repos"]
            return {Path(repo["path"]).name: {reason["kind"] for reason in repo["reasons"]} for repo in repos}

        assert reasons() == {"main": {"no_remote"}, "w": {"uncommitted"}, "x": {"uncommitted"}}
        (root / turned).rename(backing / "moved")
        (root / turned).symlink_to(place / "moved")
        after = reasons()
        assert "unchecked" in after["main"]
        assert after["x"] >= {"uncommitted"}


def test_a_prompt_in_a_git_dir_of_a_worktree_on_a_dead_mount(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount]
) -> None:
    namespace.require()
    git = new_repository(tmp_path / "local/main", {"f": b"1\n"})
    git("worktree", "add", "-q", "--detach", tmp_path / "disk/w")
    (git.path / ".git/worktrees/w/gitdir").write_text(f"{place}/w/.git\n")
    daemon = start_daemon(before=namespace.entering())
    mounts(daemon, tmp_path / "disk", place).fall_silent()
    with daemon.connect() as client:
        client.call("prompt", str(git.path / ".git/worktrees/w"), {"git_dir": True, "wait_s": 0.1})
        assert difference(client, git.path) is None


def test_the_daemon_ends_though_a_mount_is_dead(
    start_daemon: Start, tmp_path: Path, place: Path, mounts: Callable[[Daemon, Path, Path], Mount]
) -> None:
    """Nothing of its own process may wait for it: what sleeps uninterruptibly cannot be ended."""
    namespace.require()
    repo = new_repository(tmp_path / "disk/r", {"d/f": b"1\n"}).path
    daemon = start_daemon(before=namespace.entering())
    mount = mounts(daemon, repo.parent, place)
    with daemon.connect() as client:
        assert [r["state"] for r in client.reports(place)] == ["fresh"]
        mount.fall_silent()
        client.call("refresh", [str(place)])
        client.call("status", [str(place / "elsewhere")], {"wait_s": 0.1})
        client.call("roots.add", str(place / "other"))
        wait_asleep(daemon)
    daemon.stop()
    mount.end()
