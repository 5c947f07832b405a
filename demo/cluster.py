"""Which cluster the demo uses, and the two programs that talk to it: kubectl and helm."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .terminal import DemoError, note, run, show

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / ".devcluster"
DEVCLUSTER = (sys.executable, "-m", "devcluster")
OPERATOR_NAMESPACE = "modeldeploy-system"
RELEASE = "modeldeploy"
MARK = "modeldeploy.dev/demo"
"""Annotation, or label of the Helm release, of what the demo made and may take away."""


@dataclass(frozen=True)
class Cluster:
    """A cluster by kubeconfig and context. `own` is true for the devcluster of this checkout."""

    kubeconfig: Path
    context: str | None
    own: bool
    environ: Mapping[str, str] = field(repr=False, default_factory=lambda: dict(os.environ))

    def __str__(self) -> str:
        if self.own:
            return "the devcluster of this checkout"
        return f"the cluster of KUBECONFIG={self.kubeconfig}, context {self.context or '(the current one)'}"

    @property
    def env(self) -> dict[str, str]:
        """The environment of kubectl and helm."""
        return {**self.environ, "KUBECONFIG": str(self.kubeconfig)}

    def kubectl_command(self, *arguments: str) -> list[str]:
        """A kubectl command line for this cluster."""
        return [program("kubectl"), *(["--context", self.context] if self.context else []), *arguments]

    def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """Run kubectl and return what it printed."""
        return run(self.kubectl_command(*arguments), env=self.env, stdin=stdin)

    def get(self, *arguments: str) -> dict[str, Any] | None:
        """One object or list as JSON; None when it does not exist."""
        text = self.kubectl("get", *arguments, "--ignore-not-found", "-o", "json")
        return json.loads(text) if text.strip() else None

    def apply(self, document: Mapping[str, Any]) -> None:
        """Apply one document, server-side, as the demo's."""
        self.kubectl(
            "apply", "--server-side", "--field-manager=modeldeploy-demo", "-f", "-", stdin=json.dumps(document)
        )

    def helm(self, *arguments: str) -> str:
        """Run helm and return what it printed."""
        context = ["--kube-context", self.context] if self.context else []
        return run([program("helm"), *context, *arguments], env=self.env)


def program(name: str) -> str:
    """kubectl or helm: the devcluster's own copy, or the one on PATH; built when there is neither."""
    own = STATE / "bin" / name
    found = str(own) if own.exists() else shutil.which(name)
    if found is None:
        note(f"{name} is missing: building it from its Go module, which takes minutes the first time")
        part = {"kubectl": "kube", "helm": "helm"}[name]
        built = run([*DEVCLUSTER, "build", "--parts", part]).splitlines()[-1]
        own.parent.mkdir(parents=True, exist_ok=True)
        own.symlink_to(built)  # one program serves as kubectl, kubelet and others by the name that it is called by
        found = str(own)
    return found


def chosen(environ: Mapping[str, str]) -> Cluster:
    """The cluster of KUBECONFIG and KUBE_CONTEXT where they are given, else the devcluster."""
    given = environ.get("KUBECONFIG")
    own = STATE / "kubeconfig"
    if given and Path(given).resolve() != own:
        if not Path(given).exists():
            raise DemoError(f"KUBECONFIG names {given}, which does not exist")
        return Cluster(Path(given), environ.get("KUBE_CONTEXT"), own=False)
    return Cluster(own, None, own=True)


def start(cluster: Cluster) -> None:
    """Bring the devcluster up with our images; a cluster of the user's own is only asked whether it answers."""
    if cluster.own:
        show([*DEVCLUSTER, "up"])
        show([*DEVCLUSTER, "images"])
    else:
        cluster.kubectl("version", "--request-timeout=10s")


def install(cluster: Cluster) -> None:
    """Install or upgrade the operator by its chart. One that somebody else installed is used as it is."""
    if _somebody_elses(cluster):
        note(f"the operator is installed already, not by the demo: release {RELEASE} is used as it is")
        return
    values: list[str] = []
    if cluster.own:
        values = [
            "--set", "image.repository=localhost/modeldeploy-operator,image.tag=dev",
            "--set", "scoring.images.lean=localhost/modeldeploy-scoring:dev",
            "--set", "scoring.images.sklearn=localhost/modeldeploy-scoring-sklearn:dev",
            "--set", "imagePullPolicy=IfNotPresent",
        ]  # fmt: skip
    cluster.helm(
        "upgrade", "--install", RELEASE, str(ROOT / "charts" / "modeldeploy"),
        "--namespace", OPERATOR_NAMESPACE, "--create-namespace", "--wait", "--timeout", "180s",
        "--labels", f"{MARK}=yes", *values,
    )  # fmt: skip


def uninstall(cluster: Cluster) -> None:
    """Remove the operator, its CRDs and its namespace, where the demo installed it."""
    if _somebody_elses(cluster):
        note("the operator was not installed by the demo: it stays")
        return
    if _release(cluster):
        cluster.helm("uninstall", RELEASE, "--namespace", OPERATOR_NAMESPACE, "--wait")
    crds = [f"{plural}.modeldeploy.dev" for plural in ("modeldeployments", "modelversions")]
    cluster.kubectl("delete", "crd", *crds, "--ignore-not-found", "--wait")
    cluster.kubectl("delete", "namespace", OPERATOR_NAMESPACE, "--ignore-not-found", "--wait")


def _release(cluster: Cluster, *selector: str) -> bool:
    """Whether the release exists; helm keeps the labels that it was installed with."""
    listed = cluster.helm("list", "-q", "--namespace", OPERATOR_NAMESPACE, "--filter", f"^{RELEASE}$", *selector)
    return bool(listed.strip())


def _somebody_elses(cluster: Cluster) -> bool:
    installed = cluster.get("deployment", "modeldeploy-operator", "--namespace", OPERATOR_NAMESPACE) is not None
    return installed and not _release(cluster, "--selector", f"{MARK}=yes")
