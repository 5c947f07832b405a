"""The registration pod as a document: it reads one source and tells digest, format and signature. Pure.

It runs under the restricted Pod Security level, without a service account's token. There is no activeDeadlineSeconds:
10 GB over a slow line are progress, not a fault; the program in the pod gives up by itself where nothing moves.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.api.v1alpha1 import Model, ModelDeployment
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import POD, Document
from modeldeploy_operator.core.facts import Images

from . import request
from .request import Request

TEMPLATE_ANNOTATION = "modeldeploy.dev/template"
SOURCE_ANNOTATION = "modeldeploy.dev/source-version"
FAILURE_ANNOTATION = "modeldeploy.dev/last-failure"
ANNOTATIONS = (names.ATTEMPT_ANNOTATION, TEMPLATE_ANNOTATION, SOURCE_ANNOTATION, FAILURE_ANNOTATION)
CONTAINER = "register"
MODELS_ROOT = "/models"
SOURCES_ROOT = "/sources"


@dataclass(frozen=True)
class Attempt:
    """Which try this is, the resourceVersion of the ConfigMap it reads, and how the try before it failed (JSON)."""

    number: int = 1
    source_version: str = ""
    last_failure: str = ""


def registration_pod(asked: Request, images: Images, attempt: Attempt) -> Document:
    """The pod of one model's registration, complete."""
    deployment, model = asked.deployment, asked.model
    spec = _spec(deployment, model, images)
    annotations = {names.ATTEMPT_ANNOTATION: str(attempt.number), TEMPLATE_ANNOTATION: names.short_hash(spec)}
    if attempt.source_version:
        annotations[SOURCE_ANNOTATION] = attempt.source_version
    if attempt.last_failure:
        annotations[FAILURE_ANNOTATION] = attempt.last_failure
    labels = {**names.labels(deployment, "registration"), names.MODEL_LABEL: model.name}
    return {
        "apiVersion": POD.api_version,
        "kind": POD.kind,
        "metadata": {
            "name": asked.pod,
            "namespace": deployment.metadata.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [names.owner_reference(deployment)],
        },
        "spec": spec,
    }


def _spec(deployment: ModelDeployment, model: Model, images: Images) -> dict[str, Any]:
    sources = _source_volumes(model)
    scratch = {"tmp": "/tmp", "models": MODELS_ROOT}  # noqa: S108 (paths in the container)
    mounts: list[dict[str, Any]] = [{"name": name, "mountPath": path} for name, path in scratch.items()]
    mounts += [{"name": name, "mountPath": path, "readOnly": True} for name, path, _ in sources]
    return {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 5,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 10001,
            "runAsGroup": 10001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": CONTAINER,
                "image": images.lean,
                "imagePullPolicy": images.pull_policy,
                "command": ["scoring-server", "register"],
                "env": _environment(model, images.source_rules),
                "resources": {
                    "requests": {"cpu": "50m", "memory": "128Mi"},
                    "limits": {"memory": "512Mi"},
                },
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                # A crash before the program can write its own account leaves at least its last words.
                "terminationMessagePolicy": "FallbackToLogsOnError",
                "volumeMounts": mounts,
            }
        ],
        "volumes": [
            *({"name": name, "emptyDir": {}} for name in scratch),
            *({"name": name, **volume} for name, _, volume in sources),
        ],
        **_scheduling(deployment),
    }


def _environment(model: Model, rules: Mapping[str, str]) -> list[dict[str, str]]:
    assert model.source is not None
    source: dict[str, str] = {"name": model.name, "uri": model.source.uri}
    if model.source.sha256:
        source["sha256"] = model.source.sha256
    if model.format:
        source["format"] = model.format.value
    return [
        {"name": "SCORING_SOURCE", "value": json.dumps(source)},
        {"name": "SCORING_MODELS_ROOT", "value": MODELS_ROOT},
        {"name": "SCORING_SOURCES_ROOT", "value": SOURCES_ROOT},
        *({"name": name, "value": value} for name, value in rules.items()),
    ]


def _source_volumes(model: Model) -> list[tuple[str, str, dict[str, Any]]]:
    """Name, mount path and volume of what the source's URI needs."""
    if claim := request.claim_of(model):
        volume = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        return [("source", f"{SOURCES_ROOT}/pvc/{claim}", volume)]
    if config_map := request.config_map_of(model):
        return [("source", f"{SOURCES_ROOT}/configmap/{config_map}", {"configMap": {"name": config_map}})]
    return []


def _scheduling(deployment: ModelDeployment) -> dict[str, Any]:
    """Where the scoring pods may run, the registration may too: a tainted or labelled pool may be all there is."""
    aks = deployment.spec.target.aks
    if aks is None:
        return {}
    wanted = {
        "nodeSelector": aks.node_selector,
        "tolerations": [toleration.document() for toleration in aks.tolerations or ()],
        "priorityClassName": aks.priority_class_name,
    }
    return {name: value for name, value in wanted.items() if value}


def annotation(pod: Document, name: str) -> str:
    value: str = (pod["metadata"].get("annotations") or {}).get(name, "")
    return value
