"""What was asked of the registry, as a fingerprint, and what status remembers of the answer. Pure.

As long as status holds the fingerprint, the source is not read again (decision 0003).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.api.v1alpha1 import Model, ModelDeployment
from modeldeploy_operator.core import names


@dataclass(frozen=True)
class Remembered:
    """The version of a model that status.models names, and the request that led to it."""

    version: int
    digest: str
    request: str


@dataclass(frozen=True)
class Request:
    """One model of a deployment, what is asked about it now, and what status remembers about it."""

    deployment: ModelDeployment
    model: Model
    fingerprint: str
    memory: Remembered | None

    @property
    def namespace(self) -> str:
        return self.deployment.metadata.namespace

    @property
    def uri(self) -> str:
        return self.model.source.uri if self.model.source else ""

    @property
    def pod(self) -> str:
        """The name of the registration pod; it says what was asked, so it can be created twice only in vain."""
        return names.registration_pod(self.deployment, self.fingerprint)

    @property
    def answered(self) -> Remembered | None:
        """What is remembered, if it was the answer to this very request."""
        return self.memory if self.memory is not None and self.memory.request == self.fingerprint else None


def of(deployment: ModelDeployment, model: Model) -> Request:
    return Request(deployment, model, fingerprint(deployment, model), _remembered(deployment, model.name))


def fingerprint(deployment: ModelDeployment, model: Model) -> str:
    """Of one model's entry and the refresh annotation.

    Defaults are left out, so a field that a later release adds does not make a whole fleet read its sources again.
    """
    entry = model.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return names.short_hash([entry, deployment.metadata.annotations.get(names.REFRESH_ANNOTATION, "")])


def _remembered(deployment: ModelDeployment, name: str) -> Remembered | None:
    """What status says of the model, whatever was asked then."""
    models: list[dict[str, Any]] = deployment.status.get("models") or []
    for entry in models:
        if entry.get("name") == name:
            return Remembered(int(entry["version"]), entry["digest"], entry.get("request", ""))
    return None


def config_map_of(model: Model) -> str | None:
    """The ConfigMap that the model's source lies in, None for other sources."""
    scheme, rest = _split(model)
    return rest.split("/", 1)[0] if scheme == "configmap" else None


def claim_of(model: Model) -> str | None:
    """The PersistentVolumeClaim that the model's source lies in, None for other sources."""
    scheme, rest = _split(model)
    return rest.split("/", 1)[0] if scheme == "pvc" else None


def _split(model: Model) -> tuple[str, str]:
    if model.source is None:
        return "", ""
    scheme, _, rest = model.source.uri.partition("://")
    return scheme, rest
