"""What the reconciler relies on in a Port, as one suite for every port, in memory or real.

A module that has a port to check subclasses `PortContract` and gives it a fixture `stage`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

import pytest
from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import DEPLOYMENT, SERVICE_ACCOUNT, Document, Key, key_of
from modeldeploy_operator.errors import Stalled
from modeldeploy_operator.targets.port import Port


class Stage(Protocol):
    """A port, a deployment that owns what it makes, and a way to make an object behind its back."""

    port: Port
    deployment: ModelDeployment

    async def put(self, document: Document) -> None:
        """Store an object as somebody else would."""

    async def stored(self, key: Key) -> Document | None:
        """The object as it truly is."""


def account(deployment: ModelDeployment, **fields: Any) -> Document:
    """A small child."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {
            "name": deployment.metadata.name,
            "namespace": deployment.metadata.namespace,
            "labels": names.labels(deployment),
            "ownerReferences": [names.owner_reference(deployment)],
        },
        "automountServiceAccountToken": False,
        **fields,
    }


def workload(deployment: ModelDeployment) -> Document:
    """A child that can be scaled."""
    labels = names.labels(deployment)
    pod = {"containers": [{"name": "c", "image": "registry.test/none:1"}]}
    return {
        "metadata": account(deployment)["metadata"],
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


async def seen(check: Callable[[], bool]) -> None:
    """What a port does takes effect in a later observe."""
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


class PortContract:
    """The suite."""

    async def test_what_was_created_is_observed(self, stage: Stage) -> None:
        document = account(stage.deployment)
        await stage.port.create(document)
        await seen(lambda: key_of(document) in stage.port.observe(stage.deployment))

    async def test_creating_twice_is_one_object(self, stage: Stage) -> None:
        document = account(stage.deployment)
        await stage.port.create(document)
        first = await stage.stored(key_of(document))
        await stage.port.create(document)
        again = await stage.stored(key_of(document))
        assert first is not None
        assert again is not None
        assert first["metadata"].get("uid") == again["metadata"].get("uid")

    async def test_applying_changes_what_is_there(self, stage: Stage) -> None:
        await stage.port.create(account(stage.deployment))
        changed = account(stage.deployment, automountServiceAccountToken=True)
        await stage.port.apply(changed)
        key = key_of(changed)
        await seen(lambda: stage.port.observe(stage.deployment)[key]["automountServiceAccountToken"] is True)

    async def test_what_was_deleted_is_not_observed(self, stage: Stage) -> None:
        document = account(stage.deployment)
        await stage.port.create(document)
        await stage.port.delete(key_of(document))
        await seen(lambda: key_of(document) not in stage.port.observe(stage.deployment))
        assert await stage.stored(key_of(document)) is None

    async def test_deleting_what_is_gone_is_a_success(self, stage: Stage) -> None:
        metadata = stage.deployment.metadata
        await stage.port.delete(Key(SERVICE_ACCOUNT, metadata.namespace, metadata.name))

    async def test_an_object_of_somebody_else_stays_as_it_is(self, stage: Stage) -> None:
        theirs = account(stage.deployment, automountServiceAccountToken=True)
        theirs["metadata"] = {k: theirs["metadata"][k] for k in ("name", "namespace")} | {"labels": {"app": "theirs"}}
        await stage.put(theirs)
        before = await stage.stored(key_of(theirs))
        with pytest.raises(Stalled) as caught:
            await stage.port.create(account(stage.deployment))
        assert caught.value.reason == "NameTaken"
        assert await stage.stored(key_of(theirs)) == before

    async def test_the_replicas_of_a_workload_can_be_set(self, stage: Stage) -> None:
        document = workload(stage.deployment)
        await stage.port.create(document)
        key = Key(DEPLOYMENT, stage.deployment.metadata.namespace, stage.deployment.metadata.name)
        await stage.port.scale(key, 3)
        await seen(lambda: stage.port.observe(stage.deployment)[key]["spec"].get("replicas") == 3)
