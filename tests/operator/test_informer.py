"""The informer against a real HTTP server that does to its watches whatever can be done to one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from modeldeploy_operator.apiserver import Patience
from modeldeploy_operator.core.documents import CONFIG_MAP, POD, Document, Key
from modeldeploy_operator.informer import Informer, Scope, Selector, Store, Timing

from tests.operator.eventually import until
from tests.operator.small_api_server import IMPATIENT, SOON_STALLED, SmallApiServer, connected, running

PODS = Scope(POD)
QUICK = Timing(pause=0.01, longest_pause=0.05)


@dataclass
class World:
    """An informer of pods at work, and what it told."""

    server: SmallApiServer
    store: Store
    informer: Informer
    told: list[tuple[str | None, str | None]] = field(default_factory=list)

    def names(self) -> set[str]:
        return {document["metadata"]["name"] for document in self.store.all(self.informer.scope.kind)}

    async def until(self, condition: Callable[[], bool]) -> None:
        await until(condition, tell=lambda: (self.names(), self.told, self.informer.pulse))

    async def watching(self) -> None:
        await self.until(lambda: self.informer.synced and self.server.watching == 1)


def _version(document: Document | None) -> str | None:
    return None if document is None else f"{document['metadata']['name']}@{document['metadata']['resourceVersion']}"


@asynccontextmanager
async def informing(
    server: SmallApiServer, scope: Scope = PODS, store: Store | None = None, patience: Patience = IMPATIENT
) -> AsyncIterator[World]:
    async with running(server), connected(server, patience) as client:
        store = store or Store([POD, CONFIG_MAP])
        told: list[tuple[str | None, str | None]] = []
        informer = Informer(
            client, store, scope, lambda before, after: told.append((_version(before), _version(after))), QUICK
        )
        world = World(server, store, informer, told)
        task = asyncio.create_task(informer.run())
        try:
            yield world
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def test_what_is_there_is_listed_and_what_comes_is_told() -> None:
    server = SmallApiServer()
    server.put(POD, "a")
    async with informing(server) as world:
        await world.watching()
        server.put(POD, "b")
        server.put(POD, "b", spec={"nodeName": "n1"})
        server.remove(POD, "a")
        await world.until(lambda: len(world.told) == 4)
    assert world.names() == {"b"}
    assert world.told == [(None, "a@11"), (None, "b@12"), ("b@12", "b@13"), ("a@11", None)]


async def test_a_long_list_comes_in_pages() -> None:
    server = SmallApiServer()
    for number in range(1201):
        server.put(POD, f"p{number:04}")
    async with informing(server) as world:
        await world.until(lambda: world.informer.synced)
        assert len(world.names()) == 1201
    assert server.count("get") == 3


async def test_what_was_deleted_while_nobody_watched_is_told_after_a_410() -> None:
    server = SmallApiServer()
    for name in "abc":
        server.put(POD, name)
    async with informing(server) as world:
        await world.watching()
        server.mute = True
        server.remove(POD, "b")
        server.put(POD, "d")
        server.compact()
        server.mute = False
        server.order("cut")
        await world.until(lambda: world.names() == {"a", "c", "d"})
        assert ("b@12", None) in world.told
        assert world.informer.pulse.relists == 2


async def test_a_cut_watch_goes_on_where_it_was_without_a_list() -> None:
    server = SmallApiServer()
    server.put(POD, "a")
    async with informing(server) as world:
        await world.watching()
        server.order("cut")
        await world.until(lambda: server.count("watch") >= 2 and server.watching == 1)
        server.put(POD, "b")
        await world.until(lambda: world.names() == {"a", "b"})
        assert world.informer.pulse.relists == 1
    assert world.told == [(None, "a@11"), (None, "b@12")]


async def test_an_error_event_of_410_lists_again() -> None:
    server = SmallApiServer()
    async with informing(server) as world:
        await world.watching()
        server.order({"type": "ERROR", "object": {"code": 410, "reason": "Expired", "message": "too old"}})
        await world.until(lambda: world.informer.pulse.relists == 2)


async def test_an_error_event_of_500_is_tried_again_and_at_its_second_time_lists() -> None:
    server = SmallApiServer()
    broken = {"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "etcd"}}
    async with informing(server) as world:
        await world.watching()
        server.order(broken)
        await world.until(lambda: server.count("watch") == 2 and server.watching == 1)
        assert world.informer.pulse.relists == 1
        server.order(broken)
        await world.until(lambda: world.informer.pulse.relists == 2)


async def test_a_silent_watch_is_given_up_and_the_gap_is_found() -> None:
    server = SmallApiServer()
    server.put(POD, "a")
    async with informing(server, patience=SOON_STALLED) as world:
        await world.watching()
        server.mute = True
        server.put(POD, "b")
        server.remove(POD, "a")
        await world.until(lambda: world.names() == {"b"})
        assert world.informer.pulse.stalls >= 1


async def test_bookmarks_keep_a_quiet_watch_alive_and_move_its_place() -> None:
    server = SmallApiServer()
    server.put(POD, "a")
    async with informing(server, patience=SOON_STALLED) as world:
        await world.watching()
        for _ in range(8):
            await asyncio.sleep(0.1)
            server.version += 1
            server.bookmark()
        server.compact()
        server.order("cut")
        await world.until(lambda: server.count("watch") == 2 and server.watching == 1)
        assert (world.informer.pulse.stalls, world.informer.pulse.relists) == (0, 1)


async def test_events_told_twice_are_heard_once() -> None:
    server = SmallApiServer()
    server.duplicate = True
    async with informing(server) as world:
        await world.watching()
        server.put(POD, "a")
        server.put(POD, "a", spec={"nodeName": "n1"})
        server.remove(POD, "a")
        server.put(POD, "z")
        await world.until(lambda: world.names() == {"z"})
    assert world.told == [(None, "a@11"), ("a@11", "a@12"), ("a@12", None), (None, "z@14")]


async def test_an_event_older_than_what_is_known_is_not_believed() -> None:
    server = SmallApiServer()
    old = server.put(POD, "a")
    async with informing(server) as world:
        await world.watching()
        server.put(POD, "a", spec={"nodeName": "n1"})
        await world.until(lambda: len(world.told) == 2)
        server.order({"type": "MODIFIED", "object": old})
        server.put(POD, "b")
        await world.until(lambda: "b" in world.names())
        document = world.store.get(Key(POD, "ml", "a"))
    assert document is not None
    assert document["spec"]["nodeName"] == "n1"


async def test_the_late_deletion_of_a_former_object_does_not_take_its_successor() -> None:
    server = SmallApiServer()
    former = server.put(POD, "a")
    async with informing(server) as world:
        await world.watching()
        server.remove(POD, "a")
        server.put(POD, "a")
        await world.until(lambda: len(world.told) == 3)
        server.order({"type": "DELETED", "object": former})
        server.put(POD, "b")
        await world.until(lambda: "b" in world.names())
    assert world.names() == {"a", "b"}


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        pytest.param("get", 503, id="unavailable at the list"),
        pytest.param("get", 429, id="asked for patience at the list"),
        pytest.param("get", 403, id="forbidden at first"),
        pytest.param("get", 404, id="CRD not there yet"),
        pytest.param("watch", 500, id="error at the watch"),
        pytest.param("watch", 410, id="too old at the watch"),
    ],
)
async def test_no_refusal_ends_an_informer(verb: str, status: int) -> None:
    server = SmallApiServer()
    server.put(POD, "a")
    server.answer_next(verb, status)
    async with informing(server) as world:
        await world.watching()
        server.put(POD, "b")
        await world.until(lambda: world.names() == {"a", "b"})


async def test_an_api_server_that_was_away_is_found_again_and_its_absence_is_no_silence() -> None:
    server = SmallApiServer()
    server.put(POD, "a")
    async with informing(server) as world:
        await world.watching()
        server.away = True
        server.order("cut")
        calls = len(server.calls)
        await world.until(lambda: len(server.calls) >= calls + 6)
        assert world.informer.pulse.unanswered > world.informer.pulse.data
        server.put(POD, "b")
        server.away = False
        await world.until(lambda: world.names() == {"a", "b"})


async def test_a_list_that_fails_between_its_pages_begins_anew() -> None:
    server = SmallApiServer()
    for number in range(600):
        server.put(POD, f"p{number}")
    server.answer_next("get", 410, "Expired", "the continue token is too old", after=1)
    async with informing(server) as world:
        await world.until(lambda: world.informer.synced)
        assert len(world.names()) == 600
        assert server.count("get") == 4


async def test_a_bug_in_a_listener_does_not_end_the_informer() -> None:
    server = SmallApiServer()
    heard: list[str] = []

    def buggy(_: Document | None, after: Document | None) -> None:
        assert after is not None
        heard.append(after["metadata"]["name"])
        raise ValueError("bug")

    async with informing(server) as world:
        world.informer.on_change = buggy
        await world.watching()
        server.put(POD, "a")
        server.put(POD, "b")
        await world.until(lambda: heard == ["a", "b"])
        assert server.count("watch") == 1


async def test_metadata_only_keeps_the_real_kind() -> None:
    server = SmallApiServer()
    server.put(CONFIG_MAP, "code", data={"score.py": "secret of the user"})
    async with informing(server, Scope(CONFIG_MAP, metadata_only=True)) as world:
        await world.watching()
        server.put(CONFIG_MAP, "more", data={"a": "b"})
        await world.until(lambda: world.names() == {"code", "more"})
        found = world.store.get(Key(CONFIG_MAP, "ml", "code"))
    assert found is not None
    assert (found["apiVersion"], found["kind"]) == ("v1", "ConfigMap")
    assert "data" not in found


async def test_two_informers_of_one_kind_do_not_delete_what_is_the_others() -> None:
    server = SmallApiServer()
    server.put(CONFIG_MAP, "ours", metadata={"labels": {"by": "us"}}, data={"a": "b"})
    server.put(CONFIG_MAP, "theirs", data={"c": "d"})
    store = Store([CONFIG_MAP])
    async with informing(server, Scope(CONFIG_MAP, selector=Selector("by", "us")), store) as world:
        theirs = Scope(CONFIG_MAP, selector=Selector("by", "us", negated=True), metadata_only=True)
        other = Informer(world.informer.server, store, theirs, lambda *_: None, QUICK)
        task = asyncio.create_task(other.run())
        await world.until(lambda: world.informer.synced and other.synced)
        assert world.names() == {"ours", "theirs"}
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_one_namespace_is_asked_for_and_nothing_else_is_dropped() -> None:
    server = SmallApiServer()
    server.put(POD, "a", namespace="ml")
    server.put(POD, "b", namespace="other")
    async with informing(server, Scope(POD, "ml")) as world:
        await world.watching()
        assert world.names() == {"a"}
    assert {call.path for call in server.calls} == {"/api/v1/namespaces/ml/pods"}


async def test_what_nobody_reads_is_not_kept() -> None:
    server = SmallApiServer()
    server.put(POD, "a")
    async with informing(server) as world:
        await world.watching()
        found = world.store.get(Key(POD, "ml", "a"))
    assert found is not None
    assert "managedFields" not in found["metadata"]
