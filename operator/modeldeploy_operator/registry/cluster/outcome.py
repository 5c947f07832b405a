"""What a registration pod's status amounts to: the content, a failed attempt, or something that goes on. Pure."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from modeldeploy_operator.api.v1alpha1 import ModelFormat
from modeldeploy_operator.core import containers, names
from modeldeploy_operator.core.documents import Document
from modeldeploy_operator.core.facts import Failure
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting

from . import pod as pods
from .version import Content

PHASE = "Fetch"

# Only the user can mend these. They are tried again all the same, since what mends them (a file that appears, a right
# that is granted) cannot be watched.
_FOR_THE_USER = {
    "SourceNotFound", "DigestMismatch", "SourceForbidden", "SourceRefused", "SourceInvalid", "OutOfMemory", "Invalid",
}  # fmt: skip
_STUCK = {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PreCreateHookError"}
_CLAIM = re.compile(r'persistentvolumeclaim "([^"]+)" not found')
_TAIL = 500


@dataclass(frozen=True)
class Going:
    """The pod has not finished. `stuck`: why it will not start by itself. `started`: its container runs."""

    stuck: Waiting | None
    started: bool


@dataclass(frozen=True)
class Failed:
    """The attempt is over without a result."""

    failure: Failure
    finished: datetime


NEW = Going(stuck=None, started=False)


def read(pod: Document) -> Content | Going | Failed:
    """What became of the attempt, by the pod's status alone."""
    phase = pod.get("status", {}).get("phase", "Pending")
    if phase == "Succeeded":
        return _success(pod)
    if phase == "Failed":
        return _failure(pod)
    return _going(pod)


def refused(pod: Document, refusal: Stalled) -> Failed:
    """A report that the API server does not take as a ModelVersion: another scoring image may tell it otherwise."""
    return _failed(pod, refusal.reason, refusal.message)


def problem(failure: Failure, model: str, retry_after: float | None = None) -> ReconcileError:
    """The failed attempt as the state of the object, sorted by who must act."""
    message = f"Model {model}: {failure.message}"
    if failure.reason in _FOR_THE_USER:
        return Stalled(failure.reason, message)
    return Unavailable(failure.reason, message, retry_after=retry_after)


def encode(failure: Failure) -> str:
    """The failure for an annotation of the next attempt's pod."""
    return json.dumps({name: value for name, value in asdict(failure).items() if value is not None})


def last_failure(pod: Document) -> Failure | None:
    """How the attempt before this pod's failed."""
    text = pods.annotation(pod, pods.FAILURE_ANNOTATION)
    return Failure(**json.loads(text)) if text else None


def attempt_number(pod: Document) -> int:
    return int(pods.annotation(pod, names.ATTEMPT_ANNOTATION) or "1")


def _success(pod: Document) -> Content | Failed:
    message = _terminated(pod).get("message", "")
    report = containers.account(message)
    try:
        return Content(
            digest=report["digest"],
            format=ModelFormat(report["format"]),
            size_bytes=int(report["sizeBytes"]),
            signature=report.get("signature"),
        )
    except (KeyError, ValueError) as error:
        # A scoring image of another release may say something else; a silent success would be worse than a failure.
        text = f"The registration pod ended well but its report cannot be read ({error!r}): {message[-_TAIL:]}"
        return _failed(pod, "ReportInvalid", text)


def _failure(pod: Document) -> Failed:
    status = pod.get("status", {})
    terminated = _terminated(pod)
    if not terminated:
        reason = status.get("reason") or "PodFailed"
        return _failed(pod, reason, status.get("message") or f"The registration pod failed ({reason}).")
    message = terminated.get("message", "")
    report = containers.account(message)
    if isinstance(report.get("reason"), str) and isinstance(report.get("message"), str):
        return _failed(pod, report["reason"], report["message"], report)
    code = terminated.get("exitCode")
    if terminated.get("reason") == "OOMKilled":
        limit = _container(pod).get("resources", {}).get("limits", {}).get("memory", "its limit")
        return _failed(pod, "OutOfMemory", f"Reading the source took more memory than the {limit} allowed.")
    if status.get("reason"):
        return _failed(pod, status["reason"], status.get("message") or f"The pod was ended ({status['reason']}).")
    said = message.strip()[-_TAIL:] or "it left no message."
    return _failed(pod, "RegistrationFailed", f"The registration container ended with exit code {code}: {said}")


def _failed(pod: Document, reason: str, message: str, report: dict[str, Any] | None = None) -> Failed:
    terminated = _terminated(pod)
    report = report or {}
    finished = terminated.get("finishedAt") or _transition(pod) or pod["metadata"]["creationTimestamp"]
    failure = Failure(
        phase=report.get("phase") or PHASE,
        reason=reason,
        message=_sentence(message),
        at=finished,
        pod=pod["metadata"]["name"],
        exit_code=terminated.get("exitCode"),
        exception=report.get("exception"),
        script=report.get("script"),
        line=report.get("line"),
    )
    return Failed(failure, _time(finished))


def _going(pod: Document) -> Going:
    running = pod.get("status", {}).get("phase") == "Running"
    if not running and (stuck := _stuck(pod)):
        return Going(stuck, started=False)
    return Going(None, started=running)


def _stuck(pod: Document) -> Waiting | None:
    """Why a pod that has not started will not start by itself, as far as its status tells."""
    for condition in pod.get("status", {}).get("conditions", []):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            return _unscheduled(pod, condition)
    for container in pod.get("status", {}).get("containerStatuses", []):
        waiting = container.get("state", {}).get("waiting", {})
        reason, message = waiting.get("reason", ""), waiting.get("message", "")
        if reason in containers.NOT_PULLED:
            image = _container(pod).get("image", "")
            return Waiting("ImagePullFailed", _sentence(f"Image {image} cannot be pulled: {_cause(message) or reason}"))
        if reason in _STUCK:
            return Waiting(reason, _sentence(f"The registration container cannot be created: {message or reason}"))
    return None


def _unscheduled(pod: Document, condition: dict[str, Any]) -> Waiting:
    message = condition.get("message", "")
    if missing := _CLAIM.search(message):
        namespace = pod["metadata"]["namespace"]
        text = f"PersistentVolumeClaim {missing[1]} does not exist in namespace {namespace}."
        return Waiting("ClaimNotFound", text)
    reason = condition.get("reason") or "Unschedulable"
    return Waiting(reason, _sentence(f"No node takes pod {pod['metadata']['name']}: {message or reason}"))


def _sentence(text: str) -> str:
    """Kubernetes and log lines end as they like; what a user reads ends with a full stop."""
    return f"{text.strip().rstrip('.')}."


def _cause(message: str) -> str:
    """The kubelet says the same cause in turns with and without a preface; status must not flap with it."""
    return message.rpartition("ErrImagePull: ")[2].strip()


def _terminated(pod: Document) -> dict[str, Any]:
    for container in pod.get("status", {}).get("containerStatuses", []):
        if container.get("name") == pods.CONTAINER:
            found: dict[str, Any] = container.get("state", {}).get("terminated") or {}
            return found
    return {}


def _container(pod: Document) -> dict[str, Any]:
    containers: list[dict[str, Any]] = pod.get("spec", {}).get("containers") or [{}]
    return containers[0]


def _transition(pod: Document) -> str | None:
    """When an evicted or preempted pod, which has no container status, came to its end."""
    times = [c["lastTransitionTime"] for c in pod.get("status", {}).get("conditions", []) if "lastTransitionTime" in c]
    return max(times, default=None)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
