"""The cluster of the measurement: a control plane without kubelet, kwok nodes, the CRDs, the operator's own rights."""

from __future__ import annotations

import base64
import json
import os
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

ROOT = Path(__file__).resolve().parents[2]
HERE = Path(__file__).resolve().parent
INSTANCE = "scale"
STATE = ROOT / f".devcluster-{INSTANCE}"
NAMESPACE = "fleet"
OPERATOR_NAMESPACE = "modeldeploy-system"
NODES = 12


def devcluster(*arguments: str) -> str:
    """Run a verb of the devcluster; its progress goes to the terminal."""
    command = [sys.executable, "-m", "devcluster", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout


@dataclass(frozen=True)
class Fleet:
    """A running control plane: where it is, and clients for it."""

    server: str
    context: ssl.SSLContext
    user: str

    def client(self, **options: Any) -> httpx.AsyncClient:
        """An administrator's client."""
        limits = httpx.Limits(max_connections=32)
        return httpx.AsyncClient(base_url=self.server, verify=self.context, limits=limits, timeout=60, **options)


@contextmanager
def running() -> Iterator[tuple[Fleet, Path]]:
    """The fleet's cluster and a kubeconfig with just the rights that the chart grants the operator."""
    helm = devcluster("build", "--parts", "kube,helm,kwok").splitlines()[1]
    kwok = devcluster("build", "--parts", "kwok").splitlines()[-1]
    devcluster("down", "--instance", INSTANCE)
    devcluster("up", "--control-plane-only", "--instance", INSTANCE)
    try:
        kubectl("create", "namespace", OPERATOR_NAMESPACE)
        kubectl("create", "namespace", NAMESPACE)
        rendered = subprocess.run(
            [
                helm, "template", "modeldeploy", str(ROOT / "charts" / "modeldeploy"),
                "--namespace", OPERATOR_NAMESPACE, "--kube-version=1.34.4",
            ],
            check=True, text=True, capture_output=True,
        ).stdout  # fmt: skip
        kinds = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding", "ServiceAccount"}
        kinds.add("CustomResourceDefinition")
        documents = [d for d in yaml.safe_load_all(rendered) if d and d["kind"] in kinds]
        kubectl("apply", "--server-side", "-n", OPERATOR_NAMESPACE, "-f", "-", stdin=yaml.safe_dump_all(documents))
        kubectl("wait", "--for=condition=Established", "crd/modeldeployments.modeldeploy.dev", "--timeout=30s")
        account = next(d["metadata"]["name"] for d in documents if d["kind"] == "ServiceAccount")
        for number in range(NODES):
            kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(_node(number)))
        fleet = _fleet(account)
        with tempfile.TemporaryDirectory() as folder, _kwok(kwok):
            yield fleet, _operator_kubeconfig(fleet, account, Path(folder))
    finally:
        devcluster("down", "--instance", INSTANCE)


def kubectl(*arguments: str, stdin: str | None = None) -> str:
    """kubectl as the administrator."""
    command = [str(STATE / "bin" / "kubectl"), "--kubeconfig", str(STATE / "kubeconfig"), *arguments]
    return subprocess.run(command, check=True, text=True, input=stdin, stdout=subprocess.PIPE).stdout


def _node(number: int) -> dict[str, Any]:
    size = {"cpu": "1000", "memory": "4Ti", "pods": "1000"}
    metadata = {"name": f"kwok-{number}", "annotations": {"kwok.x-k8s.io/node": "fake"}}
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": metadata, "status": {"capacity": size, "allocatable": size},
    }  # fmt: skip


def _fleet(account: str) -> Fleet:
    config = yaml.safe_load((STATE / "kubeconfig").read_text())
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    with tempfile.TemporaryDirectory() as folder:
        pair = [Path(folder) / name for name in ("client.crt", "client.key")]
        for path, field in zip(pair, ("client-certificate-data", "client-key-data"), strict=True):
            path.touch(mode=0o600)
            path.write_bytes(base64.b64decode(user[field]))
        context.load_cert_chain(str(pair[0]), str(pair[1]))
    return Fleet(cluster["server"], context, f"system:serviceaccount:{OPERATOR_NAMESPACE}:{account}")


def _operator_kubeconfig(fleet: Fleet, account: str, folder: Path) -> Path:
    config = yaml.safe_load((STATE / "kubeconfig").read_text())
    token = kubectl("create", "token", account, "-n", OPERATOR_NAMESPACE, "--duration=24h").strip()
    config["users"][0]["user"] = {"token": token}
    path = folder / "operator.kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(config))
    return path


@contextmanager
def _kwok(program: str) -> Iterator[None]:
    """kwok beside the control plane, with the stages of this folder for pods."""
    command = [
        program, f"--kubeconfig={STATE / 'kubeconfig'}", "--manage-all-nodes=true", f"--config={HERE / 'stages.yaml'}",
        "--node-lease-duration-seconds=1200", "--server-address=",
    ]  # fmt: skip
    with (
        (STATE / "logs" / "kwok.log").open("w") as log,
        subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "GOGC": "400"}) as process,
    ):
        try:
            yield
        finally:
            process.terminate()
