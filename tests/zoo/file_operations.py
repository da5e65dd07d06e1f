"""What editors, builds and people do to files. Each operation returns what it did; OSError means refused."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from tests.zoo.nursery import write
from tests.zoo.scene import Scene

Operation = Callable[[Scene], str]
FILE_OPERATIONS: dict[Operation, int] = {}
"""Operation -> weight."""


def weight(number: int) -> Callable[[Operation], Operation]:
    def add(operation: Operation) -> Operation:
        FILE_OPERATIONS[operation] = number
        return operation

    return add


NOTHING = "found nothing to do it to"


@weight(6)
def overwrite(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    content = scene.content()
    write(path, content)
    return f"write {scene.shown(path)} {content!r}"


@weight(8)
def append(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    with open(path, "ab") as file:
        file.write(b"more\n")
    return f"append {scene.shown(path)}"


@weight(8)
def edit_same_size(scene: Scene) -> str:
    path = scene.some_file()
    if path is None or not os.path.getsize(path):
        return NOTHING
    with open(path, "r+b") as file:
        first = file.read(1)
        file.seek(0)
        file.write(b"#" if first != b"#" else b"%")
    return f"same-size edit {scene.shown(path)}"


@weight(3)
def edit_and_undo(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    with open(path, "rb") as file:
        content = file.read()
    write(path, content + b"x")
    write(path, content)
    return f"edit and undo {scene.shown(path)}"


@weight(6)
def delete(scene: Scene) -> str:
    path = scene.some_file() or scene.some_link()
    if path is None:
        return NOTHING
    os.unlink(path)
    return f"delete {scene.shown(path)}"


@weight(3)
def delete_directory(scene: Scene) -> str:
    path = scene.some_directory()
    if path is None:
        return NOTHING
    shutil.rmtree(path)
    return f"delete directory {scene.shown(path)}"


@weight(10)
def create(scene: Scene) -> str:
    path, content = scene.some_new_path(), scene.content()
    if os.path.lexists(path) and not os.path.isfile(path):
        return NOTHING
    write(path, content)
    return f"create {scene.shown(path)} {content!r}"


@weight(3)
def create_deep(scene: Scene) -> str:
    """`mkdir -p a/b/c/d && echo > f`, the race of every watcher."""
    top = os.path.join(scene.some_place(), b"deep%d" % scene.random.randrange(5))
    for branch in (b"a/b/c/d/f", b"a/b/g", b"e/f/h.o"):
        write(os.path.join(top, branch), b"deep\n")
    return f"create deep below {scene.shown(top)}"


@weight(2)
def make_directory(scene: Scene) -> str:
    path = os.path.join(scene.some_place(), b"empty%d" % scene.random.randrange(5))
    os.mkdir(path)
    return f"mkdir {scene.shown(path)}"


@weight(6)
def rename_file(scene: Scene) -> str:
    source, target = scene.some_file() or scene.some_link(), scene.some_new_path()
    if source is None:
        return NOTHING
    os.makedirs(os.path.dirname(target), exist_ok=True)
    os.rename(source, target)
    return f"rename {scene.shown(source)} to {scene.shown(target)}"


@weight(2)
def exchange_files(scene: Scene) -> str:
    first, second = scene.some_file(), scene.some_file()
    if first is None or second is None or first == second:
        return NOTHING
    aside = first + b".aside"
    os.rename(first, aside)
    os.rename(second, first)
    os.rename(aside, second)
    return f"exchange {scene.shown(first)} with {scene.shown(second)}"


def _move(scene: Scene, source: bytes | None, target: bytes) -> str:
    if source is None or (target + b"/").startswith(source + b"/"):
        return NOTHING
    os.rename(source, target)
    return f"move directory {scene.shown(source)} to {scene.shown(target)}"


@weight(4)
def rename_directory(scene: Scene) -> str:
    source = scene.some_directory()
    return _move(scene, source, (source or b"") + b"-renamed")


@weight(2)
def move_directory_up(scene: Scene) -> str:
    source = scene.some_directory()
    if source is None or os.path.dirname(source) == scene.top:
        return NOTHING
    return _move(scene, source, os.path.join(os.path.dirname(os.path.dirname(source)), os.path.basename(source)))


@weight(2)
def move_directory_down(scene: Scene) -> str:
    source, place = scene.some_directory(), scene.some_place()
    return _move(scene, source, os.path.join(place, os.path.basename(source or b"")))


@weight(2)
def move_contents(scene: Scene) -> str:
    """Only what a directory contains moves to its parent; the directory stays, empty."""
    source = scene.some_directory()
    if source is None:
        return NOTHING
    for name in sorted(os.listdir(source)):
        target = os.path.join(os.path.dirname(source), name)
        if name != b".git" and not os.path.lexists(target):
            os.rename(os.path.join(source, name), target)
    return f"move contents of {scene.shown(source)} up"


@weight(1)
def move_out_and_in(scene: Scene) -> str:
    """A directory leaves the worktree, changes there and returns."""
    source = scene.some_directory()
    if source is None:
        return NOTHING
    outside = scene.top + b".outside"
    os.rename(source, outside)
    write(outside + b"/changed-outside", b"")
    os.rename(outside, source)
    return f"move {scene.shown(source)} out, change it, move it in"


@weight(3)
def change_mode(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    mode = scene.random.choice((0o644, 0o755, 0o600, 0o744))
    os.chmod(path, mode)
    return f"chmod {mode:o} {scene.shown(path)}"


@weight(3)
def file_to_link(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    os.unlink(path)
    os.symlink(scene.random.choice((b"README.md", b"src", b"nowhere", b"..")), path)
    return f"replace {scene.shown(path)} by a link to {os.readlink(path)!r}"


@weight(2)
def link_to_file(scene: Scene) -> str:
    path = scene.some_link()
    if path is None:
        return NOTHING
    target = os.readlink(path)
    os.unlink(path)
    write(path, target)
    return f"replace the link {scene.shown(path)} by a file"


@weight(2)
def file_to_directory(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    os.unlink(path)
    write(path + b"/inside", b"1\n")
    return f"replace {scene.shown(path)} by a directory"


@weight(2)
def directory_to_file(scene: Scene) -> str:
    path = scene.some_directory()
    if path is None:
        return NOTHING
    shutil.rmtree(path)
    write(path, b"was a directory\n")
    return f"replace the directory {scene.shown(path)} by a file"


@weight(5)
def save_atomically(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    write(path + b".tmp123", scene.content())
    if scene.random.random() < 0.5:
        os.link(path, path + b"~%d" % scene.random.randrange(10**6))
    os.rename(path + b".tmp123", path)
    return f"save atomically {scene.shown(path)}"


@weight(3)
def touch(scene: Scene) -> str:
    path = scene.some_file()
    if path is None:
        return NOTHING
    when = scene.random.choice((10**18, 1_700_000_000 * 10**9, 4 * 10**18))
    os.utime(path, ns=(when, when))
    return f"touch {scene.shown(path)} to {when}"


@weight(1)
def touch_many(scene: Scene) -> str:
    for directory, _, files in os.walk(scene.top):
        for name in files:
            path = os.path.join(directory, name)
            if b"/.git" not in path and os.path.isfile(path):
                os.utime(path)
    return "touch every file"


@weight(1)
def append_to_many(scene: Scene) -> str:
    place = scene.some_place()
    for directory, _, files in os.walk(place):
        for name in sorted(files):
            path = os.path.join(directory, name)
            if b"/.git" not in path and os.path.isfile(path) and not os.path.islink(path):
                with open(path, "ab") as file:
                    file.write(b"many\n")
    return f"append to every file below {scene.shown(place)}"


PATTERNS = (
    b"*.txt\n",
    b"!*.txt\n",
    b"/src\n",
    b"!/src\n",
    b"new/\n",
    b"*\n",
    b"!*.c\n",
    b"!alpha\n",
    b"**/build/\n",
    b"a/**/b\n",
    b"*.o\n!delta.o\n",
    b"/*\n!/docs\n",
    b"caf\xe9\n",
    b"sp\\ ace\n",
    b"[ab]*\n",
    b"*~*\n",
)


@weight(6)
def edit_ignore_rules(scene: Scene) -> str:
    """The file at the top, or a nested one; more rules, other rules, or none."""
    where = scene.random.choice((scene.top, scene.some_place()))
    path = os.path.join(where, b".gitignore")
    if os.path.isdir(path) or os.path.islink(path):
        return NOTHING
    choice = scene.random.random()
    if choice < 0.25 and os.path.exists(path):
        os.unlink(path)
        return f"delete {scene.shown(path)}"
    rules = scene.random.choice(PATTERNS)
    with open(path, "ab" if choice < 0.7 else "wb") as file:
        file.write(rules)
    return f"{'add to' if choice < 0.7 else 'write'} {scene.shown(path)} {rules!r}"


ATTRIBUTE_LINES = (
    b"*.txt text\n",
    b"*.txt eol=crlf\n",
    b"* text=auto\n",
    b"*.c ident\n",
    b"*.sec filter=zoo\n",
    b"*.txt -text\n",
)


@weight(2)
def edit_attributes(scene: Scene) -> str:
    where = scene.random.choice((scene.top, scene.some_place()))
    path = os.path.join(where, b".gitattributes")
    if os.path.isdir(path) or os.path.islink(path):
        return NOTHING
    if scene.random.random() < 0.5 and os.path.exists(path):
        os.unlink(path)
        return f"delete {scene.shown(path)}"
    line = scene.random.choice(ATTRIBUTE_LINES)
    with open(path, "ab") as file:
        file.write(line)
    return f"add to {scene.shown(path)} {line!r}"


@weight(3)
def change_inner_repository(scene: Scene) -> str:
    """Edit, extend or commit in a submodule or nested repository."""
    inner = scene.some_inner_repository()
    if inner is None:
        return NOTHING
    what = scene.random.choice(("edit", "untracked", "commit", "clean"))
    if what == "edit":
        (inner.path / "README.md").write_bytes(scene.content())
    elif what == "untracked":
        (inner.path / "untracked").write_bytes(b"")
    elif what == "commit":
        inner.ask("commit", "-qa", "--allow-empty", "-m", "inner")
    else:
        inner.ask("reset", "-q", "--hard")
        inner.ask("clean", "-qfd")
    return f"{what} in the inner repository {scene.shown(os.fsencode(inner.path))}"
