"""Builders: what can be changed in a worktree and an index, one kind at a time and mixed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.zoo.commands import Git
from tests.zoo.nursery import Catalogue, Nursery, append, configure, write

CHANGES = Catalogue()


@CHANGES.add
def clean(zoo: Nursery, name: str) -> Git:
    return zoo.base(name)


@CHANGES.add
def staged_new(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / "new/deep/file", b"new\n")
    git("add", "-A")
    return git


@CHANGES.add
def staged_modified(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    append(git.path / "README.md", b"more\n")
    git("add", "-A")
    return git


@CHANGES.add
def staged_deleted(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("rm", "-q", "src/main.c", "docs/guide.txt")
    return git


@CHANGES.add
def staged_renamed(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("mv", "data/a.txt", "data/renamed a.txt")
    git("mv", "src/lib", "src/library")
    return git


@CHANGES.add
def staged_copied(zoo: Nursery, name: str) -> Git:
    """`C` appears only with status.renames=copies and a changed source."""
    git = zoo.base(name)
    configure(git, "[status]\n\trenames = copies\n")
    shutil.copy(git.path / "data/a.txt", git.path / "data/copy.txt")
    append(git.path / "data/a.txt", b"changed\n")
    git("add", "-A")
    return git


@CHANGES.add
def staged_typechange(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    (git.path / "README.md").unlink()
    (git.path / "README.md").symlink_to("docs/guide.txt")
    (git.path / "link").unlink()
    write(git.path / "link", b"a file now\n")
    git("add", "-A")
    return git


@CHANGES.add
def unstaged_modified(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    append(git.path / "src/lib/deep/x.py", b"more\n")
    return git


@CHANGES.add
def unstaged_deleted(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    shutil.rmtree(git.path / "src")
    return git


@CHANGES.add
def unstaged_typechange(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    (git.path / "README.md").unlink()
    (git.path / "README.md").symlink_to("nowhere")
    (git.path / "link").unlink()
    write(git.path / "link", b"README.md")
    return git


@CHANGES.add
def unstaged_renamed(zoo: Nursery, name: str) -> Git:
    """`.R`: the new name is only intended to be added."""
    git = zoo.base(name)
    (git.path / "data/a.txt").rename(git.path / "data/elsewhere.txt")
    git("add", "-N", "data/elsewhere.txt")
    return git


@CHANGES.add
def mode_changed(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    (git.path / "exec.sh").chmod(0o644)
    (git.path / "docs/guide.txt").chmod(0o755)
    return git


@CHANGES.add
def mode_ignored(zoo: Nursery, name: str) -> Git:
    git = mode_changed(zoo, name)
    configure(git, "[core]\n\tfilemode = false\n")
    return git


@CHANGES.add
def untracked_file(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / "untracked", b"")
    write(git.path / "src/lib/beside", b"")
    return git


@CHANGES.add
def untracked_directories(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / "new/one/two/three", b"")
    write(git.path / "new/other", b"")
    write(git.path / "src/fresh/inner/file", b"")
    write(git.path / "only-ignored/x.o", b"")
    write(git.path / "half/x.o", b"")
    write(git.path / "half/x.c", b"")
    return git


@CHANGES.add
def untracked_all(zoo: Nursery, name: str) -> Git:
    git = untracked_directories(zoo, name)
    configure(git, "[status]\n\tshowUntrackedFiles = all\n")
    return git


@CHANGES.add
def untracked_no(zoo: Nursery, name: str) -> Git:
    git = untracked_directories(zoo, name)
    append(git.path / "README.md", b"more\n")
    configure(git, "[status]\n\tshowUntrackedFiles = no\n")
    return git


@CHANGES.add
def renames_off(zoo: Nursery, name: str) -> Git:
    git = staged_renamed(zoo, name)
    configure(git, "[status]\n\trenames = false\n")
    return git


@CHANGES.add
def intent_to_add(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / "intended", b"content\n")
    write(git.path / "intended-then-deleted", b"content\n")
    write(git.path / "intended-empty", b"")
    git("add", "-N", "intended", "intended-then-deleted", "intended-empty")
    (git.path / "intended-then-deleted").unlink()
    return git


@CHANGES.add
def mixed(zoo: Nursery, name: str) -> Git:
    """MM, AM, AD, RM, RD, MD, D with an untracked file in its place, TM."""
    git = zoo.base(name)
    top = git.path
    append(top / "README.md", b"staged\n")
    write(top / "added-then-changed", b"added\n")
    write(top / "added-then-deleted", b"added\n")
    append(top / "exec.sh", b"echo staged\n")
    git("mv", "data/a.txt", "data/a2.txt")
    git("mv", "data/b.txt", "data/b2.txt")
    git("add", "-A")
    git("rm", "-q", "--cached", "docs/guide.txt")
    append(top / "README.md", b"unstaged\n")
    append(top / "added-then-changed", b"changed\n")
    (top / "added-then-deleted").unlink()
    append(top / "data/a2.txt", b"changed\n")
    (top / "data/b2.txt").unlink()
    (top / "exec.sh").unlink()
    return git


@CHANGES.add
def file_became_directory(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    (git.path / "README.md").unlink()
    write(git.path / "README.md/inside", b"")
    (git.path / "link").unlink()
    (git.path / "link").mkdir()
    return git


@CHANGES.add
def directory_became_file(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    shutil.rmtree(git.path / "src/lib")
    write(git.path / "src/lib", b"a file\n")
    shutil.rmtree(git.path / "data")
    (git.path / "data").symlink_to("docs")
    return git


@CHANGES.add
def removed_from_index(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("rm", "-rq", "--cached", ".")
    return git


@CHANGES.add
def worktree_emptied(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    for entry in git.path.iterdir():
        if entry.name != ".git":
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()
    return git


@CHANGES.add
def touched(zoo: Nursery, name: str) -> Git:
    """Stat-dirty, equal content: clean, but every entry has to be hashed."""
    git = zoo.base(name)
    for path in git.path.rglob("*"):
        if ".git" not in path.parts and path.is_file():
            os.utime(path, ns=(10**18, 10**18))
    return git


def _racy(git: Git, file: Path) -> None:
    """A same-size edit within the second of the index: only the content tells."""
    while True:
        write(file, b"first\n")
        git("add", "-A")
        write(file, b"again\n")
        if int(os.stat(file).st_ctime) == int(os.stat(git.path / ".git/index").st_mtime):
            return


@CHANGES.add
def racy(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    _racy(git, git.path / "racy")
    return git


@CHANGES.add
def racy_without_ctime(zoo: Nursery, name: str) -> Git:
    """Equal stat by trustctime=false and a set mtime; the index's own mtime is what makes it racy."""
    git = zoo.base(name)
    configure(git, "[core]\n\ttrustctime = false\n")
    file = git.path / "racy"
    write(file, b"first\n")
    os.utime(file, ns=(10**18, 10**18))
    git("add", "-A")
    write(file, b"again\n")
    os.utime(file, ns=(10**18, 10**18))
    os.utime(git.path / ".git/index", ns=(10**18, 10**18))
    return git


@CHANGES.add
def mtime_in_the_future(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    append(git.path / "README.md", b"more\n")
    os.utime(git.path / "README.md", ns=(4 * 10**18, 4 * 10**18))
    os.utime(git.path / "exec.sh", ns=(4 * 10**18, 4 * 10**18))
    return git


@CHANGES.add
def stale_index_lock(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    append(git.path / "README.md", b"more\n")
    write(git.path / ".git/index.lock", b"")
    return git


@CHANGES.add
def no_index(zoo: Nursery, name: str) -> Git:
    """Everything is staged as deleted and lies untracked."""
    git = zoo.base(name)
    (git.path / ".git/index").unlink()
    return git


@CHANGES.add
def empty_directories(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    for directory in ("empty", "nested/empty", "src/empty", "docs/x/y/z"):
        (git.path / directory).mkdir(parents=True)
    return git


@CHANGES.add
def ignored_trees(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    for number in range(5):
        write(git.path / f"build/{number}/out.bin", b"")
    write(git.path / "build/tracked.txt", b"tracked although ignored\n")
    git("add", "-f", "build/tracked.txt")
    git("commit", "-qm", "tracked in an ignored directory")
    append(git.path / "build/tracked.txt", b"changed\n")
    write(git.path / "src/x.o", b"")
    return git


@CHANGES.add
def nested_ignore_rules(zoo: Nursery, name: str) -> Git:
    """Negation, anchoring, directory-only, `**`, and what cannot come back below an ignored directory."""
    git = zoo.base(name)
    top = git.path
    write(
        top / ".gitignore",
        b"*.log\n!keep.log\n/anchored\nonlydir/\na/**/z\n\\!bang\n\\#hash\ntrailing\\ \n[ab]x\n/deep/*\n!/deep/back\n",
    )
    write(top / "src/.gitignore", b"!*.log\n*.tmp\n/lib/*.py\n")
    write(top / "shut/.gitignore", b"*\n")
    write(top / "self/.gitignore", b"*\n!.gitignore\n")
    for path in (
        "x.log",
        "keep.log",
        "src/x.log",
        "src/x.tmp",
        "src/lib/new.py",
        "src/lib/deep/new.py",
        "anchored",
        "src/anchored",
        "onlydir",
        "src/onlydir/file",
        "a/z",
        "a/b/z",
        "a/b/c/z",
        "a/b/c/y",
        "!bang",
        "#hash",
        "trailing ",
        "ax",
        "cx",
        "deep/gone",
        "deep/back/file",
        "shut/in",
        "self/in",
    ):
        write(top / path, b"")
    return git


@CHANGES.add
def info_exclude(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(git.path / ".git/info/exclude", b"private\n*.secret\n!shown.secret\n")
    for path in ("private", "x.secret", "shown.secret", "visible"):
        write(git.path / path, b"")
    return git


@CHANGES.add
def excludes_file(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    write(zoo.directory / "_excludes", b"*.mine\n")
    configure(git, f"[core]\n\texcludesFile = {zoo.directory}/_excludes\n")
    for path in ("x.mine", "x.yours"):
        write(git.path / path, b"")
    return git


@CHANGES.add
def symbolic_links(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    top = git.path
    for link, target in (
        ("to-file", "README.md"),
        ("to-directory", "src"),
        ("dangling", "nowhere"),
        ("loop-a", "loop-b"),
        ("loop-b", "loop-a"),
        ("self", "self"),
        ("docs/up", ".."),
        ("out", ".."),
    ):
        (top / link).symlink_to(target)
    git("add", "-A")
    git("commit", "-qm", "links")
    (top / "to-file").unlink()
    (top / "to-file").symlink_to("exec.sh")
    (top / "new-link").symlink_to("src")
    (top / "new-dangling").symlink_to("/nowhere/at/all")
    return git


@CHANGES.add
def fifo(zoo: Nursery, name: str) -> Git:
    """git does not list special files, and must not wait for them."""
    git = zoo.base(name)
    os.mkfifo(git.path / "pipe")
    (git.path / "README.md").unlink()
    os.mkfifo(git.path / "README.md")
    return git


@CHANGES.add
def fleet_of_files(zoo: Nursery, name: str) -> Git:
    """Entries past one 32-entry block of the index, with changes at both ends."""
    git = zoo.base(name)
    for number in range(300):
        write(git.path / f"many/{number % 7}/{number:03}", b"%d\n" % number)
    git("add", "-A")
    git("commit", "-qm", "many")
    append(git.path / "many/0/000", b"x\n")
    append(git.path / "many/5/299", b"x\n")
    (git.path / "many/3/150").unlink()
    return git
