"""Must show: roots, refresh, verify and doctor, through the real command."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest

from gitwatchd.wire.rpc import Decoder, Response, encode_request
from tests.scenarios.commands import Gitwatch, HangingGit, for_git_alone
from tests.zoo.commands import Git, judge, new_repository
from tests.zoo.daemon import Daemon
from tests.zoo.waiting import wait_until


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("one", "two"):
        new_repository(tmp_path / "root" / name, {"a": b"1\n"}, "--template=")
    return tmp_path / "root"


def listed(gitwatch: Gitwatch) -> list[list[str]]:
    done = gitwatch("roots", "list")
    assert (done.returncode, done.stderr) == (0, b"")
    return [line.split(None, 2) for line in done.stdout.decode().splitlines()[1:]]


def test_roots_are_added_listed_and_removed(gitwatch: Gitwatch, root: Path, tmp_path: Path) -> None:
    assert listed(gitwatch) == []
    done = gitwatch("status")
    assert done.returncode == 0 and b"no directory is known yet" in done.stderr
    assert gitwatch("roots", "add", root).stdout == f"watching {root}\n".encode()
    assert [r["name"] for r in gitwatch.reports()] == ["one", "two"]
    assert listed(gitwatch) == [[str(root), "2", "for ever"]]
    # Relative, twice, and from inside: the same root.
    assert gitwatch("roots", "add", ".", cwd=root).returncode == 0
    assert len(listed(gitwatch)) == 1
    # One merely asked for is kept as well, and says for how long.
    elsewhere = new_repository(tmp_path / "elsewhere", {"a": b"1\n"})
    gitwatch.reports(elsewhere.path)
    assert [(path, kept.split()[:3]) for path, _, kept in listed(gitwatch)] == [
        (str(elsewhere.path), ["for", "14", "days"]), (str(root), ["for", "ever"]),
    ]  # fmt: skip
    assert [r["name"] for r in gitwatch.reports()] == ["elsewhere", "one", "two"]
    # A worktree within a root may be a root of its own. To remove it alone changes nothing, and that is told.
    one = root / "one"
    assert gitwatch("roots", "add", one).returncode == 0
    told = f"{one} is no root of its own any more, but watched with {root}: for ever\n"
    assert gitwatch("roots", "rm", one).stdout == told.encode()
    assert gitwatch("roots", "add", one).returncode == 0
    assert gitwatch("roots", "rm", root).stdout == f"no longer watching {root}\n".encode()
    assert [r["name"] for r in gitwatch.reports()] == ["elsewhere", "one"]
    assert gitwatch("roots", "rm", root / "one").returncode == 0
    assert gitwatch("roots", "rm", root / "one").returncode == 1
    # One that vanished can still be removed.
    (root / "gone").mkdir()
    assert gitwatch("roots", "add", root / "gone").returncode == 0
    (root / "gone").rmdir()
    assert gitwatch("roots", "rm", root / "gone").returncode == 0
    assert gitwatch("daemon", "restart").returncode == 0
    assert [r["name"] for r in gitwatch.reports()] == ["elsewhere"]


@pytest.mark.parametrize("method", ["status", "render", "refresh", "verify", "unsaved"])
def test_a_directory_that_is_taken_from_the_roots_while_it_is_asked_about(
    daemon: Daemon, root: Path, method: str
) -> None:
    """To say that there is no repository, and nothing that differs, would be an answer about something else."""
    params = ["status", {"paths": [str(root)]}] if method == "render" else [[str(root)]]
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(daemon.places.socket)
        client.settimeout(30)
        # The first is not answered at once: it is for another thread to look for repositories there.
        client.sendall(encode_request(1, method, params) + encode_request(2, "roots.remove", [str(root)]))
        decoder, answers = Decoder(1 << 20), {}
        while len(answers) < 2:
            answers.update({each.id: each for each in decoder.feed(client.recv(1 << 16)) if isinstance(each, Response)})
    assert answers[2].result is True
    reason = "no longer watched: it was taken from the roots while it was asked about"
    if method in ("refresh", "verify"):
        assert answers[1].error[1] == f"{root}: {reason}\nask again to have it watched"
    elif method == "render":
        assert answers[1].result["notes"] == [f"{root}: {reason}"] and answers[1].result["failed"] == 1
        assert answers[1].result["text"] == ""
    else:
        (error,) = answers[1].result["errors"]
        assert error == {"path": str(root), "reason": reason, "hint": "ask again to have it watched"}


def test_a_root_that_appears_later(gitwatch: Gitwatch, tmp_path: Path) -> None:
    """One that was configured before it was made, one that is a link, and one that was away when the daemon began."""
    kept = new_repository(tmp_path / "kept/old", {"a": b"1\n"}).path.parent
    assert gitwatch("roots", "add", kept).returncode == 0
    assert gitwatch("daemon", "stop").returncode == 0
    kept.rename(tmp_path / "away")
    (gitwatch.state / "config.toml").write_text(f'roots = ["{tmp_path}/later/code", "{tmp_path}/link"]\n')

    def names() -> list[str]:
        reports = json.loads(gitwatch("status", "--json").stdout)
        return [report["name"] for report in reports if report["state"] != "gone"]

    assert names() == []
    new_repository(tmp_path / "later/code/one", {"a": b"1\n"})
    assert names() == ["one"]
    new_repository(tmp_path / "elsewhere/two", {"a": b"1\n"})
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    assert names() == ["two", "one"]
    (tmp_path / "away").rename(kept)
    assert names() == ["two", "old", "one"]
    # From then on they are watched as any other.
    new_repository(tmp_path / "elsewhere/three", {"a": b"1\n"})
    new_repository(kept / "four", {"a": b"1\n"})
    wait_until(lambda: names() == ["three", "two", "four", "old", "one"], what="new ones are found")


def test_refresh_looks_again(gitwatch: Gitwatch, root: Path) -> None:
    gitwatch.reports(root)
    deep = new_repository(root / "1/2/3/4/5/6/deep", {"a": b"1\n"}, "--template=")
    assert gitwatch("refresh", root).returncode == 0
    assert str(deep.path) in [r["path"] for r in gitwatch.reports(root)]
    assert gitwatch("refresh").stdout == b"refreshed 3 repositories\n"
    assert gitwatch("refresh", root / "one").stdout == b"refreshed 1 repository\n"
    assert gitwatch.porcelain(root / "one") == judge(root / "one")


def test_refresh_returns_when_everything_is_done(
    root: Path, tmp_path: Path, held_daemon: Daemon, hanging_git: HangingGit
) -> None:
    """Also what it finds on its way; and what takes longer than one waits is said to."""
    for_git_alone(Git(root / "two"))
    with held_daemon.connect() as client:
        assert [r["state"] for r in client.reports(root)] == ["fresh", "fresh"]
        deep = new_repository(root / "1/2/3/4/5/6/deep", {"a": b"1\n"}, "--template=")
        os.link(root / "one/a", tmp_path / "outside")
        (tmp_path / "outside").write_bytes(b"changed behind its back\n")
        assert client.call("refresh", [str(root)]) == {"repositories": 3, "failed": 0, "unfinished": 0}
        told = {r["path"]: (r["state"], r["dirty"]) for r in client.reports(root, wait_s=0)}
        assert told == {
            str(deep.path): ("fresh", False), str(root / "one"): ("fresh", True), str(root / "two"): ("fresh", False),
        }  # fmt: skip
        (root / "one/.git/index").write_bytes(b"no index")
        assert client.call("refresh", [str(root)]) == {"repositories": 3, "failed": 1, "unfinished": 0}
        hanging_git.hold()
        assert client.call("refresh", [str(root / "two")], {"wait_s": 0.2})["unfinished"] == 1
        hanging_git.release()


def test_what_the_kernel_does_not_report_is_found_by_verify_and_refresh(
    gitwatch: Gitwatch, root: Path, tmp_path: Path
) -> None:
    """A write through a hard link outside of the tree raises no event in it."""
    one, two = Git(root / "one"), Git(root / "two")
    for git in (one, two):
        assert gitwatch.porcelain(git.path) == judge(git.path)
    assert gitwatch("verify", root).stdout == b"verified 2 repositories: 0 differ from git\n"
    assert gitwatch("doctor").returncode == 0
    for git in (one, two):
        outside = tmp_path / f"outside-{git.path.name}"
        os.link(git.path / "a", outside)
        outside.write_bytes(b"changed behind its back\n")
    done = gitwatch("verify", one.path)
    assert done.returncode == 1
    assert done.stdout.decode().splitlines()[0] == f"{one.path}: the daemon's answer is not git's"
    assert b"  git only:    1 .M " in done.stdout and b"1 repository: 1 differ" in done.stdout
    # It is healed by that, and the other one by a refresh.
    assert gitwatch.porcelain(one.path) == judge(one.path)
    assert gitwatch("verify", one.path).returncode == 0
    assert gitwatch("refresh", two.path).returncode == 0
    assert gitwatch.porcelain(two.path) == judge(two.path)


def test_status_verify_asks_git_and_jobs_limits_how_many_at_once(
    gitwatch: Gitwatch, root: Path, tmp_path: Path
) -> None:
    gitwatch.reports(root)
    outside = tmp_path / "outside"
    os.link(root / "one/a", outside)
    outside.write_bytes(b"changed behind its back\n")
    assert gitwatch.reports("--verify", root / "one")[0]["counts"]["unstaged"] == 1
    done = gitwatch("status", "--porcelain=v2", "-z", "--verify", root / "one")
    assert (done.returncode, done.stdout) == (0, judge(root / "one"))
    for jobs in ("0", "1", "7"):
        assert [r["state"] for r in gitwatch.reports("--verify", "--jobs", jobs, root)] == ["fresh", "fresh"]
    assert gitwatch.reports("--direct", root)[0]["counts"]["unstaged"] == 1


def test_doctor_fails_for_what_failed_only(gitwatch: Gitwatch, root: Path) -> None:
    assert [r["state"] for r in gitwatch.reports(root)] == ["fresh", "fresh"]
    done = gitwatch("doctor")
    assert (done.returncode, done.stderr) == (0, b"") and done.stdout.startswith(b"gitwatchd\n")
    index = root / "one/.git/index"
    saved = index.read_bytes()
    index.write_bytes(b"not an index")
    table = gitwatch("status", root)
    assert table.returncode == 1 and b"failed" in table.stdout + table.stderr
    done = gitwatch("doctor")
    assert done.returncode == 1 and b"one: failed" in done.stdout
    index.write_bytes(saved)
    assert gitwatch.porcelain(root / "one") == judge(root / "one")
    assert gitwatch("doctor").returncode == 0
