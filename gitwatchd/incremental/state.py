"""The status of one repository, kept exact from one change to the next (level L1).

Owns: the parsed index, the staged set, the unclean paths and the untracked entries of one repository.
Runs: serving thread; `advance` is a generator that yields between slices of work, so that other requests are served.
Invariant: after `advance` ends normally, `entries()` are the judge's bytes for the moment it began, or later ones.
Invariant: whatever it cannot tell exactly raises Inexact; the state is then worth nothing and git is asked (L3), whose
answer primes a new one.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gitwatchd.git.ignore import IgnoreRules
from gitwatchd.git.index_diff import read_successor
from gitwatchd.git.index_file import INTENT_TO_ADD, Index
from gitwatchd.git.objects import Objects, TreeEntry
from gitwatchd.git.porcelain import Changed, Headers, Record, Status, Unmerged, Untracked, encode, sort_records
from gitwatchd.incremental.compare import HashedClean, Verdict, unmerged_mode, worktree_verdict
from gitwatchd.incremental.first_sight import FirstSight
from gitwatchd.incremental.terms import Inexact, Terms
from gitwatchd.incremental.untracked import UntrackedSearch
from gitwatchd.model.repository import Location

MOST_ROWS = 50_000
"""Tracked paths compared in one advance, some 250 ms in slices; a bigger change is dearer here than git's own pass."""
STEP = 100
"""Paths between two chances to serve others: less than a millisecond."""

_NO_MODE = b"000000"
_GITLINK = 0o160000
_UNMERGED_XY = {1: b"DD", 2: b"AU", 3: b"UD", 4: b"UA", 5: b"DU", 6: b"AA", 7: b"UU"}
"""By the set of stages present: 1 base, 2 ours, 4 theirs."""


@dataclass(frozen=True, slots=True)
class Staged:
    """How HEAD's tree has a path whose index entry differs. `letter` as in the first column, before renames."""

    letter: bytes
    head: TreeEntry | None


@dataclass(slots=True)
class Work:
    """What one advance has to look at. Paths are relative, without a trailing slash."""

    paths: set[bytes]
    index_changed: bool = False
    rules_changed: bool = False
    """An ignore file changed: those among `paths`, or (none there) one for the whole worktree."""
    headers: Headers | None = None
    """New ones, when HEAD or a ref moved."""
    tree: bytes | None = None
    """Raw oid of the tree of HEAD's commit, with `headers`; None when unborn."""


class RepositoryState:
    """Primed by git's own answer, `status`, whose index is `index` and whose HEAD has `tree`."""

    def __init__(
        self,
        location: Location,
        terms: Terms,
        index: Index,
        tree: bytes | None,
        rules: IgnoreRules,
        objects: Objects,
        status: Status,
    ) -> None:
        self.location = location
        self.index = index
        self.newest_ns = 0
        """Newest modification time among the files looked at since it was last reset."""
        self.vanished = False
        """A file that may have been the newest is gone or older than it was."""
        self._terms = terms
        self._tree = tree
        self._rules = rules
        self._objects = objects
        self._headers = status.headers
        self._staged: dict[bytes, Staged] = {}
        self._unclean: dict[bytes, Verdict] = {}
        self._untracked: set[bytes] = set()
        self._renames: dict[bytes, tuple[bytes, bytes]] = {}
        """New path to (score, original), as git found them among `_renames_basis`."""
        self._kept: dict[bytes, Record] = {}
        """Records of submodules, which git looks into; they stay while nothing touches the submodule."""
        self._hashed_clean: HashedClean = {}
        self._refuse_what_is_beyond()
        for record in status.records:
            self._take(record)
        self._renames_basis = self._rename_candidates()

    @classmethod
    def of_first_sight(
        cls,
        location: Location,
        terms: Terms,
        index: Index,
        rules: IgnoreRules,
        objects: Objects,
        sight: FirstSight,
    ) -> RepositoryState:
        """Primed without git. Raises Inexact."""
        state = cls(location, terms, index, sight.tree, rules, objects, Status(sight.headers, ()))
        for path, head in sight.staged.items():
            state._restage(path, head)
        state._unclean, state._untracked = sight.unclean, sight.untracked
        state._hashed_clean = sight.hashed_clean
        if state._rename_candidates() is not None:
            raise Inexact("files may have been renamed")
        return state

    # ---- priming

    def _refuse_what_is_beyond(self) -> None:
        index = self.index
        if index.inexact is not None:
            raise Inexact(index.inexact)
        if index.raw.find(b"UNTR", index.offsets[-1]) >= 0:
            # git trusts its cache of untracked files where the times of directories cannot tell (two changes within a
            # second), and then shows less than there is: only git knows what it shows.
            raise Inexact("the index holds an untracked cache")
        for row in index.flagged_rows():
            if index.flags(row) & INTENT_TO_ADD:
                raise Inexact("an entry is only intended to be added")

    def _take(self, record: Record) -> None:
        match record:
            case Untracked():
                self._untracked.add(record.path)
            case Changed():
                self._take_changed(record)
            case Unmerged():
                if record.submodule != b"N...":
                    raise Inexact("a submodule is in conflict")
            case _:
                raise Inexact("an ignored path is listed")

    def _take_changed(self, record: Changed) -> None:
        if record.submodule != b"N..." or b"160000" in (record.mode_head, record.mode_index):
            self._kept[record.path] = record
            return
        x, y = record.xy[:1], record.xy[1:]
        head = _tree_entry(record.mode_head, record.oid_head)
        if record.score:
            if x != b"R":
                raise Inexact("a copy, or a rename in the worktree")
            self._renames[record.path] = (record.score, record.original)
            self._staged[record.original] = Staged(b"D", head)
            self._staged[record.path] = Staged(b"A", None)
        elif x != b".":
            self._staged[record.path] = Staged(x, head)
        if y in (b"M", b"D", b"T"):
            self._unclean[record.path] = (y, int(record.mode_worktree, 8))
        elif y != b".":
            raise Inexact(f"worktree column {y!r}")

    # ---- advancing

    def advance(self, work: Work) -> Iterator[None]:
        """Take in what `work` names. Raises Inexact; the state must not be used after that."""
        touched: set[bytes] = set()
        staged_again: dict[bytes, TreeEntry | None] = {}
        if work.index_changed:
            touched = self._take_index()
            yield
        if work.headers is not None:
            self._headers = work.headers
            if work.tree != self._tree:
                staged_again = self._objects.diff_trees(self._tree, work.tree)
                self._tree = work.tree
                yield
        for path in touched:
            if path not in staged_again:
                staged_again[path] = None if self._tree is None else self._objects.tree_entry(self._tree, path)
            if len(staged_again) % STEP == 0:
                yield
        for path, head in staged_again.items():
            self._restage(path, head)
        search = UntrackedSearch(self.location.path, self.index, self._rules)
        if work.rules_changed:
            self._reread_rules(work.paths, search)
            yield
        if touched:
            yield from self._follow_index(touched, search)
        yield from self._look_at(work.paths | touched, search)
        self._check_renames()

    def _take_index(self) -> set[bytes]:
        old = self.index
        succession = read_successor(old, self.location.git_dir + b"/index")
        self.index = succession.index
        if 0 < self.index.mtime_ns < old.mtime_ns:
            raise Inexact("the index became older")  # what was not racy may be racy now
        self._refuse_what_is_beyond()
        touched = succession.changed
        if len(touched) > MOST_ROWS:
            raise Inexact("too many entries changed")
        for path in touched:
            for index in (old, self.index):
                row = index.find(path)
                if row is not None and index.stat_fields(row)[6] == _GITLINK:
                    raise Inexact("a submodule's entry changed")
            if path.endswith(b".gitattributes"):
                raise Inexact("a tracked attributes file changed")
        # An unclean verdict may rest on the index's time (racy entries): look again.
        return touched | set(self._unclean)

    def _restage(self, path: bytes, head: TreeEntry | None) -> None:
        row = self.index.find(path)
        modes = {head.mode if head is not None else 0, self.index.stat_fields(row)[6] if row is not None else 0}
        if _GITLINK in modes:
            raise Inexact("a submodule's entry differs from HEAD's")
        if row is None:
            if head is None:
                self._staged.pop(path, None)
            else:
                self._staged[path] = Staged(b"D", head)
            return
        mode = self.index.stat_fields(row)[6]
        if self.index.flags(row) & 0x3000:
            # In conflict: listed from the stages. HEAD's entry is asked for again when the conflict ends.
            self._staged.pop(path, None)
        elif head is None:
            self._staged[path] = Staged(b"A", None)
        elif head.mode == mode and head.oid == self.index.oid(row):
            self._staged.pop(path, None)
        else:
            self._staged[path] = Staged(b"T" if (head.mode ^ mode) & 0o170000 else b"M", head)

    def _follow_index(self, touched: set[bytes], search: UntrackedSearch) -> Iterator[None]:
        """Directories that came to hold tracked files, or no longer do, collapse differently."""
        opened: set[bytes] = set()
        for path in touched:
            at = path.find(b"/")
            while at >= 0:
                directory = path[:at]
                if directory + b"/" in self._untracked and search.is_tracked_directory(directory):
                    opened.add(directory)
                if not search.is_tracked_directory(directory):
                    break
                at = path.find(b"/", at + 1)
        for directory in opened:  # none when untracked files are not shown
            self._untracked.discard(directory + b"/")
            self._untracked.update(search.entries_below(directory))
            yield

    def _reread_rules(self, paths: Iterable[bytes], search: UntrackedSearch) -> None:
        directories = {path.rpartition(b"/")[0] for path in paths if path.rpartition(b"/")[2] == b".gitignore"}
        if not directories:
            raise Inexact("the ignore rules of the whole repository changed")
        for directory in _topmost(directories):
            self._rules.invalidate(directory)
            if not self._terms.untracked:
                continue
            unit = search.unit_of(directory + b"/.gitignore" if directory else b".gitignore")
            if unit == (directory + b"/.gitignore" if directory else b".gitignore"):
                self._drop_untracked_below(directory)
                self._untracked.update(search.entries_below(directory))
            else:
                self._set_unit(unit, search)

    def _look_at(self, paths: set[bytes], search: UntrackedSearch) -> Iterator[None]:
        budget = MOST_ROWS
        covered = None
        for number, path in enumerate(sorted(paths)):
            if covered is not None and path.startswith(covered):
                continue
            covered = None
            if number % STEP == STEP - 1:
                yield
            if self._inside_kept(path):
                raise Inexact("something changed in a submodule")
            if search.is_tracked_directory(path) and path:
                covered = path + b"/"
                for rows in self._look_at_directory(path, search):
                    budget -= rows
                    if budget < 0:
                        raise Inexact("too many tracked files to look at here")
                    yield
            elif not path:
                continue  # the top directory's own attributes
            else:
                self._look_at_path(path, search)

    def _look_at_path(self, path: bytes, search: UntrackedSearch) -> None:
        row = self.index.find(path)
        if row is not None:
            self._compare(path, row)
            return
        self._unclean.pop(path, None)
        if self._terms.untracked:
            unit = search.unit_of(path)
            self._set_unit(unit, search)
            self._note_time(path)

    def _look_at_directory(self, directory: bytes, search: UntrackedSearch) -> Iterator[int]:
        """A directory that holds tracked files came, went, or changed its nature."""
        prefix = directory + b"/"
        top = self.location.path
        names = self.index.names
        row = bisect_left(names, prefix)
        is_directory = os.path.isdir(top + b"/" + directory) and not os.path.islink(top + b"/" + directory)
        count = 0
        while row < len(names) and names[row].startswith(prefix):
            if is_directory:
                self._compare(names[row], row)
            else:
                self._set_missing(names[row], row)
            row += 1
            count += 1
            if count % STEP == 0:
                yield STEP
        if self._terms.untracked:
            self._drop_untracked_below(directory)
            if is_directory:
                self._untracked.update(search.entries_below(directory))
            else:
                self._set_unit(search.unit_of(directory), search)
        own = self.index.find(directory)
        if own is not None:
            self._compare(directory, own)
        # Times below are not followed one by one.
        self.vanished = True
        yield count % STEP

    def _compare(self, path: bytes, row: int) -> None:
        if self.index.flags(row) & 0x3000:
            self._unclean.pop(path, None)
            return
        if self.index.stat_fields(row)[6] == _GITLINK:
            raise Inexact("something changed in a submodule")
        verdict = worktree_verdict(self.location.path, path, self.index, row, self._terms, self._hashed_clean)
        if verdict is None:
            self._unclean.pop(path, None)
        else:
            self._unclean[path] = verdict
        self._untracked.discard(path)
        self._note_time(path)

    def _set_missing(self, path: bytes, row: int) -> None:
        flags = self.index.flags(row)
        if flags & 0x3000 or flags & 0x4000_8000:
            return
        if self.index.stat_fields(row)[6] == _GITLINK:
            raise Inexact("something changed in a submodule")
        self._unclean[path] = (b"D", 0)

    def _note_time(self, path: bytes) -> None:
        try:
            found = os.lstat(self.location.path + b"/" + path)
        except OSError:
            self.vanished = True
            return
        self.newest_ns = max(self.newest_ns, found.st_mtime_ns)

    def _set_unit(self, unit: bytes, search: UntrackedSearch) -> None:
        if not self._terms.untracked:
            return
        entry = search.entry_of(unit)
        self._untracked.discard(unit)
        self._untracked.discard(unit + b"/")
        self._drop_untracked_below(unit)
        if entry is not None:
            self._untracked.add(entry)

    def _drop_untracked_below(self, directory: bytes) -> None:
        if not directory:
            self._untracked.clear()
            return
        prefix = directory + b"/"
        self._untracked = {entry for entry in self._untracked if not entry.startswith(prefix)}

    def _inside_kept(self, path: bytes) -> bool:
        """Whether `path` is a submodule or lies in one."""
        if not self._has_gitlinks():
            return False
        at = len(path)
        while at > 0:
            row = self.index.find(path[:at])
            if row is not None:
                return self.index.stat_fields(row)[6] == _GITLINK
            at = path.rfind(b"/", 0, at)
        return False

    def _has_gitlinks(self) -> bool:
        known = _gitlinks_known.get(id(self.index))
        if known is None or known[0] is not self.index:
            known = (self.index, bool(self.index.gitlinks()))
            _gitlinks_known.clear()
            _gitlinks_known[id(self.index)] = known
        return known[1]

    # ---- renames

    def _rename_candidates(self) -> frozenset[tuple[bytes, bytes, bytes, bytes]] | None:
        """What git's search for renames depends on; None when there is nothing to search."""
        letters = {staged.letter for staged in self._staged.values()}
        if not self._terms.renames or not {b"A", b"D"} <= letters:
            return None
        found = []
        for path, staged in self._staged.items():
            if staged.letter not in (b"A", b"D"):
                continue
            row = self.index.find(path)
            ours = b"" if row is None else self.index.raw[self.index.offsets[row] + 24 : self.index.offsets[row] + 28]
            theirs = b"" if staged.head is None else staged.head.oid + b"%o" % staged.head.mode
            found.append((path, staged.letter, theirs, ours + (b"" if row is None else self.index.oid(row))))
        return frozenset(found)

    def _check_renames(self) -> None:
        basis = self._rename_candidates()
        if basis is None:
            self._renames = {}
        elif basis != self._renames_basis:
            raise Inexact("files may have been renamed")
        self._renames_basis = basis

    # ---- the answer

    def status(self) -> Status:
        records: list[Record] = list(self._kept.values())
        conflicts = set(self.index.conflicts())
        originals = {original for _score, original in self._renames.values()}
        for path in self._staged.keys() | self._unclean.keys():
            if path in conflicts or (path in originals and self.index.find(path) is None):
                continue
            records.append(self._record(path))
        records += [self._unmerged(path) for path in conflicts]
        records += [Untracked(path) for path in self._untracked]
        return Status(self._headers, tuple(sort_records(records)))

    def entries(self) -> bytes:
        return encode(self.status())

    def _record(self, path: bytes) -> Changed:
        staged, unclean = self._staged.get(path), self._unclean.get(path)
        row = self.index.find(path)
        zero = b"0" * (2 * self.index.oid_bytes)
        if row is None:
            mode_index, oid_index = _NO_MODE, zero
        else:
            mode_index, oid_index = b"%06o" % self.index.stat_fields(row)[6], self.index.oid(row).hex().encode()
        mode_worktree = mode_index if unclean is None else b"%06o" % unclean[1]
        x, mode_head, oid_head = b".", mode_index, oid_index
        score = original = b""
        if staged is not None:
            x, head = staged.letter, staged.head
            if path in self._renames:
                score, original = self._renames[path]
                x, head = b"R", self._staged[original].head
            mode_head = _NO_MODE if head is None else b"%06o" % head.mode
            oid_head = zero if head is None else head.oid.hex().encode()
        y = b"." if unclean is None else unclean[0]
        return Changed(x + y, b"N...", mode_head, mode_index, mode_worktree, oid_head, oid_index, path, score, original)

    def _unmerged(self, path: bytes) -> Unmerged:
        modes = [_NO_MODE] * 3
        oids = [b"0" * (2 * self.index.oid_bytes)] * 3
        stages, first = 0, 0
        for row in self.index.rows(path):
            stage = (self.index.flags(row) & 0x3000) >> 12
            mode = self.index.stat_fields(row)[6]
            if mode == _GITLINK:
                raise Inexact("a submodule is in conflict")
            first = first or mode
            stages |= 1 << (stage - 1)
            modes[stage - 1], oids[stage - 1] = b"%06o" % mode, self.index.oid(row).hex().encode()
        in_worktree = unmerged_mode(self.location.path, path, first, self._terms)
        return Unmerged(
            _UNMERGED_XY[stages], b"N...", (modes[0], modes[1], modes[2], b"%06o" % in_worktree),
            (oids[0], oids[1], oids[2]), path,
        )  # fmt: skip


_gitlinks_known: dict[int, tuple[Index, bool]] = {}


def _tree_entry(mode: bytes, oid: bytes) -> TreeEntry | None:
    return None if mode == _NO_MODE else TreeEntry(int(mode, 8), bytes.fromhex(oid.decode()))


def _topmost(directories: set[bytes]) -> list[bytes]:
    """Those that no other one holds."""
    return [d for d in directories if not any(o != d and (not o or d.startswith(o + b"/")) for o in directories)]
