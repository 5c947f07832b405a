"""This server's OpenAPI document, by a FastAPI application that is made when somebody first asks for it.

Importing FastAPI costs as much CPU and memory as the whole rest of a start, so it happens here and not before, and on
a thread, so that scoring goes on meanwhile. What must not enter: an import of FastAPI at this module's top.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from scoring_server.exchange import Request, Response
from scoring_server.protocols.swagger import Described

Message = MutableMapping[str, Any]
AsgiApplication = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


class Description:
    """`answer` gives the document. The application is kept: what it describes does not change while we serve it."""

    def __init__(self, ask: Callable[[Request], Response | Awaitable[Response]], *, has_keys: bool) -> None:
        self._ask = ask
        self._has_keys = has_keys
        self._making: asyncio.Future[AsgiApplication] | None = None

    async def answer(self, request: Request, described: Described) -> Response:
        if self._making is None or (self._making.done() and self._making.exception() is not None):
            self._making = asyncio.ensure_future(asyncio.to_thread(self._make, described))
        # Shielded: the client that asked first may leave, the others still want it.
        return await _over_asgi(await asyncio.shield(self._making), request)

    def _make(self, described: Described) -> AsgiApplication:
        from scoring_server import documented

        return documented.application(described, self._ask, has_keys=self._has_keys)


async def _over_asgi(application: AsgiApplication, request: Request) -> Response:
    """The application's answer to a GET of the request's path."""
    status, headers, body = 500, [], b""

    async def receive() -> Message:
        return {"type": "http.request", "body": request.body, "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, headers, body
        if message["type"] == "http.response.start":
            status, headers = message["status"], list(message["headers"])
        elif message["type"] == "http.response.body":
            body += message.get("body", b"")

    scope: Message = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": request.query,
        "headers": list(request.headers),
        "client": None,
        "server": None,
    }
    await application(scope, receive, send)
    return Response(status, body, [(name, value) for name, value in headers if name != b"content-length"])
