"""One Lease, so that of several replicas only one writes.

A leader that cannot reach the API server stops writing but stays: nobody else can lead then either, and its state is
good when the server is back. It ends only when another replica has taken the Lease (decision 0005).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import structlog

from modeldeploy_operator.cluster import AlreadyExists
from modeldeploy_operator.core.documents import LEASE, Document, Key
from modeldeploy_operator.errors import ReconcileError, Unavailable

log = structlog.get_logger(__name__)


class Leases(Protocol):
    """The part of Cluster that a Lease needs, unguarded: it must work while nothing else may write."""

    async def get(self, key: Key) -> Document | None:
        """The Lease as it is now."""

    async def create(self, document: Document) -> Document:
        """POST."""

    async def replace(self, document: Document) -> Document:
        """PUT; Unavailable where the resourceVersion is not the stored one any more."""


@dataclass(frozen=True)
class Terms:
    """Seconds. A replica takes over `lease` after the last renewal that it saw; a leader stops writing at `writing`.

    The rest between the two is for calls that are under way, and for what a call takes to come back.
    """

    lease: float = 13.0
    writing: float = 10.0
    retry: float = 2.0
    call: float = 6.0


@dataclass(frozen=True)
class Seen:
    """The Lease as it was last read, and since when it has been seen like this without a gap."""

    version: str
    since: float


class Leadership:
    """Competes for one Lease. `clock` is monotonic, `now` the wall clock that goes into the Lease."""

    def __init__(
        self,
        leases: Leases,
        key: Key,
        identity: str,
        *,
        clock: Callable[[], float],
        now: Callable[[], datetime],
        terms: Terms = Terms(),
    ) -> None:
        self._leases = leases
        self._key = key
        self._identity = identity
        self._clock = clock
        self._now = now
        self._terms = terms
        self._renewed = float("-inf")
        self._lease: Document | None = None
        self._seen: Seen | None = None
        self._why: str | None = None
        self.gained = asyncio.Event()
        self.lost = asyncio.Event()

    @property
    def leading(self) -> bool:
        """Whether writing is safe at this moment."""
        return self.gained.is_set() and not self.lost.is_set() and self._clock() - self._renewed < self._terms.writing

    def may_write(self) -> None:
        """Raises Unavailable where another replica may be leading."""
        if not self.leading:
            raise Unavailable("NotLeading", "This replica of the operator does not hold the Lease at the moment.")

    async def run(self) -> None:
        """Compete until cancelled, or until a Lease that was held is another's: then `lost` is set."""
        while not self.lost.is_set():
            began = self._clock()
            try:
                async with asyncio.timeout(self._terms.call):
                    await self._round(began)
                self._trouble(None)
            except (ReconcileError, TimeoutError) as error:
                # Silence proves nothing about the holder: only an unchanged Lease that was read does.
                self._seen = None
                self._trouble(str(error) or type(error).__name__)
            await asyncio.sleep(max(0.0, began + self._terms.retry - self._clock()))

    def _trouble(self, why: str | None) -> None:
        if why is not None and why != self._why:
            log.warning("lease.unreachable", why=why)
        self._why = why

    async def release(self) -> None:
        """Let another replica begin at once. Call it when nothing of ours writes any more."""
        self.lost.set()
        if self._lease is None or not self.gained.is_set():
            return
        spec = {**self._lease["spec"], "holderIdentity": "", "leaseDurationSeconds": 1, "renewTime": self._stamp()}
        try:
            async with asyncio.timeout(self._terms.call):
                await self._leases.replace({**self._lease, "spec": spec})
        except (ReconcileError, TimeoutError) as error:
            log.warning("lease.not_released", why=str(error) or type(error).__name__)

    async def _round(self, began: float) -> None:
        if self._lease is not None and self.leading:
            try:
                await self._hold(self._lease, began)
                return
            except Unavailable:
                self._lease = None  # changed meanwhile, or out of reach: look before anything else
        found = await self._leases.get(self._key)
        if found is None:
            await self._make(began)
            return
        holder = found["spec"].get("holderIdentity") or ""
        if holder == self._identity:
            await self._hold(found, began)
        elif self.gained.is_set():
            log.error("lease.lost", holder=holder)
            self.lost.set()
        elif not holder or self._expired(found, began):
            await self._hold(found, began)

    def _expired(self, found: Document, began: float) -> bool:
        """Judged by our own clock alone: nobody's clock is compared with another's."""
        version = str(found["metadata"]["resourceVersion"])
        if self._seen is None or self._seen.version != version:
            self._seen = Seen(version, began)
        return began - self._seen.since >= self._terms.lease

    async def _hold(self, lease: Document, began: float) -> None:
        spec: dict[str, Any] = lease["spec"]
        if spec.get("holderIdentity") != self._identity or not self.gained.is_set():
            taken = {"acquireTime": self._stamp(), "leaseTransitions": int(spec.get("leaseTransitions") or 0) + 1}
        else:
            taken = {}
        wanted = {**lease, "spec": {**spec, **self._claim(), **taken}}
        self._won(await self._leases.replace(wanted), began)

    async def _make(self, began: float) -> None:
        lease = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._key.name, "namespace": self._key.namespace},
            "spec": {**self._claim(), "acquireTime": self._stamp(), "leaseTransitions": 0},
        }
        try:
            self._won(await self._leases.create(lease), began)
        except AlreadyExists:
            return

    def _won(self, lease: Document, began: float) -> None:
        self._lease = lease
        self._renewed = began
        if not self.gained.is_set():
            log.info("lease.gained", identity=self._identity)
            self.gained.set()

    def _claim(self) -> dict[str, Any]:
        seconds = int(self._terms.lease)
        return {"holderIdentity": self._identity, "leaseDurationSeconds": seconds, "renewTime": self._stamp()}

    def _stamp(self) -> str:
        """MicroTime, as the API wants it."""
        return self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
