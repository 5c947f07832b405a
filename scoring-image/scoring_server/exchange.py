"""A request and its response as plain values, whatever server or test carried them.

Header names are lower case bytes, in the order of arrival. Nothing here reads a socket or knows a route.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

Header = tuple[bytes, bytes]


class Request:
    """One complete request. `arrival` is a `time.perf_counter()` reading."""

    __slots__ = ("arrival", "body", "headers", "method", "path", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes = b"",
        *,
        headers: Sequence[Header] = (),
        body: bytes = b"",
        arrival: float = 0.0,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.arrival = arrival


class Response:
    """Status, headers (content-length excepted: who writes it counts) and the whole body."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: bytes = b"", headers: Iterable[Header] = ()) -> None:
        self.status = status
        self.body = body
        self.headers = tuple(headers)
