"""How many lines were added and removed since HEAD, staged and not: git's own count.

Owns nothing; two git children. Runs: where it may block. Only for repositories that are analysed: git's diff would run
filter drivers; where one would have to run there is no count. Raises EnvironmentFailure.
"""

from __future__ import annotations

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git.child import run_git
from gitwatchd.model.repository import Location

_TIMEOUT_S = 60.0
_DIFF = ("diff", "--numstat", "--no-ext-diff", "--no-textconv", "--ignore-submodules=dirty", "-z")


def count_lines(location: Location) -> tuple[int, int]:
    """(added, removed). Binary files have no lines, nor have untracked ones."""
    added = removed = 0
    for arguments in (_DIFF, (*_DIFF, "--cached")):
        answer = run_git(arguments, cwd=location.path, timeout_s=_TIMEOUT_S)
        if b"cannot exec" in answer.stderr:
            raise EnvironmentFailure("git diff wants a filter driver, and is kept from it here")
        if answer.returncode:
            raise EnvironmentFailure(f"git diff: {answer.stderr.decode(errors='replace').strip()}")
        records = iter(answer.stdout.split(b"\0")[:-1])
        for record in records:
            more, fewer, name = record.split(b"\t", 2)
            if not name:  # a rename: its two names follow
                next(records), next(records)
            if more.isdigit() and fewer.isdigit():
                added, removed = added + int(more), removed + int(fewer)
    return added, removed
