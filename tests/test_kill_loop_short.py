"""The short form of the kill loop (tests/kill_loop.py): a fixed seed."""

from __future__ import annotations

from pathlib import Path

from tests.kill_loop import run_loop


def test_after_every_kill_every_answer_is_right_and_no_decision_is_lost(tmp_path: Path) -> None:
    tally = run_loop(tmp_path, 5, 7)
    assert tally["kills"] == 5
    assert tally["decisions acknowledged"] > 5 and tally["changes under load"] > 10
    assert tally["answers at once: stale"] > 0 and tally["answers waited for: fresh"] > 30
