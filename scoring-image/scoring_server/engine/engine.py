"""One call from arrival to result: a place, a thread, a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from scoring_server import errors
from scoring_server.engine.admission import Admission
from scoring_server.engine.workers import Workers

T = TypeVar("T")


class Engine:
    """What every scorer of the process shares. `timeout_seconds` runs from a request's arrival to its answer."""

    def __init__(self, admission: Admission, workers: Workers, timeout_seconds: float) -> None:
        self.admission = admission
        self.workers = workers
        self.timeout_seconds = timeout_seconds

    async def run(
        self, arrival: float, call: Callable[[], T], on_timeout: Callable[[], None] | None = None
    ) -> tuple[T, float]:
        """The call's result, and the seconds it waited for its place. `arrival` is a perf_counter reading.

        Raises Overloaded, DeadlineExceeded, or what the call raises.
        """
        asked = time.perf_counter()
        deadline = arrival + self.timeout_seconds
        await self._enter(deadline - asked)
        try:
            waited = time.perf_counter() - asked
            return await self.workers.run(call, deadline, self.timeout_seconds, on_timeout), waited
        finally:
            self.admission.leave()

    async def _enter(self, remaining_seconds: float) -> None:
        patience = self.admission.max_wait_seconds
        try:
            await self.admission.enter(min(patience, remaining_seconds))
        except errors.Overloaded:
            if remaining_seconds < patience:
                raise errors.DeadlineExceeded(self.timeout_seconds) from None
            raise
