"""The environment and the fixed options every git child of ours gets.

Owns nothing, runs anywhere, reads nothing but its arguments.
Invariant: no `GIT_*` of the caller reaches a child. One inherited `GIT_DIR` or `GIT_INDEX_FILE` (a daemon
started from a hook, a rebase's `exec`) would make every answer one of another repository; `GIT_CONFIG_*`
would make us another judge.
"""

from __future__ import annotations

from collections.abc import Mapping

FIXED_OPTIONS: tuple[str, ...] = (
    "--no-pager",
    # A repository's own core.fsmonitor is a command line it names itself, and its answer may be wrong
    # besides.
    "-c", "core.fsmonitor=false",
    # post-index-change runs when status refreshes an index.
    "-c", "core.hooksPath=/dev/null",
)  # fmt: skip

PRIVATE_INDEX_OPTIONS: tuple[str, ...] = (
    # Both make git write beside the index it was given, or into the object store, when it refreshes that
    # index: `sharedindex.*` into the user's git dir, trees while it collapses to a sparse index.
    "-c", "core.splitIndex=false",
    "-c", "index.sparse=false",
)  # fmt: skip

_SET = {
    "GIT_OPTIONAL_LOCKS": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_TERMINAL_PROMPT": "0",
    # Empty, not unset: unset falls through to core.askPass and SSH_ASKPASS.
    "GIT_ASKPASS": "",
    # Failures are told apart by git's English words.
    "LC_ALL": "C",
}
_REMOVED = ("SSH_ASKPASS", "LANGUAGE", "PAGER")


def child_environment(base: Mapping[str, str]) -> dict[str, str]:
    """`base` (normally `os.environ`) as a git child may have it. HOME, XDG_CONFIG_HOME and PATH stay as they
    are."""
    kept = {name: value for name, value in base.items() if not name.startswith("GIT_") and name not in _REMOVED}
    return kept | _SET
