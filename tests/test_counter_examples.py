"""Differences that the soak found between the daemon and git, reduced to a few operations. Through a real daemon.

Those that one state alone shows are in tests/incremental/test_state.py.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from gitwatchd.wire.rpc import RemoteError
from tests.zoo.commands import Git, ask_judge, judge
from tests.zoo.comparison import expect_git_s
from tests.zoo.daemon import Client
from tests.zoo.nursery import append, write
from tests.zoo.waiting import wait_for_the_next_second

Make = Callable[..., Git]
FILES = {"a/one": b"1\n", "top": b"top\n", ".gitignore": b"*.o\nbuild/\n"}


@pytest.fixture
def git(repository: Make) -> Git:
    return repository(FILES)


def test_a_tracked_file_in_an_ignored_directory_is_watched_from_then_on(client: Client, git: Git) -> None:
    """The first `git add` there is taken in without a walk, and its directory was never watched."""
    write(git.path / "build/deep/tracked", b"1\n")
    expect_git_s(client, git)
    git("add", "-f", "build/deep/tracked")
    expect_git_s(client, git)
    append(git.path / "build/deep/tracked", b"2\n")
    expect_git_s(client, git)
    (git.path / "build/deep/tracked").unlink()
    expect_git_s(client, git)


def test_a_nested_repository_that_became_a_submodule_is_watched(client: Client, git: Git) -> None:
    inner = Git(git.path / "inner")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    expect_git_s(client, git)
    git("add", "inner")
    expect_git_s(client, git)
    write(inner.path / "deep/untracked", b"")
    expect_git_s(client, git)


def test_private_excludes_and_a_gitignore_in_one_moment(client: Client, git: Git) -> None:
    """The change of a `.gitignore` hid that of info/exclude: both are "the ignore rules changed"."""
    for name in ("x.private", "y.public"):
        write(git.path / name, b"")
    expect_git_s(client, git)
    append(git.path / "top", b"2\n")
    expect_git_s(client, git)
    write(git.path / ".git/info/exclude", b"*.private\n")
    append(git.path / ".gitignore", b"*.public\n")
    expect_git_s(client, git)


def test_the_clean_copy_of_an_index_does_not_outlive_the_attributes(client: Client, git: Git) -> None:
    """With the attributes CRLF is clean, and git writes so into our copy of the index. Without them it is not."""
    write(git.path / ".gitattributes", b"*.txt eol=crlf\n")
    write(git.path / "win.txt", b"one\r\n")
    git("add", "win.txt")
    git("commit", "-qm", "attributes that are not tracked")
    os.utime(git.path / "win.txt", ns=(10**18, 10**18))
    _let_the_index_settle(git)
    client.entries(git.path, verify=True)
    (git.path / ".gitattributes").unlink()
    expect_git_s(client, git)
    assert client.entries(git.path, verify=True).stdout == judge(git.path)


def test_files_outside_of_a_sparse_checkout_beyond_a_link(client: Client, git: Git) -> None:
    """git asks whether they are present through the link, finds them, and then shows them as missing."""
    write(git.path / "src/lib/util.c", b"1\n")
    git("add", "-A")
    git("commit", "-qm", "src")
    git("sparse-checkout", "set", "--cone", "a")
    expect_git_s(client, git)
    write(git.path / "elsewhere/lib/util.c", b"1\n")
    (git.path / "src").symlink_to("elsewhere")
    expect_git_s(client, git)
    (git.path / "elsewhere/lib/util.c").unlink()
    expect_git_s(client, git)
    write(git.path / "elsewhere/lib/util.c", b"1\n")
    expect_git_s(client, git)


@pytest.mark.parametrize("followed", [True, False])
def test_what_a_submodule_leaves_behind_is_an_ordinary_directory(client: Client, git: Git, followed: bool) -> None:
    """Its place had been watched as a submodule, and was not watched when the index no longer named it."""
    inner = Git(git.path.parent / "inner-origin")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    git("checkout", "-q", "-b", "with-sub")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    git("commit", "-qm", "submodule")
    if not followed:
        git("config", "status.showUntrackedFiles", "all")
    expect_git_s(client, git)
    shutil.rmtree(git.path / "sub")
    (git.path / "sub").mkdir()
    expect_git_s(client, git)
    (git.path / "sub/docs").mkdir()
    expect_git_s(client, git)
    git("checkout", "-q", "-f", "main")
    expect_git_s(client, git)
    write(git.path / "sub/docs/file", b"1\n")
    expect_git_s(client, git)
    (git.path / "sub/docs/file").unlink()
    expect_git_s(client, git)


def test_a_submodule_that_is_taken_away_leaves_its_place_to_the_worktree_around_it(client: Client, git: Git) -> None:
    inner = Git(git.path.parent / "inner-origin")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(inner.path), "sub")
    sub = Git(git.path / "sub")
    expect_git_s(client, sub)
    git("submodule", "--quiet", "deinit", "-f", "sub")
    expect_git_s(client, sub)
    git("submodule", "--quiet", "update", "--init", "-f")
    expect_git_s(client, sub)


def test_a_file_git_that_leads_nowhere_hides_the_worktree_around_it(client: Client, git: Git) -> None:
    expect_git_s(client, git)
    write(git.path / "a/.git", b"leads nowhere\n")
    assert ask_judge(git.path / "a").exit == 128
    with pytest.raises(RemoteError, match="does not lead to a repository"):
        client.entries(git.path / "a")
    with pytest.raises(RemoteError, match="does not lead to a repository"):
        client.call("roots.add", str(git.path / "a"))
    expect_git_s(client, git)
    (git.path / "a/.git").unlink()
    assert client.entries(git.path / "a").stdout == judge(git.path / "a")


def _let_the_index_settle(git: Git) -> None:
    """Until a copy of it may be kept: it must be older than the tick of the file clock."""
    index = git.path / ".git/index"
    probe: Path = git.path.parent / "clock"
    while True:
        probe.write_bytes(b"")
        if probe.stat().st_ctime_ns - index.stat().st_ctime_ns > 50_000_000:
            return


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("remotes/old", b"URL: ../elsewhere\nPull: refs/heads/*:refs/remotes/old/*\n"),
        ("branches/old", b"../elsewhere#main\n"),
    ],
)
def test_a_remote_that_a_file_defines_as_of_old(client: Client, git: Git, place: str, text: bytes) -> None:
    git("update-ref", "refs/remotes/old/main", "HEAD")
    git("update-ref", "refs/heads/old", "HEAD")
    git("config", "branch.main.remote", "old")
    git("config", "branch.main.merge", "refs/heads/main")
    expect_git_s(client, git)
    write(git.path / ".git" / place, text)
    expect_git_s(client, git)
    git("commit", "-q", "--allow-empty", "-m", "one ahead")
    expect_git_s(client, git)
    write(git.path / ".git" / place, text.replace(b"main", b"other").replace(b"/heads/*", b"/heads/main"))
    expect_git_s(client, git)
    (git.path / ".git" / place).unlink()
    expect_git_s(client, git)


@pytest.mark.parametrize(
    ("remote", "merge", "refs"),
    [
        ("origin", "refs/heads/HEAD", ("refs/remotes/origin/HEAD",)),
        ("origin", "refs/heads/x/HEAD", ("refs/remotes/origin/x/HEAD",)),
        ("origin", "refs/heads/HEAD", ("refs/remotes/origin/HEAD", "refs/heads/origin", "refs/tags/origin")),
        (".", "side", ("refs/heads/side",)),
        (".", "side", ("refs/heads/side", "refs/tags/side")),
        (".", "HEAD", ()),
        (".", "refs/heads/../x", ()),
        (".", "refs/heads/none", ()),
        ("", "refs/heads/main", ()),
        ("origin", "main", ("refs/remotes/origin/main",)),
    ],
)
def test_odd_upstreams(client: Client, git: Git, remote: str, merge: str, refs: tuple[str, ...]) -> None:
    git("config", "remote.origin.url", "../elsewhere")
    git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    expect_git_s(client, git)
    for ref in refs:
        git("update-ref", ref, "HEAD")
    git("commit", "-q", "--allow-empty", "-m", "one ahead")
    git("config", "branch.main.remote", remote)
    git("config", "branch.main.merge", merge)
    expect_git_s(client, git)
    append(git.path / "top", b"2\n")
    expect_git_s(client, git)
    git("commit", "-qam", "two ahead")
    expect_git_s(client, git)


def test_core_worktree_leads_to_a_place_from_which_nothing_leads_back(client: Client, git: Git, tmp_path: Path) -> None:
    """The repository was found, lost and found again without end, and the question never answered."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    expect_git_s(client, git)
    git("config", "core.worktree", str(elsewhere))
    expect_git_s(client, git)
    write(elsewhere / "untracked", b"")
    expect_git_s(client, git)
    write(elsewhere / "top", b"top\n")
    expect_git_s(client, git)
    with pytest.raises(RemoteError, match="not a git repository"):
        client.entries(elsewhere)
    client.call("refresh", [str(elsewhere)])
    told = {r["path"]: r["state"] for r in client.reports(tmp_path)}
    assert told == {str(elsewhere): "fresh", str(git.path): "gone"}
    git("config", "core.worktree", str(tmp_path / "nowhere"))
    expect_git_s(client, git)
    git("config", "--unset", "core.worktree")
    expect_git_s(client, git)
    assert str(elsewhere) not in [r["path"] for r in client.reports(tmp_path) if r["state"] != "gone"]


@pytest.mark.parametrize(
    "head",
    [
        b"ref: refs/heads/main\ngarbage\n", b"ref: refs/heads/ma in\n", b"ref: refs/heads/../tags/v1\n", b"ref: main\n",
        b"ref: refs/heads/main.lock\n", b"ref: refs/heads/a\x01b\n", b"ref: refs/heads/\n", b"ref: refs/heads/main/\n",
        b"ref: refs/heads//main\n", b"ref: refs/heads/none\n",
    ],
)  # fmt: skip
def test_head_names_what_may_be_no_ref(client: Client, git: Git, head: bytes) -> None:
    git("tag", "v1")
    expect_git_s(client, git)
    write(git.path / ".git/HEAD", head)
    expect_refusal_or_git_s(client, git)
    with suppress(RemoteError):
        client.call("refresh", [str(git.path)])
    expect_refusal_or_git_s(client, git)
    write(git.path / ".git/HEAD", b"ref: refs/heads/main\n")
    expect_git_s(client, git)


def test_head_is_a_link_to_its_branch(client: Client, git: Git) -> None:
    """git takes one to `refs/...` only, and does not read through any other."""
    head = git.path / ".git/HEAD"
    for target in ("refs/heads/main", "refs/heads/none", git.path / ".git/refs/heads/main"):
        head.unlink()
        head.symlink_to(target)
        expect_refusal_or_git_s(client, git)


@pytest.mark.parametrize(
    "packed",
    [
        b"garbage\n", b"# pack-refs with: sorted \n%s refs/remotes/origin/main", b"%s refs/remotes/origin/main\r\n",
        b"^%s\n", b"\n", b"# x\n", b"%s refs/remotes/origin/main extra\n", b"%s refs/remotes/origin/main\n\n", b"",
        b"# pack-refs with: \n%s refs/zz\n%s refs/remotes/origin/main\n",
    ],
)  # fmt: skip
def test_packed_refs_written_by_hand(client: Client, git: Git, packed: bytes) -> None:
    git("config", "remote.origin.url", "../elsewhere")
    git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    git("config", "branch.main.remote", "origin")
    git("config", "branch.main.merge", "refs/heads/main")
    expect_git_s(client, git)
    write(git.path / ".git/packed-refs", packed.replace(b"%s", git("rev-parse", "HEAD").strip()))
    expect_git_s(client, git)
    client.call("refresh", [str(git.path)])
    expect_git_s(client, git)
    (git.path / ".git/packed-refs").unlink()
    expect_git_s(client, git)


@pytest.mark.parametrize("written", ["ABC", " blank", "trailing "])
def test_a_loose_ref_written_by_hand(client: Client, git: Git, written: str) -> None:
    git("update-ref", "refs/remotes/origin/main", "HEAD")
    git("config", "remote.origin.url", "../elsewhere")
    git("config", "remote.origin.fetch", "+refs/heads/*:refs/remotes/origin/*")
    git("config", "branch.main.remote", "origin")
    git("config", "branch.main.merge", "refs/heads/main")
    expect_git_s(client, git)
    oid = git("rev-parse", "HEAD").strip()
    form = {"ABC": oid.upper(), " blank": b" " + oid, "trailing ": oid + b" \t x"}[written]
    write(git.path / ".git/refs/remotes/origin/main", form + b"\n")
    expect_git_s(client, git)


@pytest.mark.parametrize("part", ["refs", "objects"])
def test_a_git_dir_loses_what_makes_it_one(client: Client, git: Git, part: str) -> None:
    git("pack-refs", "--all")
    expect_git_s(client, git)
    shutil.copytree(git.path / ".git" / part, git.path.parent / "aside")
    shutil.rmtree(git.path / ".git" / part)
    expect_refusal_or_git_s(client, git)
    (git.path.parent / "aside").rename(git.path / ".git" / part)
    expect_git_s(client, git)
    append(git.path / "top", b"2\n")
    expect_git_s(client, git)


def test_half_of_a_split_index_is_removed(client: Client, git: Git) -> None:
    git("update-index", "--split-index")
    expect_git_s(client, git)
    for half in (git.path / ".git").glob("sharedindex.*"):
        half.unlink()
    expect_git_s(client, git)


def test_an_index_that_is_a_link_is_written_where_it_leads(client: Client, git: Git) -> None:
    expect_git_s(client, git)
    (git.path / ".git/index").rename(git.path.parent / "elsewhere")
    (git.path / ".git/index").symlink_to("../../elsewhere")
    expect_git_s(client, git)
    append(git.path / "top", b"2\n")
    git("add", "top")
    expect_git_s(client, git)


def test_a_byte_behind_the_index(client: Client, git: Git) -> None:
    """Damage to us, and none to git."""
    append(git.path / ".git/index", b"x")
    expect_git_s(client, git)


def test_a_file_written_by_its_other_name(client: Client, git: Git) -> None:
    (git.path / "other").hardlink_to(git.path / "top")
    expect_git_s(client, git)
    append(git.path / "other", b"2\n")
    expect_git_s(client, git)
    (git.path / "third").hardlink_to(git.path / ".gitignore")
    write(git.path / "x.py", b"")
    expect_git_s(client, git)
    append(git.path / "third", b"*.py\n")
    expect_git_s(client, git)


def expect_refusal_or_git_s(client: Client, git: Git) -> None:
    """Where git finds no repository the question may be refused as a whole."""
    if ask_judge(git.path).exit == 0:
        expect_git_s(client, git)
    else:
        try:
            answer = client.entries(git.path)
        except RemoteError:
            return
        assert (answer.exit, answer.stdout) == (1, b"")


@pytest.mark.parametrize("log", [b"garbage\n", b"%s\n\n", b"%s", b"%s\ngarbage\n%s\n", b""])
def test_a_log_of_the_stash_written_by_hand(client: Client, git: Git, log: bytes) -> None:
    append(git.path / "top", b"2\n")
    git("stash", "-q")
    expect_git_s(client, git)
    path = git.path / ".git/logs/refs/stash"
    path.write_bytes(log.replace(b"%s", path.read_bytes().rstrip(b"\n")))
    expect_git_s(client, git)
    append(git.path / "top", b"3\n")
    expect_git_s(client, git)


def test_objects_borrowed_from_a_repository_that_is_away(client: Client, git: Git) -> None:
    """HEAD's commit can be read here, its tree cannot."""
    git("clone", "-q", "-s", ".", "../borrower")
    borrower = Git(git.path.parent / "borrower")
    borrower("commit", "-q", "--allow-empty", "-m", "own")
    (git.path / ".git/objects").rename(git.path / ".git/aside")
    expect_git_s(client, borrower)
    (git.path / ".git/aside").rename(git.path / ".git/objects")
    append(borrower.path / "top", b"2\n")
    expect_git_s(client, borrower)


def test_repositories_below_a_directory_that_is_away_for_a_moment(client: Client, git: Git) -> None:
    """Seed 900030 and others. Whoever shared the outer repository's queue was told nothing: its watches were gone."""
    inner = [Git(git.path / f"shelf/inner{number}") for number in range(6)]
    for each in inner:
        each.path.mkdir(parents=True)
        each("init", "-q")
        write(each.path / "file", b"1\n")
    for each in (git, *inner):
        expect_git_s(client, each)
    (git.path / "shelf").rename(git.path.parent / "away")
    for each in inner:
        write(git.path.parent / "away" / each.path.name / "left", b"")
    (git.path.parent / "away").rename(git.path / "shelf")
    for each in (git, *inner):
        expect_git_s(client, each)
    for each in inner:
        write(each.path / "later", b"")
        expect_git_s(client, each)


def test_trees_that_git_noted_for_an_index_that_lacks_files(client: Client, git: Git) -> None:
    """Seed 920012. git compares by its notes, and does not list what they cover as deleted."""
    write(git.path / "more", b"more\n")
    git("add", "more")
    git("commit", "-q", "-m", "more")
    git("checkout", "-q", "-b", "behind", "HEAD~1")
    expect_git_s(client, git)
    (git.path / ".git/index").unlink()
    expect_git_s(client, git)
    git.ask("rebase", "-q", "main")
    expect_git_s(client, git)
    for number in range(3):
        write(git.path / f"b/{number}", b"3\n")
        expect_git_s(client, git)
        git.ask("add", f"b/{number}")
        expect_git_s(client, git)


def test_a_local_upstream_that_is_a_symbolic_ref(client: Client, git: Git) -> None:
    """Seed 500020. git shows the branch that it leads to."""
    for branch in ("topic", "feature"):
        git("branch", branch)
    git("branch", "-q", "--set-upstream-to", "topic")
    expect_git_s(client, git)
    write(git.path / ".git/refs/heads/topic", b"ref: refs/heads/feature\n")
    expect_git_s(client, git)
    git("commit", "-q", "--allow-empty", "-m", "ahead")
    expect_git_s(client, git)


def test_an_entry_below_that_of_a_submodule(client: Client, git: Git) -> None:
    """Seed 500213. Plumbing can write such an index; git does not look into the submodule for what is untracked."""
    inner = Git(git.path / "inner")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    git("add", "inner")
    write(inner.path / "untracked", b"")
    expect_git_s(client, git)
    entry = b"100644 e69de29bb2d1d6434b8b29ae775ad8c2e48c5391 1\tinner/alpha\0"
    git("update-index", "-z", "--index-info", stdin=entry)
    expect_git_s(client, git)
    write(inner.path / "alpha", b"")
    expect_git_s(client, git)
    for rules in (b"*.c\n", b""):
        write(git.path / ".gitignore", rules)
        expect_git_s(client, git)
    (git.path / ".gitignore").unlink()
    (git.path / ".gitignore").symlink_to("..")
    expect_git_s(client, git)


@pytest.mark.parametrize("target", ["a", "../repo/a/../a"])
def test_a_directory_became_a_link_that_leads_in_a_circle(client: Client, git: Git, target: str) -> None:
    """Seed 600203. git can say nothing of what would be beyond it, and does not list it as deleted."""
    expect_git_s(client, git)
    shutil.rmtree(git.path / "a")
    (git.path / "a").symlink_to(target)
    expect_git_s(client, git)
    git("config", "core.abbrev", "9")  # looked at anew
    expect_git_s(client, git)
    (git.path / "a").unlink()
    (git.path / "a").symlink_to("nowhere")
    expect_git_s(client, git)


def test_a_conflict_beyond_a_link_that_leads_in_a_circle(client: Client, git: Git) -> None:
    entry = b"0 %b\ta/one\0100644 e69de29bb2d1d6434b8b29ae775ad8c2e48c5391 1\ta/one\0" % (b"0" * 40)
    git("update-index", "-z", "--index-info", stdin=entry)
    expect_git_s(client, git)
    shutil.rmtree(git.path / "a")
    (git.path / "a").symlink_to("a")
    expect_git_s(client, git)


@pytest.mark.parametrize("target", ["nowhere", "top"])
def test_a_tracked_attributes_file_became_a_link(client: Client, git: Git, target: str) -> None:
    """Seed 700192. git does not follow it, and reads the attributes from the index."""
    write(git.path / ".gitattributes", b"*.txt text\n")
    write(git.path / "win.txt", b"1\r\n")
    git("add", "-A")
    git("commit", "-q", "-m", "converted")
    os.utime(git.path / "win.txt", (1, 1))
    expect_git_s(client, git)
    (git.path / ".gitattributes").unlink()
    (git.path / ".gitattributes").symlink_to(target)
    expect_git_s(client, git)
    os.utime(git.path / "win.txt", (2, 2))
    expect_git_s(client, git)


@pytest.mark.parametrize(("key", "value"), [("core.checkStat", "minimal"), ("core.trustctime", "false")])
def test_an_edit_that_leaves_all_that_git_compares_by_is_seen_through_a_racy_index(
    client: Client, git: Git, key: str, value: str
) -> None:
    """Seed 1100204. git reads what is as young as its index; a copy of that index that it refreshed is younger."""
    git("config", key, value)
    times = (1_700_000_000, 1_700_000_000)
    os.utime(git.path / "top", times)
    git("add", "top")
    os.utime(git.path / ".git/index", times)
    expect_git_s(client, git)
    wait_for_the_next_second(git.path.parent)  # a copy made within the second of a ctime in it is not kept
    write(git.path / "untracked", b"")
    expect_git_s(client, git)
    with (git.path / "top").open("r+b") as file:
        file.write(b"T")
    os.utime(git.path / "top", times)
    assert b"1 .M" in judge(git.path)
    expect_git_s(client, git)


@pytest.mark.parametrize("after", ["unborn", "again", "as a file"])
def test_a_submodule_that_was_renamed(client: Client, git: Git, after: str) -> None:
    """Seed 1300026. Its record depends on what HEAD and the index have at its old name, too."""
    inner = Git(git.path / "inner")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    git("add", "inner")
    git("commit", "-qm", "inner")
    expect_git_s(client, git)
    git("mv", "inner", "renamed")
    expect_git_s(client, git)
    assert b"R100 renamed" in judge(git.path)
    for number in range(3):
        write(git.path / "untracked", b"%d" % number)
        expect_git_s(client, git)
    if after == "unborn":
        git("checkout", "-q", "--orphan", "other")
    elif after == "again":
        git("clone", "-q", "renamed", "inner")
        git("add", "inner")
    else:
        write(git.path / "inner", b"a file\n")
        git("add", "inner")
    expect_git_s(client, git)


def test_a_directory_under_the_name_of_a_file_in_conflict_comes_to_hold_tracked_files(client: Client, git: Git) -> None:
    """Seed 2200082. git shows nothing of it before, so no entry stood for what is untracked in it."""
    write(git.path / "b/one", b"1\n")
    write(git.path / "b/two", b"2\n")
    blob = git("rev-parse", "HEAD:top").strip()
    git("update-index", "-z", "--index-info", stdin=b"100644 %b 1\tb\0" % blob)
    expect_git_s(client, git)
    write(git.path / "untracked", b"")
    expect_git_s(client, git)
    assert b"? b/" not in judge(git.path)
    git("add", "b/one")
    assert b"? b/two" in judge(git.path)
    expect_git_s(client, git)
    git("rm", "-q", "--cached", "b/one")
    expect_git_s(client, git)


@pytest.mark.parametrize("made", ["while watched", "before"])
@pytest.mark.parametrize("part", ["packed-refs", "refs", "info", "index"])
def test_what_is_at_the_end_of_a_link_in_the_git_dir_of_a_submodule(
    client: Client, git: Git, part: str, made: str
) -> None:
    """Seeds 2400063 and 2400224: events of that end tell nothing of the submodule."""
    inner = Git(git.path / "inner")
    inner.path.mkdir()
    inner("init", "-q")
    write(inner.path / "tracked", b"1\n")
    write(inner.path / "noise.o", b"")
    inner("add", "tracked")
    inner("commit", "-qm", "inner")
    inner("pack-refs", "--all")
    write(inner.path / ".git/info/exclude", b"*.o\n")
    git("submodule", "--quiet", "add", "./inner")
    git("submodule", "--quiet", "absorbgitdirs")
    git("commit", "-qm", "inner")
    if made == "while watched":
        expect_git_s(client, git)
    place, end = git.path / ".git/modules/inner" / part, git.path / f"elsewhere-{part}"
    place.rename(end)
    place.symlink_to(end)
    expect_git_s(client, git)
    write(git.path / "untracked", b"")
    expect_git_s(client, git)
    before = ask_judge(git.path)
    if part == "info":
        write(end / "exclude", b"")
    elif part == "refs":
        (end / "heads").rename(git.path / ".git/were-heads")
        write(end / "heads/main", b"0" * 39 + b"1\n")
    else:
        write(end, b"no such thing\n")
    assert ask_judge(git.path) != before
    expect_git_s(client, git)


def test_a_repository_in_the_place_of_a_tracked_file_whose_packed_refs_are_a_link(client: Client, git: Git) -> None:
    """It is a submodule to git once it has a commit, and a file that was deleted before."""
    (git.path / "top").unlink()
    inner = Git(git.path / "top")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    inner("pack-refs", "--all")
    end = git.path / "elsewhere"
    (inner.path / ".git/packed-refs").rename(end)
    (inner.path / ".git/packed-refs").symlink_to(end)
    expect_git_s(client, git)
    before = ask_judge(git.path)
    end.write_bytes(b"")
    assert ask_judge(git.path) != before
    expect_git_s(client, git)


def test_the_objects_of_a_submodule_leave_and_return(client: Client, git: Git) -> None:
    """Without them it is no repository."""
    inner = Git(git.path / "inner")
    inner.path.mkdir()
    inner("init", "-q")
    inner("commit", "-q", "--allow-empty", "-m", "inner")
    git("submodule", "--quiet", "add", "./inner")
    git("submodule", "--quiet", "absorbgitdirs")
    git("commit", "-qm", "inner")
    expect_git_s(client, git)
    objects = git.path / ".git/modules/inner/objects"
    objects.rename(objects.with_name("were-objects"))
    assert ask_judge(git.path).exit
    expect_git_s(client, git)
    objects.with_name("were-objects").rename(objects)
    expect_git_s(client, git)
