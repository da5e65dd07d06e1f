"""Who wants to be told of changes.

Owns: the subscriptions of all sessions. Runs: serving thread. A subscriber that does not read is dropped by its
session.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from gitwatchd.daemon.views import report
from gitwatchd.engine.repository import Repository
from gitwatchd.loop import Loop, Timer
from gitwatchd.model.repository import RepoPath
from gitwatchd.server.session import Session


@dataclass(slots=True)
class Subscription:
    """Neither `tops` nor `groups`: every repository. `settle_s`: a change is told when it was quiet this long."""

    session: Session
    tops: tuple[bytes, ...]
    groups: tuple[str, ...]
    settle_s: float
    method: str
    arguments: list[object]
    timers: dict[RepoPath, Timer] = field(default_factory=dict)

    def is_below(self, path: bytes) -> bool:
        return any(path == top or path.startswith(top.rstrip(b"/") + b"/") for top in self.tops)


class Subscriptions:
    """`hidden(tops, path)`: whether a list of what lies below `tops` (none: of everything) leaves `path` out.
    `belongs(groups, path)`: whether it is in one of these groups."""

    def __init__(
        self,
        loop: Loop,
        hidden: Callable[[tuple[bytes, ...], bytes], bool],
        belongs: Callable[[tuple[str, ...], bytes], bool],
    ) -> None:
        self._loop = loop
        self._hidden = hidden
        self._belongs = belongs
        self._ids = itertools.count(1)
        self._subscriptions: dict[int, Subscription] = {}

    def __len__(self) -> int:
        return len(self._subscriptions)

    def add(self, subscription: Subscription) -> int:
        number = next(self._ids)
        self._subscriptions[number] = subscription
        return number

    def drop(self, session: Session) -> None:
        for number, subscription in list(self._subscriptions.items()):
            if subscription.session is session:
                for timer in subscription.timers.values():
                    timer.cancel()
                del self._subscriptions[number]

    def publish(self, repository: Repository) -> None:
        for subscription in list(self._subscriptions.values()):
            if not self._concerns(subscription, repository.path):
                continue
            if subscription.settle_s <= 0:
                _tell(subscription, repository)
                continue
            if (timer := subscription.timers.get(repository.path)) is not None:
                timer.cancel()
            tell = partial(_tell, subscription, repository)
            subscription.timers[repository.path] = self._loop.call_later(subscription.settle_s, tell)

    def _concerns(self, subscription: Subscription, path: RepoPath) -> bool:
        tops, groups = subscription.tops, subscription.groups
        if subscription.is_below(path) and not self._hidden(tops, path):
            return True
        every = not tops and not groups
        return (every or self._belongs(groups, path)) and not self._hidden((), path)


def _tell(subscription: Subscription, repository: Repository) -> None:
    subscription.timers.pop(repository.path, None)
    standing = repository.standing(fresh=repository.current, epoch=time.time())
    told: object = report(repository, standing)
    if subscription.method == "nvim_exec_lua":
        told = [told]  # Neovim wants the arguments of the code as one list
    subscription.session.notify(subscription.method, [*subscription.arguments, told])
