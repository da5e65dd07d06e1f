"""`config.toml`: from its text to `Settings`, or to what is wrong with it, line by line.

Owns nothing; pure. Runs: serving thread, when there is such a file; and the client's process for `--direct`. Imports
tomllib (16 ms), so whoever needs no file does not import this.
Invariant: all or nothing. A file with one bad key is not in force in part: what the user sees is either what they
wrote or what was in force before.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
import tomllib
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gitwatchd.settings.colours import WORDS
from gitwatchd.settings.model import Colours, Fetch, Limits, Prompt, Settings
from gitwatchd.settings.toml_lines import Place, find_lines

MOST_BYTES = 1 << 20
"""Nobody writes more by hand; what is larger is something else that lies in the file's place."""

_SECTIONS = {"limits": Limits, "fetch": Fetch, "prompt": Prompt, "colours": Colours}
_GROUP = "groups."


@dataclass(frozen=True, slots=True)
class Problem:
    line: int
    """From 1; 0: the file as a whole."""
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Parsed:
    """`settings` None: something is wrong, and `problems` says what."""

    settings: Settings | None
    problems: tuple[Problem, ...] = ()
    lines: Mapping[str, int] | None = None
    """Where each key (`limits.jobs`) that the file sets stands."""
    written: Mapping[str, Any] | None = None
    """The values of those keys, as written."""


class _Bad(Exception):
    """`at` leads from the key to the part of its value that is wrong."""

    def __init__(self, what: str, at: Place = (), hint: str = "") -> None:
        super().__init__(what)
        self.at = at
        self.hint = hint


def parse(content: bytes, home: bytes, columns: Collection[str]) -> Parsed:
    """Never raises: whatever somebody put there is told in `problems`. `columns`: those that a table can have."""
    if len(content) > MOST_BYTES:
        return Parsed(None, (Problem(0, "more than 1 MB: this is no configuration"),))
    try:
        text = content.decode()
        tree = tomllib.loads(text)
        places = find_lines(text.replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        return Parsed(None, (Problem(content[: error.start].count(b"\n") + 1, "not UTF-8"),))
    except tomllib.TOMLDecodeError as error:
        return Parsed(None, (_syntax(str(error), content),))
    except RecursionError:
        return Parsed(None, (Problem(0, "nested too deeply"),))
    return _read(tree, places, home, columns)


def _syntax(message: str, content: bytes) -> Problem:
    found = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", message)
    line = int(found[1]) if found and found[1] else content.count(b"\n") + 1
    what = message[: found.start()] if found else message
    return Problem(line, f"not TOML: {what[:1].lower()}{what[1:]}")


def _read(tree: dict[str, Any], places: Mapping[Place, int], home: bytes, columns: Collection[str]) -> Parsed:
    checks = _checks(home, columns)
    problems: list[Problem] = []
    read: dict[str, Any] = {}
    lines: dict[str, int] = {}
    written: dict[str, Any] = {}
    for place, value in _leaves(tree):
        name = ".".join(place)
        check = checks.get(_GROUP + "*" if place[0] == "groups" and len(place) > 1 else name)
        line = places[place]
        if check is None:
            problems.append(Problem(line, *_unknown(place, checks)))
            continue
        try:
            if place[0] == "groups":
                _check_group_name(place)
            read[name] = check(value)
        except _Bad as bad:
            problems.append(Problem(places.get((*place, *bad.at), line), f"{name}: {bad}", bad.hint))
        lines[name], written[name] = line, value
    if problems:
        return Parsed(None, tuple(sorted(problems, key=lambda problem: problem.line)), lines)
    return Parsed(_settings(read), (), lines, written)


def _leaves(tree: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Keys with their values; sections are opened, and so is nothing that stands where a value should."""
    for name, value in tree.items():
        if isinstance(value, dict) and (name in _SECTIONS or name == "groups"):
            for key, inner in value.items():
                yield (name, key), inner
        else:
            yield (name,), value


def _settings(read: Mapping[str, Any]) -> Settings:
    plain = {name: value for name, value in read.items() if "." not in name}
    groups = {name.removeprefix(_GROUP): globs for name, globs in read.items() if name.startswith(_GROUP)}
    sections = {
        section: kind(**{n.partition(".")[2]: v for n, v in read.items() if n.startswith(section + ".")})
        for section, kind in _SECTIONS.items()
    }
    return Settings(**plain, groups=groups, **sections)


# ---- what each key may hold


def _checks(home: bytes, columns: Collection[str]) -> dict[str, Callable[[Any], Any]]:
    """Every key there is: what turns a value of the file into one of `Settings`, or raises `_Bad`."""

    def path(value: str) -> bytes:
        if value == "~" or value.startswith("~/"):
            return os.path.normpath(home + value[1:].encode())
        if not value.startswith("/"):
            raise _Bad(f"{_shown(value)} is no absolute path", hint="begin it with / or ~/")
        return os.path.normpath(b"/" + value.lstrip("/").encode())

    def glob(value: str) -> bytes:
        if not value:
            raise _Bad("an empty glob matches nothing")
        if value.startswith("**/"):
            value = "/" + value
        return path(value) if "/" in value or value == "~" else value.encode()

    def column(value: str) -> str:
        if value != "-" and value.removeprefix("-") not in columns:
            raise _Bad(f"there is no column {_shown(value)}", hint=_nearest(value.removeprefix("-"), columns))
        return value

    return {
        "roots": _list_of(path),
        "ignore": _list_of(glob),
        "trust": _list_of(path),
        "columns": _list_of(column),
        _GROUP + "*": _list_of(glob),
        "limits.jobs": _whole_number,
        "limits.timeout_s": _above_zero,
        "limits.idle_exit_hours": _number,
        "fetch.jobs": _whole_number,
        "fetch.timeout_s": _above_zero,
        "prompt.deadline_ms": _whole_number,
        "prompt.template": _text,
        **{f"colours.{role}": _colour for role in Colours.__slots__},
    }


def keys() -> list[str]:
    """The names of all keys; `groups.*` stands for all groups."""
    return list(_checks(b"", ()))


def _list_of(check: Callable[[str], Any]) -> Callable[[Any], tuple[Any, ...]]:
    def check_all(value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list):
            raise _Bad(f"a list of texts is wanted, not {_shown(value)}", hint=f"write [{_shown(value)}]")
        read = []
        for number, item in enumerate(value):
            if not isinstance(item, str) or "\0" in item:
                raise _Bad(f"{_shown(item)} is no text", (number,))
            try:
                read.append(check(item))
            except _Bad as bad:
                raise _Bad(str(bad), (number,), bad.hint) from None
        return tuple(read)

    return check_all


def _whole_number(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= 1_000_000:  # True is an int
        raise _Bad(f"a whole number, 0 or more, is wanted, not {_shown(value)}")
    return value


def _number(value: Any) -> float:
    if type(value) not in (int, float) or not (math.isfinite(value) and 0 <= value <= 1e9):
        raise _Bad(f"a number, 0 or more, is wanted, not {_shown(value)}")
    return float(value)


def _above_zero(value: Any) -> float:
    if type(value) not in (int, float) or not (math.isfinite(value) and 0 < value <= 1e9):
        raise _Bad(f"a number above 0 is wanted, not {_shown(value)}")
    return float(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise _Bad(f"a text is wanted, not {_shown(value)}")
    return value


def _colour(value: Any) -> str:
    for word in _text(value).split():
        if word not in WORDS:
            raise _Bad(f"there is no colour {_shown(word)}", hint=_nearest(word, WORDS))
    return _text(value)


def _check_group_name(place: tuple[str, ...]) -> None:
    # What can stand in `@a,@b` on a command line without quotes, and is not already the name of something else.
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", place[1]) or place[1] == "all-repos":
        raise _Bad("no name for a group", hint="letters, digits, `_`, `.` and `-` can be in it")


def _unknown(place: tuple[str, ...], checks: Collection[str]) -> tuple[str, str]:
    names = [name for name in checks if name != _GROUP + "*"] + ["groups"]
    if place[0] in _SECTIONS and len(place) == 1:
        inside = ", ".join(n.partition(".")[2] for n in names if n.startswith(place[0] + "."))
        return f"{place[0]}: a table is wanted", f"write [{place[0]}], and below it: {inside}"
    if place == ("groups",):
        return "groups: a table is wanted", 'write [groups], and below it: NAME = ["GLOB", …]'
    # In a section, what is near is what is in that section; else `jobs` in [prompt] would lead to limits.jobs.
    inside_names = [name for name in names if name.startswith(place[0] + ".")] if len(place) > 1 else []
    if len(place) == 1:
        names += list(_SECTIONS)
    return f"there is no key {_shown('.'.join(place))}", _nearest(".".join(place), inside_names or names)


def _nearest(word: str, choices: Collection[str]) -> str:
    near = difflib.get_close_matches(word, choices, 1)
    return f"did you mean {near[0]!r}?" if near else f"there is: {', '.join(sorted(choices))}"


def _shown(value: Any) -> str:
    """A value as TOML has it, cut short."""
    if isinstance(value, bool | int | float | str):
        text = json.dumps(value, ensure_ascii=False)
    else:
        text = "a list" if isinstance(value, list) else "a table" if isinstance(value, dict) else str(value)
    return text if len(text) <= 60 else text[:57] + "…"
