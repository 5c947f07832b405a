"""A response as the bytes of HTTP/1.1, to be written at once. Pure, but for the clock in the date."""

from __future__ import annotations

import http
from email.utils import formatdate

from scoring_server.exchange import Response

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in http.HTTPStatus}


def date_line() -> bytes:
    return b"date: " + formatdate(usegmt=True).encode() + b"\r\n"


def render(response: Response, date: bytes, *, method: str = "GET", keep_alive: bool) -> bytes:
    """Head and body in one piece; to HEAD the head alone."""
    body = response.body
    parts = [_STATUS_LINES[response.status], date, b"content-length: %d\r\n" % len(body)]
    for name, value in response.headers:
        parts.append(b"%b: %b\r\n" % (name, value))
    parts.append(b"\r\n" if keep_alive else b"connection: close\r\n\r\n")
    if method != "HEAD":
        parts.append(body)
    return b"".join(parts)
