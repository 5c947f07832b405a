"""The queue: never two workers on a key, nothing lost, no sooner and no later than asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modeldeploy_operator.workqueue import Backoff, Schedule, WorkQueue

from tests.operator.eventually import until

KEYS = st.sampled_from("abc")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), KEYS, st.integers(0, 20)),
        st.tuples(st.just("take"), st.integers(0, 30)),
        st.tuples(st.just("done"), KEYS),
    ),
    max_size=60,
)


@given(STEPS)
def test_every_wish_is_answered_by_one_look_that_begins_after_it(steps: list[tuple[object, ...]]) -> None:
    schedule: Schedule[str] = Schedule()
    wishes: dict[str, float] = {}
    working: set[str] = set()
    now = 0.0
    for step in steps:
        match step:
            case ("add", str(key), int(delay)):
                schedule.add(key, now + delay)
                wishes[key] = min(wishes.get(key, now + delay), now + delay)
            case ("take", int(passed)):
                now += passed
                before = dict(wishes)
                key = schedule.take(now)
                ready = {k for k, at in wishes.items() if at <= now and k not in working}
                assert (key in ready) if ready else (key is None)
                if key is not None:
                    assert wishes.pop(key) == min(at for k, at in before.items() if k in ready)
                    working.add(key)
            case ("done", str(key)) if key in working:
                working.remove(key)
                schedule.done(key)
        assert schedule.working == frozenset(working)
        assert len(schedule) == len(wishes)
        free = [at for k, at in wishes.items() if k not in working]
        assert schedule.next_due() == min(free, default=None)


def test_a_wish_that_was_brought_forward_is_not_answered_twice() -> None:
    schedule: Schedule[str] = Schedule()
    schedule.add("a", 20.0)
    schedule.add("a", 5.0)
    assert schedule.take(5.0) == "a"
    schedule.done("a")
    assert schedule.take(30.0) is None


@pytest.mark.parametrize(
    ("failures", "low", "high"),
    [
        pytest.param(1, 0.125, 0.25, id="first"),
        pytest.param(2, 0.25, 0.5, id="second"),
        pytest.param(5, 2.0, 4.0, id="fifth"),
        pytest.param(7, 5.0, 10.0, id="capped"),
        pytest.param(10_000, 5.0, 10.0, id="after a long night"),
    ],
)
def test_pauses_double_up_to_a_cap_and_lie_in_the_upper_half(failures: int, low: float, high: float) -> None:
    assert Backoff(uniform=lambda a, b: a).pause(failures) == low
    assert Backoff(uniform=lambda a, b: b).pause(failures) == high


class Clock:
    """Time that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def queue_of(work: Callable[[str], Awaitable[None]], workers: int = 4, clock: Clock | None = None) -> WorkQueue[str]:
    loop = asyncio.get_running_loop()
    return WorkQueue(work, workers=workers, clock=clock or loop.time, backoff=Backoff(0.01, 0.04))


async def finish(queue: WorkQueue[str], running: asyncio.Task[None]) -> None:
    queue.close()
    await asyncio.wait_for(running, 2)


async def test_a_key_is_worked_on_by_one_at_a_time_and_again_if_it_was_added_meanwhile() -> None:
    at_once: list[int] = []
    active = 0
    gate = asyncio.Event()

    async def work(_: str) -> None:
        nonlocal active
        active += 1
        at_once.append(active)
        await gate.wait()
        active -= 1

    queue = queue_of(work)
    running = asyncio.create_task(queue.run())
    queue.add("a")
    await until(lambda: bool(at_once))
    queue.add("a")
    queue.add("a")
    await asyncio.sleep(0.02)
    gate.set()
    await until(lambda: len(at_once) == 2)
    await finish(queue, running)
    assert at_once == [1, 1]


async def test_no_more_keys_are_worked_on_than_there_are_workers() -> None:
    most = active = 0

    async def work(_: str) -> None:
        nonlocal most, active
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.005)
        active -= 1

    queue = queue_of(work, workers=3)
    running = asyncio.create_task(queue.run())
    for number in range(20):
        queue.add(f"k{number}")
    await until(lambda: not len(queue) and not queue.active)
    await finish(queue, running)
    assert most == 3


async def test_a_failure_is_tried_again_and_does_not_stop_the_others() -> None:
    seen: list[str] = []

    async def work(key: str) -> None:
        seen.append(key)
        if key == "bad" and seen.count("bad") < 4:
            raise ValueError("bug")

    queue = queue_of(work)
    running = asyncio.create_task(queue.run())
    queue.add("bad")
    queue.add("good")
    await until(lambda: seen.count("bad") == 4)
    await finish(queue, running)
    assert seen.count("good") == 1


async def test_the_pause_of_a_retry_is_at_least_what_the_server_asked_for() -> None:
    async def work(_: str) -> None:
        """Nothing."""

    queue = queue_of(work, clock=Clock())
    assert queue.retry("a", at_least=60.0) == 60.0


async def test_success_forgets_former_failures() -> None:
    async def work(_: str) -> None:
        """Nothing."""

    queue: WorkQueue[str] = WorkQueue(work, workers=1, clock=Clock(), backoff=Backoff(1.0, 60.0, lambda a, b: b))
    assert [queue.retry("a") for _ in range(3)] == [1.0, 2.0, 4.0]
    queue.forget("a")
    assert queue.retry("a") == 1.0


async def test_closing_waits_for_the_work_at_hand_and_starts_none() -> None:
    finished: list[str] = []
    started = asyncio.Event()

    async def work(key: str) -> None:
        started.set()
        await asyncio.sleep(0.05)
        finished.append(key)

    queue = queue_of(work, workers=1)
    running = asyncio.create_task(queue.run())
    queue.add("first")
    queue.add("second")
    await started.wait()
    await finish(queue, running)
    assert finished == ["first"]


async def test_a_delayed_key_is_worked_on_when_its_time_has_come() -> None:
    clock, seen = Clock(), asyncio.Event()

    async def work(_: str) -> None:
        seen.set()

    queue = queue_of(work, clock=clock)
    running = asyncio.create_task(queue.run())
    queue.add("a", 30.0)
    await asyncio.sleep(0.01)
    assert not seen.is_set()
    clock.now += 29.0
    queue.add("a", 5.0)
    await asyncio.sleep(0.01)
    assert not seen.is_set()
    clock.now += 1.0
    queue.add("b", 60.0)
    await asyncio.wait_for(seen.wait(), 1)
    await finish(queue, running)
