"""The line to the Kubernetes API server: bytes and JSON over one pool of connections, and nothing above that.

What a status means for a user is decided in `cluster`; what a watch means, in `informer`.

ApiServerError
├─ Refused      the API server answered with an error status
└─ NoAnswer     it could not be reached, hung up, or took too long
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException
from yarl import URL

from modeldeploy_operator import access
from modeldeploy_operator.core.documents import Key, Kind

JSON = "application/json"
APPLY = "application/apply-patch+yaml"
"""Server-side apply; JSON is YAML."""
MERGE = "application/merge-patch+json"


class ApiServerError(Exception):
    """A call that brought no result."""


class Refused(ApiServerError):
    """The API server's own account (a v1.Status) of why it will not."""

    def __init__(self, status: int, reason: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.retry_after = retry_after


class NoAnswer(ApiServerError):
    """Whether the call took effect is unknown."""


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds.

    A watch may be silent for `silence`: bookmarks come each minute at the latest. `reload` lies between two attempts to
    read the credentials again when the API server no longer takes them.
    """

    connect: float = 3.0
    answer: float = 10.0
    page: float = 30.0
    silence: float = 70.0
    reload: float = 5.0


@dataclass(frozen=True)
class Request:
    """One call. `verb` and `resource` are RBAC's words for it, by which calls are counted."""

    verb: str
    resource: str
    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: Any = None
    content_type: str = JSON
    accept: str = JSON
    seconds: float | None = None


@dataclass(frozen=True)
class Answer:
    """A success."""

    status: int
    body: Any


Configure = Callable[[], Awaitable[Configuration]]
Count = Callable[[str, str, str], None]
"""Told of every call: verb, resource, and the status or "none"."""


@dataclass(frozen=True)
class _Line:
    configuration: Configuration
    session: aiohttp.ClientSession


@dataclass(frozen=True)
class Concurrency:
    """How many calls run at once; watches come on top.

    More than a few only make each of them slower, and with them those of everybody else. `apart` names resources that
    have their own, smaller number, because the API server makes one after the other of them: a crowd of those must not
    take the turns of all others.
    """

    calls: int = 8
    apart: Mapping[str, int] = field(default_factory=dict)


class ApiServer:
    """One pool of connections."""

    def __init__(
        self,
        configure: Configure,
        *,
        count: Count,
        patience: Patience = Patience(),
        concurrency: Concurrency = Concurrency(),
    ) -> None:
        self._configure = configure
        self._count = count
        self.patience = patience
        self._turn = asyncio.Semaphore(concurrency.calls)
        self._apart = {resource: asyncio.Semaphore(calls) for resource, calls in concurrency.apart.items()}
        self._line: _Line | None = None
        self._retired: list[_Line] = []
        self._loaded_at = float("-inf")
        self._loading = asyncio.Lock()

    async def call(self, request: Request) -> Answer:
        """One request and its JSON answer."""
        limit = aiohttp.ClientTimeout(total=request.seconds or self.patience.answer, connect=self.patience.connect)
        async with self._apart.get(request.resource, self._turn):
            outcome = "none"
            try:
                response = await self._send(request, limit)
                outcome = str(response.status)
                async with response:
                    payload = await response.read()
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise NoAnswer(_account(error)) from error
            finally:
                self._count(request.verb, request.resource, outcome)
        if response.status >= 400:
            raise await self._refusal(response, payload)
        return Answer(response.status, _decode(payload))

    @asynccontextmanager
    async def stream(self, request: Request) -> AsyncIterator[AsyncIterator[bytes]]:
        """A watch: an iterator of lines. A line that does not come within `patience.silence` is a TimeoutError."""
        patience = self.patience
        limit = aiohttp.ClientTimeout(total=None, connect=patience.connect, sock_read=patience.silence)
        outcome = "none"
        try:
            async with asyncio.timeout(patience.answer):
                response = await self._send(request, limit)
            outcome = str(response.status)
            if response.status >= 400:
                async with response:
                    payload = await response.read()
                raise await self._refusal(response, payload)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NoAnswer(_account(error)) from error
        finally:
            self._count(request.verb, request.resource, outcome)
        async with response:
            yield _lines(response.content)

    async def close(self) -> None:
        """Hang up."""
        for line in (*self._retired, *((self._line,) if self._line else ())):
            await line.session.close()
        self._retired, self._line = [], None

    async def _send(self, request: Request, limit: aiohttp.ClientTimeout) -> aiohttp.ClientResponse:
        line = self._line or await self._load()
        headers = {"Accept": request.accept, "Content-Type": request.content_type, "User-Agent": "modeldeploy-operator"}
        headers |= await access.bearer(line.configuration)
        query = f"?{urlencode(request.query)}" if request.query else ""
        try:
            return await line.session.request(
                request.method,
                URL(f"{line.configuration.host}{request.path}{query}", encoded=True),
                data=None if request.body is None else orjson.dumps(request.body),
                headers=headers,
                timeout=limit,
                proxy=line.configuration.proxy,
                server_hostname=line.configuration.tls_server_name,
            )
        except aiohttp.ClientSSLError:
            await self._load()  # the cluster's authority may have been replaced on disk
            raise

    async def _load(self) -> _Line:
        """The line for the credentials as they are on disk now; watches on the former one run to their end."""
        async with self._loading:
            now = asyncio.get_running_loop().time()
            if self._line is not None:
                if now - self._loaded_at < self.patience.reload:
                    return self._line
                self._retired.append(self._line)
            while len(self._retired) > 2:
                await self._retired.pop(0).session.close()
            try:
                configuration = await self._configure()
                self._line = _Line(configuration, access.session(configuration))
            except (ConfigException, OSError, ValueError) as error:
                raise NoAnswer(f"the credentials cannot be read: {_account(error)}") from error
            self._loaded_at = now
            return self._line

    async def _refusal(self, response: aiohttp.ClientResponse, payload: bytes) -> Refused:
        if response.status == 401:
            await self._load()  # a rotated token or certificate
        return refusal(response.status, payload, response.headers.get("Retry-After"))


def item_path(key: Key) -> str:
    """The URL path of one object."""
    return f"{collection_path(key.kind, key.namespace)}/{key.name}"


def collection_path(kind: Kind, namespace: str | None) -> str:
    """The URL path of a collection; without a namespace, of all namespaces."""
    return f"{kind.path}/namespaces/{namespace}/{kind.plural}" if namespace else f"{kind.path}/{kind.plural}"


def refusal(status: int, payload: bytes, retry_after: str | None = None) -> Refused:
    """What an error answer says; proxies in between answer with text that is no v1.Status."""
    try:
        account = _decode(payload)
    except orjson.JSONDecodeError:
        account = None
    if not isinstance(account, dict):
        account = {"message": payload[:200].decode(errors="replace")}
    seconds = float(retry_after) if retry_after and retry_after.isdigit() else None
    return Refused(status, str(account.get("reason") or status), str(account.get("message") or "no message"), seconds)


def _decode(payload: bytes) -> Any:
    return orjson.loads(payload) if payload else {}


def _account(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Lines of any length: one event may be as large as an object may be."""
    rest = b""
    async for chunk in content.iter_any():
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if line:
                yield line
