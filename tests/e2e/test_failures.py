"""Whatever goes wrong: the true cause within 15 s, the old revision still serving, recovery without help."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import install, outage, specs
from tests.e2e.client import Client
from tests.e2e.kube import Document, Kube, condition
from tests.e2e.sources import Shelf, classifier, digest

pytestmark = pytest.mark.cluster

PROMISE_SECONDS = 15
NAME = "troubled"


@pytest.fixture
def serving(kube: Kube, namespace: str, shelf: Shelf, client: Client) -> Document:
    """A healthy revision that answers "old"."""
    entry = specs.model("rain", shelf.put("good.onnx", classifier(1.5)))
    kube.apply(specs.model_deployment(namespace, NAME, [entry], code=specs.echo("old")))
    ready = kube.wait_ready(namespace, NAME)
    assert client.score(ready, {}).json() == {"answer": "old"}
    return ready


def trouble(kube: Kube, namespace: str) -> bool:
    """Whether the cluster itself shows by now that something is wrong."""
    for pod in kube.list("Pod", namespace, "modeldeploy.dev/deployment"):
        status = pod.get("status", {})
        if any(c["type"] == "PodScheduled" and c["status"] == "False" for c in status.get("conditions", [])):
            return True
        for container in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated") or {}
            waiting = container["state"].get("waiting", {}).get("reason", "")
            if ended.get("exitCode") or waiting not in ("", "PodInitializing", "ContainerCreating"):
                return True
    conditions = [c for d in kube.list("Deployment", namespace) for c in d.get("status", {}).get("conditions", [])]
    return any(c["type"] == "ReplicaFailure" and c["status"] == "True" for c in conditions)


def told(kube: Kube, namespace: str, begin: Callable[[], object], cause: str, reason: str) -> Document:
    """Begin something that goes wrong; yields the object once Ready is False with that cause, in time.

    The time runs from when the cluster shows the trouble: how soon a busy node starts a pod is not the operator's.
    """
    begin()
    began = time.monotonic()
    shown: list[float] = []

    def probe() -> Document | None:
        if not shown and trouble(kube, namespace):
            shown.append(time.monotonic())
        found = kube.must_get("ModelDeployment", namespace, NAME)
        ready = condition(found, "Ready")
        current = ready.get("observedGeneration") == found["metadata"]["generation"]
        wanted = current and ready["status"] == "False" and ready["reason"] == reason and cause in ready["message"]
        return found if wanted else None

    found = kube.wait(f"Ready is False: {reason}, {cause}", probe, namespace=namespace, seconds=60)
    now = time.monotonic()
    taken = now - (shown[0] if shown else began)
    print(f"told {now - began:.1f} s after its beginning, {taken:.1f} s after the cluster showed it: {reason}")
    assert taken <= PROMISE_SECONDS, f"the cause was told after {taken:.1f} s"
    return found


def still_serving(client: Client, found: Document) -> None:
    """The old revision takes requests, and status says so."""
    assert condition(found, "Available")["status"] == "True"
    got = client.score(found, {})
    assert (got.status, got.json()) == (200, {"answer": "old"})


def recovered(kube: Kube, client: Client, namespace: str, answer: str) -> None:
    """Without anybody's help the object becomes Ready, and the new revision answers."""
    client.wait_answer(kube.wait_ready(namespace, NAME, seconds=180), {}, {"answer": answer})


def test_a_missing_model_file(kube: Kube, namespace: str, shelf: Shelf, client: Client, serving: Document) -> None:
    entry = specs.model("rain", shelf.url("later.onnx"))
    update = specs.model_deployment(namespace, NAME, [entry], code=specs.echo("new"))
    found = told(kube, namespace, lambda: kube.apply(update), shelf.url("later.onnx"), "SourceNotFound")
    assert "404" in condition(found, "Ready")["message"]
    assert found["status"]["lastFailure"]["phase"] == "Fetch"
    still_serving(client, found)

    shelf.put("later.onnx", classifier(2.5))
    ready = kube.wait_ready(namespace, NAME)
    assert ready["status"]["models"][0]["version"] == "2"
    client.wait_answer(ready, {}, {"answer": "new"})


def test_a_file_with_other_bytes_than_pinned(
    kube: Kube, namespace: str, shelf: Shelf, client: Client, serving: Document
) -> None:
    wanted, other = classifier(2.5), classifier(3.5)
    entry = specs.model("rain", shelf.put("pinned.onnx", other), sha256=digest(wanted))
    update = specs.model_deployment(namespace, NAME, [entry], code=specs.echo("new"))
    found = told(kube, namespace, lambda: kube.apply(update), digest(wanted), "DigestMismatch")
    assert digest(other) in condition(found, "Ready")["message"]
    still_serving(client, found)

    shelf.put("pinned.onnx", wanted)
    ready = kube.wait_ready(namespace, NAME)
    assert ready["status"]["models"][0]["digest"] == f"sha256:{digest(wanted)}"
    client.wait_answer(ready, {}, {"answer": "new"})


RAISING = """\
import os


def init():
    raise ValueError("no weather today")


def run(raw_data):
    return {"answer": "never"}
"""


def test_a_script_that_raises_in_init(
    kube: Kube, namespace: str, shelf: Shelf, client: Client, serving: Document
) -> None:
    entry = specs.model("rain", shelf.url("good.onnx"))
    code = {"configMapRef": {"name": "code"}}
    kube.apply(specs.config_map(namespace, "code", {"score.py": RAISING}))
    update = specs.model_deployment(namespace, NAME, [entry], code=code)
    found = told(kube, namespace, lambda: kube.apply(update), "ValueError: no weather today", "InitFailed")
    failure = found["status"]["lastFailure"]
    assert (failure["phase"], failure["exitCode"]) == ("Init", 13)
    assert (failure["exception"], failure["script"], failure["line"]) == (
        "ValueError: no weather today",
        "score.py",
        5,
    )
    assert failure["pod"].startswith(NAME)
    still_serving(client, found)

    kube.apply(specs.config_map(namespace, "code", {"score.py": specs.ECHO_SCRIPT % "mended"}))
    recovered(kube, client, namespace, "mended")


@pytest.fixture
def image(kube: Kube) -> Iterator[str]:
    """The name of an image that is nowhere yet."""
    outage.need_own_node(kube)
    name = f"localhost/e2e-{secrets.token_hex(4)}:1"
    yield name
    _ctr(kube, "rm", name, check=False)


def _ctr(kube: Kube, *arguments: str, check: bool = True) -> None:
    """One images command of the node's containerd."""
    socket = Path(kube.kubeconfig).parent / "containerd.sock"
    address = ("--address", str(socket)) if socket.exists() else ()
    subprocess.run(["ctr", *address, "-n", "k8s.io", "images", *arguments], check=check, capture_output=True)


def test_an_image_that_cannot_be_pulled(
    kube: Kube, namespace: str, shelf: Shelf, client: Client, serving: Document, image: str
) -> None:
    entry = specs.model("rain", shelf.url("good.onnx"))
    environment = {"image": image}
    update = specs.model_deployment(namespace, NAME, [entry], code=specs.echo("new"), environment=environment)
    found = told(kube, namespace, lambda: kube.apply(update), image, "ImagePullFailed")
    assert found["status"]["lastFailure"]["phase"] == "Pull"
    still_serving(client, found)

    _ctr(kube, "tag", install.LEAN_IMAGE, image)
    recovered(kube, client, namespace, "new")


def test_a_quota_that_forbids_more_pods(
    kube: Kube, namespace: str, shelf: Shelf, client: Client, serving: Document
) -> None:
    def quota(pods: int) -> Document:
        metadata = {"name": "few-pods", "namespace": namespace}
        return {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": metadata,
            "spec": {"hard": {"pods": str(pods)}},
        }

    kube.apply(quota(2))  # the client's and the old revision's

    def counted() -> bool:
        status = kube.must_get("ResourceQuota", namespace, "few-pods").get("status", {})
        return status.get("used", {}).get("pods") == "2"

    kube.wait("the quota counts", counted, namespace=namespace)
    entry = specs.model("rain", shelf.url("good.onnx"))
    update = specs.model_deployment(namespace, NAME, [entry], code=specs.echo("new"))
    found = told(kube, namespace, lambda: kube.apply(update), "few-pods", "QuotaExceeded")
    still_serving(client, found)

    kube.apply(quota(10))
    recovered(kube, client, namespace, "new")


def test_a_quota_that_forbids_reading_the_source(kube: Kube, namespace: str, shelf: Shelf) -> None:
    metadata = {"name": "no-pods", "namespace": namespace}
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": {"hard": {"pods": "0"}}}
    kube.apply(quota)
    kube.wait(
        "the quota counts",
        lambda: kube.must_get("ResourceQuota", namespace, "no-pods").get("status", {}).get("hard"),
        namespace=namespace,
    )
    entry = specs.model("rain", shelf.put("good.onnx", classifier(1.5)))
    created = specs.model_deployment(namespace, NAME, [entry])
    told(kube, namespace, lambda: kube.apply(created), "no-pods", "QuotaExceeded")
    kube.delete("ResourceQuota", namespace, "no-pods")
    kube.wait_ready(namespace, NAME)


@pytest.fixture
def volume_folder(kube: Kube) -> Iterator[Path]:
    """A folder on this machine that pods may read, unlike pytest's own."""
    outage.need_own_node(kube)
    folder = Path(tempfile.mkdtemp(prefix="modeldeploy-e2e-"))
    os.chmod(folder, 0o755)
    yield folder
    shutil.rmtree(folder)


def test_a_claim_that_is_missing_and_comes(kube: Kube, namespace: str, client: Client, volume_folder: Path) -> None:
    (volume_folder / "rain.onnx").write_bytes(classifier(1.5))
    (volume_folder / "rain.onnx").chmod(0o644)
    entry = specs.model("rain", "pvc://models/rain.onnx")
    created = specs.model_deployment(namespace, NAME, [entry], code=specs.echo("from a claim"))
    found = told(kube, namespace, lambda: kube.apply(created), "models", "ClaimNotFound")
    assert condition(found, "Available")["status"] == "False"

    size = {"storage": "1Mi"}
    spec: Document = {"capacity": size, "accessModes": ["ReadWriteOnce"], "storageClassName": ""}
    claim = {"namespace": namespace, "name": "models"}
    volume = {
        **spec,
        "hostPath": {"path": str(volume_folder)},
        "claimRef": claim,
        "persistentVolumeReclaimPolicy": "Retain",
    }
    kube.apply({"apiVersion": "v1", "kind": "PersistentVolume", "metadata": {"name": namespace}, "spec": volume})
    try:
        wish = {"accessModes": ["ReadWriteOnce"], "storageClassName": "", "resources": {"requests": size}}
        kube.apply({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": claim, "spec": wish})
        recovered(kube, client, namespace, "from a claim")
        (version,) = kube.list("ModelVersion", namespace)
        assert version["spec"]["digest"] == f"sha256:{digest(classifier(1.5))}"
    finally:
        kube.delete("PersistentVolume", None, namespace)


def test_a_source_that_is_down_for_a_while(kube: Kube, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.fail("rain.onnx", 503))
    created = specs.model_deployment(namespace, NAME, [entry])
    found = told(kube, namespace, lambda: kube.apply(created), "503", "SourceUnavailable")
    assert condition(found, "Stalled") == {}
    shelf.put("rain.onnx", classifier(1.5))
    kube.wait_ready(namespace, NAME)


def test_a_source_that_forbids_is_not_asked_without_end(kube: Kube, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.fail("rain.onnx", 403))
    created = specs.model_deployment(namespace, NAME, [entry])
    told(kube, namespace, lambda: kube.apply(created), "403", "SourceForbidden")
    assert shelf.reads("rain.onnx") <= 3
