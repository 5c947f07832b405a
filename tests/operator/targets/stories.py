"""Reads the stories under tests/golden/aks and tells what the pure half makes of them.

A story is a folder. By hand: deployment.yaml (with the status it has so far), observed.yaml (the children; see
`_observe` for the short forms) and, where it differs from the usual, wish.yaml. Written by `make golden`: desired.yaml,
actions.yaml and status.yaml, whose difference is reviewed as the specification.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from modeldeploy_operator.api.v1alpha1 import AuthMode, ModelDeployment, ModelFormat
from modeldeploy_operator.core import names
from modeldeploy_operator.core.decide import Action, Apply, Delete, Scale, decide
from modeldeploy_operator.core.documents import Document, Key, key_of
from modeldeploy_operator.core.facts import (
    Assessment,
    Credentials,
    Facts,
    Failure,
    Images,
    ResolvedModel,
    ScoringCode,
    Wish,
)
from modeldeploy_operator.core.report import report
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS, AksRenderer

from tests.operator.api_server import stored

GOLDEN = Path(__file__).parents[2] / "golden" / "aks"
IMAGES = Images("registry.example.com/scoring:1", "registry.example.com/scoring-sklearn:1", "IfNotPresent")
NOW = "2026-08-01T12:00:00Z"
LATER = "2026-08-01T12:01:00Z"

_PROBLEMS: dict[str, type[ReconcileError]] = {"stalled": Stalled, "waiting": Waiting, "unavailable": Unavailable}


@dataclass(frozen=True)
class Outcome:
    """What one pass over a story yields."""

    deployment: ModelDeployment
    desired: tuple[Document, ...] | None
    observed: Mapping[Key, Document]
    actions: tuple[Action, ...]
    assessment: Assessment
    facts: Facts
    status: dict[str, Any]


def stories() -> list[str]:
    return sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())


@cache
def outcome(story: str, now: str = NOW) -> Outcome:
    """One pass over the story, as the shell would make it."""
    folder = GOLDEN / story
    deployment = ModelDeployment.model_validate(_yaml(folder / "deployment.yaml"))
    told = _yaml(folder / "wish.yaml") if (folder / "wish.yaml").exists() else {}
    models, code, credentials = _models(deployment, told), _code(told), _credentials(deployment, told)
    desired = None
    if not isinstance(models, ReconcileError) and not isinstance(code, ReconcileError):
        assert not isinstance(credentials, ReconcileError)
        desired = AksRenderer().desired(deployment, Wish(models, credentials, code, IMAGES))
    observed = _observe(_yaml(folder / "observed.yaml") or [], deployment, desired or ())
    actions, action_problem = _decide(deployment, desired, observed)
    assessment = AksRenderer().assess(deployment, desired, observed, now)
    failure = Failure(**told["registrationFailure"]) if "registrationFailure" in told else None
    facts = Facts(models, credentials, code, assessment, action_problem, failure)
    return Outcome(deployment, desired, observed, actions, assessment, facts, report(deployment, facts, now))


def texts(story: str) -> dict[str, str]:
    """The golden files of a story, by name."""
    found = outcome(story)
    return {
        "desired.yaml": _dump(list(found.desired or ())),
        "actions.yaml": _dump([_action(action) for action in found.actions]),
        "status.yaml": _dump(found.status),
    }


def with_status(deployment: ModelDeployment, status: dict[str, Any]) -> ModelDeployment:
    return deployment.model_copy(update={"status": status})


def _decide(
    deployment: ModelDeployment, desired: tuple[Document, ...] | None, observed: Mapping[Key, Document]
) -> tuple[tuple[Action, ...], ReconcileError | None]:
    if desired is None or deployment.spec.suspend:
        return (), None
    try:
        return decide(desired, observed, deployment.metadata.uid, MANAGED_KINDS), None
    except ReconcileError as error:
        return (), error


def _action(action: Action) -> str:
    match action:
        case Apply(document, force):
            return f"apply {key_of(document)}{'' if force else ' (new)'}"
        case Scale(key, replicas):
            return f"scale {key} to {replicas}"
        case Delete(key):
            return f"delete {key}"


def _problem(told: object) -> ReconcileError | None:
    for kind, problem in _PROBLEMS.items():
        if isinstance(told, dict) and list(told) == [kind]:
            return problem(told[kind]["reason"], told[kind]["message"])
    return None


def _models(deployment: ModelDeployment, told: dict[str, Any]) -> tuple[ResolvedModel, ...] | ReconcileError:
    """As registered; without a word in wish.yaml each model has version 1 and is ONNX unless the spec says so."""
    given = told.get("models", {})
    problem = _problem(given)
    return problem or tuple(
        ResolvedModel(
            name=model.name,
            version=given.get(model.name, {}).get("version", 1),
            digest=f"sha256:{hashlib.sha256(f'{model.name} {given.get(model.name)}'.encode()).hexdigest()}",
            uri=model.source.uri if model.source else "https://models.example.com/registered.onnx",
            format=model.format or ModelFormat.ONNX,
            request=names.short_hash([model.name, given.get(model.name)]),
        )
        for model in deployment.spec.models
    )


def _code(told: dict[str, Any]) -> ScoringCode | ReconcileError | None:
    given = told.get("code")
    if given is None:
        return None
    return _problem(given) or ScoringCode(given["entryScript"], given["files"], names.short_hash(given))


def _credentials(deployment: ModelDeployment, told: dict[str, Any]) -> Credentials | ReconcileError | None:
    if deployment.spec.auth.mode is AuthMode.NONE:
        return None
    given = {
        "secret_name": names.keys_secret(deployment),
        "secret_uid": "uid-of-secret",
        "primary_fingerprint": "111111111111",
        "secondary_fingerprint": "222222222222",
        "owned": True,
    }
    return Credentials(**{**given, **told.get("credentials", {})})


def _observe(
    entries: list[dict[str, Any]], deployment: ModelDeployment, desired: tuple[Document, ...]
) -> dict[Key, Document]:
    """The children, from full documents and three short forms; a later one replaces an earlier one.

    {like: all} is every desired document as the API server holds it, {like: KIND, merge: {…}} one of them with changes,
    {pod: NAME, revision: wanted|HEX, ready: true|false, merge: {…}} a scoring pod. {without: KIND} takes one away.
    """
    found: dict[Key, Document] = {}
    for entry in entries:
        if "without" in entry:
            found = {key: document for key, document in found.items() if key.kind.kind != entry["without"]}
            continue
        found |= {key_of(document): document for document in _expanded(entry, deployment, desired)}
    return found


def _expanded(entry: dict[str, Any], deployment: ModelDeployment, desired: tuple[Document, ...]) -> Iterator[Document]:
    if "pod" in entry:
        yield _merged(_pod(entry, deployment, desired), entry.get("merge", {}))
    elif "like" in entry:
        for document in desired:
            if entry["like"] in ("all", document["kind"]):
                yield _merged(stored(document), entry.get("merge", {}))
    else:
        yield entry


def _pod(entry: dict[str, Any], deployment: ModelDeployment, desired: tuple[Document, ...]) -> Document:
    revision = entry["revision"]
    spec: Document = {"containers": [{"name": "scoring"}]}
    for document in desired:
        if document["kind"] == "Deployment":
            template = document["spec"]["template"]
            spec = template["spec"]
            revision = template["metadata"]["labels"][names.REVISION_LABEL] if revision == "wanted" else revision
    ready = "True" if entry.get("ready", False) else "False"
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": entry["pod"],
            "namespace": deployment.metadata.namespace,
            "labels": {**names.labels(deployment), names.REVISION_LABEL: revision},
        },
        "spec": spec,
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
    }


def _merged(document: Any, changes: Any) -> Any:
    if not isinstance(document, dict) or not isinstance(changes, dict):
        return changes
    merged = {**document, **{name: _merged(document.get(name), value) for name, value in changes.items()}}
    return {name: value for name, value in merged.items() if value is not None or name not in changes}


def _yaml(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def _dump(value: Any) -> str:
    # Written by `make golden`; edit the story instead.
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
