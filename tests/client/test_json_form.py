from __future__ import annotations

import base64
import json

import pytest
from gitwatch.json_form import complain_of, encode, encode_reports, json_ready


def test_names_that_are_not_utf8_keep_their_bytes_beside() -> None:
    ready = json_ready({"branch": b"gr\xfcn", "upstream": {"name": b"o/gr\xfcn", "gone": False}, "oid": None})
    assert list(ready) == ["branch", "branch_b64", "upstream", "oid"]
    assert ready["branch"] == "gr\ufffdn"
    assert base64.b64decode(ready["branch_b64"]) == b"gr\xfcn"
    assert ready["upstream"]["name"] == "o/gr\ufffdn"
    assert base64.b64decode(ready["upstream"]["name_b64"]) == b"o/gr\xfcn"


def test_maps_within_lists_too() -> None:
    ready = json.loads(encode({"errors": [{"path": b"/\xff"}, [b"\xff", 1]]}))
    assert ready == {"errors": [{"path": "/\ufffd", "path_b64": "L/8="}, ["\ufffd", 1]]}


@pytest.mark.parametrize("reports", [[], [{"a": 1}], [{"a": "ü"}, {"a": None}]])
def test_array_and_lines(reports: list[dict[str, object]]) -> None:
    assert json.loads(encode_reports(reports, lines=False)) == reports
    assert [json.loads(line) for line in encode_reports(reports, lines=True).splitlines()] == reports


def report(state: str, reason: str = "", path: str = "/r") -> dict[str, object]:
    return {"path": path, "state": state, "reason": reason, "hint": ""}


def test_alike_warnings_are_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    reports = [report("stale", "timed out", f"/r{i}") for i in range(500)] + [report("unsafe", "x\x1b[2J")]
    assert complain_of(reports, [], strict=False) == 0
    assert capfd.readouterr().err.splitlines() == [
        "gitwatch: stale: /r0 and 499 more: timed out",
        "gitwatch: unsafe: /r: x\\x1b[2J",
    ]


@pytest.mark.parametrize(
    ("state", "exit_code", "strict"),
    [("fresh", 0, 0), ("failed", 1, 1), ("unsafe", 0, 1), ("stale", 0, 1), ("gone", 0, 1), ("pending", 0, 1)],
)
def test_exit_code(state: str, exit_code: int, strict: int) -> None:
    assert complain_of([report(state)], [], strict=False) == exit_code
    assert complain_of([report(state)], [], strict=True) == strict


def test_a_path_that_could_not_be_answered_fails() -> None:
    assert complain_of([], [{"path": "/x", "reason": "no such directory"}], strict=False) == 1
