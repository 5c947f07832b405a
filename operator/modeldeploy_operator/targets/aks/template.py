"""The pod template of a scoring Deployment: fetch the models, then serve them, under restricted Pod Security. Pure.

Whatever changes here makes a new revision of every deployment: leave out what need not be said.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from modeldeploy_operator.api.target import Aks
from modeldeploy_operator.api.v1alpha1 import ModelDeployment, ModelFormat
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import Document
from modeldeploy_operator.core.facts import Images, ResolvedModel, Wish
from modeldeploy_operator.targets.aks import sources

FETCH = "fetch"
SCORING = "scoring"
PORT = 5001
PORT_NAME = "http"
USER = 10001

MODELS_ROOT = "/models"
CODE_ROOT = "/code"
KEY_DIR = "/keys"

# What the server may take beyond initTimeoutSeconds to write down why it gave up, before the kubelet kills it.
_STARTUP_SLACK_SECONDS = 30
# Endpoints take some seconds to learn that a pod is leaving; it serves on meanwhile, and drains for 25 s after that.
_PRE_STOP_SECONDS = 5
_GRACE_SECONDS = 45


def template(deployment: ModelDeployment, aks: Aks, wish: Wish) -> Document:
    """The pod template, with the revision label that is the hash of all the rest."""
    metadata = {"labels": names.labels(deployment)}
    body = {"metadata": metadata, "spec": _pod(deployment, aks, wish)}
    revision = names.revision(body)
    return {**body, "metadata": {"labels": {**metadata["labels"], names.REVISION_LABEL: revision}}}


def scoring_image(deployment: ModelDeployment, models: tuple[ResolvedModel, ...], images: Images) -> str:
    """The user's image; else the lean one where it can load every model."""
    if deployment.spec.environment is not None:
        return deployment.spec.environment.image
    return images.lean if all(model.format == ModelFormat.ONNX for model in models) else images.sklearn


def memory_limit(aks: Aks) -> str:
    """The memory a replica may use at most."""
    return aks.resources.memory_limit or aks.resources.memory


def _pod(deployment: ModelDeployment, aks: Aks, wish: Wish) -> Document:
    read_from = sources.volumes(model.uri for model in wish.models)
    spec: Document = {
        "serviceAccountName": deployment.metadata.name,
        "automountServiceAccountToken": False,
        # A Service called "scoring" would otherwise set SCORING_PORT to its address in every pod.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _GRACE_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER,
            "runAsGroup": USER,
            "fsGroup": USER,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "initContainers": [_fetch(deployment, aks, wish, read_from)],
        "containers": [_serve(deployment, aks, wish)],
        "volumes": [*_volumes(deployment, wish), *(source.volume for source in read_from)],
    }
    return {**spec, **_scheduling(aks)}


def _fetch(
    deployment: ModelDeployment, aks: Aks, wish: Wish, read_from: tuple[sources.SourceVolume, ...]
) -> dict[str, Any]:
    # A user's image may change anything about the scoring image; fetching and verifying stays with our own.
    image = wish.images.lean if deployment.spec.environment else scoring_image(deployment, wish.models, wish.images)
    mounts = [_mount("models", MODELS_ROOT), _mount("tmp", "/tmp"), *(source.mount for source in read_from)]  # noqa: S108
    return {
        **_container(FETCH, image, "fetch", wish),
        "env": _environment({**_model_environment(wish), **wish.images.source_rules}),
        "resources": _resources(aks, {}),
        "volumeMounts": mounts,
    }


def _serve(deployment: ModelDeployment, aks: Aks, wish: Wish) -> dict[str, Any]:
    ready = {"path": "/healthz/ready", "port": PORT_NAME}
    live = {"path": "/healthz/live", "port": PORT_NAME}
    init_timeout = deployment.spec.scoring.init_timeout_seconds
    mounts = [{**_mount("models", MODELS_ROOT), "readOnly": True}, _mount("tmp", "/tmp")]  # noqa: S108
    mounts += [{**_mount("code", CODE_ROOT), "readOnly": True}] if wish.code else []
    mounts += [{**_mount("keys", KEY_DIR), "readOnly": True}] if wish.credentials else []
    return {
        **_container(SCORING, scoring_image(deployment, wish.models, wish.images), "serve", wish),
        "env": _environment({**_model_environment(wish), **_serving_environment(deployment, wish)}),
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "resources": _resources(aks, aks.resources.accelerators or {}),
        "volumeMounts": mounts,
        "startupProbe": {
            "httpGet": ready,
            "periodSeconds": 1,
            "timeoutSeconds": 2,
            "failureThreshold": init_timeout + _STARTUP_SLACK_SECONDS,
        },
        "readinessProbe": {"httpGet": ready, "periodSeconds": 5, "timeoutSeconds": 2, "failureThreshold": 2},
        # Generous: a busy server must not be killed for being busy.
        "livenessProbe": {"httpGet": live, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 6},
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP_SECONDS}}},
    }


def _container(name: str, image: str, verb: str, wish: Wish) -> dict[str, Any]:
    return {
        "name": name,
        "image": image,
        "imagePullPolicy": wish.images.pull_policy,
        "command": ["scoring-server", verb],
        "securityContext": {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        # A crash before the server can write its own account leaves at least its last words.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }


def _model_environment(wish: Wish) -> dict[str, str]:
    models = [
        {"name": m.name, "version": str(m.version), "uri": m.uri, "digest": m.digest, "format": m.format.value}
        for m in wish.models
    ]
    return {
        "SCORING_MODELS": json.dumps(models, separators=(",", ":"), ensure_ascii=False),
        "SCORING_MODELS_ROOT": MODELS_ROOT,
        "SCORING_SOURCES_ROOT": sources.SOURCES_ROOT,
    }


def _serving_environment(deployment: ModelDeployment, wish: Wish) -> dict[str, str]:
    scoring = deployment.spec.scoring
    only = wish.models[0] if len(wish.models) == 1 else None
    values = {
        "AZUREML_MODEL_DIR": f"{MODELS_ROOT}/{only.name}/{only.version}" if only else MODELS_ROOT,
        "SCORING_TIMEOUT_MS": str(scoring.timeout_ms),
        "SCORING_MAX_CONCURRENT_REQUESTS": str(scoring.max_concurrent_requests),
        "SCORING_MAX_QUEUE_WAIT_MS": str(scoring.max_queue_wait_ms),
        "SCORING_INIT_TIMEOUT_SECONDS": str(scoring.init_timeout_seconds),
        "SCORING_AUTH_MODE": deployment.spec.auth.mode.value,
    }
    if wish.code:
        values |= {"AML_APP_ROOT": CODE_ROOT, "AZUREML_ENTRY_SCRIPT": wish.code.entry_script}
    if wish.credentials:
        values |= {"SCORING_KEY_DIR": KEY_DIR}
    return values


def _environment(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in values.items()]


def _resources(aks: Aks, accelerators: Mapping[str, int]) -> dict[str, Any]:
    extended = {name: str(count) for name, count in accelerators.items()}
    limits = {"memory": memory_limit(aks), **extended}
    if aks.resources.cpu_limit:
        limits["cpu"] = aks.resources.cpu_limit
    return {"requests": {"cpu": aks.resources.cpu, "memory": aks.resources.memory, **extended}, "limits": limits}


def _mount(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "mountPath": path}


def _volumes(deployment: ModelDeployment, wish: Wish) -> list[Document]:
    volumes: list[Document] = [{"name": "models", "emptyDir": {}}, {"name": "tmp", "emptyDir": {}}]
    if wish.code:
        volumes.append({"name": "code", "configMap": {"name": names.code_config_map(deployment, wish.code.digest)}})
    if wish.credentials:
        # Readable by the pod's group alone, which fsGroup makes the server's.
        secret = {"secretName": wish.credentials.secret_name, "defaultMode": 0o440}
        volumes.append({"name": "keys", "secret": secret})
    return volumes


def _scheduling(aks: Aks) -> dict[str, Any]:
    tolerations = [t.model_dump(mode="json", by_alias=True, exclude_none=True) for t in aks.tolerations or ()]
    wanted = {
        "nodeSelector": dict(aks.node_selector or {}),
        # The API server leaves out empty strings, so sending them would look like a difference for ever.
        "tolerations": [{name: value for name, value in t.items() if value != ""} for t in tolerations],
        "priorityClassName": aks.priority_class_name,
    }
    return {name: value for name, value in wanted.items() if value}
