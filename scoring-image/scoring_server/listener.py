"""uvicorn on a thread of its own: accepts connections, watches the clock, drains on SIGTERM.

The main thread is left to the user's script, so uvicorn and its loop live beside it, and signals come to them over
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

import uvicorn

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


def configuration(application: Application, drain_seconds: float) -> uvicorn.Config:
    """uvicorn with our connections, on uvloop. What it would log, we say in our own words."""
    return uvicorn.Config(
        application,  # type: ignore[arg-type]  # our connections ask it directly, without ASGI in between
        http=Connection,
        loop="uvloop",
        ws="none",
        lifespan="off",
        interface="asgi3",
        workers=1,
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_graceful_shutdown=max(0, int(drain_seconds - _LAME_DUCK_SECONDS)),
    )


class Server(uvicorn.Server):
    """uvicorn's server; ours are the clock for the limits and the time between SIGTERM and the end of accepting."""

    server_state: Shared

    def __init__(
        self,
        config: uvicorn.Config,
        limits: Limits,
        *,
        lame_duck_seconds: float = _LAME_DUCK_SECONDS,
        sweep_seconds: float = _SWEEP_SECONDS,
    ) -> None:
        super().__init__(config)
        self.server_state = Shared(limits)
        self.accepting = threading.Event()
        self.on_drain: Callable[[], None] = lambda: None
        self._lame_duck_seconds = lame_duck_seconds
        self._sweep_seconds = sweep_seconds

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sweep(asyncio.get_running_loop())
        self.accepting.set()

    async def main_loop(self) -> None:
        """Until told to exit; then everybody is still answered for a moment, with "connection: close"."""
        await super().main_loop()
        self.server_state.draining = True
        self.on_drain()
        logger.info("Draining: %d connections are open", len(self.server_state.connections))
        await asyncio.sleep(self._lame_duck_seconds)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        unfinished = len(self.server_state.connections)
        if unfinished:
            logger.warning("%d connections did not finish in the time to drain", unfinished)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self.server_state.sweep(loop.time())
        loop.call_later(self._sweep_seconds, self._sweep, loop)


class Listener:
    """`start` returns once connections are accepted; `on_end` is called on the loop's thread after draining."""

    def __init__(self, application: Application, sock: socket.socket, limits: Limits, drain_seconds: float) -> None:
        config = configuration(application, drain_seconds)
        self._server = Server(config, limits, lame_duck_seconds=min(_LAME_DUCK_SECONDS, drain_seconds))
        new_loop = config.get_loop_factory()
        assert new_loop is not None
        self.loop = new_loop()
        self._sock = sock
        self._address = sock.getsockname()[:2]
        self._wakeup_in, self._wakeup_out = socket.socketpair()
        self._on_end: Callable[[], None] = lambda: None

    @property
    def connections(self) -> int:
        return len(self._server.server_state.connections)

    def start(self, on_drain: Callable[[], None], on_end: Callable[[], None]) -> None:
        """To be called on the main thread: only it may say what a signal does."""
        self._server.on_drain = on_drain
        self._on_end = on_end
        for end in (self._wakeup_in, self._wakeup_out):
            end.settimeout(0)
        signal.set_wakeup_fd(self._wakeup_out.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            # The bytes in the wakeup socket do the work; a handler has to exist for them to be written.
            signal.signal(number, lambda *_: None)
        threading.Thread(target=self._run, name="http", daemon=True).start()
        self._server.accepting.wait()

    @property
    def address(self) -> tuple[str, int]:
        host, port = self._address
        return str(host), int(port)

    def every(self, seconds: float, call: Callable[[], object]) -> None:
        """Call on the loop's thread from now on. From any thread."""

        def again() -> None:
            call()
            self.loop.call_later(seconds, again)

        self.loop.call_soon_threadsafe(again)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.add_reader(self._wakeup_in.fileno(), self._signalled)
            # Off the main thread uvicorn leaves signals alone, so it is told by `_signalled`.
            self.loop.run_until_complete(self._server.serve(sockets=[self._sock]))
        except BaseException:
            # Without its loop the process answers nothing, health included: end, and be started again.
            logger.critical("The event loop ended unexpectedly", exc_info=True)
            logging.shutdown()
            os._exit(1)
        self._on_end()

    def _signalled(self) -> None:
        numbers = self._wakeup_in.recv(4096)
        if any(number in numbers for number in _SIGNALS):
            self._server.should_exit = True
