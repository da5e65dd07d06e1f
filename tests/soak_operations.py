"""What the soak does to its repositories beyond the zoo's operations: rarer commands, and files written by hand.

Everything is chosen by the scene's generator, so that a round repeats from its seed.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from tests.zoo.file_operations import FILE_OPERATIONS, NOTHING, Operation
from tests.zoo.git_operations import GIT_OPERATIONS
from tests.zoo.isolation import GITCONFIG
from tests.zoo.nursery import append, write
from tests.zoo.scene import Scene


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


def worktree_by_command(scene: Scene) -> str:
    """Linked worktrees come, move and go beside the ones that are compared."""
    beside = os.path.join(os.path.dirname(scene.top), b"beside-%d" % scene.random.randrange(2))
    moved = beside + b"-moved"
    choices: tuple[tuple[str | bytes, ...], ...] = (
        ("add", "-q", "--detach", beside), ("add", "-q", "-f", beside, "topic"), ("lock", beside), ("unlock", beside),
        ("move", beside, moved), ("move", moved, beside), ("remove", "-f", beside), ("prune",), ("repair",),
    )  # fmt: skip
    choice = scene.random.choice(choices)
    if scene.random.random() < 0.2 and os.path.isdir(beside):
        shutil.rmtree(beside)
        return f"remove the worktree {beside!r} by hand"
    return _said(scene, "worktree", *choice)


def ref_by_hand(scene: Scene) -> str:
    """What git would write, what it would refuse, and what lies where a ref should be."""
    git_dir, common = _git_dirs(scene)
    oid = scene.git.ask("rev-parse", "-q", "--verify", "HEAD~1").stdout.strip() or b"1" * 40
    name = scene.random.choice((b"heads/main", b"heads/topic", b"remotes/origin/main", b"tags/tag0", b"heads/by/hand"))
    path = os.path.join(common, b"refs", name)
    choice = scene.random.randrange(9)
    if choice <= 2:
        write(path, (oid + b"\n", oid, b"ref: refs/heads/feature\n")[choice])
    elif choice == 3:
        os.unlink(path)
    elif choice == 4:
        os.makedirs(os.path.join(common, b"refs/heads/empty/directory"), exist_ok=True)
    elif choice == 5:
        write(os.path.join(git_dir, b"HEAD"), oid + b"\n")
    elif choice == 6:
        write(os.path.join(git_dir, b"HEAD"), b"ref: refs/heads/main\n")
    elif choice == 7:
        write(os.path.join(git_dir, scene.random.choice((b"FETCH_HEAD", b"ORIG_HEAD", b"MERGE_HEAD"))), oid + b"\n")
    else:
        packed = os.path.join(common, b"packed-refs")
        with open(packed, "rb") as file:
            lines = file.readlines()
        write(packed, b"".join(line for line in lines if scene.random.random() < 0.8))
    return f"by hand, choice {choice}: {name!r}"


def index_by_hand(scene: Scene) -> str:
    """An older index comes back, in place or by a rename; or there is none."""
    index = os.path.join(_git_dirs(scene)[0], b"index")
    kept = index + b"-kept"
    choice = scene.random.randrange(5)
    if choice == 0:
        shutil.copy2(index, kept)
    elif choice == 1:
        shutil.copy(kept, index)
    elif choice == 2:
        shutil.copy2(kept, index + b"-new")
        os.rename(index + b"-new", index)
    elif choice == 3:
        os.utime(index)
    else:
        os.unlink(index)
    return f"index by hand, choice {choice}"


def maintain(scene: Scene) -> str:
    if scene.random.random() < 0.2:
        for words in ("--no-untracked-cache", "--no-split-index", "--no-fsmonitor"):
            scene.git.ask("update-index", words)
        return "an index without anything peculiar"
    if scene.random.random() < 0.05:
        return _said(scene, "update-index", scene.random.choice(("--split-index", "--untracked-cache", "--fsmonitor")))
    choices = (
        ("repack", "-adq"), ("reflog", "expire", "--expire=now", "--all"), ("pack-refs", "--all", "--prune"),
        ("commit-graph", "write", "--reachable"), ("multi-pack-index", "write"), ("prune-packed", "-q"),
        ("replace", "-f", "HEAD", "HEAD~1"), ("replace", "-f", "main~1", "main~2"), ("replace", "-d", "HEAD"),
        ("notes", "add", "-f", "-m", "noted"), ("update-index", "--index-version", "3"),
        ("read-tree", "HEAD~1"), ("read-tree", "--empty"),
        ("read-tree", "-m", "HEAD"), ("write-tree",), ("update-server-info",), ("stash", "clear"),
        ("stash", "apply", "-q"), ("stash", "push", "-q", "--staged"), ("stash", "push", "-q", "-k"), ("am", "--quit"),
    )  # fmt: skip
    return _said(scene, *scene.random.choice(choices))


_SETTINGS = (
    "core.trustctime=false", "core.checkStat=minimal", "core.ignoreCase=true", "core.symlinks=false", "core.eol=crlf",
    "core.quotePath=false", "core.abbrev=8", "status.aheadBehind=false", "status.relativePaths=false",
    "status.showStash=true", "status.branch=true", "status.short=true", "core.preloadIndex=false",
    "core.splitIndex=true", "index.version=4", "index.threads=1", "feature.manyFiles=true",
    "core.logAllRefUpdates=false", "branch.main.remote=.", "branch.main.merge=refs/heads/topic",
    "branch.main.pushRemote=other", "remote.pushDefault=origin", "push.default=nothing", "diff.renameLimit=1",
    "remote.origin.fetch=+refs/heads/*:refs/remotes/elsewhere/*", "submodule.recurse=true", "diff.renames=copies",
    "core.attributesFile=.gitattributes", "core.hooksPath=nowhere", "include.path=not-there", "gc.auto=0",
    "core.bigFileThreshold=1", "core.safecrlf=true", "i18n.commitEncoding=latin1", "core.commitGraph=false",
    "advice.statusHints=false", "color.ui=always", "column.ui=always", "core.untrackedCache=keep",
    "core.fsmonitor=false", "core.sharedRepository=group", "extensions.worktreeConfig=true",
)  # fmt: skip


def configure_more(scene: Scene) -> str:
    """By git; or by an editor that saves `config` in place, or as another file."""
    name, _, value = scene.random.choice(_SETTINGS).partition("=")
    choice = scene.random.random()
    if choice < 0.5:
        # Back to where our own evaluation counts: most of these settings leave all to git.
        for setting in _SETTINGS:
            scene.git.ask("config", "--unset-all", setting.partition("=")[0])
        return "set nothing of this any more"
    if choice < 0.7:
        return _said(scene, "config", name, value)
    config = os.path.join(_git_dirs(scene)[1], b"config")
    section, _, key = name.rpartition(".")
    section, _, subsection = section.partition(".")
    title = f'[{section} "{subsection}"]' if subsection else f"[{section}]"
    line = f"{title}\n\t{key} = {value}\n".encode()
    if choice < 0.85:
        _append(config, line)
        return f"append {name}={value} to config"
    shutil.copy2(config, config + b"~")
    _append(config + b"~", line)
    os.rename(config + b"~", config)
    return f"replace config with one that says {name}={value}"


def attributes_and_modules_by_hand(scene: Scene) -> str:
    common = _git_dirs(scene)[1]
    path, lines = scene.random.choice((
        (os.path.join(common, b"info/attributes"), (b"*.txt -text\n", b"*.c eol=crlf\n", b"[attr]zoo text\n")),
        (os.path.join(common, b"info/exclude"), (b"*.txt\n", b"!*.txt\n", b"/docs/\n")),
        (os.path.join(scene.top, b".gitmodules"), (b'[submodule "sub"]\n\tignore = untracked\n', b"#\n")),
    ))  # fmt: skip
    choice = scene.random.random()
    if choice < 0.4:
        os.unlink(path)
        return f"delete {scene.shown(path)}"
    os.makedirs(os.path.dirname(path), exist_ok=True)
    line = scene.random.choice(lines)
    if choice < 0.7:
        _append(path, line)
    else:
        write(path, line)
    return f"write {line!r} to {scene.shown(path)}"


def write_unusually(scene: Scene) -> str:
    """As databases, download tools and copy programs write: mapped, cut, copied within the kernel, exchanged."""
    path = scene.some_file()
    if path is None:
        return NOTHING
    choice = scene.random.randrange(5)
    size = os.path.getsize(path)
    if choice == 0 and size:
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            mapped[0:1] = b"%c" % scene.random.choice(b"xyz")
    elif choice == 1:
        os.truncate(path, scene.random.choice((0, size // 2, size + 3)))
    elif choice == 2:
        source = scene.some_file() or path
        with open(source, "rb") as reading, open(path, "r+b") as writing:
            os.copy_file_range(reading.fileno(), writing.fileno(), 10, 0, 0)
    elif choice == 3:
        other = scene.some_file()
        if other is None or ctypes.CDLL(None).renameat2(-100, path, -100, other, 2):
            return NOTHING
        return f"exchange {scene.shown(path)} and {scene.shown(other)} at once"
    else:
        fd = os.open(os.path.dirname(path), os.O_TMPFILE | os.O_WRONLY, 0o644)
        try:
            os.write(fd, scene.content())
            os.unlink(path)
            os.link(f"/proc/self/fd/{fd}", path, follow_symlinks=True)
        finally:
            os.close(fd)
    return f"write {scene.shown(path)} unusually, choice {choice}"


def leave_and_return(scene: Scene) -> str:
    """The whole worktree, or its `.git`, is away for a moment; a watch on an inode does not notice."""
    choice = scene.random.randrange(3)
    git_dir = os.path.join(scene.top, b".git")
    if choice == 0:
        os.rename(scene.top, scene.top + b"-away")
        try:
            _append(scene.top + b"-away/left", b"while away\n")
        finally:
            os.rename(scene.top + b"-away", scene.top)
        return "leave, change, return"
    if not os.path.isdir(git_dir):
        return NOTHING
    if choice == 1:
        os.rename(git_dir, git_dir + b"-away")
        os.rename(git_dir + b"-away", git_dir)
        return ".git leaves and returns"
    shutil.copytree(git_dir, git_dir + b"-copy", symlinks=True)
    shutil.rmtree(git_dir)
    os.rename(git_dir + b"-copy", git_dir)
    return ".git gives way to its copy"


def lead_elsewhere(scene: Scene) -> str:
    """A part of the git dir moves out and a link takes its place; what is at its end changes; or it comes back."""
    common = _git_dirs(scene)[1]
    parts = (b"refs/heads", b"refs/remotes", b"packed-refs", b"logs", b"logs/refs", b"info/exclude", b"info/attributes")
    name = scene.random.choice(parts)
    links = [part for part in parts if os.path.islink(os.path.join(common, part))]
    if links and scene.random.random() < 0.7:
        name = scene.random.choice(links)
    part = os.path.join(common, name)
    if not os.path.islink(part):
        end = scene.top + b".elsewhere-" + name.replace(b"/", b"-")
        os.rename(part, end)
        os.symlink(end, part)
        return f"{name!r} is a link"
    end = os.path.realpath(part)
    if scene.random.random() < 0.6:
        os.unlink(part)
        os.rename(end, part)
        return f"{name!r} is back"
    if os.path.isfile(end):
        _append(end, b"*.c\n" if name == b"info/exclude" else b"*.txt text\n" if name == b"info/attributes" else b"")
        return f"append to what {name!r} leads to"
    files = sorted(os.path.join(where, file) for where, _, found in os.walk(end) for file in found)
    if len(files) < 2:
        return NOTHING
    source, target = scene.random.sample(files, 2)
    shutil.copy(source, target)
    return f"copy {source!r} over {target!r}"


def take_attributes_along(scene: Scene) -> str:
    """A directory leaves and comes back with other attributes, or none, and files whose times say nothing."""
    directory = scene.some_directory()
    if directory is None:
        return NOTHING
    away = scene.top + b".away"
    os.rename(directory, away)
    try:
        lines = scene.random.choice((b"*.txt text\n", b"* -text\n", b"*.txt eol=crlf\n", b""))
        if lines:
            write(away + b"/.gitattributes", lines)
        else:
            os.unlink(away + b"/.gitattributes")  # refused where there are none
        for name in sorted(os.listdir(away)):
            os.utime(os.path.join(away, name), (1, scene.random.randrange(2, 1000)), follow_symlinks=False)
    finally:
        os.rename(away, directory)
    return f"{scene.shown(directory)} comes back with the attributes {lines!r}"


def play_with_modules(scene: Scene) -> str:
    """`.gitmodules` in the worktree, the index and HEAD, each without the others."""
    choices: tuple[tuple[str, ...], ...] = (
        ("rm", "-q", "--cached", ".gitmodules"), ("checkout", "-q", "HEAD", "--", ".gitmodules"),
        ("config", "-f", ".gitmodules", "submodule.sub.ignore", scene.random.choice(("all", "dirty", "none"))),
        ("add", ".gitmodules"), ("commit", "-qam", "modules"), ("reset", "-q", "--soft", "HEAD~1"),
        ("reset", "-q", "--soft", "HEAD@{1}"),
    )  # fmt: skip
    if scene.git.ask("ls-tree", "--name-only", "HEAD", ".gitmodules").stdout == b"":
        return NOTHING
    modules = scene.top + b"/.gitmodules"
    if scene.random.random() < 0.4 and os.path.lexists(modules):
        os.unlink(modules)
        return "delete .gitmodules"
    return _said(scene, *scene.random.choice(choices))


def _append(path: bytes, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def _git_dirs(scene: Scene) -> tuple[bytes, bytes]:
    """The worktree's own git dir and the common one."""
    said = scene.git.ask("rev-parse", "--absolute-git-dir", "--git-common-dir").stdout.split(b"\n")
    if len(said) < 2:
        raise OSError("no repository at the moment")
    return said[0], os.path.join(scene.top, said[1])


def _said(scene: Scene, *words: str | bytes, stdin: bytes = b"", env: dict[str, str] | None = None) -> str:
    shown = " ".join(word if isinstance(word, str) else repr(word) for word in words)
    return f"git {shown} -> {scene.git.ask(*words, stdin=stdin, env=env).exit}"


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
    worktree_by_command: 1,
    ref_by_hand: 3,
    index_by_hand: 3,
    maintain: 3,
    configure_more: 2,
    attributes_and_modules_by_hand: 2,
    write_unusually: 4,
    leave_and_return: 2,
    lead_elsewhere: 2,
    take_attributes_along: 2,
    play_with_modules: 2,
}
