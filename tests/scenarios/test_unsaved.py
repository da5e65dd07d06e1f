"""`gitwatch unsaved`: everything that would be lost with the disk, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.commands import Gitwatch
from tests.zoo.commands import Git, new_repository
from tests.zoo.nursery import configure, write


class World:
    """Repositories below `top`, remotes beside it."""

    def __init__(self, directory: Path) -> None:
        self.top = directory / "src"
        self.remotes = directory / "remotes"
        self.origin = new_repository(self.remotes / "origin", {"a": b"a\n"})
        self.origin("branch", "side")
        self.origin("tag", "v1")

    def clone(self, name: str, *options: str) -> Git:
        Git(self.remotes)("clone", "-q", *options, f"file://{self.origin.path}", self.top / name)
        return Git(self.top / name)


def commit(git: Git, message: str = "more") -> None:
    git("commit", "-q", "--allow-empty", "-m", message)


Make = Callable[[World], object]
CASES: dict[str, tuple[Make, list[str]]] = {}
"""Name: what makes the repository `repo` (and others), and what is unsaved in it: `kind[:branch] [count]`."""


def case(*reasons: str) -> Callable[[Make], Make]:
    def add(make: Make) -> Make:
        CASES[make.__name__] = (make, list(reasons))
        return make

    return add


@case()
def all_is_pushed(world: World) -> None:
    world.clone("repo")


@case("uncommitted 0/1/1")
def changed_and_new_files(world: World) -> None:
    git = world.clone("repo")
    write(git.path / "a", b"b\n")
    write(git.path / "new", b"")


@case()
def grafts_of_which_git_gives_advice(world: World) -> None:
    git = world.clone("repo")
    write(git.path / ".git/info/grafts", git("rev-parse", "HEAD"))


def with_old_history(world: World) -> tuple[Git, bytes]:
    """A branch that no remote has, of another root; and the commit of the remote that comes after it."""
    git = world.clone("repo")
    git("checkout", "-q", "--orphan", "old")
    commit(git, "older")
    commit(git, "old")
    git("checkout", "-q", "main")
    return git, git("rev-parse", "origin/main").strip()


@case("unpushed:old 2")
def history_that_only_a_replacement_joins(world: World) -> None:
    """What replaces a commit here does so nowhere else."""
    git, first = with_old_history(world)
    git("replace", "--graft", first, "old")


@case("detached 2")
def a_detached_head_that_only_a_replacement_joins(world: World) -> None:
    git, first = with_old_history(world)
    git("replace", "--graft", first, "old")
    git("checkout", "-q", "--detach", "old")
    git("branch", "-qD", "old")


@case()
def an_ignored_file(world: World) -> None:
    git = world.clone("repo")
    write(git.path / ".git/info/exclude", b"*.o\n")
    write(git.path / "x.o", b"")


@case("unpushed:main 2")
def ahead_of_its_upstream(world: World) -> None:
    git = world.clone("repo")
    commit(git)
    commit(git)


@case("unpushed:topic 1")
def a_branch_that_is_not_checked_out(world: World) -> None:
    git = world.clone("repo")
    git("checkout", "-qb", "topic")
    commit(git)
    git("checkout", "-q", "main")


@case()
def no_upstream_but_on_some_remote_branch(world: World) -> None:
    git = world.clone("repo")
    git("checkout", "-q", "-b", "mine", "--no-track", "origin/side")


@case("unpushed:mine 1")
def no_upstream_and_one_commit_more(world: World) -> None:
    git = world.clone("repo")
    git("checkout", "-q", "-b", "mine", "--no-track", "origin/side")
    commit(git)


@case("unpushed:side 1")
def the_upstream_is_gone(world: World) -> None:
    git = world.clone("repo")
    git("checkout", "-q", "side")
    commit(git)
    git("push", "-q")
    git("push", "-q", "origin", ":side")


@case()
def on_the_second_of_two_remotes(world: World) -> None:
    git = world.clone("repo")
    Git(world.remotes)("init", "-q", "--bare", "second.git")
    git("remote", "add", "second", str(world.remotes / "second.git"))
    commit(git)
    git("push", "-q", "second", "main")


@case("stashed 2")
def stashes(world: World) -> None:
    git = world.clone("repo")
    for content in (b"1\n", b"2\n"):
        write(git.path / "a", content)
        git("stash", "-q")


@case("detached 1")
def a_commit_on_no_branch(world: World) -> None:
    git = world.clone("repo")
    git("checkout", "-q", "--detach")
    commit(git)


@case("detached 1")
def detached_beside_a_fifo(world: World) -> None:
    """In the place of what the last fetch brought: nobody waits for a writer."""
    git = world.clone("repo")
    git("checkout", "-q", "--detach")
    commit(git)
    os.mkfifo(git.path / ".git/FETCH_HEAD")


@case()
def detached_at_a_remote_commit(world: World) -> None:
    world.clone("repo")("checkout", "-q", "--detach", "origin/side")


@case()
def shallow_and_at_a_tag(world: World) -> None:
    world.clone("repo", "--depth", "1", "--branch", "v1")


@case("unpushed:main 1")
def shallow(world: World) -> None:
    for _ in range(3):
        commit(world.origin)
    commit(world.clone("repo", "--depth", "1"))


@case("no_remote:main 1", "no_remote:other 2")
def no_remote(world: World) -> None:
    git = new_repository(world.top / "repo", {"a": b""})
    git("checkout", "-qb", "other")
    commit(git)


@case()
def nothing_at_all(world: World) -> None:
    new_repository(world.top / "repo")


@case("uncommitted 0/0/1")
def files_and_no_commit(world: World) -> None:
    write(new_repository(world.top / "repo").path / "a", b"")


@case("no_remote:main 1")
def a_bare_repository(world: World) -> None:
    git = new_repository(world.remotes / "x", {"a": b""})
    git("clone", "-q", "--bare", ".", world.top / "repo")
    Git(world.top / "repo")("remote", "remove", "origin")


@case()
def a_mirror(world: World) -> None:
    world.clone("repo", "--mirror")


@case("action", "uncommitted 0/0/0/1", "unpushed:main 1")
def in_the_middle_of_a_merge(world: World) -> None:
    git = world.clone("repo")
    git("checkout", "-q", "side")
    write(git.path / "a", b"theirs\n")
    git("commit", "-qam", "theirs")
    git("push", "-q")
    git("checkout", "-q", "main")
    write(git.path / "a", b"ours\n")
    git("commit", "-qam", "ours")
    git.ask("merge", "side")


def with_submodule(world: World) -> tuple[Git, Git]:
    sub = new_repository(world.remotes / "sub", {"s": b"s\n"})
    sub("config", "receive.denyCurrentBranch", "ignore")
    git = world.clone("repo")
    git("-c", "protocol.file.allow=always", "submodule", "--quiet", "add", f"file://{sub.path}", "mod")
    git("commit", "-qm", "with a submodule")
    git("config", "submodule.mod.ignore", "all")
    git("checkout", "-q", "-b", "sub")
    git("push", "-q", "origin", "sub")
    return git, Git(git.path / "mod")


@case("unpushed:main 1")
def a_submodule_that_is_pushed(world: World) -> None:
    git, _ = with_submodule(world)
    git("push", "-q", "origin", "sub", "main:other")
    git("branch", "-f", "main", "origin/main")
    git("checkout", "-q", "main")
    git("checkout", "-q", "sub")
    git("branch", "-f", "main", "sub")
    commit(git)
    git("branch", "-f", "main")
    git("reset", "-q", "--hard", "HEAD~1")


@case("mod detached 1", "mod stashed 1", "mod uncommitted 0/1/0")
def work_in_an_ignored_submodule(world: World) -> None:
    git, mod = with_submodule(world)
    write(mod.path / "s", b"stash\n")
    mod("stash", "-q")
    mod("checkout", "-q", "--detach")
    commit(mod)
    git("add", "-f", "mod")
    git("commit", "-qm", "newer")
    git("push", "-q", "origin", "sub")
    write(mod.path / "s", b"t\n")


@case("mod unpushed:kept 1")
def a_submodule_that_is_checked_out_nowhere(world: World) -> None:
    git, mod = with_submodule(world)
    mod("checkout", "-qb", "kept")
    commit(mod)
    mod("checkout", "-q", "main")
    git("submodule", "--quiet", "deinit", "-f", "mod")


@case("unpushed:linked 1")
def a_linked_worktree_elsewhere(world: World) -> None:
    git = world.clone("repo")
    git("worktree", "add", "-q", "-b", "linked", "--no-track", world.remotes / "linked")
    commit(Git(world.remotes / "linked"))
    git("worktree", "add", "-q", "--detach", world.remotes / "changed")
    write(world.remotes / "changed" / "a", b"x\n")


@case("detached 1")
def a_linked_worktree_that_is_gone(world: World) -> None:
    git = world.clone("repo")
    git("worktree", "add", "-q", "--detach", world.remotes / "gone")
    commit(Git(world.remotes / "gone"))
    shutil.rmtree(world.remotes / "gone")


@case("unchecked")
def a_damaged_one(world: World) -> None:
    write(world.clone("repo").path / ".git" / "index", b"damaged")


@case("hidden 0/2")
def new_files_that_the_configuration_hides(world: World) -> None:
    git = world.clone("repo")
    git("config", "status.showUntrackedFiles", "no")
    write(git.path / "new", b"")
    write(git.path / "more" / "new", b"")


@case("hidden 3/0")
def edits_of_files_to_be_taken_for_unchanged(world: World) -> None:
    git = world.clone("repo")
    names = ["assumed", "skipped", 'quo"ted\nin two lines', "same", "left out", "link"]
    for name in names[:-1]:
        write(git.path / name, b"1\r\n")
    os.symlink("1", git.path / "link")
    write(git.path / ".gitattributes", b"* text\n")
    git("add", ".")
    git("commit", "-qm", "files")
    git("push", "-q", "origin", "HEAD:files")
    git("update-index", "--assume-unchanged", "assumed", *names[2:4])
    git("update-index", "--skip-worktree", "skipped", "left out", "link")
    for name in (*names[:3], "same"):
        write(git.path / name, b"1\n" if name == "same" else b"2\n")
    (git.path / "left out").unlink()


@case("uncommitted 0/1/0")
def an_edit_in_a_sparse_checkout(world: World) -> None:
    """git finds the file that should not be there by itself."""
    git = world.clone("repo")
    git("sparse-checkout", "set", "--no-cone", "/b")
    write(git.path / "a", b"b\n")


@case("unpushed:main 1")
def a_tag_of_ones_own_where_tags_are_fetched(world: World) -> None:
    git = world.clone("repo")
    git("config", "--add", "remote.origin.fetch", "+refs/tags/*:refs/tags/*")
    commit(git)
    git("tag", "mine")


@case("unpushed:main 2", "unpushed:side 1")
def a_commit_in_the_worktree_of_a_mirror(world: World) -> None:
    """No branch there tells that the remote has it."""
    git = world.clone("repo", "--mirror")
    git("worktree", "add", "-q", world.remotes / "wt", "main")
    commit(Git(world.remotes / "wt"))


@case("unpushed:main 1")
def branches_that_are_fetched_to_where_commits_are_made(world: World) -> None:
    git = world.clone("repo")
    git("config", "remote.origin.fetch", "+refs/heads/*:refs/heads/*")
    git("update-ref", "-d", "refs/remotes/origin/main")
    git("update-ref", "-d", "refs/remotes/origin/side")
    git("symbolic-ref", "-d", "refs/remotes/origin/HEAD")
    git("fetch", "-q", "--update-head-ok")
    commit(git)


@case("detached 1")
def what_was_fetched_from_here(world: World) -> None:
    git = world.clone("repo")
    git("checkout", "-q", "--detach")
    commit(git)
    git("fetch", "-q", ".", "HEAD")


@case("unchecked")
def a_branch_whose_file_a_crash_emptied(world: World) -> None:
    git = world.clone("repo")
    git("branch", "topic")
    write(git.path / ".git/refs/heads/topic", b"")


@case("detached 1")
def a_head_that_is_no_branch(world: World) -> None:
    git = world.clone("repo")
    git("symbolic-ref", "HEAD", "refs/elsewhere/x")
    git("reset", "-q", "--hard", "main")
    commit(git)


@case("lib no_remote:main 1")
def a_repository_added_in_a_split_index(world: World) -> None:
    git = world.clone("repo")
    new_repository(git.path / "lib", {"a": b""})
    git("-c", "advice.addEmbeddedRepo=false", "add", "lib")
    git("commit", "-qm", "with lib")
    git("push", "-q", "origin", "HEAD:lib")
    git("update-index", "--split-index")


@case("inner unpushed:kept 1")
def a_submodule_within_one_that_is_checked_out_nowhere(world: World) -> None:
    inner = new_repository(world.remotes / "inner", {"i": b""})
    middle = new_repository(world.remotes / "middle", {"m": b""})
    allow = ("-c", "protocol.file.allow=always", "submodule", "--quiet")
    middle(*allow, "add", f"file://{inner.path}", "inner")
    middle("commit", "-qm", "with a submodule")
    git = world.clone("repo")
    git(*allow, "add", f"file://{middle.path}", "middle")
    git(*allow, "update", "--init", "--recursive")
    git("commit", "-qm", "with a submodule")
    git("push", "-q", "origin", "HEAD:middle")
    kept = Git(git.path / "middle" / "inner")
    kept("checkout", "-qb", "kept")
    commit(kept)
    kept("checkout", "-q", "main")
    git("submodule", "--quiet", "deinit", "-f", "middle")


@case("wt detached 1", "wt uncommitted 0/0/1")
def a_linked_worktree_of_a_submodule(world: World) -> None:
    git, mod = with_submodule(world)
    git("push", "-q", "origin", "main:kept")
    mod("worktree", "add", "-q", "--detach", world.remotes / "wt")
    commit(Git(world.remotes / "wt"))
    write(world.remotes / "wt" / "new", b"")


@case("mod unpushed:kept 1")
def a_submodule_of_a_worktree_that_is_gone(world: World) -> None:
    git, _ = with_submodule(world)
    git("worktree", "add", "-q", "--detach", world.remotes / "wt")
    wt = Git(world.remotes / "wt")
    wt("-c", "protocol.file.allow=always", "submodule", "--quiet", "update", "--init")
    mod = Git(wt.path / "mod")
    mod("checkout", "-qb", "kept")
    commit(mod)
    git("push", "-q", "origin", "main:kept")
    shutil.rmtree(wt.path)


def told(repository: dict[str, Any]) -> list[str]:
    words = []
    for reason in repository["reasons"]:
        kind, branch = reason["kind"], reason.get("branch")
        word = kind if branch is None else f"{kind}:{branch}"
        if "submodule" in reason:
            word = f"{reason['submodule'].rpartition('/')[2]} {word}"
        if kind == "uncommitted":
            counts = [reason["staged"], reason["unstaged"], reason["untracked"], reason["conflicted"]]
            word += " " + "/".join(map(str, counts if counts[3] else counts[:3]))
        elif kind == "hidden":
            word += f" {reason['unstaged']}/{reason['untracked']}"
        elif "count" in reason:
            word += f" {reason['count']}"
        words.append(word)
    return sorted(words)


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    top = tmp_path_factory.mktemp("unsaved")
    for name, (make, _) in CASES.items():
        make(World(top / name))
    return {name: top / name / "src" for name in CASES}


@pytest.fixture(scope="module")
def gitwatch(worlds: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gitwatch]:
    command = Gitwatch(tmp_path_factory.mktemp("daemon") / "state", next(iter(worlds.values())))
    yield command
    command.end()


@pytest.fixture(scope="module")
def answers(worlds: dict[str, Path], gitwatch: Gitwatch) -> dict[str, list[dict[str, Any]]]:
    done = gitwatch("unsaved", "--json", *worlds.values())
    assert done.returncode == 1, done
    repos = json.loads(done.stdout)
    return {name: [repo for repo in repos if repo["path"].startswith(f"{path}/")] for name, path in worlds.items()}


@pytest.mark.parametrize("name", CASES)
def test_reasons(answers: dict[str, list[dict[str, Any]]], name: str) -> None:
    (repository,) = answers[name]
    assert told(repository) == sorted(CASES[name][1])
    assert repository["unsaved"] is bool(CASES[name][1])


def test_linked_worktrees_are_told_with_their_repository(gitwatch: Gitwatch, worlds: dict[str, Path]) -> None:
    here = worlds["a_linked_worktree_elsewhere"]
    repos = json.loads(gitwatch("unsaved", "--json", here).stdout)
    assert {Path(repo["path"]).name: told(repo) for repo in repos} == {
        "repo": ["unpushed:linked 1"],
        "linked": [],
        "changed": ["uncommitted 0/1/0"],
    }
    # Without the main worktree the first of the others tells what they share.
    repos = json.loads(gitwatch("unsaved", "--json", here.parent / "remotes" / "linked").stdout)
    assert {Path(repo["path"]).name: told(repo) for repo in repos} == {
        "changed": ["uncommitted 0/1/0", "unpushed:linked 1"],
        "linked": [],
    }


def test_what_no_list_shows_is_looked_for(gitwatch: Gitwatch, tmp_path: Path) -> None:
    world = World(tmp_path)
    git = world.clone("repo")
    write(git.path / ".git/info/exclude", b"/vendor/\n")
    assert gitwatch("unsaved", world.top).returncode == 0
    for place in ("repo/vendor/lib", "a/.cache/b/c/d/far", "pushed"):
        commit(world.clone(place), place)
    Git(world.top / "pushed")("push", "-q", "origin", "HEAD:pushed")
    Git(world.top / "repo/vendor/lib")("worktree", "add", "-q", "--detach", tmp_path / "elsewhere")
    write(tmp_path / "elsewhere" / "new", b"")
    write(world.clone("crashed").path / ".git" / "HEAD", b"")
    world.clone("main")("worktree", "add", "-q", "--detach", world.top / "linked")
    os.rename(world.top / "main", tmp_path / "away")
    (world.top / "mark" / ".git").mkdir(parents=True)
    done = gitwatch("unsaved", "--json", world.top)
    assert done.returncode == 1
    # A set: of one that became known before it was damaged there may be more to say.
    found = {repo["path"].removeprefix(f"{world.top}/"): sorted(set(told(repo))) for repo in json.loads(done.stdout)}
    assert found == {
        "repo": [],
        "pushed": [],
        "repo/vendor/lib": ["unpushed:main 1"],
        "a/.cache/b/c/d/far": ["unpushed:main 1"],
        "crashed": ["unchecked"],
        "linked": ["unchecked"],
        str(tmp_path / "elsewhere"): ["uncommitted 0/0/1"],
    }
    assert b"not checked: git does not take its .git for a repository" in gitwatch("unsaved", world.top).stdout
    (alone,) = json.loads(gitwatch("unsaved", "--json", world.top / "crashed").stdout)
    assert set(told(alone)) == {"unchecked"}


def test_a_git_dir_without_its_worktree_is_told_of(gitwatch: Gitwatch, tmp_path: Path) -> None:
    """git takes it for one wherever it lies; only a list of worktrees has none to show."""
    world = World(tmp_path)
    git = world.clone("aside")
    commit(git)
    write(git.path / "a", b"1\n")
    git("stash", "-q")
    git("checkout", "-q", "--detach")
    commit(git, "nowhere")
    (git.path / ".git").rename(git.path / ".git.bak")
    for name, parted in (("lost", world.top), ("used", world.top), ("apart", tmp_path)):
        world.clone(name, f"--separate-git-dir={world.top / name}.git")
        commit(Git(world.top / name))
        if parted is not world.top:
            (world.top / name).rename(parted / name)
    shutil.rmtree(world.top / "lost")
    write(world.clone("outer").path / ".git/info/exclude", b"/v/\n")
    world.clone("outer/v/b", f"--separate-git-dir={world.top}/outer/v/a.git")
    write(world.top / "outer/v/b/new", b"")
    done = gitwatch("unsaved", "--json", world.top)
    found = {repo["path"].removeprefix(f"{world.top}/"): told(repo) for repo in json.loads(done.stdout)}
    assert (done.returncode, found) == (1, {
        "aside/.git.bak": ["detached 1", "stashed 1", "unpushed:main 1"],
        "lost.git": ["unpushed:main 1"],
        "used": ["unpushed:main 1"],
        "apart.git": ["unpushed:main 1"],
        "outer": [],
        "outer/v/b": ["uncommitted 0/0/1"],
    })  # fmt: skip


def fixture_in(git: Git, world: World) -> Path:
    """A bare repository among the tracked files of another, with the directories that git would leave out."""
    Git(world.remotes)("clone", "-q", "--bare", world.origin.path, git.path / "tests/some.git")
    for directory, below, files in os.walk(git.path / "tests/some.git"):
        if not below and not files:
            write(Path(directory) / ".gitkeep", b"")
    fixture = Git(git.path / "tests/some.git")
    fixture("remote", "remove", "origin")
    git("add", "-A")
    git("commit", "-qm", "fixture")
    git("push", "-q", "origin", "HEAD:fixtures")
    return fixture.path


def test_a_bare_repository_of_tracked_files_is_saved_with_them(gitwatch: Gitwatch, tmp_path: Path) -> None:
    world = World(tmp_path)
    git = world.clone("repo")
    fixture = fixture_in(git, world)

    def found() -> dict[str, list[str]]:
        repos = json.loads(gitwatch("unsaved", "--json", world.top).stdout)
        return {repo["path"].removeprefix(f"{world.top}/"): told(repo) for repo in repos}

    nothing, alone = ["no_remote:main 1", "no_remote:side 1"], "repo/tests/some.git"
    assert found() == {"repo": [], alone: []}
    git("update-index", "--assume-unchanged", "tests/some.git/HEAD")
    assert found()[alone] == nothing, "git was told not to look"
    git("update-index", "--no-assume-unchanged", "tests/some.git/HEAD")
    write(fixture / "config.old", b"")
    assert found() == {"repo": ["uncommitted 0/0/1"], alone: nothing}
    write(git.path / ".git/info/exclude", b"*.old\n")
    assert found() == {"repo": [], alone: nothing}, "ignored is not tracked"
    (fixture / "config.old").unlink()
    write(fixture / "description", b"changed")
    assert found() == {"repo": ["uncommitted 0/1/0"], alone: nothing}
    git("checkout", "-q", ".")
    write(fixture / "objects/info/alternates", os.fsencode(world.origin.path / ".git/objects") + b"\n")
    git("add", "-A")
    git("commit", "-qm", "borrows")
    git("push", "-q", "origin", "HEAD:fixtures")
    assert found() == {"repo": [], alone: nothing}, "what it borrows lies elsewhere"


def test_exit_code_and_table(gitwatch: Gitwatch, worlds: dict[str, Path], tmp_path: Path) -> None:
    done = gitwatch("unsaved", worlds["all_is_pushed"])
    assert (done.returncode, done.stdout, done.stderr) == (0, b"1 repository: nothing exists only here\n", b"")
    done = gitwatch("unsaved", worlds["a_branch_that_is_not_checked_out"])
    assert done.returncode == 1
    assert done.stdout.decode().splitlines() == [
        "REPOSITORY  WHERE  ONLY HERE",
        "repo        topic  1 commit on no remote (no upstream)",
        "1 of 1 repository: work that exists only here",
    ]
    done = gitwatch("unsaved", tmp_path / "nowhere")
    assert done.returncode == 1 and done.stdout == b"" and b"no such file" in done.stderr
    assert gitwatch("unsaved", "--nosuch").returncode == 2


def test_what_was_found_is_forgotten_with_the_next_change(gitwatch: Gitwatch, worlds: dict[str, Path]) -> None:
    git = Git(worlds["ahead_of_its_upstream"] / "repo")
    assert gitwatch("unsaved", git.path).returncode == 1
    git("push", "-q", "origin", "main:elsewhere")
    assert gitwatch("unsaved", git.path).returncode == 0
    git("branch", "kept")
    assert gitwatch("unsaved", git.path).returncode == 0
    commit(git)
    git("branch", "-f", "kept")
    git("reset", "-q", "--hard", "HEAD~1")
    assert b"kept" in gitwatch("unsaved", git.path).stdout
    configure(git, "")
