"""The port contract, on the port in memory and on the AKS port over HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.apiserver import item_path
from modeldeploy_operator.cluster import Cluster
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import (
    POD,
    REPLICA_SET,
    SERVICE_ACCOUNT,
    Document,
    Key,
    Kind,
    key_of,
)
from modeldeploy_operator.errors import Waiting
from modeldeploy_operator.store import Store
from modeldeploy_operator.targets.aks.adapter import AksPort
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS

from tests.operator.recording import UID, RecordingPort, deployment
from tests.operator.small_api_server import SmallApiServer, connected, running
from tests.operator.targets.port_contract import PortContract, account, workload


@dataclass
class MemoryStage:
    port: RecordingPort = field(default_factory=RecordingPort)
    deployment: ModelDeployment = field(default_factory=deployment)

    async def put(self, document: Document) -> None:
        self.port.objects[key_of(document)] = document

    async def stored(self, key: Key) -> Document | None:
        return self.port.objects.get(key)


class TestThePortInMemory(PortContract):
    @pytest.fixture
    def stage(self) -> MemoryStage:
        return MemoryStage()


@dataclass
class HttpStage:
    server: SmallApiServer
    store: Store
    port: AksPort
    deployment: ModelDeployment = field(default_factory=deployment)

    async def put(self, document: Document) -> None:
        key = key_of(document)
        fields = {name: value for name, value in document.items() if name not in ("apiVersion", "kind")}
        self.server.put(key.kind, key.name, key.namespace, **fields)

    async def stored(self, key: Key) -> Document | None:
        return self.server.objects.get(item_path(key))

    def observed(self, kind: Kind, name: str, owner: str, **fields: Any) -> Document:
        """An object in the store, as the watch would have told it."""
        labels = {names.DEPLOYMENT_LABEL: "weather"}
        references = [{"kind": "Any", "uid": owner}] if owner else []
        metadata = {"labels": labels, "ownerReferences": references, **fields.pop("metadata", {})}
        document = self.server.put(kind, name, metadata=metadata, **fields)
        self.store.put(key_of(document), document)
        return document


@pytest.fixture
async def stage() -> AsyncIterator[HttpStage]:
    server = SmallApiServer()
    store = Store((*MANAGED_KINDS, POD, REPLICA_SET), indexed_labels=(names.DEPLOYMENT_LABEL,))
    async with running(server), connected(server) as client:
        yield HttpStage(server, store, AksPort(Cluster(client, store, may_write=lambda: None), store))


class TestTheAksPort(PortContract):
    """Over HTTP; test_ports_on_a_cluster.py has it on a real API server."""


async def test_pods_and_sets_are_observed_along_the_line_of_owners(stage: HttpStage) -> None:
    made = stage.observed(Kind("apps/v1", "Deployment", "deployments"), "weather", UID)
    mine = stage.observed(REPLICA_SET, "weather-1", made["metadata"]["uid"], spec={}, status={})
    stage.observed(REPLICA_SET, "foreign", "somebody")
    stage.observed(POD, "weather-1-a", mine["metadata"]["uid"], spec={}, status={})
    stage.observed(POD, "weather-register-1", UID, spec={}, status={})
    stage.observed(POD, "stranger", "somebody", spec={}, status={})
    found = {key.name for key in stage.port.observe(stage.deployment) if key.kind in (POD, REPLICA_SET)}
    assert found == {"weather-1", "weather-1-a", "weather-register-1"}


async def test_children_of_a_deleted_namesake_are_not_observed(stage: HttpStage) -> None:
    owner = {"ownerReferences": [{"kind": "ModelDeployment", "uid": "former", "controller": True}]}
    stage.observed(SERVICE_ACCOUNT, "weather", "", metadata=owner)
    assert dict(stage.port.observe(stage.deployment)) == {}


async def test_a_name_that_a_deleted_namesake_still_holds_is_waited_for(stage: HttpStage) -> None:
    owner = {"ownerReferences": [{"kind": "ModelDeployment", "uid": "former", "controller": True}]}
    stage.server.put(SERVICE_ACCOUNT, "weather", metadata=owner)
    with pytest.raises(Waiting) as caught:
        await stage.port.create(account(stage.deployment))
    assert caught.value.message == (
        "ServiceAccount weather of a deleted ModelDeployment of this name is still being removed."
    )
    assert caught.value.retry_after == 1.0


async def test_what_we_made_before_a_restart_is_taken_up_again(stage: HttpStage) -> None:
    ours = account(stage.deployment)
    stage.server.put(SERVICE_ACCOUNT, "weather", metadata={"ownerReferences": ours["metadata"]["ownerReferences"]})
    await stage.port.create(ours)
    found = await stage.stored(key_of(ours))
    assert found is not None
    assert found["automountServiceAccountToken"] is False


async def test_deleting_spares_what_has_taken_the_name_since(stage: HttpStage) -> None:
    stage.observed(SERVICE_ACCOUNT, "weather", UID)
    stage.server.remove(SERVICE_ACCOUNT, "weather")
    stage.server.put(SERVICE_ACCOUNT, "weather")
    await stage.port.delete(Key(SERVICE_ACCOUNT, "ml", "weather"))
    assert await stage.stored(Key(SERVICE_ACCOUNT, "ml", "weather")) is not None


async def test_scaling_leaves_the_owners_of_all_other_fields_alone(stage: HttpStage) -> None:
    await stage.port.create(workload(stage.deployment))
    await stage.port.scale(Key(Kind("apps/v1", "Deployment", "deployments"), "ml", "weather"), 4)
    call = stage.server.calls[-1]
    assert call.headers["Content-Type"] == "application/merge-patch+json"
    assert call.body == {"spec": {"replicas": 4}}
