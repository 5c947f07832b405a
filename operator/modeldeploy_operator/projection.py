"""What is kept in memory of an object: what somebody here reads, and what drift is told from. Pure.

A thousand deployments are ten thousand objects; whole pods alone would take more memory than all else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from modeldeploy_operator.core.documents import (
    AUTOSCALER,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    POD,
    REPLICA_SET,
    SERVICE,
    Document,
)

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

SHORT = 48
"""Characters. Longer texts are rarely the same twice."""

_METADATA = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels",
    "annotations", "ownerReferences",
)  # fmt: skip
_POD_STATUS = ("phase", "reason", "message", "conditions", "initContainerStatuses", "containerStatuses")
_CONTAINER = ("name", "image", "resources")
_REPLICAS = ("replicas", "readyReplicas", "availableReplicas", "observedGeneration")


def kept(document: Document) -> Document:
    """The part of an object that stays in the store."""
    body = {name: value for name, value in document.items() if name != "metadata"}
    shorten = _SHORTEN.get(document["kind"])
    slim: Document = _shared({**(shorten(body) if shorten else body), "metadata": _metadata(document["metadata"])})
    return slim


def _shared(value: Any) -> Any:
    """The same value with one copy of each short text: a fleet says "IfNotPresent" ten thousand times."""
    if isinstance(value, dict):
        return {name: _shared(held) for name, held in value.items()}
    if isinstance(value, list):
        return [_shared(held) for held in value]
    return sys.intern(value) if isinstance(value, str) and len(value) <= SHORT else value


def _metadata(metadata: dict[str, Any]) -> dict[str, Any]:
    found = _only(metadata, _METADATA)
    annotations = found.get("annotations")
    if annotations and LAST_APPLIED in annotations:
        found["annotations"] = {name: value for name, value in annotations.items() if name != LAST_APPLIED}
    return found


def _pod(body: Document) -> Document:
    spec = body.get("spec") or {}
    slim: Document = {"containers": [_only(container, _CONTAINER) for container in spec.get("containers") or ()]}
    if spec.get("nodeName"):
        slim["nodeName"] = spec["nodeName"]
    slim["volumes"] = _config_maps(spec)
    return {**body, "spec": slim, "status": _only(body.get("status") or {}, _POD_STATUS)}


def _replica_set(body: Document) -> Document:
    spec = body.get("spec") or {}
    template = spec.get("template") or {}
    slim = {
        "replicas": spec.get("replicas", 1),
        "template": {
            "metadata": {"labels": (template.get("metadata") or {}).get("labels") or {}},
            "spec": {"volumes": _config_maps(template.get("spec") or {})},
        },
    }
    return {**body, "spec": slim, "status": _only(body.get("status") or {}, _REPLICAS)}


def _stateless(body: Document) -> Document:
    """Kinds whose status nobody here reads, and which changes often."""
    return {name: value for name, value in body.items() if name != "status"}


def _config_maps(spec: Document) -> list[Document]:
    return [volume for volume in spec.get("volumes") or () if "configMap" in volume]


def _only(fields: Document, names: tuple[str, ...]) -> Document:
    return {name: fields[name] for name in names if name in fields}


_SHORTEN: dict[str, Callable[[Document], Document]] = {
    POD.kind: _pod,
    REPLICA_SET.kind: _replica_set,
    AUTOSCALER.kind: _stateless,
    DISRUPTION_BUDGET.kind: _stateless,
    NETWORK_POLICY.kind: _stateless,
    SERVICE.kind: _stateless,
}
