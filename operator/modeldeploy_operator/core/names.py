"""Names, labels and ownership of everything the operator makes. The same input gives the same name, for ever.

Only what identifies an object belongs here; what is in it stands in the renders.
"""

from __future__ import annotations

import hashlib
from typing import Any, Literal

import orjson

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core.documents import MODEL_DEPLOYMENT

FIELD_MANAGER = "modeldeploy-operator"

NAME = "app.kubernetes.io/name"
MANAGED_BY = "app.kubernetes.io/managed-by"
PART_OF = "app.kubernetes.io/part-of"
COMPONENT = "app.kubernetes.io/component"
DEPLOYMENT_LABEL = "modeldeploy.dev/deployment"
REVISION_LABEL = "modeldeploy.dev/revision"
MODEL_LABEL = "modeldeploy.dev/model"

APPLIED_ANNOTATION = "modeldeploy.dev/applied"
ATTEMPT_ANNOTATION = "modeldeploy.dev/attempt"
REFRESH_ANNOTATION = "modeldeploy.dev/refresh-requested-at"

Component = Literal["scoring", "registration"]


def short_hash(value: object) -> str:
    """Ten hex digits of the SHA-256 of a JSON value; the order of mapping keys does not matter."""
    return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:10]


def labels(deployment: ModelDeployment, component: Component = "scoring") -> dict[str, str]:
    """The labels of every child."""
    return {
        NAME: deployment.metadata.name,
        MANAGED_BY: FIELD_MANAGER,
        PART_OF: "modeldeploy",
        COMPONENT: component,
        DEPLOYMENT_LABEL: deployment.metadata.name,
    }


def selector(deployment: ModelDeployment) -> dict[str, str]:
    """What tells scoring pods of one deployment from all others. Kubernetes never lets this change."""
    return {COMPONENT: "scoring", DEPLOYMENT_LABEL: deployment.metadata.name}


def selector_text(deployment: ModelDeployment) -> str:
    """`selector` as kubectl and the scale subresource write it."""
    return ",".join(f"{key}={value}" for key, value in sorted(selector(deployment).items()))


def owner_reference(deployment: ModelDeployment) -> dict[str, Any]:
    """Makes the garbage collector remove a child with its ModelDeployment.

    blockOwnerDeletion stays away: it would need a permission on finalizers that nothing else here uses.
    """
    return {
        "apiVersion": MODEL_DEPLOYMENT.api_version,
        "kind": MODEL_DEPLOYMENT.kind,
        "name": deployment.metadata.name,
        "uid": deployment.metadata.uid,
        "controller": True,
    }


def keys_secret(deployment: ModelDeployment) -> str:
    """The Secret with primaryKey and secondaryKey."""
    return deployment.spec.auth.keys_secret_name or f"{deployment.metadata.name}-keys"


def code_config_map(deployment: ModelDeployment, digest: str) -> str:
    """The operator's own copy of one state of the code; `digest` is ScoringCode.digest."""
    return f"{deployment.metadata.name}-code-{digest}"


def registration_pod(deployment: ModelDeployment, digest: str) -> str:
    """The pod that reads one source; `digest` is the short hash of what is asked of it."""
    return f"{deployment.metadata.name}-register-{digest}"


def version_object(model: str, version: int) -> str:
    """The ModelVersion. Versions hold no dash, so two different pairs never share a name."""
    return f"{model}-{version}"


def revision(template: object) -> str:
    """The value of the revision label for a pod template that does not carry that label yet."""
    return short_hash(template)


def revision_name(deployment: ModelDeployment, label: str) -> str:
    """A revision as status shows it."""
    return f"{deployment.metadata.name}-{label}"
