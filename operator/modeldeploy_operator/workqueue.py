"""Keys to look at, each at most once at a time: deduplicated, delayed, and backed off after a failure.

`Schedule` is the bookkeeping, without clock or tasks; `WorkQueue` runs it. What a key means is unknown here.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import structlog

K = TypeVar("K")

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Backoff:
    """Seconds to wait after the first failure, and at most; a chance in the upper half spreads the crowd."""

    first: float = 0.25
    longest: float = 10.0
    uniform: Callable[[float, float], float] = random.uniform

    def pause(self, failures: int) -> float:
        """The pause after so many failures in a row."""
        ceiling = min(self.longest, self.first * 2 ** min(failures - 1, 30))
        return self.uniform(ceiling / 2, ceiling)


class Schedule(Generic[K]):
    """Which key is due when. A key that is being worked on is not given out; what comes for it meanwhile waits."""

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._sequence = 0
        self._working: set[K] = set()
        self._meanwhile: dict[K, float] = {}

    def __len__(self) -> int:
        """Keys that wait, due or not, those that are worked on not counted."""
        return len(self._due) + len(self._meanwhile)

    @property
    def working(self) -> frozenset[K]:
        """The keys that are worked on."""
        return frozenset(self._working)

    def add(self, key: K, at: float) -> None:
        """Have a key looked at no later than `at`. The earliest of several wishes counts."""
        if key in self._working:
            self._meanwhile[key] = min(at, self._meanwhile.get(key, at))
        elif key not in self._due or at < self._due[key]:
            self._due[key] = at
            self._sequence += 1
            heapq.heappush(self._heap, (at, self._sequence, key))

    def take(self, now: float) -> K | None:
        """A key that is due, the longest due first, or None. It must be given back with `done`."""
        while self._heap and self._heap[0][0] <= now:
            at, _, key = heapq.heappop(self._heap)
            if self._due.get(key) == at:
                del self._due[key]
                self._working.add(key)
                return key
        return None

    def done(self, key: K) -> None:
        """The work is over; what came meanwhile counts from now on."""
        self._working.remove(key)
        if (at := self._meanwhile.pop(key, None)) is not None:
            self.add(key, at)

    def next_due(self) -> float | None:
        """When the next key is due; None where nothing waits."""
        while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None


class WorkQueue(Generic[K]):
    """Runs `work` for each key that is due, at most `workers` at once. An exception of `work` is a failure."""

    def __init__(
        self, work: Callable[[K], Awaitable[None]], *, workers: int, clock: Callable[[], float], backoff: Backoff
    ) -> None:
        self._work = work
        self._workers = workers
        self._clock = clock
        self._backoff = backoff
        self._schedule: Schedule[K] = Schedule()
        self._failures: dict[K, int] = {}
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False

    def __len__(self) -> int:
        """Keys that wait."""
        return len(self._schedule)

    @property
    def active(self) -> int:
        """Keys that are worked on."""
        return len(self._tasks)

    def add(self, key: K, delay: float = 0.0) -> None:
        """Have a key worked on within `delay` seconds."""
        self._schedule.add(key, self._clock() + delay)
        self._wake.set()

    def retry(self, key: K, *, at_least: float = 0.0) -> float:
        """Have a key worked on after its backoff, which grows with each call until `forget`. Yields the pause."""
        self._failures[key] = self._failures.get(key, 0) + 1
        pause = max(at_least, self._backoff.pause(self._failures[key]))
        self.add(key, pause)
        return pause

    def forget(self, key: K) -> None:
        """The key went well: its next failure is a first one."""
        self._failures.pop(key, None)

    async def run(self) -> None:
        """Work until `close`; returns once the last key in work is finished."""
        while not self._closing:
            self._wake.clear()
            while len(self._tasks) < self._workers and (key := self._schedule.take(self._clock())) is not None:
                task = asyncio.create_task(self._one(key))
                self._tasks.add(task)
                task.add_done_callback(self._finished)
            await self._until_due()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def close(self) -> None:
        """Start nothing any more."""
        self._closing = True
        self._wake.set()

    async def _until_due(self) -> None:
        due = self._schedule.next_due() if len(self._tasks) < self._workers else None
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), None if due is None else max(0.0, due - self._clock()))

    async def _one(self, key: K) -> None:
        try:
            await self._work(key)
        except Exception:
            log.exception("work.failed", key=str(key), pause=round(self.retry(key), 2))
        finally:
            self._schedule.done(key)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._wake.set()
