"""What the soak drives: repositories with several peculiarities at once, and operations beyond the zoo's.

Everything is chosen by the given generator, so that a round repeats from its seed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.zoo.attributes import ODD_NAMES
from tests.zoo.commands import Git
from tests.zoo.file_operations import FILE_OPERATIONS, NOTHING, Operation
from tests.zoo.git_operations import GIT_OPERATIONS
from tests.zoo.isolation import GITCONFIG
from tests.zoo.nursery import Nursery, append, write
from tests.zoo.scene import Scene

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


# ---- operations


def sparse_checkout(scene: Scene) -> str:
    choices = (
        ("set", "--cone", "docs"), ("set", "--cone", "src/lib", "data"), ("disable",),
        ("set", "--no-cone", "/*", "!/src/"), ("reapply",), ("add", "src"),
    )  # fmt: skip
    return _said(scene, "sparse-checkout", *scene.random.choice(choices))


def play_with_head(scene: Scene) -> str:
    choices = (
        ("symbolic-ref", "HEAD", "refs/heads/nowhere/yet"),
        ("symbolic-ref", "HEAD", "refs/heads/main"),
        ("symbolic-ref", "HEAD", "refs/heads/topic"),
        ("branch", "-m", f"renamed{scene.random.randrange(3)}"),
        ("branch", "-m", "main", "main2"),
        ("branch", "-M", "main"),
        ("update-ref", "HEAD", "HEAD~1"),
        ("update-ref", "refs/heads/deep/er/branch", "HEAD"),
        ("update-ref", "-d", "refs/heads/deep/er/branch"),
        ("checkout", "-q", "--orphan", f"orphan{scene.random.randrange(3)}"),
        ("checkout", "-q", "-B", "main", "origin/main"),
        ("branch", "-q", "--set-upstream-to", "origin/main"),
        ("branch", "-q", "--set-upstream-to", "topic"),
        ("branch", "--unset-upstream"),
        ("update-ref", "-d", "refs/remotes/origin/main"),
        ("update-ref", "refs/remotes/origin/main", "HEAD~1"),
        ("update-ref", "refs/remotes/origin/main", "feature"),
        ("remote", "rename", "origin", "other"),
        ("remote", "rename", "other", "origin"),
    )
    return _said(scene, *scene.random.choice(choices))


def step_a_rebase(scene: Scene) -> str:
    choices = (
        ("rebase", "-q", "-i", "HEAD~2"), ("rebase", "--continue"), ("rebase", "--skip"), ("rebase", "--quit"),
        ("rebase", "--abort"), ("cherry-pick", "feature~1"), ("cherry-pick", "--continue"), ("cherry-pick", "--skip"),
        ("cherry-pick", "main~2..feature"), ("merge", "-q", "feature"), ("merge", "--continue"), ("revert", "HEAD~1"),
        ("checkout", "-q", "--ours", "."), ("checkout", "-q", "--theirs", "."), ("checkout", "-q", "-m", "."),
    )  # fmt: skip
    environment = {"GIT_SEQUENCE_EDITOR": "sed -i -e 1s/pick/edit/"}
    return _said(scene, *scene.random.choice(choices), env=environment)


def edit_the_same_size_twice(scene: Scene) -> str:
    """Within one tick of the file clock; and once more after `git add`."""
    path = scene.some_file()
    if path is None:
        return NOTHING
    with open(path, "rb") as file:
        content = file.read()
    write(path, content[:-1] + b"1")
    if scene.random.random() < 0.5:
        scene.git.ask("add", b":(literal)" + scene.relative(path))
    write(path, content[:-1] + b"2")
    if scene.random.random() < 0.3:
        write(path, content)
    return f"same-size edits of {scene.shown(path)}"


def change_and_restore_times(scene: Scene) -> str:
    """Another content of the same size with the old mtime; only ctime tells."""
    path = scene.some_file()
    if path is None or not os.path.getsize(path):
        return NOTHING
    found = os.stat(path)
    with open(path, "r+b") as file:
        file.write(b"%c" % scene.random.choice(b"abc"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    return f"edit {scene.shown(path)}, keep its times"


def make_a_git_directory_by_steps(scene: Scene) -> str:
    """`.git` in a directory, by halves: it becomes a repository with the last of its parts."""
    place = scene.some_place() if scene.random.random() < 0.3 else scene.top
    top = os.path.join(place, b"half%d" % scene.random.randrange(2))
    git_dir = os.path.join(top, b".git")
    steps: tuple[Callable[[], object], ...] = (
        lambda: os.makedirs(git_dir, exist_ok=True),
        lambda: os.makedirs(git_dir + b"/objects", exist_ok=True),
        lambda: os.makedirs(git_dir + b"/refs", exist_ok=True),
        lambda: write(git_dir + b"/HEAD", b"ref: refs/heads/main\n"),
        lambda: os.unlink(git_dir + b"/HEAD"),
        lambda: write(top + b"/file", b""),
        lambda: os.rmdir(git_dir + b"/refs"),
    )
    number = scene.random.randrange(len(steps))
    steps[number]()
    return f"step {number} of a repository in {scene.shown(top)}"


def change_globally(scene: Scene) -> str:
    """Something that configures every repository of the user."""
    home = Path(os.environ["HOME"])
    ignore = home / ".config/git/ignore"
    config = home / ".gitconfig"
    choice = scene.random.randrange(4)
    if choice == 0:
        write(ignore, scene.random.choice((b"*.txt\n", b"new\n", b"*.c\n")))
    elif choice == 1:
        ignore.unlink()  # refused where there is none
    elif choice == 2:
        append(config, scene.random.choice((b"[diff]\n\trenames = false\n", b"[status]\n\tshowUntrackedFiles = no\n")))
    else:
        config.write_bytes(GITCONFIG)
    return f"global configuration, choice {choice}"


def submodule_by_command(scene: Scene) -> str:
    choices = (
        ("submodule", "--quiet", "deinit", "-f", "sub"), ("submodule", "--quiet", "update", "--init", "-f"),
        ("rm", "-qf", "sub"), ("rm", "-qf", "--cached", "sub"), ("add", "sub"), ("submodule", "absorbgitdirs"),
        ("config", "submodule.sub.ignore", "dirty"), ("config", "--unset", "submodule.sub.ignore"),
        ("config", "-f", ".gitmodules", "submodule.sub.ignore", "all"),
        ("config", "-f", ".gitmodules", "--unset", "submodule.sub.ignore"),
    )  # fmt: skip
    if not (scene.git.path / ".gitmodules").exists():
        return NOTHING
    return _said(scene, "-c", "protocol.file.allow=always", *scene.random.choice(choices))


def stage_by_plumbing(scene: Scene) -> str:
    """Entries that no file of the worktree stands behind, stages of a conflict among them."""
    blob = scene.git("hash-object", "-w", "--stdin", stdin=scene.content()).strip().decode()
    path = scene.relative(scene.some_entry() or scene.some_new_path())
    stages = scene.random.choice(((0,), (1,), (2,), (1, 2, 3), (2, 3)))
    lines = b"0 %b\t%b\0" % (b"0" * len(blob), path)
    lines += b"".join(b"100644 %b %d\t%b\0" % (blob.encode(), stage, path) for stage in stages)
    return _said(scene, "update-index", "-z", "--index-info", stdin=lines) + f" {path!r} at stages {stages}"


def link_over_a_directory(scene: Scene) -> str:
    """The directory moves aside and a link to it takes its place; or back."""
    link = scene.some_link()
    if link is not None and os.path.isdir(link + b"-aside") and scene.random.random() < 0.7:
        os.unlink(link)
        os.rename(link + b"-aside", link)
        return f"put the directory {scene.shown(link)} back"
    directory = scene.some_directory()
    if directory is None or os.path.lexists(directory + b"-aside"):
        return NOTHING
    os.rename(directory, directory + b"-aside")
    os.symlink(os.path.basename(directory) + b"-aside", directory)
    return f"replace {scene.shown(directory)} by a link to it"


def exchange_directories(scene: Scene) -> str:
    """With their ignore rules."""
    first, second = scene.some_directory(), scene.some_directory()
    if first is None or second is None or (first + b"/").startswith(second + b"/"):
        return NOTHING
    if (second + b"/").startswith(first + b"/"):
        return NOTHING
    aside = scene.top + b".aside"
    os.rename(first, aside)
    os.rename(second, first)
    os.rename(aside, second)
    return f"exchange the directories {scene.shown(first)} and {scene.shown(second)}"


def _said(scene: Scene, *words: str, stdin: bytes = b"", env: dict[str, str] | None = None) -> str:
    return f"git {' '.join(words)} -> {scene.git.ask(*words, stdin=stdin, env=env).exit}"


OPERATIONS: dict[Operation, int] = {
    **FILE_OPERATIONS,
    **GIT_OPERATIONS,
    sparse_checkout: 1,
    play_with_head: 6,
    step_a_rebase: 5,
    edit_the_same_size_twice: 6,
    change_and_restore_times: 3,
    make_a_git_directory_by_steps: 4,
    change_globally: 1,
    submodule_by_command: 2,
    stage_by_plumbing: 3,
    link_over_a_directory: 3,
    exchange_directories: 3,
}
