"""A repository whose status is followed from change to change, without daemon, watches or clock.

`followed = follow(git)`; `followed.after(operation)` notes what the operation changed, as the watches would, and
advances; `followed.entries()` are to be compared with the judge's. What is beyond this level raises Inexact.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gitwatchd.analysis.facts import read_ref_facts
from gitwatchd.git.ignore import read_rules
from gitwatchd.git.index_file import read_index
from gitwatchd.git.layout import read_format, read_location
from gitwatchd.git.objects import Objects
from gitwatchd.git.porcelain import Headers, encode, parse_status
from gitwatchd.git.repository_config import read_config
from gitwatchd.git.worktree import Found, read_tree, walk_directories
from gitwatchd.incremental.state import RepositoryState, Work
from gitwatchd.incremental.strays import Strays
from gitwatchd.incremental.terms import read_terms
from tests.zoo.commands import Git, judge

Seen = dict[bytes, tuple[object, ...]]


class Followed:
    """Primed by git's own answer."""

    def __init__(self, git: Git) -> None:
        self.git = git
        location = read_location(os.fsencode(git.path))
        assert location is not None
        self.location = location
        self.config = read_config(location)
        self.objects = Objects(location, may_start_git=False)
        index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
        attributes = {os.path.dirname(path) for path in _see(location.path) if path.endswith(b".gitattributes")}
        terms = read_terms(location, self.config, index, attributes)
        entries = judge(git.path)
        status = parse_status(entries)
        tree = None if status.headers.oid is None else self.objects.tree_of(status.headers.oid)
        self.state = RepositoryState(
            location, terms, index, tree, read_rules(location, self.config), self.objects, status
        )
        assert self.state.entries() == entries
        self.strays: Strays | None = None

    def learn_strays(self) -> Strays:
        """From now on it is known which directories hold what the index does not name, as a walk and events tell."""
        tree = read_tree(self.location, self.config)
        self.strays = Strays()
        self.strays.begin()
        found = Found(names=frozenset(tree.index.names))
        walk_directories(tree, [b""], lambda _path, _prefix: True, found)
        self.strays.add(found.holders)
        self.strays.complete(tree.index)
        self.state.learn_strays(self.strays)
        return self.strays

    def after(self, *operations: Callable[[], object]) -> None:
        """Take in what they change. Raises Inexact."""
        before = self._moment()
        for operation in operations:
            operation()
        after = self._moment()
        if self.strays is not None:
            here_now = {path for path, found in after[0].items() if before[0].get(path, (None,))[0] != found[0]}
            self.strays.add({path.rpartition(b"/")[0] for path in here_now})
        self.advance(
            {path for path in before[0].keys() | after[0].keys() if before[0].get(path) != after[0].get(path)},
            index_changed=before[1] != after[1],
            refs_changed=before[2] != after[2],
        )

    def advance(self, paths: set[bytes], *, index_changed: bool = False, refs_changed: bool = False) -> None:
        rules_changed = any(os.path.basename(path) == b".gitignore" for path in paths)
        work = Work(paths, index_changed, rules_changed)
        if refs_changed:
            facts = read_ref_facts(self.location, self.config, None, self.objects)
            upstream = facts.upstream
            work.headers = Headers(
                facts.oid, facts.branch, None if upstream is None else upstream.name,
                None if upstream is None else upstream.ahead, None if upstream is None else upstream.behind,
                facts.stashes or 0,
            )  # fmt: skip
            work.tree = None if facts.oid is None else self.objects.tree_of(facts.oid)
        for _ in self.state.advance(work):
            pass

    def entries(self) -> bytes:
        return encode(self.state.status())

    def expect_git_s(self) -> None:
        assert self.entries() == judge(self.git.path)

    def _moment(self) -> tuple[Seen, object, object]:
        git_dir = Path(os.fsdecode(self.location.git_dir))
        refs = [(p, p.read_bytes()) for p in sorted(git_dir.rglob("*")) if p.is_file() and "objects" not in p.parts]
        index = git_dir / "index"
        return (
            _see(self.location.path),
            _identity(os.stat(index)) if index.exists() else None,
            [(path, content) for path, content in refs if path != index],
        )


def _see(top: bytes) -> Seen:
    """Every path with what an event would be raised for; a directory by its inode, and by the repository in it."""
    seen: Seen = {}
    stack = [b""]
    while stack:
        directory = stack.pop()
        for entry in os.scandir(top + b"/" + directory):
            path = directory + entry.name
            if entry.name == b".git":
                continue
            found = entry.stat(follow_symlinks=False)
            if entry.is_dir(follow_symlinks=False):
                seen[path] = (found.st_ino, found.st_mode, read_location(top + b"/" + path))
                stack.append(path + b"/")
            else:
                seen[path] = _identity(found)
    return seen


def _identity(found: os.stat_result) -> tuple[object, ...]:
    return found.st_ino, found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns


@pytest.fixture
def follow() -> Iterator[Callable[[Git], Followed]]:
    followed: list[Followed] = []

    def make(git: Git) -> Followed:
        followed.append(Followed(git))
        return followed[-1]

    yield make
    for each in followed:
        each.objects.close()
