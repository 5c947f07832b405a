"""A client in a pod: it gets predictions with nothing but what a ModelDeployment's status leads to."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.kube import Document, Kube

RELAY = Path(__file__).with_name("relay.py")
POD = "client"


@dataclass(frozen=True)
class Answer:
    """One HTTP answer. Status 0: there was none, and `text` says why."""

    status: int
    headers: dict[str, str]
    text: str

    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Load:
    """Requests that go on while a block runs; `answers` is there when it ends: (status, text) with its count."""

    answers: dict[tuple[int, str], int]

    @property
    def failures(self) -> dict[tuple[int, str], int]:
        return {answer: count for answer, count in self.answers.items() if answer[0] != 200}

    @property
    def total(self) -> int:
        return sum(self.answers.values())


def pod(namespace: str, image: str) -> Document:
    """The client's pod: the scoring image's Python and the relay, within the restricted standard."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": POD, "namespace": namespace, "labels": {"e2e": "client"}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 0,
            "restartPolicy": "Never",
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 10001,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "client",
                    "image": image,
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["python", "-u", "-c", RELAY.read_text()],
                    "ports": [{"name": "http", "containerPort": 8000}],
                    "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
                    "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


class Client:
    """Talks to the pod through the API server, so that it works wherever kubectl does."""

    def __init__(self, kube: Kube, namespace: str, image: str) -> None:
        self._kube = kube
        self._namespace = namespace
        kube.create(pod(namespace, image))
        self._proxy = kube.path("Pod", namespace, f"{POD}:8000") + "/proxy"
        self._started = False

    def score(self, deployment: Document, payload: Any, *, key: str = "primaryKey") -> Answer:
        """Ask the endpoint in status, with a key of the Secret that status names."""
        return self._connected(self.order(deployment, payload, key=key))

    def wait_answer(self, deployment: Document, payload: Any, wanted: Any, *, seconds: float = 30) -> None:
        """Until that is the answer. A revision that drains may give its own for a moment yet, always with 200."""

        def probe() -> bool:
            answer = self.score(deployment, payload)
            assert answer.status == 200, answer
            return bool(answer.json() == wanted)

        self._kube.wait(f"the answer is {wanted}", probe, namespace=self._namespace, seconds=seconds)

    def order(self, deployment: Document, payload: Any, *, key: str = "primaryKey") -> Document:
        """The request that `score` sends."""
        order = self.bare_order(deployment, payload)
        order["headers"]["Authorization"] = f"Bearer {self.key(deployment, key)}"
        return order

    def bare_order(self, deployment: Document, payload: Any, *, authorization: str | None = None) -> Document:
        """The request without the Secret's key."""
        headers = {"Content-Type": "application/json"}
        if authorization is not None:
            headers["Authorization"] = authorization
        uri = deployment["status"]["endpoint"]["scoringUri"]
        return {"url": uri, "body": json.dumps(payload), "headers": headers}

    def send(self, order: Document) -> Answer:
        """Send a request; connections that nobody takes are tried again for a while."""
        return self._connected(order)

    def key(self, deployment: Document, name: str = "primaryKey") -> str:
        """A key from the Secret that status names."""
        reference = deployment["status"]["auth"]["keysSecretRef"]["name"]
        secret = self._kube.must_get("Secret", self._namespace, reference)
        return base64.b64decode(secret["data"][name]).decode()

    @contextmanager
    def load(self, order: Document, *, threads: int = 4) -> Iterator[Load]:
        """The request again and again while the block runs."""
        load = Load({})
        name = {"name": order["url"]}
        self._connected(order)
        self._call("/load/start", {**order, **name, "threads": threads})
        try:
            yield load
        finally:
            report = self._call("/load/stop", name)
            load.answers = {(entry["status"], entry["text"]): entry["count"] for entry in report}

    def load_report(self, order: Document) -> dict[tuple[int, str], int]:
        """The answers of a load so far."""
        report = self._call("/load/report", {"name": order["url"]})
        return {(entry["status"], entry["text"]): entry["count"] for entry in report}

    def _connected(self, order: Document) -> Answer:
        # kube-proxy programs a Service's new endpoints up to a second after the pod is ready: until then nobody
        # answers. An answer of whatever status is taken as it is.
        def probe() -> Answer | None:
            answer = Answer(**self._call("/send", order))
            last.append(answer)
            return answer if answer.status else None

        last: list[Answer] = []
        try:
            return self._kube.wait("an answer of any kind", probe, namespace=self._namespace, seconds=20)
        except AssertionError as error:
            raise AssertionError(
                f"{order['url']} does not answer: {last[-1].text if last else 'not asked'}\n{error}"
            ) from None

    def _call(self, path: str, order: Document) -> Any:
        if not self._started:
            self._kube.wait("the client pod is ready", self._is_ready, namespace=self._namespace, seconds=120)
            self._started = True
        return self._kube.call("POST", self._proxy + path, json=order, timeout=60)

    def _is_ready(self) -> bool:
        found = self._kube.get("Pod", self._namespace, POD)
        conditions = ((found or {}).get("status") or {}).get("conditions") or []
        return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
