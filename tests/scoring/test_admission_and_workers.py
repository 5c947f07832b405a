"""Places are given in the order of arrival and never lost; threads are reused, and a lost one harms nobody."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest
from scoring_server import errors
from scoring_server.engine import Engine
from scoring_server.engine.admission import Admission
from scoring_server.engine.workers import Worker, Workers

from tests.scoring.in_process import until


@pytest.fixture
def workers() -> Iterator[Workers]:
    main = Worker()
    threading.Thread(target=main.work, daemon=True).start()
    found = Workers(main)
    yield found
    found.stop()
    main.stop()


async def test_who_waits_longest_gets_the_next_place() -> None:
    admission = Admission(1, 10)
    assert admission.try_enter()
    order: list[int] = []

    async def enter(number: int) -> None:
        await admission.enter(10)
        order.append(number)
        admission.leave()

    tasks = [asyncio.create_task(enter(number)) for number in range(5)]
    await until(lambda: admission.waiting == 5)
    assert not admission.try_enter()
    admission.leave()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3, 4]
    assert (admission.running, admission.waiting) == (0, 0)


async def test_nobody_waits_longer_than_asked() -> None:
    admission = Admission(1, 10)
    assert admission.try_enter()
    began = time.perf_counter()
    with pytest.raises(errors.Overloaded):
        await admission.enter(0.05)
    with pytest.raises(errors.Overloaded):
        await admission.enter(0)
    assert time.perf_counter() - began < 5
    assert (admission.running, admission.waiting) == (1, 0)


async def test_a_place_given_to_someone_who_has_left_goes_to_the_next() -> None:
    admission = Admission(1, 10)
    assert admission.try_enter()
    gone, next_one = asyncio.create_task(admission.enter(10)), asyncio.create_task(admission.enter(10))
    await until(lambda: admission.waiting == 2)
    admission.leave()
    gone.cancel()
    await next_one
    assert admission.running == 1
    admission.leave()
    assert admission.running == 0


async def test_overlapping_calls_run_on_threads_of_their_own_and_reuse_them(workers: Workers) -> None:
    barrier = threading.Barrier(4)

    def meet() -> int:
        barrier.wait(20)
        return threading.get_ident()

    async def round_of_four() -> set[int]:
        return set(await asyncio.gather(*(workers.run(meet, time.perf_counter() + 20, 20) for _ in range(4))))

    first, second = await round_of_four(), await round_of_four()
    assert len(first) == 4
    assert first == second


async def test_what_a_call_raises_is_what_its_caller_gets(workers: Workers) -> None:
    def fail() -> None:
        raise ValueError("mine")

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(ValueError, match="mine"):
        await workers.run(fail, time.perf_counter() + 20, 20)
    with pytest.raises(errors.RunFailed) as caught:
        await workers.run(leave, time.perf_counter() + 20, 20)
    assert isinstance(caught.value.__cause__, SystemExit)
    assert await workers.run(lambda: 5, time.perf_counter() + 20, 20) == 5


async def test_a_call_past_its_deadline_is_told_to_stop_and_left(workers: Workers) -> None:
    stop = threading.Event()
    with pytest.raises(errors.DeadlineExceeded):
        await workers.run(lambda: stop.wait(20), time.perf_counter() + 0.05, 0.05, on_timeout=stop.set)
    await until(lambda: workers.left_behind == 0)
    with pytest.raises(errors.DeadlineExceeded):
        await workers.run(lambda: 1, time.perf_counter() - 1, 0.05)


async def test_a_caller_that_goes_away_leaves_the_count_right(workers: Workers) -> None:
    release = threading.Event()
    task = asyncio.create_task(workers.run(lambda: release.wait(20), time.perf_counter() + 20, 20))
    await asyncio.sleep(0.02)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert workers.left_behind == 1
    release.set()
    await until(lambda: workers.left_behind == 0)


async def test_waiting_for_a_place_counts_towards_the_deadline(workers: Workers) -> None:
    engine = Engine(Admission(1, 10), workers, timeout_seconds=0.1)
    assert engine.admission.try_enter()
    began = time.perf_counter()
    with pytest.raises(errors.DeadlineExceeded):
        await engine.run(began, lambda: 1)
    assert time.perf_counter() - began < 5
    engine.admission.leave()
    assert (await engine.run(time.perf_counter(), lambda: 1))[0] == 1
    assert engine.admission.running == 0
