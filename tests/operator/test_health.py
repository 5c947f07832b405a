"""What kubelet and Prometheus are told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from modeldeploy_operator.health import SILENCE, Health, health_app, metrics_app, serve
from modeldeploy_operator.informer import Pulse
from modeldeploy_operator.metrics import Metrics


@dataclass
class Watch:
    name: str
    synced: bool = True
    heard: float = 0.0

    def silence(self, now: float) -> float:
        return now - self.heard

    def __str__(self) -> str:
        return self.name


@asynccontextmanager
async def asking(health: Health, metrics: Metrics) -> AsyncIterator[tuple[str, str, aiohttp.ClientSession]]:
    async with AsyncExitStack() as stack:
        one = await serve(stack, health_app(health), 0)
        two = await serve(stack, metrics_app(metrics.text), 0)
        session = await stack.enter_async_context(aiohttp.ClientSession())
        yield f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}", session


async def get(session: aiohttp.ClientSession, url: str) -> tuple[int, str]:
    async with session.get(url) as response:
        return response.status, await response.text()


async def test_a_watch_that_is_silent_for_too_long_is_named_and_fails_liveness() -> None:
    now = [SILENCE]
    health = Health([Watch("pods"), Watch("services", heard=50.0)], lambda: now[0])
    async with asking(health, Metrics()) as (url, _, session):
        assert await get(session, f"{url}/healthz") == (200, "ok\n")
        now[0] += 1
        assert await get(session, f"{url}/healthz") == (503, "pods: no news for 91 s\n")


async def test_what_is_not_listed_yet_is_named_and_fails_readiness_alone() -> None:
    health = Health([Watch("pods", synced=False)], lambda: 0.0)
    async with asking(health, Metrics()) as (url, _, session):
        assert await get(session, f"{url}/readyz") == (503, "pods: not listed yet\n")
        assert await get(session, f"{url}/healthz") == (200, "ok\n")


async def test_metrics_tell_calls_by_verb_and_figures_when_they_are_asked_for() -> None:
    metrics = Metrics()
    metrics.count_call("patch", "services", "200")
    depth = [3.0]
    metrics.watch("modeldeploy_queue_depth", "Waiting.", lambda: depth[0])
    depth[0] = 4.0
    async with asking(Health([], lambda: 0.0), metrics) as (_, url, session):
        status, text = await get(session, f"{url}/metrics")
    assert status == 200
    assert 'modeldeploy_api_calls_total{code="200",resource="services",verb="patch"} 1.0' in text
    assert "modeldeploy_queue_depth 4.0" in text
    assert "process_resident_memory_bytes" in text


@pytest.mark.parametrize(
    ("data", "unanswered", "expected"),
    [
        pytest.param(10.0, float("-inf"), 90.0, id="silent"),
        pytest.param(10.0, 95.0, 5.0, id="the API server was away until 5 s ago"),
        pytest.param(99.0, 50.0, 1.0, id="news since it is back"),
    ],
)
def test_silence_does_not_count_while_the_api_server_is_away(data: float, unanswered: float, expected: float) -> None:
    assert Pulse(data, unanswered).silence(100.0) == expected
