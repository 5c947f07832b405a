"""The Lease: one leader at a time, a quick successor, and no giving up for an API server that is away."""

from __future__ import annotations

import asyncio
import copy
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modeldeploy_operator.cluster import AlreadyExists
from modeldeploy_operator.core.documents import LEASE, Document, Key
from modeldeploy_operator.errors import Unavailable
from modeldeploy_operator.leadership import Leadership, Terms

KEY = Key(LEASE, "modeldeploy-system", "modeldeploy-operator")
TERMS = Terms()


@dataclass
class World:
    """A clock, and the one Lease with its resourceVersions."""

    time: float = 1000.0
    lease: Document | None = None
    version: int = 0
    away: set[str] = field(default_factory=set)

    def replica(self, identity: str) -> Replica:
        return Replica(self, identity)


class Replica:
    """One contender; its rounds are made by hand, at the time of the world."""

    def __init__(self, world: World, identity: str) -> None:
        self.world = world
        self.identity = identity
        self.leadership = Leadership(
            self,
            KEY,
            identity,
            clock=lambda: world.time,
            now=lambda: datetime.fromtimestamp(world.time, UTC),
            terms=TERMS,
        )

    async def round(self) -> None:
        try:
            await self.leadership._round(self.world.time)
        except Unavailable:
            self.leadership._seen = None

    @property
    def leading(self) -> bool:
        return self.leadership.leading

    def _reach(self) -> None:
        if self.identity in self.world.away:
            raise Unavailable("ApiServerUnavailable", "gone")

    async def get(self, key: Key) -> Document | None:
        self._reach()
        return copy.deepcopy(self.world.lease)

    async def create(self, document: Document) -> Document:
        self._reach()
        if self.world.lease is not None:
            raise AlreadyExists("AlreadyExists", "there is one")
        return self._store(document)

    async def replace(self, document: Document) -> Document:
        self._reach()
        stored = self.world.lease
        if stored is None or stored["metadata"]["resourceVersion"] != document["metadata"]["resourceVersion"]:
            raise Unavailable("Conflict", "changed meanwhile")
        return self._store(document)

    def _store(self, document: Document) -> Document:
        self.world.version += 1
        stored = copy.deepcopy(document)
        stored["metadata"]["resourceVersion"] = str(self.world.version)
        self.world.lease = stored
        return copy.deepcopy(stored)


async def test_the_first_to_come_leads_and_the_second_waits() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    await a.round()
    await b.round()
    assert (a.leading, b.leading) == (True, False)
    assert world.lease is not None
    assert world.lease["spec"]["holderIdentity"] == "a"
    assert world.lease["spec"]["leaseDurationSeconds"] == 13


async def test_a_leader_that_renews_is_never_succeeded() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    for _ in range(30):
        await a.round()
        await b.round()
        world.time += TERMS.retry
    assert a.leading
    assert not b.leading


async def test_a_killed_leader_is_succeeded_within_17_seconds() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    for _ in range(5):
        await a.round()
        world.time += 1.9
        await b.round()
        world.time += 0.1
    died = world.time
    while not b.leading:
        await b.round()
        world.time += TERMS.retry
        assert world.time - died < 40
    assert world.time - died <= 17.0


async def test_a_leader_cut_off_stops_writing_before_another_begins() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    await a.round()
    await b.round()
    world.away.add("a")
    while not b.leading:
        world.time += 0.5
        await a.round()
        await b.round()
        assert not (a.leading and b.leading)
        assert world.time < 1030
    world.away.clear()
    await a.round()
    assert a.leadership.lost.is_set()


async def test_an_api_server_that_is_away_for_all_costs_nobody_the_lease() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    await a.round()
    await b.round()
    world.away |= {"a", "b"}
    for _ in range(30):
        world.time += TERMS.retry
        await a.round()
        await b.round()
    assert not a.leading
    with pytest.raises(Unavailable, match="does not hold the Lease at the moment"):
        a.leadership.may_write()
    world.away.clear()
    await b.round()
    assert not b.leading
    world.time += TERMS.retry
    await a.round()
    assert a.leading
    a.leadership.may_write()
    assert not a.leadership.lost.is_set()


async def test_a_frozen_leader_that_wakes_does_not_write() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    await a.round()
    await b.round()
    world.time += 14.0
    assert not a.leading
    await b.round()
    assert b.leading
    await a.round()
    assert a.leadership.lost.is_set()


async def test_a_released_lease_is_taken_at_once() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    await a.round()
    await b.round()
    await a.leadership.release()
    assert not a.leading
    await b.round()
    assert b.leading


async def test_one_who_never_led_releases_nothing() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    await a.round()
    await b.round()
    await b.leadership.release()
    assert world.lease is not None
    assert world.lease["spec"]["holderIdentity"] == "a"


async def test_a_container_that_starts_again_in_its_pod_does_not_wait() -> None:
    world = World()
    await world.replica("pod-1").round()
    world.time += 1.0
    again = world.replica("pod-1")
    await again.round()
    assert again.leading


async def test_a_deleted_lease_is_made_anew_by_its_holder() -> None:
    world = World()
    a = world.replica("a")
    await a.round()
    world.lease = None
    world.time += TERMS.retry
    await a.round()
    assert a.leading
    assert world.lease is not None


async def test_each_change_of_hands_is_counted() -> None:
    world = World()
    a, b = world.replica("a"), world.replica("b")
    await a.round()
    await a.leadership.release()
    await b.round()
    assert world.lease is not None
    assert world.lease["spec"]["leaseTransitions"] == 1


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["round a", "round b", "cut a", "cut b", "mend a", "mend b"]), st.floats(0.0, 9.0)),
        max_size=60,
    )
)
def test_two_never_lead_at_once_whatever_happens(story: list[tuple[str, float]]) -> None:
    async def tell() -> None:
        world = World()
        replicas = {name: world.replica(name) for name in "ab"}
        for what, passed in story:
            world.time += passed
            verb, name = what.split()
            if verb == "round":
                await replicas[name].round()
            elif verb == "cut":
                world.away.add(name)
            else:
                world.away.discard(name)
            assert not all(replica.leading for replica in replicas.values())

    asyncio.run(tell())


async def test_competing_goes_on_through_failures_until_cancelled() -> None:
    world = World()
    a = world.replica("a")
    world.away.add("a")
    terms = Terms(retry=0.01)
    leadership = Leadership(
        a, KEY, "a", clock=asyncio.get_running_loop().time, now=lambda: datetime.now(UTC), terms=terms
    )
    running = asyncio.create_task(leadership.run())
    await asyncio.sleep(0.05)
    world.away.clear()
    await asyncio.wait_for(leadership.gained.wait(), 2)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
