"""Which version bytes and metadata are, and the ModelVersion document that says so. Pure.

Identity of a version: digest, format, description, tags and lineage. Not the URI: the same bytes in two places are
the same version.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.api.v1alpha1 import Model, ModelFormat
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import MODEL_VERSION, Document
from modeldeploy_operator.errors import Waiting

from .request import Remembered

_IDENTITY = ("digest", "format", "description", "tags", "lineage")
_NAMED_AT_MOST = 10


@dataclass(frozen=True)
class Content:
    """What a registration pod found out about the bytes."""

    digest: str
    format: ModelFormat
    size_bytes: int
    signature: dict[str, Any] | None = None


def content_spec(model: Model, content: Content) -> dict[str, Any]:
    """The ModelVersion's spec without its number: the part that does not depend on what else is registered."""
    assert model.source is not None
    entry = model.model_dump(mode="json", by_alias=True, exclude_none=True, include={"description", "tags", "lineage"})
    spec: dict[str, Any] = {
        "model": model.name,
        "digest": content.digest,
        "uri": model.source.uri,
        "format": content.format.value,
        "sizeBytes": content.size_bytes,
        **entry,
    }
    return spec if content.signature is None else {**spec, "signature": content.signature}


def document(namespace: str, spec: dict[str, Any], number: int) -> Document:
    """The ModelVersion to create. It has no owner: it outlives every ModelDeployment."""
    return {
        "apiVersion": MODEL_VERSION.api_version,
        "kind": MODEL_VERSION.kind,
        "metadata": {
            "name": names.version_object(spec["model"], number),
            "namespace": namespace,
            "labels": {names.MANAGED_BY: names.FIELD_MANAGER, names.MODEL_LABEL: spec["model"]},
        },
        "spec": {**spec, "version": number},
    }


def identity(spec: dict[str, Any]) -> tuple[Any, ...]:
    """What two registrations must have in common to be the same version. Empty and absent are the same."""
    return tuple(spec.get(name) or None for name in _IDENTITY)


def numbers(existing: Iterable[Document]) -> list[int]:
    return sorted(number(found) for found in existing)


def number(found: Document) -> int:
    return int(found["spec"]["version"])


def same(existing: Iterable[Document], spec: dict[str, Any]) -> Document | None:
    """The oldest version with this identity."""
    found = [candidate for candidate in existing if identity(candidate["spec"]) == identity(spec)]
    return min(found, key=number, default=None)


def following(existing: Iterable[Document], memory: Remembered | None) -> int:
    """The next number. One that status remembers is not given to other bytes, even if its object was deleted."""
    return max([0, memory.version if memory else 0, *numbers(existing)]) + 1


def chosen(existing: Sequence[Document], memory: Remembered | None, digest: str) -> int:
    """The number to try first for content that no existing version has."""
    if memory is not None and memory.digest == digest and memory.version not in numbers(existing):
        # Somebody deleted the object; the same bytes are the same version as before.
        return memory.version
    return following(existing, memory)


def not_found(name: str, wanted: str, namespace: str, existing: Iterable[Document]) -> Waiting:
    """A version that is asked for and does not exist, with those that do. Its arrival wakes the object."""
    have = numbers(existing)
    if not have:
        message = f"Model {name} has no registered version in namespace {namespace}; version {wanted} is asked for."
        return Waiting("VersionNotFound", message)
    shown = ", ".join(str(n) for n in have[-_NAMED_AT_MOST:])
    older = f" (and {len(have) - _NAMED_AT_MOST} older ones)" if len(have) > _NAMED_AT_MOST else ""
    message = f"Model {name} has no version {wanted} in namespace {namespace}; registered are {shown}{older}."
    return Waiting("VersionNotFound", message)
