"""What the operator reports on a ModelDeployment. Docstrings and descriptions are the CRD's help text.

Only what was observed stands here; no field is read back as a wish. Absent is absent: nothing is written as null.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from .fields import Digest, ModelName, ObjectName
from .shapes import Shape, keyed_by
from .v1alpha1 import AuthMode, ModelFormat

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, max_length=64)]
Text = Annotated[str, Field(max_length=32768)]
Url = Annotated[str, Field(max_length=2048)]
Fingerprint = Annotated[str, Field(pattern=r"^[0-9a-f]{12}$", max_length=12)]
ScoringKey = Annotated[str, Field(max_length=1024)]


class ConditionStatus(StrEnum):
    """Whether a condition holds."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class Condition(Shape):
    """One observation of the object's state, in the form that kubectl wait and kstatus understand."""

    type: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=316)] = Field(
        description="Registered, CredentialsReady, Available, Ready; Reconciling, Stalled, Suspended while true."
    )
    status: ConditionStatus = Field(description="Whether it holds.")
    reason: Annotated[str, Field(pattern=r"^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$", max_length=1024)] = Field(
        description="One CamelCase word for programs."
    )
    message: Text = Field(description="A sentence for people.")
    last_transition_time: Timestamp = Field(description="When status last changed.")
    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="The generation that the condition speaks of."
    )


class TargetKind(StrEnum):
    """Where the models are served."""

    AKS = "AKS"


class Endpoint(Shape):
    """Where clients score."""

    scoring_uri: Url = Field(description="POST requests here.")
    swagger_uri: Url = Field(description="The OpenAPI document of this endpoint.")
    host: Annotated[str, Field(max_length=253)] = Field(description="Host of both.")
    port: Annotated[int, Field(ge=1, le=65535)] = Field(description="Port of both.")


class SecretReference(Shape):
    """A Secret in the same namespace."""

    name: ObjectName = Field(description="Its name.")


class AuthStatus(Shape):
    """How clients prove themselves, and where the keys are."""

    mode: AuthMode = Field(description="Key or None.")
    keys_secret_ref: SecretReference | None = Field(
        default=None, description="The Secret with primaryKey and secondaryKey."
    )
    primary_key_fingerprint: Fingerprint | None = Field(
        default=None, description="First 12 hexadecimal digits of the primary key's SHA-256."
    )
    secondary_key_fingerprint: Fingerprint | None = Field(
        default=None, description="First 12 hexadecimal digits of the secondary key's SHA-256."
    )
    primary_key: ScoringKey | None = Field(
        default=None, description="The primary key itself, only where spec.auth.publishKeysInStatus asks for it."
    )
    secondary_key: ScoringKey | None = Field(
        default=None, description="The secondary key itself, only where spec.auth.publishKeysInStatus asks for it."
    )


class ModelStatus(Shape):
    """A model of the spec and the registered version that it stands for."""

    name: ModelName = Field(description="The model's name.")
    version: Annotated[str, Field(pattern=r"^[1-9][0-9]*$", max_length=10)] = Field(
        description="The registered version."
    )
    digest: Digest = Field(description="Of the bytes.")
    uri: Url = Field(description="Where the bytes are read.")
    format: ModelFormat = Field(description="How the model was saved.")
    request: Annotated[str, Field(max_length=128)] = Field(
        description="Fingerprint of the request that led to this version; while it stands the source is not read again."
    )


class FailureStatus(Shape):
    """The newest failure: the user's own exception where there is one."""

    phase: Annotated[str, Field(max_length=64)] = Field(
        description="Where it failed: Fetch, Environment, Load, Init, Verification, or a step of the cluster's own."
    )
    reason: Annotated[str, Field(max_length=128)] = Field(description="One CamelCase word for programs.")
    message: Text = Field(description="A sentence for people.")
    exit_code: Annotated[int, Field(ge=-2147483648, le=2147483647)] | None = Field(
        default=None, description="Exit code of the container."
    )
    pod: Annotated[str, Field(max_length=253)] | None = Field(default=None, description="The pod that failed.")
    exception: Text | None = Field(default=None, description="The exception's type and text.")
    script: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="The file it came from.")
    line: Annotated[int, Field(ge=0)] | None = Field(default=None, description="The line in that file.")
    at: Timestamp = Field(description="When it happened.")


class ModelDeploymentStatus(Shape):
    """What was observed, and which generation of the spec it belongs to."""

    observed_generation: Annotated[int, Field(ge=0)] | None = Field(
        default=None, description="The generation of the spec that this status speaks of."
    )
    conditions: Annotated[list[Condition], Field(max_length=32)] | None = Field(
        default=None,
        description="Registered, CredentialsReady, Available, Ready; Reconciling, Stalled and Suspended while true.",
        json_schema_extra=keyed_by("type"),
    )
    target: TargetKind | None = Field(default=None, description="Where the models are served.")
    endpoint: Endpoint | None = Field(default=None, description="Where clients score.")
    auth: AuthStatus | None = Field(default=None, description="How clients prove themselves.")
    models: Annotated[list[ModelStatus], Field(max_length=20)] | None = Field(
        default=None,
        description="The models with the versions that they stand for.",
        json_schema_extra=keyed_by("name"),
    )
    versions: Annotated[str, Field(max_length=255)] | None = Field(
        default=None, description="The versions of the models in their order, for the column of kubectl get."
    )
    serving_revision: Annotated[str, Field(max_length=253)] | None = Field(
        default=None, description="The revision that takes requests."
    )
    replicas: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Replicas that exist.")
    ready_replicas: Annotated[int, Field(ge=0)] | None = Field(default=None, description="Replicas that take requests.")
    selector: Annotated[str, Field(max_length=1024)] | None = Field(
        default=None, description="Label selector of the pods, for the scale subresource."
    )
    last_failure: FailureStatus | None = Field(
        default=None, description="The newest failure: the user's own exception where there is one."
    )
