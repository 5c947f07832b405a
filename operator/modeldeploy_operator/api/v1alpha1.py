"""ModelDeployment and ModelVersion as users write them. Docstrings and descriptions are the CRD's help text.

Nothing enters here that is not part of the wire format: what a field leads to stands in `core` and `targets`.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import Field

from .shapes import Rule, Shape

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
SecretName = Annotated[str, Field(pattern=r"^[a-z0-9]([-.a-z0-9]*[a-z0-9])?$", min_length=1, max_length=253)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$", max_length=20)]
Tags = Annotated[dict[str, Annotated[str, Field(max_length=256)]], Field(max_length=32)]


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
            "self.uri.matches('^(https?|pvc|configmap)://[^/?#]+/.+')",
            "uri must be https://host/path, http://host/path, pvc://claim/path or configmap://name/key",
        ),
        Rule(
            "!self.uri.matches('^https?://[^/]*@') && !self.uri.contains('?')",
            "uri must not carry a user name, password or query: it can be read by whoever may read this object",
        ),
    )

    uri: Annotated[str, Field(min_length=1, max_length=2048)] = Field(
        description="https://, http://, pvc://claim/path or configmap://name/key."
    )
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="The SHA-256 that the bytes must have, verified wherever they land."
    )


class Lineage(Shape):
    """Where a model came from."""

    run_id: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="The training run.")
    experiment: Annotated[str, Field(max_length=256)] | None = Field(default=None, description="The experiment.")
    dataset: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="The training data.")
    git_commit: Annotated[str, Field(max_length=64)] | None = Field(
        default=None, description="The commit of the training code."
    )


class Model(Shape):
    """One model to serve: bytes to register, or a version that is registered already."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.source) != has(self.version)", "give exactly one of source and version"),
        Rule(
            "!has(self.version) || (!has(self.format) && !has(self.description) && !has(self.tags)"
            " && !has(self.lineage))",
            "format, description, tags and lineage belong to the registered version: leave them out where version is"
            " given",
        ),
    )

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=50)] = Field(
        description="The model's name in the registry; unique in this deployment."
    )
    source: Source | None = Field(default=None, description="Where the bytes are; they become a version.")
    version: Annotated[str, Field(pattern=r"^([1-9][0-9]{0,8}|latest)$")] | None = Field(
        default=None, description='A registered version such as "2", or latest.'
    )
    format: ModelFormat | None = Field(default=None, description="Detected when absent.")
    description: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="For people.")
    tags: Tags | None = Field(default=None, description="Free labels of this version.")
    lineage: Lineage | None = Field(default=None, description="Run, experiment, data and commit.")


class ObjectRef(Shape):
    """An object in the same namespace."""

    name: SecretName = Field(description="Its name.")


class Code(Shape):
    """The scoring script with init() and run()."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("has(self.configMapRef) != has(self.inline)", "give exactly one of configMapRef and inline"),
    )

    entry_script: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][-A-Za-z0-9_.]*\.py$", max_length=128)] = Field(
        default="score.py", description="The file with init() and run()."
    )
    config_map_ref: ObjectRef | None = Field(
        default=None, description="A ConfigMap that holds the script and the modules beside it."
    )
    inline: Annotated[str, Field(min_length=1, max_length=65536)] | None = Field(
        default=None, description="The script itself, at most 64 KiB."
    )


class Environment(Shape):
    """What the script runs in."""

    image: Annotated[str, Field(min_length=1, max_length=512, pattern=r"^[^\s]+$")] = Field(
        description="An image built on the scoring image; absent: picked by the models' format."
    )


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

    mode: AuthMode = Field(default=AuthMode.KEY, description="Key: bearer of one of two keys. None: anybody.")
    keys_secret_name: SecretName | None = Field(
        default=None, description="Default NAME-keys; an existing Secret is adopted, never overwritten."
    )
    publish_keys_in_status: bool = Field(
        default=False, description="Copy the keys into status, where whoever may read this object can read them."
    )


class Autoscale(Shape):
    """Bounds and target of the HorizontalPodAutoscaler."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self.minReplicas <= self.maxReplicas", "minReplicas must not exceed maxReplicas"),
    )

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="At least this many.")
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = Field(default=10, description="At most this many.")
    target_utilization: Annotated[int, Field(ge=1, le=100)] = Field(
        default=70, description="CPU in per cent of the request, averaged over the replicas."
    )


class Resources(Shape):
    """Requests and limits of the scoring container."""

    cpu: Quantity = Field(default="100m", description="CPU request.")
    memory: Quantity = Field(default="500Mi", description="Memory request.")
    cpu_limit: Quantity | None = Field(default=None, description="CPU limit; absent: none.")
    memory_limit: Quantity | None = Field(default=None, description="Memory limit; absent: the request.")
    accelerators: Annotated[dict[str, Annotated[int, Field(ge=1, le=64)]], Field(max_length=8)] | None = Field(
        default=None, description="Extended resources such as nvidia.com/gpu: 1."
    )


class Rollout(Shape):
    """How a new revision replaces the old one."""

    max_unavailable: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="Replicas that may be missing during an update."
    )
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86400)] = Field(
        default=600, description="Past it a rollout that makes no progress is Stalled."
    )


class Aks(Shape):
    """Serve in the cluster that the operator runs in: AKS or any other."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.autoscale) && has(self.replicas))",
            "give at most one of autoscale and replicas; without both autoscale's defaults (1 to 10 at 70 %) apply",
        ),
    )

    autoscale: Autoscale | None = Field(default=None, description="The default, with 1 to 10 replicas at 70 % CPU.")
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(default=None, description="A fixed number.")
    resources: Resources = Field(default=Resources(), description="Requests and limits of a replica.")
    rollout: Rollout = Field(default=Rollout(), description="How updates proceed.")
    network_policy: bool = Field(
        default=False, description="Create a NetworkPolicy: in only to the scoring port, out only to what is needed."
    )
    node_selector: Annotated[dict[str, str], Field(max_length=16)] | None = Field(
        default=None, description="Labels that a node must have."
    )
    tolerations: Annotated[list[dict[str, Any]], Field(max_length=16)] | None = Field(
        default=None, description="Tolerations of the pods, as in a pod's spec."
    )
    priority_class_name: SecretName | None = Field(default=None, description="PriorityClass of the pods.")


class Target(Shape):
    """Where to serve; exactly one member."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("has(self.aks)", "name one target: aks: {} serves in this cluster"),)

    aks: Aks | None = Field(default=None, description="This cluster: AKS or any other.")


class ModelDeploymentSpec(Shape):
    """Which models, which code and environment, and where."""

    rules: ClassVar[tuple[Rule, ...]] = ()

    description: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="For people.")
    tags: Tags | None = Field(default=None, description="Free labels of the deployment.")
    models: Annotated[list[Model], Field(min_length=1, max_length=20)] = Field(description="The models to serve.")
    code: Code | None = Field(default=None, description="The scoring script; absent: the models are served as is.")
    environment: Environment | None = Field(default=None, description="What the code runs in.")
    scoring: Scoring = Field(default=Scoring(), description="Limits of a replica.")
    auth: Auth = Field(default=Auth(), description="How clients prove themselves.")
    target: Target = Field(description="Where to serve.")
    suspend: bool = Field(default=False, description="Leave everything as it is, and say so.")


class ModelVersionSpec(Shape):
    """One registered version; it never changes."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule("self == oldSelf", "a registered version never changes: register a new one"),
    )

    model: DnsLabel = Field(description="The model's name.")
    version: Annotated[int, Field(ge=1)] = Field(description="The next integer of that name.")
    digest: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] = Field(description="Of the bytes.")
    uri: Annotated[str, Field(max_length=2048)] = Field(description="Where the bytes were read.")
    format: ModelFormat = Field(description="How the model was saved.")
    size_bytes: Annotated[int, Field(ge=0)] = Field(description="Bytes in all.")
    description: Annotated[str, Field(max_length=1024)] | None = Field(default=None, description="For people.")
    tags: Tags | None = Field(default=None, description="Free labels.")
    lineage: Lineage | None = Field(default=None, description="Run, experiment, data and commit.")
    signature: dict[str, Any] | None = Field(default=None, description="Inputs and outputs, where they are known.")


class ObjectMeta(Shape):
    """The part of metadata that the operator reads."""

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

    metadata: ObjectMeta
    spec: ModelDeploymentSpec
    status: dict[str, Any] = Field(default_factory=dict)


class ModelVersion(Shape):
    """One registered version of a model."""

    metadata: ObjectMeta
    spec: ModelVersionSpec
