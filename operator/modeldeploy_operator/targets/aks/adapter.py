"""The target's children in the cluster: looked up in the store, written through the cluster's door.

Which of them should exist, and with what in them, is decided elsewhere. Nothing here takes over an object that
somebody else made.
"""

from __future__ import annotations

from typing import Protocol

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.cluster import AlreadyExists
from modeldeploy_operator.core.documents import (
    DEPLOYMENT,
    MODEL_DEPLOYMENT,
    POD,
    REPLICA_SET,
    Document,
    Key,
    Kind,
    key_of,
)
from modeldeploy_operator.core.facts import Observed
from modeldeploy_operator.core.names import DEPLOYMENT_LABEL
from modeldeploy_operator.errors import Stalled, Waiting
from modeldeploy_operator.store import Store, owners_of, uid_of
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS


class Writer(Protocol):
    """The part of Cluster that children need."""

    async def get(self, key: Key) -> Document | None:
        """The object as it is now."""

    async def apply(self, document: Document) -> Document:
        """Server-side apply by force."""

    async def apply_new(self, document: Document) -> Document:
        """Server-side apply of what must not exist; AlreadyExists otherwise."""

    async def merge(self, key: Key, patch: Document) -> Document:
        """JSON merge patch."""

    async def delete(self, key: Key, uid: str | None = None) -> None:
        """Remove one object."""


class AksPort:
    """The Port of the target `aks`."""

    managed_kinds: tuple[Kind, ...] = MANAGED_KINDS

    def __init__(self, cluster: Writer, store: Store) -> None:
        self._cluster = cluster
        self._store = store

    def observe(self, deployment: ModelDeployment) -> Observed:
        """What carries the deployment's label and does not belong to one that was deleted under the same name."""
        namespace, uid = deployment.metadata.namespace, deployment.metadata.uid
        label = {DEPLOYMENT_LABEL: deployment.metadata.name}
        observed: dict[Key, Document] = {}
        for kind in self.managed_kinds:
            for child in self._store.select(kind, namespace, label):
                if _former_owner(child, uid) is None:
                    observed[key_of(child)] = child
        deployments = {uid_of(child) for key, child in observed.items() if key.kind == DEPLOYMENT}
        sets = self._of(REPLICA_SET, namespace, label, deployments)
        pods = self._of(POD, namespace, label, {uid, *map(uid_of, sets.values())})
        return {**observed, **sets, **pods}

    async def apply(self, document: Document) -> None:
        """Force our fields upon a child of ours."""
        await self._cluster.apply(document)

    async def create(self, document: Document) -> None:
        """Bring a child about that the store does not have. What is there already must be ours, or stays as it is."""
        try:
            await self._cluster.apply_new(document)
        except AlreadyExists:
            await self._claim(document)

    async def scale(self, key: Key, replicas: int) -> None:
        """Set the number of replicas once, without owning it."""
        await self._cluster.merge(key, {"spec": {"replicas": replicas}})

    async def delete(self, key: Key) -> None:
        """Remove the object that was observed, not one that has taken its name since."""
        found = self._store.get(key)
        await self._cluster.delete(key, uid=uid_of(found) if found else None)

    def _of(self, kind: Kind, namespace: str, label: dict[str, str], owners: set[str]) -> dict[Key, Document]:
        found = self._store.select(kind, namespace, label)
        return {key_of(child): child for child in found if not owners.isdisjoint(owners_of(child))}

    async def _claim(self, document: Document) -> None:
        key = key_of(document)
        found = await self._cluster.get(key)
        if found is None:
            raise Waiting("NameTaken", f"{key} was there a moment ago.", retry_after=1.0)
        ours = set(owners_of(document))
        if not ours.isdisjoint(owners_of(found)):
            await self._cluster.apply(document)  # made before a restart, and not told by the watch yet
            return
        uid = next(iter(ours), "")
        if found["metadata"].get("deletionTimestamp") or _former_owner(found, uid) is not None:
            message = f"{key.kind.kind} {key.name} of a deleted ModelDeployment of this name is still being removed."
            raise Waiting("NameTaken", message, retry_after=1.0)
        raise Stalled(
            "NameTaken",
            f"{key.kind.kind} {key.name} exists already and was not made for this ModelDeployment:"
            " delete or rename it, or give the ModelDeployment another name.",
        )


def _former_owner(child: Document, uid: str) -> str | None:
    """The uid of another ModelDeployment that a child belongs to: one of the same name that was deleted."""
    for reference in child["metadata"].get("ownerReferences") or ():
        if reference.get("kind") == MODEL_DEPLOYMENT.kind and reference.get("uid") != uid:
            return str(reference.get("uid"))
    return None
