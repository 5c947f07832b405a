"""Kubernetes objects as plain JSON documents, and the keys that name them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]
"""One object as the API server reads and writes it."""


@dataclass(frozen=True, order=True)
class Kind:
    """A kind of object and the collection it lives in."""

    api_version: str
    kind: str
    plural: str

    @property
    def path(self) -> str:
        """The REST prefix: /api/v1 or /apis/GROUP/VERSION."""
        return f"/api/{self.api_version}" if "/" not in self.api_version else f"/apis/{self.api_version}"


MODEL_DEPLOYMENT = Kind("modeldeploy.dev/v1alpha1", "ModelDeployment", "modeldeployments")
MODEL_VERSION = Kind("modeldeploy.dev/v1alpha1", "ModelVersion", "modelversions")
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
SERVICE = Kind("v1", "Service", "services")
SERVICE_ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
POD = Kind("v1", "Pod", "pods")
SECRET = Kind("v1", "Secret", "secrets")
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
EVENT = Kind("v1", "Event", "events")
AUTOSCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
REPLICA_SET = Kind("apps/v1", "ReplicaSet", "replicasets")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")

KINDS: dict[tuple[str, str], Kind] = {
    (k.api_version, k.kind): k
    for k in (
        MODEL_DEPLOYMENT, MODEL_VERSION, DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, POD, SECRET, CONFIG_MAP, EVENT,
        AUTOSCALER, DISRUPTION_BUDGET, NETWORK_POLICY, REPLICA_SET, LEASE,
    )
}  # fmt: skip


@dataclass(frozen=True, order=True)
class Key:
    """The name of one object in the cluster."""

    kind: Kind
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.namespace}/{self.name}"


def key_of(document: Document) -> Key:
    """The key of a document that carries apiVersion, kind and metadata."""
    kind = KINDS[document["apiVersion"], document["kind"]]
    return Key(kind, document["metadata"].get("namespace", ""), document["metadata"]["name"])
