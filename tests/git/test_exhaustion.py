"""With no descriptor left nothing that cannot be opened may be taken for absent."""

from __future__ import annotations

import errno
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.action import read_action
from gitwatchd.git.ignore import read_rules, read_shared, worktree_reader
from gitwatchd.git.layout import linked_worktrees, read_location
from gitwatchd.git.refs import Refs, count_stashes, read_refs
from gitwatchd.git.repository_config import read_config
from gitwatchd.git.worktree import Found, read_tree, walk_directories
from gitwatchd.mounts import read_mounts
from gitwatchd.watch.discovery import walk_root
from tests.zoo.commands import Git


@contextmanager
def no_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_cannot_be_opened_for_want_of_a_descriptor_is_not_absent(repository: Callable[..., Git]) -> None:
    git = repository({"d/f": b"1\n", ".gitignore": b"x\n"})
    git("branch", "other")
    git("pack-refs", "--all")
    (git.path / "d/f").write_bytes(b"2\n")
    git("stash")
    top = os.fsencode(git.path)
    location = read_location(top)
    assert location is not None
    config = read_config(location)
    tree = read_tree(location, config)
    mounts = read_mounts()
    readers: dict[str, Callable[[], object]] = {
        "location": lambda: read_location(top),
        "worktrees": lambda: linked_worktrees(location.common_dir),
        "config": lambda: read_config(location),
        "action": lambda: read_action(location.git_dir),
        "stashes": lambda: count_stashes(location),
        "loose ref": lambda: read_refs(location).resolve(b"HEAD"),
        "packed refs": lambda: Refs(location.git_dir, location.common_dir).packed(),
        "rules": lambda: read_rules(location, config).is_ignored(b"x", True),
        "exclude file": lambda: read_shared(location.common_dir + b"/info/exclude"),
        ".gitignore": lambda: worktree_reader(top)(b".gitignore"),
        "walk": lambda: walk_directories(tree, [b""], lambda _path, _prefix: True, Found()),
    }
    for name, read in readers.items():
        with no_descriptors(), pytest.raises((OSError, EnvironmentFailure)) as caught:
            read()
        cause = caught.value if isinstance(caught.value, OSError) else caught.value.__cause__
        assert isinstance(cause, OSError) and cause.errno == errno.EMFILE, name
    for read in readers.values():
        read()
    said: list[int | None] = []
    with no_descriptors():
        assert list(walk_root(top, mounts, unreadable=lambda _path, error: said.append(error.errno))) == []
    assert said == [errno.EMFILE]


def test_absent_is_still_absent(tmp_path: Path) -> None:
    assert read_location(os.fsencode(tmp_path)) is None
    assert read_action(os.fsencode(tmp_path / "none")) is None
