"""Reports as JSON, and the warnings that go beside them.

Owns nothing. Runs: one process a command. JSON is UTF-8 whatever the locale, and only grows within a major
version.
"""

from __future__ import annotations

import json
from binascii import b2a_base64

from gitwatch.output import complain, plain

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_STRICT_STATES = ("unsafe", "stale", "gone", "pending")


def encode_reports(reports: Sequence[dict[str, Any]], *, lines: bool) -> bytes:
    """A JSON array with one report a line, or with `lines` one report a line and nothing around them."""
    encoded = [json.dumps(json_ready(report), ensure_ascii=False) for report in reports]
    if lines:
        return "".join(f"{report}\n" for report in encoded).encode()
    return ("[\n" + ",\n".join(encoded) + "\n]\n" if encoded else "[]\n").encode()


def encode(fields: dict[str, Any]) -> bytes:
    """One map, over as many lines as make it readable."""
    return (json.dumps(json_ready(fields), ensure_ascii=False, indent=2) + "\n").encode()


def json_ready(fields: dict[str, Any]) -> dict[str, Any]:
    """Bytes (names not UTF-8) get U+FFFD in their field, and `<field>_b64` beside it; in nested maps, too."""
    ready: dict[str, Any] = {}
    for field, value in fields.items():
        if isinstance(value, bytes):
            ready[field] = value.decode(errors="replace")
            ready[f"{field}_b64"] = b2a_base64(value, newline=False).decode()
        else:
            ready[field] = _ready(value)
    return ready


def _ready(value: Any) -> Any:
    if isinstance(value, dict):
        return json_ready(value)
    if isinstance(value, list):
        return [item.decode(errors="replace") if isinstance(item, bytes) else _ready(item) for item in value]
    return value


def complain_of(reports: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]], *, strict: bool) -> int:
    """Warn on standard error of what is not fresh, one line for each reason, and return the exit code."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    states = set()
    for report in reports:
        states.add(report["state"])
        if report["state"] != "fresh":
            group = (report["state"], report.get("reason") or "", report.get("hint") or "")
            groups.setdefault(group, []).append(plain(report["path"]))
    for (state, reason, hint), paths in groups.items():
        more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
        complain(": ".join(filter(None, (state, paths[0] + more, reason))), hint)
    for error in errors:
        complain(f"{plain(error['path'])}: {error['reason']}", error.get("hint") or "")
    return int(bool(errors or "failed" in states or (strict and states.intersection(_STRICT_STATES))))


def complain_of_each(reports: Sequence[dict[str, Any]], errors: Sequence[dict[str, Any]], *, strict: bool) -> int:
    """The same with a line for every repository, alike or not."""
    return max(
        [complain_of([report], [], strict=strict) for report in reports] + [complain_of([], errors, strict=strict)]
    )
