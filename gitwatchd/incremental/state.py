"""The status of one repository, kept exact from one change to the next (level L1).

Owns: the parsed index, the unclean paths and the untracked entries of one repository, and its first column (staged.py).
Runs: serving thread; `advance` is a generator that yields between slices of work, so that other requests are served.
Invariant: after `advance` ends normally, `entries()` are the judge's bytes for the moment it began, or later ones.
Invariant: whatever it cannot tell exactly raises Inexact; the state is then worth nothing and git is asked (L3), whose
answer primes a new one.
Invariant: no advance costs more than what changed, however many files there are.
Longer than its neighbours: priming, taking in an index and looking at paths change the same containers, and a cut
between them would pass all of them around. What has a state of its own was moved out (staged, newest,
untracked_column), and what has none (records, compare, rejudge, widening).
"""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass

from gitwatchd.git.ignore import IgnoreRules
from gitwatchd.git.index_diff import read_successor
from gitwatchd.git.index_file import ASSUME_VALID, INTENT_TO_ADD, SKIP_WORKTREE, STAGE_MASK, Index
from gitwatchd.git.objects import Objects, TreeEntry
from gitwatchd.git.porcelain import Changed, Headers, Record, Status, Unmerged, Untracked, encode
from gitwatchd.incremental.compare import (
    Directories,
    HashedClean,
    Verdict,
    leads_through_link,
    refuse_unreachable,
    worktree_verdict,
)
from gitwatchd.incremental.first_sight import LARGEST_INDEX, FirstSight
from gitwatchd.incremental.newest import NewestTime
from gitwatchd.incremental.records import build_status
from gitwatchd.incremental.rejudge import Times, judge_strays
from gitwatchd.incremental.staged import GITLINK, StagedColumn
from gitwatchd.incremental.strays import Strays
from gitwatchd.incremental.terms import Inexact, Terms, refuse_wrong_notes
from gitwatchd.incremental.untracked import UntrackedSearch
from gitwatchd.incremental.untracked_column import UntrackedColumn, lies_below
from gitwatchd.incremental.widening import may_be_unwatched, refuse_unseen_attributes
from gitwatchd.model.repository import Location

FEW_ENTRIES, SHARE_OF_ENTRIES = 1_000, 30
"""Index entries changed at once that are taken in here: some 100 us each, where git needs 3-10 us for every entry that
there is. A checkout of all files of 20,000 took 2.0 s here and 0.2 s with git."""
MOST_ROWS = 50_000
"""Tracked paths compared in one advance, some 250 ms in slices; a bigger change is dearer here than git's own pass."""
MOST_TIMES = 500
"""Files in a new directory that are looked at for the newest one, some 3 ms; with more, all are looked at again."""
STEP = 100
"""Paths between two chances to serve others: less than a millisecond."""


@dataclass(slots=True)
class Work:
    """What one advance has to look at. Paths are relative, without a trailing slash; b"" is the whole worktree, for
    what is untracked in it."""

    paths: set[bytes]
    index_changed: bool = False
    rules_changed: bool = False
    """The `.gitignore` files among `paths` changed."""
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
        self.newest = NewestTime()
        self._strays: Strays | None = None
        self.widens = False
        """The last change of the index named directories that may not be watched: ignored ones, or submodules."""
        self._terms = terms
        self._rules = rules
        self._objects = objects
        self._headers = status.headers
        self._staged = StagedColumn(tree, detects_renames=terms.renames)
        self._unclean: dict[bytes, Verdict] = {}
        self._untracked = UntrackedColumn()
        self._kept: list[Record] = []
        """Records of submodules, which git looks into; they stay while nothing touches the submodule."""
        self._kept_paths: set[bytes] = set()
        """Whose they are, and what those that are renamed were called before."""
        self._hashed_clean: HashedClean = {}
        self._refuse_extensions()
        if rules.refused:
            raise Inexact("git may refuse a file of ignore rules")
        self._gitlinks = frozenset(index.gitlinks())
        """They are those of every later index too: where one comes or goes git is asked."""
        self._refuse_entries_in_submodules()
        self._conflicts = set(index.conflicts())
        self._may_hide = terms.renames and bool(self._conflicts)
        """git's answer may have left out deleted files, for the sake of a path in conflict."""
        self._flagged = [0, 0]
        """Entries with skip-worktree, with assume-unchanged."""
        links: dict[bytes, bool] = {b"": False}
        for row in index.flagged_rows():
            self._refuse_entry(index.names[row], index, row, links)
            self._count_flags(index.flags(row), 1)
        for record in status.records:
            self._take(record)
        self._staged.settle_renames(index)

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
            state._staged.restage(path, head, index)
        state._unclean, state._untracked = sight.unclean, UntrackedColumn(sight.untracked)
        state._hashed_clean = sight.hashed_clean
        state._may_hide = False  # every entry was compared
        state._staged.check_renames(index)
        return state

    def tallies(self) -> tuple[int, int, int]:
        """Number of entries, of those with skip-worktree, of those with assume-unchanged."""
        return len(self.index), self._flagged[0], self._flagged[1]

    def learn_strays(self, strays: Strays | None) -> None:
        """`strays` is kept by whoever watches the worktree, and by this state in what the index names no longer."""
        self._strays = strays
        if strays is not None:
            strays.expect(self.index)

    # ---- priming

    def _refuse_extensions(self) -> None:
        index = self.index
        if index.inexact is not None:
            raise Inexact(index.inexact)
        if index.raw.find(b"UNTR", index.offsets[-1]) >= 0:
            # git trusts its cache of untracked files where the times of directories cannot tell (two changes within a
            # second), and then shows less than there is: only git knows what it shows.
            raise Inexact("the index holds an untracked cache")

    def _refuse_entries_in_submodules(self) -> None:
        """Only plumbing makes those, and only git knows whether their directory is a submodule to it then."""
        if any(self.index.tracks_below(path) for path in self._gitlinks):
            raise Inexact("a file is tracked within a submodule")

    def _refuse_entry(self, path: bytes, index: Index, row: int, links: dict[bytes, bool]) -> None:
        flags = index.flags(row)
        if flags & INTENT_TO_ADD:
            raise Inexact("an entry is only intended to be added")
        if flags & SKIP_WORKTREE and path.rpartition(b"/")[2] == b".gitignore":
            # Where it is absent git reads the rules from the index.
            raise Inexact("ignore rules are left out of the worktree")
        if flags & SKIP_WORKTREE and self._terms.sparse:
            self._refuse_link(path, links)

    def _refuse_link(self, path: bytes, links: dict[bytes, bool]) -> None:
        """Raises Inexact where `path`, which the sparse checkout leaves out, lies beyond a link.

        git first asks whether such a file is present, through the link, and takes it for missing only then; and no
        event tells when one appears at the other end.
        """
        if leads_through_link(self.location.path + b"/", path.rpartition(b"/")[0], links):
            raise Inexact("a link hides what lies outside of the sparse checkout")

    def _refuse_conflict(self) -> None:
        """Raises Inexact where a path in conflict, which changed, matters for others.

        git looks for renames in the worktree's column too, takes files in conflict for possible new names, and then
        does not list the files that it takes for their old ones: while a conflict lasts that git told us of, we do not
        know what it hides. Where the conflict came later every deleted file is known (and `build_status` refuses).
        """
        if self._may_hide:
            raise Inexact("a path in conflict changed")

    def _count_flags(self, flags: int, by: int) -> None:
        if flags & SKIP_WORKTREE:
            self._flagged[0] += by
        if flags & ASSUME_VALID:
            self._flagged[1] += by

    def _take(self, record: Record) -> None:
        match record:
            case Untracked():
                self._untracked.entries.add(record.path)
            case Changed():
                if record.submodule != b"N..." or b"160000" in (record.mode_head, record.mode_index):
                    self._kept.append(record)
                    self._kept_paths |= {record.path, record.original or record.path}
                    return
                self._staged.take(record)
                y = record.xy[1:]
                if y in (b"M", b"D", b"T"):
                    self._unclean[record.path] = (y, int(record.mode_worktree, 8))
                elif y != b".":
                    raise Inexact(f"worktree column {y!r}")
            case Unmerged():
                if record.submodule != b"N...":
                    raise Inexact("a submodule is in conflict")
            case _:
                raise Inexact("an ignored path is listed")

    # ---- advancing

    def advance(self, work: Work) -> Iterator[None]:
        """Take in what `work` names. Raises Inexact; the state must not be used after that."""
        touched: set[bytes] = set()
        staged_again: dict[bytes, TreeEntry | None] = {}
        if work.index_changed:
            old = self.index
            self.widens = True
            touched = self._take_index()
            yield from self._find_unwatched(touched, old)
            if len(touched) > FEW_ENTRIES + len(self.index) // SHARE_OF_ENTRIES:
                raise Inexact("too many entries changed")
            if self.widens:
                refuse_unseen_attributes(self.location.path, touched, old)
            # By the old index and the old entries: nothing may be restaged before all are known.
            links: dict[bytes, bool] = {b"": False}
            left: set[bytes] = set()
            for number, path in enumerate(touched):
                self._take_entry(path, old, links, left)
                staged_again[path] = self._staged.head_of(path, old, self._objects)
                if number % STEP == STEP - 1:
                    yield
            if self._strays is not None:
                self._strays.follow(old, self.index, left)
        if work.headers is not None:
            self._headers = work.headers
            if work.tree != self._staged.tree:
                differing = self._objects.diff_trees(self._staged.tree, work.tree)
                if b".gitmodules" in differing and (self._gitlinks or self._kept):
                    # Where neither worktree nor index has one git takes HEAD's.
                    raise Inexact("what is to be ignored of submodules may have changed")
                staged_again.update(differing)
                self._staged.tree = work.tree
                yield
        for number, (path, head) in enumerate(staged_again.items()):
            if path in self._kept_paths:
                raise Inexact("a submodule's entry changed")
            self._staged.restage(path, head, self.index)
            if number % STEP == STEP - 1:
                yield
        if work.index_changed or work.headers is not None:
            self._staged.check_renames(self.index)
        search = UntrackedSearch(self.location.path, self.index, self._rules, Directories(self.location.path))
        if work.rules_changed:
            yield from self._reread_rules(work.paths, search)
        if touched and self._terms.untracked:
            yield from self._untracked.follow_index(touched, search)
        paths = work.paths
        if work.index_changed:
            # An unclean verdict may rest on the index's time (racy entries): look again.
            paths = paths | touched | self._unclean.keys()
        yield from self._look_at(paths, search)
        self.newest.decide()

    def _take_index(self) -> set[bytes]:
        """The names whose entries changed."""
        old = self.index
        succession = read_successor(old, self.location.git_dir + b"/index")
        self.index = succession.index
        timeless = old.mtime_ns < 1_000_000_000 and len(old)  # nothing is racy by such an index
        if self.index.mtime_ns >= 1_000_000_000 and (self.index.mtime_ns < old.mtime_ns or timeless):
            raise Inexact("the index became older")  # what was not racy may be racy now
        refuse_wrong_notes(self.index, whole=False)
        self._refuse_extensions()
        self._refuse_entries_in_submodules()
        return succession.changed

    def _find_unwatched(self, touched: set[bytes], old: Index) -> Iterator[None]:
        """Settle `widens`, also for whoever is asked instead: a walk for nothing would cost another analysis."""
        widens = False
        for number, path in enumerate(touched):
            if may_be_unwatched(self.location.path, path, old, self.index, self._rules):
                widens = True
                break
            if number % STEP == STEP - 1:
                yield
        self.widens = widens

    def _take_entry(self, path: bytes, old: Index, links: dict[bytes, bool], left: set[bytes]) -> None:
        """`left`: receives the directory of what the index names no longer."""
        if path.rpartition(b"/")[2] == b".gitattributes":
            raise Inexact("a tracked attributes file changed")
        if path == b".gitmodules" and (self._gitlinks or self._kept):
            raise Inexact("what is to be ignored of submodules may have changed")
        self._conflicts.discard(path)
        self._unclean.pop(path, None)
        if not self.index.rows(path):
            # Still there, but ignored, it counts no longer.
            self.newest.miss(path, self._recorded_ns(old, old.rows(path)[0]), counted=True)
            left.add(path.rpartition(b"/")[0])
        for index, by in ((old, -1), (self.index, 1)):
            for row in index.rows(path):
                flags = index.flags(row)
                if index.stat_fields(row)[6] == GITLINK:
                    raise Inexact("a submodule's entry changed")
                self._count_flags(flags, by)
                if flags & STAGE_MASK:
                    self._refuse_conflict()
                if index is self.index:
                    self._refuse_entry(path, index, row, links)
                    if flags & STAGE_MASK:
                        self._conflicts.add(path)

    def _reread_rules(self, paths: Iterable[bytes], search: UntrackedSearch) -> Iterator[None]:
        files = [path for path in paths if path.rpartition(b"/")[2] == b".gitignore"]
        directories = {file.rpartition(b"/")[0] for file in files}
        for directory in directories:
            self._rules.invalidate(directory)
        times = Times(self.location.path, self.newest, search)
        if not self._terms.untracked:
            times.give_up()
            return
        for file in files:
            unit, directory = search.unit_of(file), file.rpartition(b"/")[0]
            if unit != file:
                self._untracked.set_unit(unit, search)
                yield from times.count((unit + b"/",))
            elif not lies_below(directory, directories):
                strays = self._strays
                holders = None if strays is None or not strays.agree(self.index) else strays.below(directory)
                if strays is None or holders is None:
                    self._untracked.relist(directory, search)
                    times.give_up()
                else:
                    yield from judge_strays(directory, strays, holders, self._untracked, search, times)
            yield

    def _look_at(self, paths: Iterable[bytes], search: UntrackedSearch) -> Iterator[None]:
        budget = MOST_ROWS
        covered = None
        for number, path in enumerate(sorted(paths)):
            if covered is not None and path.startswith(covered):
                continue
            if number % STEP == STEP - 1:
                yield
            if not path:
                self._rules.invalidate(b"")
                if self._terms.untracked:
                    self._untracked.relist(b"", search)
                continue
            self._refuse_submodules(path)
            if search.is_tracked_directory(path):
                covered = path + b"/"
                for rows in self._look_at_directory(path, search):
                    budget -= rows
                    if budget < 0:
                        raise Inexact("too many tracked files to look at here")
                    yield
            else:
                self._look_at_path(path, search)

    def _look_at_path(self, path: bytes, search: UntrackedSearch) -> None:
        row = self.index.find(path)
        if row is not None:
            self._compare(path, row, search)
            return
        self._unclean.pop(path, None)
        self._note_time(path, None, search)
        if self._terms.untracked:
            self._untracked.set_unit(search.unit_of(path), search)

    def _look_at_directory(self, directory: bytes, search: UntrackedSearch) -> Iterator[int]:
        """A directory that holds tracked files came, went, or changed its nature."""
        self._rules.invalidate(directory)
        prefix = directory + b"/"
        names = self.index.names
        row = bisect_left(names, prefix)
        is_there = search.directories.is_real(directory)
        count = 0
        while row < len(names) and names[row].startswith(prefix):
            if is_there:
                self._compare(names[row], row, search)
            else:
                self._set_missing(names[row], row)
            row += 1
            count += 1
            if count % STEP == 0:
                yield STEP
        if self._terms.untracked:
            self._untracked.drop(directory)
            self._untracked.relist(directory, search)
            if not is_there:
                self._untracked.set_unit(directory, search)
        own = self.index.find(directory)
        if own is not None:
            self._compare(directory, own, search)
        # Times below are not followed one by one.
        self.newest.lost = True
        yield count % STEP

    def _compare(self, path: bytes, row: int, search: UntrackedSearch) -> None:
        # git drops what is untracked under a tracked name.
        self._untracked.drop(path)
        flags = self.index.flags(row)
        if flags & STAGE_MASK:
            self._refuse_conflict()
            self._unclean.pop(path, None)
            self._note_time(path, row, search)
            return
        if self.index.stat_fields(row)[6] == GITLINK or path in self._kept_paths:
            raise Inexact("something changed in a submodule")
        if not search.directories.hold(path):
            self._set_missing(path, row)
            return
        before = self._unclean.get(path)
        verdict = worktree_verdict(self.location.path, path, self.index, row, self._terms, self._hashed_clean)
        if verdict is None:
            self._unclean.pop(path, None)
        else:
            self._unclean[path] = verdict
        self._note_time(path, row, search, still_missing=verdict == before == (b"D", 0))

    def _set_missing(self, path: bytes, row: int) -> None:
        flags = self.index.flags(row)
        if self.index.stat_fields(row)[6] == GITLINK or path in self._kept_paths:
            raise Inexact("something changed in a submodule")
        if flags & STAGE_MASK:
            self._refuse_conflict()
        if flags & SKIP_WORKTREE and self._terms.sparse:
            self._refuse_link(path, {b"": False})
        if flags & (STAGE_MASK | ASSUME_VALID | SKIP_WORKTREE):
            self._unclean.pop(path, None)
        else:
            refuse_unreachable(self.location.path, path)
            self._unclean[path] = (b"D", 0)
        self.newest.lost = True

    def _note_time(self, path: bytes, row: int | None, search: UntrackedSearch, *, still_missing: bool = False) -> None:
        """To be asked before `_untracked` is brought up to date for it. `still_missing`: a tracked file known to be."""
        recorded_ns = None if row is None else self._recorded_ns(self.index, row)
        is_directory = False
        try:
            found = os.lstat(self.location.path + b"/" + path)
        except OSError:
            pass
        else:
            is_directory = found.st_mode & 0o170000 == 0o040000
            if not is_directory:
                if found.st_nlink > 1:
                    raise Inexact("a file that changed has other names")  # no event tells of those
                if row is not None or (self._terms.untracked and not self._rules.is_ignored(path, False)):
                    self.newest.see(path, found.st_mtime_ns, recorded_ns)
                return
        if still_missing and not is_directory:
            return
        self._rules.invalidate(path)  # a directory, perhaps not the one whose rules are known
        # What was not listed came and went unseen (an editor's temporary file), or is ignored.
        self.newest.miss(path, recorded_ns, counted=row is not None or self._untracked.stands_for(path))
        if is_directory and self._terms.untracked and not self.newest.lost:
            self._note_times_below(path, search)

    @staticmethod
    def _recorded_ns(index: Index, row: int) -> int | None:
        if len(index) <= LARGEST_INDEX:
            return None  # all are looked at rather: a clean file may have been touched since
        _, _, seconds, nanoseconds, *_ = index.stat_fields(row)
        # Where they were not recorded, the latest that they can have been.
        return seconds * 1_000_000_000 + (nanoseconds or 999_999_999) if seconds else None

    def _note_times_below(self, directory: bytes, search: UntrackedSearch) -> None:
        """What came with a directory, or was written into it before it was watched, has no event of its own."""
        top = self.location.path + b"/"
        for number, path in enumerate(search.files_below(directory)):
            if number == MOST_TIMES:
                self.newest.lost = True
                return
            with suppress(OSError):  # it went meanwhile: its event is on its way
                self.newest.see(path, os.lstat(top + path).st_mtime_ns, None)

    def _refuse_submodules(self, path: bytes) -> None:
        """Raises Inexact where `path` is a submodule, lies in one, or says how submodules are to be shown."""
        if not self._gitlinks:
            return
        if path == b".gitmodules":
            raise Inexact("what is to be ignored of submodules may have changed")
        at = len(path)
        while at > 0:
            if path[:at] in self._gitlinks:
                raise Inexact("something changed in a submodule")
            at = path.rfind(b"/", 0, at)

    # ---- the answer

    def status(self) -> Status:
        return build_status(
            self.location.path, self._terms, self.index, self._headers, self._staged, self._unclean, self._conflicts,
            self._untracked.entries, self._kept,
        )  # fmt: skip

    def entries(self) -> bytes:
        return encode(self.status())
