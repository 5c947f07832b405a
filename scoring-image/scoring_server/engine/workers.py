"""The threads that run what may take long: user scripts and slow models.

The process's main thread is the first worker and is preferred: a script's `init()` and, as long as requests come
one after another, its `run()` all happen there, as in Azure ML's server. Scripts that hold on to their thread
(signal handlers, event loops, SQLite connections) keep working. More threads start only when requests overlap.

A call that overruns its deadline is left behind: nobody waits for it any more, and its thread returns to the idle
ones when it ends. All bookkeeping happens on the event loop's thread.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

from scoring_server import errors

T = TypeVar("T")


class Worker:
    """One thread's inbox, and the loop that empties it."""

    def __init__(self) -> None:
        self._inbox: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def put(self, job: Callable[[], None]) -> None:
        self._inbox.put(job)

    def stop(self) -> None:
        self._inbox.put(None)

    def work(self) -> None:
        """Run jobs on the calling thread until stopped."""
        while (job := self._inbox.get()) is not None:
            job()


class Workers:
    """Runs calls on threads; `main` is the worker that the process's main thread empties."""

    def __init__(self, main: Worker) -> None:
        self._main = main
        self._idle: list[Worker] = [main]
        self._extra: list[Worker] = []
        #: calls past their deadline whose threads have not come back
        self.left_behind = 0

    async def run(
        self,
        call: Callable[[], T],
        deadline: float,
        timeout_seconds: float,
        on_timeout: Callable[[], None] | None = None,
    ) -> T:
        """The call's result, or what it raised. Past `deadline` (perf_counter) DeadlineExceeded, at once.

        `on_timeout` may ask the call to end early; whether it does changes nothing for the caller.
        """
        remaining = deadline - time.perf_counter()
        if remaining <= 0:
            raise errors.DeadlineExceeded(timeout_seconds)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        worker = self._take()

        def job() -> None:
            result: Any = None
            failure: BaseException | None = None
            # BaseException too: a script's SystemExit must end neither the thread nor the process.
            try:
                result = call()
            except BaseException as error:
                failure = error
            loop.call_soon_threadsafe(self._deliver, worker, future, result, failure)

        def expire() -> None:
            if not future.done():
                self.left_behind += 1
                future.set_exception(errors.DeadlineExceeded(timeout_seconds))
                if on_timeout is not None:
                    on_timeout()

        worker.put(job)
        timer = loop.call_later(remaining, expire)
        try:
            return await future
        except asyncio.CancelledError:
            # Cancelled by a client that left: the thread runs on, and counts as left behind until it returns.
            if future.cancelled():
                self.left_behind += 1
            raise
        finally:
            timer.cancel()

    def stop(self) -> None:
        """Let the extra threads end once they are idle; the main one is its owner's."""
        for worker in self._extra:
            worker.stop()

    def _take(self) -> Worker:
        if self._main in self._idle:
            self._idle.remove(self._main)
            return self._main
        if self._idle:
            return self._idle.pop()
        worker = Worker()
        self._extra.append(worker)
        # A daemon: a script that never returns must not keep the process from ending.
        threading.Thread(target=worker.work, name=f"score-{len(self._extra)}", daemon=True).start()
        return worker

    def _deliver(self, worker: Worker, future: asyncio.Future[Any], result: Any, failure: BaseException | None) -> None:
        self._idle.append(worker)
        if future.done():
            self.left_behind -= 1
        elif failure is None:
            future.set_result(result)
        elif isinstance(failure, Exception) and not isinstance(failure, StopIteration):
            future.set_exception(failure)
        else:
            # A future refuses StopIteration, and asyncio lets SystemExit and KeyboardInterrupt end the loop.
            wrapped = errors.RunFailed(repr(failure))
            wrapped.__cause__ = failure
            future.set_exception(wrapped)
