"""The first column: what differs between the tree of HEAD's commit and the index, renames included.

Owns: the staged entries of one repository and the renames that git found among them. Runs: serving thread.
Invariant: a path that is neither in `entries` nor in conflict has in HEAD's tree what it has in the index. So HEAD's
side of any path is known without reading trees, which costs some 100 us a path.
Never: searches for renames; where there may be new ones it raises Inexact.
"""

from __future__ import annotations

from dataclasses import dataclass

from gitwatchd.git.index_file import STAGE_MASK, Index
from gitwatchd.git.objects import Objects, TreeEntry
from gitwatchd.git.porcelain import Changed
from gitwatchd.incremental.terms import Inexact

GITLINK = 0o160000
_KIND = 0o170000


@dataclass(frozen=True, slots=True)
class Staged:
    """How HEAD's tree has a path whose index entry differs. `letter` as in the first column, before renames."""

    letter: bytes
    head: TreeEntry | None


_Candidates = frozenset[tuple[bytes, Staged, bytes]]


class StagedColumn:
    def __init__(self, tree: bytes | None, *, detects_renames: bool) -> None:
        self.tree = tree
        """Raw oid of the tree of HEAD's commit; None when unborn."""
        self.entries: dict[bytes, Staged] = {}
        self.renames: dict[bytes, tuple[bytes, bytes]] = {}
        """New path to (score, original), as git found them among `_basis`."""
        self._detects_renames = detects_renames
        self._basis: _Candidates | None = None

    def take(self, record: Changed) -> None:
        """Git's word, at priming; `settle_renames` when all were taken. Raises Inexact."""
        letter = record.xy[:1]
        head = None if record.mode_head == b"000000" else _entry(record.mode_head, record.oid_head)
        if record.score:
            if letter != b"R":
                raise Inexact("a copy, or a rename in the worktree")
            self.renames[record.path] = (record.score, record.original)
            self.entries[record.original] = Staged(b"D", head)
            self.entries[record.path] = Staged(b"A", None)
        elif letter != b".":
            self.entries[record.path] = Staged(letter, head)

    def head_of(self, path: bytes, index: Index, objects: Objects) -> TreeEntry | None:
        """What `tree` has at `path`; `index` is the one that `entries` stand for."""
        staged = self.entries.get(path)
        if staged is not None:
            return staged.head
        row = index.find(path)
        if row is None:
            return None
        if index.flags(row) & STAGE_MASK:
            return None if self.tree is None else objects.tree_entry(self.tree, path)
        return TreeEntry(index.stat_fields(row)[6], index.oid(row))

    def restage(self, path: bytes, head: TreeEntry | None, index: Index) -> None:
        """Compare HEAD's entry with the index's. Raises Inexact for submodules."""
        row = index.find(path)
        mode = 0 if row is None else index.stat_fields(row)[6]
        if GITLINK in (mode, 0 if head is None else head.mode):
            raise Inexact("a submodule's entry differs from HEAD's")
        if row is None:
            if head is None:
                self.entries.pop(path, None)
            else:
                self.entries[path] = Staged(b"D", head)
        elif index.flags(row) & STAGE_MASK:
            self.entries.pop(path, None)  # in conflict: listed from its stages
        elif head is None:
            self.entries[path] = Staged(b"A", None)
        elif head.mode == mode and head.oid == index.oid(row):
            self.entries.pop(path, None)
        else:
            self.entries[path] = Staged(b"T" if (head.mode ^ mode) & _KIND else b"M", head)

    def settle_renames(self, index: Index) -> None:
        """Remember among what git looked for renames."""
        self._basis = self._candidates(index)

    def check_renames(self, index: Index) -> None:
        """Raises Inexact when git would look for renames among others than before."""
        basis = self._candidates(index)
        if basis is None:
            self.renames = {}
        elif basis != self._basis:
            raise Inexact("files may have been renamed")
        self._basis = basis

    def _candidates(self, index: Index) -> _Candidates | None:
        """What git's search depends on; None when there is nothing to search."""
        if not self._detects_renames or not {b"A", b"D"} <= {staged.letter for staged in self.entries.values()}:
            return None
        found = []
        for path, staged in self.entries.items():
            if staged.letter in (b"A", b"D"):
                row = index.find(path)
                ours = b"" if row is None else b"%o" % index.stat_fields(row)[6] + index.oid(row)
                found.append((path, staged, ours))
        return frozenset(found)


def _entry(mode: bytes, oid: bytes) -> TreeEntry:
    return TreeEntry(int(mode, 8), bytes.fromhex(oid.decode()))
