"""Ports that keep what they are told in memory and write down each call, for tests of what is built on ports."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from modeldeploy_operator.api.v1alpha1 import ModelDeployment, ModelFormat
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import DEPLOYMENT, MODEL_DEPLOYMENT, POD, Document, Key, Kind, key_of
from modeldeploy_operator.core.facts import Credentials, Failure, Observed, ResolvedModel, ScoringCode
from modeldeploy_operator.errors import ReconcileError, Stalled
from modeldeploy_operator.registry.port import Resolution
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS

UID = "uid-of-weather"
KEY = Key(MODEL_DEPLOYMENT, "ml", "weather")
MODEL = ResolvedModel("svc", 1, "sha256:" + "a" * 64, "http://models.test/svc.onnx", ModelFormat.ONNX, "0123456789")
CREDENTIALS = Credentials("weather-keys", "uid-of-secret", "aaaaaaaaaaaa", "bbbbbbbbbbbb", owned=True)


def deployment_document(**changes: Any) -> Document:
    """A small ModelDeployment as the store holds it."""
    spec = {"models": [{"name": "svc", "version": "1"}], "target": {"aks": {}}, **changes.pop("spec", {})}
    metadata = {
        "name": "weather", "namespace": "ml", "uid": UID, "generation": 1, "resourceVersion": "1",
        **changes.pop("metadata", {}),
    }  # fmt: skip
    kind = {"apiVersion": MODEL_DEPLOYMENT.api_version, "kind": MODEL_DEPLOYMENT.kind}
    return {**kind, "metadata": metadata, "spec": spec, **changes}


def deployment(**changes: Any) -> ModelDeployment:
    """The same, parsed."""
    return ModelDeployment.model_validate(deployment_document(**changes))


class RecordingPort:
    """A target in memory. `refusals` are raised by the next call about that kind."""

    managed_kinds: tuple[Kind, ...] = MANAGED_KINDS

    def __init__(self) -> None:
        self.objects: dict[Key, Document] = {}
        self.calls: list[tuple[str, str]] = []
        self.refusals: dict[Kind, Exception] = {}

    def observe(self, deployment: ModelDeployment) -> Observed:
        label = deployment.metadata.name
        return {
            key: copy.deepcopy(document)
            for key, document in self.objects.items()
            if key.namespace == deployment.metadata.namespace
            and document["metadata"]["labels"].get(names.DEPLOYMENT_LABEL) == label
        }

    async def apply(self, document: Document) -> None:
        self._call("apply", key_of(document))
        self._keep(document)

    async def create(self, document: Document) -> None:
        key = key_of(document)
        self._call("create", key)
        found = self.objects.get(key)
        if found is not None and found["metadata"].get("ownerReferences") != document["metadata"]["ownerReferences"]:
            raise Stalled("NameTaken", f"{key.kind.kind} {key.name} exists already")
        self._keep(document)

    async def scale(self, key: Key, replicas: int) -> None:
        self._call("scale", key)
        self.objects[key]["spec"]["replicas"] = replicas

    async def delete(self, key: Key) -> None:
        self._call("delete", key)
        self.objects.pop(key, None)

    def _call(self, verb: str, key: Key) -> None:
        self.calls.append((verb, key.kind.kind))
        if key.kind in self.refusals:
            raise self.refusals[key.kind]

    def _keep(self, document: Document) -> None:
        self.objects[key_of(document)] = copy.deepcopy(document)

    # ---- what the cluster does

    def roll_out(self) -> None:
        """What the controllers and the kubelet make of the Deployment: one ready replica."""
        workload = next(document for key, document in self.objects.items() if key.kind == DEPLOYMENT)
        counts = dict.fromkeys(("replicas", "readyReplicas", "updatedReplicas", "availableReplicas"), 1)
        workload["status"] = {**counts, "observedGeneration": workload["metadata"].get("generation", 0)}
        template = copy.deepcopy(workload["spec"]["template"])
        pod = {
            "apiVersion": "v1", "kind": "Pod", "spec": template["spec"],
            "metadata": {"name": "weather-1", "namespace": "ml", **template["metadata"]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
        }  # fmt: skip
        self.objects[Key(POD, "ml", "weather-1")] = pod


@dataclass
class FixedRegistry:
    """Yields what it is told to."""

    models: tuple[ResolvedModel, ...] | ReconcileError = (MODEL,)
    failure: Failure | None = None
    retry_after: float | None = None
    asked: int = 0
    bug: Exception | None = None

    async def resolve(self, deployment: ModelDeployment) -> Resolution:
        self.asked += 1
        if self.bug is not None:
            raise self.bug
        return Resolution(self.models, self.failure, self.retry_after)


@dataclass
class FixedKeys:
    """Yields what it is told to."""

    credentials: Credentials | ReconcileError | None = CREDENTIALS
    forgotten: list[str] = field(default_factory=list)

    async def ensure(self, deployment: ModelDeployment) -> Credentials | None:
        if isinstance(self.credentials, ReconcileError):
            raise self.credentials
        return self.credentials

    def forget(self, namespace: str, name: str) -> None:
        self.forgotten.append(name)


@dataclass
class FixedCode:
    """Yields what it is told to."""

    code: ScoringCode | ReconcileError | None = None

    async def resolve(self, deployment: ModelDeployment) -> ScoringCode | None:
        if isinstance(self.code, ReconcileError):
            raise self.code
        return self.code


@dataclass
class RecordingStatusWriter:
    """Keeps statuses and Events; puts a status into the object, as the API server would."""

    objects: dict[Key, Document]
    statuses: list[Document] = field(default_factory=list)
    events: list[Document] = field(default_factory=list)
    refusals: list[ReconcileError] = field(default_factory=list)
    prune: str | None = None

    async def apply_status(self, key: Key, uid: str, status: Document) -> Document | None:
        self.statuses.append(copy.deepcopy(status))
        if self.refusals:
            raise self.refusals.pop()
        if key not in self.objects:
            return None
        stored = {name: copy.deepcopy(value) for name, value in status.items() if name != self.prune}
        before = self.objects[key]
        version = str(int(before["metadata"]["resourceVersion"]) + 1)
        self.objects[key] = {**before, "metadata": {**before["metadata"], "resourceVersion": version}, "status": stored}
        return self.objects[key]

    async def create(self, document: Document) -> Document:
        self.events.append(document)
        return document
