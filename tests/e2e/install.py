"""The chart on the shared cluster, and the operator's pods: found, read, killed."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.kube import Document, Kube

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts" / "modeldeploy"
NAMESPACE = "modeldeploy-system"
RELEASE = "modeldeploy"
OPERATOR = "modeldeploy-operator"
SELECTOR = "app.kubernetes.io/component=operator,app.kubernetes.io/instance=modeldeploy"
LEASE = "modeldeploy-operator"

LEAN_IMAGE = "localhost/modeldeploy-scoring:dev"
VALUES: Mapping[str, Any] = {
    "image": {"repository": "localhost/modeldeploy-operator", "tag": "dev"},
    "scoring": {"images": {"lean": LEAN_IMAGE, "sklearn": "localhost/modeldeploy-scoring-sklearn:dev"}},
}


def _helm() -> str:
    own = ROOT / ".devcluster" / "bin" / "helm"
    found = str(own) if own.exists() else shutil.which("helm")
    assert found is not None, "no helm: `make cluster-up` builds one"
    return found


@contextmanager
def _exclusively(lock: Path) -> Iterator[None]:
    """One process at a time: the workers of a run share the cluster."""
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def run_name(shared: Path) -> str:
    """A name of this test run, the same in all its workers. `shared` is a folder that they all see."""
    file = shared / "run"
    with _exclusively(shared / "run.lock"):
        if not file.exists():
            file.write_text(secrets.token_hex(4))
        return file.read_text()


def once(kubeconfig: str, shared: Path) -> None:
    """Install the chart unless another worker of this run has done so."""
    done = shared / "installed"
    with _exclusively(shared / "install.lock"):
        if not done.exists():
            kube = Kube(kubeconfig)
            install(kube, run=run_name(shared))
            kube.close()
            done.touch()


def install(kube: Kube, *, run: str, **values: Any) -> None:
    """Bring the release about with these values beside the usual ones, and wait until its pods are ready.

    `run` becomes an annotation of the pods: images keep their tag when they are built again, so that every test run
    starts with new pods.
    """
    namespace = {"app.kubernetes.io/managed-by": "e2e", "pod-security.kubernetes.io/enforce": "restricted"}
    metadata = {"name": NAMESPACE, "labels": namespace}
    kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
    given = json.dumps({**VALUES, "podAnnotations": {"e2e/run": run}, **values})
    # --take-ownership: CRDs that were applied by hand before become the release's.
    command = [
        _helm(), "upgrade", "--install", RELEASE, str(CHART), "--namespace", NAMESPACE, "--values", "-",
        "--take-ownership", "--kubeconfig", kube.kubeconfig,
    ]  # fmt: skip
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    wait_rolled_out(kube)


def wait_rolled_out(kube: Kube, *, seconds: float = 90) -> None:
    """Until every operator pod is of the newest template and ready, and no other is left."""

    def probe() -> bool:
        deployment = kube.must_get("Deployment", NAMESPACE, OPERATOR)
        status, wanted = deployment.get("status", {}), deployment["spec"]["replicas"]
        counts = [status.get(f, 0) for f in ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas")]
        current = status.get("observedGeneration") == deployment["metadata"]["generation"]
        # The Deployment's figures lag behind a pod that was killed a moment ago: the pods themselves must be ready.
        found = pods(kube)
        return current and counts == [wanted] * 4 and len(found) == wanted and all(map(_is_ready, found))

    kube.wait("the operator is rolled out", probe, namespace=NAMESPACE, seconds=seconds)


def _is_ready(pod: Document) -> bool:
    conditions = pod.get("status", {}).get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def pods(kube: Kube) -> list[Document]:
    """The operator's pods, those that are going away included."""
    return kube.list("Pod", NAMESPACE, SELECTOR)


def scale(kube: Kube, replicas: int) -> None:
    """Set the number of operator pods and wait for it; at 0, until the last has gone."""
    kube.patch("Deployment", NAMESPACE, OPERATOR, {"spec": {"replicas": replicas}})
    wait_rolled_out(kube)


def leader(kube: Kube) -> str:
    """The holder's identity in the Lease."""
    lease = kube.must_get("Lease", NAMESPACE, LEASE)
    return str(lease["spec"].get("holderIdentity") or "")


def leading_pod(kube: Kube) -> Document:
    """The pod that holds the Lease; identities begin with, or are, the pod's name."""

    def probe() -> Document | None:
        holder = leader(kube)
        return next((p for p in pods(kube) if holder.startswith(p["metadata"]["name"])), None)

    return kube.wait("a pod of the operator leads", probe, namespace=NAMESPACE, seconds=40)


def processes(pod: Document) -> list[int]:
    """The process ids of a pod's containers on this machine, found by the container's id in their cgroup."""
    ids = [c.get("containerID", "").rpartition("/")[2] for c in pod["status"].get("containerStatuses", [])]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            groups = (entry / "cgroup").read_text()
        except OSError:  # it has just ended
            continue
        if any(i and i in groups for i in ids):
            found.append(int(entry.name))
    return sorted(found)


def send_signal(pod: Document, number: signal.Signals) -> int:
    """Signal every process of a pod; yields how many there were."""
    sent = 0
    for process in processes(pod):
        try:
            os.kill(process, number)
        except ProcessLookupError:
            continue
        sent += 1
    return sent


def kill(kube: Kube) -> int:
    """SIGKILL to the operator as it stands, and a new pod at once: the kubelet alone would wait ever longer.

    Yields how many processes there were.
    """
    killed = 0
    for pod in pods(kube):
        killed += send_signal(pod, signal.SIGKILL)
        kube.delete("Pod", NAMESPACE, pod["metadata"]["name"], grace=0)
    return killed


def log_tail(kube: Kube, *, about: str = "", lines: int = 400, shown: int = 25) -> str:
    """The end of the operators' logs; with `about`, only the lines that hold it."""
    texts = []
    for pod in pods(kube):
        name = pod["metadata"]["name"]
        log = [line for line in kube.log(NAMESPACE, name, lines=lines).splitlines() if about in line]
        texts.append(f"--- log of {name}" + "".join(f"\n{line[:1000]}" for line in log[-shown:]))
    return "\n".join(texts)
