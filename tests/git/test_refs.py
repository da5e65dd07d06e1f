"""Refs, compared with git."""

from __future__ import annotations

import os

import pytest

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.layout import read_location
from gitwatchd.git.objects import Objects
from gitwatchd.git.refs import Head, Refs, count_stashes, read_refs, read_refs_by_git


def location_of(run):
    location = read_location(os.fsencode(run.path))
    assert location is not None
    return location


@pytest.fixture(params=["files", "by git"])
def refs_of(request):
    """Both readers must say the same; the second is what a reftable repository gets."""
    read = read_refs if request.param == "files" else read_refs_by_git
    return lambda run: read(location_of(run))


def tag(run, refs: Refs) -> bytes | None:
    oid = refs.head().oid
    assert oid is not None
    objects = Objects(location_of(run))
    return refs.tag_at(oid, objects.peel)


def test_head(repository, refs_of):
    run = repository({"a": b"1\n"})
    oid = run("rev-parse", "HEAD").strip()
    assert refs_of(run).head() == Head(b"refs/heads/main", oid)
    run("pack-refs", "--all")
    assert refs_of(run).head() == Head(b"refs/heads/main", oid)
    assert refs_of(run).head().branch == b"main"
    run("checkout", "-q", "--detach")
    assert refs_of(run).head() == Head(None, oid)
    run("checkout", "-q", "--orphan", "empty/one")
    assert refs_of(run).head() == Head(b"refs/heads/empty/one", None)


def test_head_as_a_symlink(repository):
    run = repository({"a": b"1\n"})
    (run.path / ".git/HEAD").unlink()
    (run.path / ".git/HEAD").symlink_to("refs/heads/main")
    assert read_refs(location_of(run)).head() == Head(b"refs/heads/main", run("rev-parse", "HEAD").strip())


def test_a_nul_in_a_name_is_a_failure_and_no_bug(repository):
    """Found by fuzzing."""
    git = repository({"a": b"1"})
    refs = Refs(os.fsencode(git.path / ".git"), os.fsencode(git.path / ".git"))
    assert refs.resolve(b"refs/heads/x\0y") is None
    (git.path / ".git/HEAD").write_bytes(b"ref: refs/heads/x\0y\n")
    with pytest.raises(EnvironmentFailure, match="no ref"):
        refs.head()


def test_head_of_a_linked_worktree(repository, git, tmp_path, refs_of):
    run = repository({"a": b"1\n"})
    run("worktree", "add", "-q", "-b", "side", str(tmp_path / "second"))
    second = git(tmp_path / "second")
    assert refs_of(second).head().branch == b"side"
    second("bisect", "start")
    second("bisect", "bad")
    assert refs_of(second).resolve(b"refs/bisect/bad") == second("rev-parse", "HEAD").strip()
    assert refs_of(run).resolve(b"refs/bisect/bad") is None


def test_resolve(repository, refs_of):
    run = repository({"a": b"1\n"})
    first = run("rev-parse", "HEAD").strip()
    run("update-ref", "refs/remotes/origin/main", "HEAD")
    run("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    run("pack-refs", "--all")
    run("commit", "-q", "--allow-empty", "-m", "second")
    refs = refs_of(run)
    assert refs.resolve(b"refs/remotes/origin/HEAD") == first
    assert refs.resolve(b"refs/heads/main") == run("rev-parse", "HEAD").strip() != first
    assert refs.resolve(b"refs/heads/mai") is None
    assert refs.resolve(b"heads/main") is None


def test_symbolic_refs_in_a_circle(repository):
    run = repository({"a": b"1\n"})
    run("symbolic-ref", "refs/x/one", "refs/x/two")
    run("symbolic-ref", "refs/x/two", "refs/x/one")
    assert read_refs(location_of(run)).resolve(b"refs/x/one") is None


@pytest.mark.parametrize("packed", [False, True])
def test_tag(repository, refs_of, packed):
    run = repository({"a": b"1\n"})

    def now() -> bytes | None:
        if packed:
            run("pack-refs", "--all")
        return tag(run, refs_of(run))

    assert now() is None
    run("tag", "a-light")
    assert now() == b"a-light"
    run("tag", "-am", "x", "v1")
    assert now() == b"v1"
    run("tag", "-am", "nested", "v2", "v1")
    assert now() == b"v2"
    run("tag", "zone/deep")
    assert now() == b"zone/deep"
    run("tag", "zz-tree", "HEAD^{tree}")
    run("tag", "-am", "of a blob", "zz-blob", "HEAD:a")
    assert now() == b"zone/deep"
    run("commit", "-q", "--allow-empty", "-m", "second")
    assert now() is None
    run("tag", "b")
    assert now() == b"b"


def test_loose_tag_hides_packed_one(repository):
    run = repository({"a": b"1\n"})
    run("tag", "-am", "x", "v1")
    run("tag", "v0")
    run("pack-refs", "--all")
    run("commit", "-q", "--allow-empty", "-m", "second")
    run("tag", "-f", "v1")
    run("checkout", "-q", "--detach", "HEAD~1")
    assert tag(run, read_refs(location_of(run))) == b"v0"
    run("checkout", "-q", "main")
    assert tag(run, read_refs(location_of(run))) == b"v1"


def test_tags_packed_without_peeled_values(repository):
    run = repository({"a": b"1\n"})
    run("tag", "-am", "x", "v1")
    run("pack-refs", "--all")
    packed = run.path / ".git/packed-refs"
    packed.write_bytes(b"".join(x for x in packed.read_bytes().splitlines(True) if x[:1] not in b"#^"))
    assert tag(run, read_refs(location_of(run))) == b"v1"


def test_broken_tag_does_not_hide_the_others(repository):
    run = repository({"a": b"1\n"})
    run("tag", "good")
    (run.path / ".git/refs/tags/missing").write_bytes(b"1" * 40 + b"\n")
    (run.path / ".git/refs/tags/nonsense").write_bytes(b"\0\0")
    (run.path / ".git/refs/tags/zz.lock").write_bytes(run("rev-parse", "HEAD"))
    assert tag(run, read_refs(location_of(run))) == b"good"


def test_shorten_is_what_the_status_header_shows(repository, judge, refs_of):
    run = repository({"a": b"1\n"})
    run("remote", "add", "origin", "/nowhere")
    run("update-ref", "refs/remotes/origin/main", "HEAD")
    run("branch", "-q", "-u", "origin/main")

    def shown() -> bytes:
        header = next(x for x in judge(run.path).split(b"\0") if x.startswith(b"# branch.upstream "))
        return header.removeprefix(b"# branch.upstream ")

    for ambiguous in (None, "refs/heads/origin/main", "refs/tags/origin/main"):
        if ambiguous:
            run("update-ref", ambiguous, "HEAD")
        assert refs_of(run).shorten(b"refs/remotes/origin/main") == shown()


def test_shorten_the_head_of_a_remote(repository, refs_of):
    run = repository({"a": b"1\n"})
    run("update-ref", "refs/remotes/up/HEAD", "HEAD")
    assert refs_of(run).shorten(b"refs/remotes/up/HEAD") == b"up"
    assert refs_of(run).shorten(b"refs/heads/config") == b"config"  # .git/config is no ref


def test_stashes(repository):
    run = repository({"a": b"1\n"})
    assert count_stashes(location_of(run)) == 0
    for n in (2, 3):
        (run.path / "a").write_bytes(b"%d\n" % n)
        run("stash", "-q")
    assert count_stashes(location_of(run)) == 2
    run("stash", "drop", "-q", "stash@{1}")
    assert count_stashes(location_of(run)) == 1
