"""Real git sequences, stopped in each state."""

from __future__ import annotations

import os

import pytest

from gitwatchd.git.action import read_action
from gitwatchd.model.report import Action


@pytest.fixture
def diverged(repository):
    """`topic` has two commits that conflict with `main`, which has two of its own."""
    run = repository({"a": b"0\n"})
    run("checkout", "-qb", "topic")
    for n in (1, 2):
        (run.path / "a").write_bytes(b"topic %d\n" % n)
        run("commit", "-qam", f"topic {n}")
    run("checkout", "-q", "main")
    for n in (1, 2):
        (run.path / "a").write_bytes(b"main %d\n" % n)
        run("commit", "-qam", f"main {n}")
    return run


def action(run) -> Action | None:
    git_dir = run("rev-parse", "--absolute-git-dir").rstrip(b"\n")
    return read_action(git_dir)


def stops(run, *arguments: str, **options) -> None:
    assert run.ask(*arguments, **options).exit != 0


def conclude(run) -> None:
    (run.path / "a").write_bytes(b"resolved\n")
    run("add", "a")


def test_nothing(diverged):
    assert action(diverged) is None


def test_merge(diverged):
    stops(diverged, "merge", "topic")
    assert action(diverged) == Action("merge", None, None)


def test_rebase_by_merge_and_by_apply(diverged):
    diverged("checkout", "-q", "topic")
    stops(diverged, "rebase", "main")
    # git >= 2.26 marks every merge-backend rebase as interactive, and libgit2 and gitstatus say so.
    assert action(diverged) == Action("rebase-i", 1, 2)
    conclude(diverged)
    stops(diverged, "rebase", "--continue")
    assert action(diverged) == Action("rebase-i", 2, 2)
    diverged("rebase", "--abort")
    stops(diverged, "rebase", "--apply", "main")
    assert action(diverged) == Action("rebase", 1, 2)
    diverged("rebase", "--abort")
    assert action(diverged) is None


def test_rebase_interactive_stopped_to_edit(diverged):
    stop = {"GIT_SEQUENCE_EDITOR": "sed -i -e 's/^pick/edit/'"}
    diverged("rebase", "-i", "HEAD~2", env=stop)
    assert action(diverged) == Action("rebase-i", 1, 2)


def test_rebase_by_an_old_git_is_rebase_m(diverged):
    diverged("checkout", "-q", "topic")
    stops(diverged, "rebase", "main")
    (diverged.path / ".git/rebase-merge/interactive").unlink()
    assert action(diverged) == Action("rebase-m", 1, 2)


def test_am(diverged, tmp_path):
    patches = diverged("format-patch", "--stdout", "main..topic")
    stops(diverged, "am", stdin=patches)
    assert action(diverged) == Action("am", 1, 2)
    (diverged.path / ".git/rebase-apply/applying").unlink()
    assert action(diverged) == Action("am/rebase", 1, 2)


def test_cherry_pick(diverged):
    stops(diverged, "cherry-pick", "topic")
    assert action(diverged) == Action("cherry", None, None)
    diverged("cherry-pick", "--abort")
    stops(diverged, "cherry-pick", "main..topic")
    assert action(diverged) == Action("cherry-seq", None, None)
    conclude(diverged)
    diverged("commit", "-qm", "by hand")
    assert not (diverged.path / ".git/CHERRY_PICK_HEAD").exists()
    assert action(diverged) == Action("cherry-seq", None, None)


def test_revert(diverged):
    stops(diverged, "revert", "--no-edit", "HEAD~1")
    assert action(diverged) == Action("revert", None, None)
    diverged("revert", "--abort")
    stops(diverged, "revert", "--no-edit", "HEAD~1", "HEAD")
    assert action(diverged) == Action("revert-seq", None, None)
    conclude(diverged)
    diverged("commit", "-qm", "by hand")
    assert action(diverged) == Action("revert-seq", None, None)


def test_bisect_gives_way_to_what_interrupts_it(diverged):
    diverged("bisect", "start", "HEAD", "HEAD~2")
    assert action(diverged) == Action("bisect", None, None)
    stops(diverged, "merge", "topic")
    assert action(diverged) == Action("merge", None, None)


def test_each_worktree_has_its_own(diverged, git, tmp_path):
    diverged("worktree", "add", "-q", str(tmp_path / "second"), "topic")
    second = git(tmp_path / "second")
    stops(second, "merge", "main")
    assert action(second) == Action("merge", None, None)
    assert action(diverged) is None


def test_steps_that_are_no_numbers(diverged):
    diverged("checkout", "-q", "topic")
    stops(diverged, "rebase", "main")
    (diverged.path / ".git/rebase-merge/msgnum").write_bytes(b"")
    assert action(diverged) == Action("rebase-i", None, None)


def test_no_git_dir():
    assert read_action(os.fsencode("/nonexistent")) is None
