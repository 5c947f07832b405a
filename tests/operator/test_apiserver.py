"""The line to the API server: credentials that change, answers that are no JSON, and what is counted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import orjson
import pytest
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException
from modeldeploy_operator.apiserver import (
    ApiServer,
    Concurrency,
    NoAnswer,
    Refused,
    Request,
    collection_path,
    item_path,
    refusal,
)
from modeldeploy_operator.core.documents import DEPLOYMENT, POD, SERVICE, Key

from tests.operator.eventually import until
from tests.operator.small_api_server import IMPATIENT, SmallApiServer, running

GET = Request("get", "services", "GET", "/api/v1/namespaces/ml/services/weather")


class Credentials:
    """A token that changes at each reading, as a mounted one does when it is rotated."""

    def __init__(self) -> None:
        self.url = ""
        self.readings = 0
        self.broken: Exception | None = None

    async def __call__(self) -> Configuration:
        if self.broken is not None:
            raise self.broken
        self.readings += 1
        found = Configuration(host=self.url)
        found.api_key["BearerToken"] = f"bearer token-{self.readings}"
        return found


@asynccontextmanager
async def reaching(
    reload: float = 0.0, count: Callable[[str, str, str], None] = lambda *_: None
) -> AsyncIterator[tuple[SmallApiServer, ApiServer, Credentials]]:
    async with running(SmallApiServer()) as server:
        server.put(SERVICE, "weather")
        credentials = Credentials()
        credentials.url = server.url
        client = ApiServer(credentials, count=count, patience=replace(IMPATIENT, reload=reload))
        try:
            yield server, client, credentials
        finally:
            await client.close()


async def test_a_token_that_is_no_longer_taken_is_read_again() -> None:
    async with reaching() as (server, client, _):
        await client.call(GET)
        server.answer_next("get", 401, "Unauthorized")
        with pytest.raises(Refused, match="401"):
            await client.call(GET)
        await client.call(GET)
    assert [call.headers["Authorization"] for call in server.calls] == [
        "bearer token-1",
        "bearer token-1",
        "bearer token-2",
    ]


async def test_credentials_are_not_read_again_at_every_refusal() -> None:
    async with reaching(reload=60.0) as (server, client, credentials):
        for _ in range(5):
            server.answer_next("get", 401, "Unauthorized")
            with pytest.raises(Refused):
                await client.call(GET)
        assert credentials.readings == 1


async def test_a_watch_outlives_new_credentials() -> None:
    async with reaching() as (server, client, credentials):
        watch = Request("watch", "services", "GET", "/api/v1/services", {"watch": "true", "resourceVersion": "0"})
        async with client.stream(watch) as lines:
            assert orjson.loads(await anext(aiter(lines)))["type"] == "ADDED"
            server.answer_next("get", 401, "Unauthorized")
            with pytest.raises(Refused):
                await client.call(GET)
            server.put(SERVICE, "other")
            assert orjson.loads(await anext(aiter(lines)))["object"]["metadata"]["name"] == "other"
        assert credentials.readings == 2


@pytest.mark.parametrize(
    "error", [ConfigException("Service token file does not exist."), FileNotFoundError("kubeconfig")], ids=str
)
async def test_credentials_that_cannot_be_read_are_an_outage_and_no_bug(error: Exception) -> None:
    async with reaching() as (_, client, credentials):
        credentials.broken = error
        with pytest.raises(NoAnswer, match=f"the credentials cannot be read: {type(error).__name__}"):
            await client.call(GET)
        credentials.broken = None
        await client.call(GET)


async def test_every_call_is_counted_with_what_became_of_it() -> None:
    counted: list[tuple[str, str, str]] = []
    async with reaching(count=lambda *call: counted.append(call)) as (server, client, _):
        await client.call(GET)
        server.answer_next("get", 503)
        with pytest.raises(Refused):
            await client.call(GET)
        server.away = True
        with pytest.raises(NoAnswer):
            await client.call(GET)
    assert counted == [("get", "services", "200"), ("get", "services", "503"), ("get", "services", "none")]


async def test_a_crowd_of_slow_calls_takes_no_turns_of_others() -> None:
    concurrency = Concurrency(calls=2, apart={"services": 2})
    async with running(SmallApiServer()) as server:
        server.put(SERVICE, "weather")
        server.put(POD, "weather")
        gate = server.held["services"] = asyncio.Event()
        credentials = Credentials()
        credentials.url = server.url
        client = ApiServer(credentials, count=lambda *_: None, patience=IMPATIENT, concurrency=concurrency)
        crowd = [asyncio.create_task(client.call(GET)) for _ in range(6)]
        await until(lambda: len(server.calls) == 2)
        pod = Request("get", "pods", "GET", "/api/v1/namespaces/ml/pods/weather")
        await asyncio.gather(*(client.call(pod) for _ in range(4)))
        assert [call.path.split("/")[-2] for call in server.calls] == ["services"] * 2 + ["pods"] * 4
        gate.set()
        await asyncio.gather(*crowd)
        await client.close()


@pytest.mark.parametrize(
    ("payload", "retry_after", "expected"),
    [
        pytest.param(b'{"reason":"Gone","message":"m"}', None, ("Gone", "m", None), id="a Status"),
        pytest.param(
            b"<html>502 Bad Gateway</html>", None, ("502", "<html>502 Bad Gateway</html>", None), id="a proxy"
        ),
        pytest.param(b"", "7", ("502", "no message", 7.0), id="nothing"),
        pytest.param(b"[]", "Wed, 21 Oct 2026 07:28:00 GMT", ("502", "[]", None), id="a date"),
        pytest.param(b"\xff\xfe", None, ("502", "\ufffd\ufffd", None), id="no text"),
    ],
)
def test_whatever_an_error_answer_says_becomes_a_sentence(
    payload: bytes, retry_after: str | None, expected: tuple[str, str, float | None]
) -> None:
    found = refusal(502, payload, retry_after)
    assert (found.reason, found.message, found.retry_after) == expected


def test_paths_are_those_of_the_api() -> None:
    assert collection_path(POD, None) == "/api/v1/pods"
    assert collection_path(DEPLOYMENT, "ml") == "/apis/apps/v1/namespaces/ml/deployments"
    assert item_path(Key(DEPLOYMENT, "ml", "weather")) == "/apis/apps/v1/namespaces/ml/deployments/weather"
