"""Every reason that a user can meet has a row in docs/troubleshooting.md, and no row is about nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = (ROOT / "operator" / "modeldeploy_operator", ROOT / "scoring-image" / "scoring_server")
CAMEL = re.compile(r"^(?:[A-Z][a-z0-9]+){2,}$")
# Words of Kubernetes, of Swagger and of our own API that look like reasons and are none that status carries.
OTHER_WORDS = {
    "AlreadyExists", "AlwaysAllow", "AuthMode", "BearerToken", "ClusterRegistry", "ConfigMap",
    "CreateContainerConfigError", "CreateContainerError", "CredentialsReady", "CustomResourceDefinition",
    "DeleteOptions", "ErrImageNeverPull", "ErrImagePull", "ErrorResponse", "FallbackToLogsOnError", "GetSwaggerSpec",
    "HorizontalPodAutoscaler", "IfNotPresent", "ImagePullBackOff", "InvalidImageName", "ModelDeployment",
    "ModelDeploymentSpec", "ModelFormat", "ModelVersion", "ModelVersionSpec", "NetworkPolicy",
    "NewReplicaSetAvailable", "NoExecute", "NoSchedule", "NotFound", "NotLeading", "ObjectMeta", "ObjectRef",
    "OnRootMismatch", "PodDisruptionBudget", "PodScheduled", "PreCreateHookError", "PreferNoSchedule",
    "RegistryUnavailable", "ReplicaFailure", "ReplicaSet", "RollingUpdate", "RunContainerError", "RuntimeDefault",
    "ServiceAccount", "ServiceHealthCheck", "ServiceInput", "ServiceOutput", "SparseTensor", "WatchBroken",
    "WatchLost",
}  # fmt: skip


def constants(tree: ast.AST) -> Iterator[str]:
    """Every string that is a CamelCase word of two or more parts, and the first word given to an error type."""
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str() as value) if CAMEL.match(value):
                yield value
            case ast.Call(
                func=ast.Name(id="Stalled" | "Waiting" | "Unavailable"), args=[ast.Constant(value=value), *_]
            ):
                yield str(value)


def in_code() -> set[str]:
    files = [path for package in PACKAGES for path in package.rglob("*.py")]
    return {word for path in files for word in constants(ast.parse(path.read_text()))}


def in_page() -> set[str]:
    text = (ROOT / "docs" / "troubleshooting.md").read_text()
    return {line.split("`")[1] for line in text.splitlines() if line.startswith("| `")}


def test_every_reason_has_a_row() -> None:
    assert in_code() - OTHER_WORDS - in_page() == set()


def test_every_row_is_about_a_reason_that_the_code_knows() -> None:
    sources = "".join(path.read_text() for package in PACKAGES for path in package.rglob("*.py"))
    assert {reason for reason in in_page() if f'"{reason}"' not in sources} == set()


def test_every_other_word_is_still_in_the_code() -> None:
    assert OTHER_WORDS - in_code() == set()
