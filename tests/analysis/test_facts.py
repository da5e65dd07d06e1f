"""Facts, each compared with what git says of the same repository."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from gitwatchd.analysis.facts import complete_facts
from gitwatchd.git.index_file import read_index
from gitwatchd.git.layout import read_format, read_location
from gitwatchd.git.porcelain import count, parse_status
from gitwatchd.git.remotes import without_userinfo
from gitwatchd.git.repository_config import read_config
from gitwatchd.model.report import Action, Facts, Tracking


@pytest.fixture
def facts_of(judge):
    def read(run, *, asked: bool = True, refreshed: bool = False) -> Facts:
        location = read_location(os.fsencode(run.path))
        assert location is not None
        status = parse_status(judge(run.path)) if asked else None
        index = None
        if not location.bare:
            index = read_index(location.git_dir + b"/index", read_format(location.common_dir).oid_bytes)
        return complete_facts(location, read_config(location), status, index, refreshed=refreshed)

    return read


@pytest.fixture
def clone(repository, git, tmp_path):
    """`clone` of `source`, one commit ahead of it and one behind."""
    source = repository({"a": b"1\n", "dir/b": b"2\n"}, "source")
    git(tmp_path)("clone", "-q", "source", "clone")
    run = git(tmp_path / "clone")
    source("commit", "-q", "--allow-empty", "-m", "theirs")
    run("fetch", "-q")
    run("commit", "-q", "--allow-empty", "-m", "ours")
    return run


def by_git(run, what: str) -> Tracking | None:
    """`what` is upstream or push, of HEAD's branch; URL as `git remote get-url` has it."""
    fields = f"%({what}:short)%00%({what}:remotename)%00%({what}:track,nobracket)"
    branch = run("symbolic-ref", "HEAD").decode().strip()
    name, remote, track = run("for-each-ref", f"--format={fields}", branch).rstrip(b"\n").split(b"\0")
    if not name or (what == "push" and run.ask("rev-parse", "@{push}").exit):
        return None
    words = track.replace(b",", b"").split()
    numbers = {word: int(number) for word, number in zip(words[::2], words[1::2], strict=False)}
    gone = track == b"gone"
    words = ("--push",) if what == "push" else ()
    url = run.ask("remote", "get-url", *words, os.fsdecode(remote)).stdout.rstrip(b"\n") or None
    ahead, behind = (None, None) if gone else (numbers.get(b"ahead", 0), numbers.get(b"behind", 0))
    return Tracking(name, remote, url, ahead, behind, gone)


def test_everything_of_an_ordinary_clone(clone, facts_of, judge):
    clone("tag", "-am", "x", "v1")
    (clone.path / "a").write_bytes(b"changed\n")
    clone("stash", "-q")
    (clone.path / "a").write_bytes(b"changed again\n")
    (clone.path / "new").write_bytes(b"x\n")
    facts = facts_of(clone)
    assert facts == Facts(
        oid=clone("rev-parse", "HEAD").strip(), branch=b"main", detached=False, unborn=False,
        summary=b"ours", tag=b"v1", upstream=by_git(clone, "upstream"), push=by_git(clone, "push"),
        counts=count(judge(clone.path)), stashes=1, action=None, index_size=2, skip_worktree=0,
        assume_unchanged=0, submodules=0, worktrees=0, mtime=newest_by_git(clone),
        ident=b"Zoo Keeper <keeper@zoo.example>",
        fetched_at=(clone.path / ".git/FETCH_HEAD").stat().st_mtime,
        hides=(),
    )  # fmt: skip
    assert (facts.upstream.ahead, facts.upstream.behind) == (1, 1)
    assert facts.upstream.url == facts.push.url == os.fsencode(clone.path.parent / "source")


def test_ordinary_repositories_start_no_git(clone, facts_of, judge, monkeypatch):
    clone("tag", "-am", "x", "v1")
    answer = judge(clone.path)
    location = read_location(os.fsencode(clone.path))
    config, index = read_config(location), read_index(location.git_dir + b"/index", 20)
    monkeypatch.setenv("PATH", "")
    facts = complete_facts(location, config, parse_status(answer), index)
    assert None not in (facts.summary, facts.tag, facts.upstream, facts.push, facts.index_size, facts.mtime)


PUSH_SETTINGS = [
    {},
    *({"push.default": d} for d in ("nothing", "matching", "current", "upstream", "tracking", "simple")),
    {"branch.main.pushRemote": "fork", "push.default": "current"},
    {"branch.main.pushRemote": "fork"},
    {"remote.pushDefault": "fork", "push.default": "current"},
    {"remote.pushDefault": "fork", "push.default": "upstream"},
    {"remote.pushDefault": "none", "push.default": "current"},
    {"branch.main.pushRemote": "origin", "remote.pushDefault": "fork", "push.default": "current"},
    {"branch.main.merge": "refs/heads/other"},
    {"branch.main.merge": "refs/heads/other", "push.default": "upstream"},
    {"branch.main.remote": ".", "branch.main.merge": "refs/heads/other", "push.default": "upstream"},
    {"branch.main.remote": "."},
    {"remote.origin.push": "refs/heads/*:refs/heads/o*"},
    {"remote.origin.push": "refs/heads/main:refs/heads/other"},
    {"remote.origin.push": "main"},
    {"remote.origin.push": ":"},
    {"remote.origin.push": "+refs/heads/ma*n:refs/heads/ma*n"},
    {"remote.origin.mirror": "true"},
    {"remote.origin.fetch": "+refs/heads/main:refs/remotes/origin/renamed"},
    {"remote.origin.fetch": "refs/heads/nothing-else"},
    {"remote.fork.pushurl": "/other/place", "remote.pushDefault": "fork", "push.default": "current"},
    {"remote.origin.fetch": "+refs/heads/*:refs/remotes/origin/*", "negative": "^refs/heads/main"},
    {"remote.origin.fetch": "+refs/heads/*:refs/heads/*", "negative": "^refs/heads/main", "push.default": "current"},
]


@pytest.mark.parametrize("settings", PUSH_SETTINGS, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items()))
def test_upstream_and_push_are_what_git_resolves(clone, facts_of, settings):
    clone("remote", "add", "fork", "/nowhere/fork")
    clone("branch", "-q", "other", "HEAD~1")
    for ref in ("fork/main", "origin/other", "origin/omain", "origin/renamed", "fork/other"):
        clone("update-ref", f"refs/remotes/{ref}", "HEAD~1")
    for key, value in settings.items():
        if key == "negative":
            clone("config", "--add", "remote.origin.fetch", value)
        else:
            clone("config", "--replace-all", key, value)
    facts = facts_of(clone)
    assert facts.push == by_git(clone, "push")
    assert facts.upstream == by_git(clone, "upstream")
    # Without a status the same comes from configuration, refs and objects.
    refs_only = facts_of(clone, asked=False)
    assert (refs_only.upstream, refs_only.push) == (facts.upstream, facts.push)


def test_the_only_remote_is_pushed_to_whatever_its_name(repository, facts_of):
    run = repository({"a": b"1\n"})
    run("remote", "add", "up", "/nowhere")
    run("config", "push.default", "current")
    run("update-ref", "refs/remotes/up/main", "HEAD")
    assert by_git(run, "push").name == b"up/main"
    assert facts_of(run).push == Tracking(b"up/main", b"up", b"/nowhere", 0, 0, False)


def test_gone_upstream(clone, facts_of):
    clone("update-ref", "-d", "refs/remotes/origin/main")
    facts = facts_of(clone)
    assert facts.upstream == by_git(clone, "upstream")
    assert facts.upstream.gone
    assert facts.push is None
    assert facts_of(clone, asked=False).upstream == facts.upstream


def test_urls_are_rewritten_as_git_does(clone, facts_of):
    for key, value in (
        ("url.https://long.example/.insteadOf", "gh:x/"), ("url.https://short.example/.insteadOf", "gh:"),
        ("url.ssh://git@push.example/.pushInsteadOf", "gh:x"), ("remote.origin.url", "gh:x/y"),
    ):  # fmt: skip
        clone("config", key, value)
    facts = facts_of(clone)
    assert facts.upstream.url == clone("remote", "get-url", "origin").strip() == b"https://long.example/y"
    assert facts.push.url == clone("remote", "get-url", "--push", "origin").strip()
    clone("config", "remote.origin.pushurl", "gh:z")
    assert facts_of(clone).push.url == clone("remote", "get-url", "--push", "origin").strip()


def test_secrets_in_urls_stay_out(clone, facts_of):
    clone("config", "url.https://u:SECRET@h.example/.insteadOf", "gh:")
    clone("config", "remote.origin.url", "gh:x")
    facts = facts_of(clone)
    assert facts.upstream.url == facts.push.url == b"https://h.example/x"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (b"https://user:pw@host/x", b"https://host/x"), (b"https://token@host/x", b"https://host/x"),
        (b"HTTP://a@b@host:80/x", b"HTTP://host:80/x"), (b"https://host/@scope/x", b"https://host/@scope/x"),
        (b"ssh://git@host/x", b"ssh://git@host/x"), (b"ssh://git:pw@host:22/x", b"ssh://git@host:22/x"),
        (b"git+ssh://git:pw@host/x", b"git+ssh://git@host/x"), (b"git@host:x/y", b"git@host:x/y"),
        (b"user:pw@host:x", b"user@host:x"), (b"host:path@here", b"host:path@here"),
        (b"codecommit::https://t@host/x", b"codecommit::https://host/x"),
        (b"https://user:p/w@host/x", b"https://host/x"), (b"ssh://git:p/w@host/x", b"ssh://git@host/x"),
        (b"https://host:80/a@b", b"https://host:80/a@b"), (b"https://[::1]:80/a@b", b"https://[::1]:80/a@b"),
        (b"/a/b@c", b"/a/b@c"), (b"file:///a@b/c", b"file:///a@b/c"), (b"ftp://a:b@h", b"ftp://h"),
    ],
)  # fmt: skip
def test_userinfo(url, shown):
    assert without_userinfo(url) == shown


def newest_by_git(run) -> float | None:
    """By git's own listing; skip-worktree entries are left out as we document it."""
    tracked = [x[2:] for x in run("ls-files", "-ct", "-z").split(b"\0")[:-1] if x[:1] != b"S"]
    others = run("ls-files", "-o", "--exclude-standard", "-z").split(b"\0")[:-1]
    times = []
    for path in tracked + others:
        try:
            found = os.lstat(os.path.join(os.fsencode(run.path), path))
        except OSError:
            continue
        if not stat.S_ISDIR(found.st_mode):
            times.append(found.st_mtime_ns)
    return max(times) / 1e9 if times else None


def set_time(path: Path, seconds: float) -> None:
    os.utime(path, (seconds, seconds), follow_symlinks=False)


BASE = 1_600_000_000


def touched(run):
    set_time(run.path / "dir/b", BASE + 50)


def edited(run):
    (run.path / "a").write_bytes(b"other\n")
    set_time(run.path / "a", BASE + 50)


def edited_back_in_time(run):
    (run.path / "newest").write_bytes(b"other\n")
    set_time(run.path / "newest", BASE - 50)


def deleted(run):
    (run.path / "newest").unlink()


def untracked_file(run):
    (run.path / "u").write_bytes(b"")
    set_time(run.path / "u", BASE + 60)


def untracked_directory_with_ignored(run):
    (run.path / "u/v").mkdir(parents=True)
    for name, at in (("u/v/f", 60), ("u/x.ignored", 90), ("u/.gitignore", 10), ("u/v/g", 95)):
        (run.path / name).write_bytes(b"g\n" if name.endswith("ignore") else b"")
        set_time(run.path / name, BASE + at)


def nested_repository(run):
    run("init", "-q", "inner")
    (run.path / "inner/f").write_bytes(b"")
    set_time(run.path / "inner/f", BASE + 90)
    run("init", "-q", "u/inner")
    (run.path / "u/inner/f").write_bytes(b"")
    set_time(run.path / "u/inner/f", BASE + 90)
    (run.path / "u/own").write_bytes(b"")
    set_time(run.path / "u/own", BASE + 60)


def ignored_only(run):
    (run.path / "x.ignored").write_bytes(b"")
    set_time(run.path / "x.ignored", BASE + 90)


def symlinks(run):
    (run.path / "link").symlink_to("/etc/passwd")
    set_time(run.path / "link", BASE + 70)


def skip_worktree(run):
    run("update-index", "--skip-worktree", "newest")


def intent_to_add(run):
    untracked_file(run)
    run("add", "-N", "u")


def typechange(run):
    (run.path / "newest").unlink()
    (run.path / "newest").mkdir()
    (run.path / "newest/f").write_bytes(b"")
    set_time(run.path / "newest/f", BASE + 5)


def conflict(run):
    run("checkout", "-qb", "topic")
    (run.path / "a").write_bytes(b"topic\n")
    run("commit", "-qam", "topic")
    run("checkout", "-q", "main")
    (run.path / "a").write_bytes(b"main\n")
    run("commit", "-qam", "main")
    assert run.ask("merge", "topic").exit == 1


def all_gone(run):
    for name in ("a", "dir/b", "newest", ".gitignore"):
        (run.path / name).unlink()


STATES = [
    touched, edited, edited_back_in_time, deleted, untracked_file, untracked_directory_with_ignored,
    nested_repository, ignored_only, symlinks, skip_worktree, intent_to_add, typechange, conflict, all_gone,
]  # fmt: skip


@pytest.mark.parametrize("split", [False, True], ids=["", "split-index"])
@pytest.mark.parametrize("change", STATES)
def test_mtime(repository, facts_of, change, split):
    files = {"a": b"1\n", "dir/b": b"1\n", "newest": b"1\n", ".gitignore": b"*.ignored\n"}
    run = repository(files)
    for name in files:
        set_time(run.path / name, BASE)
    set_time(run.path / "newest", BASE + 40)
    run("update-index", "-q", "--refresh")
    if split:
        run("update-index", "--split-index")
    change(run)
    expected = newest_by_git(run)
    assert facts_of(run).mtime == expected
    run("status")  # refreshes the index
    assert facts_of(run, refreshed=True).mtime == expected


def test_mtime_and_count_with_a_submodule(repository, facts_of):
    sub = repository({"s": b"1\n"}, "sub")
    run = repository({"a": b"1\n"}, "top")
    run("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", str(sub.path), "mod")
    for name in ("a", ".gitmodules"):
        set_time(run.path / name, BASE)
    run("status")
    set_time(run.path / "mod", BASE + 100)
    for refreshed in (False, True):
        facts = facts_of(run, refreshed=refreshed)
        assert (facts.submodules, facts.index_size, facts.mtime) == (1, 3, BASE)


@pytest.mark.parametrize("kind", ["", "--split-index", "sparse"])
def test_tallies(repository, facts_of, kind):
    run = repository({"a": b"1\n", "b": b"1\n", "in/c": b"1\n", "out/d": b"1\n", "out/e": b"1\n"})
    if kind == "sparse":
        run("sparse-checkout", "set", "--cone", "--sparse-index", "in")
    elif kind:
        run("update-index", kind)
    run("update-index", "--assume-unchanged", "a")
    run("update-index", "--skip-worktree", "b")
    facts = facts_of(run)
    assert (facts.index_size, facts.assume_unchanged) == (5, 1)
    # In a sparse checkout git drops the bit of what is there all the same: b's.
    assert facts.skip_worktree == (2 if kind == "sparse" else 1)


def test_ident(repository, facts_of, home):
    run = repository({"a": b"1\n"})

    def expected() -> bytes:
        return run("var", "GIT_COMMITTER_IDENT").rpartition(b">")[0] + b">"

    assert facts_of(run).ident == expected()
    run("config", "user.name", " Dr. <Odd>, ")
    run("config", "committer.email", "c@x")
    assert facts_of(run).ident == expected()
    (home / ".gitconfig").write_bytes(b"")
    run("config", "--unset", "user.name")
    assert facts_of(run).ident is None


def test_worktrees_and_fetched_at(clone, git, tmp_path, facts_of):
    clone("worktree", "add", "-q", str(tmp_path / "second"))
    second = git(tmp_path / "second")
    set_time(clone.path / ".git/FETCH_HEAD", BASE)
    assert facts_of(second).fetched_at == BASE
    second("fetch", "-q")
    newest = (clone.path / ".git/worktrees/second/FETCH_HEAD").stat().st_mtime
    for run in (clone, second):
        facts = facts_of(run)
        assert (facts.worktrees, facts.fetched_at) == (1, newest)


def test_a_fetch_that_failed_is_no_fetch(clone, facts_of, tmp_path):
    clone("fetch", "-q")
    assert facts_of(clone).fetched_at is not None
    clone("remote", "set-url", "origin", str(tmp_path / "away"))
    assert clone.ask("fetch").exit
    assert (clone.path / ".git/FETCH_HEAD").read_bytes() == b"", "git empties it before it asks anybody"
    assert facts_of(clone).fetched_at is None


def test_action_of_this_worktree(clone, facts_of):
    clone("bisect", "start")
    assert facts_of(clone).action == Action("bisect", None, None)


@pytest.mark.parametrize("options", [(), ("--object-format=sha256",)])
def test_unborn_detached_and_orphan(repository, facts_of, options):
    run = repository(None, "repo", *options)
    facts = facts_of(run)
    assert (facts.unborn, facts.oid, facts.branch, facts.detached) == (True, None, b"main", False)
    assert (facts.summary, facts.tag, facts.mtime, facts.index_size) == (None, None, None, 0)
    (run.path / "a").write_bytes(b"1\n")
    run("add", "a")
    run("commit", "-qm", "one")
    run("tag", "-am", "x", "v1")
    run("checkout", "-q", "--detach")
    facts = facts_of(run)
    assert (facts.branch, facts.detached, facts.summary, facts.tag) == (None, True, b"one", b"v1")
    assert facts.upstream is None
    assert facts.push is None
    run("checkout", "-q", "--orphan", "other")
    facts = facts_of(run)
    assert (facts.branch, facts.unborn, facts.summary, facts.index_size) == (b"other", True, None, 1)


def test_refs_only_is_the_same_but_for_the_worktree(clone, facts_of):
    clone("tag", "v1")
    (clone.path / "a").write_bytes(b"2\n")
    clone("stash", "-q")
    with_status, without = facts_of(clone), facts_of(clone, asked=False)
    assert without.counts is None
    assert without.mtime is None
    for name in ("oid", "branch", "summary", "tag", "upstream", "push", "stashes", "index_size", "ident"):
        assert getattr(without, name) == getattr(with_status, name), name


def test_bare(clone, git, tmp_path, facts_of):
    git(tmp_path)("clone", "-q", "--bare", "source", "b.git")
    facts = facts_of(git(tmp_path / "b.git"), asked=False)
    assert (facts.branch, facts.summary, facts.stashes) == (b"main", b"theirs", 0)
    assert (facts.index_size, facts.counts, facts.mtime, facts.upstream) == (None, None, None, None)


def test_shallow(clone, git, tmp_path, facts_of):
    git(tmp_path)("clone", "-q", "--depth=1", f"file://{tmp_path}/source", "shallow")
    run = git(tmp_path / "shallow")
    run("commit", "-q", "--allow-empty", "-m", "mine")
    facts = facts_of(run)
    assert (facts.summary, facts.push) == (b"mine", by_git(run, "push"))


def test_damaged_objects_cost_only_what_they_hold(repository, facts_of, judge):
    run = repository({"a": b"1\n"})
    oid = run("rev-parse", "HEAD").decode().strip()
    answer = parse_status(judge(run.path))
    (run.path / ".git/objects" / oid[:2] / oid[2:]).unlink()
    location = read_location(os.fsencode(run.path))
    facts = complete_facts(location, read_config(location), answer, None)
    assert facts.summary is None
    assert (facts.branch, facts.index_size) == (b"main", 1)
