"""`gitwatch status --porcelain=v2 [-z] [PATH]`: byte for byte what git itself prints.

Owns nothing. Runs: one process a command.
Invariant: what reaches standard output is git's own answer for this caller, whole, or nothing. The daemon's
answer is taken only where the caller's git would see the same world; in any other case git is run. (Not
where the repository is unsafe: running git there is what the user has to allow first.)
"""

from __future__ import annotations

import os

from gitwatch import output
from gitwatch.cli import absolute, working_directory
from gitwatch.link import connect
from gitwatch.status import wait_option
from gitwatch.words import to_bytes
from gitwatchd.errors import EnvironmentFailure, GitMissing, NotARepository, UserError
from gitwatchd.wire.blocking import DaemonSilent

TYPE_CHECKING = False  # `typing` costs 10 ms; mypy knows this name
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from gitwatch.cli import Invocation

JUDGE = (
    "git", "--no-optional-locks", "-c", "core.fsmonitor=false",
    "status", "--porcelain=v2", "--branch", "--show-stash",
)  # fmt: skip

_HARMLESS = frozenset({
    "GIT_ADVICE", "GIT_ALLOW_PROTOCOL", "GIT_ASKPASS", "GIT_CURL_VERBOSE", "GIT_DIFF_OPTS", "GIT_EDITOR",
    "GIT_EXTERNAL_DIFF", "GIT_MERGE_AUTOEDIT", "GIT_MERGE_VERBOSITY", "GIT_NO_LAZY_FETCH",
    "GIT_OPTIONAL_LOCKS", "GIT_PAGER", "GIT_PAGER_IN_USE", "GIT_PROTOCOL", "GIT_PROTOCOL_FROM_USER",
    "GIT_PROXY_COMMAND", "GIT_REFLOG_ACTION", "GIT_SEQUENCE_EDITOR", "GIT_TERMINAL_PROMPT",
})  # fmt: skip
_HARMLESS_PREFIXES = (
    "GIT_AUTHOR_", "GIT_COMMITTER_", "GIT_COMPLETION_", "GIT_HTTP_", "GIT_PROMPT_", "GIT_PS1_",
    "GIT_SSH", "GIT_SSL_",
)  # fmt: skip


def porcelain(invocation: Invocation) -> int:
    if invocation.options["--porcelain"] != "v2":
        raise UserError(f"no porcelain format {invocation.options['--porcelain']!r}", "say --porcelain=v2")
    if len(invocation.operands) > 1 or invocation.groups():
        raise UserError("--porcelain=v2 answers about one PATH", "use --json for several")
    if invocation.has("--direct") or changed_answer(os.environ) is not None:
        return run_judge(invocation)
    try:
        link = connect(invocation)
    except DaemonSilent as silent:
        output.complain(f"{silent.message}; asking git itself", silent.hint)
        return run_judge(invocation)
    if not same_world(link.hello, os.environ):
        return run_judge(invocation)
    here = working_directory()
    options: dict[str, Any] = {**wait_option(invocation), "z": invocation.has("-z"), "cwd": here}
    if invocation.has("--verify"):
        options["verify"] = True
    try:
        answer = link.call("entries", _asked(invocation), options, timeout_s=invocation.remaining_s())
    except DaemonSilent as silent:
        if invocation.timeout_s is not None:
            raise
        output.complain(f"{silent.message}; asking git itself", silent.hint)
        return run_judge(invocation)
    return _print(invocation, answer)


def _asked(invocation: Invocation) -> bytes:
    return absolute(invocation.operands[0]) if invocation.operands else working_directory()


def _print(invocation: Invocation, answer: dict[str, Any]) -> int:
    state, reason, hint = answer["state"], answer["reason"] or "", answer["hint"] or ""
    cached = invocation.has("--no-wait")
    if state in ("stale", "pending") and not cached and invocation.timeout_s is None:
        return run_judge(invocation)
    if state == "unsafe":
        output.complain(f"unsafe: {reason}", hint)
        return 3
    usable = state == "fresh" or (state == "stale" and cached)
    if answer["exit"] == 0 and usable:
        output.write(to_bytes(answer["stdout"] or b""))
        if state != "fresh":
            output.complain(": ".join(filter(None, (state, reason))), hint)
        return int(state != "fresh" and invocation.has("--strict"))
    said = to_bytes(answer["stderr"] or b"")
    if said:
        for line in said.splitlines():
            os.write(output.STDERR, output.plain(line).encode() + b"\n")
    else:
        output.complain(": ".join(filter(None, (state, reason))) or "git failed", hint)
    return 1


def changed_answer(environ: Mapping[str, str]) -> str | None:
    """A variable because of which this caller's git may answer otherwise than the daemon's, or None.

    Every GIT_* that is not known to be harmless counts: a new one must not make us lie.
    """
    for name, value in environ.items():
        if name.startswith("GIT_") and name not in _HARMLESS and not name.startswith(_HARMLESS_PREFIXES):
            if value or name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
                return name
        # Under sudo git trusts the repositories of both users.
        elif name == "SUDO_UID" and os.geteuid() == 0:
            return name
    return None


def same_world(hello: Mapping[str, Any], environ: Mapping[str, str]) -> bool:
    """Whether this caller's git and configuration are the daemon's: executable, HOME, XDG_CONFIG_HOME."""
    theirs = _configuration(hello["home"], hello["xdg_config_home"])
    if theirs != _configuration(environ.get("HOME"), environ.get("XDG_CONFIG_HOME")):
        return False
    ours = find_git(environ)
    git = hello["git"]
    if ours is None or not git:
        return False
    try:
        return os.path.samefile(ours, git)
    except OSError:
        return False


def _configuration(home: str | bytes | None, xdg: str | bytes | None) -> tuple[bytes, bytes]:
    # As git reads them: an empty XDG_CONFIG_HOME is an unset one.
    home = os.fsencode(home or b"").rstrip(b"/")
    return home, os.fsencode(xdg or b"").rstrip(b"/") or home + b"/.config"


def find_git(environ: Mapping[str, str]) -> str | None:
    for directory in environ.get("PATH", os.defpath).split(os.pathsep):
        candidate = os.path.join(directory, "git")
        if os.access(candidate, os.X_OK) and os.path.isfile(candidate):
            return candidate
    return None


def run_judge(invocation: Invocation) -> int:
    """Run git in the caller's own environment: its output is ours. Exit code 0, or 1 where git fails."""
    _enter_directory(invocation)
    command = [*JUDGE, "-z"] if invocation.has("-z") else list(JUDGE)
    import signal

    def too_late(number: int, frame: object) -> None:
        raise TimeoutError

    try:
        child = os.posix_spawnp("git", command, os.environ)
    except FileNotFoundError:
        raise GitMissing("git was not found on PATH", "install git") from None
    signal.signal(signal.SIGALRM, too_late)
    try:
        signal.setitimer(signal.ITIMER_REAL, invocation.remaining_s())
        _, ended = os.waitpid(child, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeoutError:
        os.kill(child, signal.SIGTERM)  # it lets git remove its temporary files; SIGKILL would not
        raise EnvironmentFailure("git did not end in time", "give it longer with --timeout") from None
    except KeyboardInterrupt:
        os.waitpid(child, 0)  # the terminal interrupted git as well
        raise
    if os.WIFSIGNALED(ended) and os.WTERMSIG(ended) == signal.SIGPIPE:
        raise output.OutputClosed
    return int(ended != 0)


def _enter_directory(invocation: Invocation) -> None:
    """Change to the directory in which git has to run: the caller's, unless PATH is in another worktree."""
    if not invocation.operands:
        return
    path = _asked(invocation)
    directory = path if os.path.isdir(path) else os.path.dirname(path)
    if not invocation.has("-z") and not {"GIT_DIR", "GIT_WORK_TREE"} & os.environ.keys():
        from gitwatchd.git.layout import find_worktree

        try:
            directory = find_worktree(directory).path
            if find_worktree(working_directory()).path == directory:
                return
        except NotARepository:
            pass
    try:
        os.chdir(directory)
    except OSError as why:
        raise UserError(f"{os.fsdecode(directory)}: {why.strerror}") from None
