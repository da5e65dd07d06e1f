"""What a repository brings along must not run; the trust of its own filter drivers; through the real command."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scenarios.commands import Gitwatch
from tests.zoo.commands import Git, judge
from tests.zoo.daemon import Client, Daemon
from tests.zoo.nursery import configure


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """The directory in which a program that was run leaves its name."""
    directory = tmp_path / "ran"
    directory.mkdir()
    return directory


@pytest.fixture
def program(tmp_path: Path, ran: Path) -> Callable[..., str]:
    """`program(name)`: a command that marks that it ran and then copies its input to its output."""

    def make(name: str) -> str:
        path = tmp_path / f"programs/{name}"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n: >{ran}/{name}\nexec cat\n")
        path.chmod(0o755)
        return str(path)

    return make


def with_filter(repository: Callable[..., Git], command: str) -> Git:
    """Attributes name a driver; the repository's own config defines it; a touched file would have git run it."""
    git = repository({".gitattributes": b"*.txt filter=own\n", "a.txt": b"1\n", "b": b"1\n"}, "filtered")
    configure(git, f'[filter "own"]\n\tclean = {command}\n')
    (git.path / "a.txt").write_bytes(b"2\n")
    return git


def test_unsafe_until_trusted_and_again_when_the_section_changes(
    gitwatch: Gitwatch, repository: Callable[..., Git], program: Callable[..., str], ran: Path
) -> None:
    git = with_filter(repository, program("clean"))

    def is_unsafe() -> None:
        done = gitwatch("status", "--json", git.path)
        assert done.returncode == 0 and b'"state": "unsafe"' in done.stdout and b'"branch": "main"' in done.stdout
        assert b"filter.own" in done.stderr and b"gitwatch trust " in done.stderr
        assert gitwatch("status", "--verify", "--strict", git.path).returncode == 1
        refused = gitwatch("status", "--porcelain=v2", git.path)
        assert (refused.returncode, refused.stdout) == (3, b"") and b"gitwatch trust" in refused.stderr
        verified = gitwatch("verify", git.path).stdout
        assert verified.startswith(b"verified 0 repositories: 0 differ from git; 1 not compared ")
        assert list(ran.iterdir()) == []

    is_unsafe()
    assert gitwatch("status", "--direct", git.path).returncode == 0
    assert gitwatch("refresh", git.path).returncode == 0
    assert gitwatch("verify", git.path).returncode == 0
    (git.path / "b").write_bytes(b"22\n")
    is_unsafe()
    assert gitwatch("trust", git.path).stdout.startswith(b"trusting ")
    assert gitwatch.porcelain(git.path) == judge(git.path)
    assert (ran / "clean").exists()
    # Another section of that config is none of its business.
    git("config", "user.name", "Somebody Else")
    assert gitwatch.porcelain(git.path) == judge(git.path)
    # It outlives the daemon.
    assert gitwatch("daemon", "restart").returncode == 0
    assert gitwatch.porcelain(git.path) == judge(git.path)
    git("config", "filter.own.clean", program("other"))
    (ran / "clean").unlink()
    is_unsafe()
    assert gitwatch("trust", git.path).returncode == 0
    assert gitwatch.porcelain(git.path) == judge(git.path)


def test_trust_is_taken_back(
    gitwatch: Gitwatch, repository: Callable[..., Git], program: Callable[..., str], ran: Path
) -> None:
    git = with_filter(repository, program("clean"))
    (git.path / "d").mkdir()
    assert gitwatch("trust", "--remove", git.path).returncode == 1
    assert gitwatch("trust", git.path).returncode == 0
    assert gitwatch.porcelain(git.path) == judge(git.path)
    assert gitwatch("daemon", "restart").returncode == 0
    done = gitwatch("trust", "--remove", git.path / "d")
    assert (done.returncode, done.stdout) == (0, b"no longer trusting " + os.fsencode(git.path) + b"\n")
    assert gitwatch("status", "--porcelain=v2", git.path).returncode == 3, "at once, without a change of anything"
    (ran / "clean").unlink()
    assert b'"state": "unsafe"' in gitwatch("status", "--json", "--verify", git.path).stdout
    again = gitwatch("trust", "--remove", git.path)
    assert again.returncode == 1 and again.stderr.startswith(b"gitwatch: " + os.fsencode(git.path) + b": not trusted\n")
    assert gitwatch("trust", "--remove", git.path / "nowhere").returncode == 1
    assert list(ran.iterdir()) == []
    # The configuration's trust is the configuration's to end, and that is said.
    config = gitwatch.state / "config.toml"
    assert gitwatch("trust", git.path).returncode == 0
    config.write_text(f'trust = ["{git.path}"]\n')
    still = gitwatch("trust", "--remove", git.path)
    assert still.returncode == 1 and b"is trusted by config.toml" in still.stderr
    config.unlink()
    assert gitwatch("status", "--porcelain=v2", git.path).returncode == 3
    # What is gone is not forgotten: another repository at its place would be trusted with it.
    assert gitwatch("trust", git.path).returncode == 0
    git.path.rename(git.path.with_name("away"))
    gitwatch("status", git.path.parent)
    assert gitwatch("daemon", "restart").returncode == 0
    assert gitwatch("trust", "--remove", git.path).returncode == 0
    git.path.with_name("away").rename(git.path)
    assert gitwatch("status", "--porcelain=v2", git.path).returncode == 3
    # What is known while it is trusted is the answer no more, without a change of anything else.
    assert gitwatch("trust", git.path).returncode == 0
    assert gitwatch.porcelain(git.path) == judge(git.path)
    assert gitwatch("trust", "--remove", git.path).returncode == 0
    assert gitwatch("status", "--porcelain=v2", git.path).returncode == 3


def test_unpacking_a_hostile_archive_runs_nothing(
    gitwatch: Gitwatch, repository: Callable[..., Git], program: Callable[..., str], ran: Path, tmp_path: Path
) -> None:
    """No program that a repository names is run for any command, whether it is trusted or not."""
    git = repository({".gitattributes": b"*.txt diff=own\n", "a.txt": b"1\n", "b": b"1\n"}, "root/hostile")
    hooks = git.path / "hooks"
    hooks.mkdir()
    for hook in ("post-index-change", "pre-auto-gc", "reference-transaction", "post-checkout", "pre-commit"):
        (hooks / hook).write_text(f"#!/bin/sh\n: >{ran}/hook-{hook}\n")
        (hooks / hook).chmod(0o755)
    (git.path / ".git/hooks").mkdir(exist_ok=True)
    (git.path / ".git/hooks/post-index-change").write_text(f"#!/bin/sh\n: >{ran}/own-hook\n")
    (git.path / ".git/hooks/post-index-change").chmod(0o755)
    keys = {
        "core.fsmonitor": "fsmonitor", "core.sshCommand": "ssh", "core.pager": "pager", "core.editor": "editor",
        "core.askPass": "askpass", "core.gitProxy": "proxy", "core.alternateRefsCommand": "alternate",
        "diff.external": "external", "diff.own.textconv": "textconv", "diff.own.command": "command",
        "credential.helper": "credential", "gpg.program": "gpg", "pager.status": "status", "log.showSignature": "",
    }  # fmt: skip
    for key, name in keys.items():
        git("config", key, program(name) if name else "true")
    git("config", "core.hooksPath", str(hooks))
    git("config", "remote.origin.url", "ssh://nowhere/x")
    git("config", "remote.origin.promisor", "true")
    (git.path / "a.txt").write_bytes(b"2\n")
    (git.path / "b").touch()
    for file in ran.iterdir():
        file.unlink()  # what our own preparation ran

    for arguments in (
        ["status", tmp_path / "root"],
        ["status", "--json", "--verify", git.path],
        ["status", "--porcelain=v2", git.path],
        ["status", "--direct", git.path],
        ["refresh", git.path],
        ["verify", git.path],
        ["trust", git.path],
        ["status", "--verify", git.path],
        ["roots", "add", tmp_path / "root"],
        ["doctor"],
    ):
        done = gitwatch(*arguments)
        assert done.returncode == 0, done
        assert [file.name for file in ran.iterdir()] == [], arguments
    assert b"1 a.txt" not in gitwatch("status", "--porcelain=v2", git.path).stderr


def test_a_driver_of_the_user_s_own_configuration_needs_no_trust(
    gitwatch: Gitwatch, repository: Callable[..., Git], home: Path
) -> None:
    """As git-lfs is installed; the zoo's HOME has a filter `zoo`."""
    git = repository({".gitattributes": b"*.txt filter=zoo\n", "a.txt": b"public\n"}, "filtered")
    (git.path / "a.txt").write_bytes(b"secret\n")
    os.utime(git.path / "a.txt", (1, 1))
    assert b"[filter" in (home / ".gitconfig").read_bytes()
    assert gitwatch.porcelain(git.path) == judge(git.path)
    assert gitwatch.reports(git.path)[0]["state"] == "fresh"


def test_a_trusted_place_is_trusted_whatever_the_drivers_and_not_a_moment_longer(
    gitwatch: Gitwatch, repository: Callable[..., Git], program: Callable[..., str], ran: Path
) -> None:
    git = with_filter(repository, program("clean"))
    gitwatch.state.mkdir(exist_ok=True)
    config = gitwatch.state / "config.toml"
    config.write_text(f'trust = ["{git.path.parent}/other*"]\n')
    assert gitwatch("status", "--porcelain=v2", git.path).returncode == 3
    config.write_text(f'trust = ["{git.path.parent}/filt*"]\n')
    assert gitwatch.porcelain(git.path) == judge(git.path)
    assert (ran / "clean").exists()
    git("config", "filter.own.clean", program("another"))
    (git.path / "a.txt").write_bytes(b"3\n")
    assert gitwatch.porcelain(git.path) == judge(git.path)
    assert (ran / "another").exists()
    with Client(gitwatch.places.socket) as client:
        assert [client.reports(git.path)[0]["state"] for _ in range(2)] == ["fresh", "fresh"]
        config.write_text("")
        assert client.reports(git.path)[0]["state"] == "unsafe"
    assert gitwatch("status", "--porcelain=v2", git.path).returncode == 3


def test_what_was_known_of_a_trusted_repository_answers_no_more_when_trust_ended(
    client: Client, daemon: Daemon, repository: Callable[..., Git], wait_until: Callable[..., object]
) -> None:
    """It was followed without git while it was trusted; an edit after that must not be."""
    git = repository({".gitattributes": b"*.txt filter=own\n", "a.txt": b"1\n", "b": b"1\n"}, "filtered")
    configure(git, '[filter "own"]\n\tclean = cat\n')
    config = daemon.state_dir / "config.toml"
    config.write_text(f'trust = ["{git.path}"]\n')

    def followed() -> bool:
        before = client.call("doctor")["answers"]["L1"]
        (git.path / "b").write_bytes(b"%d%d\n" % (before, len(os.listdir(git.path))))
        (git.path / f"new-{before}").write_bytes(b"")
        assert client.reports(git.path)[0]["state"] == "fresh"
        return client.call("doctor")["answers"]["L1"] > before

    wait_until(followed, what="it is followed")
    config.write_text("")
    assert client.reports(git.path)[0]["state"] == "unsafe"
    (git.path / "b").write_bytes(b"edited\n")
    assert client.reports(git.path)[0]["state"] == "unsafe"
