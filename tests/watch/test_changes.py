"""Which name in which directory of git's means what."""

from __future__ import annotations

import pytest

from gitwatchd.watch.changes import Aspect, Changes, Role, aspect_of


@pytest.mark.parametrize(
    ("role", "names", "expected"),
    [
        (Role.GIT_DIR, "index", Aspect.INDEX),
        (Role.GIT_DIR, "HEAD", Aspect.HEAD),
        (Role.GIT_DIR, "packed-refs refs ORIG_HEAD", Aspect.REFS),
        (Role.GIT_DIR, "logs", Aspect.STASH),
        (Role.GIT_DIR, "config config.worktree", Aspect.CONFIG),
        (Role.GIT_DIR, "FETCH_HEAD worktrees", Aspect.FACT),
        (Role.GIT_DIR, "modules", Aspect.SUBMODULE),
        (Role.GIT_DIR, "MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD REBASE_HEAD BISECT_LOG BISECT_START", Aspect.ACTION),
        (Role.GIT_DIR, "rebase-merge rebase-apply sequencer", Aspect.ACTION),
        (Role.GIT_DIR, "COMMIT_EDITMSG MERGE_MSG objects hooks gc.pid AUTO_MERGE", Aspect.NOTHING),
        (Role.GIT_DIR, "shallow reftable info commondir gitdir .gitstatus.x new", Aspect.OTHER),
        (Role.COMMON_DIR, "index HEAD ORIG_HEAD MERGE_HEAD rebase-merge BISECT_LOG COMMIT_EDITMSG", Aspect.NOTHING),
        (Role.COMMON_DIR, "FETCH_HEAD worktrees", Aspect.FACT),
        (Role.COMMON_DIR, "packed-refs refs", Aspect.REFS),
        (Role.COMMON_DIR, "config", Aspect.CONFIG),
        (Role.COMMON_DIR, "shallow reftable whatever", Aspect.OTHER),
        (Role.INFO, "exclude", Aspect.IGNORE),
        (Role.INFO, "attributes", Aspect.ATTRIBUTES),
        (Role.INFO, "refs", Aspect.NOTHING),
        (Role.INFO, "sparse-checkout grafts", Aspect.OTHER),
        (Role.REFS, "heads main tables.list", Aspect.REFS),
        (Role.REFS, "stash", Aspect.STASH),
        (Role.LOGS, "stash refs", Aspect.STASH),
        (Role.LOGS, "HEAD heads", Aspect.NOTHING),
        (Role.ACTION, "msgnum done anything", Aspect.ACTION),
        (Role.WORKTREES, "index HEAD ORIG_HEAD logs", Aspect.NOTHING),
        (Role.WORKTREES, "linked FETCH_HEAD gitdir locked", Aspect.FACT),
        (Role.MODULE, "HEAD index config main refs info unheard-of FETCH_HEAD", Aspect.SUBMODULE),
        (Role.MODULE, "objects COMMIT_EDITMSG ORIG_HEAD hooks", Aspect.NOTHING),
        (Role.NESTED, ".git HEAD objects refs commondir gitdir reftable", Aspect.NESTED),
        (Role.GIT_DIR, "sharedindex.1234 next-index-4711", Aspect.NOTHING),
        (Role.NESTED, "file index config", Aspect.NOTHING),
        (Role.WORKTREE, "anything", Aspect.WORKTREE),
    ],
)
def test_names(role: Role, names: str, expected: Aspect) -> None:
    assert {aspect_of(role, name.encode()) for name in names.split()} == {expected}


@pytest.mark.parametrize("role", [Role.GIT_DIR, Role.COMMON_DIR, Role.INFO])
def test_a_name_that_nobody_listed_is_never_nothing(role: Role) -> None:
    assert aspect_of(role, b"a-file-that-git-may-invent") is Aspect.OTHER


@pytest.mark.parametrize("role", list(Role))
def test_every_role_has_an_answer(role: Role) -> None:
    assert isinstance(aspect_of(role, b"x"), Aspect)


def test_changes_are_true_when_anything_was_noted() -> None:
    assert not Changes()
    assert Changes(Aspect.LOST) and Changes(paths={b""}) and Changes(new_directories={b""})
