"""Scoring pods as the API server tells of them: which revision, ready or not. Pure; judges nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import POD, Document
from modeldeploy_operator.core.facts import Observed


@dataclass(frozen=True)
class Container:
    """One container's state. `ended` is its newest end, whether or not it runs again since.

    `started`: it runs, and its startup probe has succeeded.
    """

    name: str
    image: str
    started: bool
    restarts: int
    waiting: Document | None
    ended: Document | None


@dataclass(frozen=True)
class ScoringPod:
    """One pod. `unschedulable` is the scheduler's message while it finds no node."""

    name: str
    revision: str
    ready: bool
    terminating: bool
    unschedulable: str | None
    containers: tuple[Container, ...]
    document: Document

    def holds(self, resource: str) -> bool:
        """Whether a node keeps this extended resource for the pod."""
        containers = self.document["spec"].get("containers", ())
        return self.unschedulable is None and any(
            resource in (container.get("resources", {}).get("limits") or {}) for container in containers
        )


def scoring_pods(deployment: ModelDeployment, observed: Observed) -> tuple[ScoringPod, ...]:
    """The pods behind the Service, in order of name; registration pods are not among them."""
    wanted = names.selector(deployment).items()
    found = [
        _pod(observed[key])
        for key in sorted(key for key in observed if key.kind == POD)
        if wanted <= (observed[key]["metadata"].get("labels") or {}).items()
    ]
    return tuple(found)


def _pod(document: Document) -> ScoringPod:
    metadata, status = document["metadata"], document.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    # An evicted or finished pod keeps its last conditions for a while, but takes no requests any more.
    over = status.get("phase") in ("Failed", "Succeeded")
    return ScoringPod(
        name=metadata["name"],
        revision=metadata["labels"].get(names.REVISION_LABEL, ""),
        ready=conditions.get("Ready", {}).get("status") == "True" and not over,
        terminating=metadata.get("deletionTimestamp") is not None or over,
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        containers=tuple(_containers(status)),
        document=document,
    )


def _containers(status: dict[str, Any]) -> Iterator[Container]:
    for kind in ("initContainerStatuses", "containerStatuses"):
        for told in status.get(kind) or ():
            state, before = told.get("state") or {}, told.get("lastState") or {}
            yield Container(
                name=told["name"],
                image=told.get("image", ""),
                started="running" in state and told.get("started") is True,
                restarts=told.get("restartCount", 0),
                waiting=state.get("waiting"),
                ended=state.get("terminated") or before.get("terminated"),
            )
