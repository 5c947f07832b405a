"""One pass over one ModelDeployment: resolve, render, observe, decide, act, assess, report, write.

The order of the steps and what follows from their errors stands here, and nothing else: what should be is decided by
pure functions, and everything that touches the world goes through a port.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, assert_never

import structlog
from pydantic import ValidationError

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core import decide, report
from modeldeploy_operator.core.decide import Action, Apply, Delete, Scale
from modeldeploy_operator.core.documents import CONFIG_MAP, NETWORK_POLICY, SERVICE_ACCOUNT, Document, Key, key_of
from modeldeploy_operator.core.facts import Credentials, Facts, Images, Observed, ResolvedModel, ScoringCode, Wish
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting
from modeldeploy_operator.registry.port import ModelRegistry
from modeldeploy_operator.statuses import Statuses
from modeldeploy_operator.store import uid_of
from modeldeploy_operator.targets.port import Port, Renderer

log = structlog.get_logger(__name__)

NEEDED_BY_PODS = (SERVICE_ACCOUNT, CONFIG_MAP, NETWORK_POLICY)

REFUSED_SECONDS = 300.0
"""What the API server refuses may be mended where no watch can see it: a role, a policy, a webhook."""


class Lookup(Protocol):
    """The part of Store that finds the object."""

    def get(self, key: Key) -> Document | None:
        """The object as the watch told it."""


class Keys(Protocol):
    """Who keeps the keys Secrets."""

    async def ensure(self, deployment: ModelDeployment) -> Credentials | None:
        """The credentials, None without key authentication."""

    def forget(self, namespace: str, name: str) -> None:
        """The deployment is gone."""


class CodeSource(Protocol):
    """Who reads the script."""

    async def resolve(self, deployment: ModelDeployment) -> ScoringCode | None:
        """The script and what lies beside it, None without code."""


@dataclass(frozen=True)
class Steps:
    """Who takes which step of a pass."""

    registry: ModelRegistry
    keys: Keys
    code: CodeSource
    renderer: Renderer
    port: Port
    statuses: Statuses
    images: Images


@dataclass(frozen=True)
class Verdict:
    """When to look again: `after` seconds, None: when something changes; `failed`: not before a growing backoff."""

    result: str
    after: float | None = None
    failed: bool = False


@dataclass
class _Agenda:
    """Collects from the steps of one pass when the next is due."""

    times: list[float] = field(default_factory=list)
    failed: bool = False

    def at(self, seconds: float | None) -> None:
        if seconds is not None:
            self.times.append(seconds)

    def note(self, problem: object) -> None:
        match problem:
            case Waiting(retry_after=seconds):
                self.at(seconds)
            case Unavailable(retry_after=None):
                self.failed = True
            case Unavailable(retry_after=seconds):
                self.at(seconds)

    def verdict(self, result: str) -> Verdict:
        return Verdict(result, min(self.times, default=None), self.failed)


class Reconciler:
    """Stateless between passes, but for the parsed objects."""

    def __init__(self, store: Lookup, steps: Steps, now: Callable[[], str]) -> None:
        self._store = store
        self._steps = steps
        self._now = now
        self._parsed: dict[Key, tuple[str, ModelDeployment]] = {}

    async def reconcile(self, key: Key) -> Verdict:
        """One pass. Raises nothing: a bug in one object's pass must not stop the others."""
        document = self._store.get(key)
        if document is None or document["metadata"].get("deletionTimestamp"):
            self._forget(key)
            return Verdict("gone")
        try:
            deployment = self._parse(key, document)
        except ValidationError:
            # The API server let it pass, so its CRD is not of this release.
            log.exception("object.unreadable", key=str(key))
            return Verdict("unreadable", failed=True)
        try:
            return await self._pass(key, deployment)
        except Unavailable as error:
            log.info("pass.unavailable", key=str(key), reason=error.reason, why=error.message)
            return Verdict("unavailable", error.retry_after, failed=True)
        except Exception:
            log.exception("pass.failed", key=str(key))
            return await self._confess(key, deployment)

    async def _pass(self, key: Key, deployment: ModelDeployment) -> Verdict:
        agenda = _Agenda()
        facts = await self._facts(deployment, agenda)
        for problem in (facts.models, facts.credentials, facts.code, facts.action_problem, facts.assessment.problem):
            agenda.note(problem)
        agenda.at(facts.assessment.recheck_after)
        if isinstance(facts.action_problem, Stalled):
            agenda.at(REFUSED_SECONDS)
        now = self._now()
        try:
            agenda.at(await self._steps.statuses.bring(key, deployment, report.report(deployment, facts, now), now))
        except Stalled as refusal:
            log.error("status.refused", key=str(key), reason=refusal.reason, why=refusal.message)
            agenda.at(REFUSED_SECONDS)
        except Waiting as refusal:
            agenda.note(refusal)
        verdict = agenda.verdict(_result(facts))
        if verdict.after is None and not verdict.failed:
            self._parsed.pop(key, None)  # at rest: whatever wakes it brings another version
        return verdict

    async def _facts(self, deployment: ModelDeployment, agenda: _Agenda) -> Facts:
        steps = self._steps
        if deployment.spec.suspend:
            observed = steps.port.observe(deployment)
            assessment = steps.renderer.assess(deployment, None, observed, self._now())
            return Facts(_SUSPENDED, None, None, assessment)
        resolution = await steps.registry.resolve(deployment)
        agenda.at(resolution.retry_after)
        models = resolution.models
        credentials = await self._credentials(deployment)
        code = await self._code(deployment)
        desired, problem = self._desired(deployment, models, credentials, code)
        observed = steps.port.observe(deployment)
        if desired is not None:
            problem = await self._act(deployment, desired, observed)
        assessment = steps.renderer.assess(deployment, desired, observed, self._now())
        return Facts(models, credentials, code, assessment, problem, resolution.failure)

    def _desired(
        self,
        deployment: ModelDeployment,
        models: tuple[ResolvedModel, ...] | ReconcileError,
        credentials: Credentials | ReconcileError | None,
        code: ScoringCode | ReconcileError | None,
    ) -> tuple[Sequence[Document] | None, ReconcileError | None]:
        """Everything that should be, or None: half a set would prune what the other half is."""
        if isinstance(models, ReconcileError) or isinstance(credentials, ReconcileError):
            return None, None
        if isinstance(code, ReconcileError):
            return None, None
        try:
            wish = Wish(models, credentials, code, self._steps.images)
            return self._steps.renderer.desired(deployment, wish), None
        except ReconcileError as error:
            return None, error

    async def _credentials(self, deployment: ModelDeployment) -> Credentials | ReconcileError | None:
        try:
            return await self._steps.keys.ensure(deployment)
        except ReconcileError as error:
            return error

    async def _code(self, deployment: ModelDeployment) -> ScoringCode | ReconcileError | None:
        try:
            return await self._steps.code.resolve(deployment)
        except ReconcileError as error:
            return error

    async def _act(
        self, deployment: ModelDeployment, desired: Sequence[Document], observed: Observed
    ) -> ReconcileError | None:
        """Do what must be done. One refusal does not keep the rest from being done; an absent API server does."""
        port = self._steps.port
        try:
            actions = decide.decide(desired, observed, deployment.metadata.uid, port.managed_kinds)
        except ReconcileError as error:
            return error
        first: ReconcileError | None = None
        for _, group in itertools.groupby(sorted(actions, key=_turn), _turn):
            for outcome in await asyncio.gather(*map(self._do, group), return_exceptions=True):
                if isinstance(outcome, ReconcileError):
                    first = first or outcome
                elif isinstance(outcome, BaseException):
                    raise outcome
            if isinstance(first, Unavailable):
                break
        return first

    async def _do(self, action: Action) -> None:
        port = self._steps.port
        match action:
            case Apply(document=document, force=False):
                await port.create(document)
            case Apply(document=document):
                await port.apply(document)
            case Scale(key=key, replicas=replicas):
                await port.scale(key, replicas)
            case Delete(key=key):
                await port.delete(key)
            case _:
                assert_never(action)

    async def _confess(self, key: Key, deployment: ModelDeployment) -> Verdict:
        """Tell in status that the operator has failed, as far as that is possible."""
        now = self._now()
        try:
            await self._steps.statuses.bring(key, deployment, report.internal_error(deployment, now), now)
        except Exception:
            log.exception("status.not_written", key=str(key))
        return Verdict("error", failed=True)

    def _parse(self, key: Key, document: Document) -> ModelDeployment:
        version = f"{uid_of(document)}/{document['metadata'].get('resourceVersion')}"
        parsed = self._parsed.get(key)
        if parsed is None or parsed[0] != version:
            parsed = (version, ModelDeployment.model_validate(document))
            self._parsed[key] = parsed
        return parsed[1]

    def _forget(self, key: Key) -> None:
        self._parsed.pop(key, None)
        self._steps.statuses.forget(key)
        self._steps.keys.forget(key.namespace, key.name)


def _turn(action: Action) -> int:
    """What goes together: what pods refer to; everything else that should be; what should not; replicas, last."""
    match action:
        case Apply(document=document):
            return 0 if key_of(document).kind in NEEDED_BY_PODS else 1
        case Delete():
            return 2
        case Scale():
            return 3
        case _:
            assert_never(action)


_SUSPENDED = Waiting("Suspended", "spec.suspend is true.")


def _result(facts: Facts) -> str:
    problems = (facts.models, facts.credentials, facts.code, facts.action_problem, facts.assessment.problem)
    kinds = [type(problem).__name__.lower() for problem in problems if isinstance(problem, ReconcileError)]
    return next(iter(kinds), "ready")
