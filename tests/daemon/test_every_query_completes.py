"""The engine among fake shells, in random interleavings: every query completes once all work is answered.

Real: engine, fleet, roots, open queries, the bookkeeping of priming. Fake: who walks, analyses, reads an index or
discovers (each answers when the sequence says so), the clock, what an index means.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from random import Random
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gitwatchd.daemon import fleet as fleet_module
from gitwatchd.daemon import increments as increments_module
from gitwatchd.daemon.configuration import Configuration
from gitwatchd.daemon.fleet import Fleet
from gitwatchd.daemon.increments import Increments
from gitwatchd.daemon.queries import Answer, Scope
from gitwatchd.engine.events import Forgotten, Tick
from gitwatchd.incremental.terms import Inexact
from gitwatchd.loop import Loop
from gitwatchd.model.report import Facts, Watch
from gitwatchd.model.repository import Analysed, Failed, Gone, Job, Lack, Location, Outcome, RepoPath, Shortage, Unsafe
from gitwatchd.mounts import Mounts
from gitwatchd.store.intent import Root, RootKind
from gitwatchd.watch.changes import Aspect, Changes
from gitwatchd.watch.listener import Raised, WalkResult
from gitwatchd.watch.repository_watch import rules_of

ROOT = b"/nowhere"
PATHS = [RepoPath(ROOT + b"/" + name) for name in (b"a", b"b", b"b/inner", b"c")]


def location(path: RepoPath) -> Location:
    return Location(path, path + b"/.git", path + b"/.git", bare=False)


class FakeWatcher:
    def __init__(self, world: World) -> None:
        self._world = world
        self.walks: list[tuple[RepoPath, int]] = []
        self.discoveries: list[bytes] = []
        self._numbers: dict[RepoPath, int] = {}
        self._number = 0
        self.discovery_is_blind = False
        self.discovery_refused = None

    def start(self) -> None:
        pass

    def walk(self, where: Location, directories: frozenset[bytes] | None, *, look: bool = True) -> None:
        self._number += 1
        self._numbers[where.path] = self._number
        self.walks.append((where.path, self._number))

    def discover(self, directory: bytes, root: bytes, **_: object) -> None:
        self.discoveries.append(root)

    def release(self, path: RepoPath) -> None:
        self._numbers.pop(path, None)

    def follow_settings(self, files: object) -> None:
        pass

    def stop_discovery(self) -> None:
        self.discovery_is_blind = True

    def resume_discovery(self) -> None:
        self.discovery_is_blind = False

    def look_for_room(self) -> Raised:
        return Raised(self._world.random.choice((0, 100)), self._world.random.random() < 0.5)

    def is_wanted(self, path: RepoPath, number: int) -> bool:
        return self._numbers.get(path) == number

    def is_local(self, path: bytes) -> bool:
        return True

    def is_local_throughout(self, path: bytes) -> bool:
        return True

    def leads_onto(self, path: bytes) -> None:
        return None

    def known_mounts(self) -> Mounts:
        return Mounts({b"/": "ext4"})

    def attributes_of(self, path: RepoPath) -> set[bytes]:
        return set()

    def drain(self, paths: object = None) -> None:
        self._world.drain()


class FakeAnalyst:
    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.limit: int | None = None
        self.pool = SimpleNamespace(capacity=lambda: 0)

    def room(self, backlog: int) -> int:
        most = 2 if self.limit is None else max(1, self.limit)
        return max(0, most - len(self.jobs))

    def submit(self, job: Job) -> None:
        self.jobs.append(job)


class FakeIncrements(Increments):
    """What an index holds is for the sequence to say; who waits for whom is the real thing."""

    world: World

    def _is_large(self, location: Location) -> bool:
        return self.world.random.random() < 0.5

    def _read_index(self, location: Location) -> None:
        self.world.pass_time()  # as long as it takes

    def _prime_with(self, location: Location, outcome: Any, is_current: Callable[[], bool], index: Any) -> None:
        self._settle(location.path)
        if self._priming.get(location.path) is not outcome:
            return
        del self._priming[location.path]
        if self.world.random.random() < 0.8:
            self._followed[location.path] = cast(Any, SimpleNamespace(objects=SimpleNamespace(close=lambda: None)))

    def adopt(self, path: RepoPath, sighting: object) -> Analysed:
        assert isinstance(sighting, SimpleNamespace)
        return Analysed(Facts(), b"sight")

    def advance(self, path: RepoPath, changes: Changes) -> Iterator[Analysed | None]:
        for _ in range(self.world.random.randrange(3)):
            self.world.pass_time()
            yield None
        if path not in self._followed or self.world.random.random() < 0.2:
            self._drop(path, "")
            raise Inexact("only git knows")
        if self.world.random.random() < 0.05:
            raise RuntimeError("a bug of an advance")
        yield Analysed(Facts(), b"advanced", by_git=False)


class World:
    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now = 1000.0
        self.bugs: list[BaseException] = []
        self.loop = Loop(self.bugs.append)
        nothing = SimpleNamespace(
            save=lambda row: None, forget=lambda paths: None, touch=lambda *a: None, roots=list,
            trusted=lambda path: None, path=b"/", known_trust={}, reread=lambda: False,
            touch_root=lambda *a: None, remove_root=lambda path: True,
            add_root=lambda path, kind, **k: Root(path, kind, True, False, 0.0),
        )  # fmt: skip
        configuration = Configuration(self.loop, b"/nowhere/config.toml", b"/nowhere", ())
        self.fleet = Fleet(
            self.loop, cast(Any, nothing), configuration, cast(Any, nothing), b"/none", lambda r: None, lambda p: None
        )
        self.watcher, self.analyst = FakeWatcher(self), FakeAnalyst()
        shells = vars(self.fleet)  # in the place of what cached properties would make
        shells["watcher"], shells["analyst"] = self.watcher, self.analyst
        shells["increments"] = FakeIncrements(
            self.loop, lambda path: self.drain(), self.watcher.attributes_of, self.fleet._watch_tracked
        )
        shells["increments"].world = self
        self.readings: list[Callable[[], None]] = []
        self.queued: list[tuple[RepoPath, Changes]] = []
        self.open: dict[int, str] = {}
        self.audits = 0
        self._asked = 0
        self.fleet.decisions.add_root(ROOT, RootKind.DIRECTORY, permanent=True, include_ignored=False)

    def pass_time(self) -> None:
        self.now += self.random.choice((0.0, 0.01, 0.2, 3.0))

    def drain(self) -> None:
        queued, self.queued = self.queued, []
        for path, changes in queued:
            self.fleet.watching.on_changed(path, changes)

    # ---- what may happen

    def find(self) -> None:
        self.fleet.watching.on_found(location(self.random.choice(PATHS)))

    def change(self) -> None:
        path = self.random.choice(PATHS)
        aspect = self.random.choice(
            (Aspect.WORKTREE, Aspect.WORKTREE, Aspect.INDEX, Aspect.HEAD, Aspect.CONFIG, Aspect.LOST, Aspect.IDENTITY)
        )
        new = {b"dir"} if self.random.random() < 0.2 else set()
        busy = self.random.choice((None, None, True, False))
        self.queued.append((path, Changes(aspect, paths={b"file"}, new_directories=new, busy=busy)))

    def configure(self) -> None:
        self.fleet.watching.on_configuration()

    def ask(self) -> None:
        self._asked += 1
        number = self._asked
        known = list(self.fleet.engine.repositories)
        scope = Scope((ROOT,)) if not known or self.random.random() < 0.4 else Scope((), (self.random.choice(known),))
        self.open[number] = repr(scope)

        def told(answer: Answer) -> None:
            del self.open[number]  # a second time would be a KeyError
            if self.random.random() < 0.05:
                raise RuntimeError("a bug of the one who is told")

        self.fleet.ask(scope, told, wait_s=600.0, verify=self.random.random() < 0.2)

    def limit(self) -> None:
        self.fleet.limit_jobs(self.random.choice((None, 0, 1)))

    def forget(self) -> None:
        self.fleet.feed(Forgotten(self.random.choice(PATHS)))

    def refresh(self) -> None:
        self.fleet.refresh(Scope((ROOT,)))

    def audit(self) -> None:
        candidates = self.fleet.idle_repositories()
        if candidates and not self.audits:
            self.audits += 1

            def done(outcome: Outcome) -> None:
                self.audits -= 1

            self.fleet.ask_git_about(self.random.choice(candidates), done)

    def tick(self) -> None:
        self.pass_time()
        self.fleet.feed(Tick())

    def room(self) -> None:
        self.fleet._look_for_room()

    def turn(self) -> None:
        self.loop.run_once(0)

    def end_walk(self) -> None:
        if not self.watcher.walks:
            return
        path, number = self.watcher.walks.pop(self.random.randrange(len(self.watcher.walks)))
        if not self.watcher.is_wanted(path, number):
            return
        where = None if self.random.random() < 0.15 else location(path)
        watch = Watch.WATCHED if self.random.random() < 0.8 else Watch.POLLED
        shortage = None
        if watch is Watch.POLLED and self.random.random() < 0.8:
            shortage = Shortage(self.random.choice(list(Lack)), self.random.choice((0, 10)), self.random.choice((0, 5)))
        sight = SimpleNamespace() if self.random.random() < 0.3 and watch is Watch.WATCHED else None
        nested = (location(self.random.choice(PATHS)),) if self.random.random() < 0.2 else ()
        submodules = (location(self.random.choice(PATHS)),) if self.random.random() < 0.1 else ()
        self.fleet.watching.on_walked(
            WalkResult(
                path, where, None, watch, shortage=shortage, watches=10, nested=nested, submodules=submodules,
                looked=sight is not None, sight=sight,
                new_attributes=self.random.random() < 0.1,
            )
        )  # fmt: skip

    def end_job(self) -> None:
        if self.analyst.jobs:
            job = self.analyst.jobs.pop(self.random.randrange(len(self.analyst.jobs)))
            by_git = Analysed(Facts(), b"%d" % self.random.randrange(3))
            outcomes: tuple[Outcome, ...] = (by_git, by_git, by_git, Failed("x"), Gone(), Unsafe("x", "", Facts()))
            self.fleet.analyses.on_outcome(job, self.random.choice(outcomes))

    def end_reading(self) -> None:
        if self.readings:
            self.readings.pop(self.random.randrange(len(self.readings)))()

    def end_discovery(self) -> None:
        if self.watcher.discoveries:
            self.fleet.watching.on_discovered(self.watcher.discoveries.pop(), [])

    def settle(self) -> None:
        """All work that was handed out is answered; nothing new happens."""
        for _ in range(2000):
            self.turn()
            if not (self.watcher.walks or self.analyst.jobs or self.readings or self.watcher.discoveries):
                if not self.queued and not self.loop._calls:
                    return
                self.drain()
            self.end_walk()
            self.end_job()
            self.end_reading()
            self.end_discovery()
        raise AssertionError("the work never ends")


ACTIONS = [
    *[World.ask] * 4, *[World.change] * 5, *[World.end_walk] * 3, *[World.end_job] * 3, *[World.end_reading] * 3,
    World.find, World.configure, World.forget, World.refresh, World.audit, World.tick, World.tick, World.turn,
    World.turn, World.end_discovery, World.limit, World.room,
]  # fmt: skip


def play(seed: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(seed)

    def hold(target: Callable[[], None], **_: object) -> SimpleNamespace:
        return SimpleNamespace(start=lambda: world.readings.append(target))

    with monkeypatch.context() as patch:
        patch.setattr(increments_module, "threading", SimpleNamespace(Thread=hold))
        clock = SimpleNamespace(monotonic=lambda: world.now, time=lambda: world.now, perf_counter=lambda: world.now)
        patch.setattr(fleet_module, "time", clock)
        try:
            for _ in range(steps):
                world.random.choice(ACTIONS)(world)
            world.settle()
            dump = world.fleet.recorder.dump()["repositories"]
            assert not world.open, f"seed {seed}: never answered: {world.open}\n{dump}"
            running = [r for r in world.fleet.engine.repositories.values() if r.running is not None]
            assert not running, f"seed {seed}: for ever in flight\n{dump}"
            assert (world.fleet.engine.analysing, world.bugs) == (0, [])
        finally:
            world.loop.close()
    assert threading.current_thread() is threading.main_thread()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 1 << 32), st.integers(1, 120))
def test_every_query_completes_once_all_work_is_answered(
    monkeypatch: pytest.MonkeyPatch, seed: int, steps: int
) -> None:
    play(seed, steps, monkeypatch)


# ---- found by it, or by reading; each hung until the client's deadline


@pytest.fixture
def world() -> Iterator[World]:
    world = World(1)
    yield world
    world.loop.close()


def ask(world: World, path: RepoPath) -> list[Answer]:
    told: list[Answer] = []
    world.fleet.ask(Scope((), (path,)), told.append, wait_s=600.0)
    return told


def walk_all(world: World) -> None:
    for path, _ in world.watcher.walks:
        world.fleet.watching.on_walked(WalkResult(path, location(path), None, Watch.WATCHED))
    world.watcher.walks.clear()


def test_a_place_that_the_job_of_a_forgotten_repository_held_is_given_on(world: World) -> None:
    a, b, _, c = PATHS
    for path in (a, b):
        world.fleet.watching.on_found(location(path))
    walk_all(world)
    held = list(world.analyst.jobs)
    assert {job.location.path for job in held} == {a, b}
    for path in (a, b):
        world.fleet.feed(Forgotten(path))
    world.fleet.watching.on_found(location(c))
    told = ask(world, c)
    walk_all(world)
    assert world.analyst.jobs == held, "there is no place"
    world.analyst.jobs.clear()
    for job in held:
        world.fleet.analyses.on_outcome(job, Failed("nobody's"))
    (job,) = world.analyst.jobs
    world.fleet.analyses.on_outcome(job, Analysed(Facts(), b""))
    assert len(told) == 1


def test_a_place_that_an_audit_held_is_given_on(world: World) -> None:
    a, b = PATHS[:2]
    for path in (a, b):
        world.fleet.watching.on_found(location(path))
    walk_all(world)
    while world.analyst.jobs:
        world.fleet.analyses.on_outcome(world.analyst.jobs.pop(), Analysed(Facts(), b""))
    world.fleet.ask_git_about(world.fleet.engine.repositories[a], lambda outcome: None)
    (audit,) = world.analyst.jobs
    world.fleet.limit_jobs(1)
    world.fleet.watching.on_changed(b, Changes(Aspect.CONFIG))
    told = ask(world, b)
    assert world.analyst.jobs == [audit]
    world.analyst.jobs.clear()
    world.fleet.analyses.on_outcome(audit, Analysed(Facts(), b""))
    (job,) = world.analyst.jobs
    world.analyst.jobs.clear()
    world.fleet.analyses.on_outcome(job, Analysed(Facts(), b""))
    assert len(told) == 1


@pytest.mark.parametrize("failing", ["walk", "submit"])
def test_work_that_cannot_begin_is_a_failure_and_not_a_wait(
    world: World, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    """`failing`: no thread is to be had, a bug."""

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    for path in PATHS[:2]:
        world.fleet.watching.on_found(location(path))
    with monkeypatch.context() as patch:
        patch.setattr(world.watcher if failing == "walk" else world.analyst, failing, fail)
        told = [answers for path in PATHS[:2] for answers in [ask(world, path)]]
        world.fleet.refresh(Scope((ROOT,)))
        world.settle()
    assert [len(answers) for answers in told] == [1, 1]
    # It heals.
    world.now += 10.0
    told = [ask(world, path) for path in PATHS[:2]]
    world.settle()
    assert [len(answers) for answers in told] == [1, 1]
    assert all(r.outcome is not None for r in world.fleet.engine.repositories.values())


def test_work_that_was_lost_is_given_up_and_said(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever took it away: the watchdog ends the wait, and the log has what is known."""
    a, b = PATHS[:2]
    for path in (a, b):
        world.fleet.watching.on_found(location(path))
    told = [ask(world, a)]
    (walk, *others) = [w for w in world.watcher.walks if w[0] == a]
    world.watcher.walks.clear()  # lost
    assert not others and not told[0]
    running = world.fleet.recorder._running
    world.fleet.give_up_lost()
    assert a in running, "not before its time"
    for path in list(running):
        running[path] = (running[path][0] - 1000.0, running[path][1])
    world.fleet.give_up_lost()
    assert not world.watcher.is_wanted(*walk), "its late result is nobody's"
    assert "no end of the walk of b'/nowhere/a'" in caplog.text and "generation" in caplog.text
    lost = world.analyst.jobs[:]
    world.analyst.jobs.clear()  # lost as well
    assert lost and not told[0]
    for path in list(running):
        running[path] = (running[path][0] - 1000.0, running[path][1])
    world.fleet.give_up_lost()
    (answer,) = told[0]
    ((_, standing),) = answer.repositories
    assert (standing.state.value, standing.reason) == ("failed", "its analysis did not end")
    for job in lost:
        world.fleet.analyses.on_outcome(job, Analysed(Facts(), b"late"))
    assert "no end of the analysis of" in caplog.text


def test_a_bug_in_a_late_answer_is_an_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    from gitwatchd.daemon.methods import Methods
    from gitwatchd.wire.rpc import Request

    said: list[object] = []
    session = SimpleNamespace(
        fail_by_bug=lambda id: said.append((id, "bug")), fail=lambda *words: said.append(words),
        reply_packed=lambda *words: said.append(words), notify=lambda *words: None,
    )  # fmt: skip
    methods = Methods(world.loop, world.fleet, cast(Any, None), cast(Any, None), b"/nowhere", lambda: None)
    world.fleet.watching.on_found(location(PATHS[0]))
    methods.handle(cast(Any, session), Request(7, "status", [[]]))
    assert said == []

    def bug(*_: object) -> bytes:
        raise RuntimeError("a bug of the packing")

    monkeypatch.setattr(methods._views, "packed_report", bug)
    world.settle()
    assert said == [(7, "bug")]


def test_work_that_waits_for_a_state_made_at_once_goes_on(world: World) -> None:
    """The draining in the middle of the making lets other work begin; it waited for ever when the index was small."""
    called: list[str] = []

    def settle(path: RepoPath) -> None:
        if increments.is_priming(path):
            increments.after_priming(path, lambda: called.append("went on"))

    increments = Increments(world.loop, settle, lambda path: set(), lambda path: None)
    increments.prime(location(PATHS[0]), Analysed(Facts(), b""), lambda: True)
    assert called == ["went on"] and not increments.is_priming(PATHS[0])


def test_the_end_of_an_earlier_priming_leaves_the_later_one_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    readings: list[Callable[[], None]] = []

    def hold(target: Callable[[], None], **_: object) -> SimpleNamespace:
        return SimpleNamespace(start=lambda: readings.append(target))

    monkeypatch.setattr(increments_module, "threading", SimpleNamespace(Thread=hold))
    increments = Increments(world.loop, lambda path: None, lambda path: set(), lambda path: None)
    monkeypatch.setattr(increments, "_is_large", lambda location: True)
    increments.prime(location(PATHS[0]), Analysed(Facts(), b"1"), lambda: True)
    increments.begin(PATHS[0])
    increments.prime(location(PATHS[0]), Analysed(Facts(), b"2"), lambda: True)
    first, second = readings
    first()
    world.turn()
    assert increments.is_priming(PATHS[0])
    second()
    world.turn()
    assert not increments.is_priming(PATHS[0])


def test_without_a_thread_to_read_an_index_git_is_asked_next_time(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(**_: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(increments_module, "threading", SimpleNamespace(Thread=none_left))
    increments = Increments(world.loop, lambda path: None, lambda path: set(), lambda path: None)
    monkeypatch.setattr(increments, "_is_large", lambda location: True)
    increments.prime(location(PATHS[0]), Analysed(Facts(), b""), lambda: True)
    assert not increments.is_priming(PATHS[0]) and not increments.follows(PATHS[0])


@pytest.mark.parametrize(
    ("placed", "entered", "again"),
    [
        ({rules_of(b""), b"new"}, {b"build"}, [{b"new", b"build"}]),
        ({rules_of(b""), rules_of(b"a")}, set(), []),
        ({b"new"}, None, [{b"new"}]),
        ({rules_of(b""), b"new"}, None, [{b"", b"new"}]),
        ({rules_of(b"a")}, None, [{b"a"}]),
    ],
)
def test_what_rules_no_longer_leave_out_is_looked_at_once_it_is_watched(
    world: World,
    monkeypatch: pytest.MonkeyPatch,
    placed: set[bytes],
    entered: set[bytes] | None,
    again: list[set[bytes]],
) -> None:
    """An analysis between the rules and the walk may have seen it before its events were told."""
    a = PATHS[0]
    world.fleet.watching.on_found(location(a))
    world.fleet.watching.note_walk(a, frozenset(placed))
    looked: list[frozenset[bytes]] = []
    monkeypatch.setattr(world.fleet.increments, "look_again", lambda _path, directories: looked.append(directories))
    walk = WalkResult(a, location(a), None, Watch.WATCHED, entered=None if entered is None else frozenset(entered))
    world.fleet.watching.on_walked(walk)
    assert looked == again


def test_a_bug_after_a_walk_is_the_end_of_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    a = PATHS[0]
    world.fleet.watching.on_found(location(a))
    told = ask(world, a)

    def bug(*_: object) -> Analysed:
        raise RuntimeError("a bug of the adoption")

    monkeypatch.setattr(world.fleet.increments, "adopt", bug)
    world.watcher.walks.clear()
    world.fleet.watching.on_walked(
        WalkResult(a, location(a), None, Watch.WATCHED, looked=True, sight=SimpleNamespace())
    )
    world.settle()
    ((repository, _standing),) = told[0].repositories
    assert repository.watch is Watch.POLLED and "a bug ended its walk" in repository.watch_reason


def test_what_the_machine_has_too_little_of_is_a_failure_and_no_bug(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from gitwatchd.daemon.methods import Methods
    from gitwatchd.wire.rpc import FAILED, Request

    said: list[tuple[object, ...]] = []
    session = SimpleNamespace(fail=lambda *words: said.append(words), fail_by_bug=lambda id: said.append((id, "bug")))
    methods = Methods(world.loop, world.fleet, cast(Any, None), cast(Any, None), b"/nowhere", lambda: None)

    def exhausted(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(world.fleet, "ask", exhausted)
    methods.handle(cast(Any, session), Request(7, "status", [[]]))
    ((id, code, text),) = said
    assert (id, code) == (7, FAILED) and "Too many open files" in str(text)
    assert "Traceback" not in caplog.text
