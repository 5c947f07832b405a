"""The cluster, the operator on it, and a namespace, models and a client for each test."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import install, report
from tests.e2e.client import Client
from tests.e2e.kube import Kube
from tests.e2e.sources import ModelServer, Shelf


@pytest.fixture(scope="session")
def kube(kubeconfig: str) -> Iterator[Kube]:
    """A client of the cluster with the rights of the kubeconfig."""
    client = Kube(kubeconfig)
    client.explain = lambda namespace: report.describe(client, namespace) if namespace else ""
    yield client
    client.close()


@pytest.fixture(scope="session")
def run(shared_folder: Path) -> str:
    """A name of this test run, the same in all its workers."""
    return install.run_name(shared_folder)


@pytest.fixture(scope="session")
def model_server(kube: Kube) -> Iterator[ModelServer]:
    """An HTTP server on this machine's address in the cluster."""
    node = kube.list("Node", None)[0]
    host = next(a["address"] for a in node["status"]["addresses"] if a["type"] == "InternalIP")
    server = ModelServer(host)
    server.start()
    yield server
    server.stop()


@contextmanager
def a_namespace(kube: Kube, text: str) -> Iterator[str]:
    """A fresh namespace that enforces the restricted standard, taken away afterwards without waiting for it."""
    words = re.sub(r"[^a-z0-9]+", "-", text.lower().removeprefix("test_"))[:40].strip("-")
    name = f"e2e-{words}-{secrets.token_hex(3)}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted", "e2e": "true"}
    kube.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    try:
        # Pods cannot be made before their account is there.
        kube.wait("the default ServiceAccount", lambda: kube.get("ServiceAccount", name, "default"), seconds=30)
        yield name
    finally:
        kube.delete("Namespace", None, name)


@pytest.fixture
def namespace(kube: Kube, operator: None, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace for this test alone."""
    with a_namespace(kube, request.node.name) as name:
        yield name


@pytest.fixture
def shelf(model_server: ModelServer) -> Shelf:
    """This test's own models on the model server."""
    return Shelf(model_server, secrets.token_hex(4))


@pytest.fixture
def client(kube: Kube, namespace: str) -> Client:
    """A client pod in the test's namespace."""
    return Client(kube, namespace, install.LEAN_IMAGE)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[Any]) -> Iterator[None]:
    """A failed test shows its namespace: pods, events and the operator's log, before they are gone."""
    outcome = yield
    result = outcome.get_result()  # type: ignore[attr-defined]
    arguments = getattr(item, "funcargs", {})
    kube, served = arguments.get("kube"), arguments.get("served")
    name = arguments.get("namespace") or getattr(served, "namespace", None)
    shown = call.excinfo is not None and "--- objects:" in str(call.excinfo.value)
    if result.when == "call" and result.failed and isinstance(kube, Kube) and name and not shown:
        result.sections.append((f"namespace {name}", report.describe(kube, name)))
