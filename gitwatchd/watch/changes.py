"""What an event can mean for a repository: closed sets of roles and aspects, and the tables that map one to the other.

Pure. An event never says what is true, only where to look again. A name in a git dir that no table lists means OTHER
(ask git), never "nothing": git, and programs around it, keep inventing files.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, IntFlag, auto


class Role(Enum):
    """Why a directory is watched for a repository."""

    WORKTREE = auto()
    GIT_DIR = auto()
    """The worktree's own git dir."""
    COMMON_DIR = auto()
    """The shared one, seen from a linked worktree: its HEAD and index are the main worktree's."""
    INFO = auto()
    REFS = auto()
    LOGS = auto()
    ACTION = auto()
    """rebase-merge, rebase-apply, sequencer."""
    WORKTREES = auto()
    """common/worktrees and the git dirs in it."""
    REMOTES = auto()
    """remotes, branches: files that define a remote, as configuration does."""
    MODULE = auto()
    """The git dir of a submodule, and its refs."""
    NESTED = auto()
    """The top, or the git dir, of a repository inside this worktree that is not ours: one entry of the answer."""


class Aspect(IntFlag):
    """What to look at again."""

    NOTHING = 0
    WORKTREE = auto()
    INDEX = auto()
    HEAD = auto()
    REFS = auto()
    STASH = auto()
    ACTION = auto()
    CONFIG = auto()
    IGNORE = auto()
    ATTRIBUTES = auto()
    FACT = auto()
    """A field of the report that is not part of the status: FETCH_HEAD, the number of worktrees."""
    NESTED = auto()
    SUBMODULE = auto()
    IDENTITY = auto()
    """Another repository may be at that path now."""
    LOST = auto()
    """Events were lost: nothing that was watched is known."""
    OTHER = auto()


_GIT_DIR_NAMES: dict[bytes, Aspect] = {
    b"index": Aspect.INDEX,
    b"HEAD": Aspect.HEAD,
    b"ORIG_HEAD": Aspect.REFS,  # a symbolic ref may name it
    b"COMMIT_EDITMSG": Aspect.NOTHING,
    b"MERGE_MSG": Aspect.NOTHING,
    b"MERGE_RR": Aspect.NOTHING,
    b"MERGE_MODE": Aspect.NOTHING,
    b"SQUASH_MSG": Aspect.NOTHING,
    b"TAG_EDITMSG": Aspect.NOTHING,
    b"ADD_EDIT.patch": Aspect.NOTHING,
    b"addp-hunk-edit.diff": Aspect.NOTHING,
    b"description": Aspect.NOTHING,
    b"gc.log": Aspect.NOTHING,
    b"gc.pid": Aspect.NOTHING,
    b"objects": Aspect.NOTHING,
    b"hooks": Aspect.NOTHING,
    b"lfs": Aspect.NOTHING,
    b"rr-cache": Aspect.NOTHING,
    b"AUTO_MERGE": Aspect.NOTHING,
    b"FETCH_HEAD": Aspect.FACT,
    b"MERGE_HEAD": Aspect.ACTION,
    b"CHERRY_PICK_HEAD": Aspect.ACTION,
    b"REVERT_HEAD": Aspect.ACTION,
    b"REBASE_HEAD": Aspect.ACTION,
    b"BISECT_LOG": Aspect.ACTION,
    b"BISECT_START": Aspect.ACTION,
    b"BISECT_TERMS": Aspect.ACTION,
    b"BISECT_NAMES": Aspect.ACTION,
    b"BISECT_EXPECTED_REV": Aspect.ACTION,
    b"BISECT_ANCESTORS_OK": Aspect.ACTION,
    b"rebase-merge": Aspect.ACTION,
    b"rebase-apply": Aspect.ACTION,
    b"sequencer": Aspect.ACTION,
    b"packed-refs": Aspect.REFS,
    b"refs": Aspect.REFS,
    b"logs": Aspect.STASH,
    b"config": Aspect.CONFIG,
    b"config.worktree": Aspect.CONFIG,
    b"worktrees": Aspect.FACT,
    b"modules": Aspect.SUBMODULE,
}
_OTHERS_FILES = frozenset({b"index", b"HEAD", b"ORIG_HEAD", b"FETCH_HEAD"}) | {
    name for name, aspect in _GIT_DIR_NAMES.items() if aspect is Aspect.ACTION
}
_INFO_NAMES = {
    b"exclude": Aspect.IGNORE,
    b"attributes": Aspect.ATTRIBUTES,
    b"refs": Aspect.NOTHING,
}
_MODULE_NOTHING = frozenset(name for name, aspect in _GIT_DIR_NAMES.items() if aspect is Aspect.NOTHING) | {
    b"ORIG_HEAD"
}
SHARED_INDEX = b"sharedindex."
"""Half of a split index. It never changes, only its time does, whenever git reads it: our own analysis would be the
reason for the next one."""
_NEXT_INDEX = b"next-index-"
"""What `git commit FILE` commits from; the index that it leaves behind has an event of its own."""
_NESTED_NAMES = frozenset({b".git", b"HEAD", b"objects", b"refs", b"commondir", b"gitdir", b"reftable"})


def aspect_of(role: Role, name: bytes) -> Aspect:
    """What an event on `name`, in a git directory watched as `role`, asks to look at again."""
    match role:
        case Role.GIT_DIR if name.startswith((SHARED_INDEX, _NEXT_INDEX)):
            return Aspect.NOTHING
        case Role.GIT_DIR:
            return _GIT_DIR_NAMES.get(name, Aspect.OTHER)
        case Role.COMMON_DIR:
            if name == b"FETCH_HEAD":
                return Aspect.FACT
            return Aspect.NOTHING if name in _OTHERS_FILES else _GIT_DIR_NAMES.get(name, Aspect.OTHER)
        case Role.INFO:
            return _INFO_NAMES.get(name, Aspect.OTHER)
        case Role.REFS:
            return Aspect.STASH if name == b"stash" else Aspect.REFS
        case Role.LOGS:
            return Aspect.STASH if name in (b"stash", b"refs") else Aspect.NOTHING
        case Role.REMOTES:
            return Aspect.CONFIG
        case Role.ACTION:
            return Aspect.ACTION
        case Role.WORKTREES:
            return Aspect.NOTHING if name in (b"index", b"HEAD", b"ORIG_HEAD", b"logs") else Aspect.FACT
        case Role.MODULE:
            return Aspect.NOTHING if name in _MODULE_NOTHING or name.startswith(SHARED_INDEX) else Aspect.SUBMODULE
        case Role.NESTED:
            return Aspect.NESTED if name in _NESTED_NAMES else Aspect.NOTHING
        case Role.WORKTREE:
            return Aspect.WORKTREE


@dataclass(slots=True)
class Changes:
    """What was noted for one repository since it was last taken."""

    aspects: Aspect = Aspect.NOTHING
    paths: set[bytes] = field(default_factory=set)
    """Worktree paths (relative, no trailing slash) to look at again; a directory stands for all below it."""
    new_directories: set[bytes] = field(default_factory=set)
    """Directories to be watched: relative, no trailing slash, b"" for the top; and the marks of repository_watch.py."""

    busy: bool | None = None
    """git began (True) or ended (False) to hold `index.lock`; None: nothing was said of it."""

    def __bool__(self) -> bool:
        return bool(self.aspects or self.paths or self.new_directories or self.busy is not None)
