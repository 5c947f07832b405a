"""Why a scoring pod does not serve, in words that tell the user what to do. Pure.

Each reason has a class: Stalled where the user must act, Waiting where Kubernetes goes on trying and may succeed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from modeldeploy_operator.core import containers
from modeldeploy_operator.core.documents import Document
from modeldeploy_operator.core.facts import Failure
from modeldeploy_operator.errors import ReconcileError, Stalled, Waiting
from modeldeploy_operator.targets.aks.pods import Container, ScoringPod
from modeldeploy_operator.targets.aks.template import FETCH, SCORING

RESTARTS_UNTIL_STALLED = 2
# The kubelet's longest back-off: who has not crashed for so long is no longer in a loop.
LOOP_SECONDS = 300

_CONFIGURATION = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_BACK_OFF = re.compile(r'^Back-off pulling image "[^"]*":?\s*(ErrImagePull|RegistryUnavailable)?:?\s*')
# A registry that says this will say it again; anything else (time-outs, 5xx, rate limits) may pass.
_REFUSED = re.compile(
    r"not found|unauthorized|denied|forbidden|manifest unknown|does not exist|repository name|invalid reference"
    r"|no such image|InvalidImageName|ErrImageNeverPull|couldn't parse",
    re.IGNORECASE,
)
# The same bytes and the same script fail in the same way: waiting for a second attempt would tell nothing new.
_FOR_GOOD = frozenset({
    "SourceNotFound", "DigestMismatch", "SourceForbidden", "SourceRefused", "SourceInvalid",
    "ModelInvalid", "ModelUnsupported", "ScriptNotFound", "ScriptInvalid", "ImportFailed",
})  # fmt: skip
# The network may come back, however often it was tried.
_MAY_PASS = frozenset({"SourceUnavailable"})
_PHASES = {10: "Fetch", 11: "Environment", 12: "Load", 13: "Init", 14: "Verification"}
_FILES_SHOWN = 20
_TAIL = 800


@dataclass(frozen=True)
class Trouble:
    """What is wrong with one pod, as the object's problem and as the failure that status keeps.

    `lasting`: more than a passing stumble, so the deployment is not Ready even where enough other replicas serve.
    `recheck_after`: seconds after which it is over by the passing of time alone, which no event tells.
    """

    pod: str
    problem: ReconcileError
    failure: Failure
    lasting: bool
    recheck_after: float | None = None


def of(pod: ScoringPod, limit: str, now: str) -> Trouble | None:
    """The trouble that keeps `pod` from serving, None where it serves or is simply starting.

    `limit` is the memory limit of its containers.
    """
    if pod.terminating:
        return None
    judge = _loop if pod.ready else _obstacle
    troubles = (judge(pod, container, limit, now) for container in pod.containers)
    return next((found for found in troubles if found is not None), None)


def _loop(pod: ScoringPod, container: Container, limit: str, now: str) -> Trouble | None:
    """A server that crashes, is ready again for a while, and crashes: ready between two crashes is not well.

    Failures on the way up (exit codes of the phases) do not count once it is up.
    """
    ended = container.ended
    if container.name != SCORING or ended is None or container.restarts < RESTARTS_UNTIL_STALLED:
        return None
    if ended.get("exitCode") in _PHASES or not ended.get("finishedAt"):
        return None
    rest = LOOP_SECONDS - (datetime.fromisoformat(now) - datetime.fromisoformat(ended["finishedAt"])).total_seconds()
    if rest <= 0:
        return None
    return replace(_crashed(pod, container, limit, now), recheck_after=rest)


def _obstacle(pod: ScoringPod, container: Container, limit: str, now: str) -> Trouble | None:
    waiting = (container.waiting or {}).get("reason", "")
    if waiting in containers.NOT_PULLED:
        return _not_pulled(pod, container, now)
    if waiting in _CONFIGURATION:
        told = (container.waiting or {}).get("message") or waiting
        message = f"Container {container.name} of pod {pod.name} cannot be started: {told}"
        return _trouble(pod, container, Stalled("ContainerNotStarted", message), Failure("Start", "", told, now))
    ended = container.ended
    if ended is None or (container.started and container.name == SCORING):
        return None
    fetched = container.name == FETCH and ended.get("exitCode") == 0
    return None if fetched else _crashed(pod, container, limit, now)


def _not_pulled(pod: ScoringPod, container: Container, now: str) -> Trouble:
    reason: str = (container.waiting or {})["reason"]
    # The kubelet tells the same cause in turn with and without this prefix.
    cause = _BACK_OFF.sub("", (container.waiting or {}).get("message", ""))
    message = (
        f"Image {container.image or 'of ' + container.name} cannot be pulled: correct spec.environment.image, or give"
        " the nodes access to its registry."
    )
    kind = Stalled if _REFUSED.search(f"{reason} {cause}") else Waiting
    return _trouble(pod, container, kind("ImagePullFailed", message), Failure("Pull", "", cause or message, now))


def _crashed(pod: ScoringPod, container: Container, limit: str, now: str) -> Trouble:
    ended = container.ended or {}
    failure = _failure(container, ended, limit, now)
    again = container.restarts >= RESTARTS_UNTIL_STALLED and failure.reason not in _MAY_PASS
    kind = Stalled if again or failure.reason in _FOR_GOOD else Waiting
    told = replace(failure, message=f"{failure.message}{_listing(ended)}")
    return _trouble(pod, container, kind(failure.reason, _sentence(failure)), told)


def _failure(container: Container, ended: Document, limit: str, now: str) -> Failure:
    """The container's own account; where it left none, what the kubelet says."""
    code, at = ended.get("exitCode"), str(ended.get("finishedAt") or now)
    account = _account(ended)
    if account:
        return Failure(
            phase=account["phase"],
            reason=account["reason"],
            message=account["message"],
            at=at,
            exit_code=code,
            exception=account.get("exception"),
            script=account.get("script"),
            line=account.get("line"),
        )
    phase = _PHASES.get(code or 0, "Fetch" if container.name == FETCH else "Run")
    if ended.get("reason") == "OOMKilled":
        message = (
            f"Container {container.name} used more memory than its limit of {limit}: raise"
            " spec.target.aks.resources.memoryLimit."
        )
        return Failure(phase, "OutOfMemory", message, at, exit_code=code)
    said = (ended.get("message") or "").strip()[-_TAIL:] or "it left no message; see its log"
    message = f"Container {container.name} ended with exit code {code}: {said}"
    return Failure(phase, "ContainerEnded", message, at, exit_code=code)


def _account(ended: Document) -> dict[str, Any]:
    account = containers.account(ended.get("message") or "")
    told = all(isinstance(account.get(name), str) for name in ("phase", "reason", "message"))
    return account if told else {}


def _listing(ended: Document) -> str:
    """The files that a failed load or init() found, for the classic wrong path."""
    files = [str(entry) for entry in _account(ended).get("listing") or ()]
    if not files:
        return ""
    more = f", and {len(files) - _FILES_SHOWN} more" if len(files) > _FILES_SHOWN else ""
    return f" Files there: {', '.join(files[:_FILES_SHOWN])}{more}."


def _sentence(failure: Failure) -> str:
    """The message with the user's own exception and line, unless it tells them already."""
    text = failure.message
    if failure.exception and failure.exception not in text:
        text = f"{text} {failure.exception}"
    if failure.script and failure.line and f"line {failure.line}" not in text:
        text = f"{text} ({failure.script}, line {failure.line})"
    return text


def _trouble(pod: ScoringPod, container: Container, problem: ReconcileError, failure: Failure) -> Trouble:
    lasting = isinstance(problem, Stalled) or container.restarts >= RESTARTS_UNTIL_STALLED
    return Trouble(pod.name, problem, replace(failure, reason=problem.reason, pod=pod.name), lasting)
