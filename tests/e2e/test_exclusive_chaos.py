"""The operator killed, frozen or gone, the API server away: the same end state, nothing lost, nothing interrupted."""

from __future__ import annotations

import json
import random
import signal
import time
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import install, outage, specs
from tests.e2e.client import Client
from tests.e2e.conftest import a_namespace
from tests.e2e.kube import CHILD_KINDS, Document, Kube
from tests.e2e.sources import Shelf, classifier, digest

pytestmark = [pytest.mark.cluster, pytest.mark.exclusive]

SEED = 20261121
KILL_WITHIN_SECONDS = 2.5
FAILOVER_SECONDS = 17
OUTAGE_SECONDS = 30
OPERATED = "app.kubernetes.io/managed-by=modeldeploy-operator"
SPEC_KINDS = (
    "Deployment", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy", "ServiceAccount",
    "ConfigMap",
)  # fmt: skip


@pytest.fixture
def own_node(kube: Kube, operator: None) -> None:
    outage.need_own_node(kube)


@pytest.fixture
def without_election(kube: Kube, run: str, own_node: None) -> Iterator[None]:
    """A lone operator that need not wait for a dead one's Lease to run out, so that many kills fit in a test."""
    install.install(kube, run=run, leaderElection={"enabled": False})
    yield
    install.install(kube, run=run)


@pytest.fixture
def two_replicas(kube: Kube, run: str, own_node: None) -> Iterator[None]:
    install.install(kube, run=run, replicas=2)
    yield
    install.install(kube, run=run)


class Story:
    """The life of some ModelDeployments, step by step, the same in every namespace."""

    names = ("plain", "scripted", "twin-a", "twin-b", "pair")
    scripted = ("scripted", "pair")

    def __init__(self, kube: Kube, namespace: str, shelf: Shelf) -> None:
        self._kube = kube
        self._namespace = namespace
        self._shelf = shelf

    def apply(self, name: str, step: int) -> None:
        """Step 0 creates; 1 changes settings and code; 2 changes the models' bytes too."""
        self._kube.apply(self._document(name, step))

    def settle(self, *, seconds: float) -> None:
        """Every object Ready, registrations tidied up, nothing left of earlier revisions."""
        for name in self.names:
            self._kube.wait_ready(self._namespace, name, seconds=seconds)

        def tidy() -> bool:
            # Old copies of code go with the last pod that mounts them, which drains for some seconds.
            pods, copies = (self._kube.list(kind, self._namespace, OPERATED) for kind in ("Pod", "ConfigMap"))
            return len(pods) == len(self.names) and len(copies) == len(self.scripted)

        self._kube.wait("all is tidied up", tidy, namespace=self._namespace)

    def end_state(self) -> dict[str, Any]:
        """What the operator made, without what every cluster gives differently."""
        state: dict[str, Any] = {"Secret": self._secrets(), "ModelVersion": self._versions()}
        for kind in SPEC_KINDS:
            found = self._kube.list(kind, self._namespace, OPERATED)
            state[kind] = {document["metadata"]["name"]: _essence(document) for document in found}
        return json.loads(json.dumps(state).replace(self._namespace, "NAMESPACE"))  # type: ignore[no-any-return]

    def _secrets(self) -> dict[str, list[str]]:
        found = self._kube.list("Secret", self._namespace, OPERATED)
        return {secret["metadata"]["name"]: sorted(secret["data"]) for secret in found}

    def _versions(self) -> dict[str, str]:
        return {v["metadata"]["name"]: v["spec"]["digest"] for v in self._kube.list("ModelVersion", self._namespace)}

    def _document(self, name: str, step: int) -> Document:
        bytes_step = 2 if step == 2 else 0
        scoring = {"initTimeoutSeconds": 100 + step}
        # Twins share one model, so that each version of it could be registered twice.
        models = [self._model("twin" if name.startswith("twin") else name, bytes_step)]
        more: Document = {}
        aks: Document = {}
        if name == "plain":
            aks = {"autoscale": {"minReplicas": 1, "maxReplicas": 1}}
        elif name == "scripted":
            aks = {"networkPolicy": step != 1}
            more = {"code": specs.echo(f"step {step}")}
        elif name == "pair":
            models.append(self._model("second", bytes_step))
            more = {"code": specs.echo("pair")}
        return specs.model_deployment(self._namespace, name, models, aks=aks, scoring=scoring, **more)

    def _model(self, name: str, step: int) -> Document:
        data = classifier(1.0 + step, salt=name)
        return specs.model(name, self._shelf.put(f"{name}-{step}.onnx", data), sha256=digest(data))


def _essence(document: Document) -> Document:
    metadata, spec = document["metadata"], dict(document.get("spec", {}))
    for given in ("clusterIP", "clusterIPs"):
        spec.pop(given, None)
    return {
        "labels": metadata["labels"],
        "owners": [(owner["kind"], owner["name"]) for owner in metadata["ownerReferences"]],
        "spec": spec,
        "data": document.get("data"),
    }


def test_sigkill_at_any_moment_changes_no_end_state(
    kube: Kube, without_election: None, namespace: str, shelf: Shelf
) -> None:
    moments = random.Random(SEED)
    kills: list[str] = []

    def killed_after(what: str) -> None:
        delay = moments.uniform(0, KILL_WITHIN_SECONDS)
        outage.until(time.monotonic() + delay)
        assert install.kill(kube) > 0, "no process was killed"
        install.wait_rolled_out(kube)
        kills.append(f"{what} + {delay:.2f} s")

    story = Story(kube, namespace, shelf)
    for step in (0, 1, 2):
        for name in Story.names:
            story.apply(name, step)
            killed_after(f"{name}, step {step}")
    story.settle(seconds=180)
    state = story.end_state()

    with a_namespace(kube, "calm") as calm_namespace:
        calm = Story(kube, calm_namespace, shelf)
        for step in (0, 1, 2):
            for name in Story.names:
                calm.apply(name, step)
            calm.settle(seconds=180)
        assert state == calm.end_state(), f"kills: {kills}"
    expected = {f"{m}-{n}": digest(classifier(1.0 + s, salt=m)) for m in ("plain", "scripted", "twin", "pair", "second")
                for n, s in ((1, 0), (2, 2))}  # fmt: skip
    assert state["ModelVersion"] == {name: f"sha256:{value}" for name, value in expected.items()}

    for name in Story.names:
        kube.delete("ModelDeployment", namespace, name)
        killed_after(f"delete {name}")
    assert len(kills) >= 20
    for kind in CHILD_KINDS:
        kube.wait(
            f"no {kind} is left behind",
            lambda kind=kind: not kube.list(kind, namespace, OPERATED),
            namespace=namespace,
            seconds=90,
        )
    assert story.end_state()["ModelVersion"] == state["ModelVersion"]


def test_thirty_seconds_without_an_api_server_lose_nothing(
    kube: Kube, own_node: None, namespace: str, shelf: Shelf
) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
    kube.apply(specs.model_deployment(namespace, "before", [entry], code=specs.echo("before"), auth={"mode": "None"}))
    kube.wait_ready(namespace, "before")
    address = kube.must_get("Service", namespace, "before")["spec"]["clusterIP"]
    pods = {pod["metadata"]["uid"]: _restarts(pod) for pod in install.pods(kube)}
    other = specs.model("sun", shelf.put("sun.onnx", classifier(2.5)))
    kube.apply(specs.model_deployment(namespace, "during", [other], code=specs.echo("during")))
    answers: set[str] = set()
    outage.devcluster("stop-component", "kube-apiserver")
    try:
        end = time.monotonic() + OUTAGE_SECONDS
        while time.monotonic() < end:
            request = urllib.request.Request(f"http://{address}/score", data=b"{}")
            with urllib.request.urlopen(request, timeout=10) as answer:
                answers.add(answer.read().decode())
            time.sleep(0.2)
    finally:
        outage.devcluster("start-component", "kube-apiserver")
        # Kubernetes' own components pause for up to a minute after an outage. This is about the operator alone.
        outage.restart("kube-proxy", "kube-controller-manager", "kube-scheduler", "kubelet")
    assert [json.loads(answer) for answer in answers] == [{"answer": "before"}]
    kube.wait_ready(namespace, "during")
    kube.wait_ready(namespace, "before")
    healed_within(kube, namespace, "before", seconds=35)
    assert {pod["metadata"]["uid"]: _restarts(pod) for pod in install.pods(kube)} == pods


def _restarts(pod: Document) -> list[int]:
    return [container["restartCount"] for container in pod["status"]["containerStatuses"]]


def healed_within(kube: Kube, namespace: str, name: str, *, seconds: float, since: float | None = None) -> None:
    """Delete the Service of a ModelDeployment and see it come again, counted from `since` or from the deletion."""
    before = kube.must_get("Service", namespace, name)["metadata"]["uid"]
    kube.delete("Service", namespace, name)
    began = time.monotonic() if since is None else since

    def again() -> bool:
        found = kube.get("Service", namespace, name)
        return found is not None and found["metadata"]["uid"] != before

    kube.wait("the Service is made again", again, namespace=install.NAMESPACE, seconds=60, poll=0.1)
    taken = time.monotonic() - began
    print(f"healed after {taken:.1f} s")
    assert taken <= seconds, f"healed after {taken:.1f} s\n{install.log_tail(kube)}"


def test_delete_and_create_while_the_operator_is_away(kube: Kube, own_node: None, namespace: str, shelf: Shelf) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
    kube.apply(specs.model_deployment(namespace, "leaving", [entry], code=specs.echo("x"), aks={"networkPolicy": True}))
    kube.wait_ready(namespace, "leaving")
    install.scale(kube, 0)
    try:
        kube.delete("ModelDeployment", namespace, "leaving")
        kube.wait_gone("ModelDeployment", namespace, "leaving", seconds=10)
        for kind in CHILD_KINDS:
            kube.wait(
                f"no {kind} is left behind",
                lambda kind=kind: not kube.list(kind, namespace, OPERATED),
                namespace=namespace,
                seconds=90,
            )
        kube.apply(specs.model_deployment(namespace, "coming", [entry]))
    finally:
        install.scale(kube, 1)
    kube.wait_ready(namespace, "coming")


def test_a_model_update_under_load_fails_no_request(
    kube: Kube, operator: None, namespace: str, shelf: Shelf, client: Client
) -> None:
    aks = {"replicas": 2}
    old = specs.model("rain", shelf.put("old.onnx", classifier(1.5)))
    new = specs.model("rain", shelf.put("new.onnx", classifier(9.0)))
    kube.apply(specs.model_deployment(namespace, "busy", [old], aks=aks))
    order = client.order(kube.wait_ready(namespace, "busy"), {"data": [[1.0, 1.0]]})
    with client.load(order) as load:
        kube.wait("the old model answers", lambda: sum(client.load_report(order).values()) > 50, namespace=namespace)
        kube.apply(specs.model_deployment(namespace, "busy", [new], aks=aks))
        ready = kube.wait_ready(namespace, "busy", seconds=180)
        # Ready means that nothing but the new revision is left: what still drains must answer too.
        selector = ready["status"]["selector"]
        kube.wait(
            "the old pods are gone",
            lambda: len(kube.list("Pod", namespace, selector)) == 2,
            namespace=namespace,
            seconds=120,
        )
    assert load.failures == {}, load.answers
    assert {json.loads(text)["result"][0] for _, text in load.answers} == {0, 1}
    assert load.total > 200, load.answers


@pytest.mark.parametrize("way", [pytest.param("killed", id="killed"), pytest.param("frozen", id="frozen")])
def test_another_replica_takes_over_from_a_lost_leader(
    kube: Kube, two_replicas: None, namespace: str, shelf: Shelf, way: str
) -> None:
    entry = specs.model("rain", shelf.put("rain.onnx", classifier(1.5)))
    kube.apply(specs.model_deployment(namespace, "followed", [entry]))
    kube.wait_ready(namespace, "followed")
    pod = install.leading_pod(kube)
    name = pod["metadata"]["name"]
    number = signal.SIGKILL if way == "killed" else signal.SIGSTOP
    began = time.monotonic()
    assert install.send_signal(pod, number) > 0, "no process was signalled"
    if way == "killed":
        kube.delete("Pod", install.NAMESPACE, name, grace=0)
    try:
        healed_within(kube, namespace, "followed", seconds=FAILOVER_SECONDS, since=began)
        assert install.leading_pod(kube)["metadata"]["name"] != name
    finally:
        install.send_signal(pod, signal.SIGCONT)
    successor = install.leader(kube)
    # The old leader, awake again, must find out that it leads no more: the Lease stays where it is.
    install.wait_rolled_out(kube)
    healed_within(kube, namespace, "followed", seconds=5)
    assert install.leader(kube) == successor
