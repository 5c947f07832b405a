"""The examples as the demo tells them: train, apply, wait, ask with what status says, compare."""

from __future__ import annotations

import base64
import json
import re
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from .cluster import MARK, ROOT, Cluster
from .terminal import DemoError, note, run

READY_WITHIN_SECONDS = 240


@dataclass(frozen=True)
class Story:
    """One folder below examples/ and the folder that its trained models go to."""

    name: str
    build: Path

    @property
    def folder(self) -> Path:
        """Where the example stands."""
        return ROOT / "examples" / self.name

    @property
    def request(self) -> Any:
        """The request that its README shows."""
        return json.loads((self.folder / "request.json").read_text())

    @property
    def expected(self) -> Any:
        """The answer that its README shows."""
        return json.loads((self.folder / "expected.json").read_text())

    def train(self) -> None:
        """Run the example's train.py into the build folder."""
        note(f"$ python examples/{self.name}/train.py")
        note(run([sys.executable, str(self.folder / "train.py"), "--output", str(self.build)]).rstrip())

    def documents(self) -> Iterator[dict[str, Any]]:
        """What deployment.yaml refers to (ConfigMaps of models and code), then the ModelDeployment itself."""
        deployment = yaml.safe_load((self.folder / "deployment.yaml").read_text())
        models: dict[str, dict[str, str]] = {}
        for model in deployment["spec"]["models"]:
            uri = urlsplit(model["source"]["uri"])
            if uri.scheme != "configmap":
                raise DemoError(f"examples/{self.name}: the demo provides configmap:// sources only")
            key = uri.path.lstrip("/")
            (path,) = self.build.glob(f"**/{model['name']}/**/{key}")
            models.setdefault(uri.netloc, {})[key] = base64.b64encode(path.read_bytes()).decode()
        for name, files in models.items():
            yield _config_map(name, binaryData=files)
        code = deployment["spec"].get("code", {})
        if "configMapRef" in code:
            script = code["entryScript"]
            yield _config_map(code["configMapRef"]["name"], data={script: (self.folder / script).read_text()})
        yield deployment


def _config_map(name: str, **content: Any) -> dict[str, Any]:
    metadata = {"name": name, "annotations": {MARK: "yes"}}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **content}


def apply(cluster: Cluster, story: Story, namespace: str) -> None:
    """Apply what the story needs, the deployment last."""
    for document in story.documents():
        document["metadata"]["namespace"] = namespace
        cluster.apply(document)
    note(f"$ kubectl apply -n {namespace} -f examples/{story.name}/deployment.yaml")


def wait_ready(cluster: Cluster, story: Story, namespace: str) -> dict[str, Any]:
    """Wait until the deployment is Ready at its newest generation, telling every change on the way."""
    told = ""
    deadline = time.monotonic() + READY_WITHIN_SECONDS
    while True:
        found = cluster.get("modeldeployment", story.name, "--namespace", namespace)
        status: dict[str, Any] = (found or {}).get("status", {})
        conditions = {condition["type"]: condition for condition in status.get("conditions", [])}
        ready = conditions.get("Ready", {"status": "Unknown", "reason": "Waiting", "message": "no status yet"})
        line = f"{story.name}: Ready={ready['status']} {ready['reason']}: {ready['message']}"
        if line != told:
            note(line)
            told = line
        current = found is not None and status.get("observedGeneration") == found["metadata"]["generation"]
        if ready["status"] == "True" and current:
            return status
        if time.monotonic() > deadline:
            raise DemoError(
                f"{story.name} was not Ready after {READY_WITHIN_SECONDS} s; ask it why:\n"
                f"kubectl describe mldep {story.name} -n {namespace}"
            )
        time.sleep(0.3)


def ask(cluster: Cluster, story: Story, namespace: str, status: dict[str, Any]) -> Any:
    """Score the story's request with nothing but what status names. The key never reaches the terminal."""
    secret_name = status["auth"]["keysSecretRef"]["name"]
    secret = cluster.get("secret", secret_name, "--namespace", namespace)
    if secret is None:
        raise DemoError(f"status names the Secret {secret_name}, which is gone")
    key = base64.b64decode(secret["data"]["primaryKey"]).decode()
    uri = urlsplit(status["endpoint"]["scoringUri"])
    with _forwarded(cluster, (uri.hostname or "").split(".")[0], namespace) as port:
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
        body = json.dumps(story.request).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}{uri.path}", body, headers)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise DemoError(f"{story.name} answered {error.code}: {error.read().decode()[:500]}") from error


@contextmanager
def _forwarded(cluster: Cluster, service: str, namespace: str) -> Iterator[int]:
    """A local port that leads to a Service, whatever the cluster's network is."""
    command = cluster.kubectl_command("port-forward", "--namespace", namespace, f"service/{service}", ":80")
    with subprocess.Popen(
        command, env=cluster.env, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"127\.0\.0\.1:(\d+)", line)
            if found is None:
                raise DemoError(f"kubectl port-forward said: {line.strip()}")
            port = int(found.group(1))
            with socket.create_connection(("127.0.0.1", port), timeout=10):
                pass
            yield port
        finally:
            process.terminate()


def close(expected: Any, got: Any) -> bool:
    """Equal, numbers within 1e-4: libraries differ in the last digits from machine to machine."""
    match expected, got:
        case dict(), dict():
            return expected.keys() == got.keys() and all(close(expected[key], got[key]) for key in expected)
        case list(), list():
            return len(expected) == len(got) and all(close(a, b) for a, b in zip(expected, got, strict=True))
        case ((float() | int()), (float() | int())):
            return abs(expected - got) <= 1e-4
        case _:
            return bool(expected == got)
