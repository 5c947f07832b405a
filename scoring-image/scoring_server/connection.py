"""One client's HTTP/1.1 connection: parse, bound, answer in order, one write an answer.

uvicorn's server makes a `Connection` for every client, as it would make its own protocol class. Parsing is httptools'
(llhttp). What is ours are the bounds that uvicorn's protocols lack: time for the head, time and minimum rate for the
body, size of both, time for reading the answer, number of connections. Nothing here knows a route or a model: a
complete `Request` goes to the application, which returns a `Response` at once or an awaitable of one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable
from typing import Any, Protocol
from urllib.parse import unquote

import httptools
import uvicorn
from uvicorn.server import ServerState

from scoring_server import wire
from scoring_server.exchange import Header, Request, Response
from scoring_server.limits import Limits

logger = logging.getLogger("scoring_server.http")

_NEVER = float("inf")
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"

# A body up to this size is read before the answer, even if the answer is a refusal: the connection stays usable.
_READ_ANYWAY_BYTES = 64 * 1024
# After a refusal the rest of the body is thrown away for so long; closing at once would reset the connection
# and could destroy the answer before the client has read it.
_LINGER_SECONDS = 2.0
# While draining, a client that was quiet for so long is not about to send.
_QUIET_SECONDS = 1.0


class Application(Protocol):
    def answer(self, request: Request) -> Response | Awaitable[Response]: ...

    def refusal(self, request: Request) -> Response | None:
        """The answer to a request of which only the head is there, if no body could make it welcome."""

    def protocol_error(self, status: int, message: str) -> Response: ...


class Shared(ServerState):
    """uvicorn's state of a server, of which every connection is told, and what ours have in common besides."""

    connections: set[Connection]  # type: ignore[assignment]  # uvicorn names its own classes only

    def __init__(self, limits: Limits) -> None:
        super().__init__()
        self.limits = limits
        self.draining = False
        self.date = wire.date_line()

    def sweep(self, now: float) -> None:
        """Close what is overdue and set the clock's header. To be called about twice a second, with the loop's time."""
        self.date = wire.date_line()
        for connection in [item for item in self.connections if item.deadline < now]:
            connection.overdue()


class Connection(asyncio.Protocol):
    def __init__(
        self,
        config: uvicorn.Config,
        server_state: Shared,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """By the signature that uvicorn calls; there is no lifespan, so `app_state` is empty."""
        self._application: Application = config.loaded_app
        self._shared = server_state
        self._limits = server_state.limits
        self._loop = _loop or asyncio.get_running_loop()
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set by connection_made, always first
        self._parser: Any = httptools.HttpRequestParser(self)
        #: loop time after which the connection is closed
        self.deadline = _NEVER
        self._phase_began = 0.0
        self._in_head = False
        self._in_body = False
        self._head_bytes = 0
        self._url = b""
        self._headers: list[Header] = []
        self._chunks: list[bytes] = []
        self._body_bytes = 0
        self._busy = False
        # deaf: takes no more input; ended: writes no more either
        self._deaf = False
        self._ended = False
        self._peer_done = False
        self._write_paused = False
        self._unsent = 0
        self._waiting: deque[tuple[Request, bool]] = deque()

    # What the event loop calls

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        if len(self._shared.connections) >= self._limits.connections:
            self._deaf = self._ended = True
            response = self._application.protocol_error(503, "Too many connections are open. Try again.")
            transport.write(wire.render(response, self._shared.date, keep_alive=False))
            transport.close()
            return
        self._shared.connections.add(self)
        # Who connects and stays silent is as slow as who sends half a head.
        self._phase_began = self._loop.time()
        self.deadline = self._phase_began + self._limits.head_seconds

    def connection_lost(self, exc: Exception | None) -> None:
        self._shared.connections.discard(self)
        self._deaf = self._ended = True
        self._waiting.clear()
        # Parser and connection refer to each other: without this each connection waits for the cycle collector.
        self._parser = None

    def eof_received(self) -> bool:
        self._peer_done = True
        # A client may close its half after the request; it still gets its answer.
        return self._busy and not self._ended

    def data_received(self, data: bytes) -> None:
        if self._deaf:
            return
        if not self._in_body:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Answered as a plain request; what follows would be another protocol.
            self._peer_done = True
        except httptools.HttpParserCallbackError:
            # Our own fault, not the client's: the parser wraps what its callbacks raise.
            logger.exception("A request could not be taken in")
            self._transport.abort()
            return
        except httptools.HttpParserError as error:
            if not self._deaf:
                self._refuse(400, f"The request is not valid HTTP: {error}")
            return
        if self._in_head and self._head_bytes > self._limits.head_bytes:
            self._refuse(431, f"The request's head must not exceed {self._limits.head_bytes} bytes.")

    def pause_writing(self) -> None:
        # Who does not read answers may not ask for more.
        self._transport.pause_reading()
        self._write_paused = True
        self._set_deadline()

    def resume_writing(self) -> None:
        self._write_paused = False
        if not self._waiting:
            self._transport.resume_reading()
        self._set_deadline()

    # What the parser calls

    def on_message_begin(self) -> None:
        self._in_head = True
        self._url = b""
        self._headers = []
        self._chunks = []
        self._body_bytes = 0
        self._set_deadline()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._deaf:
            return
        size = len(self._url) + sum(len(name) + len(value) + 4 for name, value in self._headers)
        if size > self._limits.head_bytes:
            self._refuse(431, f"The request's head must not exceed {self._limits.head_bytes} bytes.")
            return
        self._in_body = True
        length, eager = 0, False
        for name, value in self._headers:
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding" or (name == b"expect" and value.lower() == b"100-continue"):
                eager = True
        if length > self._limits.body_bytes:
            self._refuse_body()
        elif eager or length > _READ_ANYWAY_BYTES:
            self._before_body()
        if not self._deaf:
            self._set_deadline()

    def on_body(self, body: bytes) -> None:
        if self._deaf:
            return
        self._chunks.append(body)
        self._body_bytes += len(body)
        if self._body_bytes > self._limits.body_bytes:
            self._refuse_body()
            return
        earned = self._body_bytes / self._limits.bytes_per_second
        self.deadline = self._phase_began + self._limits.body_seconds + earned

    def on_message_complete(self) -> None:
        self._in_body = False
        if self._deaf:
            return
        request = self._request(b"".join(self._chunks))
        self._chunks = []
        if request is None:
            return
        keep_alive = self._parser.should_keep_alive()
        if self._busy:
            # A pipelining client sends on while we work: answer in order, and read no more than this.
            self._waiting.append((request, keep_alive))
            self._transport.pause_reading()
        else:
            self._start(request, keep_alive)

    # What the server calls

    def overdue(self) -> None:
        """Time is up in whatever this connection was doing."""
        unsent = self._transport.get_write_buffer_size()
        if unsent > 0 and self._unsent - unsent >= self._limits.bytes_per_second * self._limits.write_seconds:
            # A large answer on a slow line: as long as it moves, it may take its time.
            self._wait_for_writing(unsent)
        elif self._ended or unsent > 0:
            self._transport.abort()
        elif self._in_body:
            self._refuse(408, "The request's body did not arrive in time.")
        elif self._in_head:
            self._refuse(408, "The request's head did not arrive in time.")
        else:
            self._end()

    def shutdown(self) -> None:
        """uvicorn's word to every connection once it accepts no more, after `draining` was set."""
        if self._ended or self._busy or self._in_head or self._in_body:
            # Whatever answer is owed will be the last, and closes.
            return
        remaining = self._phase_began + _QUIET_SECONDS - self._loop.time()
        if remaining > 0:
            self._loop.call_later(remaining, self.shutdown)
        else:
            self._end()

    # Ours

    def _request(self, body: bytes) -> Request | None:
        try:
            url = httptools.parse_url(self._url)
        except httptools.HttpParserInvalidURLError:
            self._refuse(400, "The request's URL is not valid.")
            return None
        path = (url.path or b"/").decode("latin-1")
        if "%" in path:
            path = unquote(path)
        method = self._parser.get_method().decode("ascii")
        return Request(method, path, url.query or b"", headers=self._headers, body=body, arrival=time.perf_counter())

    def _before_body(self) -> None:
        request = self._request(b"")
        if request is None:
            return
        refusal = self._application.refusal(request)
        if refusal is not None and not self._busy:
            self._refuse_with(refusal)
        elif not self._busy and any(name == b"expect" for name, _ in self._headers):
            self._transport.write(_CONTINUE)

    def _start(self, request: Request, keep_alive: bool) -> None:  # noqa: FBT001  the parser's own word
        while True:
            self._busy = True
            self.deadline = _NEVER
            self._shared.total_requests += 1
            answer = self._application.answer(request)
            if not isinstance(answer, Response):
                self._later(answer, request.method, keep_alive)
                return
            self._finish(answer, request.method, keep_alive)
            if self._ended or not self._waiting:
                return
            request, keep_alive = self._next()

    def _later(self, answer: Awaitable[Response], method: str, keep_alive: bool) -> None:  # noqa: FBT001
        task = self._loop.create_task(self._wait_for(answer, method, keep_alive))
        # The loop holds tasks weakly; uvicorn waits for these when it drains, and cancels them at its end.
        self._shared.tasks.add(task)
        task.add_done_callback(self._shared.tasks.discard)

    async def _wait_for(self, answer: Awaitable[Response], method: str, keep_alive: bool) -> None:  # noqa: FBT001
        try:
            response = await answer
        except asyncio.CancelledError:
            self._end()
            raise
        self._finish(response, method, keep_alive)
        if not self._ended and self._waiting:
            self._start(*self._next())

    def _next(self) -> tuple[Request, bool]:
        following = self._waiting.popleft()
        if not self._waiting:
            self._transport.resume_reading()
        return following

    def _finish(self, response: Response, method: str, keep_alive: bool) -> None:  # noqa: FBT001
        self._busy = False
        if self._ended:
            # The client left; its answer has nobody to go to.
            return
        keep_alive = keep_alive and not self._shared.draining and not (self._peer_done and not self._waiting)
        self._transport.write(wire.render(response, self._shared.date, method=method, keep_alive=keep_alive))
        if keep_alive:
            self._set_deadline()
        else:
            self._end()

    def _end(self) -> None:
        self._deaf = self._ended = True
        self._waiting.clear()
        # Closes once the answer is sent; a client that does not read it is aborted by the sweep.
        self._wait_for_writing(self._transport.get_write_buffer_size())
        self._transport.close()

    def _wait_for_writing(self, unsent: int) -> None:
        self._unsent = unsent
        self.deadline = self._loop.time() + self._limits.write_seconds

    def _refuse(self, status: int, message: str) -> None:
        self._refuse_with(self._application.protocol_error(status, message))

    def _refuse_body(self) -> None:
        self._refuse(413, f"The request's body must not exceed {self._limits.body_bytes} bytes.")

    def _refuse_with(self, response: Response) -> None:
        """Answer before the request is complete, and take no more from this client."""
        self._deaf = True
        self._chunks = []
        if self._busy:
            # An earlier request on this connection is still owed its answer, and order counts: give up the rest.
            self._peer_done = True
            return
        self._ended = True
        self._transport.write(wire.render(response, self._shared.date, keep_alive=False))
        self.deadline = self._loop.time() + _LINGER_SECONDS
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _set_deadline(self) -> None:
        now = self._phase_began = self._loop.time()
        if self._ended:
            return
        if self._write_paused:
            self._wait_for_writing(self._transport.get_write_buffer_size())
        elif self._busy:
            self.deadline = _NEVER
        elif self._in_body:
            self.deadline = now + self._limits.body_seconds
        elif self._in_head:
            self.deadline = now + self._limits.head_seconds
        else:
            self.deadline = now + self._limits.idle_seconds
