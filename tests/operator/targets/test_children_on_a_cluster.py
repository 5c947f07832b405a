"""What only a real API server shows of rendered children: defaults, server-side apply, admission."""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from modeldeploy_operator.core import names
from modeldeploy_operator.core.decide import Action, Apply, Delete, Scale, decide
from modeldeploy_operator.core.documents import Document, Key, key_of
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS

from tests.operator.targets.stories import outcome, stories

pytestmark = pytest.mark.cluster
OWN_KUBECTL = Path(__file__).parents[3] / ".devcluster" / "bin" / "kubectl"


class Kubectl:
    """kubectl in one namespace; the real client shows admission warnings as users see them."""

    def __init__(self, kubeconfig: str, namespace: str) -> None:
        self.namespace = namespace
        binary = str(OWN_KUBECTL) if OWN_KUBECTL.exists() else shutil.which("kubectl")
        assert binary, "kubectl is neither in .devcluster/bin nor in PATH"
        self._command = [binary, "--kubeconfig", kubeconfig]

    def __call__(self, *arguments: str, document: Document | None = None) -> str:
        text = json.dumps(document) if document else None
        command = [*self._command, *arguments]
        run = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60, check=False)
        assert run.returncode == 0, run.stderr
        assert "Warning" not in run.stderr, run.stderr
        return run.stdout

    def take(self, action: Action) -> None:
        """What the operator does for an action."""
        match action:
            case Apply(document):
                self("apply", "--server-side", "--field-manager", names.FIELD_MANAGER, "-f", "-", document=document)
            case Scale(key, replicas):
                patch = json.dumps({"spec": {"replicas": replicas}})
                self("patch", key.kind.plural, key.name, "-n", self.namespace, "--type", "merge", "-p", patch)
            case Delete(key):
                self("delete", key.kind.plural, key.name, "-n", self.namespace, "--wait=true")

    def observe(self) -> dict[Key, Document]:
        """Every child of our kinds, as the API server holds it."""
        kinds = ",".join(kind.plural for kind in MANAGED_KINDS)
        chosen = f"{names.MANAGED_BY}={names.FIELD_MANAGER}"
        listed = json.loads(self("get", kinds, "-n", self.namespace, "-l", chosen, "-o", "json"))
        return {key_of(document): document for document in listed["items"]}


@pytest.fixture
def kubectl(kubeconfig: str) -> Iterator[Kubectl]:
    found = Kubectl(kubeconfig, f"children-{secrets.token_hex(4)}")
    level = "pod-security.kubernetes.io"
    labels = {f"{level}/{mode}": "restricted" for mode in ("enforce", "warn")}
    found("create", "-f", "-", document={
        "apiVersion": "v1", "kind": "Namespace", "metadata": {"name": found.namespace, "labels": labels},
    })  # fmt: skip
    try:
        yield found
    finally:
        found("delete", "namespace", found.namespace, "--wait=false")


@pytest.fixture
def owner(kubectl: Kubectl) -> dict[str, Any]:
    """A real owner, or the garbage collector would take the children at once."""
    name = {"name": "owner", "namespace": kubectl.namespace}
    made = kubectl(
        "create", "-o", "json", "-f", "-", document={"apiVersion": "v1", "kind": "ConfigMap", "metadata": name}
    )
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": json.loads(made)["metadata"]["uid"]}


def _desired(story: str, kubectl: Kubectl, owner: dict[str, Any]) -> tuple[Document, ...]:
    found = json.loads(json.dumps(outcome(story).desired))
    for document in found:
        document["metadata"] |= {"namespace": kubectl.namespace, "ownerReferences": [owner]}
    return tuple(found)


# One of each different set of documents is enough: most stories share theirs.
DIFFERENT = {names.short_hash(outcome(story).desired): story for story in reversed(stories()) if outcome(story).desired}


@pytest.mark.parametrize("story", sorted(DIFFERENT.values()))
def test_applied_children_need_nothing_more_and_draw_no_warning(
    story: str, kubectl: Kubectl, owner: dict[str, Any]
) -> None:
    desired = _desired(story, kubectl, owner)
    for action in decide(desired, {}, owner["uid"], MANAGED_KINDS):
        kubectl.take(action)
    assert decide(desired, kubectl.observe(), owner["uid"], MANAGED_KINDS) == ()


def test_four_fixed_replicas_stay_four_when_they_become_autoscaled_and_back(
    kubectl: Kubectl, owner: dict[str, Any]
) -> None:
    def replicas() -> int:
        return int(kubectl("get", "deployment", "weather", "-n", kubectl.namespace, "-o", "jsonpath={.spec.replicas}"))

    fixed = _desired("autoscaled-replicas-become-fixed", kubectl, owner)
    scaled = _desired("fixed-replicas-become-autoscaled", kubectl, owner)
    for action in decide(fixed, {}, owner["uid"], MANAGED_KINDS):
        kubectl.take(action)
    for desired in (scaled, fixed):
        for action in decide(desired, kubectl.observe(), owner["uid"], MANAGED_KINDS):
            kubectl.take(action)
            assert replicas() == 4
        assert decide(desired, kubectl.observe(), owner["uid"], MANAGED_KINDS) == ()


def test_a_field_that_is_no_longer_desired_is_taken_away(kubectl: Kubectl, owner: dict[str, Any]) -> None:
    desired = _desired("ready", kubectl, owner)
    with_class = json.loads(json.dumps(desired))
    workload = next(document for document in with_class if document["kind"] == "Deployment")
    workload["spec"]["template"]["spec"]["nodeSelector"] = {"pool": "gpu"}
    for wanted in (tuple(with_class), desired):
        for action in decide(wanted, kubectl.observe(), owner["uid"], MANAGED_KINDS):
            kubectl.take(action)
    held = next(d for k, d in kubectl.observe().items() if k.kind.kind == "Deployment")
    assert "nodeSelector" not in held["spec"]["template"]["spec"]
