"""The method `entries`: the judge's own bytes of one worktree, from what is known.

Owns nothing. Runs: serving thread.
"""

from __future__ import annotations

import os
from typing import Any

from gitwatchd.daemon.fleet import Fleet
from gitwatchd.daemon.queries import Answer, Scope
from gitwatchd.daemon.requests import (
    Ask,
    name_all,
    option,
    options_of,
    path_of,
    real_path,
    resolve_strictly,
    worktree_of,
)
from gitwatchd.engine.repository import Repository
from gitwatchd.errors import EnvironmentFailure, UserError
from gitwatchd.model.report import Standing
from gitwatchd.model.repository import Analysed, RepoPath
from gitwatchd.server.session import Session
from gitwatchd.wire.rpc import FAILED, Request


class Entries:
    def __init__(self, fleet: Fleet, ask: Ask) -> None:
        self._fleet = fleet
        self._ask = ask

    def handle(self, session: Session, request: Request) -> None:
        if not request.params:
            raise UserError("entries needs a path")
        path = path_of(request.params[0])
        options = options_of(request.params, 1)
        with_z = option(options, "z", bool, True)
        cwd = options.get("cwd")
        here = None if cwd is None else real_path(self._fleet, path_of(cwd))

        asked: set[RepoPath] = set()

        def ask_about(top: RepoPath) -> None:
            asked.add(top)
            self._ask(session, request, Scope((), (top,)), options, lambda answer: reply(top, answer))

        def reply(top: RepoPath, answer: Answer) -> None:
            if not answer.repositories or answer.repositories[0][0].gone:
                # Known until this very question: by now the path may lie in the worktree around it.
                try:
                    around = worktree_of(self._fleet, path)
                except EnvironmentFailure as error:
                    session.fail(request.id, FAILED, str(error))
                    return
                found = self._fleet.repository(around)
                if found is not None and not found.gone and around not in asked:
                    ask_about(around)
                    return
            if not answer.repositories:
                session.fail(request.id, FAILED, f"{os.fsdecode(path)}: no repository there any more")
                return
            ((repository, standing),) = answer.repositories
            local = self._fleet.is_local(repository.location)
            session.reply(request.id, _entries_of(repository, standing, with_z, here, local=local))

        top, _kind = resolve_strictly(self._fleet, path)
        if self._fleet.repository(top) is not None or self._fleet.stays_local(top):
            ask_about(worktree_of(self._fleet, path))
            return
        # Whether there is a repository on a mount that may hang is for a worker to find out.
        named = name_all(self._fleet, [path])
        self._ask(session, request, named.scope, options, lambda _answer: reply(RepoPath(top), Answer([])))


def _entries_of(
    repository: Repository, standing: Standing, with_z: bool, cwd: bytes | None, *, local: bool
) -> dict[str, Any]:
    """What `entries` answers: git's own bytes and exit code, or why there are none."""
    answer: dict[str, Any] = {
        "state": standing.state.value, "reason": standing.reason, "hint": standing.hint,
        "exit": 1, "stdout": b"", "stderr": b"",
    }  # fmt: skip
    outcome = repository.outcome
    if isinstance(outcome, Analysed):
        answer["stderr"] = outcome.message
        if outcome.entries is not None:
            answer["exit"] = 0
            answer["stdout"] = outcome.entries if with_z else _without_z(repository, outcome, cwd, local=local)
    return answer


def _without_z(repository: Repository, outcome: Analysed, cwd: bytes | None, *, local: bool) -> bytes:
    from gitwatchd.git.environment import child_environment
    from gitwatchd.git.porcelain import render_without_z
    from gitwatchd.git.repository_config import read_config

    quote_path, relative_paths = outcome.quote_path, outcome.relative_paths
    if local:
        config = read_config(repository.location, environment=child_environment(os.environ))
        quote_path = config.get_bool(b"core.quotepath", True)
        relative_paths = config.get_bool(b"status.relativepaths", True)
    prefix = b""
    top = repository.path
    if cwd is not None and cwd.startswith(top + b"/"):
        prefix = cwd[len(top) + 1 :] + b"/"
    return render_without_z(outcome.entries or b"", prefix, quote_path, relative_paths)
