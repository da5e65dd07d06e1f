from __future__ import annotations

from gitwatch.watch import screenful


def test_a_screenful_is_never_higher_than_the_screen() -> None:
    lines = [f"line {number}" for number in range(30)]
    for rows in (2, 3, 5, 24, 31, 32, 33):
        drawn = screenful(lines, rows)
        assert drawn.startswith("\x1b[H") and drawn.endswith("q quits\x1b[K\x1b[J")
        assert drawn.count("\r\n") < rows or rows == 2
        hidden = 30 - drawn.count("line ") if rows < 32 else 0
        assert (f"… {hidden} more lines" in drawn) is (rows < 32)
