"""Objects, compared with git: sha1 through zlib and pygit2, sha256 and replaced ones through git itself."""

from __future__ import annotations

import os

import pytest

from gitwatchd.git.layout import read_location
from gitwatchd.git.objects import Objects, ObjectsUnreadable, TreeEntry
from gitwatchd.model.repository import Location, RepoPath


def objects_of(run) -> Objects:
    location = read_location(os.fsencode(run.path))
    assert location is not None
    return Objects(location)


def head(run, name: str = "HEAD") -> bytes:
    return run("rev-parse", name).strip()


def tree(run, name: str) -> bytes:
    return bytes.fromhex(run("rev-parse", name + "^{tree}").decode().strip())


def listed(run, name: str, *where: str) -> dict[bytes, TreeEntry]:
    entries = {}
    for line in run("ls-tree", "-rz", name, *where).split(b"\0")[:-1]:
        about, _, path = line.partition(b"\t")
        mode, _, oid = about.split()
        entries[path] = TreeEntry(int(mode, 8), bytes.fromhex(oid.decode()))
    return entries


@pytest.fixture(params=["loose", "packed", "sha256", "replaced"])
def history(request, repository):
    """Two commits that differ in every way a tree can."""
    options = ("--object-format=sha256",) if request.param == "sha256" else ()
    files = {
        "same/deep/f": b"1\n", "gone": b"1\n", "changed": b"1\n", "dir/a": b"1\n", "dir/b/c": b"1\n",
        "becomes-dir": b"1\n", "becomes-file/x": b"1\n", "mode": b"1\n", "sp ace/\u00e9": b"1\n",
    }  # fmt: skip
    run = repository(files, "repo", *options)
    run("rm", "-q", "gone", "becomes-dir", "becomes-file/x")
    (run.path / "changed").write_bytes(b"2\n")
    (run.path / "becomes-dir").mkdir()
    (run.path / "becomes-dir/y").write_bytes(b"3\n")
    (run.path / "becomes-file").write_bytes(b"4\n")
    (run.path / "new/er").mkdir(parents=True)
    (run.path / "new/er/z").symlink_to("nowhere")
    (run.path / "mode").chmod(0o755)
    run("add", "-A")
    run("commit", "-qm", "second\n over two lines\n\nbody")
    if request.param == "packed":
        run("gc", "-q")
    elif request.param == "replaced":
        run("commit", "-q", "--allow-empty", "-m", "the other")
        run("replace", head(run, "HEAD~1"), head(run))
        run("reset", "-q", "--hard", "HEAD~1")
    return run


def test_summary_and_tree(history):
    objects = objects_of(history)
    assert objects.summary(head(history)) == history("log", "-1", "--format=%s").rstrip(b"\n")
    assert objects.tree_of(head(history)) == tree(history, "HEAD")


def test_diff_trees_is_git_diff_tree(history):
    objects = objects_of(history)
    old, new = tree(history, "HEAD~1"), tree(history, "HEAD")
    before, after = listed(history, "HEAD~1"), listed(history, "HEAD")
    for one, other, was, now in ((old, new, before, after), (new, old, after, before)):
        expected = {p: now.get(p) for p in was.keys() | now.keys() if was.get(p) != now.get(p)}
        assert objects.diff_trees(one, other) == expected
    assert objects.diff_trees(None, new) == after
    assert objects.diff_trees(new, None) == dict.fromkeys(after)
    assert objects.diff_trees(new, new) == {}


def test_entry_and_flatten(history):
    objects = objects_of(history)
    new, after = tree(history, "HEAD"), listed(history, "HEAD")
    assert objects.flatten(new) == after
    assert objects.flatten(new, b"same/deep") == listed(history, "HEAD", "same/deep/")
    assert objects.flatten(new, b"no/such") == {}
    for path, entry in after.items():
        assert objects.tree_entry(new, path) == entry
    for path in (b"same", b"same/deep", b"none", b"none/x", b"changed/x"):
        assert objects.tree_entry(new, path) is None


def test_ahead_behind(history):
    objects = objects_of(history)
    first, second = head(history, "HEAD~1"), head(history)
    assert objects.ahead_behind(second, second) == (0, 0)
    expected = tuple(map(int, history("rev-list", "--count", "--left-right", "HEAD...HEAD~1").split()))
    assert objects.ahead_behind(second, first) == expected
    assert objects.ahead_behind(first, second) == expected[::-1]


def test_peel(history):
    objects = objects_of(history)
    history("tag", "-am", "x", "one")
    history("tag", "-am", "y", "two", "one")
    commit = head(history, "HEAD")
    assert objects.peel(head(history, "two")) == commit
    assert objects.peel(commit) == commit


def test_missing(history):
    objects = objects_of(history)
    missing = b"1" * len(head(history))
    for ask in (objects.summary, objects.peel, objects.tree_of):
        with pytest.raises(ObjectsUnreadable):
            ask(missing)
    with pytest.raises(ObjectsUnreadable):
        objects.flatten(bytes.fromhex(missing.decode()))
    with pytest.raises(ObjectsUnreadable):
        objects.ahead_behind(head(history), missing)


@pytest.mark.parametrize(
    "message", [b"", b"\n\n  lead \nnext\t\n \nbody", b"one\r\ntwo\r\n\r\nthree", "caf\u00e9".encode("latin1")]
)
@pytest.mark.parametrize("encoding", ["utf-8", "latin1", "no-such-encoding"])
def test_summary_is_what_git_log_prints(repository, message, encoding):
    run = repository({"a": b"1\n"})
    args = ("-c", f"i18n.commitEncoding={encoding}", "commit-tree", "HEAD^{tree}", "-p", "HEAD")
    commit = run(*args, stdin=message).strip()
    assert objects_of(run).summary(commit) == run("log", "-1", "--format=%s", commit).removesuffix(b"\n")


def test_shallow_counts_as_git_does(repository, git, tmp_path):
    source = repository({"a": b"1\n"}, "source")
    for n in range(4):
        source("commit", "-q", "--allow-empty", "-m", str(n))
    git(tmp_path)("clone", "-q", "--depth=2", f"file://{source.path}", "shallow")
    run = git(tmp_path / "shallow")
    run("checkout", "-q", "--orphan", "other")
    run("commit", "-q", "--allow-empty", "-m", "o")
    expected = tuple(map(int, run("rev-list", "--count", "--left-right", "HEAD...main").split()))
    assert objects_of(run).ahead_behind(head(run), head(run, "main")) == expected == (1, 2)


def test_alternates(repository, git, tmp_path):
    source = repository({"a": b"1\n"}, "source")
    git(tmp_path)("clone", "-q", "--shared", "source", "borrower")
    run = git(tmp_path / "borrower")
    assert objects_of(run).summary(head(run)) == source("log", "-1", "--format=%s").rstrip(b"\n")


def test_closing_gives_descriptors_back_and_use_opens_again(repository):
    run = repository({"a": b"1\n"})
    run("gc", "-q")
    objects = objects_of(run)
    objects.summary(head(run))
    assert packs_mapped() == 1
    objects.close()
    objects.close()
    assert packs_mapped() == 0
    assert objects.summary(head(run)) == b"first"
    objects.close()


def packs_mapped() -> int:
    with open("/proc/self/maps") as maps:
        return len({line.split()[-1] for line in maps if line.rstrip().endswith(".pack")})


def test_objects_that_come_and_move_while_open(repository):
    run = repository({"a": b"1\n"})
    run("gc", "-q")
    objects = objects_of(run)
    first = head(run)
    assert objects.summary(first) == b"first"
    run("commit", "-q", "--allow-empty", "-m", "second")
    run("repack", "-adq")
    assert objects.summary(head(run)) == b"second"
    assert objects.summary(first) == b"first"


def test_name_that_is_no_utf8(git, tmp_path):
    top = os.path.join(os.fsencode(tmp_path), b"caf\xe9")
    os.mkdir(top)
    run = git(top)
    run("init", "-q")
    run("commit", "-q", "--allow-empty", "-m", "x")
    run("gc", "-q")
    location = Location(RepoPath(top), top + b"/.git", top + b"/.git", bare=False)
    assert Objects(location).summary(head(run)) == b"x"


def test_old_modes_are_read_as_git_reads_them(repository):
    run = repository({"a": b"1\n"})
    blob = run("rev-parse", "HEAD:a").strip().decode()
    odd = run("hash-object", "-t", "tree", "-w", "--literally", "--stdin", stdin=b"100664 a\0" + bytes.fromhex(blob))
    assert objects_of(run).diff_trees(tree(run, "HEAD"), bytes.fromhex(odd.decode().strip())) == {}


def test_distance_without_git_and_where_it_gives_up(repository):
    run = repository({"a": b"1\n"})
    for branch, commits in (("left", 3), ("right", 2), ("long", 130)):
        run("checkout", "-q", "-B", branch, "main")
        stream = []
        for n in range(commits):
            # Dates run backwards: no order may be taken from them.
            about = (branch.encode(), branch.encode(), 1_700_000_000 - n)
            stream.append(b"commit refs/heads/%s\ncommitter %s <a@b> %d +0000\ndata 1\nx\n" % about)
            if n == 0:
                stream.append(b"from refs/heads/main^0\n")
        run("fast-import", "--quiet", "--force", stdin=b"".join(stream))
    run("checkout", "-q", "-B", "merged", "left")
    run("merge", "-q", "-m", "m", "right")
    run("branch", "above", "merged")
    run("checkout", "-q", "above")
    run("commit", "-q", "--allow-empty", "-m", "x")
    objects = objects_of(run)
    names = ("main", "left", "right", "long", "merged", "above")
    oids = {name: head(run, name) for name in names}
    found = {}
    for a in names:
        for b in names:
            expected = tuple(map(int, run("rev-list", "--count", "--left-right", f"{a}...{b}").split()))
            assert objects.ahead_behind(oids[a], oids[b]) == expected, (a, b)
            found[a, b] = objects.find_distance(oids[a], oids[b])
            assert found[a, b] in (expected, None), (a, b)
    assert found["left", "right"] == (3, 2)
    assert found["above", "merged"] == (1, 0)
    assert found["merged", "above"] == (0, 1)
    for pair in (("merged", "main"), ("merged", "right"), ("long", "main")):
        assert found[pair] is None
