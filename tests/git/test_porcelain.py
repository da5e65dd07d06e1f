"""The judge's bytes, read, counted and built again, compared with what git prints."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gitwatchd.git.porcelain import (
    Changed,
    Headers,
    Status,
    Unmerged,
    Untracked,
    count,
    encode,
    parse_status,
    quoted,
    render_without_z,
)
from tests.zoo.commands import JUDGE, Git

Make = Callable[..., Git]
Judge = Callable[[Path], bytes]

WITHOUT_Z = JUDGE[1:-1]
ODD_NAMES = (
    b"plain", b"two words", b'quo"te', b"back\\slash", b"tab\there", b"new\nline", b"bell\x07", b"esc\x1b[31",
    b"del\x7f", "caf\u00e9".encode(), b"latin\xe9", b"\xff\xfe", b"? x", b"2 R. N...", b" lead",
    b"trail ", b"%s$(id)",
)  # fmt: skip


@pytest.fixture
def odd(repository: Make) -> Git:
    """Every odd name changed, renamed, deleted, untracked and as a directory, at three depths."""
    git = repository({"sub/deep/keep": b"k", "subway/f": b"s", "zzz": b"z"})
    for where in (b"", b"sub/", b"sub/deep/"):
        for name in ODD_NAMES:
            write(git, where + b"mod-" + name, name * 9)
            write(git, where + b"old-" + name, where + name * 40)
    git("add", "-A")
    git("commit", "-qm", "odd")
    for where in (b"", b"sub/", b"sub/deep/"):
        for name in ODD_NAMES:
            write(git, where + b"mod-" + name, b"changed")
            git("mv", where + b"old-" + name, where + b"new-" + name)
            write(git, where + b"untracked-" + name, b"")
            write(git, where + b"dir-" + name + b"/x", b"")
    git("update-index", "--force-remove", "subway/f")
    return git


def write(git: Git, name: bytes, content: bytes) -> None:
    path = os.path.join(os.fsencode(git.path), name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as file:
        file.write(content)


def test_round_trip_of_everything_git_prints(odd: Git, judge: Judge) -> None:
    entries = judge(odd.path)
    status = parse_status(entries)
    assert encode(status) == entries
    assert encode(Status(status.headers, status.records[::-1])) == entries
    renamed = [r for r in status.records if isinstance(r, Changed) and r.score]
    assert len(renamed) == 3 * len(ODD_NAMES)
    assert {r.original.replace(b"old-", b"new-") for r in renamed} == {r.path for r in renamed}


def test_counts_are_those_of_the_records(odd: Git, judge: Judge) -> None:
    counts = count(judge(odd.path))
    n = 3 * len(ODD_NAMES)
    assert (counts.staged_renamed, counts.unstaged_modified) == (n, n)
    assert (counts.staged, counts.staged_deleted, counts.unstaged, counts.conflicted) == (n + 1, 1, n, 0)
    assert counts.untracked == 2 * n + 1  # subway/ as well, no longer tracked


def test_an_original_path_that_looks_like_a_record_is_not_counted() -> None:
    record = Changed(b"R.", b"N...", b"100644", b"100644", b"100644", b"0" * 40, b"0" * 40, b"b", b"R100", b"? a")
    counts = count(encode(Status(Headers(None, b"main"), (record,))))
    assert (counts.staged, counts.untracked) == (1, 0)


@pytest.mark.parametrize("quote_path", [True, False])
@pytest.mark.parametrize("relative", [True, False])
def test_without_z_byte_for_byte(odd: Git, judge: Judge, quote_path: bool, relative: bool) -> None:
    odd("config", "core.quotePath", str(quote_path).lower())
    odd("config", "status.relativePaths", str(relative).lower())
    entries = judge(odd.path)
    inside = b"dir-" + ODD_NAMES[1] + b"/"
    for prefix in (b"", b"sub/", b"sub/deep/", inside, b"subway/"):
        git = Git(os.path.join(os.fsencode(odd.path), prefix))
        assert render_without_z(entries, prefix, quote_path, relative) == git(*WITHOUT_Z), prefix


def test_without_z_from_a_new_directory_below_an_untracked_one(repository: Make, judge: Judge) -> None:
    git = repository({"f": b""})
    write(git, b"new/er/x", b"")
    write(git, b"newer/x", b"")
    entries = judge(git.path)
    for prefix in (b"new/", b"new/er/", b"newer/"):
        here = Git(git.path / prefix.decode())
        assert render_without_z(entries, prefix, True, True) == here(*WITHOUT_Z), prefix


def test_conflicts_upstream_and_stash(repository: Make, judge: Judge) -> None:
    git = repository({"f": b"1\n", "g g": b"1\n"})
    git("branch", "-m", "main")
    git("checkout", "-qb", "other")
    write(git, b"f", b"2\n")
    git("rm", "-q", "g g")
    git("commit", "-qam", "other")
    git("checkout", "-q", "main")
    git("branch", "-q", "--set-upstream-to=other")
    write(git, b"f", b"stashed\n")
    git("stash", "-q")
    write(git, b"f", b"3\n")
    write(git, b"g g", b"3\n")
    git("commit", "-qam", "main")
    assert git.ask("merge", "other").exit == 1
    entries = judge(git.path)
    status = parse_status(entries)
    headers = status.headers
    assert (headers.branch, headers.upstream) == (b"main", b"other")
    assert (headers.ahead, headers.behind, headers.stashes) == (1, 1, 1)
    unmerged = [r for r in status.records if isinstance(r, Unmerged)]
    assert [(r.xy, r.path) for r in unmerged] == [(b"UU", b"f"), (b"UD", b"g g")]
    assert count(entries).conflicted == 2
    assert encode(status) == entries
    assert render_without_z(entries, b"", True, True) == git(*WITHOUT_Z)


@pytest.mark.parametrize("gone", [False, True])
def test_upstream_gone_unborn_and_detached(repository: Make, judge: Judge, gone: bool) -> None:
    git = repository({"f": b"1\n"})
    if gone:
        git("branch", "-M", "main")
        git("config", "branch.main.remote", ".")
        git("config", "branch.main.merge", "refs/heads/nowhere")
    else:
        git("checkout", "-q", "--detach")
    headers = parse_status(judge(git.path)).headers
    assert headers.detached is not gone and headers.ahead is None
    assert headers.upstream == (b"nowhere" if gone else None)
    assert encode(parse_status(judge(git.path))) == judge(git.path)
    unborn = repository(None, "unborn")
    write(unborn, b"a", b"")
    status = parse_status(judge(unborn.path))
    assert status.headers.unborn and status.records == (Untracked(b"a"),)
    assert encode(status) == judge(unborn.path)


def test_intent_to_add_submodule_and_typechange(repository: Make, judge: Judge) -> None:
    inner = repository({"i": b""}, "inner")
    git = repository({"link": b"x", "exe": b"x"}, "outer")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "mod ule")
    git("commit", "-qm", "sub")
    write(git, b"mod ule/i", b"dirty")
    write(git, b"later", b"1")
    git("add", "-N", "later")
    os.unlink(git.path / "link")
    os.symlink("exe", git.path / "link")
    entries = judge(git.path)
    status = parse_status(entries)
    by_path = {r.path: r for r in status.records}
    assert encode(status) == entries
    sub = by_path[b"mod ule"]
    assert isinstance(sub, Changed) and sub.submodule == b"S.M."
    assert count(entries).unstaged_typechange == 1 and count(entries).unstaged == 3
    assert render_without_z(entries, b"mod ule/", True, True).count(b"./") >= 1


@pytest.mark.parametrize("damaged", [b"? a", b"1 M. short\0", b"x y\0", b"# branch.oid (initial)\0", b"? a\0"])
def test_damaged_bytes_are_refused(damaged: bytes) -> None:
    with pytest.raises(ValueError, match=r"line|header"):
        parse_status(damaged)


def test_quoting_table() -> None:
    assert quoted(b'a"\\\t\n\r\x01\x7f', True) == b'"a\\"\\\\\\t\\n\\r\\001\\177"'
    assert quoted(b"\xc3\xa9", True) == b'"\\303\\251"'
    assert quoted(b"\xc3\xa9 ", False) == b"\xc3\xa9 "
