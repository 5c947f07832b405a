"""What a model registry must offer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core.facts import Failure, ResolvedModel
from modeldeploy_operator.errors import ReconcileError


@dataclass(frozen=True)
class Resolution:
    """What became of the models of a spec: all of them resolved, or the first problem.

    `failure` is the newest failed attempt's own account (phase, reason, message), for status.lastFailure.
    `retry_after`: seconds after which the object must be looked at again, None when events will do.
    """

    models: tuple[ResolvedModel, ...] | ReconcileError
    failure: Failure | None = None
    retry_after: float | None = None


class ModelRegistry(Protocol):
    """Keeps versions of models. The same bytes and metadata are the same version, for ever."""

    async def resolve(self, deployment: ModelDeployment) -> Resolution:
        """The version of every model in the spec, registering what is new. Idempotent; safe to be killed anywhere.

        Reads a source only when the model's entry or the refresh annotation changed since status.models tells.
        """
