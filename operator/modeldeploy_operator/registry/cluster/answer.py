"""What became of one model, and what all models of a spec amount to. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.api.v1alpha1 import ModelFormat
from modeldeploy_operator.core.documents import Document
from modeldeploy_operator.core.facts import Failure, ResolvedModel
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting
from modeldeploy_operator.registry.port import Resolution

from . import outcome, request
from .request import Request

# What an event should bring long before.
MISSED_EVENT_SECONDS = 15.0


@dataclass(frozen=True)
class Answer:
    """What became of one model."""

    model: ResolvedModel | ReconcileError
    failure: Failure | None = None
    retry_after: float | None = None
    pod: str | None = None
    """The registration pod that must stay, because status does not remember its result yet."""


def together(answers: Sequence[Answer], tidied: float | None) -> Resolution:
    """All models, or the problem that most needs somebody."""
    waits = [wait for wait in (*(answer.retry_after for answer in answers), tidied) if wait is not None]
    failures = [answer.failure for answer in answers if answer.failure is not None]
    failure = max(failures, key=lambda candidate: candidate.at, default=None)
    problems = [answer.model for answer in answers if isinstance(answer.model, ReconcileError)]
    models = tuple(answer.model for answer in answers if isinstance(answer.model, ResolvedModel))
    return Resolution(min(problems, key=_urgency) if problems else models, failure, min(waits, default=None))


def _urgency(problem: ReconcileError) -> int:
    """Who must act comes first, calm progress last; within one class the spec's order decides."""
    if isinstance(problem, Stalled):
        return 0
    if isinstance(problem, Unavailable):
        return 1
    return 3 if problem.reason == "Registering" else 2


def resolved(asked: Request, spec: dict[str, Any], uri: str) -> Answer:
    """The version with this spec, to be fetched from `uri`."""
    model = ResolvedModel(
        name=asked.model.name,
        version=int(spec["version"]),
        digest=spec["digest"],
        uri=uri,
        format=ModelFormat(spec["format"]),
        request=asked.fingerprint,
    )
    return Answer(model)


def failed(asked: Request, failure: Failure, retry_after: float | None) -> Answer:
    return Answer(outcome.problem(failure, asked.model.name, retry_after), failure, retry_after, asked.pod)


def going(asked: Request, pod: Document, read: outcome.Going) -> Answer:
    """A pod on its way. While a second attempt goes on, what the first one found still stands."""
    before = outcome.last_failure(pod)
    if read.stuck is not None:
        problem = Waiting(read.stuck.reason, f"Model {asked.model.name}: {read.stuck.message}")
        return Answer(problem, before, pod=asked.pod)
    return reading(asked) if before is None else failed(asked, before, MISSED_EVENT_SECONDS)


def reading(asked: Request) -> Answer:
    message = f"Model {asked.model.name}: a registration pod reads {asked.uri}."
    return Answer(Waiting("Registering", message), pod=asked.pod)


def no_config_map(asked: Request) -> Answer:
    """Its arrival wakes the object; looking again now and then costs one GET."""
    name = request.config_map_of(asked.model)
    message = f"Model {asked.model.name}: ConfigMap {name} does not exist in namespace {asked.namespace}."
    return Answer(Waiting("ConfigMapNotFound", message), retry_after=MISSED_EVENT_SECONDS, pod=asked.pod)
