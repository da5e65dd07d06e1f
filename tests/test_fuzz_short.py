"""The short form of the fuzzing (tests/fuzz.py): fixed seeds, and what the long form found."""

from __future__ import annotations

from pathlib import Path

import pytest

from gitwatchd.wire.rpc import USAGE, RemoteError
from tests.fuzz import run
from tests.zoo.commands import judge, new_repository
from tests.zoo.daemon import Daemon


@pytest.mark.parametrize("target", ["wire", "session", "index", "config", "ignore", "porcelain", "refs"])
def test_mutated_input_ends_as_declared(target: str) -> None:
    assert run(60.0, 5, target, most=500)[target] == 500


def test_nonsense_and_garbage_to_a_live_daemon() -> None:
    tally = run(60.0, 5, "daemon", most=600)
    assert tally["answered"] > 100 and tally["refused"] > 100 and tally["broken streams"] > 20


def test_a_refused_request_is_not_answered_again(daemon: Daemon, tmp_path: Path) -> None:
    """Found by fuzzing: an option looked at after the work had begun; the answer then came after the refusal, and the
    client took it for that of its next request."""
    git = new_repository(tmp_path / "r", {"a": b"1\n"})
    with daemon.connect() as client:
        with pytest.raises(RemoteError) as refused:
            client.call("status", [str(git.path)], {"progress": "x"})
        assert refused.value.code == USAGE
        assert client.entries(git.path).stdout == judge(git.path)
