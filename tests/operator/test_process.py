"""The operator as a process: from its first list to its exit code."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import yaml
from modeldeploy_operator.apiserver import item_path
from modeldeploy_operator.core.documents import LEASE, MODEL_DEPLOYMENT, MODEL_VERSION, SERVICE, Document, Key

from tests.operator.eventually import until
from tests.operator.small_api_server import SmallApiServer, running

SPEC = {"models": [{"name": "svc", "version": "1"}], "target": {"aks": {}}}
VERSION = {
    "model": "svc", "version": 1, "digest": "sha256:" + "a" * 64, "uri": "http://models.test/svc.onnx",
    "format": "ONNX", "sizeBytes": 1,
}  # fmt: skip
LEASE_PATH = item_path(Key(LEASE, "modeldeploy-system", "modeldeploy-operator"))
SERVICE_PATH = item_path(Key(SERVICE, "ml", "weather"))
STATUS_PATH = item_path(Key(MODEL_DEPLOYMENT, "ml", "weather"))


@pytest.fixture
async def server() -> AsyncIterator[SmallApiServer]:
    async with running(SmallApiServer()) as server:
        server.tell_kinds()
        server.put(MODEL_DEPLOYMENT, "weather", metadata={"generation": 1}, spec=SPEC)
        server.put(MODEL_VERSION, "svc-1", metadata={"labels": {"modeldeploy.dev/model": "svc"}}, spec=VERSION)
        yield server


@asynccontextmanager
async def operating(server: SmallApiServer, folder: Path) -> AsyncIterator[Process]:
    kubeconfig = folder / "kubeconfig"
    context = {"name": "c", "context": {"cluster": "c", "user": "u"}}
    config = {
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "contexts": [context],
        "clusters": [{"name": "c", "cluster": {"server": server.url}}], "users": [{"name": "u", "user": {}}],
    }  # fmt: skip
    kubeconfig.write_text(yaml.safe_dump(config))
    environment = {
        **os.environ, "KUBECONFIG": str(kubeconfig), "MODELDEPLOY_IMAGE_LEAN": "lean:1",
        "MODELDEPLOY_IMAGE_SKLEARN": "sklearn:1", "MODELDEPLOY_HEALTH_PORT": "0", "MODELDEPLOY_METRICS_PORT": "0",
    }  # fmt: skip
    environment.pop("KUBE_CONTEXT", None)
    with (folder / "log").open("w") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "modeldeploy_operator", env=environment, stderr=log
        )
        try:
            yield process
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


def lines(folder: Path) -> list[Document]:
    return [json.loads(line) for line in (folder / "log").read_text().splitlines()]


async def test_it_makes_the_children_and_on_sigterm_ends_well_and_releases_the_lease(
    server: SmallApiServer, tmp_path: Path
) -> None:
    async with operating(server, tmp_path) as process:
        await until(lambda: SERVICE_PATH in server.objects, 60, (tmp_path / "log").read_text)
        await until(lambda: "status" in server.objects[STATUS_PATH], 20)
        assert server.objects[LEASE_PATH]["spec"]["holderIdentity"]
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert server.objects[LEASE_PATH]["spec"]["holderIdentity"] == ""
    assert [line["msg"] for line in lines(tmp_path)][-1] == "operator.ended"


async def test_it_ends_at_once_when_another_holds_the_lease_and_takes_nothing_from_it(
    server: SmallApiServer, tmp_path: Path
) -> None:
    async with operating(server, tmp_path) as process:
        await until(lambda: SERVICE_PATH in server.objects, 60, (tmp_path / "log").read_text)
        stolen = server.objects[LEASE_PATH]["spec"] | {"holderIdentity": "another"}
        server.put(LEASE, "modeldeploy-operator", "modeldeploy-system", spec=stolen)
        assert await asyncio.wait_for(process.wait(), 10) == 1
    assert server.objects[LEASE_PATH]["spec"]["holderIdentity"] == "another"
    assert "lease.lost" in [line["msg"] for line in lines(tmp_path)]


async def test_a_replica_that_does_not_lead_writes_nothing_and_ends_when_it_is_told_to(
    server: SmallApiServer, tmp_path: Path
) -> None:
    held = {"holderIdentity": "another", "leaseDurationSeconds": 13, "renewTime": "2026-08-01T12:00:00.000000Z"}
    server.put(LEASE, "modeldeploy-operator", "modeldeploy-system", spec=held)
    async with operating(server, tmp_path) as process:
        await until(lambda: any(line["msg"] == "store.synced" for line in lines(tmp_path)), 60)
        await until(lambda: sum(call.path == LEASE_PATH for call in server.calls) >= 2, 10)
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert {call.method for call in server.calls} == {"GET"}
    assert server.objects[LEASE_PATH]["spec"] == held
