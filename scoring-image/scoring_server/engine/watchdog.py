"""Ends a run that holds up the event loop.

Short runs happen on the loop itself. Should one last long all the same, nothing else would be answered, and no
timer of the loop could fire; so a thread looks on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable


class Watchdog:
    """While `guard` … `release`, a run of more than `limit_seconds` has its `end` called, from another thread."""

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        self._run: tuple[float, Callable[[], None]] | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._thread.start()

    def guard(self, began: float, end: Callable[[], None]) -> None:
        self._run = (began, end)

    def release(self) -> None:
        self._run = None

    def _watch(self) -> None:
        while True:
            time.sleep(self._limit / 2)
            run = self._run
            if run is not None and time.perf_counter() - run[0] > self._limit:
                run[1]()
