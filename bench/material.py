"""What is measured on: a fleet of small repositories, big ones and a small one, built once and kept.

Everything is deterministic and lies below one directory; a version file tells whether it is whole and current.
Invariant: every index is younger, by a whole second, than the files it names: as in a repository that was left alone.
Otherwise git (and everybody else) would hash all of them at each status, and nothing would be compared but that.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from tests.zoo.commands import Git, new_repository
from tests.zoo.nursery import append, write

VERSION = "1"
FLEET_REPOSITORIES = 500
BIG_FILES = 100_001
SWITCHED_FILES = 1_000
"""How many files differ between `main` and `other` in the big repository."""
HUGE_FILES = 400_001
STORM_FILES = 20_000
"""All of them differ between `main` and `other`."""

FLEET_SIZES = (40, 72, 96, 224)
"""Files in the repositories, in turn: 108 on average, 54,000 in all."""


class Material:
    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()
        self.fleet = self.directory / "fleet"
        self.big = self.directory / "big"
        self.small = self.directory / "small"
        self.cached = self.directory / "big-untracked-cache"
        """As `big`, but its index holds git's untracked cache: that is git's rival in its own repository."""
        self.storm = self.directory / "storm"
        self.huge = self.directory / "huge"
        self._parts: dict[Path, Callable[[Path], None]] = {
            self.fleet: build_fleet, self.big: build_big, self.small: build_small, self.cached: build_big_cached,
            self.storm: build_storm, self.huge: build_huge,
        }  # fmt: skip

    def prepare(self, *, huge: bool) -> None:
        """Build what is missing. A few minutes for all; unfinished parts are built anew. `huge` takes 2 GB more."""
        self.directory.mkdir(parents=True, exist_ok=True)
        for path, build in self._parts.items():
            mark = self.directory / f"{path.name}.version"
            if (path == self.huge and not huge) or (mark.exists() and mark.read_text() == VERSION):
                continue
            shutil.rmtree(path, ignore_errors=True)
            started = time.monotonic()
            build(path)
            let_indexes_age(path)
            mark.write_text(VERSION)
            print(f"built {path} in {time.monotonic() - started:.0f} s", flush=True)


def build_fleet(directory: Path) -> None:
    """500 repositories in ten groups, three commits each, objects packed; every tenth dirty, every fifth ahead."""
    templates = [_template(directory / f".template{size}", size) for size in FLEET_SIZES]
    for number in range(FLEET_REPOSITORIES):
        template = templates[number % len(templates)]
        path = directory / f"group{number % 10}" / f"repository{number:03}"
        path.mkdir(parents=True)
        shutil.copytree(template / ".git", path / ".git")
        git = Git(path)
        if number % 5 == 0:
            git("update-ref", "refs/remotes/origin/main", "HEAD~1")
        git("reset", "-q", "--hard")
        if number % 10 == 0:
            append(path / "file000.txt", b"changed\n")
            write(path / "untracked", b"")
    for template in templates:
        shutil.rmtree(template)


def _template(path: Path, files: int) -> Path:
    names = [f"dir{n % 9}/sub{n % 4}/file{n:03}.txt" if n % 3 else f"file{n:03}.txt" for n in range(files)]
    git = new_repository(path, {name: f"{name}\n".encode() * 40 for name in names}, "--template=")
    for number in (2, 3):
        append(path / names[number], b"more\n")
        git("commit", "-qam", f"number {number}")
    append(
        path / ".git/config",
        b'[remote "origin"]\n\turl = https://git.example/fleet.git\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n'
        b'[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n',
    )
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("gc", "-q")
    return path


def build_big(path: Path) -> None:
    """100,001 files in 8,100 directories, by fast-import; `other` differs from `main` in 1,000 of them."""
    _build_wide(path, big_names())


def build_big_cached(path: Path) -> None:
    build_big(path)
    Git(path)("-c", "core.untrackedCache=true", "update-index", "--untracked-cache")
    fill_untracked_cache(path)


def build_huge(path: Path) -> None:
    """400,001 files in 30,000 directories."""
    _build_wide(path, huge_names())


def build_storm(path: Path) -> None:
    """20,000 files in 430 directories; all differ between `main` and `other`."""
    _build_wide(path, _wide_names(STORM_FILES, 20, 20), STORM_FILES)


def fill_untracked_cache(path: Path, index: Path | None = None) -> None:
    """Twice: git enters a directory's listing only when its time is older than the run that saw it first."""
    env = {} if index is None else {"GIT_INDEX_FILE": str(index)}
    for _ in range(2):
        Git(path)("-c", "core.untrackedCache=true", "status", "--porcelain=v2", env=env)


def big_names() -> list[str]:
    """90 directories of 89 each; the files are spread over the leaves, one lies at the top."""
    return _wide_names(BIG_FILES, 90, 89)


def huge_names() -> list[str]:
    return _wide_names(HUGE_FILES, 172, 173)


def _wide_names(files: int, top: int, below: int) -> list[str]:
    leaves = [f"part{outer:02}/section{inner:02}" for outer in range(top) for inner in range(below)]
    return ["README.md", *(f"{leaves[n % len(leaves)]}/file{n:06}.txt" for n in range(files - 1))]


def _build_wide(path: Path, names: list[str], switched: int = SWITCHED_FILES) -> None:
    git = new_repository(path, None, "--template=")
    git("fast-import", "--quiet", stdin=_wide_stream(names, switched))
    git("reset", "-q", "--hard", "main")


def _wide_stream(names: list[str], switched: int) -> bytes:
    step = len(names) // switched
    commit = "commit refs/heads/%s\nmark :%d\ncommitter Zoo Keeper <keeper@zoo.example> 1700000000 +0000\ndata 5\n%s\n"
    parts = [commit % ("main", 1, "first")]
    for number, name in enumerate(names):
        content = f"{name} {number}\n" * 3
        parts.append(f"M 100644 inline {name}\ndata {len(content)}\n{content}\n")
    parts.append(commit % ("other", 2, "other") + "from :1\n")
    parts += [f"M 100644 inline {name}\ndata 6\nother\n\n" for name in names[: switched * step : step]]
    return "".join(parts).encode()


def build_small(path: Path) -> None:
    new_repository(path, {f"dir{n % 10}/file{n:02}.txt": b"small\n" for n in range(100)}, "--template=")


def let_indexes_age(directory: Path) -> None:
    """Set the mtime of every index to a later second than that of any file, once that second has come."""
    second = int(time.time())
    while int(time.time()) <= second + 1:
        time.sleep(0.05)
    for here, names, _ in os.walk(directory):
        if ".git" in names:
            os.utime(os.path.join(here, ".git", "index"))
            names.remove(".git")
