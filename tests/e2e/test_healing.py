"""What somebody deletes or edits by hand is put right within five seconds; what others own is left alone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.e2e import specs
from tests.e2e.conftest import a_namespace
from tests.e2e.kube import Document, Kube, condition
from tests.e2e.sources import ModelServer, Shelf, classifier

pytestmark = pytest.mark.cluster

PROMISE_SECONDS = 5
NAME = "healed"


@dataclass(frozen=True)
class Served:
    """A ModelDeployment with every kind of child; the tests that share it break one child each."""

    namespace: str
    deployment: Document
    code: str


@pytest.fixture(scope="module")
def served(kube: Kube, operator: None, model_server: ModelServer) -> Iterator[Served]:
    with a_namespace(kube, "healing") as namespace:
        entry = specs.model("rain", Shelf(model_server, namespace).put("rain.onnx", classifier(1.5)))
        aks = {"autoscale": {"minReplicas": 1, "maxReplicas": 2, "targetUtilization": 100}, "networkPolicy": True}
        kube.apply(specs.model_deployment(namespace, NAME, [entry], aks=aks, code=specs.echo("x")))
        deployment = kube.wait_ready(namespace, NAME)
        (code,) = kube.list("ConfigMap", namespace, f"modeldeploy.dev/deployment={NAME}")
        yield Served(namespace, deployment, code["metadata"]["name"])


DELETED = [
    "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "ServiceAccount", "NetworkPolicy",
    "ConfigMap", "Secret",
]  # fmt: skip


@pytest.mark.xdist_group("healing")
@pytest.mark.parametrize("kind", DELETED)
def test_a_deleted_child_is_made_again(kube: Kube, served: Served, kind: str) -> None:
    name = {"ConfigMap": served.code, "Secret": f"{NAME}-keys"}.get(kind, NAME)
    before = kube.must_get(kind, served.namespace, name)
    kube.delete(kind, served.namespace, name)
    deleted = time.monotonic()

    def probe() -> Document | None:
        found = kube.get(kind, served.namespace, name)
        return found if found and found["metadata"]["uid"] != before["metadata"]["uid"] else None

    again = kube.wait(f"{kind} is made again", probe, namespace=served.namespace, seconds=30)
    taken = time.monotonic() - deleted
    print(f"{kind} healed after {taken:.1f} s")
    assert taken <= PROMISE_SECONDS, f"{kind}: {taken:.1f} s"
    assert again["metadata"]["labels"] == before["metadata"]["labels"]
    for part in ("data",) if kind == "ConfigMap" else ():
        assert again[part] == before[part]


EDITS: list[Any] = [
    pytest.param(
        "Deployment",
        {"spec": {"template": {"spec": {"terminationGracePeriodSeconds": 7}}}},
        ("spec", "template", "spec", "terminationGracePeriodSeconds"),
        id="the pods' grace period",
    ),
    pytest.param(
        "Deployment",
        {"spec": {"template": {"spec": {"automountServiceAccountToken": True}}}},
        ("spec", "template", "spec", "automountServiceAccountToken"),
        id="a token for the pods",
    ),
    pytest.param("Deployment", {"metadata": {"labels": {"modeldeploy.dev/deployment": None}}}, ("metadata", "labels"),
                 id="a label taken away"),
    pytest.param("Service", {"spec": {"selector": {"app.kubernetes.io/component": "other"}}}, ("spec", "selector"),
                 id="the Service's selector"),
    pytest.param("HorizontalPodAutoscaler", {"spec": {"maxReplicas": 9}}, ("spec", "maxReplicas"),
                 id="the most replicas"),
    pytest.param("PodDisruptionBudget", {"spec": {"maxUnavailable": 0}}, ("spec", "maxUnavailable"),
                 id="a budget that lets no node drain"),
    pytest.param("ServiceAccount", {"automountServiceAccountToken": True}, ("automountServiceAccountToken",),
                 id="the account's token"),
    pytest.param("NetworkPolicy", {"spec": {"ingress": []}}, ("spec", "ingress"), id="nobody may enter"),
    pytest.param("ConfigMap", {"data": {"score.py": "raise SystemExit"}}, ("data",), id="the code's copy"),
]  # fmt: skip


def part(document: Document, path: tuple[str, ...]) -> Any:
    """The value at a path of field names, None where there is none."""
    value: Any = document
    for step in path:
        value = (value or {}).get(step)
    return value


@pytest.mark.xdist_group("healing")
@pytest.mark.parametrize(("kind", "change", "path"), EDITS)
def test_an_edited_child_is_put_right(
    kube: Kube, served: Served, kind: str, change: Document, path: tuple[str, ...]
) -> None:
    name = served.code if kind == "ConfigMap" else NAME
    before = kube.must_get(kind, served.namespace, name)
    edited = kube.patch(kind, served.namespace, name, change)
    began = time.monotonic()
    assert part(edited, path) != part(before, path), "the edit changed nothing"
    kube.wait(
        f"{kind} is as it was",
        lambda: part(kube.must_get(kind, served.namespace, name), path) == part(before, path),
        namespace=served.namespace,
        seconds=30,
    )
    taken = time.monotonic() - began
    print(f"{kind} healed after {taken:.1f} s")
    assert taken <= PROMISE_SECONDS, f"{kind}: {taken:.1f} s"


@pytest.mark.xdist_group("healing")
def test_all_is_well_again_after_so_much_damage(kube: Kube, served: Served) -> None:
    ready = kube.wait_ready(served.namespace, NAME)
    secret = kube.must_get("Secret", served.namespace, f"{NAME}-keys")
    assert set(secret["data"]) == {"primaryKey", "secondaryKey"}
    assert condition(ready, "CredentialsReady")["status"] == "True"


def smallest(states: list[Document]) -> int:
    """The fewest replicas that a recorded Deployment ever asked for."""
    return min(state["spec"]["replicas"] for state in states)


def test_replicas_that_the_autoscaler_set_are_left_alone(kube: Kube, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))

    def apply(grace: int) -> None:
        aks = {"autoscale": {"minReplicas": 2, "maxReplicas": 3, "targetUtilization": 100}}
        spec = specs.model_deployment(namespace, "scaled", [entry], aks=aks, scoring={"initTimeoutSeconds": grace})
        kube.apply(spec)

    apply(100)
    kube.wait_ready(namespace, "scaled")
    kube.wait(
        "the autoscaler asks for two",
        lambda: kube.must_get("Deployment", namespace, "scaled")["spec"]["replicas"] >= 2,
        namespace=namespace,
    )
    with kube.recording("Deployment", namespace, "scaled") as states:
        apply(101)
        kube.wait_ready(namespace, "scaled")
    assert smallest(states) >= 2, [state["spec"]["replicas"] for state in states]
    fields = kube.must_get("Deployment", namespace, "scaled")["metadata"]["managedFields"]
    (ours,) = [m for m in fields if (m["manager"], m["operation"]) == ("modeldeploy-operator", "Apply")]
    assert "f:replicas" not in ours["fieldsV1"]["f:spec"]


def test_replicas_never_drop_between_a_fixed_number_and_autoscaling(kube: Kube, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
    fixed = specs.model_deployment(namespace, "four", [entry], aks={"replicas": 4})
    autoscale = {"minReplicas": 4, "maxReplicas": 5, "targetUtilization": 100}
    scaled = specs.model_deployment(namespace, "four", [entry], aks={"autoscale": autoscale})
    kube.apply(fixed)
    kube.wait_ready(namespace, "four")
    with kube.recording("Deployment", namespace, "four") as states:
        kube.apply(scaled)
        kube.wait_ready(namespace, "four")
        kube.wait(
            "the autoscaler is there",
            lambda: kube.get("HorizontalPodAutoscaler", namespace, "four"),
            namespace=namespace,
        )
        # An edit by hand of what the operator applies makes it apply once more, now without the number.
        kube.patch("Deployment", namespace, "four", {"metadata": {"labels": {"app.kubernetes.io/part-of": "x"}}})
        kube.wait(
            "the label is put right",
            lambda: (
                kube.must_get("Deployment", namespace, "four")["metadata"]["labels"]["app.kubernetes.io/part-of"]
                == "modeldeploy"
            ),
            namespace=namespace,
        )
        kube.apply(fixed)
        kube.wait_ready(namespace, "four")
        kube.wait_gone("HorizontalPodAutoscaler", namespace, "four")
    assert smallest(states) >= 4, [state["spec"]["replicas"] for state in states]


def test_an_update_never_has_fewer_ready_replicas_than_before(kube: Kube, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
    kube.apply(specs.model_deployment(namespace, "trio", [entry], aks={"replicas": 3}, code=specs.echo("old")))
    kube.wait_ready(namespace, "trio")
    with kube.recording("Deployment", namespace, "trio") as states:
        kube.apply(specs.model_deployment(namespace, "trio", [entry], aks={"replicas": 3}, code=specs.echo("new")))
        kube.wait_ready(namespace, "trio")
    assert min(state["status"].get("availableReplicas", 0) for state in states) >= 3
