"""From `kubectl apply` to an authenticated prediction: what a user sees of a model that serves."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e import install, specs
from tests.e2e.client import Client
from tests.e2e.conftest import a_namespace
from tests.e2e.kube import Document, Kube, condition, is_ready, owned_by
from tests.e2e.sources import ModelServer, Shelf, classifier, digest

pytestmark = pytest.mark.cluster

MODEL = classifier(1.5)
ROWS = {"data": [[1.0, 1.0], [0.5, 0.5], [3.0, -1.0]]}
LABELS = [1, 0, 1]


@dataclass(frozen=True)
class Served:
    """A model without code that serves; the tests that share it only look."""

    namespace: str
    deployment: Document
    client: Client


@pytest.fixture(scope="module")
def served(kube: Kube, operator: None, model_server: ModelServer) -> Iterator[Served]:
    with a_namespace(kube, "served") as namespace:
        client = Client(kube, namespace, install.LEAN_IMAGE)
        uri = Shelf(model_server, namespace).put("rain.onnx", MODEL)
        entry = specs.model("rain", uri, sha256=digest(MODEL), tags={"stage": "test"}, description="Rain tomorrow")
        kube.apply(specs.model_deployment(namespace, "weather", [entry], description="Weather"))
        yield Served(namespace, kube.wait_ready(namespace, "weather"), client)


@pytest.mark.xdist_group("served")
def test_an_applied_model_answers_with_the_right_class(served: Served) -> None:
    answer = served.client.score(served.deployment, ROWS)
    assert answer.status == 200, answer
    assert answer.json() == {"result": LABELS}


@pytest.mark.xdist_group("served")
def test_both_keys_are_accepted_and_nothing_else_is(served: Served) -> None:
    for key in ("primaryKey", "secondaryKey"):
        assert served.client.score(served.deployment, ROWS, key=key).status == 200
    wrong = [None, "Bearer wrong", "Bearer ", "Basic d2VhdGhlcg==", f"Bearer {served.client.key(served.deployment)}x"]
    for authorization in wrong:
        answer = served.client.send(served.client.bare_order(served.deployment, ROWS, authorization=authorization))
        assert answer.status == 401, (authorization, answer)
        assert "www-authenticate" in {name.lower() for name in answer.headers}


@pytest.mark.xdist_group("served")
def test_status_names_everything_that_a_client_needs(kube: Kube, served: Served) -> None:
    status, host = served.deployment["status"], f"weather.{served.namespace}.svc.cluster.local"
    assert status["endpoint"] == {
        "scoringUri": f"http://{host}/score",
        "swaggerUri": f"http://{host}/swagger.json",
        "host": host,
        "port": 80,
    }
    keys = [served.client.key(served.deployment, name) for name in ("primaryKey", "secondaryKey")]
    assert status["auth"] == {
        "mode": "Key",
        "keysSecretRef": {"name": "weather-keys"},
        "primaryKeyFingerprint": hashlib.sha256(keys[0].encode()).hexdigest()[:12],
        "secondaryKeyFingerprint": hashlib.sha256(keys[1].encode()).hexdigest()[:12],
    }
    (model,) = status["models"]
    assert {key: model[key] for key in ("name", "version", "digest", "format")} == {
        "name": "rain",
        "version": "1",
        "digest": f"sha256:{digest(MODEL)}",
        "format": "ONNX",
    }
    assert status["target"] == "AKS"
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["observedGeneration"] == served.deployment["metadata"]["generation"]
    for kind in ("Registered", "CredentialsReady", "Available", "Ready"):
        assert condition(served.deployment, kind)["status"] == "True", kind
    assert not condition(served.deployment, "Reconciling")
    assert not condition(served.deployment, "Stalled")
    pods = kube.list("Pod", served.namespace, status["selector"])
    assert [status["servingRevision"].endswith(p["metadata"]["labels"]["modeldeploy.dev/revision"]) for p in pods] == [
        True
    ]


@pytest.mark.xdist_group("served")
def test_the_registered_version_tells_where_its_bytes_came_from(kube: Kube, served: Served) -> None:
    (version,) = kube.list("ModelVersion", served.namespace)
    assert version["metadata"]["name"] == "rain-1"
    assert version["metadata"]["labels"]["modeldeploy.dev/model"] == "rain"
    spec = version["spec"]
    assert (spec["model"], spec["version"], spec["digest"]) == ("rain", 1, f"sha256:{digest(MODEL)}")
    assert (spec["sizeBytes"], spec["format"]) == (len(MODEL), "ONNX")
    assert (spec["tags"], spec["description"]) == ({"stage": "test"}, "Rain tomorrow")
    assert [(i["name"], i["dtype"]) for i in spec["signature"]["inputs"]] == [("input", "float32")]


@pytest.mark.xdist_group("served")
def test_kubectl_get_shows_what_people_look_for(kube: Kube, served: Served) -> None:
    columns, (cells,) = kube.table("ModelDeployment", served.namespace)
    shown = {c["name"]: cell for c, cell in zip(columns, cells, strict=True) if c["priority"] == 0}
    assert [name.upper() for name in shown] == ["NAME", "READY", "TARGET", "VERSION", "REPLICAS", "URL", "AGE"]
    values = {name.upper(): value for name, value in shown.items()}
    assert (values["NAME"], values["READY"], values["TARGET"]) == ("weather", "True", "AKS")
    assert (values["VERSION"], str(values["REPLICAS"])) == ("1", "1")
    assert values["URL"] == served.deployment["status"]["endpoint"]["scoringUri"]
    assert "REASON" in [c["name"].upper() for c in columns if c["priority"] > 0]
    resources = kube.call("GET", "/apis/modeldeploy.dev/v1alpha1")["resources"]
    known = {r["name"]: r for r in resources}
    assert known["modeldeployments"]["shortNames"] == ["mldep"]
    assert known["modelversions"]["shortNames"] == ["mlv"]
    assert all(known[name]["categories"] == ["ml"] for name in ("modeldeployments", "modelversions"))


@pytest.mark.xdist_group("served")
def test_the_swagger_document_describes_the_input(served: Served) -> None:
    order = served.client.order(served.deployment, None)
    answer = served.client.send(
        {**order, "url": served.deployment["status"]["endpoint"]["swaggerUri"], "method": "GET"}
    )
    assert answer.status == 200, answer
    assert "/score" in answer.json()["paths"]


@pytest.mark.xdist_group("served")
def test_the_operator_leaves_the_users_object_as_it_was_applied(kube: Kube, served: Served) -> None:
    found = kube.must_get("ModelDeployment", served.namespace, "weather")
    assert not found["metadata"].get("finalizers")
    assert not found["metadata"].get("annotations")
    writers = {(m["manager"], m.get("subresource")) for m in found["metadata"]["managedFields"]}
    assert writers == {("e2e", None), ("modeldeploy-operator", "status")}
    entry = served.deployment["spec"]["models"][0]
    again = specs.model_deployment(served.namespace, "weather", [entry], description="Weather")
    assert kube.apply(again, dry_run=True)["metadata"]["generation"] == found["metadata"]["generation"]


@pytest.mark.xdist_group("served")
def test_every_child_is_labelled_and_owned(kube: Kube, served: Served) -> None:
    uid = served.deployment["metadata"]["uid"]
    secret = kube.must_get("Secret", served.namespace, "weather-keys")
    for kind in ("Deployment", "Service", "ServiceAccount", "PodDisruptionBudget", "Secret"):
        name = "weather-keys" if kind == "Secret" else "weather"
        child = kube.must_get(kind, served.namespace, name)
        found = child["metadata"]["labels"]
        assert found["app.kubernetes.io/name"] == "weather", kind
        assert found["app.kubernetes.io/managed-by"] == "modeldeploy-operator", kind
        assert found["modeldeploy.dev/deployment"] == "weather", kind
        assert owned_by(child, uid) or owned_by(child, secret["metadata"]["uid"]), kind
    assert not kube.list("Pod", served.namespace, "app.kubernetes.io/component=registration")


@pytest.mark.xdist_group("served")
def test_scoring_pods_hold_no_token_of_the_cluster(kube: Kube, served: Served) -> None:
    (pod,) = kube.list("Pod", served.namespace, served.deployment["status"]["selector"])
    assert pod["spec"]["automountServiceAccountToken"] is False
    sources = [s for v in pod["spec"]["volumes"] for s in v.get("projected", {}).get("sources", [])]
    assert not any("serviceAccountToken" in source for source in sources)


TWO_MODELS = """\
import json
import os
from pathlib import Path

import numpy as np
import onnxruntime


def init():
    global sessions
    root = Path(os.environ["AZUREML_MODEL_DIR"])
    files = sorted(root.glob("*/*/*.onnx"))
    sessions = {file.parents[1].name: onnxruntime.InferenceSession(str(file)) for file in files}


def run(raw_data):
    rows = np.array(json.loads(raw_data)["data"], dtype=np.float32)
    return {name: s.run(None, {"input": rows})[0].tolist() for name, s in sessions.items()}
"""


def test_a_script_serves_two_models(kube: Kube, namespace: str, shelf: Shelf, client: Client) -> None:
    models = [
        specs.model("low", shelf.put("low.onnx", classifier(0.5))),
        specs.model("high", shelf.put("high.onnx", classifier(2.5))),
    ]
    kube.apply(specs.model_deployment(namespace, "pair", models, code={"inline": TWO_MODELS}))
    answer = client.score(kube.wait_ready(namespace, "pair"), {"data": [[1.0, 1.0], [3.0, 0.0], [0.0, 0.0]]})
    assert answer.status == 200, answer
    assert answer.json() == {"low": [1, 1, 0], "high": [0, 1, 0]}


CONFIG_MAP_SCRIPT = """\
import words

def init():
    pass

def run(raw_data):
    return {"answer": words.ANSWER}
"""


def test_code_may_come_after_the_deployment_and_change_under_it(
    kube: Kube, namespace: str, shelf: Shelf, client: Client
) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", MODEL))
    code = {"entryScript": "main.py", "configMapRef": {"name": "code"}}
    kube.apply(specs.model_deployment(namespace, "late", [entry], code=code))
    waiting = kube.wait_condition(
        namespace, "late", "Ready", lambda c: "code" in c.get("message", "") and "ConfigMap" in c["message"],
        what="False and names the ConfigMap", seconds=30,
    )  # fmt: skip
    assert condition(waiting, "Ready")["status"] == "False"

    kube.apply(specs.config_map(namespace, "code", {"main.py": CONFIG_MAP_SCRIPT, "words.py": "ANSWER = 'first'"}))
    ready = kube.wait_ready(namespace, "late")
    assert client.score(ready, {}).json() == {"answer": "first"}

    kube.apply(specs.config_map(namespace, "code", {"main.py": CONFIG_MAP_SCRIPT, "words.py": "ANSWER = 'second'"}))
    client.wait_answer(ready, {}, {"answer": "second"}, seconds=90)
    kube.wait_ready(namespace, "late")
    kube.wait(
        "the old copy of the code is gone",
        lambda: len(kube.list("ConfigMap", namespace, "modeldeploy.dev/deployment=late")) == 1,
        namespace=namespace,
        seconds=90,
    )


def test_delete_leaves_nothing_but_the_registered_version(kube: Kube, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", MODEL))
    aks = {"autoscale": {"minReplicas": 1, "maxReplicas": 2}, "networkPolicy": True}
    kube.apply(specs.model_deployment(namespace, "gone", [entry], aks=aks, code=specs.echo("x")))
    kube.wait_ready(namespace, "gone")
    kinds = ["Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy"]
    kinds += ["ServiceAccount", "ConfigMap", "ReplicaSet", "Pod"]
    selector = "modeldeploy.dev/deployment=gone"
    assert [kind for kind in kinds if not kube.list(kind, namespace, selector)] == []
    assert not kube.must_get("ModelDeployment", namespace, "gone")["metadata"].get("finalizers")

    kube.delete("ModelDeployment", namespace, "gone")
    kube.wait_gone("ModelDeployment", namespace, "gone", seconds=5)
    # Pods take their time: five seconds for the endpoints, then up to 25 to finish what they run.
    for kind in [*kinds, "Secret"]:
        kube.wait(
            f"every {kind} is gone",
            lambda kind=kind: not kube.list(kind, namespace, selector),
            namespace=namespace,
        )
    assert [v["metadata"]["name"] for v in kube.list("ModelVersion", namespace)] == ["rain-1"]


def test_a_secret_of_the_users_own_is_adopted_and_never_written(
    kube: Kube, namespace: str, shelf: Shelf, client: Client
) -> None:
    keys = {"primaryKey": "a-key-of-our-own-with-enough-length", "secondaryKey": "another-key-of-our-own-with-length"}
    entry = specs.model("rain", shelf.put("rain.onnx", MODEL))
    metadata = {"name": "own-keys", "namespace": namespace}
    kube.apply({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": keys})
    before = kube.must_get("Secret", namespace, "own-keys")
    auth = {"keysSecretName": "own-keys", "publishKeysInStatus": True}
    kube.apply(specs.model_deployment(namespace, "adopting", [entry], auth=auth))
    ready = kube.wait_ready(namespace, "adopting")
    assert client.score(ready, ROWS).status == 200
    assert ready["status"]["auth"]["keysSecretRef"] == {"name": "own-keys"}
    assert {name: ready["status"]["auth"][name] for name in keys} == keys

    kube.apply(specs.model_deployment(namespace, "adopting", [entry], auth={"keysSecretName": "own-keys"}))
    hidden = kube.wait_ready(namespace, "adopting")
    assert not set(keys) & set(hidden["status"]["auth"])

    kube.delete("ModelDeployment", namespace, "adopting")
    kube.wait_gone("Deployment", namespace, "adopting")
    after = kube.must_get("Secret", namespace, "own-keys")
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert {name: base64.b64decode(value).decode() for name, value in after["data"].items()} == keys


def test_scale_and_suspend(kube: Kube, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", MODEL))
    kube.apply(specs.model_deployment(namespace, "sized", [entry]))
    ready = kube.wait_ready(namespace, "sized")
    scale = kube.call("GET", kube.path("ModelDeployment", namespace, "sized") + "/scale")
    assert (scale["spec"]["replicas"], scale["status"]["replicas"]) == (1, 1)
    assert scale["status"]["selector"] == ready["status"]["selector"]

    kube.patch("ModelDeployment", namespace, "sized", {"spec": {"suspend": True}})
    suspended = kube.wait_condition(
        namespace, "sized", "Suspended", lambda c: c["status"] == "True", what="True", seconds=15
    )
    assert condition(suspended, "Ready")["status"] == "True"
    assert not condition(suspended, "Reconciling")
    with kube.recording("Deployment", namespace, "sized") as states:
        kube.patch("ModelDeployment", namespace, "sized", {"spec": {"replicas": 2}}, subresource="scale")
        kube.wait_condition(
            namespace, "sized", "Suspended", lambda c: c["status"] == "True", what="True for the new size", seconds=15
        )
    assert {state["spec"]["replicas"] for state in states} == {1}

    kube.patch("ModelDeployment", namespace, "sized", {"spec": {"suspend": False}})
    kube.wait_ready(namespace, "sized")
    scaled = kube.must_get("ModelDeployment", namespace, "sized")
    assert (scaled["status"]["replicas"], scaled["status"]["readyReplicas"]) == (2, 2)
    assert not condition(scaled, "Suspended")
    assert kube.must_get("Deployment", namespace, "sized")["spec"]["replicas"] == 2


def test_a_rollout_shows_as_reconciling_while_the_old_revision_stays_available(
    kube: Kube, namespace: str, shelf: Shelf, client: Client
) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", MODEL))
    kube.apply(specs.model_deployment(namespace, "rolling", [entry], code=specs.echo("old")))
    before = kube.wait_ready(namespace, "rolling")
    with kube.recording("ModelDeployment", namespace, "rolling") as states:
        kube.apply(specs.model_deployment(namespace, "rolling", [entry], code=specs.echo("new")))
        after = kube.wait_ready(namespace, "rolling")
    client.wait_answer(after, {}, {"answer": "new"})
    assert after["status"]["servingRevision"] != before["status"]["servingRevision"]
    told = [state for state in states if state["status"]["observedGeneration"] == 2]
    assert condition(told[0], "Reconciling").get("status") == "True"
    assert condition(told[0], "Ready")["status"] != "True"
    assert all(condition(state, "Available")["status"] == "True" for state in states)
    assert all(is_ready(state) is False or not condition(state, "Reconciling") for state in told)
    # One write says that a rollout began, one that it ended; the rest of the way is told sparingly.
    assert len({state["metadata"]["resourceVersion"] for state in told}) <= 6
