"""The methods `roots.add`, `roots.remove` and `roots.list`.

Owns nothing. Runs: serving thread.
"""

from __future__ import annotations

import os

from gitwatchd.daemon.fleet import Fleet
from gitwatchd.daemon.requests import NotLookedAt, find_worktree_top, option, options_of, path_of, real_path
from gitwatchd.errors import EnvironmentFailure, reason_of
from gitwatchd.model.report import text_or_bytes
from gitwatchd.server.session import Session
from gitwatchd.store.intent import RootKind
from gitwatchd.wire.rpc import Request


class RootMethods:
    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet

    def add(self, session: Session, request: Request) -> None:
        path = path_of(request.params[0] if request.params else None)
        options = options_of(request.params, 1)
        kind = RootKind.DIRECTORY
        try:
            top = real_path(self._fleet, path, strict=True)
            if self._fleet.watcher.is_local(top):
                if not os.path.isdir(top):
                    raise EnvironmentFailure(f"{os.fsdecode(path)}: not a directory")
                if find_worktree_top(self._fleet, top) is not None:
                    kind = RootKind.WORKTREE
        except NotLookedAt:
            kind = RootKind.WORKTREE
        except OSError as error:
            raise EnvironmentFailure(f"{os.fsdecode(path)}: {reason_of(error)}") from None
        include = option(options, "include_ignored", bool, False)
        self._fleet.decisions.add_root(top, kind, permanent=True, include_ignored=include)
        session.reply(request.id, {"path": text_or_bytes(top)})

    def remove(self, session: Session, request: Request) -> None:
        path = path_of(request.params[0] if request.params else None)
        decisions = self._fleet.decisions
        if not (decisions.remove_root(path) or decisions.remove_root(real_path(self._fleet, path))):
            raise EnvironmentFailure(f"{os.fsdecode(path)}: not a root", "gitwatch roots list shows them")
        session.reply(request.id, True)

    def list(self, session: Session, request: Request) -> None:
        session.reply(
            request.id,
            [
                {
                    "path": text_or_bytes(root.path), "permanent": root.permanent,
                    "configured": root.path in self._fleet.roots.configured,
                    "include_ignored": root.include_ignored, "asked_at": root.asked_at,
                    "repositories": len(self._fleet.listed((root.path,))),
                }
                for root in self._fleet.roots.all()
            ],
        )  # fmt: skip
