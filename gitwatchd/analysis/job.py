"""One whole analysis (L3) of one repository: ask git, then complete its answer to facts.

Owns nothing. Runs: in a worker process, or in a thread of the daemon for a single repository; it blocks.
Invariant: the world's faults are outcomes. What `analyse` raises is a bug.
Invariant: no command that a repository brings with it runs before its user allowed that (`Job.trusted`).
Never: writes to the user's index, git dir or worktree.
"""

from __future__ import annotations

import os
import shlex
import signal
import stat
import time
from contextlib import suppress
from dataclasses import replace

from gitwatchd.analysis.drivers import drivers_digest, find_drivers
from gitwatchd.analysis.facts import complete_facts
from gitwatchd.analysis.first_sight import Unwatched, look_unwatched
from gitwatchd.analysis.private_index import IndexSnapshot, private_copy, read_snapshot
from gitwatchd.errors import EnvironmentFailure
from gitwatchd.git import reach
from gitwatchd.git.child import GitAnswer, Programs, run_git, seal_obstacle, shown
from gitwatchd.git.config_acceptance import find_unproven, note_accepted
from gitwatchd.git.config_file import BadValue, find_boolean
from gitwatchd.git.files import read_regular
from gitwatchd.git.index_file import Index, parse_index, read_index
from gitwatchd.git.layout import find_start, read_format, read_location
from gitwatchd.git.porcelain import parse_status
from gitwatchd.git.reach import LeadsAway
from gitwatchd.git.remotes import upstream_ref, without_userinfo
from gitwatchd.git.repository_config import RepositoryConfig, read_config
from gitwatchd.git.status_settings import status_settings
from gitwatchd.git.worktree import check_followed
from gitwatchd.model.repository import ANY_DRIVERS, Analysed, Failed, Gone, Job, LedAway, Location, Outcome, Unsafe

STATUS = ("status", "--porcelain=v2", "--branch", "--show-stash", "-z")


def analyse(job: Job) -> Outcome:
    """As `try_to_analyse`, for whoever has nobody else to ask."""
    outcome = try_to_analyse(job)
    if isinstance(outcome, LedAway):
        return Failed(f"something of it lies on the file system at {shown(outcome.mount)}, which may not answer")
    return outcome


def try_to_analyse(job: Job) -> Outcome | LedAway:
    """Never raises for the world's fault. Takes no longer than `job.timeout_s` for git, a little more in
    all."""
    began = time.monotonic()
    try:
        outcome = _analyse(job, began + job.timeout_s)
        return replace(outcome, took_s=time.monotonic() - began) if isinstance(outcome, Analysed) else outcome
    except LeadsAway as away:
        return LedAway(away.mount)
    except EnvironmentFailure as failure:
        return Failed(_without_secrets(failure.message), failure.hint)
    except OSError as error:
        return Failed(f"{error.strerror or error}: {shown(job.location.path)}", _ask(job.location))


def _analyse(job: Job, deadline: float) -> Outcome:
    location = job.location
    start = find_start(location)
    if start is None:
        return _find_absence(location)
    config = read_config(location)
    seen = Unwatched(None, ())
    if job.unwalked or not job.by_git:
        try:
            seen = look_unwatched(location, config, nested=job.unwalked)
        except LeadsAway:
            raise
        except EnvironmentFailure:
            pass  # an index that is damaged for us: whether it is for git, git says
    if seen.outcome is not None and not job.by_git:
        return _with_settings(replace(seen.outcome, nested=seen.nested), config)
    outcome = _analyse_by_git(job, start, config, deadline)
    if seen.nested and isinstance(outcome, Analysed | Unsafe):
        outcome = replace(outcome, nested=seen.nested)
    return _with_settings(outcome, config) if isinstance(outcome, Analysed) else outcome


def _analyse_by_git(job: Job, start: bytes, config: RepositoryConfig, deadline: float) -> Outcome:
    location = job.location
    obstacle = _find_what_git_waits_for(location, config)
    if obstacle is not None:
        return Failed(
            f"{shown(obstacle)} is no regular file: git would wait for it, or read it for ever", _ask(location)
        )
    snapshot, index = _read_index(location)
    check_followed(location, index)
    # Where nothing seals git the index has to be the one of this very moment.
    unsafe = _find_unsafe(job, config, index, deadline, known=index if seal_obstacle() is None else None)
    if unsafe is not None:
        return unsafe
    answer, read, refreshed = _ask_git(job, start, config, snapshot, index, deadline)
    if seal_obstacle() is None and _wanted_a_program(answer):
        # Rare: a file that a driver converts, and whose stats do not say that it is unchanged. What is allowed is
        # looked at again, because it can have changed since: git's attempt may be the first sign of that.
        config = read_config(location)
        unsafe = _find_unsafe(job, config, index, deadline, known=None)
        if unsafe is not None:
            return unsafe
        if config.filter_drivers() or job.trusted is not None:
            answer, read, refreshed = _ask_git(job, start, config, snapshot, index, deadline, Programs.DRIVERS)
        elif b"cannot exec" in answer.stderr:
            return Failed("its configuration changed while git read it: git was kept from a program", _ask(location))
    index = read
    if answer.returncode == 0:
        try:
            status = parse_status(answer.stdout)
        except ValueError as error:
            return Failed(f"git's answer is not understood: {error}", _ask(location))
        if find_unproven(config.entries) and read_config(location).entries == config.entries:
            note_accepted(config.entries)
        facts = complete_facts(location, config, status, index, refreshed=refreshed)
        return Analysed(facts, answer.stdout)
    return _explain(location, config, answer)


def _find_unsafe(
    job: Job, config: RepositoryConfig, index: Index | None, deadline: float, *, known: Index | None
) -> Unsafe | None:
    """The refusal, when the repository or a submodule brings a driver that the user did not allow.

    `index`: for the facts; `known`: that which names its submodules, None: to be read.
    """
    location = job.location
    drivers = find_drivers(location, config, deadline, known)
    if not drivers or job.trusted in (ANY_DRIVERS, drivers_digest(drivers)):
        return None
    first = drivers[0]
    below = "" if first.where == location.path else f" (submodule {shown(first.where)})"
    name = _without_secrets(shown(first.name))
    return Unsafe(
        f"its own configuration defines {name}{below}, a command that git status would run",
        f"gitwatch trust {_quoted(location.path)}",
        complete_facts(location, config, None, index),
    )


_READ_BY_GIT = (
    b"HEAD", b"index", b"commondir", b"config.worktree", b"MERGE_HEAD", b"CHERRY_PICK_HEAD", b"REVERT_HEAD",
    b"BISECT_LOG", b"BISECT_START", b"rebase-merge/head-name", b"rebase-merge/git-rebase-todo", b"rebase-merge/done",
    b"rebase-apply/next", b"rebase-apply/head-name", b"sequencer/todo", b"info/sparse-checkout",
)  # fmt: skip
_READ_IN_COMMON_DIR = (
    b"config", b"packed-refs", b"shallow", b"info/exclude", b"info/attributes", b"info/grafts",
    b"objects/info/alternates", b"refs/stash", b"logs/refs/stash",
)  # fmt: skip
_READ_IN_WORKTREE = (b".gitignore", b".gitattributes", b".gitmodules")


def _find_what_git_waits_for(location: Location, config: RepositoryConfig) -> bytes | None:
    """A FIFO or device in the place of a file that git opens. It would be ended at its deadline; until then it would
    keep others from their turn. Raises LeadsAway."""
    places = [location.git_dir + b"/" + name for name in _READ_BY_GIT]
    places += [location.common_dir + b"/" + name for name in _READ_IN_COMMON_DIR]
    places += [location.path + b"/" + name for name in _READ_IN_WORKTREE]
    refs: list[bytes] = []
    with suppress(OSError):
        head = read_regular(location.git_dir + b"/HEAD", 4096)
        ref = head.removeprefix(b"ref:").strip()
        if ref.startswith(b"refs/"):
            upstream = upstream_ref(config, ref.removeprefix(b"refs/heads/"))
            refs = [location.common_dir + b"/" + name for name in (ref, upstream) if name is not None]
    for path in refs:
        with suppress(ValueError):
            reach.check(path)  # a directory of refs may be a link further down than those look who looked so far
    for path in (*places, *refs):
        with suppress(OSError, ValueError):  # a NUL in a name
            # Links in the worktree are not followed by git either.
            mode = (os.lstat if path.rpartition(b"/")[2] in _READ_IN_WORKTREE else os.stat)(path).st_mode
            if stat.S_ISFIFO(mode) or (stat.S_ISCHR(mode) and not os.path.samefile(path, os.devnull)):
                return path
    return None


def _wanted_a_program(answer: GitAnswer) -> bool:
    """Whether git, sealed, may have tried to start one, by what it said; git itself counts, where that may not write.

    Rather once too often: to ask again costs little, to take a file for changed because its filter did not run would
    be a wrong answer.
    """
    return any(sign in answer.stderr for sign in (b"error: ", b"cannot exec", b"filter", b"hung up"))


def _with_settings(outcome: Analysed, config: RepositoryConfig) -> Analysed:
    return replace(
        outcome,
        quote_path=config.get_bool(b"core.quotepath", True),
        relative_paths=config.get_bool(b"status.relativepaths", True),
    )


def _find_absence(location: Location) -> Gone | Failed:
    """Why the repository is not found where it was."""
    for path in (location.path, location.git_dir, location.git_dir + b"/HEAD"):
        try:
            os.stat(path)
        except (FileNotFoundError, NotADirectoryError):
            return Gone()
        except OSError as error:
            return Failed(f"{error.strerror}: {shown(path)}", f"ls -ld {_quoted(path)}")
    if read_location(location.path) or read_location(location.git_dir.removesuffix(b"/.git")):
        return Gone()  # another is at that place, or its git dir has a worktree elsewhere now
    return Failed("git would not take it for a repository", _ask(location))


def _read_index(location: Location) -> tuple[IndexSnapshot | None, Index | None]:
    """Without a file, the empty index it stands for; no index where git will have to say what is wrong with it."""
    path = location.git_dir + b"/index"
    oid_bytes = read_format(location.common_dir).oid_bytes
    snapshot = read_snapshot(path)
    if snapshot is not None:
        return snapshot, _parse(snapshot, oid_bytes)
    with suppress(EnvironmentFailure):
        return None, read_index(path, oid_bytes)
    return None, None


def _parse(snapshot: IndexSnapshot, oid_bytes: int) -> Index | None:
    with suppress(EnvironmentFailure):
        return parse_index(snapshot.raw, oid_bytes, snapshot.mtime_ns)
    return None


def _ask_git(
    job: Job,
    start: bytes,
    config: RepositoryConfig,
    snapshot: IndexSnapshot | None,
    index: Index | None,
    deadline: float,
    programs: Programs = Programs.GIT_ALONE,
) -> tuple[GitAnswer, Index | None, bool]:
    """The judge's answer; the index as git left it, and whether its recorded stats are those on the disk."""

    def ask(index_file: bytes | None) -> GitAnswer:
        answer = run(index_file)
        # Killed for want of memory, or by somebody: that says nothing about the repository. (When we end, it gets
        # SIGTERM first, and must not be started again.)
        return run(index_file) if answer.returncode == -signal.SIGKILL else answer

    def run(index_file: bytes | None) -> GitAnswer:
        return run_git(
            STATUS,
            cwd=start,
            timeout_s=max(0.0, deadline - time.monotonic()),
            index_file=index_file,
            refresh_index=index_file is not None,
            ceiling=os.path.dirname(start),
            programs=programs,
        )

    if (
        snapshot is None
        or index is None
        or not _may_be_refreshed(job.location, index)
        or _is_hidden_refusal(config)
        or not _compares_ctimes(config)
        or config.find(b"attr.tree") is not None  # what a copy has for clean would follow from a ref, too
    ):
        return ask(None), index, False
    with private_copy(snapshot, job.index_cache, reuse=job.reuse_index) as copy:
        if copy is None:
            return ask(None), index, False
        answer = ask(copy.path)
        if not copy.intact():
            return ask(None), index, False
        if answer.returncode > 0:
            # Perhaps for what git needs only to write an index (index.recordEndOfIndexEntries, core.sharedRepository).
            copy.spoil()
            return ask(None), index, False
        if programs is Programs.GIT_ALONE and _wanted_a_program(answer):
            copy.spoil()  # git may have noted files as clean that only the driver could tell
            return answer, index, False
        if copy.as_made():
            return answer, index, True
        refreshed = read_snapshot(copy.path)
        parsed = None if refreshed is None else _parse(refreshed, index.oid_bytes)
        if parsed is None or not _same_flags(index, parsed):
            copy.spoil()
            return answer, index, False
        if parsed.newest_ctime_s() >= copy.began_s:
            # git compares ctimes by whole seconds and guards only mtimes against a second change within one: an edit of
            # the same size that puts the mtime back would go unseen by this copy, not by the user's index.
            copy.spoil()
        return answer, parsed, True


def _compares_ctimes(config: RepositoryConfig) -> bool:
    """Otherwise git looks into files as young as the index, and a copy that it refreshed is younger than the index."""
    try:
        return status_settings(config).compares_ctimes
    except BadValue:
        return False  # git says which


def _is_hidden_refusal(config: RepositoryConfig) -> bool:
    """Whether git may refuse a line that it does not see when it refreshes a copy (PRIVATE_INDEX_OPTIONS)."""
    return any(entry.key == b"index.sparse" and find_boolean(entry.value) is None for entry in config.entries)


def _same_flags(old: Index, new: Index) -> bool:
    """False where git found a file that a sparse checkout leaves out: it then writes that it is not left out."""
    rows = old.flagged_rows()
    return rows == new.flagged_rows() and all(old.flags(row) == new.flags(row) for row in rows)


def _may_be_refreshed(location: Location, index: Index) -> bool:
    """Whether git, allowed to write this index, writes that file and nothing else.

    A split index makes it write `sharedindex.*` into the user's git dir, a sparse one trees into the object
    store. With submodules the permission is inherited by the `git status` of each, which then writes that
    one's own index.
    """
    if location.bare or index.inexact is not None or index.gitlinks():
        return False
    if index.raw.find(b"UNTR", index.offsets[-1]) >= 0:
        return False  # its cache of untracked files would grow otherwise than the user's, and decides what git shows
    return not os.path.lexists(location.path + b"/.gitmodules")


def _explain(location: Location, config: RepositoryConfig, answer: GitAnswer) -> Outcome:
    """git refused: by nature, by ownership, or because something is broken."""
    lines = [line for line in answer.stderr.splitlines() if line.strip()]
    fatal = [line for line in lines if line.startswith(b"fatal: ")]
    last = (fatal or lines or [b""])[-1]
    path = _quoted(location.path)
    if b"dubious ownership" in answer.stderr:
        return Unsafe(
            "it belongs to another user",
            f"git config --global --add safe.directory {path}",
            complete_facts(location, config, None, None),
        )
    if location.bare and b"must be run in a work tree" in last:
        return Analysed(complete_facts(location, config, None, None), None, answer.stderr)
    reason = _without_secrets(shown(last.removeprefix(b"fatal: "))) or f"git status ended with {answer.returncode}"
    return Failed(reason, _ask(location))


def _without_secrets(text: str) -> str:
    """git and our readers quote the configuration that they refuse."""
    return without_userinfo(text.encode(errors="surrogateescape")).decode(errors="replace")


def _ask(location: Location) -> str:
    return f"git -C {_quoted(location.path)} status"


def _quoted(path: bytes) -> str:
    return shlex.quote(shown(path))
