"""All of kopf: it hears of our two kinds and enqueues keys. It never decides, and writes nothing.

kopf runs on a thread and loop of its own: when it ends with an error it cancels every task that is younger than
itself, and an ERROR event ends it. Here it is then started again, and nobody else notices, since the informers tell
the same (decision 0001).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import aiohttp
import kopf
import structlog

from modeldeploy_operator.core.documents import MODEL_DEPLOYMENT, MODEL_VERSION, Document, Kind

log = structlog.get_logger(__name__)

RESTART_SECONDS = (1.0, 30.0)
"""The pause before kopf is started again, and the longest that it grows to."""

Tell = Callable[[Kind, Document], None]
"""Told of every object that kopf hears of; called on kopf's thread."""

Login = Callable[[], Awaitable[tuple[str, aiohttp.ClientSession]]]


class EndlessBackoffs:
    """Pauses between tries, without end: an API server that is away is no reason to give up."""

    def __init__(self, uniform: Callable[[float, float], float] = random.uniform) -> None:
        self._uniform = uniform

    def __iter__(self) -> Iterator[float]:
        ceiling = 0.25
        while True:
            yield self._uniform(ceiling / 2, ceiling)
            ceiling = min(2 * ceiling, 2.5)


def settings() -> kopf.OperatorSettings:
    """Watch, and nothing else: no Events, no peering, no finalizers, no scanning of other kinds."""
    found = kopf.OperatorSettings()
    found.posting.enabled = False
    found.peering.standalone = True
    found.scanning.disabled = True
    found.process.ultimate_exiting_timeout = None
    found.networking.error_backoffs = EndlessBackoffs()
    found.networking.connect_timeout = 3.0
    found.networking.request_timeout = 30.0
    found.watching.server_timeout = 300
    found.watching.connect_timeout = 3.0
    found.watching.inactivity_timeout = 70.0
    found.watching.chunk_size = 500
    found.queueing.worker_limit = None
    found.queueing.idle_timeout = 1.0
    return found


def registry(tell: Tell, login: Login) -> kopf.OperatorRegistry:
    """The handlers. on.event leaves neither finalizer nor annotation on an object."""
    found = kopf.OperatorRegistry()

    @kopf.on.login(registry=found)
    async def _login(**_: Any) -> kopf.AiohttpSession:
        server, session = await login()
        return kopf.AiohttpSession(server=server, aiohttp_session=session)

    def listen(kind: Kind) -> None:
        group, _, version = kind.api_version.partition("/")

        @kopf.on.event(group, version, kind.plural, registry=found)
        async def _told(body: kopf.Body, **_: Any) -> None:
            tell(kind, dict(body))

    for kind in (MODEL_DEPLOYMENT, MODEL_VERSION):
        listen(kind)
    return found


class Listener:
    """kopf on its thread, started again whenever it ends before `stop`."""

    def __init__(
        self, tell: Tell, login: Login, namespaces: Sequence[str], restart: tuple[float, float] = RESTART_SECONDS
    ) -> None:
        self._tell = tell
        self._login = login
        self._namespaces = tuple(namespaces)
        self._restart = restart
        self._stop = threading.Event()
        self._running: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._thread = threading.Thread(target=self._listen, name="kopf", daemon=True)
        self.starts = 0

    def start(self) -> None:
        """Begin listening."""
        self._thread.start()

    def stop(self, seconds: float) -> None:
        """End, and wait for that at most so long."""
        self._stop.set()
        with contextlib.suppress(RuntimeError):  # its loop may be closed already
            if (running := self._running) is not None:
                loop, ended = running
                loop.call_soon_threadsafe(ended.set)
        self._thread.join(seconds)

    def _listen(self) -> None:
        pause, longest = self._restart
        while not self._stop.is_set():
            self.starts += 1
            try:
                asyncio.run(self._operator())
            except Exception:
                log.exception("kopf.ended", pause=pause)
            if self._stop.wait(pause):
                return
            pause = min(2 * pause, longest)

    async def _operator(self) -> None:
        # An event of this loop: for a threading.Event kopf would keep a thread that outlives its failure.
        ended = asyncio.Event()
        self._running = (asyncio.get_running_loop(), ended)
        if self._stop.is_set():
            return
        await kopf.operator(
            registry=registry(self._tell, self._login),
            settings=settings(),
            standalone=True,
            clusterwide=not self._namespaces,
            namespaces=self._namespaces,
            stop_flag=ended,
        )
