"""ModelDeployments as users write them, sized so that many fit on a small node."""

from __future__ import annotations

from typing import Any

from tests.e2e.kube import Document

API_VERSION = "modeldeploy.dev/v1alpha1"
SMALL = {"cpu": "20m", "memory": "256Mi"}

ECHO_SCRIPT = """\
def init():
    pass


def run(raw_data):
    return {"answer": "%s"}
"""


def model(name: str, uri: str, **more: Any) -> Document:
    """One entry of spec.models that is read from a URI; `sha256` goes where it belongs."""
    source = {"uri": uri, **({"sha256": more.pop("sha256")} if "sha256" in more else {})}
    return {"name": name, "source": source, **more}


def model_deployment(
    namespace: str, name: str, models: list[Document], *, aks: Document | None = None, **spec: Any
) -> Document:
    """A ModelDeployment with one small replica, unless `aks` says otherwise."""
    target: Document = {"resources": SMALL, **(aks or {})}
    if "autoscale" not in target:
        target.setdefault("replicas", 1)
    return {
        "apiVersion": API_VERSION,
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"models": models, "target": {"aks": target}, **spec},
    }


def echo(answer: str) -> Document:
    """Inline code that answers always the same."""
    return {"inline": ECHO_SCRIPT % answer}


def config_map(namespace: str, name: str, data: dict[str, str]) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": data,
    }
