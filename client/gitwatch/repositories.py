"""`roots`, `refresh`, `verify`, `trust`, `doctor`, `config`: one request each, and its answer in words.

Owns nothing. Runs: one process a command.
"""

from __future__ import annotations

import os
import time

from gitwatch import output
from gitwatch.link import connect
from gitwatch.output import plain
from gitwatch.words import to_bytes
from gitwatchd import __version__

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from gitwatch.cli import Invocation
    from gitwatch.link import Link


def _call(invocation: Invocation, method: str, *params: Any, link: Link | None = None) -> Any:
    link = link or connect(invocation)
    return link.call(method, *params, timeout_s=invocation.remaining_s())


def _say(line: str) -> None:
    output.write_text(line + "\n")


def add_root(invocation: Invocation) -> int:
    (path,) = invocation.paths()
    options = {"include_ignored": True} if invocation.has("--include-ignored") else {}
    _call(invocation, "roots.add", path, options)
    _say(f"watching {plain(path)}")
    return 0


def remove_root(invocation: Invocation) -> int:
    (path,) = invocation.paths()
    link = connect(invocation)
    _call(invocation, "roots.remove", path, link=link)
    above = [root for root in _call(invocation, "roots.list", link=link) if _covers(root, path)]
    if above:
        root = above[0]
        _say(f"{plain(path)} is no root of its own any more, but watched with {plain(root['path'])}: {_kept(root)}")
    else:
        _say(f"no longer watching {plain(path)}")
    return 0


def _covers(root: Mapping[str, Any], path: bytes) -> bool:
    top = to_bytes(root["path"])
    return path == top or path.startswith(top.rstrip(b"/") + b"/")


def list_roots(invocation: Invocation) -> int:
    roots = _call(invocation, "roots.list")
    rows = [("ROOT", "REPOSITORIES", "KEPT")]
    rows += [(plain(root["path"]), str(root["repositories"]), _kept(root)) for root in roots]
    path_width, count_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    for path, count, kept in rows:
        _say(f"{path:{path_width}}  {count:{count_width}}  {kept}")
    return 0


def _kept(root: dict[str, Any]) -> str:
    if root.get("configured"):
        return "named in config.toml"
    if root["permanent"]:
        return "for ever"
    days = int((time.time() - root["asked_at"]) // 86400)
    asked = "today" if days < 1 else "yesterday" if days == 1 else f"{days} days ago"
    return f"for 14 days after it was last asked for ({asked})"


def refresh(invocation: Invocation) -> int:
    from gitwatch.progress import Progress
    from gitwatch.status import wait_option

    paths = invocation.paths()
    link = connect(invocation)
    with Progress(shown=not invocation.has("--no-progress")) as progress:
        answer = link.call(
            "refresh", paths, {**wait_option(invocation), **invocation.groups(), "progress": progress.wanted},
            timeout_s=invocation.remaining_s(), on_notification=progress.on_notification,
        )  # fmt: skip
    unfinished, failed = answer["unfinished"], answer["failed"]
    _say(f"refreshed {_repositories(answer['repositories'] - unfinished)}")
    if unfinished:
        output.complain(f"{unfinished} not finished in time: they go on, and `gitwatch status` waits for them")
    if failed:
        output.complain(f"{failed} failed: `gitwatch status` says why")
    return int(bool(unfinished or failed))


def verify(invocation: Invocation) -> int:
    answer = _call(invocation, "verify", invocation.paths(), invocation.groups())
    differences = answer["differences"]
    for difference in differences:
        _say(f"{plain(difference['path'])}: the daemon's answer is not git's")
        expected, answered = (_entries(difference[key]) for key in ("expected", "answered"))
        for entry in expected:
            if entry not in answered:
                _say(f"  git only:    {plain(entry)}")
        for entry in answered:
            if entry not in expected:
                _say(f"  daemon only: {plain(entry)}")
    left = answer.get("not_compared") or 0
    note = f"; {left} not compared (unsafe, failed, or changed meanwhile)" if left else ""
    _say(f"verified {_repositories(answer['checked'])}: {len(differences)} differ from git{note}")
    return int(bool(differences))


def _entries(raw: bytes | str | None) -> list[bytes]:
    raw = raw.encode() if isinstance(raw, str) else raw or b""
    return raw.split(b"\0")


def _repositories(count: int) -> str:
    return f"{count} {'repository' if count == 1 else 'repositories'}"


def trust(invocation: Invocation) -> int:
    (path,) = invocation.paths()
    if invocation.has("--remove"):
        answer = _call(invocation, "trust", path, {"remove": True})
        if answer["configured"]:
            output.complain(f"{plain(answer['path'])} is trusted by config.toml", "take it out of `trust` there")
            return 1
        _say(f"no longer trusting {plain(answer['path'])}")
        return 0
    _call(invocation, "trust", path)
    _say(f"trusting {plain(path)} until its configuration of filters changes")
    return 0


def doctor(invocation: Invocation) -> int:
    if invocation.has("--dump"):
        import json

        output.write_text(json.dumps(_call(invocation, "dump"), indent=1) + "\n")
        return 0
    from gitwatch.service import facts_for_doctor

    # The daemon starts no process that it does not need, so who asks looks at the service.
    beside = {} if invocation.state_dir is not None else {"service": facts_for_doctor(os.environ)}
    link = connect(invocation)
    code = _show(invocation, "doctor", lambda facts: facts["failed"], beside, link)
    if link.hello["version"] != __version__:
        # Of the same protocol: they understand each other, so nobody replaces it unasked.
        output.complain(
            f"the daemon is gitwatchd {plain(link.hello['version'])}, this is gitwatch {__version__}: it began before"
            " the installation changed",
            "gitwatch daemon restart",
        )
    return code


def config(invocation: Invocation) -> int:
    return _show(invocation, "config", lambda effective: len(effective["problems"]))


def _show(
    invocation: Invocation, view: str, failed: Callable[[dict[str, Any]], int], beside: Mapping[str, Any] = {},
    link: Link | None = None,
) -> int:  # fmt: skip
    """What the daemon knows under that name, in words or as JSON, with what we know `beside` it; `failed` counts what
    is wrong in the latter."""
    if invocation.has("--json"):
        from gitwatch.json_form import encode

        facts = {**_call(invocation, view, link=link), **beside}
        output.write(encode(facts))
        return int(bool(failed(facts)))
    options = {"width": output.width(output.STDOUT), "colour": output.wants_colour(), **beside}
    answer = _call(invocation, "render", view, options, link=link)
    output.write_text(answer["text"])
    for note in answer["notes"]:
        output.complain(note)
    return int(bool(answer["failed"]))
