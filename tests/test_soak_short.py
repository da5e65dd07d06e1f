"""The short form of the soak (tests/soak.py): fixed seeds, every answer git's own."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.soak import run_round


@pytest.mark.parametrize("seed", [2, 4, 102, 203])
def test_every_answer_of_a_round_is_git_s(seed: int) -> None:
    """And most are made without git: the proof would be empty if they were git's own."""
    tally: Counter[str] = Counter()
    wrong = run_round(seed, 60, tally)
    assert wrong is None, wrong
    assert tally["answers L1"] > 20
