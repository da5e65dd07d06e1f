"""From what is known of a repository to git's records. Runs: serving thread; looks at paths in conflict only."""

from __future__ import annotations

from collections.abc import Iterable

from gitwatchd.git.index_file import STAGE_MASK, Index
from gitwatchd.git.porcelain import Changed, Headers, Record, Status, Unmerged, Untracked, sort_records
from gitwatchd.incremental.compare import Directories, Verdict, refuse_unreachable, unmerged_mode
from gitwatchd.incremental.staged import GITLINK, StagedColumn
from gitwatchd.incremental.terms import Inexact, Terms

_NO_MODE = b"000000"
_UNMERGED_XY = {1: b"DD", 2: b"AU", 3: b"UD", 4: b"UA", 5: b"DU", 6: b"AA", 7: b"UU"}
"""By the set of stages present: 1 base, 2 ours, 4 theirs."""


def build_status(
    top: bytes,
    terms: Terms,
    index: Index,
    headers: Headers,
    staged: StagedColumn,
    unclean: dict[bytes, Verdict],
    conflicts: set[bytes],
    untracked: Iterable[bytes],
    kept: Iterable[Record],
) -> Status:
    """Raises Inexact for some paths in conflict."""
    if conflicts and terms.renames and any(letter == b"D" for letter, _mode in unclean.values()):
        raise Inexact("a deleted file may count as renamed to one in conflict")
    records: list[Record] = list(kept)
    originals = {original for _score, original in staged.renames.values()}
    for path in staged.entries.keys() | unclean.keys():
        if path in conflicts or (path in originals and index.find(path) is None):
            continue
        records.append(_changed(path, index, staged, unclean.get(path)))
    directories = Directories(top)
    records += [_unmerged(path, index, terms, top, directories) for path in conflicts]
    records += [Untracked(path) for path in untracked]
    return Status(headers, tuple(sort_records(records)))


def _changed(path: bytes, index: Index, column: StagedColumn, unclean: Verdict | None) -> Changed:
    staged = column.entries.get(path)
    row = index.find(path)
    zero = b"0" * (2 * index.oid_bytes)
    if row is None:
        mode_index, oid_index = _NO_MODE, zero
    else:
        mode_index, oid_index = b"%06o" % index.stat_fields(row)[6], index.oid(row).hex().encode()
    mode_worktree = mode_index if unclean is None else b"%06o" % unclean[1]
    x, mode_head, oid_head = b".", mode_index, oid_index
    score = original = b""
    if staged is not None:
        x, head = staged.letter, staged.head
        if path in column.renames:
            score, original = column.renames[path]
            x, head = b"R", column.entries[original].head
        mode_head = _NO_MODE if head is None else b"%06o" % head.mode
        oid_head = zero if head is None else head.oid.hex().encode()
    y = b"." if unclean is None else unclean[0]
    return Changed(x + y, b"N...", mode_head, mode_index, mode_worktree, oid_head, oid_index, path, score, original)


def _unmerged(path: bytes, index: Index, terms: Terms, top: bytes, directories: Directories) -> Unmerged:
    modes = [_NO_MODE] * 3
    oids = [b"0" * (2 * index.oid_bytes)] * 3
    stages, first = 0, 0
    for row in index.rows(path):
        stage = (index.flags(row) & STAGE_MASK) >> 12
        mode = index.stat_fields(row)[6]
        if mode == GITLINK:
            raise Inexact("a submodule is in conflict")
        if not stage:
            raise Inexact("a path is in conflict and is not")
        first = first or mode
        stages |= 1 << (stage - 1)
        modes[stage - 1], oids[stage - 1] = b"%06o" % mode, index.oid(row).hex().encode()
    if not terms.file_mode and len(set(modes) - {_NO_MODE}) > 1:
        # git takes the mode of one stage or of another, depending on what the file holds.
        raise Inexact("modes are in conflict where those of files do not count")
    in_worktree = 0
    if directories.hold(path):
        in_worktree = unmerged_mode(top, path, first, terms)
    else:
        refuse_unreachable(top, path)
    return Unmerged(
        _UNMERGED_XY[stages], b"N...", (modes[0], modes[1], modes[2], b"%06o" % in_worktree),
        (oids[0], oids[1], oids[2]), path,
    )  # fmt: skip
