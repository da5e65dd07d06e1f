"""Which operation is in progress in a worktree, in gitstatus's words, with its step.

Owns nothing, keeps nothing; runs anywhere. One listing of the git dir and at most four small files.
The words and their order are libgit2's `git_repository_state`, which gitstatus prints; the steps are those
of gitstatus and of git's own git-prompt.sh. One case is git-prompt.sh's alone: in a sequence whose stopped
commit was concluded by hand (`git commit`), CHERRY_PICK_HEAD or REVERT_HEAD is gone; only `sequencer/todo`
tells.
"""

from __future__ import annotations

import os

from gitwatchd.git.files import raise_if_exhausted, read_if_there
from gitwatchd.model.report import Action

_STEP_FILE_BYTES = 64
_TODO_FIRST_LINE_BYTES = 4096


def read_action(git_dir: bytes) -> Action | None:
    """`git_dir` is the worktree's own: linked worktrees have their own. None: nothing in progress."""
    try:
        names = frozenset(os.listdir(git_dir))
    except OSError as error:
        raise_if_exhausted(error)
        return None
    if b"rebase-merge" in names:
        rebase = git_dir + b"/rebase-merge"
        name = "rebase-i" if os.path.isfile(rebase + b"/interactive") else "rebase-m"
        return _with_step(name, rebase + b"/msgnum", rebase + b"/end")
    if b"rebase-apply" in names:
        apply = git_dir + b"/rebase-apply"
        if os.path.isfile(apply + b"/rebasing"):
            name = "rebase"
        else:
            name = "am" if os.path.isfile(apply + b"/applying") else "am/rebase"
        return _with_step(name, apply + b"/next", apply + b"/last")
    if b"MERGE_HEAD" in names:
        return Action("merge", None, None)
    todo = git_dir + b"/sequencer/todo" if b"sequencer" in names else None
    in_sequence = todo is not None and os.path.isfile(todo)
    if b"REVERT_HEAD" in names:
        return Action("revert-seq" if in_sequence else "revert", None, None)
    if b"CHERRY_PICK_HEAD" in names:
        return Action("cherry-seq" if in_sequence else "cherry", None, None)
    if todo is not None and in_sequence:
        name = _sequence_name(read_if_there(todo, _TODO_FIRST_LINE_BYTES))
        if name:
            return Action(name, None, None)
    if b"BISECT_LOG" in names:
        return Action("bisect", None, None)
    return None


def _sequence_name(todo: bytes) -> str:
    match todo.split(None, 1)[:1]:
        case [b"p" | b"pick"]:
            return "cherry-seq"
        case [b"revert"]:
            return "revert-seq"
        case _:
            return ""


def _with_step(name: str, step_file: bytes, total_file: bytes) -> Action:
    step, total = (read_if_there(path, _STEP_FILE_BYTES).strip() for path in (step_file, total_file))
    if step.isdigit() and total.isdigit():
        return Action(name, int(step), int(total))
    return Action(name, None, None)
