"""Brings a new status into the cluster: at once what is urgent, soon what is not, and never what stands there already.

What the status says is decided in `core.report`, how urgent it is in `core.writing`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core import conditions, names, writing
from modeldeploy_operator.core.documents import EVENT, MODEL_DEPLOYMENT, Document, Key
from modeldeploy_operator.core.writing import Urgency
from modeldeploy_operator.errors import ReconcileError

log = structlog.get_logger(__name__)

Status = dict[str, Any]
MESSAGE_LIMIT = 1000
"""Bytes of an Event's message; the API server takes 1,024."""


class Writer(Protocol):
    """The part of Cluster that status needs."""

    async def apply_status(self, key: Key, uid: str, status: Document) -> Document | None:
        """Server-side apply of the whole status; None where the object is gone."""

    async def create(self, document: Document) -> Document:
        """POST."""


@dataclass(frozen=True)
class _Pruned:
    """A status that the API server stores otherwise than it was sent; sending it again would change nothing."""

    sent: Status
    stored: Status


class Statuses:
    """Holds back what is not urgent. `patience()` is for how long, in seconds."""

    def __init__(self, cluster: Writer, clock: Callable[[], float], patience: Callable[[], float]) -> None:
        self._cluster = cluster
        self._clock = clock
        self._patience = patience
        self._held_since: dict[Key, float] = {}
        self._pruned: dict[Key, _Pruned] = {}

    async def bring(self, key: Key, deployment: ModelDeployment, status: Status, now: str) -> float | None:
        """Write if need be. Yields the seconds after which it must be tried again, None where nothing is held back."""
        old = deployment.status
        urgency = writing.urgency(old, status)
        if urgency is Urgency.NONE or self._pruned.get(key) == _Pruned(status, old):
            self._held_since.pop(key, None)
            return None
        if urgency is Urgency.SOON:
            since = self._held_since.setdefault(key, self._clock())
            if (rest := since + self._patience() - self._clock()) > 0:
                return rest
        made = await self._cluster.apply_status(key, deployment.metadata.uid, status)
        self._held_since.pop(key, None)
        self._pruned.pop(key, None)
        if made is not None and (stored := made.get("status") or {}) != status:
            self._pruned[key] = _Pruned(status, stored)
        await self._tell(key, deployment, status, now)
        return None

    def forget(self, key: Key) -> None:
        """The object is gone."""
        self._held_since.pop(key, None)
        self._pruned.pop(key, None)

    async def _tell(self, key: Key, deployment: ModelDeployment, status: Status, now: str) -> None:
        """One Event where something new went wrong; a calm object gets none."""
        if (problem := new_problem(deployment.status, status)) is None:
            return
        try:
            await self._cluster.create(event(key, deployment.metadata.uid, *problem, now))
        except ReconcileError as error:
            # The same Event was posted before, or cannot be: status says it anyhow.
            log.debug("event.not_posted", key=str(key), why=error.message)


def new_problem(old: Status, new: Status) -> tuple[str, str] | None:
    """Reason and message of what has gone wrong since, None where nothing has."""
    before, after = _trouble(old), _trouble(new)
    return after if after is not None and (before is None or before[0] != after[0]) else None


def _trouble(status: Status) -> tuple[str, str] | None:
    stalled = conditions.find(status.get("conditions") or (), conditions.STALLED)
    if stalled:
        return str(stalled["reason"]), str(stalled["message"])
    failure = status.get("lastFailure")
    return (str(failure["reason"]), str(failure["message"])) if failure else None


def event(key: Key, uid: str, reason: str, message: str, now: str) -> Document:
    """A Warning. Its name comes from its content, so that the same trouble is told once while the Event lives."""
    text = message.encode()
    cut = message if len(text) <= MESSAGE_LIMIT else f"{text[:MESSAGE_LIMIT].decode(errors='ignore')}…"
    return {
        "apiVersion": EVENT.api_version,
        "kind": EVENT.kind,
        "metadata": {"name": f"{key.name}.{names.short_hash([uid, reason, message])}", "namespace": key.namespace},
        "involvedObject": {
            "apiVersion": MODEL_DEPLOYMENT.api_version,
            "kind": MODEL_DEPLOYMENT.kind,
            "name": key.name,
            "namespace": key.namespace,
            "uid": uid,
        },
        "type": "Warning",
        "reason": reason,
        "message": cut,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": names.FIELD_MANAGER},
        "reportingComponent": names.FIELD_MANAGER,
        "reportingInstance": names.FIELD_MANAGER,
    }
