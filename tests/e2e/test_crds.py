"""The CRDs on a real API server: every rule's sentence, every kind of schema violation, defaults, scale, columns.

Objects are sent as dry runs wherever nothing has to be there before, so no operator acts on them.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import Any

import pytest
from modeldeploy_operator.api import crd

from tests.e2e.kube import Document, Kube
from tests.e2e.refusals import DEPLOYMENT, IMMUTABLE, RULES, SCHEMA, VERSION, changed, deployment, version

pytestmark = pytest.mark.cluster


def dry_run(kube: Kube, document: Document, **options: str) -> tuple[int, Document]:
    """Status and answer of creating the document without making it."""
    path = kube.path(document["kind"], "default")
    response = kube.request("POST", path, json=document, params={"dryRun": "All", **options})
    return response.status_code, response.json()


def causes(answer: Document) -> list[tuple[str, str]]:
    """(field, message) of each cause of a refusal. The root's field is empty."""
    assert answer["reason"] == "Invalid", answer["message"]
    return [(cause["field"].replace("<nil>", ""), cause["message"]) for cause in answer["details"]["causes"]]


def created(kube: Kube, document: Document) -> Document:
    """What a dry run would have made."""
    status, answer = dry_run(kube, document, fieldValidation="Strict")
    assert status == 201, answer.get("message")
    return answer


@pytest.fixture(scope="session")
def crds(kube: Kube, operator: None) -> None:
    """The CRDs of this checkout, as the chart installs them. Two writers at once would fail its installation."""
    for good in (DEPLOYMENT, VERSION):
        _wait_served(kube, good)


def _wait_served(kube: Kube, good: Document) -> None:
    path = kube.path(good["kind"], "default")
    kube.wait(
        f"{good['kind']} is served",
        lambda: kube.request("POST", path, json=good, params={"dryRun": "All"}).status_code == 201,
        seconds=30,
    )


@pytest.fixture
def own_namespace(kube: Kube, crds: None) -> Iterator[str]:
    """A namespace for objects that must really be there."""
    name = f"e2e-crds-{secrets.token_hex(4)}"
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    kube.delete("Namespace", None, name)


@pytest.mark.parametrize(("document", "field", "sentence"), RULES)
def test_what_breaks_a_rule_is_refused_with_a_sentence_that_says_what_to_write(
    kube: Kube, crds: None, document: Document, field: str, sentence: str
) -> None:
    status, answer = dry_run(kube, document)
    assert status == 422
    assert causes(answer) == [(field, f'Invalid value: "object": {sentence}')]


@pytest.mark.parametrize(("document", "field", "message"), SCHEMA)
def test_what_breaks_the_schema_is_refused_by_field(
    kube: Kube, crds: None, document: Document, field: str, message: str
) -> None:
    status, answer = dry_run(kube, document)
    assert status == 422
    assert (field, message) in causes(answer)


def _rules(schema: Document, path: str) -> Iterator[tuple[str, str]]:
    yield from ((path, rule["message"]) for rule in schema.get("x-kubernetes-validations", []))
    for name, child in schema.get("properties", {}).items():
        yield from _rules(child, f"{path}.{name}".lstrip("."))
    if "items" in schema:
        yield from _rules(schema["items"], f"{path}[]")


@pytest.mark.parametrize("definition", crd.definitions(), ids=lambda definition: definition["spec"]["names"]["kind"])
def test_no_rule_is_left_untested(definition: Document) -> None:
    kind = definition["spec"]["names"]["kind"]
    existing = set(_rules(definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"], ""))
    cases = [case.values for case in RULES]
    tested = {
        (re.sub(r"\[\d+\]", "[]", str(field)), str(sentence))
        for document, field, sentence in cases
        if isinstance(document, dict) and document["kind"] == kind
    }
    if kind == "ModelVersion":
        tested.add(("spec", IMMUTABLE))
    assert existing == tested


def test_a_registered_version_never_changes(kube: Kube, own_namespace: str) -> None:
    signature = {"inputs": [{"name": "x", "dtype": "float32", "shape": [None, 4]}], "outputs": []}
    made = kube.create(changed(VERSION, {"metadata.namespace": own_namespace, "spec.signature": signature}))
    for change in (
        {"digest": "sha256:" + "1" * 64},
        {"tags": {"stage": "production"}},
        {"signature": {"inputs": [{"name": "x", "dtype": "float32", "shape": [1, 4]}]}},
        {"signature": None},
    ):
        path = kube.path("ModelVersion", own_namespace, "svc-2")
        headers = {"Content-Type": "application/merge-patch+json"}
        response = kube.request("PATCH", path, json={"spec": change}, headers=headers)
        assert response.status_code == 422
        assert causes(response.json()) == [("spec", f'Invalid value: "object": {IMMUTABLE}')]
    labelled = kube.patch("ModelVersion", own_namespace, "svc-2", {"metadata": {"labels": {"stage": "production"}}})
    assert labelled["spec"] == made["spec"]


def test_the_least_a_user_can_write_is_given_every_default(kube: Kube, crds: None) -> None:
    assert created(kube, DEPLOYMENT)["spec"] == {
        **DEPLOYMENT["spec"],
        "scoring": {
            "timeoutMs": 60000,
            "maxConcurrentRequests": 8,
            "maxQueueWaitMs": 500,
            "initTimeoutSeconds": 300,
        },
        "auth": {"mode": "Key", "publishKeysInStatus": False},
        "target": {
            "aks": {
                "resources": {"cpu": "100m", "memory": "500Mi"},
                "rollout": {"maxUnavailable": 0, "progressDeadlineSeconds": 600},
                "networkPolicy": False,
            }
        },
        "suspend": False,
    }


def test_defaults_fill_up_what_is_given_in_part(kube: Kube, crds: None) -> None:
    partly = deployment(
        **{
            "spec.code": {"inline": "def init(): ..."},
            "spec.scoring": {"timeoutMs": 5},
            "spec.target.aks.autoscale": {"maxReplicas": 3},
            "spec.target.aks.resources": {"memory": "1Gi"},
        }
    )
    spec = created(kube, partly)["spec"]
    assert spec["code"]["entryScript"] == "score.py"
    assert (spec["scoring"]["timeoutMs"], spec["scoring"]["maxConcurrentRequests"]) == (5, 8)
    assert spec["target"]["aks"]["autoscale"] == {"minReplicas": 1, "maxReplicas": 3, "targetUtilization": 70}
    assert spec["target"]["aks"]["resources"] == {"cpu": "100m", "memory": "1Gi"}


def test_everything_a_user_can_write_is_accepted(kube: Kube, crds: None) -> None:
    spec: dict[str, Any] = {
        "description": "Rain tomorrow from today's weather",
        "tags": {"team": "weather"},
        "models": [
            {
                "name": "svc",
                "source": {"uri": "pvc://models/svc 1.onnx", "sha256": "9" * 64},
                "format": "ONNX",
                "description": "d",
                "tags": {"a": "b"},
                "lineage": {"runId": "r", "experiment": "e", "dataset": "d", "gitCommit": "c"},
            },
            {"name": "scaler", "version": "latest"},
            {"name": "third", "source": {"uri": "configmap://models/third.pkl"}, "format": "Sklearn"},
            {"name": "fourth", "source": {"uri": "http://10.0.0.1:8080/a/b/fourth.onnx"}},
        ],
        "code": {"entryScript": "predict.py", "configMapRef": {"name": "weather.code"}},
        "environment": {"image": f"registry.example.com:5000/team/weather_svc:3@sha256:{'0' * 64}"},
        "scoring": {
            "timeoutMs": 300000,
            "maxConcurrentRequests": 1,
            "maxQueueWaitMs": 0,
            "initTimeoutSeconds": 3600,
        },
        "auth": {"mode": "Key", "keysSecretName": "weather-keys", "publishKeysInStatus": True},
        "target": {
            "aks": {
                "replicas": 3,
                "resources": {
                    "cpu": "0.5",
                    "memory": "1024Mi",
                    "cpuLimit": "500m",
                    "memoryLimit": "1Gi",
                    "accelerators": {"nvidia.com/gpu": 1},
                },
                "rollout": {"maxUnavailable": 1, "progressDeadlineSeconds": 86400},
                "networkPolicy": True,
                "nodeSelector": {"kubernetes.io/arch": "amd64", "pool": ""},
                "tolerations": [
                    {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 0},
                    {"key": "gpu", "value": "yes"},
                ],
                "priorityClassName": "system-cluster-critical",
            }
        },
        "suspend": True,
    }
    assert created(kube, deployment(spec=spec))["spec"] == spec


def test_a_field_that_is_not_built_yet_is_refused_not_ignored(kube: Kube, crds: None) -> None:
    status, answer = dry_run(kube, deployment(**{"spec.verification": {"samples": []}}), fieldValidation="Strict")
    assert status == 400
    assert answer["message"].endswith('strict decoding error: unknown field "spec.verification"')


def test_unknown_dimensions_of_a_signature_stay_null(kube: Kube, crds: None) -> None:
    tensors = [{"name": "x", "dtype": "float32", "shape": [None, 4]}, {"name": "y", "dtype": "float32", "shape": None}]
    made = created(kube, version(**{"spec.signature": {"inputs": tensors, "outputs": []}}))
    assert made["spec"]["signature"]["inputs"] == [tensors[0], {"name": "y", "dtype": "float32"}]


def test_a_status_with_a_condition_that_is_neither_true_nor_false_is_refused(kube: Kube, own_namespace: str) -> None:
    kube.create(deployment(**{"metadata.namespace": own_namespace, "spec.suspend": True}))
    condition = {
        "type": "Ready",
        "status": "Maybe",
        "reason": "Guess",
        "message": "",
        "lastTransitionTime": "yesterday",
    }
    response = kube.request(
        "PATCH",
        kube.path("ModelDeployment", own_namespace, "weather") + "/status",
        json={"status": {"conditions": [condition]}},
        headers={"Content-Type": "application/merge-patch+json"},
        params={"dryRun": "All"},
    )
    assert response.status_code == 422
    assert {
        ("status.conditions[0].status", 'Unsupported value: "Maybe": supported values: "True", "False", "Unknown"'),
        (
            "status.conditions[0].lastTransitionTime",
            'Invalid value: "yesterday": conditions[0].lastTransitionTime in body must be of type date-time:'
            ' "yesterday"',
        ),
    } <= set(causes(response.json()))


def test_scale_sets_the_fixed_number_of_replicas(kube: Kube, own_namespace: str) -> None:
    fixed = {"spec.suspend": True, "spec.target.aks.replicas": 1, "metadata.namespace": own_namespace}
    kube.create(deployment(**fixed))
    kube.patch("ModelDeployment", own_namespace, "weather", {"spec": {"replicas": 3}}, "scale")
    assert kube.must_get("ModelDeployment", own_namespace, "weather")["spec"]["target"]["aks"]["replicas"] == 3


def test_scale_is_refused_where_the_autoscaler_rules(kube: Kube, own_namespace: str) -> None:
    automatic = {"spec.suspend": True, "spec.target.aks.autoscale": {}, "metadata.namespace": own_namespace}
    kube.create(deployment(**automatic))
    response = kube.request(
        "PATCH",
        kube.path("ModelDeployment", own_namespace, "weather") + "/scale",
        json={"spec": {"replicas": 3}},
        headers={"Content-Type": "application/merge-patch+json"},
    )
    assert response.status_code == 422
    assert "give at most one of autoscale and replicas" in response.json()["message"]


def test_the_columns_are_those_that_the_documentation_names(kube: Kube, own_namespace: str) -> None:
    kube.create(changed(VERSION, {"metadata.namespace": own_namespace}))
    definitions, _ = kube.table("ModelDeployment", own_namespace)
    assert [(c["name"], c["priority"]) for c in definitions] == [
        ("Name", 0), ("Ready", 0), ("Target", 0), ("Version", 0), ("Replicas", 0), ("URL", 0), ("Age", 0),
        ("Reason", 1),
    ]  # fmt: skip
    definitions, rows = kube.table("ModelVersion", own_namespace)
    assert [(c["name"], c["priority"]) for c in definitions] == [
        ("Name", 0), ("Model", 0), ("Version", 0), ("Format", 0), ("Size", 0), ("Digest", 1), ("Age", 0),
    ]  # fmt: skip
    assert [row[:6] for row in rows] == [["svc-2", "svc", 2, "ONNX", 10, VERSION["spec"]["digest"]]]


def test_short_names_and_category_are_served(kube: Kube, crds: None) -> None:
    resources = {r["name"]: r for r in kube.call("GET", "/apis/modeldeploy.dev/v1alpha1")["resources"]}
    assert set(resources) == {
        "modeldeployments", "modeldeployments/status", "modeldeployments/scale", "modelversions",
    }  # fmt: skip
    for plural, short in {"modeldeployments": "mldep", "modelversions": "mlv"}.items():
        assert (resources[plural]["shortNames"], resources[plural]["categories"]) == ([short], ["ml"])


def test_every_field_can_be_explained(kube: Kube, crds: None) -> None:
    schemas = kube.call("GET", "/openapi/v3/apis/modeldeploy.dev/v1alpha1")["components"]["schemas"]
    source = schemas["dev.modeldeploy.v1alpha1.ModelDeployment"]["properties"]["spec"]["properties"]["models"]
    assert source["items"]["properties"]["source"]["description"] == "Where the bytes are; they become a version."
