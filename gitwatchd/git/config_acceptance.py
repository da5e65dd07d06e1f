"""Which lines of configuration `git status` surely takes, and which it may refuse with `bad ... config value`.

Owns: the lines that git has taken in this process, one set whose members are never removed; threads need no lock.
Runs: analyses, walking threads, workers; pure but for that set.

git ends (exit 128) at a value it cannot use, and which values those are depends on its version. So whoever answers
without having asked git (a first sight) needs lines that every git takes, by the tables here, or that git took before:
git is asked once for each other line, not once for each repository.
Lines that git reads only at times (remotes and branches, when HEAD has an upstream) prove nothing by having been taken:
of those the tables alone decide, at every level.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import lru_cache

from gitwatchd.git.config_file import find_boolean, find_integer
from gitwatchd.git.config_walk import Entry

_MOST_ACCEPTED = 10_000
"""Lines; beyond that no more are remembered: a hostile repository can make them up without end."""

Check = Callable[[bytes | None], bool]
Line = tuple[bytes, bytes | None, bytes]
"""Canonical key and value, as of `Entry`; and the file, for what git reads in the repository's own only: that it took
such a line elsewhere says nothing."""

_accepted: set[Line] = set()

_READ_SECTIONS = frozenset(
    (
        b"advice", b"attr", b"author", b"branch", b"color", b"column", b"committer", b"core", b"diff", b"extensions",
        b"feature", b"filter", b"fsmonitor", b"i18n", b"index", b"mailmap", b"pack", b"pager", b"push", b"remote",
        b"safe", b"sparse", b"status", b"submodule", b"trace2", b"url", b"user",
    )
)  # fmt: skip
"""Of which some git reads something for a status. It looks at no other (alias, merge, credential, a tool's own)."""
_OWN_SECTION, _OWN_KEYS = b"extensions", frozenset((b"core.bare", b"core.repositoryformatversion", b"core.worktree"))
_FIRST_COUNTS = {b"diff.renamelimit": b"status.renamelimit", b"diff.renames": b"status.renames"}
"""A status looks at the first line of these, and need not look at any where it has the key beside it."""
_READ_AT_TIMES = frozenset((b"branch", b"remote", b"url"))

_REFSPEC = re.compile(rb"\+?(?!-)[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@+-]+(?:\.[A-Za-z0-9_@+-]+)*)*(/\*)?"
                      rb"(?::[A-Za-z0-9_@-]+(?:/[A-Za-z0-9_@+-]+(?:\.[A-Za-z0-9_@+-]+)*)*(/\*)?)?")  # fmt: skip
_USED_PATH = re.compile(rb"(?:~/|/|[A-Za-z0-9._-])[^\0]*")


def _text(value: bytes | None) -> bool:
    return value is not None


def _any(value: bytes | None) -> bool:
    return True


def _boolean(value: bytes | None) -> bool:
    return find_boolean(value) is not None


def _path(value: bytes | None) -> bool:
    return value is not None and (not value or _USED_PATH.fullmatch(value) is not None)


def _size(value: bytes | None) -> bool:
    number = find_integer(value)
    return number is not None and 0 <= number < 1 << 31


def _words(*words: bytes) -> Check:
    return lambda value: value is not None and value.lower() in words


def _boolean_or(*words: bytes) -> Check:
    return lambda value: _boolean(value) or (value is not None and value.lower() in words)


def _abbreviation(value: bytes | None) -> bool:
    number = find_integer(value)
    return value == b"auto" or (number is not None and 4 <= number <= 40)


def _refspec(value: bytes | None) -> bool:
    found = None if value is None else _REFSPEC.fullmatch(value)
    if found is None or value is None:
        return False
    return (b":" not in value or bool(found[1]) == bool(found[2])) and b".lock" not in value


def _each(check: Check, *names: bytes) -> dict[bytes, Check]:
    return dict.fromkeys(names, check)


_TAKEN: dict[bytes, Check] = {
    b"core.repositoryformatversion": _words(b"0", b"1"),
    **_each(
        _boolean,
        b"core.bare", b"core.commitgraph", b"core.filemode", b"core.fsyncobjectfiles", b"core.ignorecase",
        b"core.ignorestat", b"core.multipackindex", b"core.precomposeunicode", b"core.preloadindex",
        b"core.protecthfs", b"core.protectntfs", b"core.quotepath", b"core.sparsecheckout", b"core.splitindex",
        b"core.sparsecheckoutcone", b"core.symlinks", b"core.trustctime", b"core.warnambiguousrefs",
        b"diff.mnemonicprefix", b"diff.noprefix", b"feature.experimental", b"feature.manyfiles", b"index.sparse",
        b"index.threads", b"status.aheadbehind", b"status.branch", b"status.displaycommentprefix",
        b"status.relativepaths", b"status.short", b"status.showstash", b"submodule.recurse",
        b"user.useconfigonly",
    ),
    **_each(
        _text,
        b"author.email", b"author.name", b"committer.email", b"committer.name", b"core.askpass", b"core.editor",
        b"core.notesref", b"core.pager", b"core.sshcommand", b"diff.external", b"diff.guitool", b"diff.tool",
        b"i18n.commitencoding", b"i18n.logoutputencoding", b"user.email", b"user.name", b"user.signingkey",
    ),
    **_each(_path, b"core.attributesfile", b"core.excludesfile", b"core.hookspath"),
    b"core.worktree": lambda value: bool(value) and _path(value),
    b"extensions.partialclone": _text,
    b"extensions.worktreeconfig": _boolean,
    **_each(
        _size,
        b"core.bigfilethreshold", b"core.deltabasecachelimit", b"core.packedgitlimit", b"core.packedgitwindowsize",
        b"diff.renamelimit", b"pack.packsizelimit", b"status.renamelimit",
    ),
    b"core.abbrev": _abbreviation,
    b"core.autocrlf": _boolean_or(b"input"),
    b"core.checkstat": _words(b"default", b"minimal"),
    b"core.eol": _words(b"lf", b"crlf", b"native"),
    b"core.fsmonitor": _any,
    b"core.logallrefupdates": _boolean_or(b"always"),
    b"core.safecrlf": _boolean_or(b"warn"),
    b"core.untrackedcache": _words(b"true", b"false", b"keep"),
    b"color.ui": _boolean_or(b"auto", b"always", b"never"),
    b"color.status": _boolean_or(b"auto", b"always", b"never"),
    b"diff.algorithm": _words(b"default", b"myers", b"minimal", b"patience", b"histogram"),
    b"diff.renames": _boolean_or(b"copies", b"copy"),
    b"status.renames": _boolean_or(b"copies", b"copy"),
    b"status.showuntrackedfiles": _words(b"no", b"normal", b"all"),
    b"push.default": _words(b"nothing", b"matching", b"simple", b"upstream", b"tracking", b"current"),
    b"branch.autosetupmerge": _boolean_or(b"always", b"inherit", b"simple"),
    b"branch.autosetuprebase": _words(b"never", b"local", b"remote", b"always"),
    b"branch.sort": _text,
    b"remote.pushdefault": _text,
}  # fmt: skip
"""Whole keys. `_words` takes less than git does: what is odd is asked about."""

_TAKEN_BELOW: dict[bytes, dict[bytes, Check]] = {
    b"branch": _each(
        _text, b"description", b"merge", b"pushremote", b"rebase", b"remote", b"github-pr-owner-number",
        b"vscode-merge-base",
    ),
    b"diff": _each(_text, b"command", b"textconv") | _each(_boolean, b"binary", b"cachetextconv"),
    b"filter": _each(_text, b"clean", b"process", b"smudge") | _each(_boolean, b"required"),
    b"remote": _each(_text, b"gh-resolved", b"pushurl", b"tagopt", b"url", b"partialclonefilter")
    | _each(_refspec, b"fetch", b"push")
    | _each(_boolean, b"mirror", b"promisor", b"prune", b"prunetags", b"skipdefaultupdate", b"skipfetchall"),
    b"submodule": _each(_text, b"branch", b"url")
    | _each(_boolean, b"active")
    | _each(_words(b"all", b"dirty", b"untracked", b"none"), b"ignore"),
    b"url": _each(_text, b"insteadof", b"pushinsteadof"),
}  # fmt: skip
"""`section.<anything>.name`, by section and name."""


@lru_cache(maxsize=8192)
def _is_taken(key: bytes, value: bytes | None) -> bool:
    """Whether every git takes this line."""
    section, _, rest = key.partition(b".")
    if section not in _READ_SECTIONS:
        return True
    if section in (b"advice", b"pager", b"trace2", b"safe"):
        return section != b"advice" or _boolean(value)
    if section == b"push" and key != b"push.default":
        return True  # for `git push`
    subsection, dot, name = rest.rpartition(b".")
    known = _TAKEN_BELOW.get(section, {}).get(name) if dot and subsection else _TAKEN.get(key)
    return known is not None and known(value)


def doubtful(entries: Iterable[Entry]) -> list[Line]:
    """The lines that git may refuse, as far as the tables know."""
    return [
        (e.key, e.value, e.origin if e.key in _OWN_KEYS or e.key.partition(b".")[0] == _OWN_SECTION else b"")
        for e in entries
        if not _is_taken(e.key, e.value)
    ]


def find_unproven(entries: Iterable[Entry]) -> bytes | None:
    """The key of a line that git may refuse and has not taken in this process; None when there is none."""
    return next((line[0] for line in doubtful(entries) if line not in _accepted), None)


def find_unsettled(entries: Iterable[Entry]) -> bytes | None:
    """The key of a line that git may refuse at another time than it was asked; None when there is none."""
    return next((key for key, *_ in doubtful(entries) if key.partition(b".")[0] in _READ_AT_TIMES), None)


def note_accepted(entries: Iterable[Entry]) -> None:
    """git answered under these."""
    looked_at: dict[bytes, Entry] = {}
    for entry in entries:
        if entry.key not in _FIRST_COUNTS or entry.key not in looked_at:
            looked_at[entry.key] = entry  # of many keys it looks at the last one only
    for key, instead in _FIRST_COUNTS.items():
        if instead in looked_at:
            looked_at.pop(key, None)
    for line in doubtful(looked_at.values()):
        if len(_accepted) < _MOST_ACCEPTED and line[0].partition(b".")[0] not in _READ_AT_TIMES:
            _accepted.add(line)
