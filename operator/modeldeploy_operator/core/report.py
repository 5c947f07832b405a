"""From the facts of one pass to the status that users read. Pure: the same facts give the same status.

What a pass could not find out (a step failed before it) keeps the value that status has. lastFailure stays as long as
the deployment is not Ready and leaves with the very status that says Ready=True: while something is wrong its cause
can be read, and a healthy object shows no old alarm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from pydantic.alias_generators import to_camel

from modeldeploy_operator.api.v1alpha1 import AuthMode, ModelDeployment
from modeldeploy_operator.core import conditions, names
from modeldeploy_operator.core.conditions import Condition
from modeldeploy_operator.core.facts import Assessment, Credentials, Facts, Failure, ResolvedModel
from modeldeploy_operator.errors import ReconcileError, Stalled

Status = dict[str, Any]

TARGET = "AKS"
_MESSAGE_LIMIT = 2048
_FAILURE_LIMIT = 4000


def report(deployment: ModelDeployment, facts: Facts, now: str) -> Status:
    """The whole status. `now` (RFC 3339, UTC) enters only where something changed."""
    if deployment.spec.suspend:
        return _suspended(deployment, facts.assessment, now)
    problem = conditions.problem(facts)
    models = _models(deployment, facts)
    status = {
        "observedGeneration": deployment.metadata.generation,
        "conditions": _conditions(deployment, facts, problem, now),
        "target": TARGET,
        "endpoint": dict(facts.assessment.endpoint),
        "auth": _auth(deployment, facts),
        "models": models,
        # kubectl shows only the first result of a path into a list, so the column needs a field of its own.
        "versions": ",".join(model["version"] for model in models) if models else None,
        **_observed(facts.assessment),
        "lastFailure": None if problem is None else _last_failure(deployment, facts),
    }
    return _without_absent(status)


def internal_error(deployment: ModelDeployment, now: str) -> Status:
    """The status after a pass that ended in a bug of the operator: what was known, and that it is not certain."""
    message = "The operator failed with an error of its own, which its log tells; it tries again."
    old = deployment.status.get("conditions") or []
    kept = [condition for condition in old if condition["type"] != conditions.READY]
    ready = conditions.merged(
        [Condition(conditions.READY, "Unknown", "InternalError", message)], old, deployment.metadata.generation, now
    )
    ordered = sorted([*kept, *ready], key=lambda condition: conditions.ORDER.index(condition["type"]))
    return {**deployment.status, "conditions": ordered}


def _conditions(
    deployment: ModelDeployment, facts: Facts, problem: ReconcileError | None, now: str
) -> list[dict[str, Any]]:
    old = deployment.status.get("conditions") or []
    found = (
        _registered(facts.models),
        _credentials_ready(deployment, facts.credentials),
        _available(facts.assessment),
        *_ready(facts.assessment, problem),
    )
    return conditions.merged(found, old, deployment.metadata.generation, now)


def _registered(models: tuple[ResolvedModel, ...] | ReconcileError) -> Condition:
    if isinstance(models, ReconcileError):
        return Condition(conditions.REGISTERED, "False", models.reason, _cut(models.message))
    listed = ", ".join(f"{model.name}:{model.version}" for model in models)
    return Condition(conditions.REGISTERED, "True", "Registered", f"Registered: {listed}.")


def _credentials_ready(deployment: ModelDeployment, credentials: Credentials | ReconcileError | None) -> Condition:
    kind = conditions.CREDENTIALS_READY
    if isinstance(credentials, ReconcileError):
        return Condition(kind, "False", credentials.reason, _cut(credentials.message))
    if deployment.spec.auth.mode is AuthMode.NONE:
        return Condition(kind, "True", "NotRequired", "Anybody may score: spec.auth.mode is None.")
    secret = credentials.secret_name if credentials else names.keys_secret(deployment)
    known = (deployment.status.get("auth") or {}).get("keysSecretRef", {}).get("name") == secret
    if credentials is None and not known:
        return Condition(kind, "False", "Pending", f"Secret {secret} is made once the steps before it are done.")
    return Condition(kind, "True", "KeysReady", f"Secret {secret} holds the keys.")


def _available(assessment: Assessment) -> Condition:
    if assessment.available:
        message = f"{assessment.serving_revision} takes requests."
        return Condition(conditions.AVAILABLE, "True", "Serving", message)
    return Condition(conditions.AVAILABLE, "False", "NoReadyReplica", "No replica is ready to take requests.")


def _ready(assessment: Assessment, problem: ReconcileError | None) -> Iterator[Condition]:
    if problem is None:
        message = f"{assessment.serving_revision} is rolled out and serves."
        yield Condition(conditions.READY, "True", "Ready", message)
        return
    message = _cut(problem.message)
    yield Condition(conditions.READY, "False", problem.reason, message)
    kind = conditions.STALLED if isinstance(problem, Stalled) else conditions.RECONCILING
    yield Condition(kind, "True", problem.reason, message)


def _auth(deployment: ModelDeployment, facts: Facts) -> Status:
    mode = deployment.spec.auth.mode
    old: Status = deployment.status.get("auth") or {}
    match facts.credentials:
        case Credentials() as keys:
            return _without_absent(
                {
                    "mode": mode.value,
                    "keysSecretRef": {"name": keys.secret_name},
                    "primaryKeyFingerprint": keys.primary_fingerprint,
                    "secondaryKeyFingerprint": keys.secondary_fingerprint,
                    "primaryKey": keys.primary,
                    "secondaryKey": keys.secondary,
                }
            )
        case _:
            return old if old.get("mode") == mode.value and mode is AuthMode.KEY else {"mode": mode.value}


def _models(deployment: ModelDeployment, facts: Facts) -> list[Status] | None:
    if isinstance(facts.models, ReconcileError):
        return deployment.status.get("models")
    return [
        {
            "name": model.name,
            "version": str(model.version),
            "digest": model.digest,
            "uri": model.uri,
            "format": model.format.value,
            "request": model.request,
        }
        for model in facts.models
    ]


def _observed(assessment: Assessment) -> Status:
    return {
        "servingRevision": assessment.serving_revision,
        "replicas": assessment.replicas,
        "readyReplicas": assessment.ready_replicas,
        "selector": assessment.selector,
    }


def _last_failure(deployment: ModelDeployment, facts: Facts) -> Status | None:
    old: Status | None = deployment.status.get("lastFailure")
    unregistered = isinstance(facts.models, ReconcileError)
    failure = facts.registration_failure if unregistered else facts.assessment.failure
    if failure is None:
        return old
    new = _failure(failure)
    # The same failure again is no news: its first time says since when, and status stays as it is.
    return old if old is not None and {**old, "at": new["at"]} == new else new


def _failure(failure: Failure) -> Status:
    fields = {to_camel(name): value for name, value in asdict(failure).items()}
    for text in ("message", "exception"):
        if fields[text] is not None:
            fields[text] = _cut(fields[text], _FAILURE_LIMIT)
    return _without_absent(fields)


def _suspended(deployment: ModelDeployment, assessment: Assessment, now: str) -> Status:
    """Everything as it was, with the live figures: suspending stops the operator, not the replicas."""
    old = deployment.status.get("conditions") or []
    generation = deployment.metadata.generation
    message = "spec.suspend is true: nothing is changed until it is false."
    found = [
        _available(assessment),
        Condition(conditions.SUSPENDED, "True", "Suspended", message),
    ]
    if not conditions.find(old, conditions.READY):
        found.append(Condition(conditions.READY, "False", "Suspended", message))
    renewed = conditions.merged(found, old, generation, now)
    dropped = {condition["type"] for condition in renewed} | {conditions.RECONCILING}
    kept = [condition for condition in old if condition["type"] not in dropped]
    return _without_absent(
        {
            **deployment.status,
            "observedGeneration": generation,
            "conditions": sorted([*kept, *renewed], key=lambda c: conditions.ORDER.index(c["type"])),
            **_observed(assessment),
        }
    )


def _cut(text: str, limit: int = _MESSAGE_LIMIT) -> str:
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def _without_absent(fields: Status) -> Status:
    return {name: value for name, value in fields.items() if value is not None}
