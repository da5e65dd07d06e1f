"""Builders: where a repository's parts lie (submodules, worktrees, `.git` elsewhere), and in which format."""

from __future__ import annotations

import shutil

from tests.zoo.commands import Git
from tests.zoo.nursery import Catalogue, Nursery, append, configure, write

LAYOUTS = Catalogue()


def _with_submodule(zoo: Nursery, name: str) -> Git:
    """A clean repository with the submodule `sub` (git dir in .git/modules/sub)."""
    git = zoo.base(name)
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(zoo.origin), "sub")
    git("commit", "-qm", "submodule")
    return git


@LAYOUTS.add
def submodule_clean(zoo: Nursery, name: str) -> Git:
    git = _with_submodule(zoo, name)
    zoo.also["submodule-clean/sub"] = git.path / "sub"
    return git


@LAYOUTS.add
def submodule_modified(zoo: Nursery, name: str) -> Git:
    git = _with_submodule(zoo, name)
    append(git.path / "sub/README.md", b"more\n")
    return git


@LAYOUTS.add
def submodule_with_untracked(zoo: Nursery, name: str) -> Git:
    git = _with_submodule(zoo, name)
    write(git.path / "sub/untracked", b"")
    return git


@LAYOUTS.add
def submodule_new_commit(zoo: Nursery, name: str) -> Git:
    git = _with_submodule(zoo, name)
    Git(git.path / "sub")("checkout", "-q", "--detach", "HEAD~1")
    return git


@LAYOUTS.add
def submodule_staged(zoo: Nursery, name: str) -> Git:
    """New commit staged, then modified and with untracked content: all three letters."""
    git = _with_submodule(zoo, name)
    sub = Git(git.path / "sub")
    sub("commit", "-q", "--allow-empty", "-m", "staged")
    git("add", "sub")
    sub("commit", "-q", "--allow-empty", "-m", "not staged")
    append(sub.path / "README.md", b"more\n")
    write(sub.path / "untracked", b"")
    return git


@LAYOUTS.add
def submodule_ignored(zoo: Nursery, name: str) -> Git:
    git = _with_submodule(zoo, name)
    configure(git, '[submodule "sub"]\n\tignore = all\n')
    append(git.path / "sub/README.md", b"more\n")
    return git


@LAYOUTS.add
def submodule_uninitialised(zoo: Nursery, name: str) -> Git:
    git = _with_submodule(zoo, name)
    git("submodule", "--quiet", "deinit", "-f", "sub")
    return git


@LAYOUTS.add
def submodule_missing(zoo: Nursery, name: str) -> Git:
    git = _with_submodule(zoo, name)
    shutil.rmtree(git.path / "sub")
    return git


@LAYOUTS.add
def submodule_not_absorbed(zoo: Nursery, name: str) -> Git:
    """The submodule's git dir lies inside it, as before 2012; modified."""
    git = zoo.base(name)
    inner = zoo.small(f"{name}/sub")
    write(git.path / ".gitmodules", b'[submodule "sub"]\n\tpath = sub\n\turl = ./sub\n')
    git("add", "-A")
    git("commit", "-qm", "submodule")
    append(inner.path / "file", b"more\n")
    return git


@LAYOUTS.add
def submodule_absorbed(zoo: Nursery, name: str) -> Git:
    git = submodule_not_absorbed(zoo, name)
    git("submodule", "--quiet", "absorbgitdirs")
    return git


@LAYOUTS.add
def worktree_main(zoo: Nursery, name: str) -> Git:
    """A main worktree and two linked ones, one of them detached and dirty."""
    git = zoo.base(name)
    linked, loose = zoo.directory / "worktree-linked", zoo.directory / "worktree-detached"
    git("worktree", "add", "-q", str(linked), "topic")
    git("worktree", "add", "-q", "--detach", str(loose), "feature")
    append(loose / "feature.txt", b"more\n")
    zoo.also.update({"worktree-linked": linked, "worktree-detached": loose})
    return git


@LAYOUTS.add
def worktree_config(zoo: Nursery, name: str) -> Git:
    """extensions.worktreeConfig: the linked worktree alone shows no untracked files."""
    git = zoo.base(name)
    git("config", "extensions.worktreeConfig", "true")
    linked = Git(zoo.directory / "worktree-config-linked")
    git("worktree", "add", "-q", str(linked.path), "topic")
    linked("config", "--worktree", "status.showUntrackedFiles", "no")
    write(linked.path / "untracked", b"")
    write(git.path / "untracked", b"")
    zoo.also["worktree-config-linked"] = linked.path
    return git


@LAYOUTS.add
def worktree_inside(zoo: Nursery, name: str) -> Git:
    """A linked worktree within its own main worktree, in an ignored directory and in one that is not."""
    git = zoo.base(name)
    for path, branch in (("build/linked", "topic"), ("linked", "feature")):
        git("worktree", "add", "-q", str(git.path / path), branch)
    write(git.path / "linked/untracked", b"")
    zoo.also.update({"worktree-inside/linked": git.path / "linked", "worktree-inside/build": git.path / "build/linked"})
    return git


@LAYOUTS.add
def sparse_checkout(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("sparse-checkout", "set", "--cone", "docs")
    write(git.path / "src/untracked", b"")
    return git


@LAYOUTS.add
def sparse_checkout_patterns(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("sparse-checkout", "set", "--no-cone", "/*", "!/src/lib/")
    append(git.path / "src/main.c", b"/* more */\n")
    return git


@LAYOUTS.add
def sparse_index(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("sparse-checkout", "set", "--cone", "--sparse-index", "docs")
    append(git.path / "docs/guide.txt", b"more\n")
    return git


@LAYOUTS.add
def skip_worktree(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("update-index", "--skip-worktree", "README.md", "src/main.c")
    append(git.path / "README.md", b"hidden\n")
    (git.path / "src/main.c").unlink()
    return git


@LAYOUTS.add
def assume_unchanged(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("update-index", "--assume-unchanged", "README.md", "src/main.c")
    append(git.path / "README.md", b"hidden\n")
    (git.path / "src/main.c").unlink()
    return git


@LAYOUTS.add
def bare(zoo: Nursery, name: str) -> Git:
    shutil.copytree(zoo.origin, zoo.directory / name)
    return Git(zoo.directory / name)


@LAYOUTS.add
def bare_with_worktree(zoo: Nursery, name: str) -> Git:
    """`project/.bare` with worktrees beside it: the layout of those who live in worktrees."""
    git = Git(zoo.directory / name / ".bare")
    shutil.copytree(zoo.origin, git.path)
    git("worktree", "add", "-q", str(zoo.directory / name / "main"), "main")
    git = Git(zoo.directory / name / "main")
    append(git.path / "README.md", b"more\n")
    return git


@LAYOUTS.add
def sha256(zoo: Nursery, name: str) -> Git:
    git = zoo.small(name, "--object-format=sha256")
    append(git.path / "file", b"more\n")
    write(git.path / "staged", b"")
    git("add", "staged")
    write(git.path / "untracked", b"")
    return git


@LAYOUTS.add
def split_index(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("update-index", "--split-index")
    append(git.path / "README.md", b"more\n")
    git("add", "README.md")
    append(git.path / "exec.sh", b"echo more\n")
    return git


@LAYOUTS.add
def index_version_4(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("update-index", "--index-version", "4")
    append(git.path / "src/lib/util.c", b"more\n")
    git("add", "-A")
    append(git.path / "src/main.c", b"more\n")
    return git


@LAYOUTS.add
def index_version_3(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("update-index", "--skip-worktree", "exec.sh")
    append(git.path / "src/main.c", b"more\n")
    return git


@LAYOUTS.add
def index_without_checksum(zoo: Nursery, name: str) -> Git:
    """As index.skipHash (git 2.40) writes it: a trailer of zeros, which older versions read too."""
    git = zoo.base(name)
    index = git.path / ".git/index"
    index.write_bytes(index.read_bytes()[:-20] + bytes(20))
    append(git.path / "README.md", b"more\n")
    return git


@LAYOUTS.add
def index_with_untracked_cache(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    configure(git, "[core]\n\tuntrackedCache = true\n")
    git("update-index", "--force-untracked-cache")
    git("status")
    write(git.path / "untracked/file", b"")
    return git


@LAYOUTS.add
def fsmonitor_configured(zoo: Nursery, name: str) -> Git:
    """A monitor that claims nothing ever changes: git believes it, the judge must not."""
    git = zoo.base(name)
    hook = zoo.directory / "_lying-fsmonitor"
    write(hook, b"#!/bin/sh\nprintf 'token\\0'\n")
    hook.chmod(0o755)
    configure(git, f"[core]\n\tfsmonitor = {hook}\n\tfsmonitorHookVersion = 2\n")
    git("update-index", "--fsmonitor")
    git("status")
    append(git.path / "README.md", b"more\n")
    write(git.path / "untracked", b"")
    return git


@LAYOUTS.add
def nested(zoo: Nursery, name: str) -> Git:
    """Repositories within: with commits, without, ignored, and inside an untracked directory."""
    git = zoo.base(name)
    for path in ("inner", "build/ignored", "untracked/deep/inner"):
        zoo.small(f"{name}/{path}")
        zoo.also[f"{name}/{path}"] = git.path / path
    zoo.empty(f"{name}/inner-unborn")
    zoo.also[f"{name}/inner-unborn"] = git.path / "inner-unborn"
    write(git.path / "inner/untracked", b"")
    (git.path / "not-a-repository/.git").mkdir(parents=True)
    return git


@LAYOUTS.add
def core_worktree(zoo: Nursery, name: str) -> Git:
    """The git dir is `core-worktree.git`; its worktree is elsewhere, by core.worktree and a `.git` file."""
    git = zoo.base(name)
    aside = zoo.directory / "core-worktree.git"
    (git.path / ".git").rename(aside)
    write(git.path / ".git", b"gitdir: ../core-worktree.git\n")
    append(aside / "config", f"[core]\n\tworktree = {git.path}\n".encode())
    append(git.path / "README.md", b"more\n")
    return git


@LAYOUTS.add
def separate_git_dir(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    aside = zoo.directory / "_separate" / "somewhere"
    aside.parent.mkdir()
    (git.path / ".git").rename(aside)
    write(git.path / ".git", f"gitdir: {aside}\n".encode())
    append(git.path / "README.md", b"more\n")
    return git


@LAYOUTS.add
def symlinked_git_dir(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    aside = zoo.directory / "_symlinked.d"
    (git.path / ".git").rename(aside)
    (git.path / ".git").symlink_to("../_symlinked.d")
    write(git.path / "untracked", b"")
    return git


@LAYOUTS.add
def include_if(zoo: Nursery, name: str) -> Git:
    """Conditional includes by git dir and by branch decide what status shows."""
    git = zoo.base(name)
    write(git.path / ".git/by-directory", b"[status]\n\tshowUntrackedFiles = all\n")
    write(git.path / ".git/by-branch", b"[core]\n\tfilemode = false\n")
    configure(
        git,
        '[includeIf "gitdir:**/include-if/"]\n\tpath = by-directory\n[includeIf "onbranch:ma*"]\n\tpath = by-branch\n',
    )
    write(git.path / "untracked/one", b"")
    write(git.path / "untracked/two", b"")
    (git.path / "exec.sh").chmod(0o644)
    return git


@LAYOUTS.add
def alternates(zoo: Nursery, name: str) -> Git:
    """Objects are borrowed from another repository."""
    git = zoo.base(name)
    shutil.rmtree(git.path / ".git/objects")
    write(git.path / ".git/objects/info/alternates", f"{zoo.origin}/objects\n".encode())
    append(git.path / "README.md", b"more\n")
    return git


@LAYOUTS.add
def packed_objects(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("gc", "-q")
    git("commit-graph", "write", "--reachable")
    return git


@LAYOUTS.add
def grafted_by_replace(zoo: Nursery, name: str) -> Git:
    """HEAD's commit is replaced by one with another tree."""
    git = zoo.base(name)
    git("replace", "HEAD", "HEAD~1")
    return git
