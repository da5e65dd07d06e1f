"""Every chain that git made is followed to its end; one that goes round is refused."""

from __future__ import annotations

import os
import random
from collections.abc import Callable

import pytest

from gitwatchd.git.delta_chains import ChainEndless, ChainUnknown, DeltaChains
from tests.zoo.commands import Git

Repository = Callable[..., Git]


def with_deltas(repository: Repository) -> Git:
    """A hundred versions of a file and of the directory that it lies in."""
    git = repository({f"d/f{n}": b"%d\n" % n for n in range(30)})
    chance = random.Random(1)
    lines = [b"%d\n" % chance.randrange(10**9) for _ in range(200)]
    for turn in range(100):
        lines[turn] = b"turn %d\n" % turn
        (git.path / "d/f0").write_bytes(b"".join(lines))
        git("commit", "-qam", f"{turn}")
    return git


def oids(git: Git) -> list[bytes]:
    listed = git("cat-file", "--batch-all-objects", "--batch-check").decode().splitlines()
    return [bytes.fromhex(line.split()[0]) for line in listed]


@pytest.fixture
def git(repository: Repository) -> Git:
    return with_deltas(repository)


@pytest.mark.parametrize("named", [False, True])
def test_every_chain_ends(git: Git, named: bool) -> None:
    """Deltas that say how far back their base lies, and such that name it."""
    git("-c", f"repack.useDeltaBaseOffset={str(not named).lower()}", "repack", "-adfq", "--depth=90", "--window=90")
    chains = DeltaChains(os.fsencode(git.path / ".git/objects"))
    every = oids(git)
    assert len(every) > 300
    for oid in every:
        chains.check(oid)
    assert chains._packs is not None
    (pack,) = chains._packs.values()
    assert len(pack.good) == len(every)
    chains.check(b"\xab" * 20)  # nowhere: that is not for us to say


def test_many_packs_their_common_index_and_an_alternate(git: Git) -> None:
    for turn in range(3):
        git("repack", "-dq")
        (git.path / "d/f0").write_bytes(b"pack %d\n" % turn)
        git("commit", "-qam", "more")
    git("repack", "-dq")
    git("multi-pack-index", "write")
    borrower = git.path.with_name("borrower")
    Git(git.path.parent)("clone", "-q", "--shared", git.path, borrower)
    for place in (git.path, borrower):
        chains = DeltaChains(os.fsencode(place / ".git/objects"))
        for oid in oids(git):
            places = list(chains._places(oid))
            assert len(places) == 1, "by the common index alone"
            chains.check(oid)


def test_a_pack_that_came_later(git: Git) -> None:
    chains = DeltaChains(os.fsencode(git.path / ".git/objects"))
    head = bytes.fromhex(git("rev-parse", "HEAD").decode().strip())
    assert list(chains._places(head)) == []
    git("repack", "-adq")
    chains.check(head)
    assert chains._packs


@pytest.mark.parametrize("damage", ["old version", "cut", "empty pack", "foreign common index"])
def test_what_cannot_be_followed_is_left_to_git(git: Git, damage: str) -> None:
    git("-c", f"pack.indexVersion={1 if damage == 'old version' else 2}", "repack", "-adfq")
    head = bytes.fromhex(git("rev-parse", "HEAD").decode().strip())
    (index,) = (git.path / ".git/objects/pack").glob("*.idx")
    if damage == "cut":
        index.chmod(0o600)
        os.truncate(index, 2000)
    elif damage == "empty pack":
        index.with_suffix(".pack").chmod(0o600)
        os.truncate(index.with_suffix(".pack"), 0)
    elif damage == "foreign common index":
        (index.parent / "multi-pack-index").write_bytes(b"MIDX\1\2" + bytes(100))
    with pytest.raises(ChainUnknown):
        DeltaChains(os.fsencode(git.path / ".git/objects")).check(head)


def test_a_circle(git: Git) -> None:
    """Of two deltas, each of which names the other."""
    git("-c", "repack.useDeltaBaseOffset=false", "repack", "-adfq", "--depth=90", "--window=90")
    (path,) = (git.path / ".git/objects/pack").glob("*.pack")
    chains = DeltaChains(os.fsencode(git.path / ".git/objects"))
    every = oids(git)
    places = {oid: next(chains._places(oid))[1] for oid in every}
    raw = bytearray(path.read_bytes())
    named = {oid: at for oid, at in places.items() if raw[at] >> 4 & 7 == 7}
    one, other = sorted(named)[:2]
    for oid, base in ((one, other), (other, one)):
        at = named[oid]
        while raw[at] & 0x80:
            at += 1
        raw[at + 1 : at + 21] = base
    path.chmod(0o600)
    path.write_bytes(raw)
    chains.close()
    for oid in (one, other):
        with pytest.raises(ChainEndless):
            chains.check(oid)


@pytest.mark.parametrize("what", ["size", "distance"])
def test_a_number_without_end(git: Git, what: str) -> None:
    """Followed to its end, one in a large pack would keep whoever asks, and an archive makes one from little."""
    git("repack", "-adfq", "--depth=90", "--window=90")
    (path,) = (git.path / ".git/objects/pack").glob("*.pack")
    chains = DeltaChains(os.fsencode(git.path / ".git/objects"))
    raw = bytearray(path.read_bytes())
    oid, place = next((oid, at) for oid in oids(git) for _, at in chains._places(oid) if raw[at] >> 4 & 7 == 6)
    at = place
    while raw[at] & 0x80:
        at += 1
    at = place if what == "size" else at + 1
    raw[at : at + 40] = b"\xff" * 40
    path.chmod(0o600)
    path.write_bytes(raw)
    chains.close()
    with pytest.raises(ChainUnknown, match="larger than" if what == "size" else "64 bits"):
        chains.check(oid)


def test_what_is_no_delta_is_read_as_git_has_it(git: Git) -> None:
    git("tag", "-am", "of the last", "annotated")
    (git.path / "empty").touch()
    git("add", "empty")
    git("commit", "-qm", "an empty file")
    git("repack", "-adfq", "--depth=90", "--window=90")
    listing = "--batch-check=%(objectname) %(objecttype) %(deltabase) %(objectsize)"
    chains = DeltaChains(os.fsencode(git.path / ".git/objects"))
    whole: dict[bytes, int] = {}
    for line in git("cat-file", "--batch-all-objects", listing).splitlines():
        oid, kind, base, size = line.split()
        found = chains.read_whole(bytes.fromhex(oid.decode()), 1 << 20)
        if base.strip(b"0"):
            assert found is None
            continue
        whole[kind] = whole.get(kind, 0) + 1
        assert found == (kind, git("cat-file", kind.decode(), oid.decode()))
        assert chains.read_whole(bytes.fromhex(oid.decode()), int(size) - 1) is None, "it is larger than that"
    assert set(whole) == {b"commit", b"tree", b"blob", b"tag"}
    assert chains.read_whole(b"\xab" * 20, 1 << 20) is None


@pytest.mark.parametrize("damage", ["other name", "cut short", "endless size", "wrong size"])
def test_what_is_not_what_its_name_says_is_not_read(git: Git, damage: str) -> None:
    git("repack", "-adfq")
    (path,) = (git.path / ".git/objects/pack").glob("*.pack")
    head = bytes.fromhex(git("rev-parse", "HEAD").decode().strip())
    chains = DeltaChains(os.fsencode(git.path / ".git/objects"))
    ((_, place),) = chains._places(head)
    damaged = path.with_suffix(".idx") if damage == "other name" else path
    raw = bytearray(damaged.read_bytes())
    asked = head
    if damage == "other name":
        asked = head[:-1] + bytes([head[-1] ^ 1])  # in the same order among the others
        raw = raw.replace(head, asked, 1)
    elif damage == "cut short":
        del raw[place + 20 :]
    elif damage == "endless size":
        raw[place:] = b"\xff" * (len(raw) - place)
    else:
        raw[place] ^= 1
    damaged.chmod(0o600)
    damaged.write_bytes(raw)
    chains.close()
    if damage == "endless size":
        with pytest.raises(ChainUnknown, match="larger than"):
            chains.read_whole(asked, 1 << 20)
    else:
        assert chains.read_whole(asked, 1 << 20) is None
