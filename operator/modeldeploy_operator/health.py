"""What kubelet and Prometheus ask for over HTTP: /healthz, /readyz on one port, /metrics on the other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Protocol

from aiohttp import web

SILENCE = 90.0
"""Seconds without news after which a watch counts as dead.

A watch gives up on its own after 70 s without a bookmark and lists anew; that has had 20 s by then. Time in which the
API server is away does not count: a restart would not bring it back.
"""

Headers = Mapping[str, str]


class Watched(Protocol):
    """An informer, as far as its health goes."""

    @property
    def synced(self) -> bool:
        """Whether the first list is in the store."""

    def silence(self, now: float) -> float:
        """Seconds without a sign of life."""

    def __str__(self) -> str:
        """What is watched."""


@dataclass(frozen=True)
class Health:
    """Judges the informers."""

    informers: Sequence[Watched]
    clock: Callable[[], float]

    def troubles(self) -> list[str]:
        """Why the process should be restarted; empty: it should not."""
        now = self.clock()
        silent = [(informer, informer.silence(now)) for informer in self.informers]
        return [f"{informer}: no news for {seconds:.0f} s" for informer, seconds in silent if seconds > SILENCE]

    def waiting_for(self) -> list[str]:
        """What has not been listed yet; empty: ready."""
        return [f"{informer}: not listed yet" for informer in self.informers if not informer.synced]


def health_app(health: Health) -> web.Application:
    """/healthz and /readyz: 200, or 503 with one line for each cause."""

    async def healthz(_: web.Request) -> web.Response:
        return _answer(health.troubles())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(health.waiting_for())

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz)])
    return app


def metrics_app(text: Callable[[], bytes]) -> web.Application:
    """/metrics in Prometheus' text format."""

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/metrics", metrics)])
    return app


async def serve(stack: AsyncExitStack, app: web.Application, port: int) -> int:
    """Serve on all addresses until the stack is left. Yields the port, which 0 leaves to the system."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, None, port)
    await site.start()
    # With port 0 the families get different ones: IPv4's, where there is one.
    bound: tuple[str, int] = min(runner.addresses, key=lambda address: ":" in address[0])
    return bound[1]


def _answer(causes: list[str]) -> web.Response:
    return web.Response(status=503 if causes else 200, text="\n".join(causes or ["ok"]) + "\n")
