"""What the configuration says about status, typed: the settings an evaluator must follow or refuse.

Owns: the meaning of these variables (git's config.c, environment.c, builtin/commit.c). Runs: anywhere; pure.
Invariant: a value for which git would end raises BadValue; a value that git overlooks counts as not set.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from enum import Enum

from gitwatchd.git.config_file import BadValue, find_boolean
from gitwatchd.git.config_walk import Entry
from gitwatchd.git.repository_config import RepositoryConfig


class UntrackedFiles(Enum):
    NO = "no"
    NORMAL = "normal"
    ALL = "all"


class Renames(Enum):
    NO = "no"
    RENAMES = "renames"
    COPIES = "copies"


class AutoCrlf(Enum):
    FALSE = "false"
    TRUE = "true"
    INPUT = "input"


@dataclass(frozen=True, slots=True)
class StatusSettings:
    file_mode: bool
    """core.fileMode: the executable bit counts."""
    symlinks: bool
    ignore_case: bool
    precompose_unicode: bool
    """Only ever true on macOS: elsewhere git has no code for it, and repositories copied from a Mac have it set."""
    check_stat_minimal: bool
    trust_ctime: bool
    ignore_stat: bool
    autocrlf: AutoCrlf
    untracked_files: UntrackedFiles
    renames: Renames
    """status.renames, else the first diff.renames, else RENAMES."""
    sparse_checkout: bool

    @property
    def stat_is_default(self) -> bool:
        """Equal stat data mean an unchanged file, and names compare byte by byte, as in git's defaults.

        core.fileMode=false is not among the reasons: follow `file_mode`.
        """
        return (
            self.symlinks
            and self.compares_ctimes
            and not self.ignore_stat
            and not self.ignore_case
            and not self.precompose_unicode
        )

    @property
    def compares_ctimes(self) -> bool:
        """Otherwise an edit that puts the mtime back shows only where the file is as young as the index."""
        return self.trust_ctime and not self.check_stat_minimal

    @property
    def converts_line_ends(self) -> bool:
        """Without any attributes, content may differ between worktree and object: a raw hash proves nothing."""
        return self.autocrlf is not AutoCrlf.FALSE


def status_settings(config: RepositoryConfig) -> StatusSettings:
    """Raises BadValue."""
    return StatusSettings(
        file_mode=config.get_bool(b"core.filemode", default=True),
        symlinks=config.get_bool(b"core.symlinks", default=True),
        ignore_case=config.get_bool(b"core.ignorecase", default=False),
        precompose_unicode=sys.platform == "darwin" and config.get_bool(b"core.precomposeunicode", default=False),
        check_stat_minimal=_check_stat_minimal(config),
        trust_ctime=config.get_bool(b"core.trustctime", default=True),
        ignore_stat=config.get_bool(b"core.ignorestat", default=False),
        autocrlf=_autocrlf(config),
        untracked_files=_untracked_files(config),
        renames=_renames(config),
        sparse_checkout=config.get_bool(b"core.sparsecheckout", default=False),
    )


def _text(config: RepositoryConfig, key: bytes) -> bytes | None:
    """The value where git wants text: a name without `=` is refused."""
    entry = config.find(key)
    if entry is not None and entry.value is None:
        raise BadValue(entry.key, None, "text")
    return None if entry is None else entry.value


def _check_stat_minimal(config: RepositoryConfig) -> bool:
    # git overlooks other words, so the last of the two known ones counts.
    words = [value.lower() for value in config.get_all(b"core.checkstat")]
    known = [word for word in words if word in (b"default", b"minimal")]
    return bool(known) and known[-1] == b"minimal"


def _autocrlf(config: RepositoryConfig) -> AutoCrlf:
    if (config.get(b"core.autocrlf") or b"").lower() == b"input":
        return AutoCrlf.INPUT
    return AutoCrlf.TRUE if config.get_bool(b"core.autocrlf", default=False) else AutoCrlf.FALSE


def _untracked_files(config: RepositoryConfig) -> UntrackedFiles:
    value = _text(config, b"status.showuntrackedfiles")
    if value is None:
        return UntrackedFiles.NORMAL
    try:
        return UntrackedFiles(value.decode("latin-1"))
    except ValueError:
        # git 2.46 takes booleans too, earlier ones end; refused here, so that git is asked.
        raise BadValue(b"status.showuntrackedfiles", value, "untracked files mode") from None


def _renames(config: RepositoryConfig) -> Renames:
    entry = _status_or_first_diff(config, b"renames")
    if entry is None or entry.value is None:
        return Renames.RENAMES
    if entry.value.lower() in (b"copies", b"copy"):
        return Renames.COPIES
    value = find_boolean(entry.value)
    if value is None:
        raise BadValue(entry.key, entry.value, "boolean")
    return Renames.RENAMES if value else Renames.NO


def _status_or_first_diff(config: RepositoryConfig, name: bytes) -> Entry | None:
    """The last of status.*, else the FIRST of diff.*: `git status` takes diff.* only while it has none, so a value in
    ~/.gitconfig wins over the repository's own."""
    own = config.find(b"status." + name)
    if own is not None:
        return own
    others = config.find_all(b"diff." + name)
    return others[0] if others else None
