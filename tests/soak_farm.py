"""What the soak drives: repositories with several peculiarities at once.

Everything is chosen by the given generator, so that a round repeats from its seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.zoo.attributes import ODD_NAMES
from tests.zoo.commands import Git
from tests.zoo.nursery import Nursery, write

SIZES = (0, 0, 10, 60, 60, 300, 2000)
"""Files besides the template's nine."""
PECULIARITIES = 3
"""At most so many in one repository: more hide one another."""


def build_farm(random: Random, directory: Path) -> list[Path]:
    """One to three repositories below `directory`; the worktrees to be driven, linked ones and submodules too."""
    zoo = Nursery(directory)
    worktrees: list[Path] = []
    for number in range(random.choice((1, 1, 2, 3))):
        git = zoo.tracking(f"r{number}", random.choice(("main", "main~1", "main")), random.choice(("main", "main~2")))
        _add_files(random, git, random.choice(SIZES))
        chosen = random.sample(list(_PECULIARITIES), random.randrange(PECULIARITIES + 1))
        chosen.sort(key=lambda make: make is _sparse)  # git adds nothing outside of a sparse checkout
        for make in chosen:
            made = make(random, zoo, git)
            if made is not None:
                worktrees.append(made)
        worktrees.append(git.path)
    return worktrees


def _add_files(random: Random, git: Git, count: int) -> None:
    for number in range(count):
        directory = "/".join(random.choice(("src", "docs", "gen", "a", "z")) for _ in range(random.randrange(4)))
        path = git.path / directory / f"f{number:04}{random.choice(('.txt', '.c', '', '.py'))}"
        if not path.parent.exists() or path.parent.is_dir():
            write(path, b"%d\n" % number)
    if count:
        git("add", "-A")
        git("commit", "-qm", "files")


Peculiarity = Callable[[Random, Nursery, Git], Path | None]
_PECULIARITIES: list[Peculiarity] = []


def _peculiarity(make: Peculiarity) -> Peculiarity:
    _PECULIARITIES.append(make)
    return make


def _commit(git: Git) -> None:
    git.ask("add", "-A")  # refused where it would be outside of a sparse checkout
    git("commit", "-q", "--allow-empty", "-m", "peculiar")


@_peculiarity
def _nested_rules(random: Random, zoo: Nursery, git: Git) -> None:
    write(git.path / ".gitignore", b"*.o\nbuild/\n*.log\n!keep.log\n/anchored\nnew/*\n!new/shown\n")
    write(git.path / "src/.gitignore", b"!*.log\n*.tmp\n/lib/*.py\n")
    write(git.path / "shut/.gitignore", b"*\n")
    write(git.path / "open/in/.gitignore", b"*\n!.gitignore\n!*.c\n")
    for path in ("x.log", "src/x.log", "build/out", "shut/in", "open/in/a.c", "open/in/b", "new/shown", "new/hidden"):
        write(git.path / path, b"")
    _commit(git)


@_peculiarity
def _submodule(random: Random, zoo: Nursery, git: Git) -> Path:
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(zoo.origin), "sub")
    _commit(git)
    return git.path / "sub"


@_peculiarity
def _linked_worktree(random: Random, zoo: Nursery, git: Git) -> Path:
    linked = git.path.with_name(git.path.name + "-linked")
    git("worktree", "add", "-q", str(linked), "topic")
    return linked


@_peculiarity
def _line_ends(random: Random, zoo: Nursery, git: Git) -> None:
    write(git.path / ".gitattributes", b"*.txt text eol=crlf\n*.c text=auto\n")
    write(git.path / "win.txt", b"one\r\ntwo\r\n")
    _commit(git)


@_peculiarity
def _global_filter(random: Random, zoo: Nursery, git: Git) -> None:
    write(git.path / "data/.gitattributes", b"*.sec filter=zoo\n")
    write(git.path / "data/one.sec", b"secret\n")
    _commit(git)


@_peculiarity
def _sparse(random: Random, zoo: Nursery, git: Git) -> None:
    git("sparse-checkout", "set", "--cone", "docs")


@_peculiarity
def _index_version_4(random: Random, zoo: Nursery, git: Git) -> None:
    git("update-index", "--index-version", "4")


@_peculiarity
def _odd_names(random: Random, zoo: Nursery, git: Git) -> None:
    for name in random.sample(ODD_NAMES, 8):
        write(os.fsencode(git.path) + b"/odd/" + name, b"odd\n")
        write(os.fsencode(git.path) + b"/in-" + name[:100] + b"/" + name, b"odd\n")
    _commit(git)


@_peculiarity
def _links_and_modes(random: Random, zoo: Nursery, git: Git) -> None:
    for link, target in (("to-dir", "src"), ("docs/up", ".."), ("dangling", "nowhere"), ("z", "data")):
        if not os.path.lexists(git.path / link):
            (git.path / link).symlink_to(target)
    (git.path / "docs/guide.txt").chmod(0o755)
    os.mkfifo(git.path / "pipe")
    _commit(git)


@_peculiarity
def _empty_directories(random: Random, zoo: Nursery, git: Git) -> None:
    for directory in ("empty", "nested/empty", "src/empty", "docs/x/y/z"):
        (git.path / directory).mkdir(parents=True, exist_ok=True)


@_peculiarity
def _nested(random: Random, zoo: Nursery, git: Git) -> None:
    zoo.small(f"{git.path.name}/inner")
    zoo.small(f"{git.path.name}/untracked/deep/inner")
    zoo.empty(f"{git.path.name}/src/unborn")
    (git.path / "half/.git").mkdir(parents=True)


@_peculiarity
def _no_upstream(random: Random, zoo: Nursery, git: Git) -> None:
    git.ask("branch", "--unset-upstream")


@_peculiarity
def _tracked_although_ignored(random: Random, zoo: Nursery, git: Git) -> None:
    write(git.path / "build/tracked.txt", b"tracked\n")
    write(git.path / "build/out.bin", b"")
    git("add", "-f", "build/tracked.txt")
    _commit(git)
