"""What people do with git. git may refuse (a conflict, nothing to commit): that is a state like any other."""

from __future__ import annotations

import os
import shlex

from tests.zoo.commands import Git, Word
from tests.zoo.file_operations import NOTHING, Operation
from tests.zoo.nursery import append
from tests.zoo.scene import NAMES, Scene

ON_A_PATH: tuple[tuple[int, tuple[str, ...]], ...] = (
    (8, ("add", "-f", "--")),
    (2, ("add", "-N", "--")),
    (3, ("rm", "-rqf", "--cached", "--")),
    (2, ("rm", "-rqf", "--")),
    (3, ("reset", "-q", "--")),
    (2, ("checkout", "-q", "--")),
    (2, ("checkout", "-q", "HEAD", "--")),
    (1, ("update-index", "--assume-unchanged", "--")),
    (1, ("update-index", "--no-assume-unchanged", "--")),
    (1, ("update-index", "--skip-worktree", "--")),
    (1, ("update-index", "--no-skip-worktree", "--")),
    (1, ("update-index", "--chmod=+x", "--")),
    (1, ("commit", "-qm", "only", "--only", "--")),
)
"""Weight, and the command that the path of some file or directory is put behind."""

ON_A_BRANCH: tuple[tuple[int, tuple[str, ...]], ...] = (
    (3, ("checkout", "-q")),
    (1, ("checkout", "-q", "-f")),
    (1, ("checkout", "-q", "--detach")),
    (2, ("merge", "-q")),
    (1, ("merge", "-q", "--no-commit", "--no-ff")),
    (1, ("rebase", "-q")),
    (1, ("cherry-pick",)),
    (1, ("reset", "-q", "--soft")),
    (1, ("reset", "-q", "--mixed")),
    (1, ("reset", "-q", "--hard")),
    (1, ("branch", "-q", "-D")),
    (1, ("branch", "-q", "--set-upstream-to")),
)

ALONE: tuple[tuple[int, tuple[str, ...]], ...] = (
    (5, ("add", "-A")),
    (2, ("add", "-u")),
    (4, ("commit", "-qm", "staged")),
    (2, ("commit", "-qam", "all")),
    (1, ("commit", "-q", "--allow-empty", "-m", "empty")),
    (2, ("commit", "-q", "--amend", "--no-edit")),
    (1, ("reset", "-q", "--soft", "HEAD~1")),
    (1, ("reset", "-q", "HEAD~1")),
    (2, ("reset", "-q", "--hard")),
    (1, ("reset", "-q")),
    (2, ("switch", "-q", "-")),
    (1, ("checkout", "-q", "HEAD~1")),
    (2, ("stash", "push", "-q")),
    (1, ("stash", "push", "-q", "-u")),
    (2, ("stash", "pop", "-q")),
    (1, ("stash", "drop", "-q")),
    (1, ("stash", "drop", "-q", "stash@{1}")),
    (1, ("revert", "--no-edit", "HEAD")),
    (1, ("merge", "--abort")),
    (1, ("rebase", "--abort")),
    (1, ("rebase", "--skip")),
    (1, ("cherry-pick", "--abort")),
    (1, ("branch", "--unset-upstream")),
    (2, ("fetch", "-q")),
    (1, ("push", "-q", "origin", "HEAD")),
    (1, ("pack-refs", "--all")),
    (1, ("gc", "-q")),
    (1, ("status",)),
    (1, ("update-index", "-q", "--really-refresh")),
    (1, ("update-index", "--index-version", "4")),
    (1, ("update-index", "--index-version", "2")),
    (1, ("update-index", "--untracked-cache")),
    (1, ("clean", "-qfd")),
    (1, ("bisect", "start", "HEAD", "HEAD~2")),
    (1, ("bisect", "reset")),
    (1, ("sparse-checkout", "disable")),
    (1, ("submodule", "--quiet", "update", "--init")),
)

SETTINGS = (
    ("status.showUntrackedFiles", "all"),
    ("status.showUntrackedFiles", "no"),
    ("status.showUntrackedFiles", "normal"),
    ("status.renames", "false"),
    ("status.renames", "copies"),
    ("diff.renames", "true"),
    ("core.filemode", "false"),
    ("core.filemode", "true"),
    ("core.autocrlf", "input"),
    ("core.autocrlf", "false"),
    ("core.excludesFile", "docs/guide.txt"),
    ("diff.ignoreSubmodules", "untracked"),
    ("core.untrackedCache", "true"),
    ("push.default", "current"),
)


def _said(git: Git, *arguments: Word) -> str:
    answer = git.ask(*arguments)
    words = " ".join(shlex.quote(a) if isinstance(a, str) else repr(a) for a in arguments)
    return f"git {words} -> {answer.exit}"


def _weighted(scene: Scene, table: tuple[tuple[int, tuple[str, ...]], ...]) -> tuple[str, ...]:
    return scene.random.choices([words for _, words in table], [number for number, _ in table])[0]


def on_a_path(scene: Scene) -> str:
    entry = scene.some_entry()
    if entry is None:
        return NOTHING
    return _said(scene.git, *_weighted(scene, ON_A_PATH), b":(literal)" + scene.relative(entry))


def on_a_branch(scene: Scene) -> str:
    listed = scene.git.ask("for-each-ref", "--format=%(refname:short)", "refs/heads", "refs/remotes").stdout.split(
        b"\n"
    )
    branches = sorted(name for name in listed if name and not name.startswith(b"-"))
    if not branches:
        return NOTHING
    return _said(scene.git, *_weighted(scene, ON_A_BRANCH), scene.random.choice(branches))


def alone(scene: Scene) -> str:
    return _said(scene.git, *_weighted(scene, ALONE))


def new_branch(scene: Scene) -> str:
    name = f"zoo/{scene.random.randrange(8)}"
    return _said(
        scene.git,
        *scene.random.choice((("checkout", "-q", "-b"), ("branch", "-q"), ("checkout", "-q", "--orphan"))),
        name,
    )


def tag(scene: Scene) -> str:
    name = f"tag{scene.random.randrange(6)}"
    return _said(scene.git, *scene.random.choice((("tag",), ("tag", "-a", "-m", "tagged"), ("tag", "-d"))), name)


def rename_tracked(scene: Scene) -> str:
    entry = scene.some_file()
    if entry is None:
        return NOTHING
    target = os.path.join(os.path.dirname(entry), scene.random.choice(NAMES))
    return _said(scene.git, "mv", "-k", "--", scene.relative(entry), scene.relative(target))


def configure(scene: Scene) -> str:
    name, value = scene.random.choice(SETTINGS)
    if scene.random.random() < 0.4:
        return _said(scene.git, "config", "--unset-all", name)
    return _said(scene.git, "config", name, value)


def edit_private_excludes(scene: Scene) -> str:
    rule = scene.random.choice(("*.c", "!*.c", "/data", "new*"))
    path = scene.git.path / os.fsdecode(scene.git("rev-parse", "--git-path", "info/exclude").rstrip(b"\n"))
    path.parent.mkdir(exist_ok=True)
    append(path, f"{rule}\n".encode())
    return f"add to info/exclude {rule!r}"


def somebody_pushes(scene: Scene) -> str:
    """The origin gets a commit; a later fetch brings it."""
    url = scene.git.ask("config", "remote.origin.url").stdout.rstrip(b"\n").removeprefix(b"file://")
    if not url.endswith(b"base.git") or not os.path.isdir(url):
        return NOTHING
    origin = Git(url)
    commit = origin("commit-tree", "-p", "main", "-m", "elsewhere", "main^{tree}").strip()
    return _said(origin, "update-ref", "refs/heads/main", commit) + " (in the origin)"


def commit_in_another_worktree(scene: Scene) -> str:
    """A commit in one worktree moves the branches that the others see."""
    listed = scene.git("worktree", "list", "--porcelain", "-z").split(b"\0")
    others = sorted(line[9:] for line in listed if line.startswith(b"worktree ") and line[9:] != scene.top)
    others = [path for path in others if os.path.exists(path + b"/.git")]
    if not others:
        return NOTHING
    other = Git(scene.random.choice(others))
    return _said(other, "commit", "-q", "--allow-empty", "-m", "other worktree") + f" (in {other.path.name})"


def init_inside(scene: Scene) -> str:
    path = os.path.join(scene.some_place(), b"inner%d" % scene.random.randrange(3))
    os.makedirs(path, exist_ok=True)
    inner = Git(path)
    said = _said(inner, "init", "-q", "--template=")
    if scene.random.random() < 0.5:
        said += "; " + _said(inner, "commit", "-q", "--allow-empty", "-m", "inner")
    return f"{said} (in {scene.shown(path)})"


GIT_OPERATIONS: dict[Operation, int] = {
    on_a_path: 24,
    on_a_branch: 10,
    alone: 28,
    new_branch: 3,
    tag: 2,
    rename_tracked: 3,
    configure: 4,
    edit_private_excludes: 1,
    somebody_pushes: 1,
    commit_in_another_worktree: 2,
    init_inside: 1,
}
