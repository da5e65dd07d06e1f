"""What is fuzzed: for each parser of foreign bytes, how it is called, what it may raise, and where to begin.

A target takes any bytes. It returns, or raises what it declares; anything else that is raised is a finding.
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.config_file import find_boolean, find_integer, parse_config
from gitwatchd.git.ignore import IgnoreRules
from gitwatchd.git.index_file import parse_index
from gitwatchd.git.index_format import IndexDamaged
from gitwatchd.git.porcelain import count, encode, parse_status, render_without_z
from gitwatchd.git.refs import Refs
from gitwatchd.loop import Loop
from gitwatchd.server.session import Session
from gitwatchd.wire.rpc import Decoder, MalformedFrame, Request, encode_notification, encode_request, encode_response
from tests.zoo.commands import Git, new_repository


@dataclass(frozen=True, slots=True)
class Target:
    name: str
    run: Callable[[bytes], None]
    declared: tuple[type[Exception], ...]
    seeds: Sequence[bytes]


def decode(data: bytes) -> None:
    """The first byte says how the rest is cut."""
    step = (data[0] if data else 0) or len(data) + 1
    whole, cut = _messages(data[1:], len(data) + 1), _messages(data[1:], step)
    if whole != cut:
        raise AssertionError(f"it depends on how the stream is cut: {whole} {cut}")


def _messages(stream: bytes, step: int) -> list[str]:
    decoder = Decoder(4096)
    found: list[str] = []
    try:
        for at in range(0, len(stream), step):
            for message in decoder.feed(stream[at : at + step]):
                found.append(type(message).__name__)  # noqa: PERF401 - those before the malformed one count
    except MalformedFrame:
        found.append("malformed")
    return found


def serve(data: bytes) -> None:
    """A session with a client that sends this, and leaves; whatever it asks is answered."""
    bugs: list[BaseException] = []
    loop = Loop(bugs.append)
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ended: list[Session] = []

    def answer(session: Session, request: Request) -> None:
        session.reply(request.id, request.params)

    session = Session(loop, ours, answer, ended.append, max_unsent_bytes=4096)
    try:
        for at in range(0, len(data), 512):
            if not session.closed:
                try:
                    theirs.send(data[at : at + 512])
                except OSError:
                    break
                loop.run_once(0)
        theirs.close()
        for _ in range(3):
            loop.run_once(0)
        session.close()
        if bugs or ended != [session]:
            raise AssertionError(f"{bugs} {ended}")
    finally:
        theirs.close()
        loop.close()


def read_index_bytes(data: bytes) -> None:
    for oid_bytes in (20, 32):
        try:
            index = parse_index(data, oid_bytes, 0)
        except IndexDamaged:
            continue
        for position in range(min(len(index.names), 8)):
            index.find(index.names[position])
        index.newest_ctime_s()
        index.cache_tree_root()


def read_config(data: bytes) -> None:
    for _key, value in parse_config(data).entries:
        find_boolean(value)
        find_integer(value)


def ignore(data: bytes) -> None:
    rules = IgnoreRules(lambda path: data if path == b".gitignore" else None, (data,))
    for path in (b"a", b"a/b.o", b"build/x/y", b"a" * 40, b"x/" * 20 + b"y", data[:60].replace(b"\0", b"") or b"z"):
        if path.strip(b"/"):
            rules.is_ignored(path.strip(b"/"), is_dir=len(path) % 2 == 0)


def status(data: bytes) -> None:
    parsed = parse_status(data)
    count(data)
    encode(parsed)
    render_without_z(data, b"dir/", quote_path=True, relative=True)


@lru_cache(maxsize=1)
def _git_dir() -> bytes:
    directory = os.fsencode(tempfile.mkdtemp(prefix="gw-fuzz-refs-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    os.makedirs(directory + b"/refs/heads")
    os.makedirs(directory + b"/refs/tags")
    return directory


def refs(data: bytes) -> None:
    """HEAD, a loose branch and packed-refs, split at the first two bytes FF."""
    directory = _git_dir()
    parts = [*data.split(b"\xff", 2), b"", b""][:3]
    for name, content in zip((b"/HEAD", b"/refs/heads/main", b"/packed-refs"), parts, strict=True):
        with open(directory + name, "wb") as file:
            file.write(content)
    found = Refs(directory, directory)
    found.tag_at(b"1" * 40, lambda oid: oid)
    found.shorten(b"refs/heads/main")
    found.head()


def targets() -> dict[str, Target]:
    """Seeds come from a repository made by git."""
    with tempfile.TemporaryDirectory(prefix="gw-fuzz-") as name:
        git = new_repository(os.path.join(name, "r"), {f"d/{n}": b"%d\n" % n for n in range(5)})
        index = _read(git, "index")
        git("update-index", "--index-version", "4")
        compressed = _read(git, "index")
        git("tag", "v1")
        git("tag", "-am", "x", "v2")
        git("pack-refs", "--all")
        (git.path / "new").write_bytes(b"")
        (git.path / "d/0").write_bytes(b"2\n")
        git("mv", "d/1", "moved")
        entries = git("status", "--porcelain=v2", "--branch", "--show-stash", "-z")
        config, packed = _read(git, "config"), _read(git, "packed-refs")
    frames = [
        encode_request(1, "status", [["/a", b"/b\xff"], {"wait_s": 0.5, "fields": ["oid"], "jobs": None}]),
        encode_request(1 << 40, "entries", ["/a", {"z": True}]) + encode_request(3, "roots.list", []),
        encode_notification("nvim_error_event", [1, "x"]), encode_response(5, {"a": [1.5, {"b": None}]}),
        b"\xdd\xff\xff\xff\xff", b"\x91" * 20, b"\xd6\xff\0\0\0\0", b"\x94\x00\x01\xa1x\x90" * 3,
    ]  # fmt: skip
    rules = [b"*.o\nbuild/\n!keep\n/a/**/b\n", b"**/x\n[a-z]*\\ \n[[:alpha:]]?\n*a*a*a*b\n#c\n\\!x\n"]
    configs = [config, b'[a "b\\"c"]\n\tx = "1\\n2" ; c\n\ty\n\tz = \\\n 3k\n[include]\n\tpath = x\n[a.b]\n\tq=0x1g\n']
    heads = [b"ref: refs/heads/main\n\xff" + b"1" * 40 + b"\n\xff" + packed, b"1" * 40 + b"\xff\xff" + packed]
    return {
        each.name: each
        for each in (
            Target("wire", decode, (), [bytes([n]) + frame for n in (0, 1, 3) for frame in frames]),
            Target("session", serve, (), frames),
            Target("index", read_index_bytes, (), [index, compressed, b"DIRC\0\0\0\2\0\0\0\0"]),
            Target("config", read_config, (EnvironmentFailure,), configs),
            Target("ignore", ignore, (), rules),
            Target("porcelain", status, (ValueError,), [entries, b"# branch.oid (initial)\0# branch.head main\0? a\0"]),
            Target("refs", refs, (EnvironmentFailure,), heads),
        )
    }


def _read(git: Git, name: str) -> bytes:
    return (git.path / ".git" / name).read_bytes()
