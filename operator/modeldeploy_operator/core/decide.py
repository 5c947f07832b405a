"""From what should be and what is to what must be done. An idle object yields nothing at all.

Two things that a field-by-field comparison cannot see are handled here: fields that an earlier desired document had
and the present one lacks (the `applied` annotation), and `replicas`, which never travels in an applied document
(decision 0006).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.core import names
from modeldeploy_operator.core.comparison import satisfied
from modeldeploy_operator.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    Document,
    Key,
    Kind,
    key_of,
)
from modeldeploy_operator.core.facts import Observed
from modeldeploy_operator.errors import Stalled


@dataclass(frozen=True)
class Apply:
    """Server-side apply `document`.

    `force` is false for an object that the cache does not have: one that somebody else made in the meantime then
    answers with a conflict, instead of being taken over.
    """

    document: Document
    force: bool = True


@dataclass(frozen=True)
class Scale:
    """Set spec.replicas of a Deployment by a merge patch, which leaves server-side apply's ownership alone."""

    key: Key
    replicas: int


@dataclass(frozen=True)
class Delete:
    """Remove an object that is ours and no longer desired."""

    key: Key


Action = Apply | Scale | Delete


def decide(
    desired: Sequence[Document], observed: Observed, owner_uid: str, managed_kinds: Sequence[Kind]
) -> tuple[Action, ...]:
    """What brings `observed` to `desired`, in the order in which it must be done.

    `desired` must be complete: an observed child of `managed_kinds` that is not in it and belongs to `owner_uid` is
    deleted. Raises Stalled where a name is taken by an object that is not ours.
    """
    wanted = {key_of(document): document for document in desired}
    applies = tuple(_applies(wanted, observed, owner_uid))
    deletes = tuple(_deletes(wanted, observed, owner_uid, managed_kinds))
    # Last of all: an autoscaler that is going away must not undo it.
    return (*applies, *deletes, *_scales(wanted, observed))


def stamped(document: Document) -> Document:
    """The document as it is applied: without replicas, and with the hash of itself.

    Server-side apply takes away what a document no longer says, but only when it is applied; the changed hash is what
    tells that it must be.
    """
    body = _without_replicas(document)
    metadata = body["metadata"]
    annotations = {**metadata.get("annotations", {}), names.APPLIED_ANNOTATION: names.short_hash(body)}
    return {**body, "metadata": {**metadata, "annotations": annotations}}


def _applies(wanted: dict[Key, Document], observed: Observed, owner_uid: str) -> Iterator[Apply]:
    for key, document in wanted.items():
        found = observed.get(key)
        applied = stamped(document)
        if found is None:
            yield Apply(applied, force=False)
        elif not _ours(found, document, owner_uid):
            raise Stalled(
                "NameTaken",
                f"{key.kind.kind} {key.name} exists already and was not made for this ModelDeployment:"
                " delete or rename it, or give the ModelDeployment another name.",
            )
        elif not _terminating(found) and not satisfied(applied, found):
            yield Apply(applied)


def _deletes(
    wanted: dict[Key, Document], observed: Observed, owner_uid: str, managed_kinds: Sequence[Kind]
) -> Iterator[Delete]:
    superfluous = sorted(key for key in observed if key.kind in managed_kinds and key not in wanted)
    for key in superfluous:
        document = observed[key]
        if _owned(document, owner_uid) and not _terminating(document) and not _in_use(key, observed):
            yield Delete(key)


def _scales(wanted: dict[Key, Document], observed: Observed) -> Iterator[Scale]:
    for key, document in wanted.items():
        if key.kind != DEPLOYMENT:
            continue
        found = observed.get(key)
        fixed = document["spec"].get("replicas")
        if fixed is not None:
            present = 1 if found is None else found.get("spec", {}).get("replicas", 1)
            if present != fixed:
                yield Scale(key, fixed)
        elif found is None:
            # The API's default is 1: without this a Deployment that comes back would climb from there.
            autoscaler = wanted.get(Key(AUTOSCALER, key.namespace, key.name))
            least = autoscaler["spec"].get("minReplicas", 1) if autoscaler else 1
            if least > 1:
                yield Scale(key, least)


def _without_replicas(document: Document) -> Document:
    if document["kind"] != DEPLOYMENT.kind or "replicas" not in document["spec"]:
        return document
    return {**document, "spec": {name: value for name, value in document["spec"].items() if name != "replicas"}}


def _owned(document: Document, owner_uid: str) -> bool:
    references = document["metadata"].get("ownerReferences") or ()
    return any(reference.get("uid") == owner_uid for reference in references)


def _ours(found: Document, document: Document, owner_uid: str) -> bool:
    """Made for this deployment, for the same owner as desired, or for a deployment of this name that is no more."""
    owners = [owner_uid, *(reference["uid"] for reference in document["metadata"].get("ownerReferences") or ())]
    labels = found["metadata"].get("labels") or {}
    return any(_owned(found, uid) for uid in owners) or labels.get(names.MANAGED_BY) == names.FIELD_MANAGER


def _terminating(document: Document) -> bool:
    return document["metadata"].get("deletionTimestamp") is not None


def _in_use(key: Key, observed: Observed) -> bool:
    """A ConfigMap that a living pod, or one that may still be made, mounts."""
    if key.kind != CONFIG_MAP:
        return False
    return any(
        volume.get("configMap", {}).get("name") == key.name
        for other, document in observed.items()
        for volume in _volumes(other.kind, document)
    )


def _volumes(kind: Kind, document: Document) -> Sequence[dict[str, Any]]:
    spec: dict[str, Any] = document.get("spec", {})
    if kind == REPLICA_SET and not (spec.get("replicas", 1) or document.get("status", {}).get("replicas", 0)):
        return ()
    if kind in (REPLICA_SET, DEPLOYMENT):
        spec = spec.get("template", {}).get("spec", {})
    elif kind != POD:
        return ()
    return spec.get("volumes") or ()
