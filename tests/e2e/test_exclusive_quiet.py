"""Read from the audit log: an idle object costs nothing, a new one little, and no right is missing or spare."""

from __future__ import annotations

import time
from collections import Counter
from datetime import datetime

import pytest

from tests.e2e import audit, install, outage, specs
from tests.e2e.kube import Document, Kube, condition
from tests.e2e.sources import Shelf, classifier

pytestmark = [pytest.mark.cluster, pytest.mark.exclusive]

IDLE_SECONDS = 30
WRITES = {"create", "update", "patch", "delete"}
MOST_WRITES = 12


def test_a_new_object_takes_twelve_writes_and_an_idle_one_none(
    kube: Kube, operator: None, namespace: str, shelf: Shelf
) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
    whole = audit.from_now_on(kube.kubeconfig)
    aks = {"autoscale": {"minReplicas": 1, "maxReplicas": 1}}
    kube.apply(specs.model_deployment(namespace, "quiet", [entry], aks=aks))
    kube.wait_ready(namespace, "quiet")
    kube.wait(
        "the operator has no more to say",
        lambda: _last(whole, namespace) < time.time() - 5,
        namespace=namespace,
    )
    writes = [request for request in whole.requests(namespace) if request["verb"] in WRITES]
    assert len(writes) <= MOST_WRITES, "\n".join(audit.told(request) for request in writes)

    idle = audit.from_now_on(kube.kubeconfig)
    outage.until(time.monotonic() + IDLE_SECONDS)
    # Namespaces of earlier tests are still going away, which is no idleness: what is not theirs counts.
    asked = [
        r for r in idle.requests() if r["verb"] != "watch" and r["objectRef"].get("namespace") in (None, namespace)
    ]
    assert asked == [], "\n".join(audit.told(request) for request in asked)
    assert kube.wait_ready(namespace, "quiet")


def _last(log: audit.AuditLog, namespace: str) -> float:
    """When the operator last asked for something in a namespace, in seconds since 1970."""
    times = [request["requestReceivedTimestamp"] for request in log.requests(namespace)]
    return max((_seconds(moment) for moment in times), default=0)


def _seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


def granted(kube: Kube) -> set[audit.Right]:
    """Everything the operator's roles give."""
    roles = [
        kube.must_get("ClusterRole", None, install.OPERATOR),
        kube.must_get("Role", install.NAMESPACE, f"{install.OPERATOR}-leader"),
    ]
    return {
        (group, resource, verb)
        for role in roles
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def strangers(namespace: str, name: str) -> list[Document]:
    """Objects of somebody else, under the names that a ModelDeployment's children would have."""
    labels = {"app": "stranger"}
    container = {
        "name": "x",
        "image": install.LEAN_IMAGE,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    template = {"metadata": {"labels": labels}, "spec": {"securityContext": security, "containers": [container]}}
    selector = {"matchLabels": labels}
    bodies: list[tuple[str, str, Document]] = [
        ("v1", "ServiceAccount", {}),
        ("v1", "Service", {"spec": {"selector": labels, "ports": [{"port": 80}]}}),
        ("apps/v1", "Deployment", {"spec": {"replicas": 0, "selector": selector, "template": template}}),
        ("policy/v1", "PodDisruptionBudget", {"spec": {"selector": selector, "maxUnavailable": 1}}),
        ("networking.k8s.io/v1", "NetworkPolicy", {"spec": {"podSelector": selector}}),
        (
            "autoscaling/v2",
            "HorizontalPodAutoscaler",
            {
                "spec": {
                    "maxReplicas": 1,
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
                }
            },
        ),
    ]
    metadata = {"name": name, "namespace": namespace}
    return [{"apiVersion": version, "kind": kind, "metadata": metadata, **body} for version, kind, body in bodies]


def test_the_operator_has_exactly_the_rights_that_it_uses(
    kube: Kube, operator: None, namespace: str, shelf: Shelf
) -> None:
    log = audit.from_now_on(kube.kubeconfig)
    _start_without_a_lease(kube)
    _live_through_every_kind_of_child(kube, namespace, shelf)
    _meet_strangers(kube, namespace, shelf)

    requests = log.requests()
    _none_is_forbidden(requests)
    used = Counter(right for request in requests for right in audit.rights(request))
    spare = granted(kube) - set(used)
    missing = set(used) - granted(kube)
    assert (sorted(spare), sorted(missing)) == ([], []), f"used: {sorted(used.items())}"


def _none_is_forbidden(requests: list[Document]) -> None:
    forbidden = [r for r in requests if r.get("annotations", {}).get("authorization.k8s.io/decision") == "forbid"]
    assert forbidden == [], "\n".join(sorted({audit.told(request) for request in forbidden}))


def _start_without_a_lease(kube: Kube) -> None:
    """A first start: the Lease is made, everything is listed and watched."""
    install.scale(kube, 0)
    kube.delete("Lease", install.NAMESPACE, install.LEASE)
    install.scale(kube, 1)
    kube.wait("a leader is there", lambda: kube.get("Lease", install.NAMESPACE, install.LEASE), seconds=30)


def _live_through_every_kind_of_child(kube: Kube, namespace: str, shelf: Shelf) -> None:
    """Children come, change and go; the Secret is looked at again; a version is asked for by its number."""
    kube.apply(specs.config_map(namespace, "code", {"score.py": specs.ECHO_SCRIPT % "x"}))
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
    code = {"configMapRef": {"name": "code"}}
    everything = {"autoscale": {"minReplicas": 1, "maxReplicas": 1}, "networkPolicy": True}
    kube.apply(specs.model_deployment(namespace, "tour", [entry], aks=everything, code=code))
    kube.wait_ready(namespace, "tour")
    kube.patch("Service", namespace, "tour", {"spec": {"selector": {"app.kubernetes.io/component": "x"}}})
    kube.apply(specs.model_deployment(namespace, "tour", [entry]))
    kube.wait_ready(namespace, "tour")
    for kind in ("HorizontalPodAutoscaler", "NetworkPolicy"):
        kube.wait_gone(kind, namespace, "tour")
    kube.wait(
        "the code's copy is gone",
        lambda: not kube.list("ConfigMap", namespace, "modeldeploy.dev/deployment=tour"),
        namespace=namespace,
        seconds=90,
    )
    missing = specs.model_deployment(namespace, "asks", [{"name": "rain", "version": "99"}])
    kube.apply(missing)
    kube.wait_condition(namespace, "asks", "Ready", lambda c: "99" in c.get("message", ""), what="names version 99")


def _meet_strangers(kube: Kube, namespace: str, shelf: Shelf) -> None:
    """Names that are taken already: the operator looks at what is there, takes nothing over and says so."""
    theirs = strangers(namespace, "taken")
    before = [kube.apply(document) for document in theirs]
    entry = specs.model("rain", shelf.url("rain.onnx"))
    aks = {"autoscale": {"minReplicas": 1, "maxReplicas": 1}, "networkPolicy": True}
    kube.apply(specs.model_deployment(namespace, "taken", [entry], aks=aks))
    found = kube.wait_condition(
        namespace, "taken", "Ready", lambda c: c.get("reason") == "NameTaken", what="False: NameTaken"
    )
    assert "was not made for this ModelDeployment" in condition(found, "Ready")["message"]
    for document in before:
        metadata = document["metadata"]
        now = kube.must_get(document["kind"], namespace, metadata["name"])
        assert now["metadata"]["uid"] == metadata["uid"]
        assert not now["metadata"].get("ownerReferences"), document["kind"]


def test_a_watched_namespace_needs_no_right_outside_it(
    kube: Kube, operator: None, run: str, namespace: str, shelf: Shelf
) -> None:
    try:
        install.install(kube, run=run, watchNamespaces=[namespace], rbac={"aggregate": False})
        assert kube.get("ClusterRole", None, install.OPERATOR) is None
        log = audit.from_now_on(kube.kubeconfig)
        entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
        kube.apply(specs.model_deployment(namespace, "alone", [entry], code=specs.echo("x")))
        kube.wait_ready(namespace, "alone")
        requests = log.requests()
        _none_is_forbidden(requests)
        assert {r["objectRef"].get("namespace") for r in requests} == {namespace, install.NAMESPACE}
    finally:
        install.install(kube, run=run)
