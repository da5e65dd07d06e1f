"""What the builders share: a template repository that is copied, not made again, and quick ways to write.

Git children are most of a builder's time (3-5 ms each), so configuration is appended to the file by hand and
remotes are refs written by hand over a bare copy of the same objects.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.zoo.commands import Git, new_repository

BASE_FILES = {
    ".gitignore": b"*.o\nbuild/\n",
    "README.md": b"# base\n\nA repository like many others.\n",
    "exec.sh": b"#!/bin/sh\necho base\n",
    "docs/guide.txt": b"one\ntwo\nthree\n",
    "src/main.c": b"int main(void)\n{\n\treturn 0;\n}\n",
    "src/lib/util.c": b"/* util */\nint util(void) { return 1; }\n",
    "src/lib/deep/x.py": b"print('deep')\n",
    "data/a.txt": b"a\n" * 20,
    "data/b.txt": b"b\n" * 20,
}
"""The first commit of every copied repository, besides the symbolic link `link` -> README.md."""


class Nursery:
    """Makes repositories below `directory`. `also` collects further worktrees that a builder made."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.also: dict[str, Path] = {}
        self.origin = directory / "_origins" / "base.git"
        self._template = directory / "_template"
        self._make_template()

    def _make_template(self) -> None:
        """Branches: `main` (3 commits), from its first `feature` (conflicts in src/main.c) and `topic`."""
        git = new_repository(self._template / "base", None, "--template=")
        for name, content in BASE_FILES.items():
            write(git.path / name, content)
        (git.path / "exec.sh").chmod(0o755)
        (git.path / "link").symlink_to("README.md")
        git("add", "-A")
        git("commit", "-qm", "first")
        git("branch", "feature")
        git("branch", "topic")
        for number in (2, 3):
            write(git.path / "src/main.c", b"int main(void)\n{\n\treturn %d;\n}\n" % number)
            write(git.path / f"docs/{number}.txt", b"%d\n" % number)
            git("add", "-A")
            git("commit", "-qm", f"number {number}")
        git("checkout", "-q", "feature")
        write(git.path / "src/main.c", b"int main(void)\n{\n\treturn 42;\n}\n")
        git("commit", "-qam", "feature: 42")
        write(git.path / "feature.txt", b"feature\n")
        git("add", "-A")
        git("commit", "-qm", "feature: a file")
        git("checkout", "-q", "topic")
        write(git.path / "topic.txt", b"topic\n")
        git("add", "-A")
        git("commit", "-qm", "topic: a file")
        git("checkout", "-q", "main")
        shutil.copytree(git.path / ".git", self.origin)
        (self.origin / "index").unlink()
        (self.origin / "config").write_bytes(
            b"[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n\tbare = true\n"
        )
        shutil.rmtree(git.path / ".git" / "logs")
        (git.path / ".git" / "index").unlink()

    def base(self, name: str | bytes) -> Git:
        """A clean repository on `main` with the template's history, at `directory/name`."""
        path = self.directory / os.fsdecode(name)
        path.mkdir(parents=True)
        shutil.copytree(self._template / "base" / ".git", path / ".git")
        git = Git(path)
        git("reset", "-q", "--hard")
        return git

    def tracking(self, name: str, ours: str = "main", theirs: str = "main") -> Git:
        """`base` with `main` at `ours` and `origin/main` at `theirs`; the real origin stays as it is."""
        git = self.base(name)
        oid = git("rev-parse", theirs).strip()
        write(git.path / ".git/refs/remotes/origin/main", oid + b"\n")
        configure(git, f'[remote "origin"]\n\turl = {self.origin}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
        configure(git, '[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n')
        if ours != "main":
            git("reset", "-q", "--hard", ours)
        return git

    def empty(self, name: str, *options: str) -> Git:
        return new_repository(self.directory / name, None, "--template=", *options)

    def small(self, name: str, *options: str) -> Git:
        """Two files, one commit; for what is made by the hundred or lies inside another repository."""
        return new_repository(
            self.directory / name, {"file": b"file\n", "dir/other": b"other\n"}, "--template=", *options
        )


Builder = Callable[[Nursery, str], Git]
"""Makes the repository of that name; returns its runner."""


class Catalogue(dict[str, Builder]):
    """Builders by the names of their repositories (the function's name with `-` for `_`)."""

    def add(self, builder: Builder) -> Builder:
        self[builder.__name__.replace("_", "-")] = builder
        return builder


def write(path: Path | bytes, content: bytes) -> None:
    """Write a file, with its directories."""
    path = Path(os.fsdecode(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def configure(git: Git, text: str) -> None:
    """Append to the repository's own config file."""
    append(git.path / ".git" / "config", text.encode())
