"""ModelDeployment and ModelVersion as users write them. Docstrings and descriptions are the CRD's help text.

Nothing enters here that is not part of the wire format: what a field leads to stands in `core` and `targets`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from .fields import Digest, ModelName, ObjectName, Prose, Tags
from .shapes import Rule, Shape, keyed_by
from .target import Aks, Autoscale, Resources, Rollout, Target, Toleration

__all__ = [
    "Aks",
    "Auth",
    "AuthMode",
    "Autoscale",
    "Code",
    "Environment",
    "Lineage",
    "Model",
    "ModelDeployment",
    "ModelDeploymentSpec",
    "ModelFormat",
    "ModelVersion",
    "ModelVersionSpec",
    "ObjectMeta",
    "ObjectRef",
    "Resources",
    "Rollout",
    "Scoring",
    "Signature",
    "Source",
    "Target",
    "Tensor",
    "Toleration",
]


class ModelFormat(StrEnum):
    """How a model was saved."""

    ONNX = "ONNX"
    SKLEARN = "Sklearn"
    MLFLOW = "MLflow"
    CUSTOM = "Custom"


class Source(Shape):
    """Where the bytes of a model are."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.uri.matches('^(https?|pvc|configmap)://')",
            "uri must begin with https://, http://, pvc:// or configmap://",
        ),
        Rule(
            "!self.uri.matches('^https?://') || self.uri.matches('^https?://[^/?#\\\\s]+/([^\\\\s#]*/)?[^/\\\\s#]+$')",
            "an http uri names a host and a file: https://host/path/model.onnx",
        ),
        Rule(
            "!self.uri.startsWith('pvc://') || self.uri.matches('^pvc://[a-z0-9][-.a-z0-9]*/[^/].*$')",
            "a pvc uri names a PersistentVolumeClaim and a file or folder in it: pvc://claim/path",
        ),
        Rule(
            "!self.uri.startsWith('configmap://')"
            " || self.uri.matches('^configmap://[a-z0-9][-.a-z0-9]*/[-._a-zA-Z0-9]+$')",
            "a configmap uri names a ConfigMap and one of its keys: configmap://name/key",
        ),
        Rule(
            "!self.uri.matches('^https?://[^/]*@') && !self.uri.contains('?')",
            "uri must not carry a user name, password or query, which whoever reads this object could read: give a"
            " uri that needs none, or put the file on a volume (pvc://claim/path)",
        ),
        Rule(
            "!self.uri.matches('/[.][.]?(/|$)')",
            "uri must not contain . or .. as a path segment: write the path that it leads to",
        ),
    )

    uri: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="https://host/path/file, http://host/path/file, pvc://claim/path (a file or a folder) or"
        " configmap://name/key."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$", max_length=64)] | None = Field(
        default=None,
        description="The SHA-256 that the bytes must have, in lower-case hexadecimal; verified wherever they land.",
    )


class Lineage(Shape):
    """Where a model came from."""

    run_id: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="The training run.")
    experiment: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="The experiment.")
    dataset: Prose | None = Field(default=None, description="The training data.")
    git_commit: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="The commit of the training code."
    )


class Model(Shape):
    """One model to serve: bytes to register, or a version that is registered already."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.source) != has(self.version)",
            "give exactly one of source (bytes to register) and version (registered already)",
        ),
        Rule(
            "!has(self.version) || (!has(self.format) && !has(self.description) && !has(self.tags)"
            " && !has(self.lineage))",
            "format, description, tags and lineage belong to the registered version: leave them out where version is"
            " given",
        ),
    )

    name: ModelName = Field(description="The model's name in the registry; unique in this deployment.")
    source: Source | None = Field(default=None, description="Where the bytes are; they become a version.")
    version: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,8}|latest)$", max_length=9)] | None = Field(
        default=None, description='A registered version such as "2", or latest.'
    )
    format: ModelFormat | None = Field(default=None, description="How it was saved; detected when absent.")
    description: Prose | None = Field(default=None, description="For people.")
    tags: Tags | None = Field(default=None, description="Free labels of this version.")
    lineage: Lineage | None = Field(default=None, description="Run, experiment, data and commit.")


class ObjectRef(Shape):
    """An object in the same namespace."""

    name: ObjectName = Field(description="Its name.")


class Code(Shape):
    """The scoring script with init() and run()."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.configMapRef) != has(self.inline)",
            "give exactly one of configMapRef (a ConfigMap with the script) and inline (the script itself)",
        ),
    )

    entry_script: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]*[.]py$", max_length=128)] = Field(
        default="score.py", description="The file with init() and run()."
    )
    config_map_ref: ObjectRef | None = Field(
        default=None, description="A ConfigMap that holds the script and the modules beside it."
    )
    inline: Annotated[str, Field(min_length=1, max_length=65536)] | None = Field(
        default=None, description="The script itself, at most 64 KiB."
    )


class Environment(Shape):
    """What the models and the script run in."""

    image: Annotated[
        str,
        Field(
            pattern=r"^([A-Za-z0-9][-A-Za-z0-9.]*(:[0-9]{1,5})?/)?[a-z0-9]+([._-]+[a-z0-9]+)*(/[a-z0-9]+([._-]+[a-z0-9]+)*)*"
            r"(:[A-Za-z0-9_][-A-Za-z0-9_.]{0,127})?(@sha256:[0-9a-f]{64})?$",
            min_length=1,
            max_length=512,
        ),
    ] = Field(description="An image built on the scoring image.")


class Scoring(Shape):
    """Limits of one replica of the scoring server."""

    timeout_ms: Annotated[int, Field(ge=1, le=300000)] = Field(
        default=60000, description="From arrival to answer, in milliseconds; past it 408."
    )
    max_concurrent_requests: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=8, description="Requests that run at once in a replica; others wait."
    )
    max_queue_wait_ms: Annotated[int, Field(ge=0, le=300000)] = Field(
        default=500, description="How long a request may wait, in milliseconds; past it 429."
    )
    init_timeout_seconds: Annotated[int, Field(ge=1, le=3600)] = Field(
        default=300, description="Time for loading and init(), in seconds."
    )


class AuthMode(StrEnum):
    """Who may score."""

    KEY = "Key"
    NONE = "None"


class Auth(Shape):
    """How clients prove themselves."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.mode == 'Key' || !has(self.keysSecretName)",
            "keysSecretName belongs to mode: Key; leave it out with mode: None, which has no keys",
        ),
        Rule(
            "self.mode == 'Key' || !self.publishKeysInStatus",
            "publishKeysInStatus belongs to mode: Key; leave it out with mode: None, which has no keys",
        ),
    )

    mode: AuthMode = Field(
        default=AuthMode.KEY, description="Key: whoever sends one of two keys as bearer token. None: anybody."
    )
    keys_secret_name: ObjectName | None = Field(
        default=None,
        description="The Secret with the keys, NAME-keys when absent; one that exists is adopted, never overwritten.",
    )
    publish_keys_in_status: bool = Field(
        default=False, description="Copy the keys into status, where whoever may read this object can read them."
    )


class ModelDeploymentSpec(Shape):
    """Which models, which code and environment, and where."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.code) || self.models.all(m, !has(m.format) || m.format == 'ONNX')",
            "only ONNX models are served without a script: give code for models of another format",
        ),
        Rule(
            "!has(self.target.aks)"
            " || self.scoring.initTimeoutSeconds < self.target.aks.rollout.progressDeadlineSeconds",
            "scoring.initTimeoutSeconds (300 where it is not given) must be below"
            " target.aks.rollout.progressDeadlineSeconds (600 where it is not given), or a rollout would be given up"
            " while init() may still run: raise the latter",
        ),
    )

    description: Prose | None = Field(default=None, description="For people.")
    tags: Tags | None = Field(default=None, description="Free labels of the deployment.")
    models: Annotated[list[Model], Field(min_length=1, max_length=20)] = Field(
        description="The models to serve.", json_schema_extra=keyed_by("name")
    )
    code: Code | None = Field(default=None, description="The scoring script; absent: ONNX models are served as is.")
    environment: Environment | None = Field(
        default=None, description="What they run in; absent: an image of the release, picked by the models' formats."
    )
    scoring: Scoring = Field(default=Scoring(), description="Limits of a replica.")
    auth: Auth = Field(default=Auth(), description="How clients prove themselves.")
    target: Target = Field(description="Where to serve.")
    suspend: bool = Field(default=False, description="Leave everything as it is, and say so.")


class Tensor(Shape):
    """One input or output of a model."""

    name: Annotated[str, Field(max_length=256)] = Field(description="As in the model.")
    dtype: Annotated[str, Field(max_length=64)] = Field(description="Type of the elements.")
    shape: Annotated[list[Annotated[int, Field(ge=0)] | None], Field(max_length=16)] | None = Field(
        default=None, description="Its dimensions, null for one that may vary; absent where their number is unknown."
    )


class Signature(Shape):
    """What a model takes and gives."""

    inputs: Annotated[list[Tensor], Field(max_length=256)] = Field(description="What it takes.")
    outputs: Annotated[list[Tensor], Field(max_length=256)] = Field(description="What it gives.")


class ModelVersionSpec(Shape):
    """One registered version; it never changes."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self == oldSelf", "a registered version never changes: register a new one"),
    )

    model: ModelName = Field(description="The model's name.")
    version: Annotated[int, Field(ge=1, le=999999999)] = Field(description="The next integer of that name.")
    digest: Digest = Field(
        description="SHA-256 of the file; of a folder: of its files' sorted digests and relative paths."
    )
    uri: Annotated[str, Field(min_length=1, max_length=2048)] = Field(description="Where the bytes were read.")
    format: ModelFormat = Field(description="How the model was saved.")
    size_bytes: Annotated[int, Field(ge=0)] = Field(description="Bytes in all.")
    description: Prose | None = Field(default=None, description="For people.")
    tags: Tags | None = Field(default=None, description="Free labels.")
    lineage: Lineage | None = Field(default=None, description="Run, experiment, data and commit.")
    signature: Signature | None = Field(default=None, description="Inputs and outputs, where they are known.")


class ObjectMeta(Shape):
    """The part of metadata that the operator reads. Its schema is Kubernetes' own."""

    name: str
    namespace: str
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    deletion_timestamp: str | None = None


class ModelDeployment(Shape):
    """The wish: these models, this code and environment, served there, this way."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$')",
            "metadata.name must have at most 40 characters, lower-case letters, digits and -, begin with a letter and"
            " end with a letter or digit: a Service is named so",
        ),
    )

    metadata: ObjectMeta
    spec: ModelDeploymentSpec
    status: dict[str, Any] = Field(default_factory=dict)


class ModelVersion(Shape):
    """One registered version of a model."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            # Not string(version): the API server cannot price a string of unknown length.
            "self.metadata.name.matches('-[1-9][0-9]{0,8}$')"
            " && self.metadata.name.substring(0, self.metadata.name.lastIndexOf('-')) == self.spec.model"
            " && int(self.metadata.name.substring(self.metadata.name.lastIndexOf('-') + 1)) == self.spec.version",
            "metadata.name must be MODEL-VERSION, such as weather-2 for version 2 of model weather",
        ),
    )

    metadata: ObjectMeta
    spec: ModelVersionSpec
