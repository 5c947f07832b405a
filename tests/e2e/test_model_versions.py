"""Versions of models: what makes a new one, what does not, and where their bytes may lie."""

from __future__ import annotations

import base64

import pytest

from tests.e2e import specs
from tests.e2e.client import Client
from tests.e2e.kube import Kube, condition
from tests.e2e.sources import Shelf, classifier, digest

pytestmark = pytest.mark.cluster

MODEL = classifier(1.5)
ROWS = {"data": [[1.0, 1.0], [0.5, 0.5], [3.0, -1.0]]}


def test_the_same_bytes_are_the_same_version_for_ever(kube: Kube, namespace: str, shelf: Shelf) -> None:
    first, second = classifier(1.0), classifier(2.0)
    uri = shelf.put("model.onnx", first)

    def apply(name: str, uri: str, **more: object) -> str:
        """Apply with that source; yields the version that status says it is, once it says so."""
        applied = kube.apply(specs.model_deployment(namespace, name, [specs.model("m", uri, **more)]))

        def probe() -> str | None:
            found = kube.must_get("ModelDeployment", namespace, name)
            registered = condition(found, "Registered")
            current = registered.get("observedGeneration") == applied["metadata"]["generation"]
            return str(found["status"]["models"][0]["version"]) if current and registered["status"] == "True" else None

        return kube.wait("the version is known", probe, namespace=namespace)

    assert apply("a", uri) == "1"
    assert apply("b", shelf.put("copy.onnx", first)) == "1"
    assert apply("a", shelf.put("new.onnx", second)) == "2"
    assert apply("a", uri, tags={"stage": "production"}) == "3"
    versions = {v["metadata"]["name"]: v["spec"]["digest"] for v in kube.list("ModelVersion", namespace)}
    one, two = f"sha256:{digest(first)}", f"sha256:{digest(second)}"
    assert versions == {"m-1": one, "m-2": two, "m-3": one}

    kube.delete("ModelDeployment", namespace, "a")
    kube.wait_gone("Deployment", namespace, "a")
    assert apply("a", uri) == "1"
    assert len(kube.list("ModelVersion", namespace)) == 3


def test_a_registered_version_is_served_by_its_number(kube: Kube, namespace: str, shelf: Shelf, client: Client) -> None:
    kube.apply(specs.model_deployment(namespace, "second", [{"name": "rain", "version": "1"}]))
    waiting = kube.wait_condition(
        namespace, "second", "Ready", lambda c: "rain" in c.get("message", ""), what="names the version", seconds=30
    )
    assert condition(waiting, "Ready")["status"] == "False"
    kube.apply(specs.model_deployment(namespace, "first", [specs.model("rain", shelf.put("rain.onnx", MODEL))]))
    ready = kube.wait_ready(namespace, "second")
    assert ready["status"]["models"][0]["version"] == "1"
    assert client.score(ready, ROWS).status == 200
    assert shelf.reads("rain.onnx") >= 2


def test_a_model_in_a_config_map_serves_everybody_where_there_are_no_keys(
    kube: Kube, namespace: str, client: Client
) -> None:
    entry = specs.model("rain", "configmap://models/rain.onnx")
    kube.apply(specs.model_deployment(namespace, "open", [entry], auth={"mode": "None"}))
    kube.wait_condition(
        namespace, "open", "Ready", lambda c: "models" in c.get("message", ""), what="names the ConfigMap", seconds=30
    )
    data = {"rain.onnx": base64.b64encode(MODEL).decode()}
    metadata = {"name": "models", "namespace": namespace}
    kube.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "binaryData": data})
    ready = kube.wait_ready(namespace, "open")
    answer = client.send(client.bare_order(ready, ROWS))
    assert (answer.status, answer.json()) == (200, {"result": [1, 0, 1]})
    assert ready["status"]["auth"] == {"mode": "None"}
    assert kube.get("Secret", namespace, "open-keys") is None
