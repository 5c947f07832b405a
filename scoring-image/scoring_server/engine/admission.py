"""At most so many requests run at once; the others wait in the order of arrival, for a bounded time.

Used from the event loop's thread only, so a counter and a deque are enough.
"""

from __future__ import annotations

import asyncio
from collections import deque

from scoring_server import errors


class Admission:
    """`limit` places; who finds none waits, usually no longer than `max_wait_seconds`."""

    def __init__(self, limit: int, max_wait_seconds: float) -> None:
        self.limit = limit
        self.max_wait_seconds = max_wait_seconds
        self.running = 0
        self._waiting: deque[asyncio.Future[None]] = deque()

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def try_enter(self) -> bool:
        """Take a place if one is free. Whoever waits already is served first."""
        if self.running < self.limit and not self._waiting:
            self.running += 1
            return True
        return False

    async def enter(self, max_wait_seconds: float) -> None:
        """Take a place, waiting for one if need be. Overloaded when there is none in time."""
        if self.try_enter():
            return
        if max_wait_seconds <= 0:
            raise errors.Overloaded(self.limit, 0)
        loop = asyncio.get_running_loop()
        place: asyncio.Future[None] = loop.create_future()
        self._waiting.append(place)
        timer = loop.call_later(max_wait_seconds, self._give_up, place)
        try:
            await place
        except asyncio.CancelledError:
            # The place may have been handed over in the same turn in which the client went away.
            if place.done() and not place.cancelled() and place.exception() is None:
                self.leave()
            raise
        finally:
            timer.cancel()

    def leave(self) -> None:
        """Give the place to the one who waits longest, or free it."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.running -= 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if not place.done():
            self._waiting.remove(place)
            place.set_exception(errors.Overloaded(self.limit, self.max_wait_seconds))
