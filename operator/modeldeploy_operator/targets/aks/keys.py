"""Sees to it that a deployment with key authentication has its keys Secret, without listing or watching Secrets.

A Secret is read once for each generation, and again when the PodDisruptionBudget that it owns disappears, which is
what the garbage collector does when the Secret is deleted (decision 0004). Keys are never logged, and stay in memory
only where the user wants them in status.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from modeldeploy_operator.api.v1alpha1 import AuthMode, ModelDeployment
from modeldeploy_operator.cluster import AlreadyExists
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import DISRUPTION_BUDGET, MODEL_DEPLOYMENT, SECRET, Document, Key
from modeldeploy_operator.core.facts import Credentials
from modeldeploy_operator.errors import Stalled, Unavailable, Waiting

PRIMARY = "primaryKey"
SECONDARY = "secondaryKey"
KEY_BYTES = 32
FINGERPRINT_DIGITS = 12
RECHECK_SECONDS = 30.0
"""A Secret that lacks a key is not watched: this often it is looked at again."""


class Vault(Protocol):
    """The part of Cluster that Secrets need."""

    async def get(self, key: Key) -> Document | None:
        """The object as it is now."""

    async def create(self, document: Document) -> Document:
        """POST; AlreadyExists where the name is taken."""


class Lookup(Protocol):
    """The part of Store that finds."""

    def get(self, key: Key) -> Document | None:
        """The object as the watch told it."""


@dataclass
class _Checked:
    uid: str
    generation: int
    credentials: Credentials
    guarded: bool = False


class KeyKeeper:
    """Creates the Secret where there is none, adopts what is there, and overwrites nothing."""

    def __init__(self, cluster: Vault, store: Lookup, entropy: Callable[[int], bytes]) -> None:
        self._cluster = cluster
        self._store = store
        self._entropy = entropy
        self._checked: dict[tuple[str, str], _Checked] = {}

    async def ensure(self, deployment: ModelDeployment) -> Credentials | None:
        """The credentials, None where spec.auth.mode is None. Raises only ReconcileError."""
        place = (deployment.metadata.namespace, deployment.metadata.name)
        if deployment.spec.auth.mode is AuthMode.NONE:
            self._checked.pop(place, None)
            return None
        if (checked := self._still_good(place, deployment)) is not None:
            return checked.credentials
        self._checked.pop(place, None)
        credentials = await self._look(deployment)
        metadata = deployment.metadata
        self._checked[place] = _Checked(metadata.uid, metadata.generation, credentials)
        return credentials

    def forget(self, namespace: str, name: str) -> None:
        """The deployment is gone."""
        self._checked.pop((namespace, name), None)

    def _still_good(self, place: tuple[str, str], deployment: ModelDeployment) -> _Checked | None:
        checked = self._checked.get(place)
        if checked is None or (checked.uid, checked.generation) != (
            deployment.metadata.uid,
            deployment.metadata.generation,
        ):
            return None
        guard = self._store.get(Key(DISRUPTION_BUDGET, *place))
        if guard is None and checked.guarded:
            return None  # the garbage collector took it, so the Secret may be gone
        checked.guarded = checked.guarded or guard is not None
        return checked

    async def _look(self, deployment: ModelDeployment) -> Credentials:
        key = Key(SECRET, deployment.metadata.namespace, names.keys_secret(deployment))
        # Status tells whether it has been made: a new deployment then costs one call, and a restart no write.
        found = await self._cluster.get(key) if deployment.status.get("auth") else None
        if found is None:
            try:
                found = await self._cluster.create(self._document(deployment, key))
            except AlreadyExists as race:
                found = await self._cluster.get(key)
                if found is None:
                    raise Unavailable("Conflict", f"{key} came and went meanwhile.") from race
        return credentials_of(deployment, key, found)

    def _document(self, deployment: ModelDeployment, key: Key) -> Document:
        return {
            "apiVersion": SECRET.api_version,
            "kind": SECRET.kind,
            "metadata": {
                "name": key.name,
                "namespace": key.namespace,
                "labels": names.labels(deployment),
                "ownerReferences": [names.owner_reference(deployment)],
            },
            "type": "Opaque",
            "data": {
                PRIMARY: base64.b64encode(self._new_key()).decode(),
                SECONDARY: base64.b64encode(self._new_key()).decode(),
            },
        }

    def _new_key(self) -> bytes:
        return base64.urlsafe_b64encode(self._entropy(KEY_BYTES)).rstrip(b"=")


def credentials_of(deployment: ModelDeployment, key: Key, secret: Document) -> Credentials:
    """What status may tell of a Secret. Waiting where it is about to go, or lacks a key."""
    owner = _controller(secret)
    owned = owner.get("uid") == deployment.metadata.uid
    namesake = owner.get("kind") == MODEL_DEPLOYMENT.kind and owner.get("name") == deployment.metadata.name
    if secret["metadata"].get("deletionTimestamp") or (namesake and not owned):
        message = f"Secret {key.name} of a deleted ModelDeployment of this name is still being removed."
        raise Waiting("KeysSecretTerminating", message, retry_after=1.0)
    primary, secondary = _value(key, secret, PRIMARY), _value(key, secret, SECONDARY)
    published = deployment.spec.auth.publish_keys_in_status
    return Credentials(
        secret_name=key.name,
        secret_uid=str(secret["metadata"]["uid"]),
        primary_fingerprint=_fingerprint(primary),
        secondary_fingerprint=_fingerprint(secondary),
        owned=owned,
        primary=_text(key, PRIMARY, primary) if published else None,
        secondary=_text(key, SECONDARY, secondary) if published else None,
    )


def _controller(secret: Document) -> dict[str, Any]:
    references = secret["metadata"].get("ownerReferences") or ()
    return next((reference for reference in references if reference.get("controller")), {})


def _value(key: Key, secret: Document, name: str) -> bytes:
    try:
        value = base64.b64decode((secret.get("data") or {}).get(name) or "", validate=True).strip()
    except ValueError:
        value = b""
    if not value:
        raise Waiting(
            "KeysSecretInvalid",
            f"Secret {key.name} has no {name}: it must hold {PRIMARY} and {SECONDARY}, neither of them empty.",
            retry_after=RECHECK_SECONDS,
        )
    return value


def _text(key: Key, name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        message = f"{name} of Secret {key.name} is not UTF-8 text, so spec.auth.publishKeysInStatus cannot show it."
        raise Stalled("KeysSecretInvalid", message) from error


def _fingerprint(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()[:FINGERPRINT_DIGITS]
