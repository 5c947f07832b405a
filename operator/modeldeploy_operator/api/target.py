"""`spec.target` of a ModelDeployment: where the models are served. Wire format alone, as in v1alpha1."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field

from .fields import Accelerators, LabelKey, LabelValue, NodeLabels, ObjectName, Quantity
from .shapes import Rule, Shape


class Autoscale(Shape):
    """Bounds and target of the HorizontalPodAutoscaler."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "self.minReplicas <= self.maxReplicas",
            "minReplicas must not exceed maxReplicas (10 where it is not given): raise maxReplicas",
        ),
    )

    min_replicas: Annotated[int, Field(ge=1, le=1000)] = Field(default=1, description="At least this many.")
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = Field(default=10, description="At most this many.")
    target_utilization: Annotated[int, Field(ge=1, le=100)] = Field(
        default=70, description="CPU in per cent of the request, averaged over the replicas."
    )


def _at_least(field: str, floor: str) -> str:
    return f"!isQuantity(self.{field}) || quantity(self.{field}).compareTo(quantity({floor})) >= 0"


def _limit(field: str, request: str) -> str:
    return f"!has(self.{field}) || !isQuantity(self.{request}) || {_at_least(field, f'self.{request}')}"


class Resources(Shape):
    """Requests and limits of the scoring container."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(_at_least("cpu", "'1m'"), "cpu must be at least 1m, a thousandth of a core"),
        Rule(
            _at_least("memory", "'1Mi'"),
            "memory must be at least 1Mi; the suffix m means thousandths of a byte: write 500Mi, not 500m",
        ),
        Rule(_limit("cpuLimit", "cpu"), "cpuLimit must not be below cpu (100m where it is not given)"),
        Rule(_limit("memoryLimit", "memory"), "memoryLimit must not be below memory (500Mi where it is not given)"),
    )

    cpu: Quantity = Field(default="100m", description="CPU request.")
    memory: Quantity = Field(default="500Mi", description="Memory request.")
    cpu_limit: Quantity | None = Field(default=None, description="CPU limit; absent: none.")
    memory_limit: Quantity | None = Field(default=None, description="Memory limit; absent: the request.")
    accelerators: Accelerators | None = Field(
        default=None, description="Extended resources by name, such as nvidia.com/gpu: 1."
    )


class Rollout(Shape):
    """How a new revision replaces the old one."""

    max_unavailable: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="Replicas that may be missing during an update."
    )
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86400)] = Field(
        default=600, description="Past it a rollout that makes no progress is Stalled."
    )


class TolerationOperator(StrEnum):
    """How a toleration compares."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class TaintEffect(StrEnum):
    """What a taint does to pods that do not tolerate it."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(Shape):
    """A taint that the pods tolerate, as in a pod's spec."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            "a toleration without key tolerates every taint: give key, or say operator: Exists",
        ),
        Rule(
            "!(has(self.operator) && self.operator == 'Exists' && has(self.value) && self.value != '')",
            "operator Exists compares no value: leave value out, or say operator: Equal",
        ),
        Rule(
            "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            "tolerationSeconds belongs to effect: NoExecute; leave it out for other effects",
        ),
    )

    key: LabelKey | None = Field(default=None, description="The taint's key; absent with Exists: every taint.")
    operator: TolerationOperator | None = Field(default=None, description="Equal (when absent) or Exists.")
    value: LabelValue | None = Field(default=None, description="The taint's value, for Equal.")
    effect: TaintEffect | None = Field(default=None, description="The taint's effect; absent: every effect.")
    toleration_seconds: Annotated[int, Field(ge=0, le=2147483647)] | None = Field(
        default=None, description="How long a NoExecute taint is tolerated, in seconds; absent: for ever."
    )


class Aks(Shape):
    """Serve in the cluster that the operator runs in: AKS or any other."""

    rules: ClassVar[tuple[Rule, ...]] = (
        Rule(
            "!(has(self.autoscale) && has(self.replicas))",
            "give at most one of autoscale and replicas; without both autoscale's defaults (1 to 10 at 70 %) apply",
        ),
    )

    autoscale: Autoscale | None = Field(
        default=None, description="A HorizontalPodAutoscaler; the default, with 1 to 10 replicas at 70 % CPU."
    )
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        default=None, description="A fixed number instead of autoscaling; kubectl scale sets it."
    )
    resources: Resources = Field(default=Resources(), description="Requests and limits of a replica.")
    rollout: Rollout = Field(default=Rollout(), description="How updates proceed.")
    network_policy: bool = Field(
        default=False, description="Create a NetworkPolicy: in only to the scoring port, out only to what is needed."
    )
    node_selector: NodeLabels | None = Field(default=None, description="Labels that a node must have.")
    tolerations: Annotated[list[Toleration], Field(max_length=16)] | None = Field(
        default=None, description="Taints that the pods tolerate."
    )
    priority_class_name: ObjectName | None = Field(default=None, description="PriorityClass of the pods.")


class Target(Shape):
    """Where to serve; exactly one member."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("has(self.aks)", "name one target: aks: {} serves in this cluster"),)

    aks: Aks | None = Field(default=None, description="This cluster: AKS or any other.")
