"""The event loop's thread: accepts connections, watches the clock, drains on SIGTERM.

The main thread is left to the user's script, so the loop lives on a thread of its own, and signals come to it over
a socket that Python's signal machinery writes to even while the main thread is deep in a computation.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable

import uvloop

from scoring_server.connection import Application, Connection, Shared
from scoring_server.limits import Limits

logger = logging.getLogger("scoring_server.http")

_SWEEP_SECONDS = 0.5
# Between SIGTERM and the end of accepting: whoever still finds us gets an answer with "connection: close".
_LAME_DUCK_SECONDS = 1.0
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def bind(host: str, port: int) -> socket.socket:
    """A listening socket's address, taken early so that a port in use is told before a model is loaded."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((host, port))
    return sock


class Listener:
    """`start` returns once connections are accepted; `on_end` is called on the loop's thread after draining."""

    def __init__(self, application: Application, sock: socket.socket, limits: Limits, drain_seconds: float) -> None:
        self.loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._sock = sock
        self._drain_seconds = drain_seconds
        self._shared = Shared(application, limits, self.loop)
        self._terminate = asyncio.Event()
        self._accepting = threading.Event()
        self._wakeup_in, self._wakeup_out = socket.socketpair()
        self._on_drain: list[Callable[[], None]] = []
        self._on_end: Callable[[], None] = lambda: None

    @property
    def connections(self) -> int:
        return len(self._shared.open)

    def start(self, on_drain: Callable[[], None], on_end: Callable[[], None]) -> None:
        """To be called on the main thread: only it may say what a signal does."""
        self._on_drain.append(on_drain)
        self._on_end = on_end
        for end in (self._wakeup_in, self._wakeup_out):
            end.settimeout(0)
        signal.set_wakeup_fd(self._wakeup_out.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            # The bytes in the wakeup socket do the work; a handler has to exist for them to be written.
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._run, name="http", daemon=True).start()
        self._accepting.wait()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._sock.getsockname()[:2]
        return str(host), int(port)

    def every(self, seconds: float, call: Callable[[], object]) -> None:
        """Call on the loop's thread from now on. From any thread."""

        def again() -> None:
            call()
            self.loop.call_later(seconds, again)

        self.loop.call_soon_threadsafe(again)

    def terminate(self) -> None:
        """Drain and end. From any thread."""
        self.loop.call_soon_threadsafe(self._terminate.set)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._serve())
        except BaseException:
            # Without its loop the process answers nothing, health included: end, and be started again.
            logger.critical("The event loop ended unexpectedly", exc_info=True)
            logging.shutdown()
            os._exit(1)
        self._on_end()

    async def _serve(self) -> None:
        server = await self.loop.create_server(lambda: Connection(self._shared), sock=self._sock, backlog=2048)
        self.loop.add_reader(self._wakeup_in.fileno(), self._signalled)
        self._sweep()
        self._accepting.set()
        await self._terminate.wait()
        for callback in self._on_drain:
            callback()
        self._shared.draining = True
        logger.info("Draining: %d connections are open", len(self._shared.open))
        await asyncio.sleep(min(_LAME_DUCK_SECONDS, self._drain_seconds))
        server.close()
        await self._finish_connections()

    async def _finish_connections(self) -> None:
        end = self.loop.time() + max(0.0, self._drain_seconds - _LAME_DUCK_SECONDS)
        while self._shared.open and self.loop.time() < end:
            self._shared.close_idle(_LAME_DUCK_SECONDS)
            await asyncio.sleep(0.05)
        if self._shared.open:
            logger.warning("%d connections did not finish within %g s", len(self._shared.open), self._drain_seconds)

    def _signalled(self) -> None:
        numbers = self._wakeup_in.recv(4096)
        if any(number in numbers for number in _SIGNALS):
            self._terminate.set()

    def _sweep(self) -> None:
        self._shared.sweep()
        self.loop.call_later(_SWEEP_SECONDS, self._sweep)
