"""Builders: where HEAD is, what is in progress, what lies elsewhere (stash, upstream, push remote, tags)."""

from __future__ import annotations

import shutil

from tests.zoo.commands import Git
from tests.zoo.nursery import Catalogue, Nursery, append, configure, write

HISTORIES = Catalogue()


@HISTORIES.add
def detached(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("checkout", "-q", "--detach", "HEAD~1")
    return git


@HISTORIES.add
def unborn(zoo: Nursery, name: str) -> Git:
    return zoo.empty(name)


@HISTORIES.add
def unborn_with_files(zoo: Nursery, name: str) -> Git:
    git = zoo.empty(name)
    for file in ("staged", "changed", "deleted", "untracked/file"):
        write(git.path / file, b"1\n")
    git("add", "staged", "changed", "deleted")
    append(git.path / "changed", b"2\n")
    (git.path / "deleted").unlink()
    return git


@HISTORIES.add
def unborn_with_upstream(zoo: Nursery, name: str) -> Git:
    git = zoo.empty(name)
    configure(git, f'[remote "origin"]\n\turl = {zoo.origin}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n')
    configure(git, '[branch "main"]\n\tremote = origin\n\tmerge = refs/heads/main\n')
    git("fetch", "-q", "origin")
    return git


@HISTORIES.add
def orphan(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("checkout", "-q", "--orphan", "fresh")
    (git.path / "README.md").unlink()
    return git


@HISTORIES.add
def conflicts_of_every_kind(zoo: Nursery, name: str) -> Git:
    """DD AU UD UA DU AA UU, by writing the stages, besides ordinary changes."""
    git = zoo.base(name)
    blobs = [git("hash-object", "-w", "--stdin", stdin=b"stage %d\n" % stage).strip().decode() for stage in (1, 2, 3)]
    stages = {"dd": (1,), "au": (2,), "ud": (1, 2), "ua": (3,), "du": (1, 3), "aa": (2, 3), "uu": (1, 2, 3)}
    lines = [
        f"{'100755' if stage == 3 else '100644'} {blobs[stage - 1]} {stage}\tconflict/{file}\n"
        for file, present in stages.items()
        for stage in present
    ]
    git("update-index", "--index-info", stdin="".join(lines).encode())
    for file in ("au", "ud", "ua", "aa", "uu"):
        write(git.path / "conflict" / file, b"<<<<<<<\n")
    append(git.path / "README.md", b"more\n")
    write(git.path / "untracked", b"")
    return git


@HISTORIES.add
def merge_conflict(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git.ask("merge", "-q", "feature")
    return git


@HISTORIES.add
def merge_not_committed(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("merge", "-q", "--no-commit", "--no-ff", "topic")
    return git


@HISTORIES.add
def merge_rename_conflict(zoo: Nursery, name: str) -> Git:
    """Both sides renamed one file: DD, AU and UA out of a real merge."""
    git = zoo.base(name)
    git("checkout", "-qb", "theirs")
    git("mv", "data/a.txt", "data/theirs.txt")
    git("commit", "-qm", "theirs")
    git("checkout", "-q", "main")
    git("mv", "data/a.txt", "data/ours.txt")
    git("commit", "-qm", "ours")
    git.ask("merge", "-q", "theirs")
    return git


@HISTORIES.add
def rebase_merge(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("checkout", "-q", "feature")
    git.ask("rebase", "-q", "--merge", "main")
    return git


@HISTORIES.add
def rebase_apply(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("checkout", "-q", "feature")
    git.ask("rebase", "-q", "--apply", "main")
    return git


@HISTORIES.add
def rebase_interactive(zoo: Nursery, name: str) -> Git:
    """Stopped at `edit`, step 1 of 2, worktree clean."""
    git = zoo.base(name)
    git("rebase", "-q", "-i", "main~2", env={"GIT_SEQUENCE_EDITOR": "sed -i -e 1s/pick/edit/"})
    return git


@HISTORIES.add
def cherry_pick(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git.ask("cherry-pick", "feature~1")
    return git


@HISTORIES.add
def cherry_pick_sequence(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git.ask("cherry-pick", "main~2..feature")
    return git


@HISTORIES.add
def cherry_pick_sequence_between(zoo: Nursery, name: str) -> Git:
    """The user committed the conflicted pick by hand: no CHERRY_PICK_HEAD, but a sequencer."""
    git = zoo.base(name)
    git.ask("cherry-pick", "main~2..feature")
    git("add", "-A")
    git("commit", "-qm", "by hand")
    return git


@HISTORIES.add
def revert(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("revert", "--no-commit", "HEAD")
    return git


@HISTORIES.add
def revert_sequence(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git.ask("revert", "--no-edit", "HEAD~1", "HEAD")
    return git


@HISTORIES.add
def bisect(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("bisect", "start", "HEAD", "HEAD~2")
    return git


@HISTORIES.add
def mailbox(zoo: Nursery, name: str) -> Git:
    """`git am` stopped at the first of two patches."""
    git = zoo.base(name)
    patches = git("format-patch", "--stdout", "main~2..feature")
    git.ask("am", "-q", stdin=patches)
    return git


@HISTORIES.add
def stashed(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    for number in range(3):
        write(git.path / "README.md", b"stash %d\n" % number)
        git("stash", "-q")
    return git


@HISTORIES.add
def stash_dropped(zoo: Nursery, name: str) -> Git:
    """Two of three left; `stash@{0}` was dropped from the middle of the log."""
    git = stashed(zoo, name)
    git("stash", "drop", "-q", "stash@{1}")
    return git


@HISTORIES.add
def up_to_date(zoo: Nursery, name: str) -> Git:
    return zoo.tracking(name)


@HISTORIES.add
def ahead(zoo: Nursery, name: str) -> Git:
    return zoo.tracking(name, theirs="main~2")


@HISTORIES.add
def behind(zoo: Nursery, name: str) -> Git:
    return zoo.tracking(name, ours="main~2")


@HISTORIES.add
def diverged(zoo: Nursery, name: str) -> Git:
    return zoo.tracking(name, theirs="feature")


@HISTORIES.add
def gone_upstream(zoo: Nursery, name: str) -> Git:
    git = zoo.tracking(name)
    (git.path / ".git/refs/remotes/origin/main").unlink()
    return git


@HISTORIES.add
def local_upstream(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    configure(git, '[branch "main"]\n\tremote = .\n\tmerge = refs/heads/feature\n')
    return git


@HISTORIES.add
def push_remote(zoo: Nursery, name: str) -> Git:
    """Upstream origin/main, pushed to fork/main: behind one, ahead of the other."""
    git = zoo.tracking(name, ours="main~1")
    write(git.path / ".git/refs/remotes/fork/main", git("rev-parse", "HEAD~1"))
    configure(
        git,
        '[remote "fork"]\n\turl = https://someone:secret@fork.example/base.git\n'
        "\tfetch = +refs/heads/*:refs/remotes/fork/*\n",
    )
    configure(git, "[remote]\n\tpushDefault = fork\n")
    return git


@HISTORIES.add
def tag_light(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("tag", "v1")
    return git


@HISTORIES.add
def tag_annotated(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("tag", "-a", "-m", "release", "v2")
    git("pack-refs", "--all")
    return git


@HISTORIES.add
def tags_several(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    for tag in ("alpha", "v1.10", "v1.9", "zz/nested"):
        git("tag", tag)
    git("tag", "-a", "-m", "annotated", "annotated")
    git("tag", "elsewhere", "HEAD~1")
    return git


@HISTORIES.add
def packed_references(zoo: Nursery, name: str) -> Git:
    git = zoo.tracking(name, theirs="main~1")
    git("pack-refs", "--all")
    git("branch", "-q", "-D", "topic")
    return git


@HISTORIES.add
def branch_with_slashes(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("checkout", "-qb", "user/feature/deep")
    return git


@HISTORIES.add
def branch_with_odd_name(zoo: Nursery, name: str) -> Git:
    """What a careless prompt would expand or run."""
    git = zoo.base(name)
    git("checkout", "-qb", "%F{red}$(touch${IFS}pwned)`id`'\"&;|<>")
    return git


@HISTORIES.add
def branch_not_utf8(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("checkout", "-qb", b"caf\xe9")
    return git


@HISTORIES.add
def message_not_utf8(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git(
        "-c",
        "i18n.commitEncoding=ISO-8859-1",
        "commit",
        "-q",
        "--allow-empty",
        "-F",
        "-",
        stdin=b"caf\xe9 \x1b[31m\n\nbody\n",
    )
    return git


@HISTORIES.add
def message_empty(zoo: Nursery, name: str) -> Git:
    git = zoo.base(name)
    git("commit", "-q", "--allow-empty", "--allow-empty-message", "-m", "")
    return git


@HISTORIES.add
def head_names_a_missing_branch(zoo: Nursery, name: str) -> Git:
    """Unborn, with an index full of files."""
    git = zoo.base(name)
    git("symbolic-ref", "HEAD", "refs/heads/not/there")
    return git


@HISTORIES.add
def shallow(zoo: Nursery, name: str) -> Git:
    git = zoo.empty(name)
    configure(
        git,
        f'[remote "origin"]\n\turl = file://{zoo.origin}\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n',
    )
    git("fetch", "-q", "--depth=1", "origin", "main")
    git("checkout", "-q", "-b", "main", "--track", "origin/main")
    return git


@HISTORIES.add
def partial(zoo: Nursery, name: str) -> Git:
    """A promisor whose remote is gone, with the blobs of other commits missing: asking must not fetch."""
    origin = Git(zoo.directory / "_origins" / "partial.git")
    shutil.copytree(zoo.origin, origin.path)
    (origin.path / "config").write_bytes(
        (origin.path / "config").read_bytes() + b"[uploadpack]\n\tallowFilter = true\n"
    )
    git = Git(zoo.directory)
    git("clone", "-q", "--template=", "--filter=blob:none", f"file://{origin.path}", name)
    shutil.rmtree(origin.path)
    git = Git(zoo.directory / name)
    append(git.path / "README.md", b"more\n")
    write(git.path / "untracked", b"")
    git("rm", "-q", "--cached", "data/a.txt")
    return git
