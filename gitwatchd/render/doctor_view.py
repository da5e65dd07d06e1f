"""The answer of `gitwatch doctor`: what the daemon knows of itself, as plain text.

Owns nothing; pure. Runs: serving thread.
The map comes from the daemon's parts; sections known here are drawn in a fixed order with their own titles,
others after them under their own names, so that a part can tell more without a change here.

    version, python, git, git_version, pid, started_at (epoch s), socket, state_dir, cache_dir, log,
        configuration (file), configured (keys in force from it)
    service {installed, starts, manager, socket, service}, as the client found it
    limits {max_user_watches, max_user_instances, max_queued_events, open_files}
    raised_by {limit: command}
    slowest_s {path: seconds}
    watches {used, budget, wanted, descriptors, discovery}
    watches_by_repository {path: watches}, the largest
    repositories {total, by_state {..}, by_watch {..}}
    answers {L0, L1, L3}
    audits {done, wrong, unreported}
    pool {workers, running, queued, at_most}
    problems [{what, hint; of a repository also path, how (failed, unsafe, polled), reason}]
    errors [{at (epoch s), path, text}], the newest last
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gitwatchd.render.table import Palette, ago_shown
from gitwatchd.render.text import shown, width_of

_TITLES = {
    "service": "systemd service",
    "limits": "limits of the machine",
    "raised_by": "what raises them, should they be too low, until the next start of the machine",
    "watches": "watches",
    "watches_by_repository": "watches by repository, the largest",
    "slowest_s": "slowest whole analyses, in seconds",
    "repositories": "repositories",
    "answers": "answers",
    "audits": "audits: answers that were compared with git's, while nothing else was to do",
    "pool": "worker processes",
    "git_asked_because": "why git was asked",
}
_NAMES = {
    "": {"started_at": "started", "configured": "keys set there"},
    "watches": {
        "used": "in use", "budget": "may be used", "wanted": "would be used, if there were room",
        "descriptors": "inotify instances", "discovery": "in use to find new repositories",
        "events": "events so far", "overflows": "events came too fast for the kernel's queue",
    },
    "repositories": {"by_state": "last answers", "by_watch": "how they are followed"},
    "audits": {"done": "compared", "wrong": "wrong", "unreported": "changes that the kernel had not reported"},
    "pool": {
        "workers": "processes now", "running": "analyses under way", "queued": "analyses waiting",
        "at_most": "analyses at once, at most",
    },
    "answers": {
        "L0": "from memory", "L1": "worked out from what changed", "L2": "by git, changed paths only",
        "L3": "by git, everything",
    },
}  # fmt: skip
"""What is told of these sections (the first: of the daemon itself), in words for somebody who has not read the code."""
_MEANINGS = {
    "polled": "Answers are right, but each takes as long as git does.",
    "unsafe": "HEAD and refs are known; its files are not looked at.",
}
_LAST = ("problems", "errors")


def render_doctor(facts: Mapping[str, Any], *, colour: Palette, now: float) -> str:
    """`facts` as in the module's docstring, any part of it absent; ends with a newline.

    Nothing is cut to the terminal's width: paths, and the commands that cure something, are there to be copied.
    """
    lines = _heading("gitwatchd", colour)
    lines += _pairs(_named("", {key: value for key, value in facts.items() if not _is_section(value)}), now)
    for key in (*_TITLES, *(k for k in facts if k not in _TITLES and k not in _LAST)):
        value = facts.get(key)
        if isinstance(value, Mapping) and value:
            lines += ["", *_heading(_TITLES.get(key, shown(key)), colour), *_pairs(_named(key, value), now)]
        elif value and _is_section(value):
            lines += ["", *_heading(shown(key), colour), *(f"  {_value(item)}" for item in value)]
    errors = facts.get("errors")
    if errors:
        lines += ["", *_heading("last warnings of the log", colour)]
        lines += [f"  {_when(error, now)}{_where(error)}{shown(error['text'])}" for error in errors]
    return "".join(f"{line}\n" for line in [*lines, *_verdict(facts, colour)])


def _verdict(facts: Mapping[str, Any], colour: Palette) -> list[str]:
    """At the end, where a terminal stands still: what is wrong, what that means, and what helps."""
    problems = []
    wrong = facts.get("audits", {}).get("wrong")
    if wrong:
        what = f"{wrong} audited answers were wrong. They were put right; that they were is a bug: please report it"
        problems.append((what, ["The log says how to reproduce it: gitwatch daemon logs"]))
    alike: dict[tuple[str, ...], list[str]] = {}
    for problem in facts.get("problems") or ():
        hint = shown(problem.get("hint") or "")
        if problem.get("path") is None:
            problems.append((shown(problem["what"]), _cure(hint)))
        else:
            alike.setdefault((problem["how"], problem["reason"], hint), []).append(shown(problem["path"]))
    for (how, reason, hint), paths in alike.items():
        if len(paths) == 1:
            what = f"{paths[0]}: {how}: {shown(reason)}"
        else:
            what = f"{len(paths)} repositories are {how}: {shown(reason)}: {', '.join(paths[:_NAMED])}"
            what += f" and {len(paths) - _NAMED} more" * (len(paths) > _NAMED)
        problems.append((what, [*filter(None, [_MEANINGS.get(how)]), *_cure(hint)]))
    if not problems:
        return ["", "Nothing is wrong."]
    lines: list[str] = []
    for what, more in problems:
        lines += ["", *_mark(f"problem: {what}", colour)]
        # One command often cures several: it stands once, to be typed once.
        fresh = [f"  {line}" for line in more if f"  {line}" not in lines or line in _MEANINGS.values()]
        lines += fresh if len(fresh) == len(more) else [*fresh, "  The command above helps here, too."]
    count = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
    return [*lines, "", f"{count}. Below each stands what it means, or what helps."]


_NAMED = 3


def _cure(hint: str) -> list[str]:
    setting = hint.removeprefix("sudo sysctl ")
    if setting in (hint, ""):
        return [hint] if hint else []
    return [hint, f"and for good: echo {setting} | sudo tee /etc/sysctl.d/60-inotify.conf"]


def doctor_failed(facts: Mapping[str, Any]) -> int:
    """Failed repositories and wrong audits: nonzero makes `gitwatch doctor` exit 1.

    Other problems (a polled repository, one that is not trusted) are told, and are no failure of anything.
    """
    failed = facts.get("repositories", {}).get("by_state", {}).get("failed", 0)
    return int(failed) + bool(facts.get("audits", {}).get("wrong"))


def _is_section(value: object) -> bool:
    return isinstance(value, (Mapping, list, tuple))


def _heading(text: str, colour: Palette) -> list[str]:
    return [_drawn(text, "title", colour)]


def _mark(text: str, colour: Palette) -> list[str]:
    return [_drawn(text, "failure", colour)]


def _drawn(text: str, role: str, colour: Palette) -> str:
    look = colour.get(role)
    return f"\x1b[{look}m{text}\x1b[0m" if look else text


def _named(section: str, values: Mapping[str, Any]) -> dict[str, Any]:
    names = _NAMES.get(section, {})
    told = {names.get(key, key): value for key, value in values.items()}
    if section == "pool" and values.get("at_most", 0) is None:
        told[names["at_most"]] = "as many as the cores and the load allow"
    return told


def _pairs(values: Mapping[str, Any], now: float) -> list[str]:
    if not values:
        return []
    names = {key: shown(str(key)).replace("_", " ") for key in values}
    column = max(map(width_of, names.values()))
    return [
        f"  {names[key]}{' ' * (column - width_of(names[key]))}  "
        + (ago_shown(now - value) if key == "started" and value else _value(value))
        for key, value in values.items()
    ]


def _value(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping):
        return ", ".join(f"{shown(str(key))} {_value(item)}" for key, item in value.items()) or "-"
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return ", ".join(map(_value, value)) or "-"
    return shown(value) if isinstance(value, (str, bytes)) else str(value)


def _when(error: Mapping[str, Any], now: float) -> str:
    return f"{ago_shown(now - error['at'])}  " if error.get("at") else ""


def _where(error: Mapping[str, Any]) -> str:
    return f"{shown(error['path'])}: " if error.get("path") else ""
