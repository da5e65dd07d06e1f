"""Must show: write a file, ask at once, 0 wrong. The long form is `python -m tests.scenarios.ask_at_once`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.ask_at_once import BIG, SMALL, ask, build
from tests.zoo.daemon import Client


@pytest.mark.parametrize(("files", "asks"), [(SMALL, 100), (BIG, 50)])
def test_what_was_written_right_before_the_question_is_in_the_answer(
    client: Client, tmp_path: Path, files: int, asks: int
) -> None:
    assert ask(client, build(tmp_path / "repo", files), files, asks) == []
    # Not by asking git each time.
    answers = client.call("doctor")["answers"]
    assert answers["L1"] > 0 and answers["L3"] <= asks / 2
