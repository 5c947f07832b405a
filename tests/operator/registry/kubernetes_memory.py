"""A small Kubernetes in memory for the registry's tests: it stores, refuses doubles, and records every call."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.cluster import AlreadyExists
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import CONFIG_MAP, MODEL_DEPLOYMENT, MODEL_VERSION, POD, Document, Key, key_of
from modeldeploy_operator.core.facts import Images, ResolvedModel
from modeldeploy_operator.errors import ReconcileError
from modeldeploy_operator.registry.cluster import ClusterRegistry
from modeldeploy_operator.registry.port import Resolution
from modeldeploy_operator.store import Store

NAMESPACE = "ml"
NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DIGEST_A = "sha256:" + "a" * 64
DIGEST_B = "sha256:" + "b" * 64
IMAGES = Images("registry.test/lean:1", "registry.test/sklearn:1", "IfNotPresent")


class Clock:
    """Time that moves only when it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


class Kubernetes:
    """The API server's truth and the operator's store of it. With `lagging` the store hears nothing until `sync`."""

    def __init__(self) -> None:
        self.store = Store([POD, MODEL_VERSION, CONFIG_MAP, MODEL_DEPLOYMENT], indexed_labels=(names.MODEL_LABEL,))
        self.objects: dict[Key, Document] = {}
        self.calls: list[tuple[str, str]] = []
        self.refusals: dict[str, ReconcileError] = {}
        self.lagging = False
        self._counter = 0

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [call for call in self.calls if call[0] != "get"]

    async def create(self, document: Document) -> Document:
        key = key_of(document)
        self._called("create", key)
        if key in self.objects:
            raise AlreadyExists("AlreadyExists", f"{key} exists")
        return self.put(document)

    async def get(self, key: Key) -> Document | None:
        self._called("get", key)
        return copy.deepcopy(self.objects.get(key))

    async def delete(self, key: Key, uid: str | None = None) -> None:
        self._called("delete", key)
        stored = self.objects.get(key)
        if stored is not None and uid in (None, stored["metadata"]["uid"]):
            self.remove(key)

    def put(self, document: Document) -> Document:
        """Store an object as somebody else would write it."""
        document = copy.deepcopy(document)
        self._counter += 1
        metadata = document["metadata"]
        metadata.setdefault("uid", f"uid-{self._counter}")
        metadata.setdefault("creationTimestamp", "2026-03-01T12:00:00Z")
        metadata["resourceVersion"] = str(self._counter)
        self.objects[key_of(document)] = document
        if not self.lagging:
            self.store.put(key_of(document), document)
        return copy.deepcopy(document)

    def remove(self, key: Key) -> None:
        gone = self.objects.pop(key)
        if not self.lagging:
            self.store.discard(key, gone["metadata"]["uid"])

    def sync(self) -> None:
        """Let the store hear of everything."""
        for kind in (POD, MODEL_VERSION, CONFIG_MAP):
            for key in list(self.store.keys(kind)):
                stored = self.store.get(key)
                if stored is not None and key not in self.objects:
                    self.store.discard(key, stored["metadata"]["uid"])
        for key, document in self.objects.items():
            self.store.put(key, document)

    def pods(self) -> list[Document]:
        return [document for key, document in sorted(self.objects.items()) if key.kind == POD]

    def versions(self) -> dict[str, Document]:
        return {key.name: document for key, document in sorted(self.objects.items()) if key.kind == MODEL_VERSION}

    def set_status(self, pod: Document, status: dict[str, Any]) -> None:
        """What a kubelet or scheduler writes."""
        current = self.objects[key_of(pod)]
        self.put({**current, "status": status})

    def _called(self, verb: str, key: Key) -> None:
        self.calls.append((verb, key.kind.kind))
        refusal = self.refusals.get(f"{verb} {key.kind.kind}")
        if refusal is not None:
            raise refusal


class Scene:
    """One deployment, its registry, and what the reconciler does with the registry's answers."""

    def __init__(self, *models: dict[str, Any], kubernetes: Kubernetes | None = None, name: str = "weather") -> None:
        self.kubernetes = kubernetes or Kubernetes()
        self.clock = Clock()
        self.images = IMAGES
        self.document: Document = deployment_document(*models, name=name)

    @property
    def registry(self) -> ClusterRegistry:
        """A new life each time: nothing may be kept in memory."""
        kubernetes: Any = self.kubernetes
        return ClusterRegistry(kubernetes, self.kubernetes.store, self.images, self.clock)

    @property
    def deployment(self) -> ModelDeployment:
        return ModelDeployment.model_validate(self.document)

    async def resolve(self) -> Resolution:
        return await self.registry.resolve(self.deployment)

    async def resolve_and_report(self) -> Resolution:
        """One pass of the reconciler, as far as models go."""
        resolution = await self.resolve()
        if not isinstance(resolution.models, ReconcileError):
            self.remember(*resolution.models)
        return resolution

    def remember(self, *models: ResolvedModel) -> None:
        entries = [
            {
                "name": model.name,
                "version": str(model.version),
                "digest": model.digest,
                "uri": model.uri,
                "format": model.format.value,
                "request": model.request,
            }
            for model in models
        ]
        self.document = {**self.document, "status": {"models": entries}}

    def respec(self, *models: dict[str, Any]) -> None:
        self.document = {**self.document, "spec": {**self.document["spec"], "models": list(models)}}

    def annotate(self, **annotations: str) -> None:
        metadata = {**self.document["metadata"], "annotations": annotations}
        self.document = {**self.document, "metadata": metadata}

    async def register(self, digest: str = DIGEST_A, **report: Any) -> Resolution:
        """From nothing to a remembered version."""
        await self.resolve()
        for pod in self.kubernetes.pods():
            self.kubernetes.set_status(pod, succeeded(digest, **report))
        resolution = await self.resolve_and_report()
        await self.resolve()
        return resolution


def deployment_document(*models: dict[str, Any], name: str = "weather") -> Document:
    return {
        "metadata": {"name": name, "namespace": NAMESPACE, "uid": f"{name}-uid", "generation": 1},
        "spec": {"models": list(models), "target": {"aks": {}}},
    }


def model(name: str = "svc", uri: str = "https://models.test/svc.onnx", **fields: Any) -> dict[str, Any]:
    source = {"uri": uri, **fields.pop("source", {})}
    return {"name": name, "source": source, **fields}


def config_map(name: str) -> Document:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": NAMESPACE}}


def version_document(name: str, number: int, digest: str = DIGEST_A, **spec: Any) -> Document:
    return {
        "apiVersion": MODEL_VERSION.api_version,
        "kind": MODEL_VERSION.kind,
        "metadata": {
            "name": f"{name}-{number}",
            "namespace": NAMESPACE,
            "labels": {names.MODEL_LABEL: name},
        },
        "spec": {
            "model": name,
            "version": number,
            "digest": digest,
            "uri": "https://models.test/old.onnx",
            "format": "ONNX",
            "sizeBytes": 7,
            **spec,
        },
    }


def succeeded(digest: str = DIGEST_A, **report: Any) -> dict[str, Any]:
    message = {"digest": digest, "sizeBytes": 7, "format": "ONNX", "files": 1, "signature": None, **report}
    return {"phase": "Succeeded", **_terminated(0, json.dumps(message), NOW)}


def failed(
    reason: str = "SourceNotFound", message: str = "there is no svc.onnx", at: datetime = NOW, **report: Any
) -> dict[str, Any]:
    account = {"phase": "Fetch", "reason": reason, "message": message, "exception": None, "listing": [], **report}
    return {"phase": "Failed", **_terminated(10, json.dumps(account), at)}


def _terminated(code: int, message: str, at: datetime) -> dict[str, Any]:
    stamp = at.isoformat().replace("+00:00", "Z")
    state = {"terminated": {"exitCode": code, "reason": "Error", "message": message, "finishedAt": stamp}}
    return {"containerStatuses": [{"name": "register", "state": state}]}
