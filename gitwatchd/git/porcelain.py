"""The judge's bytes: `git status --porcelain=v2 --branch --show-stash`, read, counted, built and rendered.

Owns nothing, runs anywhere, does no I/O. "Entries" is the whole output with `-z`, headers included: records
end in NUL, paths are relative to the top of the worktree and never quoted.
Invariant: `encode(parse_status(entries)) == entries` for whatever git prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gitwatchd.model.report import Counts


@dataclass(frozen=True, slots=True)
class Changed:
    """A tracked path that differs (type `1`, or `2` when `score` is set). Modes are octal digits, oids
    hex."""

    xy: bytes
    submodule: bytes
    """`N...`, or `S` and three of `CMU.`."""
    mode_head: bytes
    mode_index: bytes
    mode_worktree: bytes
    oid_head: bytes
    oid_index: bytes
    path: bytes
    score: bytes = b""
    """`R100`, `C75`: how alike, for a rename or copy."""
    original: bytes = b""
    """The path it was renamed or copied from."""


@dataclass(frozen=True, slots=True)
class Unmerged:
    """A path in conflict (type `u`); stages 1 to 3 are base, ours, theirs."""

    xy: bytes
    submodule: bytes
    modes: tuple[bytes, bytes, bytes, bytes]
    """Of the three stages and of the worktree."""
    oids: tuple[bytes, bytes, bytes]
    path: bytes


@dataclass(frozen=True, slots=True)
class Untracked:
    """`path` ends in `/` when a whole directory is meant."""

    path: bytes


@dataclass(frozen=True, slots=True)
class Ignored:
    path: bytes


Record = Changed | Unmerged | Untracked | Ignored


@dataclass(frozen=True, slots=True)
class Headers:
    """What the `#` lines say."""

    oid: bytes | None
    """Hex of HEAD's commit; None when unborn."""
    branch: bytes | None
    """Short name; None when detached (git prints `(detached)`, which could also be a branch's name)."""
    upstream: bytes | None = None
    ahead: int | None = None
    behind: int | None = None
    """None without an upstream, or when the upstream is gone."""
    stashes: int = 0

    @property
    def detached(self) -> bool:
        return self.branch is None

    @property
    def unborn(self) -> bool:
        return self.oid is None


@dataclass(frozen=True, slots=True)
class Status:
    headers: Headers
    records: tuple[Record, ...]
    """In git's order: changed, unmerged, untracked, ignored, each by path."""


def parse_status(entries: bytes) -> Status:
    """Raises ValueError on bytes that no git prints."""
    fields: dict[bytes, bytes] = {}
    records: list[Record] = []
    lines = _lines(entries)
    for line in lines:
        if line.startswith(b"# "):
            name, _, value = line[2:].partition(b" ")
            fields[name] = value
            continue
        try:
            records.append(_parse_record(line, lines))
        except (TypeError, ValueError, StopIteration) as error:
            raise ValueError(f"not a porcelain v2 line: {line[:60]!r}") from error
    return Status(_parse_headers(fields), tuple(records))


def _parse_record(line: bytes, following: Iterator[bytes]) -> Record:
    """Too few fields raise one of TypeError, ValueError, StopIteration."""
    match line[:2]:
        case b"? ":
            return Untracked(line[2:])
        case b"1 ":
            return Changed(*line.split(b" ", 8)[1:])
        case b"2 ":
            *plain, score, path = line.split(b" ", 9)[1:]
            return Changed(*plain, path, score, next(following))  # type: ignore[call-arg]
        case b"u ":
            xy, sub, m1, m2, m3, mw, h1, h2, h3, path = line.split(b" ", 10)[1:]
            return Unmerged(xy, sub, (m1, m2, m3, mw), (h1, h2, h3), path)
        case b"! ":
            return Ignored(line[2:])
        case _:
            raise ValueError


def _lines(entries: bytes) -> Iterator[bytes]:
    lines = entries.split(b"\0")
    if lines.pop():
        raise ValueError("the last line is cut off")
    return iter(lines)


def _parse_headers(fields: dict[bytes, bytes]) -> Headers:
    oid, branch = fields.get(b"branch.oid"), fields.get(b"branch.head")
    if oid is None or branch is None:
        raise ValueError("no branch headers")
    ahead, _, behind = fields.get(b"branch.ab", b"").partition(b" ")
    return Headers(
        oid=None if oid == _INITIAL else oid,
        branch=None if branch == _DETACHED else branch,
        upstream=fields.get(b"branch.upstream"),
        ahead=_distance(ahead),
        behind=_distance(behind),
        stashes=int(fields.get(b"stash", b"0")),
    )


_INITIAL, _DETACHED = b"(initial)", b"(detached)"


def _distance(signed: bytes) -> int | None:
    return int(signed[1:]) if signed[1:].isdigit() else None


def count(entries: bytes) -> Counts:
    """Counts of entries by kind, without building records: a status can hold 100,000 of them."""
    kinds: Counter[bytes] = Counter()
    unmerged: Counter[bytes] = Counter()
    lines = _lines(entries)
    for line in lines:
        kind = line[:1]
        if kind == b"1":
            kinds[line[2:4]] += 1
        elif kind == b"2":
            kinds[line[2:4]] += 1
            next(lines)  # the original path, which may begin with anything
        elif kind == b"u":
            unmerged[line[2:4]] += 1
        else:
            kinds[kind] += 1
    x: Counter[str] = Counter()
    y: Counter[str] = Counter()
    modified = deleted = 0
    for xy, n in (*kinds.items(), *unmerged.items()):
        if not _MODIFIED.isdisjoint(xy) and len(xy) == 2:
            modified += n
        if b"D" in xy:
            deleted += n
    for xy, n in kinds.items():
        if len(xy) == 2:
            x[chr(xy[0])] += n
            y[chr(xy[1])] += n
    return Counts(
        staged=x.total() - x["."],
        unstaged=y.total() - y["."],
        untracked=kinds[b"?"],
        conflicted=unmerged.total(),
        staged_new=x["A"],
        staged_modified=x["M"],
        staged_deleted=x["D"],
        staged_renamed=x["R"],
        staged_copied=x["C"],
        staged_typechange=x["T"],
        unstaged_modified=y["M"],
        unstaged_deleted=y["D"],
        unstaged_renamed=y["R"],
        unstaged_typechange=y["T"],
        modified=modified,
        deleted=deleted,
    )


_MODIFIED = frozenset(b"MARCT")


def encode(status: Status) -> bytes:
    """The entries of `status`, whose records may come in any order."""
    return encode_headers(status.headers) + b"".join(map(encode_record, sort_records(status.records)))


def sort_records(records: Iterable[Record]) -> list[Record]:
    """git's order: changed (renames by their new path), unmerged, untracked, ignored, each by path as
    bytes."""
    return sorted(records, key=lambda record: (_RANK[type(record)], record.path))


_RANK: dict[type[Record], int] = {Changed: 0, Unmerged: 1, Untracked: 2, Ignored: 3}


def encode_headers(headers: Headers) -> bytes:
    lines = [
        b"# branch.oid %b" % (headers.oid or _INITIAL),
        b"# branch.head %b" % (headers.branch or _DETACHED),
    ]
    if headers.upstream is not None:
        lines.append(b"# branch.upstream %b" % headers.upstream)
        if headers.ahead is not None and headers.behind is not None:
            lines.append(b"# branch.ab +%d -%d" % (headers.ahead, headers.behind))
    if headers.stashes:
        lines.append(b"# stash %d" % headers.stashes)
    return b"".join(line + b"\0" for line in lines)


def encode_record(record: Record) -> bytes:
    """One record with its closing NUL."""
    match record:
        case Changed():
            plain = (
                record.xy, record.submodule, record.mode_head, record.mode_index, record.mode_worktree,
                record.oid_head, record.oid_index,
            )  # fmt: skip
            if record.score:
                return b"2 %b %b %b\0%b\0" % (b" ".join(plain), record.score, record.path, record.original)
            return b"1 %b %b\0" % (b" ".join(plain), record.path)
        case Unmerged():
            fields = (record.xy, record.submodule, *record.modes, *record.oids, record.path)
            return b"u %b\0" % b" ".join(fields)
        case Untracked():
            return b"? %b\0" % record.path
        case Ignored():
            return b"! %b\0" % record.path


def render_without_z(entries: bytes, prefix: bytes, quote_path: bool, relative: bool) -> bytes:
    """What git prints without `-z` from the directory `prefix` (relative to the top, b"" or with a trailing
    slash).

    `quote_path` is core.quotePath, `relative` is status.relativePaths.
    """
    parents = prefix.split(b"/")[:-1] if relative else []
    out: list[bytes] = []
    lines = _lines(entries)

    def shown(path: bytes) -> bytes:
        return quoted(relative_to(path, parents), quote_path)

    for line in lines:
        kind = line[:1]
        if kind == b"#":
            out.append(line)
            continue
        *plain, path = line.split(b" ", _SPACES_BEFORE_PATH[kind])
        text = b" ".join((*plain, shown(path)))
        out.append(b"%b\t%b" % (text, shown(next(lines))) if kind == b"2" else text)
    return b"".join(line + b"\n" for line in out)


_SPACES_BEFORE_PATH = {b"1": 8, b"2": 9, b"u": 10, b"?": 1, b"!": 1}


def relative_to(path: bytes, parents: list[bytes]) -> bytes:
    """`path` seen from the directory whose components are `parents`, as git's `relative_path` has it."""
    if not parents:
        return path
    parts = path.split(b"/")
    common = 0
    for ours, theirs in zip(parents, parts, strict=False):
        if ours != theirs:
            break
        common += 1
    return b"../" * (len(parents) - common) + b"/".join(parts[common:]) or b"./"


def quoted(path: bytes, quote_path: bool) -> bytes:
    """C-quoted when it holds a byte that git quotes (`"`, `\\`, control bytes; from 0x80 only with
    `quote_path`)."""
    table = _QUOTED_FULLY if quote_path else _QUOTED
    if table.keys().isdisjoint(path):
        return path
    return b'"' + b"".join(table.get(byte) or bytes((byte,)) for byte in path) + b'"'


_NAMED = {7: b"a", 8: b"b", 9: b"t", 10: b"n", 11: b"v", 12: b"f", 13: b"r", 0x22: b'"', 0x5C: b"\\"}
_QUOTED = {byte: b"\\" + (_NAMED.get(byte) or b"%03o" % byte) for byte in (*range(0x20), 0x22, 0x5C, 0x7F)}
_QUOTED_FULLY = _QUOTED | {byte: b"\\%03o" % byte for byte in range(0x80, 0x100)}
