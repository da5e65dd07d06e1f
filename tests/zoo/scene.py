"""Choosing, by a seeded generator, a file, a directory or a name in one worktree. Paths are absolute bytes.

Listings are sorted before the choice, and nothing depends on time: the same seed over the same repositories
makes the same choices.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Collection
from random import Random

from tests.zoo.commands import Git

NAMES = (
    b"alpha",
    b"beta.txt",
    b"gamma.c",
    b"delta.o",
    b"new\nline",
    b"sp ace",
    b"caf\xe9",
    b"\xc3\xa9",
    b"-dash",
    b'q"uote',
    b"build",
    b"x.log",
    b"keep.log",
    b"deep.secret",
    b"zz",
    b"[ab]",
    b"back\\slash",
    b"Alpha",
    b"win.txt",
    b"one.sec",
)
DIRECTORIES = (
    b"src",
    b"docs",
    b"data",
    b"new",
    b"build",
    b"dir with space",
    b"a",
    b"z",
    b"caf\xc3\xa9",
    b"sub dir",
)


class Scene:
    """One worktree, and what may be done where. `fenced` are worktrees that must stay where they are."""

    __slots__ = ("fenced", "git", "random", "top")

    def __init__(self, random: Random, git: Git, fenced: Collection[bytes]) -> None:
        self.random = random
        self.git = git
        self.top = os.fsencode(git.path)
        self.fenced = fenced

    def some_entry(self, directory: bytes | None = None) -> bytes | None:
        """Any file, link or directory, by walking down at random; never a `.git` nor anything in one."""
        here = directory or self.top
        found = None
        while True:
            names = sorted(name for name in os.listdir(here) if name != b".git")
            if not names:
                return found
            found = os.path.join(here, self.random.choice(names))
            if not _is_directory(found) or self.random.random() < 0.25:
                return found
            here = found

    def some_file(self) -> bytes | None:
        """A regular file (never a FIFO: opening one waits)."""
        for _ in range(6):
            entry = self.some_entry()
            if entry is not None and stat.S_ISREG(os.lstat(entry).st_mode):
                return entry
        return None

    def some_link(self) -> bytes | None:
        for _ in range(8):
            entry = self.some_entry()
            if entry is not None and os.path.islink(entry):
                return entry
        return None

    def some_directory(self) -> bytes | None:
        """A directory that may be moved or removed: no worktree of the zoo and no submodule lies in it."""
        for _ in range(8):
            entry = self.some_entry()
            if entry is not None and _is_directory(entry) and self.may_go(entry):
                return entry
        return None

    def some_place(self) -> bytes:
        """The top or any directory below it, to put something into."""
        for _ in range(4):
            entry = self.some_entry()
            if entry is not None and _is_directory(entry):
                return entry
        return self.top

    def some_new_path(self) -> bytes:
        """A path below an existing or a new directory; something may lie there already."""
        place = self.some_place()
        for _ in range(self.random.choice((0, 0, 0, 1, 2, 4))):
            place = os.path.join(place, self.random.choice(DIRECTORIES))
        return os.path.join(place, self.random.choice(NAMES))

    def some_inner_repository(self) -> Git | None:
        """A submodule or nested repository of this worktree."""
        found = sorted(
            directory
            for directory, names, files in os.walk(self.top)
            if directory != self.top and (b".git" in names or b".git" in files)
        )
        return Git(self.random.choice(found)) if found else None

    def may_go(self, directory: bytes) -> bool:
        """Whether every worktree stays usable without it (a submodule's `.git` file has a relative path)."""
        if any((fence + b"/").startswith(directory + b"/") for fence in self.fenced):
            return False
        return not any(b".git" in files for _, _, files in os.walk(directory))

    def content(self) -> bytes:
        lines = self.random.choice((0, 1, 1, 2, 20))
        return b"".join(b"%d\n" % self.random.randrange(1000) for _ in range(lines))

    def shown(self, path: bytes) -> str:
        """Relative to the top, as a Python literal: what one pastes into a test."""
        return repr(os.path.relpath(path, self.top))

    def relative(self, path: bytes) -> bytes:
        return os.path.relpath(path, self.top)


def _is_directory(path: bytes) -> bool:
    return stat.S_ISDIR(os.lstat(path).st_mode)
