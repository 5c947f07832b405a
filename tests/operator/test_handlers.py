"""kopf, over real HTTP: what it tells, what it writes (nothing), and how it comes back when it ends."""

from __future__ import annotations

import gc
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
from kubernetes.aio.client.configuration import Configuration
from modeldeploy_operator import access, handlers
from modeldeploy_operator.core.documents import MODEL_DEPLOYMENT, MODEL_VERSION, Document, Kind
from modeldeploy_operator.handlers import EndlessBackoffs, Listener

from tests.operator.eventually import until
from tests.operator.small_api_server import SmallApiServer, running


@pytest.fixture
async def server() -> AsyncIterator[SmallApiServer]:
    async with running(SmallApiServer()) as server:
        server.tell_kinds()
        yield server


@contextmanager
def listening(server: SmallApiServer) -> Iterator[tuple[Listener, list[str]]]:
    told: list[str] = []

    def tell(kind: Kind, document: Document) -> None:
        told.append(f"{kind.kind} {document['metadata']['name']}")

    async def login() -> tuple[str, object]:
        return server.url, access.session(Configuration(host=server.url))

    listener = Listener(tell, login, namespaces=(), restart=(0.05, 0.1))  # type: ignore[arg-type]
    listener.start()
    try:
        yield listener, told
    finally:
        listener.stop(seconds=10.0)
        # kopf leaves failed tasks behind, which tell of themselves when they are collected: now, and not inside
        # somebody else's ast.parse, which CPython 3.11 does not survive.
        gc.collect()


async def test_what_is_there_and_what_comes_is_told_and_nothing_is_written(server: SmallApiServer) -> None:
    server.put(MODEL_DEPLOYMENT, "weather", spec={})
    with listening(server) as (_, told):
        await until(lambda: told == ["ModelDeployment weather"], seconds=20, tell=lambda: server.calls)
        server.put(MODEL_VERSION, "svc-1", spec={})
        await until(lambda: told[1:] == ["ModelVersion svc-1"], seconds=20, tell=lambda: told)
    assert {call.method for call in server.calls} == {"GET"}


async def test_an_error_that_ends_kopf_starts_it_again(server: SmallApiServer) -> None:
    with listening(server) as (listener, told):
        await until(lambda: server.watching == 2, seconds=20)
        server.order({"type": "ERROR", "object": {"code": 500, "reason": "InternalError", "message": "etcd"}})
        await until(lambda: listener.starts >= 2, seconds=20)
        server.put(MODEL_DEPLOYMENT, "weather", spec={})
        await until(lambda: "ModelDeployment weather" in told, seconds=20)


async def test_it_ends_soon_when_it_is_told_to(server: SmallApiServer) -> None:
    with listening(server) as (listener, _):
        await until(lambda: server.watching == 2, seconds=20)
        listener.stop(seconds=10.0)
        assert not listener._thread.is_alive()


def test_pauses_between_tries_never_end_and_never_grow_beyond_their_cap() -> None:
    pauses = list(itertools.islice(EndlessBackoffs(uniform=lambda low, high: high), 1000))
    assert pauses[:5] == [0.25, 0.5, 1.0, 2.0, 2.5]
    assert set(pauses[5:]) == {2.5}


def test_kopf_is_kept_from_everything_but_watching() -> None:
    found = handlers.settings()
    assert not found.posting.enabled
    assert found.peering.standalone
    assert found.scanning.disabled
    assert found.queueing.worker_limit is None
