"""A hostile archive unpacked under a root: nothing of it runs, nobody waits for it, it takes no more memory.

Every trap is set in a repository that the daemon watches already. While it works on the trapped one, another
repository is edited and asked about: that answer must be right, and in time.
"""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from hashlib import sha1
from pathlib import Path
from typing import Any

import pytest

from tests.zoo.commands import Git, ask_judge, new_repository
from tests.zoo.comparison import difference
from tests.zoo.daemon import Client, Daemon
from tests.zoo.nursery import append, configure, write
from tests.zoo.waiting import wait_until

git_hash = partial(sha1, usedforsecurity=False)

PATIENCE_S = 5.0
"""No request about another repository may take longer, whatever hides in this one."""
MEMORY_BYTES = 220 << 20
"""Most that the daemon or a worker may ever have in memory."""

Trap = Callable[["Scene"], None]


class Scene:
    """One repository to be trapped, and programs that tell when they are run."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.ran = directory / "ran"
        self.ran.mkdir(parents=True)
        files = {
            ".gitattributes": b"*.txt filter=own diff=own merge=own\n",
            "a.txt": b"1\n",
            "b": b"1\n",
            "d/c": b"1\n",
        }
        self.git = new_repository(directory / "hostile", files)

    @property
    def path(self) -> Path:
        return self.git.path

    @property
    def dot_git(self) -> Path:
        return self.git.path / ".git"

    def program(self, name: str) -> str:
        path = self.directory / f"programs/{name}"
        write(path, b"#!/bin/sh\n: >%s/%s\ncat\n" % (os.fsencode(self.ran), name.encode()))
        path.chmod(0o755)
        return str(path)

    def configure(self, *lines: str) -> None:
        configure(self.git, "\n".join(lines) + "\n")

    def stir(self) -> None:
        """Give git every reason to look at files, refresh the index and convert."""
        for name in ("a.txt", "b", "d/c"):
            with suppress(OSError):  # a trap may have taken it away
                os.utime(self.path / name, (1, 1), follow_symlinks=False)  # a device is not ours to touch
        write(self.path / "new", b"")


TRAPS: dict[str, tuple[Trap, str]] = {}
"""By name; with what the answer must be: `git` (fresh, and the judge's), `unsafe`, or `honest` (not fresh without
being the judge's, and a reason where it is not fresh), `settled` (no less, and not put off)."""


def trap(expected: str) -> Callable[[Trap], Trap]:
    def add(function: Trap) -> Trap:
        TRAPS[function.__name__.replace("_", "-")] = (function, expected)
        return function

    return add


# Programs.


@trap("git")
def fsmonitor(scene: Scene) -> None:
    scene.configure("[core]", f"fsmonitor = {scene.program('fsmonitor')}", "fsmonitorHookVersion = 2")


@trap("git")
def fsmonitor_daemon(scene: Scene) -> None:
    scene.configure("[core]", "fsmonitor = true")


@trap("git")
def hooks(scene: Scene) -> None:
    names = ("post-index-change", "fsmonitor-watchman", "pre-auto-gc", "reference-transaction", "post-checkout")
    for directory in (scene.dot_git / "hooks", scene.path / "hooks"):
        directory.mkdir(exist_ok=True)
        for name in names:
            shutil.copy(scene.program(f"hook-{name}"), directory / name)
    scene.configure("[core]", f"hooksPath = {scene.path}/hooks")


@trap("git")
def every_other_command(scene: Scene) -> None:
    keys = {
        "core": ("sshCommand", "pager", "editor", "askPass", "gitProxy", "alternateRefsCommand"),
        "gpg": ("program",), "sequence": ("editor",), "interactive": ("diffFilter",),
        "uploadpack": ("packObjectsHook",),
        "credential": ("helper",), "diff": ("external",), "pager": ("status",), "web": ("browser",),
        "alias": ("status", "ls-files", "config"), "trailer": ("cmd",), "sendemail": ("smtpServer",),
        'diff "own"': ("command", "textconv"), 'merge "own"': ("driver",), 'difftool "own"': ("cmd",),
        'remote "origin"': ("uploadpack", "receivepack", "proxy"), 'gpg "ssh"': ("program",),
        'submodule "s"': ("update",), 'browser "own"': ("cmd",), 'mergetool "own"': ("cmd",),
    }  # fmt: skip
    for section, names in keys.items():
        scene.configure(f"[{section}]")
        for name in names:
            bang = "!" if section == "alias" or name == "update" else ""
            scene.configure(f'{name} = "{bang}{scene.program(section.split()[0] + "-" + name)}"')
    scene.configure("[log]", "showSignature = true", "[status]", "submoduleSummary = true")


@trap("honest")
def remote_helper_and_promisor(scene: Scene) -> None:
    """The index names a blob that is not there, and a remote that promises it through a command."""
    scene.configure(
        '[remote "origin"]', f"url = ext::{scene.program('ext')} %S", "promisor = true",
        "[extensions]", "partialClone = origin", "[protocol]", "allow = always", '[protocol "ext"]', "allow = always",
    )  # fmt: skip
    for file in (scene.dot_git / "objects").glob("??/*"):
        file.unlink()


def _filter(scene: Scene, name: str = "own", kind: str = "clean") -> str:
    return f'[filter "{name}"]\n\t{kind} = {scene.program(f"filter-{kind}")}\n'


@trap("unsafe")
def filter_clean(scene: Scene) -> None:
    scene.configure(_filter(scene))


@trap("unsafe")
def filter_process(scene: Scene) -> None:
    scene.configure(_filter(scene, kind="process"))


@trap("unsafe")
def filter_smudge(scene: Scene) -> None:
    scene.configure(_filter(scene, kind="smudge"))


@trap("unsafe")
def filter_of_git_lfs_extension(scene: Scene) -> None:
    scene.configure('[lfs "extension.own"]', f"clean = {scene.program('extension')}")


@trap("unsafe")
def filter_in_config_worktree(scene: Scene) -> None:
    scene.configure("[core]", "repositoryformatversion = 1", "[extensions]", "worktreeConfig = true")
    write(scene.dot_git / "config.worktree", _filter(scene).encode())


@trap("unsafe")
def filter_in_an_include(scene: Scene) -> None:
    write(scene.path / "included", _filter(scene).encode())
    scene.configure("[include]", "path = ../included")


@trap("unsafe")
def filter_in_an_include_of_a_branch(scene: Scene) -> None:
    write(scene.path / "included", _filter(scene).encode())
    scene.configure('[includeIf "onbranch:ma*"]', "path = ../included")


@trap("unsafe")
def filter_in_an_include_of_a_url(scene: Scene) -> None:
    write(scene.path / "included", _filter(scene).encode())
    scene.configure('[remote "r"]', "url = x", '[includeIf "hasconfig:remote.*.url:x"]', "path = ../included")


@trap("unsafe")
def filter_behind_a_linked_git_dir(scene: Scene) -> None:
    scene.dot_git.rename(scene.path / "elsewhere")
    scene.dot_git.symlink_to("elsewhere")
    scene.configure(_filter(scene))


@trap("unsafe")
def filter_behind_a_git_file(scene: Scene) -> None:
    scene.dot_git.rename(scene.directory / "foreign")
    scene.dot_git.write_bytes(b"gitdir: ../foreign\n")
    append(scene.directory / "foreign/config", _filter(scene).encode())


@trap("unsafe")
def filter_in_a_linked_config(scene: Scene) -> None:
    (scene.dot_git / "config").rename(scene.path / "config")
    append(scene.path / "config", _filter(scene).encode())
    (scene.dot_git / "config").symlink_to("../config")


@trap("unsafe")
def filter_behind_core_worktree(scene: Scene) -> None:
    (scene.directory / "elsewhere").mkdir()
    scene.configure("[core]", f"worktree = {scene.path}", _filter(scene))


def _submodule(scene: Scene, git: Git, name: str) -> Git:
    source = scene.directory / f"source-{name}"
    new_repository(source, {".gitattributes": b"* filter=own\n", "f": b"1\n"})
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", os.fspath(source), name)
    git("commit", "-qam", name)
    os.utime(git.path / name / "f", (1, 1))
    return Git(git.path / name)


@trap("unsafe")
def filter_in_a_submodule(scene: Scene) -> None:
    sub = _submodule(scene, scene.git, "s")
    sub("config", "filter.own.clean", scene.program("submodule"))


@trap("unsafe")
def filter_in_a_nested_submodule(scene: Scene) -> None:
    nested = _submodule(scene, _submodule(scene, scene.git, "s"), "n")
    nested("config", "filter.own.process", scene.program("nested"))


@trap("honest")
def fsmonitor_and_hooks_in_a_submodule(scene: Scene) -> None:
    sub = _submodule(scene, scene.git, "s")
    sub("config", "core.fsmonitor", scene.program("submodule-fsmonitor"))
    sub("config", "core.hooksPath", str(scene.path / "hooks"))
    write(scene.path / "hooks/post-index-change", Path(scene.program("submodule-hook")).read_bytes())
    (scene.path / "hooks/post-index-change").chmod(0o755)


@trap("git")
def alternates(scene: Scene) -> None:
    other = new_repository(scene.directory / "alternate", {"x": b"1\n"})
    configure(other, _filter(scene))
    configure(other, f"[core]\n\tfsmonitor = {scene.program('alternate')}\n")
    write(scene.dot_git / "objects/info/alternates", os.fsencode(other.path) + b"/.git/objects\n")


# Too much of something.


@trap("honest")
def a_huge_config(scene: Scene) -> None:
    append(scene.dot_git / "config", b"[a]\n" + b"k = v\n" * 1_000_000)


@trap("honest")
def a_config_of_a_million_lines(scene: Scene) -> None:
    """No more bytes than are read, and so each of them is looked at."""
    append(scene.dot_git / "config", b"[a]\n" + b"k\n" * 1_000_000)


@trap("honest")
def a_config_of_a_million_sections(scene: Scene) -> None:
    append(scene.dot_git / "config", b"[a]" * 1_000_000 + b"\n")


@trap("honest")
def a_sparse_config(scene: Scene) -> None:
    os.truncate(scene.dot_git / "config", 1 << 29)


@trap("honest")
def a_config_of_one_line(scene: Scene) -> None:
    append(scene.dot_git / "config", b"[a]\nk = " + b"x\\\n" * 5_000_000 + b"\n")


@trap("honest")
def deep_includes(scene: Scene) -> None:
    for number in range(100):
        write(scene.dot_git / f"i{number}", b"[include]\npath = i%d\n" % (number + 1))
    scene.configure("[include]", "path = i0")


@trap("honest")
def includes_that_multiply(scene: Scene) -> None:
    """Each includes the next one ten times: 10^9 files to read, within git's limit of depth."""
    for number in range(9):
        write(scene.dot_git / f"i{number}", b"[include]\n" + b"path = i%d\n" % (number + 1) * 10)
    scene.configure("[include]", "path = i0")


@trap("honest")
def huge_packed_refs(scene: Scene) -> None:
    write(scene.dot_git / "packed-refs", b"# pack-refs with: peeled fully-peeled sorted \n")
    os.truncate(scene.dot_git / "packed-refs", 1 << 30)


@trap("honest")
def huge_stash_log(scene: Scene) -> None:
    write(scene.dot_git / "refs/stash", scene.git("rev-parse", "HEAD"))
    write(scene.dot_git / "logs/refs/stash", b"")
    os.truncate(scene.dot_git / "logs/refs/stash", 1 << 29)


@trap("honest")
def huge_ignore_and_attributes(scene: Scene) -> None:
    for name in (".gitignore", ".gitattributes", ".git/info/exclude", ".git/info/attributes"):
        write(scene.path / name, b"\n")
        os.truncate(scene.path / name, 1 << 29)


@trap("honest")
def many_ignore_rules(scene: Scene) -> None:
    write(scene.path / ".gitignore", b"".join(b"*a*b*c*d*%d*e*f\n" % n for n in range(100_000)))


@trap("honest")
def an_ignore_rule_that_backtracks(scene: Scene) -> None:
    write(scene.path / ".gitignore", b"*a" * 40 + b"x\n**/" * 20 + b"y\n")
    write(scene.path / ("a" * 200), b"")


@trap("honest")
def huge_pointer_files(scene: Scene) -> None:
    for name in ("HEAD", "commondir", "FETCH_HEAD", "MERGE_HEAD", "rebase-merge/msgnum", "sequencer/todo", "shallow"):
        write(scene.dot_git / name, b"")
        os.truncate(scene.dot_git / name, 1 << 29)


def _head_object(scene: Scene) -> Path:
    oid = scene.git("rev-parse", "HEAD").decode().strip()
    return scene.dot_git / "objects" / oid[:2] / oid[2:]


def _bomb(kind: bytes, beginning: bytes, size: int = 1 << 28) -> bytes:
    """A loose object of `size` bytes, in a thousandth of that."""
    press = zlib.compressobj(9)
    parts = [press.compress(kind + b" %d\0" % size + beginning)]
    zeros = bytes(1 << 20)
    parts += [press.compress(zeros) for _ in range(size >> 20)]
    return b"".join([*parts, press.flush()])


@trap("honest")
def a_commit_that_is_a_bomb(scene: Scene) -> None:
    path = _head_object(scene)
    tree = scene.git("rev-parse", "HEAD^{tree}").strip()
    path.chmod(0o644)
    path.write_bytes(_bomb(b"commit", b"tree " + tree + b"\nauthor a <b> 1 +0000\ncommitter a <b> 1 +0000\n\n"))


@trap("honest")
def a_packed_commit_that_is_a_bomb(scene: Scene) -> None:
    content = b"tree " + scene.git("rev-parse", "HEAD^{tree}").strip() + b"\nauthor a <b> 1 +0000\n\n"
    size = 1 << 28
    press = zlib.compressobj(9)
    oid = git_hash(b"commit %d\0" % size)
    parts = []
    at = 0
    while at < size:
        piece = content if at == 0 else bytes(min(1 << 20, size - at))
        oid.update(piece)
        parts.append(press.compress(piece))
        at += len(piece)
    _be_head(scene, oid.digest(), _entry_header(1, size) + b"".join([*parts, press.flush()]))


def _entry_header(kind: int, size: int) -> bytes:
    """Of an object in a pack: 1 is a commit, 7 a delta to the object that is named behind it."""
    header, left = bytearray([(0x80 if size > 0x0F else 0) | kind << 4 | size & 0x0F]), size >> 4
    while left:
        header.append((0x80 if left > 0x7F else 0) | left & 0x7F)
        left >>= 7
    return bytes(header)


def _be_head(
    scene: Scene, oid: bytes, entry: bytes, *, count: int = 1, offset: int = 12, last_fan: int = 1, huge: bytes = b""
) -> None:
    """A pack that holds this one entry, and the branch at it; with lies about the number of objects in pack and index,
    and about the place of this one (`huge`: the table of places beyond 2 GB)."""
    pack = b"PACK" + struct.pack(">II", 2, count) + entry
    pack += git_hash(pack).digest()
    name = scene.dot_git / "objects/pack/pack-1.pack"
    write(name, pack)
    fan = b"".join(struct.pack(">I", int(n >= oid[0])) for n in range(255)) + struct.pack(">I", last_fan)
    index = b"\xfftOc" + struct.pack(">I", 2) + fan + oid + struct.pack(">II", zlib.crc32(entry), offset) + huge
    index += pack[-20:]
    write(name.with_suffix(".idx"), index + git_hash(index).digest())
    write(scene.dot_git / "refs/heads/main", oid.hex().encode() + b"\n")


_LIES: dict[str, dict[str, Any]] = {
    "says-it-is-a-terabyte": {"entry": _entry_header(1, 1 << 40) + zlib.compress(b"tree ")},
    "says-it-is-a-byte": {"entry": _entry_header(1, 1) + zlib.compress(bytes(1 << 24))},
    "is-of-no-kind": {"entry": _entry_header(5, 10) + zlib.compress(bytes(10))},
    "goes-on-for-ever": {"entry": b"\x9f" + b"\xff" * 100},
    "is-no-zlib": {"entry": _entry_header(1, 100) + bytes(100)},
    "is-a-delta-to-itself": {"entry": _entry_header(7, 5) + b"\xab" * 20 + zlib.compress(b"\x05\x05\x01abc")},
    "is-a-delta-of-nothing": {"entry": _entry_header(6, 5) + b"\x7f" + zlib.compress(b"\x05\x05\x01abc")},
    "has-a-billion-objects": {"count": 1 << 30},
    "lies-beyond-its-end": {"offset": 1 << 30},
    "lies-beyond-two-gigabytes": {"offset": 1 << 31, "huge": struct.pack(">Q", 1 << 62)},
    "lies-beyond-the-table-of-places": {"offset": (1 << 31) | 0x7FFFFFFF},
    "has-an-index-of-billions": {"last_fan": 0xFFFFFFFF},
}
for _lie, _how in _LIES.items():
    TRAPS[f"a-pack-that-{_lie}"] = (
        lambda scene, how=_how: _be_head(  # type: ignore[misc]
            scene, b"\xab" * 20, how.get("entry", _entry_header(1, 5) + zlib.compress(b"tree ")),
            **{name: value for name, value in how.items() if name != "entry"},
        ),
        "honest",
    )  # fmt: skip


@trap("honest")
def a_delta_that_says_it_makes_a_terabyte(scene: Scene) -> None:
    """Its base is the commit that was there; its instructions copy three bytes."""
    base = bytes.fromhex(scene.git("rev-parse", "HEAD").decode().strip())
    size = int(scene.git("cat-file", "-s", "HEAD"))
    delta = _size(size) + _size(1 << 40) + b"\x90\x03"
    _be_head(scene, b"\xab" * 20, _entry_header(7, len(delta)) + base + zlib.compress(delta))


def _size(number: int) -> bytes:
    parts = bytearray()
    while number > 0x7F:
        parts.append(0x80 | number & 0x7F)
        number >>= 7
    return bytes([*parts, number])


@trap("honest")
def a_tag_that_is_a_bomb(scene: Scene) -> None:
    oid = b"ab" * 20
    head = scene.git("rev-parse", "HEAD").strip()
    write(scene.dot_git / f"objects/ab/{oid[2:].decode()}", _bomb(b"tag", b"object " + head + b"\n"))
    write(scene.dot_git / "refs/tags/bomb", oid + b"\n")


@trap("honest")
def an_index_that_lies_about_its_entries(scene: Scene) -> None:
    raw = bytearray((scene.dot_git / "index").read_bytes())
    raw[8:12] = b"\xff\xff\xff\xff"
    (scene.dot_git / "index").write_bytes(raw)


@trap("honest")
def an_index_extension_that_lies_about_its_size(scene: Scene) -> None:
    raw = (scene.dot_git / "index").read_bytes()
    body = raw[:-20].partition(b"TREE")[0] + b"TREE\xff\xff\xff\xf0\0-1 0\n"
    (scene.dot_git / "index").write_bytes(body + git_hash(body).digest())


@trap("honest")
def an_index_of_zeros(scene: Scene) -> None:
    write(scene.dot_git / "index", b"DIRC" + struct.pack(">II", 2, 7_000_000))
    os.truncate(scene.dot_git / "index", 1 << 29)


@trap("honest")
def an_index_without_holes_that_is_large(scene: Scene) -> None:
    """Each entry as it should be, and as small as they get."""
    entry = struct.pack(">10I", *[0] * 6, 0o100644, 0, 0, 0) + b"\1" * 20 + struct.pack(">H", 9)
    size = 160 << 20
    count = size // 72
    with (scene.dot_git / "index").open("wb") as file:
        file.write(b"DIRC" + struct.pack(">II", 2, count))
        for start in range(0, count, 1000):
            file.write(b"".join(entry + b"%09d\0" % n for n in range(start, min(start + 1000, count))))
        file.write(bytes(20))


@trap("honest")
def an_index_of_version_4_that_multiplies(scene: Scene) -> None:
    """Each name is the one before it and one byte more: 40,000 entries hold 800 MB of names."""
    entries, name = [], b""
    for number in range(40_000):
        name += b"a"
        cut = b"\0" + b"a\0"
        stat_fields = struct.pack(">10I", *[0] * 6, 0o100644, 0, 0, 0) + b"\1" * 20
        entries.append(stat_fields + struct.pack(">H", min(number + 1, 0xFFF)) + cut)
    body = b"DIRC" + struct.pack(">II", 4, len(entries)) + b"".join(entries)
    write(scene.dot_git / "index", body + git_hash(body).digest())


@trap("honest")
def a_thousand_worktrees_and_submodules(scene: Scene) -> None:
    for number in range(1000):
        write(scene.dot_git / f"worktrees/{number}/gitdir", b"/nowhere/.git\n")
    write(
        scene.path / ".gitmodules",
        b"".join(b'[submodule "%d"]\npath = s%d\nurl = ext::x\n' % (n, n) for n in range(1000)),
    )


@trap("honest")
def submodules_that_contain_each_other(scene: Scene) -> None:
    _submodule(scene, scene.git, "s")
    shutil.rmtree(scene.path / "s")
    (scene.path / "s").symlink_to(".")


@trap("honest")
def deep_directories(scene: Scene) -> None:
    fd = os.open(scene.path, os.O_RDONLY)
    for _ in range(300):
        os.mkdir("d" * 50, dir_fd=fd)
        below = os.open("d" * 50, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)


@trap("settled")
def fifos_in_lower_directories(scene: Scene) -> None:
    """Git opens these for itself, and waits."""
    for number in range(4):
        write(scene.path / f"e/{number}/tracked", b"")
        os.mkfifo(scene.path / f"e/{number}/.gitignore")
        os.mkfifo(scene.path / f"e/{number}/.gitattributes")


@trap("settled")
def a_fifo_in_a_submodule(scene: Scene) -> None:
    sub = _submodule(scene, scene.git, "s")
    os.mkfifo(sub.path / ".gitignore")


# Something else in a file's place.

PLACES = (
    "config", "HEAD", "index", "packed-refs", "commondir", "shallow", "FETCH_HEAD", "MERGE_HEAD", "config.worktree",
    "info/exclude", "info/attributes", "info/grafts", "info/sparse-checkout", "refs/heads/main", "refs/tags/t",
    "refs/stash", "logs/refs/stash", "logs/HEAD", "rebase-merge", "rebase-apply/next", "sequencer/todo", "BISECT_LOG",
    "objects/info/alternates", "objects/pack/pack-1.idx", "worktrees/x/gitdir", "modules/x/config", "index.lock",
    "../.gitignore", "../.gitattributes", "../.gitmodules", "../.git", "../a.txt", "../d/c", "../untracked",
)  # fmt: skip


def _replace(scene: Scene, place: str, make: Callable[[Path], object]) -> None:
    path = scene.dot_git / place
    path = Path(os.path.normpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    make(path)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        where = os.open(path.parent, os.O_RDONLY)  # a socket's path may have 107 bytes
        try:
            sock.bind(f"/proc/self/fd/{where}/{path.name}")
        finally:
            os.close(where)


for _place in PLACES:
    for _kind, _make in {
        "fifo": os.mkfifo,
        "zero": lambda path: path.symlink_to("/dev/zero"),
        "socket": _socket,
        "tty": lambda path: path.symlink_to("/dev/tty"),
    }.items():
        if _kind != "fifo" and _place not in ("config", "HEAD", "index", "../.gitignore", "../a.txt"):
            continue
        TRAPS[f"{_kind}-{_place.replace('/', '-')}"] = (
            lambda scene, place=_place, make=_make: _replace(scene, place, make),  # type: ignore[misc]
            "settled",
        )


# The test.


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Daemon]]:
    """One daemon for all of them: what one leaves behind must not harm the next either."""
    directory = tmp_path_factory.mktemp("corpus")
    (directory / "root").mkdir()
    with Daemon(directory / "state", env={"HOME": os.environ["HOME"]}) as daemon:
        with daemon.connect() as client:
            client.call("roots.add", str(directory / "root"), {})
        yield directory / "root", daemon


@pytest.fixture(scope="module")
def bystander(corpus: tuple[Path, Daemon]) -> Path:
    return new_repository(corpus[0] / "bystander", {"f": b"1\n"}).path


def peak_bytes(pid: int) -> int:
    """Of the daemon and its workers that live: the most memory that one of them ever had since `forget_peak`."""
    peaks = [0]
    for process in (pid, *children(pid)):
        try:
            status = Path(f"/proc/{process}/status").read_text()
        except FileNotFoundError:
            continue
        if status.startswith("Name:\tgit\n"):
            continue  # it has a limit of its own
        peaks += [int(line.split()[1]) << 10 for line in status.splitlines() if line.startswith("VmHWM")]
    return max(peaks)


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            found += map(int, (task / "children").read_text().split())
        except OSError:
            continue
    return found


def forget_peak(pid: int) -> None:
    for process in (pid, *children(pid)):  # a worker that an earlier trap filled may live on
        with suppress(OSError):
            Path(f"/proc/{process}/clear_refs").write_text("5")


def forget_earlier_traps(pid: int) -> None:
    """What looked at the last one may still hold what it read, and have no answer to give any more."""

    def given_back() -> bool:
        forget_peak(pid)
        return peak_bytes(pid) < MEMORY_BYTES // 2

    wait_until(given_back, 10.0, "what is held for the last trap is given back")


@pytest.mark.parametrize("name", TRAPS)
def test_trap(name: str, corpus: tuple[Path, Daemon], bystander: Path, request: pytest.FixtureRequest) -> None:
    root, daemon = corpus
    set_trap, expected = TRAPS[name]
    scene = Scene(root / name[:40])
    with daemon.connect() as client, daemon.connect() as other:
        assert client.entries(scene.path).state == "fresh"
        forget_earlier_traps(daemon.pid)
        set_trap(scene)
        scene.stir()
        for file in scene.ran.iterdir():
            file.unlink()  # what making the trap ran
        try:
            _ask(client, other, scene, bystander, expected)
            assert [file.name for file in scene.ran.iterdir()] == [], "a program of the archive ran"
            assert peak_bytes(daemon.pid) < MEMORY_BYTES
        finally:
            # Not shutil: on Linux its paths may not be longer than 4 KB everywhere.
            subprocess.run(["rm", "-rf", scene.directory], check=True)


def _ask(client: Client, other: Client, scene: Scene, bystander: Path, expected: str) -> None:
    client._connection.renew_deadline(60)
    # Three times, one of them by git itself: memory, change, verification.
    for options in ({"wait_s": 5.0}, {"wait_s": 5.0, "verify": True}):
        client.call("status", [str(scene.path)], {"wait_s": 0.0})
        began = time.monotonic()
        append(bystander / "f", b"more\n")
        assert difference(other, bystander) is None
        other.call("render", "status", {"paths": [str(bystander)], "width": 80})
        assert time.monotonic() - began < PATIENCE_S, "somebody else had to wait"
        answer = client.call("status", [str(scene.path)], options)
        reports = [report for report in answer["repos"] if report["path"] == str(scene.path)] or answer["errors"]
        if not reports:
            reports = [{"state": "gone", "reason": "not listed", "all": str(answer)[:1000]}]
        report = reports[0]
        _judge(scene, report, expected)


def _judge(scene: Scene, report: dict[str, object], expected: str) -> None:
    state = report.get("state", "error")
    if expected == "unsafe":
        assert state == "unsafe" and "gitwatch trust" in str(report["hint"]), report
    elif expected == "git":
        assert state == "fresh", report
    elif expected == "settled":
        assert state in ("fresh", "failed", "gone", "error"), report
    elif state != "fresh":
        assert report["reason"] and state in ("failed", "gone", "error", "unsafe", "stale", "pending"), report
    if state == "fresh" and expected == "git":
        assert ask_judge(scene.path).exit == 0
        for file in scene.ran.iterdir():
            file.unlink()  # what the judge ran
