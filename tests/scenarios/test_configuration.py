"""Must show: `config.toml` is in force as soon as it is written, and a mistake in it stops nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.commands import Gitwatch, for_git_alone
from tests.zoo.commands import Git, new_repository
from tests.zoo.daemon import Client, Daemon
from tests.zoo.waiting import wait_until


@pytest.fixture
def code(tmp_path: Path) -> Path:
    for name in ("code/one", "code/two", "code/vendor/lib", "work/three"):
        new_repository(tmp_path / name, {"a": b"1\n"}, "--template=")
    return tmp_path / "code"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir(exist_ok=True)
    return tmp_path / "state/config.toml"


def names(answer: dict[str, Any]) -> list[str]:
    return sorted(report["name"] for report in answer["repos"])


def known(client: Client, *paths: Path) -> list[str]:
    return names(client.call("status", [os.fsencode(path) for path in paths]))


def test_the_next_request_knows_what_was_written_before_it(daemon: Daemon, config: Path, code: Path) -> None:
    with daemon.connect() as client:
        assert known(client) == []
        config.write_text(f'roots = ["{code}"]')
        assert known(client) == ["lib", "one", "two"]
        config.write_text(f'roots = ["{code}", "{code.parent}/work"]\nignore = ["vendor"]')
        assert known(client) == ["one", "three", "two"]
        # As many editors do: a new file takes the place of the old one.
        (code.parent / "new").write_text(f'roots = ["{code}"]\nignore = ["{code}/two"]')
        (code.parent / "new").rename(config)
        assert known(client) == ["lib", "one"]
        config.unlink()
        assert known(client) == []


def test_roots_of_the_file_are_marked_and_can_be_removed_only_there(
    gitwatch: Gitwatch, config: Path, code: Path
) -> None:
    config.write_text(f'roots = ["{code}"]')
    assert [report["name"] for report in gitwatch.reports()] == ["one", "two", "lib"]
    assert gitwatch("roots", "list").stdout.splitlines()[1].split(None, 2)[2] == b"named in config.toml"
    refused = gitwatch("roots", "rm", code)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"gitwatch: {code}: the configuration names this root\n".encode())
    # Given by command as well, it stays when the file no longer names it.
    assert gitwatch("roots", "add", code).returncode == 0
    config.write_text("")
    assert gitwatch("roots", "list").stdout.splitlines()[1].split(None, 2)[2] == b"for ever"


def test_what_is_left_out_is_still_answered_when_it_is_named(daemon: Daemon, config: Path, code: Path) -> None:
    config.write_text(f'roots = ["{code}"]\nignore = ["vendor"]')
    with daemon.connect() as client:
        assert known(client) == ["one", "two"]
        assert client.call("doctor")["repositories"]["total"] == 2
        assert known(client, code / "vendor") == ["lib"]
        assert client.entries(code / "vendor/lib").state == "fresh"
        assert known(client, code / "vendor/lib") == ["lib"]
        assert known(client) == known(client, code) == ["one", "two"]
        counts = {root["path"]: root["repositories"] for root in client.call("roots.list")}
        assert counts == {str(code): 2, str(code / "vendor"): 1}
        new_repository(code / "vendor/other", {"a": b"1\n"})
        new_repository(code / "four", {"a": b"1\n"})
        wait_until(lambda: known(client) == ["four", "one", "two"], what="a new repository is found")
        config.write_text(f'roots = ["{code}"]')
        assert known(client) == ["four", "lib", "one", "other", "two"]


def test_what_is_left_out_raises_no_notifications(daemon: Daemon, config: Path, code: Path) -> None:
    config.write_text(f'roots = ["{code}"]\nignore = ["vendor"]')
    with daemon.connect() as asking, daemon.connect() as client:
        told: list[str] = []
        client.call("subscribe", {})
        known(asking, code / "vendor/lib")
        known(asking)
        (code / "vendor/lib/a").write_text("2")
        asking.reports(code / "vendor/lib")
        (code / "one/a").write_text("2")
        asking.reports(code / "one")
        wait_until(lambda: "one" in told or collect(client, told), what="the change of `one` is told")
        assert set(told) <= {"one", "two"}


def collect(client: Client, told: list[str]) -> bool:
    client._connection.renew_deadline(60)
    client._connection.call(
        "hello", "test", [1, 0], on_notification=lambda _method, params: told.append(params[0]["name"])
    )
    return "one" in told


def test_a_mistake_leaves_in_force_what_was_right_and_is_told(gitwatch: Gitwatch, config: Path, code: Path) -> None:
    config.write_text(f'roots = ["{code}"]\nignore = ["vendor"]')
    assert [report["name"] for report in gitwatch.reports()] == ["one", "two"]
    config.write_text("# mine\nroots = 7\n\n[limit]\n")
    done = gitwatch("status", "--json")
    assert done.returncode == 0
    assert [report["name"] for report in json.loads(done.stdout)] == ["one", "two"]
    assert done.stderr.decode().splitlines() == [
        f"gitwatch: {config}:2: roots: a list of texts is wanted, not 7 (write [7])",
        f"gitwatch: {config}:4: there is no key \"limit\" (did you mean 'limits'?)",
        "  until this is put right, what the file said before is in force",
    ]
    config.write_text(f'roots = ["{code}"]')
    assert [report["name"] for report in gitwatch.reports()] == ["one", "two", "lib"]


@pytest.mark.parametrize("obstacle", ["directory", "fifo", "garbage"])
def test_whatever_lies_in_the_files_place_the_daemon_starts(
    gitwatch: Gitwatch, config: Path, code: Path, obstacle: str
) -> None:
    if obstacle == "directory":
        config.mkdir()
    elif obstacle == "fifo":
        os.mkfifo(config)
    else:
        config.write_bytes(os.urandom(100))
    done = gitwatch("status", code)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, b"3 repositories: all clean")
    assert done.stderr.startswith(f"gitwatch: {config}".encode())


def test_a_link_to_the_file_and_what_it_leads_to(daemon: Daemon, config: Path, code: Path) -> None:
    """As keepers of dotfiles have it."""
    dotfiles = code.parent / "dotfiles"
    dotfiles.mkdir()
    with daemon.connect() as client:
        assert known(client) == []
        config.symlink_to(dotfiles / "gitwatch.toml")
        assert known(client) == []
        (dotfiles / "gitwatch.toml").write_text(f'roots = ["{code}/one"]')
        assert known(client) == ["one"]
        (dotfiles / "gitwatch.toml").write_text(f'roots = ["{code}/two"]')
        assert known(client) == ["two"]


def test_unasked_an_emptied_file_is_no_answer_yet(daemon: Daemon, config: Path, code: Path) -> None:
    """An editor truncates the file and writes it a moment later; nobody loses what was known meanwhile."""
    config.write_text(f'roots = ["{code}"]')
    with daemon.connect() as client:
        assert known(client) == ["lib", "one", "two"]
        levels = client.call("doctor")["answers"]
        with config.open("w") as file:
            file.write(f'roots = ["{code}"]\nignore = []\n')
        assert known(client) == ["lib", "one", "two"]
        assert client.call("doctor")["answers"]["L3"] == levels["L3"]


def test_the_users_own_file_is_read_where_xdg_says(home: Path, tmp_path: Path, code: Path) -> None:
    from gitwatchd.wire.address import places

    where = places(os.environ, os.getuid())
    assert os.fsdecode(where.config) == os.environ["XDG_CONFIG_HOME"] + "/gitwatch/config.toml"
    without = {name: value for name, value in os.environ.items() if name != "XDG_CONFIG_HOME"}
    assert os.fsdecode(places(without, os.getuid()).config) == f"{home}/.config/gitwatch/config.toml"


def test_limits_are_the_files(gitwatch: Gitwatch, config: Path, code: Path, tmp_path: Path) -> None:
    config.write_text("limits.timeout_s = 0.000001\nlimits.jobs = 0")
    for_git_alone(Git(code / "one"))
    (report,) = json.loads(gitwatch("status", "--json", code / "one").stdout)
    with Client(gitwatch.places.socket) as client:
        assert client.call("doctor")["pool"]["at_most"] == 0
    assert report["state"] == "failed"
    config.write_text("")
    (code / "one/a").write_text("2")
    (report,) = gitwatch.reports(code / "one")
    assert report["counts"]["unstaged"] == 1


def test_config_shows_what_is_in_force_and_where_it_comes_from(gitwatch: Gitwatch, config: Path, code: Path) -> None:
    done = gitwatch("config")
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines()[0] == f"# {config} (there is no such file)"
    config.write_text(f'\nroots = ["{code}"]\n[groups]\nall = ["*"]\n[prompt]\ntemplate = "{{branch}}"\n')
    values = json.loads(gitwatch("config", "--json").stdout)["values"]
    assert values["roots"] == {"value": [str(code)], "origin": f"{config}:2"}
    assert values["groups.all"] == {"value": ["*"], "origin": f"{config}:4"}
    assert values["limits.timeout_s"] == {"value": 120.0, "origin": "default"}
    config.write_text("root = []\n")
    done = gitwatch("config")
    assert (done.returncode, done.stderr) == (1, b"")
    # What is in force is what the file said before, with the lines on which it said so.
    assert f"# {config}:2".encode() in done.stdout
    assert f"# problem: {config}:1: there is no key".encode() in done.stdout
