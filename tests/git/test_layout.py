"""Locations, compared with `git rev-parse` wherever git has an opinion."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gitwatchd.errors import NotARepository
from gitwatchd.git.layout import (
    find_worktree,
    is_bare_layout,
    linked_worktrees,
    object_directories,
    read_format,
    read_location,
)
from gitwatchd.model.repository import Location
from tests.zoo.commands import new_repository


def by_git(run) -> Location:
    """What git says of the place where `run` runs git."""
    bare = run("rev-parse", "--is-bare-repository").strip() == b"true"
    words = run("rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir").splitlines()
    git_dir, common_dir = (os.path.realpath(w) for w in words)
    path = git_dir if bare else os.path.realpath(run("rev-parse", "--show-toplevel").rstrip(b"\n"))
    return Location(path, git_dir, common_dir, bare)


def located(run) -> Location | None:
    return read_location(os.fsencode(run.path))


def test_ordinary_unborn_and_detached(repository):
    born, unborn = repository({"a": b"1\n"}, "born"), repository(name="unborn")
    assert located(born) == by_git(born)
    assert located(unborn) == by_git(unborn)
    born("checkout", "-q", "--detach")
    assert located(born) == by_git(born)


def test_bare(git, tmp_path):
    git(tmp_path)("init", "-q", "--bare", "b.git")
    bare = git(tmp_path / "b.git")
    assert located(bare) == by_git(bare)
    assert located(bare).bare
    assert is_bare_layout(os.listdir(os.fsencode(bare.path)))
    assert not is_bare_layout(os.listdir(os.fsencode(tmp_path)))


def test_linked_worktree_and_the_list_of_them(repository, git, tmp_path):
    main = repository({"a": b"1\n"})
    main("worktree", "add", "-q", str(tmp_path / "second"))
    main("worktree", "add", "-q", str(tmp_path / "third"))
    second = git(tmp_path / "second")
    location = located(second)
    assert location == by_git(second)
    assert location.git_dir != location.common_dir
    names = linked_worktrees(location.common_dir)
    assert [os.path.basename(n) for n in names] == [b"second", b"third"]
    (Path(os.fsdecode(names[1])) / "gitdir").unlink()
    assert main("worktree", "list").count(b"\n") == 2
    assert linked_worktrees(location.common_dir) == names[:1]


def test_bare_repository_with_linked_worktrees_behind_a_git_file(repository, git, tmp_path):
    repository({"a": b"1\n"}, "source")
    top = tmp_path / "project"
    top.mkdir()
    git(top)("clone", "-q", "--bare", "../source", ".bare")
    (top / ".git").write_text("gitdir: ./.bare\n")
    git(top)("worktree", "add", "-q", "main-tree", "-b", "topic")
    assert located(git(top)) == by_git(git(top))
    assert located(git(top)).bare
    assert located(git(top / "main-tree")) == by_git(git(top / "main-tree"))
    assert not located(git(top / "main-tree")).bare


def test_worktree_config_overrides_bare_and_worktree(repository, git, tmp_path):
    main = repository({"a": b"1\n"})
    main("worktree", "add", "-q", str(tmp_path / "second"))
    main("config", "extensions.worktreeConfig", "true")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    second = git(tmp_path / "second")
    second("config", "--worktree", "core.worktree", str(elsewhere))
    assert located(second) == by_git(second)
    main("config", "--worktree", "core.bare", "true")
    assert located(main) == by_git(main)
    assert located(main).bare


def test_core_worktree_relative_and_quoted(repository, tmp_path):
    run = repository({"a": b"1\n"})
    other = tmp_path / 'o "t" #her'
    other.mkdir()
    run("config", "core.worktree", '../../o "t" #her')
    assert located(run) == by_git(run)
    assert located(run).path == os.fsencode(other)


def test_submodule(repository, git):
    sub = repository({"s": b"1\n"}, "sub")
    top = repository({"a": b"1\n"}, "top")
    top("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(sub.path), "mod")
    inside = git(top.path / "mod")
    assert located(inside) == by_git(inside)
    # Asked for the git dir itself, the worktree that its core.worktree names is the answer.
    assert read_location(located(inside).git_dir) == located(inside)


def test_links_are_resolved(repository, git, tmp_path):
    run = repository({"a": b"1\n"})
    (tmp_path / "link").symlink_to(run.path)
    assert located(git(tmp_path / "link")) == located(run)
    (run.path / ".git").rename(tmp_path / "moved")
    (run.path / ".git").symlink_to(tmp_path / "moved")
    assert located(run) == by_git(run)


def test_names_that_are_no_utf8(git, tmp_path):
    top = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(top)
    git(top)("init", "-q")
    assert read_location(top).path == top


@pytest.mark.parametrize("missing", ["HEAD", "objects", "refs"])
def test_half_made_is_none(repository, missing):
    run = repository({"a": b"1\n"})
    (run.path / ".git" / missing).rename(run.path / "aside")
    assert located(run) is None


@pytest.mark.parametrize("content", [b"", b"gitdir: ", b"gitdir: nowhere\n", b"nonsense\n", b"gitdir:../repo/.git\n"])
def test_git_file_that_leads_nowhere(tmp_path, content):
    (tmp_path / ".git").write_bytes(content)
    assert read_location(os.fsencode(tmp_path)) is None
    with pytest.raises(NotARepository, match="does not lead to a repository"):
        find_worktree(os.fsencode(tmp_path))


def test_invalid_head_is_none(repository):
    run = repository({"a": b"1\n"})
    (run.path / ".git/HEAD").write_bytes(b"")
    assert located(run) is None


def test_damaged_config_is_still_a_repository(repository):
    run = repository({"a": b"1\n"})
    (run.path / ".git/config").write_bytes(b"[core\nbare = true\n")
    assert located(run) is not None


def test_find_worktree_from_below_a_file_and_a_link(repository, tmp_path):
    run = repository({"deep/er/file": b"1\n"})
    for place in ("deep/er", "deep/er/file", "."):
        assert find_worktree(os.fsencode(run.path / place)) == located(run)
    (tmp_path / "in").symlink_to(run.path / "deep")
    assert find_worktree(os.fsencode(tmp_path / "in")) == located(run)


def test_find_worktree_says_why_not(repository, tmp_path):
    run = repository({"a": b"1\n"})
    with pytest.raises(NotARepository, match="no such file or directory"):
        find_worktree(os.fsencode(tmp_path / "nothing"))
    with pytest.raises(NotARepository, match="inside a git directory"):
        find_worktree(os.fsencode(run.path / ".git/refs/heads"))
    plain = tmp_path / "plain"
    plain.mkdir()
    with pytest.raises(NotARepository, match="not a git repository"):
        find_worktree(os.fsencode(plain))


def test_format(git, tmp_path):
    git(tmp_path)("init", "-q", "--object-format=sha256", "s")
    layout = read_format(os.fsencode(tmp_path / "s/.git"))
    assert (layout.object_format, layout.oid_bytes, layout.ref_storage) == ("sha256", 32, "files")
    (tmp_path / "s/.git/config").write_bytes(b"[extensions]\nrefStorage = reftable\n")
    layout = read_format(os.fsencode(tmp_path / "s/.git"))
    assert (layout.oid_bytes, layout.ref_storage) == (20, "reftable")


def test_a_nul_ends_the_list_of_borrowed_directories(tmp_path: Path) -> None:
    lender = new_repository(tmp_path / "lender", {"f": b"1\n"})
    git = new_repository(tmp_path / "r", {"f": b"2\n"})
    objects = os.fsencode(git.path / ".git/objects")
    lent = os.fsencode(lender.path / ".git/objects")
    Path(os.fsdecode(objects + b"/info/alternates")).write_bytes(lent + b"\n\0" + lent + b"/none\n")
    assert git.ask("status").exit == 0
    assert object_directories(objects) == [objects, lent]
