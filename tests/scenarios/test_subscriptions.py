"""Must show: whoever subscribed is told of a change unasked; and progress during a first scan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gitwatchd.errors import DaemonUnavailable
from gitwatchd.wire.blocking import Connection
from tests.scenarios.commands import HangingGit, for_git_alone
from tests.zoo.commands import Git, new_repository
from tests.zoo.daemon import Client, Daemon


class _HeardEnough(Exception):
    pass


class Subscriber:
    """One connection that subscribed; `hear(condition)` waits for the notification that is it."""

    def __init__(self, daemon: Daemon, *paths: Path, **options: Any) -> None:
        self.connection = Connection(daemon.places.socket, 20.0)
        self.heard: list[tuple[str, list[Any]]] = []
        options["paths"] = [str(path) for path in paths]
        answer = self.connection.call("subscribe", options, on_notification=self._keep)
        assert isinstance(answer["subscription"], int)

    def _keep(self, method: str, params: list[Any]) -> None:
        self.heard.append((method, params))

    def hear(self, condition: Callable[[list[Any]], bool]) -> list[Any]:
        """The params of the first notification, from now on, for which `condition` is true."""
        found: list[Any] = []

        def look(method: str, params: list[Any]) -> None:
            self._keep(method, params)
            if condition(params):
                found.extend(params)
                raise _HeardEnough

        self.connection.renew_deadline(20.0)
        try:
            self.connection._await_response(look)
        except _HeardEnough:
            return found
        raise AssertionError("a response to nothing")


@pytest.fixture
def git(repository: Callable[..., Git]) -> Git:
    return repository({"a": b"1\n", "b": b"1\n"}, "watched")


@pytest.fixture
def subscribe(daemon: Daemon) -> Iterator[Callable[..., Subscriber]]:
    made: list[Subscriber] = []

    def make(*paths: Path, **options: Any) -> Subscriber:
        made.append(Subscriber(daemon, *paths, **options))
        return made[-1]

    yield make
    for subscriber in made:
        subscriber.connection.close()


def unstaged(count: int) -> Callable[[list[Any]], bool]:
    return lambda params: params[-1]["counts"] is not None and params[-1]["counts"]["unstaged"] == count


def test_a_change_is_told_unasked(
    client: Client, subscribe: Callable[..., Subscriber], git: Git, tmp_path: Path
) -> None:
    other = new_repository(tmp_path / "other", {"a": b"1\n"})
    client.reports(git.path)
    client.reports(other.path)
    mine, everything = subscribe(git.path), subscribe()
    (other.path / "a").write_bytes(b"22\n")
    assert everything.hear(unstaged(1))[0]["path"] == str(other.path)
    (git.path / "a").write_bytes(b"22\n")
    (report,) = mine.hear(unstaged(1))
    assert (report["path"], report["state"], report["dirty"]) == (str(git.path), "fresh", True)
    assert everything.hear(unstaged(1))[0]["path"] == str(git.path)
    git("commit", "-qam", "a commit")
    (report,) = mine.hear(lambda params: params[0]["summary"] == "a commit" and not params[0]["dirty"])
    assert report["oid"] == git("rev-parse", "HEAD").decode().strip()
    assert {method for method, _ in mine.heard} == {"changed"}
    assert {params[0]["path"] for _, params in mine.heard} == {str(git.path)}


def test_a_repository_that_nobody_asked_about_yet(subscribe: Callable[..., Subscriber], git: Git) -> None:
    subscriber = subscribe(git.path)
    assert subscriber.hear(unstaged(0))[0]["path"] == str(git.path)
    (git.path / "a").write_bytes(b"22\n")
    subscriber.hear(unstaged(1))


def test_method_and_arguments_of_the_subscriber_s_own(
    client: Client, subscribe: Callable[..., Subscriber], git: Git
) -> None:
    client.reports(git.path)
    subscriber = subscribe(git.path, method="told", args=["first", [1, {"b": 2}]])
    (git.path / "a").write_bytes(b"22\n")
    params = subscriber.hear(unstaged(1))
    assert params[:-1] == ["first", [1, {"b": 2}]]
    assert {method for method, _ in subscriber.heard} == {"told"}


def test_neovim_is_told_through_the_one_function_that_it_accepts(
    client: Client, subscribe: Callable[..., Subscriber], git: Git
) -> None:
    """Its `nvim_exec_lua` takes the code and one list of arguments."""
    client.reports(git.path)
    subscriber = subscribe(git.path, method="nvim_exec_lua", args=["return on_change(...)"])
    (git.path / "a").write_bytes(b"22\n")
    code, (report,) = subscriber.hear(lambda params: params[1][0]["counts"]["unstaged"] == 1)
    assert (code, report["path"]) == ("return on_change(...)", str(git.path))


def untracked(count: int) -> Callable[[list[Any]], bool]:
    return lambda params: params[-1]["counts"]["untracked"] == count


def test_changes_are_told_together_when_the_repository_has_settled(
    client: Client, subscribe: Callable[..., Subscriber], git: Git, tmp_path: Path
) -> None:
    client.reports(git.path)
    settled, at_once, never = subscribe(git.path, settle_s=0.5), subscribe(git.path), subscribe(git.path, settle_s=600)

    def add(number: int) -> None:
        """By one event, and asking makes it an outcome of its own."""
        (tmp_path / "aside").write_bytes(b"")
        (tmp_path / "aside").rename(git.path / f"new{number}")
        assert client.reports(git.path)[0]["counts"]["untracked"] == number

    for number in range(1, 5):
        add(number)
    for number in (5, 6):  # by then all is told that was to be told before
        settled.hear(untracked(number - 1))
        add(number)
    settled.hear(untracked(6))
    at_once.hear(untracked(6))
    assert [params[0]["counts"]["untracked"] for _, params in at_once.heard] == [1, 2, 3, 4, 5, 6]
    # On a slow machine it may have settled in between, too.
    told = [params[0]["counts"]["untracked"] for _, params in settled.heard]
    assert told == sorted(set(told)), "each once, not once for each change"
    never.connection.take_notifications(never._keep)
    assert never.heard == []


def test_progress_during_a_first_scan(held_daemon: Daemon, hanging_git: HangingGit, tmp_path: Path) -> None:
    root = tmp_path / "root"
    for number in range(3):
        for_git_alone(new_repository(root / f"r{number}", {"a": b"1\n"}, "--template="))
    told: list[dict[str, Any]] = []

    def on_notification(method: str, params: list[Any]) -> None:
        assert method == "progress"
        told.extend(params)
        if params[0]["phase"] == "analysing" and params[0]["total"] == 3:
            hanging_git.release()

    hanging_git.hold()
    connection = Connection(held_daemon.places.socket, 30.0)
    try:
        answer = connection.call("status", [str(root)], {"progress": True}, on_notification=on_notification)
        assert [r["state"] for r in answer["repos"]] == ["fresh"] * 3
        phases = [each["phase"] for each in told]
        assert set(phases) <= {"discovering", "analysing"} and phases == sorted(phases, reverse=True)
        assert all(0 <= each["done"] <= each["found"] <= 3 for each in told)
        # Nobody is told of progress without having asked for it.
        told.clear()
        connection.renew_deadline(30.0)
        connection.call("status", [str(root)], {"verify": True}, on_notification=on_notification)
        assert told == []
    finally:
        connection.close()


def test_subscribers_learn_that_the_daemon_ends(daemon: Daemon, subscribe: Callable[..., Subscriber], git: Git) -> None:
    subscriber = subscribe(git.path)
    daemon.stop()
    with pytest.raises(DaemonUnavailable):
        subscriber.hear(lambda params: False)
    assert not os.path.exists(daemon.places.socket)
