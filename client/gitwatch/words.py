"""The words for a report in expressions and orders: gitoverit's own, and every field of the report.

Owns nothing; pure. Runs: one process a command; imported only when an expression, an order or a filter is given.
A word of gitoverit's is never None, whatever is not known (`-`, `""`, 0), as its users expect; fields are None then.
"""

from __future__ import annotations

import os

from gitwatchd.render.remote_names import short_remote

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    Report = Mapping[str, Any]

IDENTITY = ("path", "name", "git_dir", "common_dir", "bare")
STANDING = ("state", "reason", "hint", "watch", "as_of", "age_ms")
FACTS = (
    "oid", "branch", "detached", "unborn", "summary", "tag", "upstream", "push", "counts", "dirty", "stashes",
    "action", "index_size", "skip_worktree", "assume_unchanged", "submodules", "worktrees", "mtime", "ident",
    "fetched_at", "lines",
)  # fmt: skip
OUTCOMES = ("fetch_failed", "pull_failed", "push_failed", "pulled", "pushed", "remote_reason")
"""Of --fetch, --pull-safe and --push-safe."""

ALWAYS_KNOWN = frozenset({*IDENTITY, *STANDING, "dir"})
"""What an expression that asks for no more decides is right, whatever could not be looked at."""

OF_THE_WORKTREE = frozenset({"counts", "dirty", "mtime", "lines", "index_size", "skip_worktree", "assume_unchanged"})
"""What --metadata-only leaves out."""


class Words:
    """A report as a map of names, each made when it is asked for."""

    __slots__ = ("_cwd", "_home", "_report")

    def __init__(self, report: Report, cwd: str, home: str) -> None:
        self._report = report
        self._cwd = cwd
        self._home = home

    def __getitem__(self, name: str) -> Any:
        word = WORDS.get(name)
        if word is not None:
            return word(self._report)
        if name == "dir":
            return shown_from(text(self._report["path"]), self._cwd, self._home)
        return _decoded(self._report.get(name))


def text(value: Any) -> str:
    """A string that gives its bytes back when it is printed; names need not be UTF-8."""
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value or ""


def to_bytes(value: str | bytes) -> bytes:
    """A path or name as the system has it: in a report it is a string where it is valid UTF-8."""
    return value.encode() if isinstance(value, str) else value


def _decoded(value: Any) -> Any:
    if isinstance(value, bytes):
        return text(value)
    return {key: _decoded(item) for key, item in value.items()} if isinstance(value, dict) else value


def shown_from(path: str, cwd: str, home: str) -> str:
    """`path` from the current directory, else from the home directory, else whole."""
    for base, sign in ((cwd, ""), (home, "~")):
        if not base:
            continue
        if path == base:
            return sign or "."
        above = base.rstrip("/") + "/"
        if path.startswith(above):
            return (sign + "/" if sign else "") + path[len(above) :]
    return path


def _counted(name: str) -> Callable[[Report], int]:
    return lambda report: (report["counts"] or {}).get(name) or 0


def _tracked(name: str) -> Callable[[Report], int]:
    return lambda report: (report["upstream"] or {}).get(name) or 0


def branch_of(report: Report) -> str:
    if report["branch"] is not None:
        return text(report["branch"])
    return f"DETACHED@{text(report['oid'])[:7]}" if report["oid"] else "UNKNOWN"


def remote_of(report: Report) -> str:
    return text((report["upstream"] or {}).get("name")) or "-"


def url_of(report: Report) -> str:
    url = text((report["upstream"] or {}).get("url"))
    return short_remote(url) if url else "-"


def status_of(report: Report) -> str:
    """In one word each, as gitoverit has it: `3m (+5/-2) 1u 2d 2↑ 1↓ !`; `clean`; `?` where nobody looked."""
    counts, lines = report["counts"], report.get("lines")
    parts = [] if counts is not None or report["bare"] else ["?"]
    parts += [f"{counts['modified']}m"] if counts and counts["modified"] else []
    parts += [f"(+{lines['added']}/-{lines['removed']})"] if lines and (lines["added"] or lines["removed"]) else []
    for key, letter in (("untracked", "u"), ("deleted", "d")):
        parts += [f"{counts[key]}{letter}"] if counts and counts[key] else []
    parts += [f"{report['submodules']}s"] if report["submodules"] else []
    parts += [f"{count}{arrow}" for key, arrow in (("ahead", "↑"), ("behind", "↓")) if (count := _tracked(key)(report))]
    parts += [letter for key, letter in (("pulled", "P"), ("pushed", "U")) if report.get(key)]
    if report["detached"] or report["action"] or (counts and counts["conflicted"]):
        parts.append("!")
    return " ".join(parts) or "clean"


WORDS: dict[str, Callable[[Report], Any]] = {
    "path": lambda report: text(report["path"]),
    "status": status_of,
    "branch": branch_of,
    "remote": remote_of,
    "url": url_of,
    "ident": lambda report: text(report["ident"]),
    "mtime": lambda report: report["mtime"] or 0.0,
    "latest_mtime": lambda report: report["mtime"] or 0.0,
    "ahead": _tracked("ahead"),
    "behind": _tracked("behind"),
    "modified": _counted("modified"),
    "untracked": _counted("untracked"),
    "deleted": _counted("deleted"),
    "dirty": lambda report: bool(report["dirty"]),
}

NAMES = frozenset({*WORDS, "dir", *IDENTITY, *STANDING, *FACTS, *OUTCOMES})

UNCHECKED = frozenset({"dirty", "modified", "untracked", "deleted", "mtime", "latest_mtime", *OF_THE_WORKTREE})
"""Names that --metadata-only refuses."""


def _folded(name: str) -> Callable[[Words], Any]:
    return lambda words: words[name].casefold()


ORDERS: dict[str, Callable[[Words], Any]] = {
    "dir": _folded("dir"),
    "path": _folded("path"),
    "name": lambda words: os.path.basename(words["path"]).casefold(),
    "status": _folded("status"),
    "branch_remote": lambda words: (words["branch"].casefold(), words["remote"].casefold()),
    "branch": _folded("branch"),
    "remote": _folded("remote"),
    "url": _folded("url"),
    "mtime": lambda words: words["mtime"],
    "age": lambda words: -words["mtime"],
    "ident": _folded("ident"),
    "author": _folded("ident"),
    "none": lambda words: 0,
}
"""What --sort takes. `none` leaves the daemon's order, which is that of the paths."""


# ---- branches


class BranchWords:
    """A branch as a map of names."""

    __slots__ = ("_branch",)

    def __init__(self, branch: Report) -> None:
        self._branch = branch

    def __getitem__(self, name: str) -> Any:
        word = BRANCH_WORDS.get(name)
        return _decoded(self._branch.get(name)) if word is None else word(self._branch)


def _worktree_of(branch: Report) -> str:
    if branch["worktree"] is None:
        return "-"
    worktree, repo = text(branch["worktree"]), text(branch["repo"])
    return "here" if worktree == repo else os.path.relpath(worktree, os.path.dirname(repo))


def _branch_status(branch: Report) -> str:
    keys = (
        ("modified", "m"),
        ("untracked", "u"),
        ("deleted", "d"),
        ("submodules", "s"),
        ("ahead", "↑"),
        ("behind", "↓"),
    )
    parts = [f"{branch[key]}{sign}" for key, sign in keys if branch[key]]
    if branch["action"] or branch["conflicted"]:
        parts.append("!")
    return " ".join(parts) or ("=" if branch["worktree"] is None else "clean")


def _number(name: str) -> Callable[[Report], int]:
    return lambda branch: branch[name] or 0


BRANCH_WORDS: dict[str, Callable[[Report], Any]] = {
    "repo": lambda branch: text(branch["repo"]),
    "path": lambda branch: text(branch["repo"]),
    "branch": lambda branch: text(branch["branch"]),
    "head": lambda branch: branch["head"][:12],
    "oid": lambda branch: branch["head"],
    "upstream": lambda branch: text(branch["upstream"]) or "-",
    "url": lambda branch: short_remote(text(branch["url"])) if branch["url"] else "-",
    "status": _branch_status,
    "worktree": _worktree_of,
    "worktree_path": lambda branch: text(branch["worktree"]),
    "author": lambda branch: text(branch["author"]),
    "subject": lambda branch: text(branch["subject"]),
    **{name: _number(name) for name in ("ahead", "behind", "modified", "untracked", "deleted", "conflicted", "date")},
    "has_upstream": lambda branch: branch["upstream"] is not None,
    "dirty": lambda branch: bool(branch["dirty"]),
}

BRANCH_NAMES = frozenset({*BRANCH_WORDS, "current", "gone", "remote", "submodules", "action"})


def _branch_order(name: str) -> Callable[[BranchWords], Any]:
    def key(words: BranchWords) -> Any:
        value = words[name]
        return value.casefold() if isinstance(value, str) else value

    return key


BRANCH_ORDERS: dict[str, Callable[[BranchWords], Any]] = {
    **{name: _branch_order(name) for name in ("branch", "date", "author", "ahead", "behind", "status", "upstream")},
    "current": lambda words: not words["current"],
    **{name: _branch_order(name) for name in ("head", "subject", "worktree", "gone")},
    "none": lambda words: 0,
}
"""What `branches --sort` takes. `none` leaves git's order, which is that of the names' bytes."""
