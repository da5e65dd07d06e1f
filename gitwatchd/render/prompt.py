"""One repository as one line for a prompt, and as gitstatus's fields and variables.

Owns nothing; pure. Runs: serving thread.
Invariant: no value (a branch's name, a tag, a path) can do anything but be shown: control characters are replaced, and
what the consumer would expand is escaped for that consumer. Only the words of a template make colours.

A template is text with `{FIELD}`, `{COLOUR}` and groups in brackets, which are left out when every field in them is
empty or 0. A backslash takes the meaning from the character after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from gitwatchd.errors import UserError
from gitwatchd.model.report import Facts, State, Tracking
from gitwatchd.model.repository import Location
from gitwatchd.render.text import shown


class Consumer(StrEnum):
    """Who expands the line after us, and how colours are written for it."""

    TEXT = "text"
    ZSH = "zsh"
    """As a parameter in PROMPT, under prompt_subst: `%` is expanded."""
    BASH = "bash"
    """As a parameter in PS1: nothing is expanded; colours are marked as taking no columns."""
    FISH = "fish"
    TMUX = "tmux"
    """Output of `#(...)` in a status line: `#[...]` is a style."""


BUILT_IN = (
    "{head}[ [⇣{behind}][⇡{ahead}]][ [⇠{push_behind}][⇢{push_ahead}]][ *{stashes}][ {action}]"
    "[ ~{conflicted}][ +{staged}][ !{unstaged}][ ?{untracked}]"
)

FIELDS = (
    "head", "branch", "tag", "commit", "summary", "name", "path", "upstream", "remote",
    "behind", "ahead", "push_behind", "push_ahead", "stashes", "action",
    "conflicted", "staged", "unstaged", "untracked",
)  # fmt: skip

_STALE = "…"
_ASCII = str.maketrans({"⇣": "v", "⇡": "^", "⇠": "<", "⇢": ">", "↑": "^", "↓": "v", "…": "..."})
_COMMIT_DIGITS = 8


# ---- the template


@dataclass(frozen=True, slots=True)
class _Field:
    name: str


@dataclass(frozen=True, slots=True)
class _Colour:
    word: str


@dataclass(frozen=True, slots=True)
class _Group:
    parts: Sequence[_Part]


_Part = str | _Field | _Colour | _Group
Template = Sequence[_Part]

_TOKEN = re.compile(r"(\\.|\{[^{}\[\]]*\}|[\[\]{}])", re.DOTALL)
_NESTED_MOST = 20


def parse_template(text: str, colours: Mapping[str, str]) -> Template:
    """`colours`: the words that may stand in braces beside the fields. Raises UserError."""
    return _parse(filter(None, _TOKEN.split(text)), colours, 0)


def _parse(pieces: Iterator[str], colours: Mapping[str, str], depth: int) -> Template:
    if depth > _NESTED_MOST:
        raise UserError("template: groups are nested too deeply")
    parts: list[_Part] = []
    for piece in pieces:
        if piece.startswith("\\") and len(piece) == 2:
            parts.append(shown(piece[1]))
        elif piece == "[":
            parts.append(_Group(_parse(pieces, colours, depth + 1)))
        elif piece == "]":
            if not depth:
                raise UserError("template: a ] without its [", "say \\] for the character itself")
            return parts
        elif piece in ("{", "}"):
            raise UserError(f"template: a {piece} that belongs to no field", f"say \\{piece} for the character itself")
        elif piece.startswith("{"):
            parts.append(_named(piece[1:-1], colours))
        else:
            parts.append(shown(piece))
    if depth:
        raise UserError("template: a [ without its ]", "say \\[ for the character itself")
    return parts


def _named(name: str, colours: Mapping[str, str]) -> _Part:
    if name in FIELDS:
        return _Field(name)
    if name in colours:
        return _Colour(name)
    known = ", ".join((*FIELDS, *colours))
    raise UserError(f"template: no field or colour {shown(name)[:40]!r}", f"one of: {known}")


# ---- the line


def render_line(
    template: Template,
    location: Location,
    facts: Facts,
    state: State,
    *,
    consumer: Consumer,
    colours: Mapping[str, str],
    ascii_only: bool,
) -> str:
    """Empty where nothing is known yet. What is not fresh is marked."""
    if state in (State.PENDING, State.GONE):
        return ""
    if state is State.FAILED:
        line = "status failed"
    else:
        escape = _ESCAPES[consumer]
        values = {name: escape(value) for name, value in _values(location, facts).items()}
        line = _render(template, values, consumer, colours)[0]
        if state is State.STALE:
            line += f" {_STALE}"
        elif state is State.UNSAFE:
            line += " unsafe"
    return line.translate(_ASCII).encode("ascii", "replace").decode() if ascii_only else line


def _render(
    template: Template, values: Mapping[str, str], consumer: Consumer, colours: Mapping[str, str]
) -> tuple[str, bool]:
    """The text, and whether any field in it says something."""
    pieces, says = [], False
    for part in template:
        if isinstance(part, str):
            pieces.append(_ESCAPES[consumer](part))
        elif isinstance(part, _Field):
            value = values[part.name]
            pieces.append(value)
            says = says or value not in ("", "0")
        elif isinstance(part, _Colour):
            pieces.append(_colour(part.word, colours[part.word], consumer))
        else:
            text, inner = _render(part.parts, values, consumer, colours)
            if inner:
                pieces.append(text)
                says = True
    return "".join(pieces), says


def _colour(word: str, parameters: str, consumer: Consumer) -> str:
    if consumer is Consumer.TMUX:
        return f"#[{_tmux_style(word)}]"
    sequence = f"\x1b[{parameters}m"
    if consumer is Consumer.ZSH:
        return "%{" + sequence + "%}"
    return f"\x01{sequence}\x02" if consumer is Consumer.BASH else sequence


def _tmux_style(word: str) -> str:
    named = {"reset": "default", "bold": "bold", "dim": "dim", "italic": "italics", "underline": "underscore"}
    if word in named or word == "reverse":
        return named.get(word, word)
    return "fg=" + word.replace("bright-", "bright")


_ESCAPES: Mapping[Consumer, Callable[[str], str]] = {
    Consumer.TEXT: str,
    Consumer.ZSH: lambda text: text.replace("%", "%%"),
    Consumer.BASH: str,
    Consumer.FISH: str,
    Consumer.TMUX: lambda text: text.replace("#", "##"),
}


def _values(location: Location, facts: Facts) -> dict[str, str]:
    behind, ahead = _distance(facts.upstream)
    push_behind, push_ahead = _distance(own_push(facts))
    c = facts.counts
    upstream = facts.upstream
    return {
        "head": _head(facts), "branch": shown(facts.branch or b""), "tag": shown(facts.tag or b""),
        "commit": _short(facts), "summary": shown(facts.summary or b""),
        "name": shown(location.path.rpartition(b"/")[2]), "path": shown(location.path),
        "upstream": "" if upstream is None else shown(upstream.name),
        "remote": "" if upstream is None else shown(upstream.remote or b""),
        "behind": behind, "ahead": ahead, "push_behind": push_behind, "push_ahead": push_ahead,
        "stashes": str(facts.stashes or 0), "action": action_of(facts),
        "conflicted": "" if c is None else str(c.conflicted), "staged": "" if c is None else str(c.staged),
        "unstaged": "" if c is None else str(c.unstaged), "untracked": "" if c is None else str(c.untracked),
    }  # fmt: skip


def _head(facts: Facts) -> str:
    """As gitstatus's own prompt names it: the branch, else `#TAG`, else `@COMMIT`."""
    if facts.branch is not None:
        return shown(facts.branch)
    if facts.tag is not None:
        return "#" + shown(facts.tag)
    return "" if facts.oid is None else "@" + _short(facts)


def _short(facts: Facts) -> str:
    return "" if facts.oid is None else facts.oid[:_COMMIT_DIGITS].decode()


def _distance(tracking: Tracking | None) -> tuple[str, str]:
    return ("", "") if tracking is None else (str(tracking.behind or 0), str(tracking.ahead or 0))


def own_push(facts: Facts) -> Tracking | None:
    """Where pushes go, when that is another ref than the upstream: gitstatus shows no distance twice."""
    if facts.push is None or (facts.upstream is not None and facts.push.name == facts.upstream.name):
        return None
    return facts.push


def action_of(facts: Facts) -> str:
    action = facts.action
    if action is None:
        return ""
    return action.name if action.step is None else f"{action.name} {action.step}/{action.total}"


# ---- gitstatus's fields

VARIABLES = (
    "WORKDIR", "COMMIT", "LOCAL_BRANCH", "REMOTE_BRANCH", "REMOTE_NAME", "REMOTE_URL", "ACTION", "INDEX_SIZE",
    "NUM_STAGED", "NUM_UNSTAGED", "NUM_CONFLICTED", "NUM_UNTRACKED", "COMMITS_AHEAD", "COMMITS_BEHIND", "STASHES",
    "TAG", "NUM_UNSTAGED_DELETED", "NUM_STAGED_NEW", "NUM_STAGED_DELETED", "PUSH_REMOTE_NAME", "PUSH_REMOTE_URL",
    "PUSH_COMMITS_AHEAD", "PUSH_COMMITS_BEHIND", "NUM_SKIP_WORKTREE", "NUM_ASSUME_UNCHANGED",
    "COMMIT_ENCODING", "COMMIT_SUMMARY",
)  # fmt: skip
"""In the order of gitstatusd's response, after its id and its flag; the shells' variables are VCS_STATUS_ and these."""

_NOWHERE = Tracking(b"", None, None, None, None, gone=False)
_HAS = ("STAGED", "UNSTAGED", "CONFLICTED", "UNTRACKED")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def gitstatus_fields(location: Location, facts: Facts) -> list[str]:
    """The values of `VARIABLES`, with gitstatus's meaning: a rename is one file deleted and one new.

    Valid UTF-8 without control characters: bash's `read` would lose the end of the record otherwise. WORKDIR is empty
    in a bare repository. The summary is recoded, so the encoding is always UTF-8 (empty).
    """
    upstream, push, c = facts.upstream or _NOWHERE, own_push(facts) or _NOWHERE, facts.counts
    branch = b"" if facts.branch is None or facts.branch.startswith(b"refs/") else facts.branch
    numbers = [0] * 7 if c is None else [
        c.staged + c.staged_renamed, c.unstaged + c.unstaged_renamed, c.conflicted, c.untracked,
        c.unstaged_deleted + c.unstaged_renamed, c.staged_new + c.staged_renamed + c.staged_copied,
        c.staged_deleted + c.staged_renamed,
    ]  # fmt: skip
    staged, unstaged, conflicted, untracked, unstaged_deleted, staged_new, staged_deleted = numbers
    values: list[bytes | str | int | None] = [
        b"" if location.bare else location.path, facts.oid, branch,
        _branch_there(upstream), upstream.remote, upstream.url,
        action_of(facts), facts.index_size or 0, staged, unstaged, conflicted, untracked,
        upstream.ahead or 0, upstream.behind or 0, facts.stashes or 0, facts.tag,
        unstaged_deleted, staged_new, staged_deleted,
        push.remote, push.url, push.ahead or 0, push.behind or 0,
        facts.skip_worktree or 0, facts.assume_unchanged or 0, "", facts.summary,
    ]  # fmt: skip
    return [_plain(value) for value in values]


def _branch_there(upstream: Tracking) -> bytes:
    """The branch's name on the remote."""
    prefix = b"" if upstream.remote is None else upstream.remote + b"/"
    return upstream.name.removeprefix(prefix)


def _plain(value: bytes | str | int | None) -> str:
    if value is None:
        return ""
    if isinstance(value, bytes):
        value = value.decode(errors="replace").replace("\ufffd", "?")
    return str(value) if isinstance(value, int) else _CONTROL.sub("?", value)


def shell_variables(
    result: str, state: str, fields: Sequence[str] | None, *, counted: bool, line: str
) -> list[tuple[str, str | None]]:
    """VCS_STATUS_* in the order in which they are set; None: to be unset (there is no repository)."""
    values: dict[str, str | None] = {"RESULT": result, "STATE": state}
    values.update(dict.fromkeys(VARIABLES) if fields is None else zip(VARIABLES, fields, strict=True))
    for name in _HAS:
        number = values[f"NUM_{name}"]
        values[f"HAS_{name}"] = None if number is None else "-1" if not counted else str(int(number != "0"))
    return [*((f"VCS_STATUS_{name}", value) for name, value in values.items()), ("GITWATCH_PROMPT", line)]


def assignments(variables: Sequence[tuple[str, str | None]], *, fish: bool) -> str:
    """One statement a line, to be evaluated by a POSIX shell or by fish."""
    lines = []
    for name, value in variables:
        if value is None:
            lines.append(f"set -e {name}" if fish else f"unset {name}")
        elif fish:
            lines.append("set -g {} '{}'".format(name, value.replace("\\", "\\\\").replace("'", "\\'")))
        else:
            lines.append("{}='{}'".format(name, value.replace("'", "'\\''")))
    return "".join(f"{line}\n" for line in lines)
