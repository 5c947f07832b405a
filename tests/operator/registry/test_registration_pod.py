"""The registration pod's document, and what is read from the status of one."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from modeldeploy_operator.api.v1alpha1 import Model, ModelDeployment
from modeldeploy_operator.core.documents import Document
from modeldeploy_operator.errors import Stalled, Unavailable
from modeldeploy_operator.registry.cluster import backoff, outcome, request, version
from modeldeploy_operator.registry.cluster.pod import Attempt, registration_pod

from tests.operator.registry.kubernetes_memory import DIGEST_A, IMAGES, deployment_document, model

FIRST = Attempt()


def rendered(entry: dict[str, Any], aks: dict[str, Any] | None = None, attempt: Attempt = FIRST) -> Document:
    document = deployment_document(entry)
    document["spec"]["target"] = {"aks": aks or {}}
    deployment = ModelDeployment.model_validate(document)
    return registration_pod(request.of(deployment, deployment.spec.models[0]), IMAGES, attempt)


def environment(pod: Document) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in pod["spec"]["containers"][0]["env"]}


def test_the_pod_meets_the_restricted_level_and_has_no_token() -> None:
    pod = rendered(model())
    spec, container = pod["spec"], pod["spec"]["containers"][0]
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}}
    assert spec["restartPolicy"] == "Never"
    assert "activeDeadlineSeconds" not in spec
    assert all(volume["emptyDir"] == {} for volume in spec["volumes"])


def test_the_pod_belongs_to_its_deployment_and_is_no_scoring_pod() -> None:
    metadata = rendered(model())["metadata"]
    assert metadata["ownerReferences"][0]["uid"] == "weather-uid"
    assert metadata["labels"]["app.kubernetes.io/component"] == "registration"
    assert metadata["labels"]["modeldeploy.dev/deployment"] == "weather"
    assert metadata["labels"]["modeldeploy.dev/model"] == "svc"


def test_the_container_is_told_source_pin_and_format() -> None:
    pod = rendered(model(source={"sha256": "c" * 64}, format="Sklearn"))
    assert pod["spec"]["containers"][0]["command"] == ["scoring-server", "register"]
    assert json.loads(environment(pod)["SCORING_SOURCE"]) == {
        "name": "svc",
        "uri": "https://models.test/svc.onnx",
        "sha256": "c" * 64,
        "format": "Sklearn",
    }
    assert environment(pod)["SCORING_MODELS_ROOT"] == "/models"
    assert environment(pod)["SCORING_SOURCES_ROOT"] == "/sources"


def test_the_container_is_told_the_administrators_rules_on_sources() -> None:
    deployment = ModelDeployment.model_validate(deployment_document(model()))
    images = replace(IMAGES, source_rules={"SCORING_SOURCES_DENY_PRIVATE": "true"})
    pod = registration_pod(request.of(deployment, deployment.spec.models[0]), images, FIRST)
    assert environment(pod)["SCORING_SOURCES_DENY_PRIVATE"] == "true"
    assert "SCORING_SOURCES_DENY_PRIVATE" not in environment(rendered(model()))


MOUNTS = [
    pytest.param(
        "pvc://store/a/svc.onnx",
        {"persistentVolumeClaim": {"claimName": "store", "readOnly": True}},
        "/sources/pvc/store",
        id="a claim is mounted read-only",
    ),
    pytest.param(
        "configmap://weather-models/svc.onnx",
        {"configMap": {"name": "weather-models"}},
        "/sources/configmap/weather-models",
        id="a config map is mounted",
    ),
]


@pytest.mark.parametrize(("uri", "volume", "path"), MOUNTS)
def test_a_source_in_the_cluster_is_mounted(uri: str, volume: dict[str, Any], path: str) -> None:
    spec = rendered(model(uri=uri))["spec"]
    assert {"name": "source", **volume} in spec["volumes"]
    assert {"name": "source", "mountPath": path, "readOnly": True} in spec["containers"][0]["volumeMounts"]


def test_the_pod_may_run_where_the_scoring_pods_may() -> None:
    tolerations = [{"key": "gpu", "operator": "Exists"}]
    aks = {"nodeSelector": {"pool": "ml"}, "tolerations": tolerations, "priorityClassName": "high"}
    spec = rendered(model(), aks)["spec"]
    assert spec["nodeSelector"] == {"pool": "ml"}
    assert spec["tolerations"] == tolerations
    assert spec["priorityClassName"] == "high"


# ---- what was asked


def entry(**fields: Any) -> tuple[ModelDeployment, Model]:
    deployment = ModelDeployment.model_validate(deployment_document(model(**fields)))
    return deployment, deployment.spec.models[0]


def test_the_fingerprint_of_a_request_never_changes() -> None:
    assert request.fingerprint(*entry()) == "77003366c0"


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"uri": "https://models.test/other.onnx"}, id="another place"),
        pytest.param({"source": {"sha256": "c" * 64}}, id="a pin"),
        pytest.param({"description": "new"}, id="a description"),
        pytest.param({"format": "ONNX"}, id="a format"),
        pytest.param({"tags": {"a": "b"}}, id="a tag"),
        pytest.param({"lineage": {"dataset": "d"}}, id="lineage"),
    ],
)
def test_every_field_of_the_entry_is_part_of_the_request(fields: dict[str, Any]) -> None:
    assert request.fingerprint(*entry(**fields)) != request.fingerprint(*entry())


# ---- reading a pod


def terminated(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    state = {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-03-01T12:00:03Z"}
    return {"containerStatuses": [{"name": "register", "state": {"terminated": state}}]}


def waiting(reason: str, message: str) -> dict[str, Any]:
    state = {"waiting": {"reason": reason, "message": message}}
    return {"phase": "Pending", "containerStatuses": [{"name": "register", "state": state}]}


def unscheduled(message: str) -> dict[str, Any]:
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [condition]}


def pod_with(status: dict[str, Any]) -> Document:
    pod = rendered(model())
    pod["metadata"] |= {"uid": "u", "creationTimestamp": "2026-03-01T12:00:00Z"}
    return {**pod, "status": status}


GOING = [
    pytest.param({}, None, False, id="just made"),
    pytest.param({"phase": "Pending"}, None, False, id="pending without a reason"),
    pytest.param(waiting("ContainerCreating", ""), None, False, id="volumes and image on their way"),
    pytest.param({"phase": "Running"}, None, True, id="running"),
    pytest.param({"phase": "Unknown"}, None, False, id="its node is not heard of"),
    pytest.param(
        waiting("ErrImagePull", "manifest unknown"),
        ("ImagePullFailed", "Image registry.test/lean:1 cannot be pulled: manifest unknown."),
        False,
        id="first pull failed",
    ),
    pytest.param(
        waiting("ImagePullBackOff", 'Back-off pulling image "registry.test/lean:1": ErrImagePull: manifest unknown'),
        ("ImagePullFailed", "Image registry.test/lean:1 cannot be pulled: manifest unknown."),
        False,
        id="the same cause in the kubelet's other words",
    ),
    pytest.param(
        waiting("InvalidImageName", ""),
        ("ImagePullFailed", "Image registry.test/lean:1 cannot be pulled: InvalidImageName."),
        False,
        id="a reference that is none",
    ),
    pytest.param(
        waiting("CreateContainerConfigError", "image has non-numeric user"),
        ("CreateContainerConfigError", "The registration container cannot be created: image has non-numeric user."),
        False,
        id="a container that cannot be made",
    ),
    pytest.param(
        unscheduled("0/1 nodes are available: 1 Insufficient memory."),
        (
            "Unschedulable",
            "No node takes pod weather-register-77003366c0: 0/1 nodes are available: 1 Insufficient memory.",
        ),
        False,
        id="no node has room",
    ),
    pytest.param(
        unscheduled('0/1 nodes are available: persistentvolumeclaim "store" not found. preemption: 0/1'),
        ("ClaimNotFound", "PersistentVolumeClaim store does not exist in namespace ml."),
        False,
        id="a claim that does not exist",
    ),
]


@pytest.mark.parametrize(("status", "stuck", "started"), GOING)
def test_a_pod_on_its_way_tells_what_holds_it(
    status: dict[str, Any], stuck: tuple[str, str] | None, started: bool
) -> None:
    read = outcome.read(pod_with(status))
    assert isinstance(read, outcome.Going)
    assert (None if read.stuck is None else (read.stuck.reason, read.stuck.message)) == stuck
    assert read.started is started


ACCOUNT = {"phase": "Fetch", "reason": "DigestMismatch", "message": "other bytes.", "exception": "E: x", "line": 3}
FAILED = [
    pytest.param(terminated(10, json.dumps(ACCOUNT)), "DigestMismatch", "other bytes.", Stalled, id="its own account"),
    pytest.param(
        terminated(137, "", "OOMKilled"),
        "OutOfMemory",
        "Reading the source took more memory than the 512Mi allowed.",
        Stalled,
        id="out of memory",
    ),
    pytest.param(
        terminated(2, "usage: scoring-server serve|fetch\n"),
        "RegistrationFailed",
        "The registration container ended with exit code 2: usage: scoring-server serve|fetch.",
        Unavailable,
        id="an image that cannot register",
    ),
    pytest.param(
        terminated(1, '{"event": "started", "level": "info"}'),
        "RegistrationFailed",
        'The registration container ended with exit code 1: {"event": "started", "level": "info"}.',
        Unavailable,
        id="a log line is no account",
    ),
    pytest.param(
        terminated(143),
        "RegistrationFailed",
        "The registration container ended with exit code 143: it left no message.",
        Unavailable,
        id="killed without a word",
    ),
    pytest.param(
        {"reason": "Evicted", "message": "The node was low on resource: memory."},
        "Evicted",
        "The node was low on resource: memory.",
        Unavailable,
        id="evicted",
    ),
    pytest.param({}, "PodFailed", "The registration pod failed (PodFailed).", Unavailable, id="failed without a word"),
]


@pytest.mark.parametrize(("status", "reason", "message", "kind"), FAILED)
def test_a_failed_pod_tells_why(status: dict[str, Any], reason: str, message: str, kind: type[Exception]) -> None:
    read = outcome.read(pod_with({"phase": "Failed", **status}))
    assert isinstance(read, outcome.Failed)
    assert (read.failure.reason, read.failure.message) == (reason, message)
    assert type(outcome.problem(read.failure, "svc")) is kind
    assert read.finished.tzinfo is not None


def test_a_failure_survives_in_an_annotation() -> None:
    read = outcome.read(pod_with({"phase": "Failed", **terminated(10, json.dumps(ACCOUNT))}))
    assert isinstance(read, outcome.Failed)
    pod = rendered(model(), attempt=Attempt(2, "", outcome.encode(read.failure)))
    assert outcome.last_failure(pod) == read.failure
    assert outcome.attempt_number(pod) == 2


SUCCESS: dict[str, Any] = {"digest": DIGEST_A, "sizeBytes": 12, "format": "MLflow", "files": 3, "signature": None}
UNREADABLE = [
    pytest.param("", id="no report"),
    pytest.param("done", id="prose"),
    pytest.param(json.dumps({**SUCCESS, "format": "Torch"}), id="a format we do not know"),
    pytest.param(json.dumps({"digest": DIGEST_A}), id="half a report"),
]


def test_a_pod_that_ended_well_tells_the_content() -> None:
    read = outcome.read(pod_with({"phase": "Succeeded", **terminated(0, json.dumps(SUCCESS), "Completed")}))
    assert isinstance(read, version.Content)
    assert (read.digest, read.size_bytes, read.format.value, read.signature) == (DIGEST_A, 12, "MLflow", None)


@pytest.mark.parametrize("message", UNREADABLE)
def test_a_report_that_cannot_be_read_is_a_failure(message: str) -> None:
    read = outcome.read(pod_with({"phase": "Succeeded", **terminated(0, message, "Completed")}))
    assert isinstance(read, outcome.Failed)
    assert read.failure.reason == "ReportInvalid"
    assert read.failure.message.startswith("The registration pod ended well but its report cannot be read")


# ---- when to try again

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("attempt", "seconds"), [(1, 5), (2, 10), (3, 20), (4, 40), (5, 80), (6, 160), (7, 300), (8, 300), (10_000, 300)]
)
def test_the_rest_doubles_up_to_five_minutes(attempt: int, seconds: int) -> None:
    assert backoff.delay(attempt) == timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("since", "rest"),
    [
        pytest.param(2, 3.0, id="in the middle of it"),
        pytest.param(5, 0.0, id="just over"),
        pytest.param(500, 0.0, id="long over"),
        pytest.param(-3600, 5.0, id="the node's clock is an hour ahead"),
    ],
)
def test_the_rest_is_counted_from_the_end_of_the_attempt(since: int, rest: float) -> None:
    assert backoff.remaining(1, START, START + timedelta(seconds=since)) == rest


def test_many_versions_are_named_by_the_newest() -> None:
    existing = [{"spec": {"version": number}} for number in range(1, 15)]
    found = version.not_found("svc", "99", "ml", existing)
    assert found.message == (
        "Model svc has no version 99 in namespace ml; registered are 5, 6, 7, 8, 9, 10, 11, 12, 13, 14"
        " (and 4 older ones)."
    )
