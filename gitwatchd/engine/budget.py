"""Who may hold inotify watches when there are not enough of them for all.

Owns: what each repository holds or lacks, and what is known of the total. Runs: serving thread, called by the engine
only. No I/O, no clock: the shell reports what it placed, and carries out what is decided here.

The order, from first to last to give way: discovery (outside of repositories), then the least recently asked
repository, then the next. A repository that finds no room at its first walk displaces those asked earlier than itself.
One that was polled already displaces another only when it was asked `OFTEN` times since that one's last question, and
never one that has been watched for less than `STAY_S`: two that do not fit together and are asked in turn would
otherwise take each other's watches at each question, a walk every time.
Invariant: nobody gives way in vain: unless enough can be freed for the one that wants room, nothing is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from gitwatchd.engine.repository import Repository
from gitwatchd.model.repository import Lack, RepoPath, Shortage

OFTEN = 3
STAY_S = 60.0
RETRY_S, LONGEST_RETRY_S = 60.0, 960.0
"""A polled repository that is asked about is walked again in the hope that other programs freed watches, after so long;
twice as long after each walk in vain."""


@dataclass(slots=True)
class _Short:
    shortage: Shortage
    asks: deque[float] = field(default_factory=lambda: deque(maxlen=OFTEN))
    """Epoch seconds of the last questions since it is polled."""
    retry_at: float = 0.0
    pause_s: float = RETRY_S
    walking: bool = False
    """It is being walked again, with `needed` set aside for it."""
    first: bool = False
    """It has not come to rest since its first walk."""
    again: bool = False
    """What it lacked, other than watches, can be had again."""


@dataclass(frozen=True, slots=True)
class Relief:
    """What has to give way before a repository is walked (again)."""

    discovery: bool = False
    demoted: tuple[RepoPath, ...] = ()


class Budget:
    def __init__(self) -> None:
        self.held: dict[RepoPath, int] = {}
        """Watches of each watched repository."""
        self.short: dict[RepoPath, _Short] = {}
        """Polled for want of them."""
        self.capacity: int | None = None
        """What repositories and discovery can hold together, as the last refusal showed; None: nothing was refused."""
        self.discovery = 0
        """Watches that discovery holds or, while it is off, wants."""
        self.discovery_off = False
        self._total = 0
        self._placed_at: dict[RepoPath, float] = {}

    @property
    def degraded(self) -> bool:
        """Somebody goes without: the shell is to look whether limits rise."""
        return bool(self.short) or self.discovery_off

    @property
    def wanted(self) -> int:
        """What all together would hold if there were enough."""
        return self._total + self.discovery + sum(short.shortage.needed for short in self.short.values())

    # ---- what the shell reports

    def placed(self, path: RepoPath, watches: int, now: float) -> None:
        """It is watched, whole."""
        if path not in self._placed_at:
            self._placed_at[path] = now
        self.short.pop(path, None)
        self._hold(path, watches)
        if self.capacity is not None:
            self.capacity = max(self.capacity, self._total + self._discovery_held())

    def left(self, path: RepoPath) -> None:
        """It holds no watches and wants none, whatever the reason."""
        self.short.pop(path, None)
        self._placed_at.pop(path, None)
        self._hold(path, 0)

    def ran_short(
        self, path: RepoPath, shortage: Shortage, repositories: Mapping[RepoPath, Repository], now: float
    ) -> Relief | None:
        """A walk of it was refused a watch. What is to give way for another walk at once; None: it stays polled."""
        known = self.short.get(path)
        pause_s = RETRY_S if known is None else min(known.pause_s * 2, LONGEST_RETRY_S)
        self.left(path)
        short = self.short[path] = _Short(shortage, retry_at=now + pause_s, pause_s=pause_s)
        if known is not None:
            short.asks = known.asks
        if shortage.lack is not Lack.WATCHES:
            return None
        if not self.discovery_off:
            self.discovery = shortage.discovery
        # What discovery held then, also when it was told to give way since: two walks may be refused for the same want.
        self.capacity = self._total + shortage.discovery + shortage.placed
        if known is not None and not known.first:
            return self._displace(short, repositories, now)
        asked_at = repositories[path].asked_at
        earlier = [victim for victim in self.held if repositories[victim].asked_at < asked_at]
        relief = self._relieve(short, earlier, repositories, now)
        short.first = relief is not None
        return relief

    def asked(
        self, path: RepoPath, epoch: float, repositories: Mapping[RepoPath, Repository], now: float
    ) -> Relief | None:
        """Somebody asked about it. What is to give way for a walk of it; None: it stays as it is."""
        short = self.short.get(path)
        if short is None or short.walking:
            return None
        short.asks.append(epoch)
        if short.shortage.lack is Lack.WATCHES:
            room = self._room()
            relief = Relief() if room is None or short.shortage.needed <= room else None
            relief = relief or self._displace(short, repositories, now)
            if relief is not None:
                short.walking = True
                return relief
        if now < short.retry_at:
            return None
        short.walking = True
        return Relief()

    def discovery_refused(self, held: int) -> None:
        """It was refused a watch when it held `held`: it gives them all back."""
        self.discovery = held + 1
        self.discovery_off = True
        self.capacity = self._total + held

    def rose(self, watches: int, *, instances: bool, descriptors: bool) -> None:
        """Limits are higher by so many watches; inotify instances or descriptors can be had again."""
        if self.capacity is not None:
            self.capacity += watches
        again = {Lack.INSTANCES: instances, Lack.DESCRIPTORS: descriptors}
        for short in self.short.values():
            short.again = short.again or again.get(short.shortage.lack, False)

    # ---- what is decided

    def promote(self, repositories: Mapping[RepoPath, Repository], now: float) -> Iterator[RepoPath]:
        """Polled repositories for which there is room now, the most recently asked first: to be walked again."""
        if not self.short:
            return
        room = self._room()
        for path in sorted(self.short, key=lambda path: -repositories[path].asked_at):
            short = self.short[path]
            if short.walking:
                continue
            if short.shortage.lack is not Lack.WATCHES:
                if not short.again:
                    continue
            elif room is None or short.shortage.needed > room:
                continue
            else:
                room -= short.shortage.needed
            short.walking = True
            yield path

    def rediscover(self) -> bool:
        """Whether discovery may watch again: everybody else has what they want, and there is room for what it had."""
        room = self._room()
        if not self.discovery_off or self.short or room is None or self.discovery > room:
            return False
        self.discovery_off = False
        return True

    def _displace(self, short: _Short, repositories: Mapping[RepoPath, Repository], now: float) -> Relief | None:
        if len(short.asks) < OFTEN:
            return None
        since = short.asks[0]
        victims = [
            v for v in self.held if repositories[v].asked_at < since and now - self._placed_at.get(v, now) >= STAY_S
        ]
        return self._relieve(short, victims, repositories, now)

    def _relieve(
        self, short: _Short, victims: list[RepoPath], repositories: Mapping[RepoPath, Repository], now: float
    ) -> Relief | None:
        missing = short.shortage.needed - (self._room() or 0)
        discovery = missing > 0 and not self.discovery_off and self.discovery > 0
        gained = self.discovery if discovery else 0
        demoted: list[RepoPath] = []
        for victim in sorted(victims, key=lambda path: repositories[path].asked_at):
            if gained >= missing:
                break
            running = repositories[victim].running
            if running is None or not running.walking:
                demoted.append(victim)
                gained += self.held[victim]
        if gained < missing:
            return None
        self.discovery_off = self.discovery_off or discovery
        for victim in demoted:
            held = self.held[victim]
            self.left(victim)
            self.short[victim] = _Short(Shortage(Lack.WATCHES, held), retry_at=now + RETRY_S)
        short.walking = True
        return Relief(discovery, tuple(demoted))

    def _room(self) -> int | None:
        """Watches that should be free; None: no limit is known."""
        if self.capacity is None:
            return None
        promised = sum(s.shortage.needed for s in self.short.values() if s.walking)
        return self.capacity - self._total - self._discovery_held() - promised

    def _discovery_held(self) -> int:
        return 0 if self.discovery_off else self.discovery

    def _hold(self, path: RepoPath, watches: int) -> None:
        self._total += watches - self.held.pop(path, 0)
        if watches:
            self.held[path] = watches
