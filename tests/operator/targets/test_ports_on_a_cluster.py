"""The port contract on a real API server, which alone can show what server-side apply does."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from modeldeploy_operator import access
from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.apiserver import ApiServer, Request
from modeldeploy_operator.cluster import Cluster
from modeldeploy_operator.core import names
from modeldeploy_operator.core.decide import stamped
from modeldeploy_operator.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    MODEL_DEPLOYMENT,
    NETWORK_POLICY,
    POD,
    REPLICA_SET,
    SERVICE,
    SERVICE_ACCOUNT,
    Document,
    Key,
    Kind,
    key_of,
)
from modeldeploy_operator.core.facts import Wish
from modeldeploy_operator.errors import Stalled
from modeldeploy_operator.store import Store
from modeldeploy_operator.targets.aks.adapter import AksPort
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS, AksRenderer

from tests.operator.recording import CREDENTIALS, MODEL
from tests.operator.targets.port_contract import PortContract, account
from tests.operator.targets.stories import IMAGES

pytestmark = pytest.mark.cluster


@dataclass
class ClusterStage:
    cluster: Cluster
    port: AksPort
    deployment: ModelDeployment

    async def put(self, document: Document) -> None:
        await self.cluster.create(document)

    async def stored(self, key: Key) -> Document | None:
        return await self.cluster.get(key)


@pytest.fixture
async def server(kubeconfig: str, operator: None) -> AsyncIterator[ApiServer]:
    async def configure() -> Any:
        return await access.configuration({"KUBECONFIG": kubeconfig})

    client = ApiServer(configure, count=lambda *_: None)
    try:
        yield client
    finally:
        await client.close()


@pytest.fixture
async def stage(server: ApiServer) -> AsyncIterator[ClusterStage]:
    namespace = f"port-{uuid.uuid4().hex[:8]}"
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}}
    await server.call(Request("create", "namespaces", "POST", "/api/v1/namespaces", body=body))
    store = Store((MODEL_DEPLOYMENT, *MANAGED_KINDS, POD, REPLICA_SET), indexed_labels=(names.DEPLOYMENT_LABEL,))
    cluster = Cluster(server, store, may_write=lambda: None)
    made = await cluster.create({
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.kind,
        "metadata": {"name": "weather", "namespace": namespace},
        "spec": {"suspend": True, "models": [{"name": "svc", "version": "1"}], "target": {"aks": {}}},
    })  # fmt: skip
    try:
        yield ClusterStage(cluster, AksPort(cluster, store), ModelDeployment.model_validate(made))
    finally:
        await server.call(Request("delete", "namespaces", "DELETE", f"/api/v1/namespaces/{namespace}"))


class TestTheAksPortOnACluster(PortContract):
    """On the API server of $KUBECONFIG."""


EVERY_KIND = (SERVICE_ACCOUNT, CONFIG_MAP, SERVICE, DEPLOYMENT, AUTOSCALER, DISRUPTION_BUDGET, NETWORK_POLICY)


@pytest.mark.parametrize("kind", EVERY_KIND, ids=lambda kind: kind.kind)
async def test_a_first_apply_makes_each_kind_once_and_never_touches_what_is_there(
    stage: ClusterStage, kind: Kind
) -> None:
    document = child(stage.deployment, kind)
    await stage.port.create(document)
    made = await stage.stored(key_of(document))
    assert made is not None
    theirs = {**made, "metadata": {"name": "other", "namespace": made["metadata"]["namespace"]}}
    theirs = {name: value for name, value in theirs.items() if name != "status"}
    theirs.get("spec", {}).pop("clusterIP", None)
    theirs.get("spec", {}).pop("clusterIPs", None)
    await stage.put(theirs)
    other = Key(kind, made["metadata"]["namespace"], "other")
    wanted = {**document, "metadata": {**document["metadata"], "name": "other"}}
    with pytest.raises(Stalled, match="exists already and was not made for this ModelDeployment"):
        await stage.port.create(wanted)
    after = await stage.stored(other)
    assert after is not None
    assert {entry["operation"] for entry in after["metadata"]["managedFields"]} == {"Update"}
    assert after["metadata"].get("ownerReferences") is None


async def test_a_field_that_is_no_longer_sent_is_dropped(stage: ClusterStage) -> None:
    document = account(stage.deployment)
    document["metadata"]["annotations"] = {"a": "b"}
    await stage.port.create(document)
    await stage.port.apply(account(stage.deployment))
    found = await stage.stored(key_of(document))
    assert found is not None
    assert "annotations" not in found["metadata"]


async def test_applying_the_same_again_changes_nothing(stage: ClusterStage) -> None:
    document = account(stage.deployment)
    await stage.port.create(document)
    first = await stage.stored(key_of(document))
    await stage.port.apply(document)
    again = await stage.stored(key_of(document))
    assert first is not None
    assert again is not None
    assert first["metadata"]["resourceVersion"] == again["metadata"]["resourceVersion"]


def child(deployment: ModelDeployment, kind: Kind) -> Document:
    """The rendered child of that kind, as it is applied."""
    if kind == CONFIG_MAP:
        metadata = account(deployment)["metadata"]
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"score.py": ""}}
    spec = {"models": [{"name": "svc", "version": "1"}], "target": {"aks": {"networkPolicy": True}}}
    body = {"metadata": deployment.metadata.model_dump(by_alias=True), "spec": spec}
    wish = Wish((MODEL,), CREDENTIALS, None, IMAGES)
    desired = AksRenderer().desired(ModelDeployment.model_validate(body), wish)
    document = stamped(next(document for document in desired if document["kind"] == kind.kind))
    document["metadata"]["ownerReferences"] = [names.owner_reference(deployment)]
    return document
