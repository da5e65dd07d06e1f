"""Everything the kernel tells, for all repositories: the one face of `watch/` towards the daemon.

Owns: the watch tables (inotify queues), the sinks, the walking and the discovering thread.
Runs: everything public on the serving thread; the two threads hand their results over with `Loop.call_from_thread`.
Invariant: a repository's watches lie in one table, so that a query drains that table and the one of the configuration.
Invariant: the two threads only add watches and list directories; they never read a queue.
Longer than its neighbours: the serving thread's half and the walking threads' share `_watches` and `_own` and the lock
that guards them, and a walk that was released meanwhile must come to nothing; in two modules each would reach into the
other. What a walk does is in walk.py, what a queue does in table.py.
"""

from __future__ import annotations

import itertools
import logging
import os
import queue
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace

from gitwatchd.errors import EnvironmentFailure, is_exhaustion
from gitwatchd.git.layout import check_parts, find_start, read_location
from gitwatchd.git.reach import LeadsAway
from gitwatchd.incremental.strays import Strays
from gitwatchd.loop import Loop
from gitwatchd.model.report import Watch
from gitwatchd.model.repository import Lack, Location, RepoPath, Shortage
from gitwatchd.mounts import Mounts, lies_below, watch_mounts
from gitwatchd.watch import platform
from gitwatchd.watch.changes import Aspect, Changes
from gitwatchd.watch.discoverer import Discoverer
from gitwatchd.watch.discovery import Skip
from gitwatchd.watch.discovery_watch import ConfigurationWatch, DiscoveryWatch
from gitwatchd.watch.events import InstanceLimitReached, WatchLimitReached
from gitwatchd.watch.limits import (
    MORE_FILES_HINT,
    descriptors_left,
    more_instances_hint,
    more_watches_hint,
    own_share,
    read_max_watches,
)
from gitwatchd.watch.listener import Identity, Listener, Raised, Sight, WalkResult, find_identity
from gitwatchd.watch.repository_watch import GIT_DIRECTORIES, Released, RepositoryWatch
from gitwatchd.watch.table import Allowance, WatchTable
from gitwatchd.watch.walk import RepositoryWalk, configuration_files

_log = logging.getLogger(__name__)

SHARDS = 3
"""Queues for ordinary repositories: an overflow makes all on one queue unsure, and each is one of few instances."""
BIG_INDEX_BYTES = 1 << 20
"""A repository whose index is larger (some 10,000 files) gets a queue of its own ..."""
MOST_OWN_QUEUES = 4
"""... while there are any: fs.inotify.max_user_instances is 128 for all programs of the user."""
WALKERS = 2
"""Walking threads: half of a walk is system calls, during which the other one runs."""
LOOK_EVERY_S, LOOK_SHARE = 30.0, 5000
"""Where no queue wakes us each is looked at this often, and takes no more than a 5,000th of the time: what changes
unasked concerns subscribers only."""
BREATH_S = 0.02
"""After events woke us the queue is left alone this long: a checkout raises 70,000 events a second, and one wake-up for
each would be most of the work. Far below the 220 ms in which a queue of 16,384 can fill; a query drains at once."""

THREADS_AGAIN_S = 1.0
"""When the system gave no thread. What was asked for waits meanwhile."""


class Watcher:
    """`limit` caps the watches below what the kernel allows; without it, our share of that."""

    def __init__(self, loop: Loop, listener: Listener, *, limit: int | None = None, sight: Sight | None = None) -> None:
        self._loop = loop
        self.sight = sight
        self._listener = listener
        self._kernel_limit = read_max_watches()
        self._given_limit = limit
        self._allowance = Allowance(own_share(self._kernel_limit) if limit is None else limit)
        self._common = WatchTable(self._allowance)
        """Discovery and configuration; repositories too, while there is no other queue."""
        self._shards = [WatchTable(self._allowance) for _ in range(SHARDS)]
        self._own: dict[RepoPath, WatchTable] = {}
        self._discovery = DiscoveryWatch(self._common)
        self._discoverer = Discoverer(self._discovery, self.known_mounts, self._tell_found, self._tell_led_away)
        self._configuration = ConfigurationWatch(self._common, self._is_known_local)
        self._settings = ConfigurationWatch(self._common, self._is_known_local)
        self._settings_files: tuple[bytes, ...] = ()
        self._settings_blind = False
        self._watches: dict[RepoPath, RepositoryWatch] = {}
        self._lock = threading.Lock()
        """Held for a moment while `_watches` and `_own` change."""
        self._count = itertools.count(1)
        self._numbers: dict[RepoPath, int] = {}
        """The last walk asked for, of each repository not released since."""
        self._mounts = watch_mounts()
        self._leads_onto: dict[bytes, bytes] = {}
        """Repositories, and places that may hold one, that are local and lead onto a mount that may hang."""
        self._walks: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._discoveries: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        for table in (self._common, *self._shards):
            self._listen(table)
        if (fd := self._mounts.fileno()) is not None:
            self._loop.on_readable(fd, self._tell_mounts)

    def start(self) -> None:
        """Let the threads begin; what was asked for earlier waits until now."""
        if not self._threads:
            self._start_threads()

    def _start_threads(self) -> None:
        """Those that do not run yet: where the system gave none it may give one by now."""
        running = Counter(thread.name for thread in self._threads)
        for name, wanted, work in (("walk", WALKERS, self._walks), ("discover", 1, self._discoveries)):
            for _ in range(wanted - running[name]):
                thread = threading.Thread(target=_work_off, args=(work,), name=name, daemon=True)
                try:
                    thread.start()
                except RuntimeError as reason:
                    _log.warning("no thread could be started: %s", reason)
                    self._loop.call_later(THREADS_AGAIN_S, self._start_threads)
                    return
                self._threads.append(thread)

    def close(self) -> None:
        for work in (*[self._walks] * WALKERS, self._discoveries):
            work.put(None)
        for thread in self._threads:
            thread.join(timeout=1.0)
        for table in self._tables():
            self._close_table(table)
        if (fd := self._mounts.fileno()) is not None:
            self._loop.forget(fd)
        self._mounts.close()

    def _close_table(self, table: WatchTable) -> None:
        if table.queue is not None and (fd := table.queue.fileno()) is not None:
            self._loop.forget(fd)
        table.close()

    # ---- what is watched

    def walk(self, location: Location, directories: frozenset[bytes] | None, *, look: bool = True) -> None:
        """Place the watches of a repository (all, or those of new directories); ends in `on_walked`.

        `look`: have `sight` look at what a whole walk listed.
        """
        number = self._numbers[location.path] = next(self._count)
        self._walks.put(
            lambda: self._hand_over(location, number, lambda: self._walk(location, number, directories, look))
        )

    def discover(
        self, directory: bytes, root: bytes, *, include_ignored: bool = False, skip: Skip = lambda _path: False
    ) -> None:
        """Look for repositories at and below `directory`, itself at or below `root`; ends in `on_discovered`.

        `skip` is called on the discovering thread with each directory below: whether to leave it out.
        """
        self._mounts.look()

        def work() -> None:
            unreadable = self._discoverer.discover(directory, root, include_ignored=include_ignored, skip=skip)
            self._loop.call_from_thread(lambda: self._listener.on_discovered(root, unreadable))

        self._discoveries.put(work)

    def follow_settings(self, files: Iterable[bytes]) -> None:
        """Tell of these files too, by `on_settings`; they need not exist. Without a watch for them, as soon as there is
        one."""
        self._settings_files = tuple(files)
        self._settings_blind = False
        try:
            self._settings.cover(self._settings_files)
        except OSError:
            self._settings_blind = True

    def release(self, path: RepoPath) -> None:
        """Drop every watch of a repository; a walk of it that is under way comes to nothing, and `on_walked` is not
        called for it."""
        self._numbers.pop(path, None)
        self._leads_onto.pop(path, None)
        with self._lock:
            watch = self._watches.pop(path, None)
            table = self._own.pop(path, None)
        if watch is not None:
            watch.release()
        if table is not None:
            self._close_table(table)

    def mount_of(self, path: bytes) -> bytes:
        """The mount point that work on the repository at `path` may hang on, without touching it."""
        mounts = self._mounts.look()
        return self._leads_onto.get(path) or mounts.find_remote(path) or mounts.mount_of(path)

    def type_of(self, path: bytes) -> str:
        """The type of that mount's file system."""
        return self._mounts.look().type_of(path)

    def is_local(self, path: bytes) -> bool:
        """Whether looking there cannot hang; what was mounted before this call counts."""
        return self._mounts.look().is_local(path)

    def is_local_throughout(self, path: bytes) -> bool:
        """As `is_local`, of all below it as well."""
        return self._mounts.look().find_remote(path) is None

    def note_led_away(self, path: bytes, mount: bytes) -> None:
        """Something of the repository at `path` was found to lie on that mount. Forgotten by a walk that finds nothing
        there, and when something else is mounted."""
        self._leads_onto[path] = mount

    def leads_onto(self, path: bytes) -> bytes | None:
        """The mount of the last `note_led_away`."""
        return self._leads_onto.get(path)

    def is_mount_point(self, path: bytes) -> bool:
        return path in self._mounts.mounts.types

    def stop_discovery(self) -> None:
        """Give the watches outside of repositories back, and place no more until `resume_discovery`."""
        self._discovery.stop()

    def resume_discovery(self) -> None:
        """Walks from now on place them again."""
        self._discovery.resume()

    @property
    def discovery_is_blind(self) -> bool:
        """Whether no event tells of new repositories."""
        return self._discovery.stopped or self._discovery.refused or self._common.queue is None

    @property
    def discovery_refused(self) -> int | None:
        """The watches that discovery held when it was refused one, since it was last stopped or resumed."""
        return self._common.count(self._discovery) if self._discovery.refused else None

    def look_for_room(self) -> Raised:
        """Whether limits rose, or queues can be opened that could not. Cheap: to be called while somebody goes
        without."""
        before, self._kernel_limit = own_share(self._kernel_limit), read_max_watches()
        now = own_share(self._kernel_limit)
        if self._given_limit is None:
            self._allowance.limit = now
        watches = 0 if now is None or before is None else max(0, now - before)
        instances = False
        for table in (self._common, *self._shards):
            if table.queue is None and table.revive():
                instances = True
                self._listen(table)
        if self._settings_blind:
            self.follow_settings(self._settings_files)
            if not self._settings_blind:
                self._listener.on_settings()
        return Raised(watches, instances, descriptors_left())

    def counts(self) -> dict[str, int | None]:
        """For `doctor`."""
        tables = self._tables()
        return {
            "watches": self._allowance.used,
            "budget": self._allowance.limit,
            "queues": sum(table.queue is not None for table in tables),
            "events": sum(table.events for table in tables),
            "overflows": sum(table.overflows for table in tables),
            "discovery_watches": self._common.count(self._discovery),
        }

    def attributes_of(self, path: RepoPath) -> set[bytes]:
        """Directories of that worktree (relative) in which a `.gitattributes` was seen."""
        watch = self._watches.get(path)
        return set() if watch is None else set(watch.attributes)

    def strays_of(self, path: RepoPath) -> Strays | None:
        """Which directories of that worktree hold what the index does not name; None while it is not watched."""
        watch = self._watches.get(path)
        return None if watch is None or watch.released else watch.strays

    def known_mounts(self) -> Mounts:
        """On any thread: the snapshot last read."""
        return self._mounts.mounts

    def _is_known_local(self, path: bytes) -> bool:
        """As `is_local`, on any thread: by the snapshot last read."""
        return self._mounts.mounts.is_local(path)

    # ---- draining

    def drain(self, paths: Iterable[RepoPath] | None = None) -> None:
        """Read and apply all that the kernel reported, for these repositories (None: all) and for what they share."""
        self._tell_mounts()
        if paths is None:
            tables = set(self._tables())
        else:
            tables = {watch.table for path in paths if (watch := self._watches.get(path)) is not None}
            tables.add(self._common)
        for table in tables:
            if table.drain():
                self._tell(table)

    def _tell_mounts(self) -> None:
        self._mounts.look()
        points = self._mounts.take()
        if not points:
            return
        _log.info("mounts changed: %r", sorted(points))
        self._configuration.suspect(points)
        self._settings.suspect(points)
        self._tell_files()
        self._listener.on_mounts(points)
        for path in [path for path, mount in self._leads_onto.items() if mount in points]:
            del self._leads_onto[path]
            self._listener.on_led_away(path)  # what it leads to now is for another look to say

    def _tell(self, table: WatchTable) -> None:
        for sink in table.take_touched():
            if isinstance(sink, RepositoryWatch):
                if sink.changes and not sink.released:
                    self._listener.on_changed(sink.location.path, sink.take())
            elif isinstance(sink, DiscoveryWatch):
                again, left, everything = sink.take()
                for path in left:
                    self._listener.on_left(path)
                for directory in again:
                    self._listener.on_left(directory)
                    self._listener.on_appeared(directory)
                if everything:
                    self._listener.on_suspicion()
        if table is self._common:
            self._tell_files()

    def _tell_files(self) -> None:
        if self._settings.take():
            self._listener.on_settings()
        if self._configuration.take():
            self._listener.on_configuration()
            for path in list(self._watches):
                # Other directories may be ignored now, and other files be part of the configuration.
                self._listener.on_changed(path, Changes(Aspect.CONFIG, new_directories={GIT_DIRECTORIES}))

    def _tell_found(self, location: Location) -> None:
        self._loop.call_from_thread(lambda: self._listener.on_found(location))

    def _tell_led_away(self, directory: bytes, mount: bytes) -> None:
        def tell() -> None:
            self.note_led_away(directory, mount)
            self._listener.on_led_away(directory)

        self._loop.call_from_thread(tell)

    def _listen(self, table: WatchTable) -> None:
        if table.queue is None or table not in self._tables():
            return  # closed before this was called: its descriptor may be another's by now
        fd = table.queue.fileno()
        if fd is None:
            self._look_now_and_then(table)
            return

        def on_readable() -> None:
            self._loop.forget(fd)
            self._loop.call_later(BREATH_S, listen_again)  # first: a bug in what follows must not make us deaf
            if table.drain():
                self._tell(table)

        def listen_again() -> None:
            if table in self._tables():
                self._loop.on_readable(fd, on_readable)

        self._loop.on_readable(fd, on_readable)

    def _look_now_and_then(self, table: WatchTable) -> None:
        """Where nothing wakes us; a query drains at once here, too."""
        if table in self._tables():
            began = time.perf_counter()
            if table.drain():
                self._tell(table)
            pause_s = max(LOOK_EVERY_S, (time.perf_counter() - began) * LOOK_SHARE)
            self._loop.call_later(pause_s, lambda: self._look_now_and_then(table))

    def _tables(self) -> list[WatchTable]:
        with self._lock:
            return [self._common, *self._shards, *self._own.values()]

    # ---- the walking thread

    def _hand_over(self, location: Location, number: int, walk: Callable[[], WalkResult]) -> None:
        path = location.path
        try:
            result = walk()
        except Released:
            # Nobody wants that walk any more; if somebody does, he is to be told that it came to nothing.
            result = WalkResult(path, location, None, Watch.POLLED, "its watches were given up while they were placed")
        except (EnvironmentFailure, OSError) as error:
            reason, hint, shortage = _refusal(error)
            result = WalkResult(
                path, location, None, Watch.POLLED, reason, hint, shortage, leads_onto=_mount_behind(error)
            )
        except Exception:  # noqa: BLE001 - a seam of errors.py: a bug in one walk must not end the thread
            _log.exception("walking %r", path)
            result = WalkResult(path, location, None, Watch.POLLED, "a bug ended its walk: see the log")

        def tell() -> None:
            if self._numbers.get(path) != number:
                return
            if result.leads_onto is not None:
                self.note_led_away(path, result.leads_onto)
            elif result.location is not None:
                self._leads_onto.pop(path, None)
            if result.new_attributes:
                self._listener.on_changed(path, Changes(Aspect.ATTRIBUTES))
            self._listener.on_walked(result)

        self._loop.call_from_thread(tell)

    def _walk(self, location: Location, number: int, directories: frozenset[bytes] | None, look: bool) -> WalkResult:
        mounts = self._mounts.mounts
        for part in (location.path, location.git_dir, location.common_dir):
            if (remote := mounts.find_remote(part)) is not None:
                # Not even looked at: a dead server would hold the walks of all others.
                where = "on" if lies_below(part, remote) else f"{os.fsdecode(remote)} is"
                reason = f"{where} a {mounts.types[remote]} file system, whose changes the kernel does not report"
                return WalkResult(location.path, location, None, Watch.POLLED, reason, leads_onto=remote)
        known = self._watches.get(location.path)
        if directories is None or known is None or known.released:
            return self._walk_everything(location, number, look)
        before = known.attributes
        result = self._walk_with(known, None, lambda walk: walk.some(directories), look=False)
        return replace(result, new_attributes=not known.attributes <= before)

    def _walk_everything(self, known: Location, number: int, look: bool) -> WalkResult:
        path = known.path
        location = read_location(path)
        if location is None and find_start(known) is not None:
            location = known  # core.worktree of a git dir that lies elsewhere leads there, and nothing leads back
        identity = None if location is None else find_identity(location)
        if location is None or identity is None:
            return WalkResult(path, None, None, Watch.UNWATCHED)
        if location.path != path:
            return WalkResult(path, location, None, Watch.UNWATCHED)  # its worktree is another by now
        old = self._watches.get(path)
        table = self._table_for(location) if old is None or old.table is self._common else old.table
        with self._lock:
            new = table not in (self._common, *self._shards, *self._own.values())
            if self._numbers.get(path) != number:
                if new:
                    table.close()
                raise Released
            watch = self._watches[path] = RepositoryWatch(location, table, lambda: self._common.count(self._discovery))
            if new:
                self._own[path] = table
                self._loop.call_from_thread(lambda: self._listen(table))
        # Only now: had the repository been released meanwhile, they could be those of a later walk, in another thread.
        if old is not None:
            old.release()
        return self._walk_with(watch, identity, RepositoryWalk.everything, look=look)

    def _walk_with(
        self,
        watch: RepositoryWatch,
        identity: Identity | None,
        place: Callable[[RepositoryWalk], None],
        *,
        look: bool,
    ) -> WalkResult:
        location = watch.location
        walk = RepositoryWalk(watch)
        began = time.time()
        state, reason, hint, shortage, leads_onto = Watch.WATCHED, "", "", None, None
        try:
            if identity is None:
                check_parts(location)  # it was found some time ago
            # Before the rules of those files decide what is walked.
            self._cover(watch, configuration_files(location))
            place(walk)
            for submodule in walk.submodules:
                self._cover(watch, configuration_files(submodule))
            self._cover(watch, walk.elsewhere)
        except (EnvironmentFailure, OSError) as error:
            state, leads_onto = Watch.POLLED, _mount_behind(error)
            reason, hint, shortage = _refusal(error)
        except BaseException:
            watch.release()
            raise
        watches = watch.table.count(watch)
        if state is Watch.WATCHED and watch.placed is not None:
            needed = len(watch.needed)
            state, reason = Watch.POLLED, f"no inotify watches left: it takes {needed}"
            hint = more_watches_hint(self._allowance.used + needed)
            shortage = Shortage(Lack.WATCHES, needed, watch.placed, watch.discovery)
        if state is not Watch.WATCHED:
            watch.release()  # half of the watches are none
        looked = look and self.sight is not None and walk.seen is not None and state is Watch.WATCHED
        sight = self.sight(location, *walk.seen) if looked and self.sight and walk.seen else None
        return WalkResult(
            location.path, location, identity, state, reason, hint, shortage, watches, tuple(walk.nested),
            tuple(walk.submodules), began=began, looked=looked, sight=sight,
            entered=None if walk.entered is None else frozenset(walk.entered), leads_onto=leads_onto,
        )  # fmt: skip

    def _cover(self, watch: RepositoryWatch, files: Iterable[bytes]) -> None:
        try:
            self._configuration.cover(files)
        except WatchLimitReached:
            watch.run_short()

    def _table_for(self, location: Location) -> WatchTable:
        """A queue of its own (not yet in `_own`) for a big repository, or where none are shared; else a shared one."""
        try:
            big = os.stat(location.git_dir + b"/index").st_size > BIG_INDEX_BYTES
        except OSError:
            big = False
        if not platform.shares_queues() or (big and len(self._own) < MOST_OWN_QUEUES):
            table = WatchTable(self._allowance)
            if table.queue is not None:
                return table
        usable = [shard for shard in self._shards if shard.queue is not None] or [self._common]
        return usable[zlib.crc32(location.common_dir) % len(usable)]


def _work_off(work: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    while (task := work.get()) is not None:
        task()


def _mount_behind(error: Exception) -> bytes | None:
    return error.mount if isinstance(error, LeadsAway) else None


def _refusal(error: Exception) -> tuple[str, str, Shortage | None]:
    """Reason, hint, and what more of would help."""
    if isinstance(error, LeadsAway):
        return f"{error.message}; the kernel does not report changes there", "", None
    if isinstance(error, InstanceLimitReached):
        return "no inotify instance left", more_instances_hint(), Shortage(Lack.INSTANCES)
    cause = error if isinstance(error, OSError) else error.__cause__
    reason = f"cannot be watched: {str(error).splitlines()[0]}"
    if isinstance(cause, OSError) and is_exhaustion(cause):
        return reason, MORE_FILES_HINT, Shortage(Lack.DESCRIPTORS)
    return reason, "", None
