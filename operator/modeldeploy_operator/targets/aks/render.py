"""Every document that a ModelDeployment should have in this cluster. Pure: the same wish gives the same documents.

Nothing is sent that the API would store as absent (empty lists, empty strings): it would look different for ever.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from modeldeploy_operator.api.target import Aks, Autoscale
from modeldeploy_operator.api.v1alpha1 import AuthMode, ModelDeployment
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    NETWORK_POLICY,
    SECRET,
    SERVICE,
    SERVICE_ACCOUNT,
    Document,
    Kind,
)
from modeldeploy_operator.core.facts import Assessment, Credentials, Observed, ScoringCode, Wish
from modeldeploy_operator.errors import Stalled
from modeldeploy_operator.targets.aks import assess, sources
from modeldeploy_operator.targets.aks.template import PORT, PORT_NAME, template

MANAGED_KINDS: tuple[Kind, ...] = (
    SERVICE_ACCOUNT,
    CONFIG_MAP,
    NETWORK_POLICY,
    SERVICE,
    DEPLOYMENT,
    AUTOSCALER,
    DISRUPTION_BUDGET,
)
"""The kinds that are rendered here, and so the only ones that decide may delete."""

SERVICE_PORT = 80
_DNS_PORT = 53
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
# What a rollout undo could need is in the spec's own history; one old ReplicaSet is enough to look back at.
_HISTORY = 1


class AksRenderer:
    """The pure half of the target `aks`."""

    def desired(self, deployment: ModelDeployment, wish: Wish) -> tuple[Document, ...]:
        """In the order of need: a pod refers to its account, policy and code, an autoscaler to its Deployment."""
        aks = target(deployment)
        if deployment.spec.auth.mode is AuthMode.KEY and wish.credentials is None:
            raise AssertionError("a deployment with auth.mode Key is rendered only once it has credentials")
        documents: list[Document] = [_service_account(deployment)]
        if wish.code:
            documents.append(_code(deployment, wish.code))
        if aks.network_policy:
            documents.append(_network_policy(deployment, wish))
        documents += [_service(deployment), _workload(deployment, aks, wish)]
        if aks.replicas is None:
            documents.append(_autoscaler(deployment, aks.autoscale or Autoscale()))
        documents.append(_disruption_budget(deployment, wish.credentials))
        return tuple(documents)

    def assess(
        self, deployment: ModelDeployment, desired: Sequence[Document] | None, observed: Observed, now: str
    ) -> Assessment:
        """What the observed children amount to, whether or not the desired ones are known."""
        return assess.assess(deployment, desired, observed, now)


def target(deployment: ModelDeployment) -> Aks:
    """The spec of this target."""
    if deployment.spec.target.aks is None:
        raise Stalled("TargetMissing", "spec.target names no target: aks: {} serves in this cluster.")
    return deployment.spec.target.aks


def _document(
    kind: Kind, deployment: ModelDeployment, name: str | None = None, owner: dict[str, Any] | None = None
) -> Document:
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": {
            "name": name or deployment.metadata.name,
            "namespace": deployment.metadata.namespace,
            "labels": names.labels(deployment),
            "ownerReferences": [owner or names.owner_reference(deployment)],
        },
    }


def _service_account(deployment: ModelDeployment) -> Document:
    return {**_document(SERVICE_ACCOUNT, deployment), "automountServiceAccountToken": False}


def _code(deployment: ModelDeployment, code: ScoringCode) -> Document:
    name = names.code_config_map(deployment, code.digest)
    return {**_document(CONFIG_MAP, deployment, name), "data": dict(code.files)}


def _service(deployment: ModelDeployment) -> Document:
    port = {"name": PORT_NAME, "port": SERVICE_PORT, "targetPort": PORT_NAME, "protocol": "TCP"}
    spec = {"type": "ClusterIP", "selector": names.selector(deployment), "ports": [port]}
    return {**_document(SERVICE, deployment), "spec": spec}


def _workload(deployment: ModelDeployment, aks: Aks, wish: Wish) -> Document:
    spec: Document = {
        "selector": {"matchLabels": names.selector(deployment)},
        "progressDeadlineSeconds": aks.rollout.progress_deadline_seconds,
        "revisionHistoryLimit": _HISTORY,
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxUnavailable": aks.rollout.max_unavailable, "maxSurge": "25%"},
        },
        "template": template(deployment, aks, wish),
    }
    if aks.replicas is not None:
        spec["replicas"] = aks.replicas
    return {**_document(DEPLOYMENT, deployment), "spec": spec}


def _autoscaler(deployment: ModelDeployment, autoscale: Autoscale) -> Document:
    utilization = {"type": "Utilization", "averageUtilization": autoscale.target_utilization}
    spec = {
        "scaleTargetRef": {
            "apiVersion": DEPLOYMENT.api_version,
            "kind": DEPLOYMENT.kind,
            "name": deployment.metadata.name,
        },
        "minReplicas": autoscale.min_replicas,
        "maxReplicas": autoscale.max_replicas,
        "metrics": [{"type": "Resource", "resource": {"name": "cpu", "target": utilization}}],
    }
    return {**_document(AUTOSCALER, deployment), "spec": spec}


def _disruption_budget(deployment: ModelDeployment, credentials: Credentials | None) -> Document:
    """Owned by the keys Secret where that is ours.

    The operator may not watch Secrets. But when the Secret goes, the garbage collector takes this with it, which the
    operator does see: it then makes both again.
    """
    owner = None
    if credentials is not None and credentials.owned:
        owner = {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "name": credentials.secret_name,
            "uid": credentials.secret_uid,
        }
    spec = {
        "selector": {"matchLabels": names.selector(deployment)},
        # One at a time lets a node be drained even where there is a single replica.
        "maxUnavailable": 1,
        # A replica that never became ready must not hold up a drain.
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
    }
    return {**_document(DISRUPTION_BUDGET, deployment, owner=owner), "spec": spec}


def _network_policy(deployment: ModelDeployment, wish: Wish) -> Document:
    """In: the scoring port. Out: names, and what the models' sources are read from."""
    uris = [model.uri for model in wish.models]
    spec: Document = {
        "podSelector": {"matchLabels": names.selector(deployment)},
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"ports": [{"port": PORT, "protocol": "TCP"}]}],
    }
    reached: list[Document] = [
        {"to": [{"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: namespace}}}]}
        for namespace in sources.namespaces(uris, deployment.metadata.namespace)
    ]
    if outside := sources.ports(uris):
        reached.append({"ports": [{"port": port, "protocol": "TCP"} for port in outside]})
    if reached:
        dns = {"ports": [{"port": _DNS_PORT, "protocol": protocol} for protocol in ("UDP", "TCP")]}
        spec["egress"] = [dns, *reached]
    return {**_document(NETWORK_POLICY, deployment), "spec": spec}
