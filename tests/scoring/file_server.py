"""A real HTTP server on loopback that serves files, and fails in the ways that servers fail."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Callable
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

Fault = Callable[["Handler"], None]


class FileServer:
    """`files` by path; each request takes the next of `faults`, and is answered well when there is none left."""

    def __init__(self, files: dict[str, bytes] | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.files = files or {}
        self.faults: list[Fault] = []
        self.always: Fault | None = None
        self.requests: list[tuple[str, Message]] = []
        self.connections = 0
        self.sends_etag = True
        self.released = threading.Event()
        owner = self

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def get_request(self):  # type: ignore[no-untyped-def]
                owner.connections += 1
                return super().get_request()

            def handle_error(self, request: object, client_address: object) -> None:
                """A client that hangs up is what some tests are about."""

        class Bound(Handler):
            server_of_files = owner

        self._server = Server(("127.0.0.1", 0), Bound)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self._scheme = "https" if tls else "http"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.port}{path}"

    def ranges(self) -> list[str | None]:
        return [headers.get("Range") for _, headers in self.requests]

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.released.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_files: FileServer

    def do_GET(self) -> None:
        owner = self.server_of_files
        owner.requests.append((self.path, self.headers))
        fault = owner.faults.pop(0) if owner.faults else owner.always
        if fault is not None:
            fault(self)
            return
        content = owner.files.get(self.path.partition("?")[0])
        if content is None:
            self.answer(404, b"no such file")
        else:
            self.serve(content)

    def serve(self, content: bytes, cut_after: int | None = None) -> None:
        """The file or the part asked for; `cut_after` closes the connection after so many bytes of it."""
        first = self._first_byte(content)
        if first >= len(content) > 0 and first:
            self.answer(416, b"", {"Content-Range": f"bytes */{len(content)}"})
            return
        part = content[first:]
        self.send_response(206 if first else 200)
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        if self.server_of_files.sends_etag:
            self.send_header("ETag", etag(content))
        self.send_header("Content-Length", str(len(part)))
        self.end_headers()
        self.wfile.write(part if cut_after is None else part[:cut_after])
        self.close_connection = True

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def _first_byte(self, content: bytes) -> int:
        wanted = self.headers.get("Range", "")
        condition = self.headers.get("If-Range")
        if not wanted or (condition is not None and condition != etag(content)):
            return 0
        return int(wanted.removeprefix("bytes=").rstrip("-"))

    def log_message(self, format: str, *args: object) -> None:
        """Tests read `requests`, not the log."""


def etag(content: bytes) -> str:
    return f'"{hashlib.sha256(content).hexdigest()[:16]}"'


def cut(after: int) -> Fault:
    """Close the connection after so many bytes of the body."""
    return lambda handler: handler.serve(handler.server_of_files.files[handler.path], cut_after=after)


def status(code: int, body: bytes = b"", **headers: str) -> Fault:
    return lambda handler: handler.answer(code, body, {name.replace("_", "-"): text for name, text in headers.items()})


def raw(data: bytes) -> Fault:
    """Send exactly these bytes and hang up."""

    def fault(handler: Handler) -> None:
        handler.wfile.write(data)
        handler.close_connection = True

    return fault


def hang(handler: Handler) -> None:
    """Take the request and say nothing until the test is over."""
    handler.server_of_files.released.wait(30)
    handler.close_connection = True


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
