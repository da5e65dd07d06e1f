"""The directories below which repositories are looked for, and which of them are being walked.

Owns: the roots in use (what the user decided, which `Intent` keeps, and what `config.toml` names), the globs of what is
left out, the walks under way, what could not be read.
Runs: serving thread.
Invariant: a glob counts only below the root, or the directory of a request, that it is seen from: what somebody names
is never left out.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable

from gitwatchd.errors import EnvironmentFailure
from gitwatchd.store.intent import Intent, Root, RootKind


class Roots:
    def __init__(self, intent: Intent, walk: Callable[[bytes, Root], None], is_absent: Callable[[bytes], bool]) -> None:
        """`walk(directory, root)` begins to look for repositories; `ended` is to be called when it is done.
        `is_absent(path)`: there is no such directory (false where looking might hang)."""
        self._intent = intent
        self._walk = walk
        self._is_absent = is_absent
        self._absent: set[bytes] = set()
        """Roots that were not there when somebody looked."""
        self._roots: dict[bytes, Root] = {root.path: root for root in intent.roots()}
        self.configured: frozenset[bytes] = frozenset()
        """Those that `config.toml` names, whatever `Intent` says of them."""
        self.ignore: tuple[bytes, ...] = ()
        self._walks: Counter[bytes] = Counter()
        self.unreadable: dict[bytes, str] = {}
        """Directories that discovery could not read, with the reason."""

    def all(self) -> list[Root]:
        """In order of their paths."""
        return [root for _, root in sorted(self._roots.items())]

    def add(self, path: bytes, kind: RootKind, *, permanent: bool, include_ignored: bool) -> Root:
        """Raises EnvironmentFailure when it cannot be written down."""
        root = self._intent.add_root(
            path, kind, permanent=permanent, include_ignored=include_ignored, asked_at=time.time()
        )
        self._roots[path] = root
        return root

    def configure(self, paths: Iterable[bytes], ignore: tuple[bytes, ...]) -> list[bytes]:
        """What `config.toml` says now: these (resolved) are roots for ever. Returns those that were none before."""
        before = self._roots
        self.configured, self.ignore = frozenset(paths), ignore
        self._roots = {root.path: root for root in self._intent.roots()}
        for path in self.configured:
            include_ignored = path in self._roots and self._roots[path].include_ignored
            self._roots[path] = Root(path, RootKind.DIRECTORY, True, include_ignored, time.time())
        return [path for path in self._roots if path not in before]

    def remove(self, path: bytes) -> bool:
        """False when it is no root. Raises EnvironmentFailure for one that `config.toml` names."""
        if path in self.configured:
            raise EnvironmentFailure(
                f"{os.fsdecode(path)}: the configuration names this root",
                "take it out there: gitwatch config shows where",
            )
        if not self._intent.remove_root(path):
            return False
        self._roots.pop(path, None)
        return True

    def expired(self, now: float) -> list[Root]:
        """Merely asked for, and long ago. `now`: epoch seconds."""
        return self._intent.expired_roots(now)

    def touch(self, directory: bytes, epoch: float) -> None:
        """Somebody asked about that directory."""
        self._intent.touch_root(self.above(directory), epoch)

    def above(self, directory: bytes) -> bytes:
        """The nearest root at or above `directory`; `directory` itself when there is none."""
        candidate = directory
        while candidate not in self._roots:
            parent = candidate.rpartition(b"/")[0] or b"/"
            if parent == candidate:
                return directory
            candidate = parent
        return candidate

    def find(self, directory: bytes) -> Root | None:
        """The nearest root at or above `directory`."""
        return self._roots.get(self.above(directory))

    def is_root(self, path: bytes) -> bool:
        return path in self._roots

    def cover(self, directory: bytes) -> bool:
        """Whether it lies below a root and is not left out there."""
        above = self.above(directory)
        return above in self._roots and not self.hides((above,), directory)

    def hides(self, tops: Iterable[bytes], path: bytes) -> bool:
        """Whether `path`, below some of `tops`, is left out of a list of what lies there."""
        if not self.ignore:
            return False
        from gitwatchd.settings.globs import covers

        return all(covers(self.ignore, path, below=top) for top in tops if _is_below(path, top))

    def listed(self) -> list[bytes]:
        """Where a list of all repositories begins: no place that is left out elsewhere and was merely asked for."""
        return [root.path for root in self.all() if root.permanent or not self._hidden_further_up(root.path)]

    def _hidden_further_up(self, path: bytes) -> bool:
        above = self.above(path.rpartition(b"/")[0] or b"/")
        return above in self._roots and above != path and self.hides((above,), path)

    # ---- walks

    def look(self, directory: bytes) -> None:
        """Look for repositories at and below `directory`, if it lies below a root."""
        root = self.find(directory)
        if root is not None and not self.hides((root.path,), directory):
            self.unreadable = {path: why for path, why in self.unreadable.items() if not _is_below(path, directory)}
            self._walks[root.path] += 1
            if directory == root.path and self._is_absent(directory):
                self._absent.add(directory)
            self._walk(directory, root)

    def look_everywhere(self) -> None:
        for path in list(self._roots):
            self.look(path)

    def take_appeared(self) -> list[bytes]:
        """Roots that were not there when somebody looked, and are now. No event tells: what is above is not watched."""
        self._absent &= self._roots.keys()
        appeared = [path for path in self._absent if not self._is_absent(path)]
        self._absent.difference_update(appeared)
        return appeared

    def ended(self, root: bytes, unreadable: Iterable[tuple[bytes, str]]) -> None:
        """A walk that `look` began has ended."""
        self.unreadable.update(unreadable)
        self._walks[root] -= 1
        if self._walks[root] <= 0:
            del self._walks[root]

    def looking(self, tops: Iterable[bytes]) -> bool:
        """Whether repositories are being looked for at, above or below any of these directories."""
        return any(_overlap(root, top) for root in self._walks for top in tops)


def _overlap(one: bytes, other: bytes) -> bool:
    """Whether one of two directories is at or below the other."""
    return _is_below(one, other) or _is_below(other, one)


def _is_below(path: bytes, top: bytes) -> bool:
    """At `top`, or below it."""
    return path == top or path.startswith(top.rstrip(b"/") + b"/")
