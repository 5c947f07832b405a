"""One file over http or https into a sink: resumed where it was cut, retried where that may help, judged at each hop.

The connection goes to an address that `netguard` has judged, by the standard library alone: what a fetch container
imports is what it waits for. Proxies of the environment are not used, for nobody could judge what they connect to.
"""

from __future__ import annotations

import base64
import http.client
import logging
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Protocol
from urllib.parse import unquote

from scoring_server import digest, netguard
from scoring_server.netguard import Address, Location, Resolver
from scoring_server.source_errors import Interrupted, SourceError
from scoring_server.sources import Options

_log = logging.getLogger(__name__)

CHUNK_BYTES = 256 << 10
MAX_REDIRECTS = 5
# A cut after this much new data is not held against the server: a 50 GB file may outlive several connections.
PROGRESS_BYTES = 8 << 20
LONGEST_WAIT_SECONDS = 60.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NETWORK_ERRORS = (OSError, http.client.HTTPException)


class Sink(Protocol):
    """Where the bytes go. `position` counts what it holds, `digest` is over exactly that."""

    @property
    def position(self) -> int: ...
    @property
    def digest(self) -> str: ...
    def write(self, chunk: bytes) -> None: ...
    def restart(self) -> None:
        """Forget every byte held."""


@dataclass
class Download:
    """One file on its way. `expected` is its digest where it is known."""

    location: Location
    sink: Sink
    options: Options
    expected: str | None = None
    resolver: Resolver | None = None
    sleep: Callable[[float], None] = time.sleep
    jitter: Callable[[], float] = lambda: 1.0
    _validator: str | None = field(default=None, init=False)
    _stitched: bool = field(default=False, init=False)

    def run(self) -> None:
        """Fill the sink with the whole file and check its digest, or raise SourceError."""
        failures, furthest = 0, self.sink.position
        self._stitched = self.sink.position > 0
        while True:
            try:
                self._attempt()
                if self._is_whole():
                    return
                raise Interrupted(f"{self.location} changed while it was read; what was resumed does not fit together.")
            except Interrupted as error:
                failures = 1 if self.sink.position >= furthest + PROGRESS_BYTES else failures + 1
                furthest = max(furthest, self.sink.position)
                if failures >= self.options.attempts:
                    raise SourceError("SourceUnavailable", f"{error.message} Tried {_times(failures)}.") from error
                wait = self._wait_seconds(failures, error)
                _log.warning("%s Trying again in %.1f s from byte %d.", error.message, wait, self.sink.position)
                self.sleep(wait)

    def _wait_seconds(self, failures: int, error: Interrupted) -> float:
        backoff = self.options.backoff_seconds * 2.0 ** (failures - 1) * self.jitter()
        return min(max(backoff, error.retry_after), LONGEST_WAIT_SECONDS)

    def _is_whole(self) -> bool:
        """Check the digest. One that fails after a resumption may be our own patchwork: then start over."""
        if self.expected is None or self.sink.digest == self.expected:
            return True
        if self._stitched:
            self._start_over()
            return False
        digest.verify(self.expected, self.sink.digest, str(self.location))
        return True

    def _start_over(self) -> None:
        self.sink.restart()
        self._validator, self._stitched = None, False

    def _attempt(self) -> None:
        if self.sink.position and self._validator is None and self.expected is None:
            self._start_over()  # nothing would tell whether the rest belongs to the same bytes
        location = self.location
        for _ in range(MAX_REDIRECTS + 1):
            try:
                following = self._request(location)
            except _NETWORK_ERRORS as error:
                raise _interrupted(location, error) from error
            if following is None:
                return
            location = following
        raise SourceError(
            "SourceRefused", f"{self.location} redirects more than {MAX_REDIRECTS} times; give the last address."
        )

    def _request(self, location: Location) -> Location | None:
        """One request and its answer: the body goes to the sink; a redirect is returned."""
        addresses = netguard.resolve(location, self.options.policy, self.resolver)
        with closing(_connect(location, addresses, self.options)) as connection:
            connection.request("GET", location.target, headers=self._headers(location))
            # The connection lets go of an answer that is its last; the socket is closed with the answer.
            with closing(connection.getresponse()) as answer:
                return self._take(answer, location)

    def _take(self, answer: http.client.HTTPResponse, location: Location) -> Location | None:
        target = answer.headers.get("Location")
        if answer.status in _REDIRECTS and target:
            return location.redirected(target)
        match answer.status:
            case 200:
                if self.sink.position:
                    self._start_over()
                self._receive(answer, _length(answer))
            case 206:
                self._receive(answer, self._resumed(answer, location))
            case 416 if self.sink.position:
                if self.expected != self.sink.digest:
                    self._start_over()
                    raise Interrupted(f"{location} is shorter than what was read of it before.")
            case _:
                raise _refused(location, answer)
        return None

    def _headers(self, location: Location) -> dict[str, str]:
        headers = {
            "Accept": "*/*",
            "Accept-Encoding": "identity",
            "Connection": "close",
            "User-Agent": "modeldeploy-scoring-server",
        }
        if location.user_information:
            token = base64.b64encode(unquote(location.user_information).encode()).decode("ascii")
            headers["Authorization"] = f"Basic {token}"
        if self.sink.position:
            headers["Range"] = f"bytes={self.sink.position}-"
            if self._validator is not None:
                headers["If-Range"] = self._validator
        return headers

    def _resumed(self, answer: http.client.HTTPResponse, location: Location) -> int | None:
        """The length of the rest, once it is certain that it begins where we stopped."""
        unit, _, content_range = answer.headers.get("Content-Range", "").partition(" ")
        first = content_range.partition("-")[0]
        if unit != "bytes" or first != str(self.sink.position) or not self.sink.position:
            self._start_over()
            raise Interrupted(f"{location} answered with another part of the file than was asked for.")
        self._stitched = True
        return _length(answer)

    def _receive(self, answer: http.client.HTTPResponse, length: int | None) -> None:
        encoding = answer.headers.get("Content-Encoding", "identity").lower()
        if encoding not in ("", "identity"):
            raise SourceError(
                "SourceInvalid",
                f"{self.location} is served with Content-Encoding {encoding[:20]}, though identity was asked for; "
                "serve the file as it is.",
            )
        if length is None and not answer.chunked and self.expected is None:
            raise SourceError(
                "SourceInvalid",
                f"{self.location} is served without its length, so a cut connection would look like the end of the "
                "file. Serve it with Content-Length, or give sha256.",
            )
        self._validator = _validator(answer)
        self._check_size(self.sink.position + (length or 0))
        remaining = length
        while remaining is None or remaining > 0:
            chunk = answer.read1(CHUNK_BYTES if remaining is None else min(CHUNK_BYTES, remaining))
            if not chunk:
                break
            self._check_size(self.sink.position + len(chunk))
            self.sink.write(chunk)
            remaining = None if remaining is None else remaining - len(chunk)
        if remaining:
            raise Interrupted(f"The connection to {self.location} was cut with {remaining} bytes to go.")

    def _check_size(self, size: int) -> None:
        if size > self.options.max_bytes:
            raise digest.too_large(str(self.location))


class _PinnedConnection(http.client.HTTPConnection):
    """Connects to the judged addresses, in their order, and to nothing else."""

    def __init__(self, location: Location, addresses: list[Address], options: Options) -> None:
        super().__init__(location.host, location.port, timeout=options.timeout_seconds)
        self._location = location
        self._addresses = addresses
        self._ca_file = options.ca_file

    def connect(self) -> None:
        failure: OSError | None = None
        for address in self._addresses:
            try:
                plain = socket.create_connection((str(address), self.port), self.timeout)
            except OSError as error:
                failure = error
                continue
            self.sock = plain if self._location.scheme == "http" else self._secured(plain)
            return
        assert failure is not None
        raise failure

    def _secured(self, plain: socket.socket) -> socket.socket:
        context = ssl.create_default_context(cafile=self._ca_file)
        try:
            return context.wrap_socket(plain, server_hostname=self._location.host)
        except OSError:
            plain.close()
            raise


def _connect(location: Location, addresses: list[Address], options: Options) -> http.client.HTTPConnection:
    connection = _PinnedConnection(location, addresses, options)
    # The default port of http is what HTTPConnection leaves out of the Host header; https has another.
    connection.default_port = 443 if location.scheme == "https" else 80
    return connection


def _length(answer: http.client.HTTPResponse) -> int | None:
    if answer.chunked:
        return None
    text = answer.headers.get("Content-Length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


def _validator(answer: http.client.HTTPResponse) -> str | None:
    """What makes `If-Range` certain: a strong ETag, else the date of the last change."""
    tag = answer.headers.get("ETag", "")
    return tag if tag and not tag.startswith("W/") else answer.headers.get("Last-Modified")


def _refused(location: Location, answer: http.client.HTTPResponse) -> SourceError:
    said = f"{location} answered {answer.status} {http.client.responses.get(answer.status, '')}".rstrip()
    match answer.status:
        case 401 | 403:
            return SourceError(
                "SourceForbidden", f"{said}; the server does not let us read it. Check the credentials in the URI."
            )
        case 404 | 410:
            return SourceError("SourceNotFound", f"{said}; check the path of the URI.")
        case status if status in (408, 425, 429) or status >= 500:
            return Interrupted(f"{said}.", _retry_after(answer))
        case _:
            return SourceError("SourceInvalid", f"{said}, which is no file; check the URI.")


def _retry_after(answer: http.client.HTTPResponse) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0.0


def _interrupted(location: Location, error: Exception) -> SourceError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return SourceError(
            "SourceUnavailable",
            f"{location} shows a certificate that is not trusted ({error.verify_message}); add its authority to the "
            "image, or name its bundle in SSL_CERT_FILE.",
        )
    if isinstance(error, TimeoutError):
        why = "nothing came within the time of SCORING_FETCH_TIMEOUT_SECONDS"
    elif isinstance(error, OSError):
        why = error.strerror or type(error).__name__
    else:
        why = type(error).__name__
    return Interrupted(f"The connection to {location} failed: {why}.")


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"
