"""Keeps the store like the cluster, kind by kind: lists, watches, and lists again where a watch cannot be trusted.

A relist compares, so that what was deleted in a gap is noticed. Nothing ends an informer: whatever goes wrong, it
tries again after a short, capped, jittered pause. What a change means for whom is decided by `on_change`.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson
import structlog

from modeldeploy_operator.apiserver import JSON, ApiServer, ApiServerError, NoAnswer, Refused, Request, collection_path
from modeldeploy_operator.core.documents import Document, Key, Kind
from modeldeploy_operator.projection import kept
from modeldeploy_operator.store import Store, labels_of, uid_of, version_of

__all__ = ["Informer", "Pulse", "Scope", "Selector", "Store", "Timing", "WatchBroken", "WatchLost"]

log = structlog.get_logger(__name__)

OnChange = Callable[[Document | None, Document | None], None]
"""Told of the document before and after; None: was not there, or is not there any more."""

PAGE = 500
METADATA = "application/json;as=PartialObjectMetadata{list};g=meta.k8s.io;v=v1"


class WatchLost(Exception):
    """The watch cannot go on from where it was: list again."""


class WatchBroken(Exception):
    """The API server reported an error within the stream; the place in it still holds."""


@dataclass(frozen=True)
class Selector:
    """One label that objects must have with this value, or (`negated`) must not have with it."""

    label: str
    value: str
    negated: bool = False

    def __str__(self) -> str:
        return f"{self.label}{'!=' if self.negated else '='}{self.value}"

    def matches(self, labels: Mapping[str, str]) -> bool:
        """As the API server judges."""
        return (labels.get(self.label) == self.value) is not self.negated


@dataclass(frozen=True)
class Scope:
    """Which objects one informer looks at, and whether it takes no more of them than their metadata."""

    kind: Kind
    namespace: str | None = None
    selector: Selector | None = None
    metadata_only: bool = False

    def covers(self, key: Key, document: Document) -> bool:
        """Whether an object in the store is this informer's."""
        if self.namespace is not None and key.namespace != self.namespace:
            return False
        return self.selector is None or self.selector.matches(labels_of(document))

    @property
    def query(self) -> dict[str, str]:
        """The part of a request's query that says the same to the API server."""
        return {} if self.selector is None else {"labelSelector": str(self.selector)}

    def accept(self, suffix: str) -> str:
        """The representation to ask for."""
        return METADATA.format(list=suffix) if self.metadata_only else JSON


@dataclass(frozen=True)
class Timing:
    """Seconds: pauses between attempts, how long the server may keep a watch, and where time and chance come from."""

    pause: float = 0.2
    longest_pause: float = 2.5
    watch: tuple[int, int] = (240, 300)
    clock: Callable[[], float] = time.monotonic
    uniform: Callable[[float, float], float] = random.uniform


@dataclass
class Pulse:
    """Signs of life. `data` is when the API server last told something, `unanswered` when it was last found away."""

    data: float
    unanswered: float = float("-inf")
    relists: int = 0
    stalls: int = 0
    trouble: str | None = None

    def silence(self, now: float) -> float:
        """Seconds without a sign of life, not counting time in which the API server was away."""
        return now - max(self.data, self.unanswered)


@dataclass
class Informer:
    """List and watch of one scope, for ever. `listed` is set once the first list is in the store."""

    server: ApiServer
    store: Store
    scope: Scope
    on_change: OnChange
    timing: Timing = field(default_factory=Timing)

    def __post_init__(self) -> None:
        self.listed = asyncio.Event()
        self.pulse = Pulse(self.timing.clock())
        self._position: str | None = None
        self._broken = 0
        self.store.add_source(lambda: self.synced)

    @property
    def synced(self) -> bool:
        """Whether the first list is in the store."""
        return self.listed.is_set()

    def silence(self, now: float) -> float:
        """Seconds without a sign of life, not counting time in which the API server was away."""
        return self.pulse.silence(now)

    def __str__(self) -> str:
        return f"{self.scope.kind.plural} of {self.scope.namespace or 'all namespaces'}"

    async def run(self) -> None:
        """List, watch, begin again. Ends only by cancellation."""
        failures = 0
        while True:
            began = self.timing.clock()
            told = self.pulse.data
            try:
                if self._position is None:
                    await self._list()
                await self._watch()
                if self.timing.clock() - began >= 1.0:  # the server's own end of a watch; sooner, it hangs up on us
                    failures = 0
                    continue
            except WatchLost as lost:
                self._position = None
                log.info("watch.lost", kind=self.scope.kind.kind, why=str(lost))
            except (ApiServerError, WatchBroken, aiohttp.ClientError, OSError) as error:
                self._judge(error)
            except Exception:
                self._position = None
                log.exception("informer.failed", kind=self.scope.kind.kind)
            failures = 1 if self.pulse.data > told else failures + 1
            await asyncio.sleep(self._pause(failures))

    def _judge(self, error: Exception) -> None:
        """Where to go on, and whether the API server is away or only this request is unwelcome."""
        now = self.timing.clock()
        if isinstance(error, Refused) and error.status == 410:
            self._position = None
        away = isinstance(error, NoAnswer) or (
            isinstance(error, Refused) and (error.status >= 500 or error.status == 429)
        )
        if away:
            self.pulse.unanswered = now
        if isinstance(error, WatchBroken):
            self._broken += 1
            if self._broken >= 2:
                self._position = None
        trouble = str(error)
        if trouble != self.pulse.trouble:
            log.warning("watch.interrupted", kind=self.scope.kind.kind, why=trouble)
        self.pulse.trouble = trouble

    def _pause(self, failures: int) -> float:
        ceiling = min(self.timing.longest_pause, self.timing.pause * 2 ** min(failures - 1, 10))
        return self.timing.uniform(ceiling / 2, ceiling)

    # ---- list

    async def _list(self) -> None:
        found: dict[Key, Document] = {}
        query = {"limit": str(PAGE), **self.scope.query}
        while True:
            page = await self._page(query)
            self._alive()
            for item in page.get("items") or ():
                key, document = self._take(item)
                found[key] = document
            metadata = page.get("metadata") or {}
            if not (token := metadata.get("continue")):
                break
            query = {**query, "continue": token}
        self._settle(found, int(metadata["resourceVersion"]))
        self._position = str(metadata["resourceVersion"])
        self.pulse.relists += 1
        self.listed.set()

    async def _page(self, query: dict[str, str]) -> Document:
        path = collection_path(self.scope.kind, self.scope.namespace)
        accept = self.scope.accept("List")
        plural, seconds = self.scope.kind.plural, self.server.patience.page
        answer = await self.server.call(Request("list", plural, "GET", path, query, accept=accept, seconds=seconds))
        page: Document = answer.body
        return page

    def _settle(self, found: dict[Key, Document], version: int) -> None:
        """Make the store what the list is. What our own writes have put there since the list was made stays."""
        for key in list(self.store.keys(self.scope.kind)):
            stored = self.store.get(key)
            if stored is None or key in found or version_of(stored) > version or not self.scope.covers(key, stored):
                continue
            self._tell(self.store.discard(key, uid_of(stored)), None)
        for key, document in found.items():
            before, news = self.store.put(key, document)
            if news:
                self._tell(before, document)

    # ---- watch

    async def _watch(self) -> None:
        path = collection_path(self.scope.kind, self.scope.namespace)
        low, high = self.timing.watch
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": self._position or "",
            "timeoutSeconds": str(int(self.timing.uniform(low, high))),
            **self.scope.query,
        }
        request = Request("watch", self.scope.kind.plural, "GET", path, query, accept=self.scope.accept(""))
        async with self.server.stream(request) as lines:
            self.pulse.trouble = None
            try:
                async for line in lines:
                    self._take_event(orjson.loads(line))
                    self._alive()
            except TimeoutError as error:
                self.pulse.stalls += 1
                raise WatchLost("neither an event nor a bookmark in time") from error

    def _take_event(self, event: dict[str, Any]) -> None:
        item = event["object"]
        match event["type"]:
            case "BOOKMARK":
                self._position = str(item["metadata"]["resourceVersion"])
            case "ADDED" | "MODIFIED":
                key, document = self._take(item)
                before, news = self.store.put(key, document)
                self._position = str(document["metadata"]["resourceVersion"])
                if news:
                    self._tell(before, document)
            case "DELETED":
                key, document = self._take(item)
                self._position = str(document["metadata"]["resourceVersion"])
                stored = self.store.get(key)
                if stored is not None and self.scope.covers(key, stored):
                    self._tell(self.store.discard(key, uid_of(document)), None)
            case "ERROR" if item.get("code") == 410:
                raise WatchLost(str(item.get("message")))
            case "ERROR":
                raise WatchBroken(f"{item.get('code')} {item.get('reason')}: {item.get('message')}")

    def _take(self, item: Document) -> tuple[Key, Document]:
        """Items of lists lack their kind, and metadata-only ones carry another."""
        kind = self.scope.kind
        document = kept({**item, "apiVersion": kind.api_version, "kind": kind.kind})
        metadata = document["metadata"]
        return Key(kind, metadata.get("namespace", ""), metadata["name"]), document

    def _tell(self, before: Document | None, after: Document | None) -> None:
        if before is None and after is None:
            return
        try:
            self.on_change(before, after)
        except Exception:
            log.exception("on_change.failed", kind=self.scope.kind.kind)

    def _alive(self) -> None:
        self._broken = 0
        self.pulse.data = self.timing.clock()
