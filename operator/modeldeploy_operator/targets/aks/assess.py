"""What the observed children of a deployment amount to: does it serve, is the new revision complete, and if not, why.

Pure. Status of the Deployment tells the numbers, the pods tell revisions and causes. Kubernetes keeps the
deadlines; the time of day matters only for how long ago a crash was.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.api.target import Aks
from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import DEPLOYMENT, Document, Key
from modeldeploy_operator.core.facts import Assessment, Failure, Observed
from modeldeploy_operator.errors import ReconcileError, Stalled, Waiting
from modeldeploy_operator.targets.aks import trouble
from modeldeploy_operator.targets.aks.pods import ScoringPod, scoring_pods
from modeldeploy_operator.targets.aks.template import memory_limit
from modeldeploy_operator.targets.aks.trouble import Trouble

ROLLING_OUT = "RollingOut"
REPLICAS_UNAVAILABLE = "ReplicasUnavailable"
SCALING = "Scaling"

_SERVICE_PORT = 80
_POD_OF_THE_ATTEMPT = re.compile(r'^pods "[^"]*" is forbidden: ')


@dataclass(frozen=True)
class _Rollout:
    """The observed Deployment and its pods, with what they should come to."""

    deployment: ModelDeployment
    aks: Aks
    wanted: str | None
    workload: Document
    pods: tuple[ScoringPod, ...]
    now: str

    @property
    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = self.workload.get("status") or {}
        return status

    @property
    def judged(self) -> tuple[ScoringPod, ...]:
        """The pods whose troubles matter: of the wanted revision, or all of them while that is unknown."""
        return tuple(pod for pod in self.pods if self.wanted in (None, pod.revision) and not pod.terminating)

    @property
    def current(self) -> bool:
        """The Deployment is the wanted one, and its status speaks of it: else its conditions are yesterday's news."""
        return (
            bool(self.workload)
            and self.wanted in (None, _revision_of(self.workload))
            and self.status.get("observedGeneration", 0) >= self.workload["metadata"].get("generation", 0)
        )

    def condition(self, kind: str) -> dict[str, Any]:
        if not self.current:
            return {}
        found: list[dict[str, Any]] = self.status.get("conditions") or []
        return next((condition for condition in found if condition["type"] == kind), {})


def assess(deployment: ModelDeployment, desired: Sequence[Document] | None, observed: Observed, now: str) -> Assessment:
    """Judge the children. With `desired` None an earlier step failed: the old revision is judged, none is complete."""
    metadata = deployment.metadata
    rollout = _Rollout(
        deployment=deployment,
        aks=deployment.spec.target.aks or Aks(),
        wanted=None if desired is None else _wanted(desired),
        workload=observed.get(Key(DEPLOYMENT, metadata.namespace, metadata.name)) or {},
        pods=scoring_pods(deployment, observed),
        now=now,
    )
    pod = _worst(rollout)
    problem, failure = _problem(rollout, pod)
    complete = problem is None and rollout.wanted is not None
    ready = Counter(pod.revision for pod in rollout.pods if pod.ready and not pod.terminating)
    serving = rollout.wanted if complete else _serving(rollout, ready)
    return Assessment(
        available=bool(ready),
        complete=complete,
        problem=problem,
        serving_revision=names.revision_name(deployment, serving) if serving else None,
        desired_revision=names.revision_name(deployment, rollout.wanted) if rollout.wanted else None,
        replicas=rollout.status.get("replicas", 0),
        ready_replicas=rollout.status.get("readyReplicas", 0),
        selector=names.selector_text(deployment),
        endpoint=endpoint(deployment),
        failure=failure,
        recheck_after=pod.recheck_after if pod else None,
    )


def endpoint(deployment: ModelDeployment) -> dict[str, str | int]:
    """Where clients in the cluster score. The name is known before anything answers there."""
    host = f"{deployment.metadata.name}.{deployment.metadata.namespace}.svc.cluster.local"
    return {
        "scoringUri": f"http://{host}/score",
        "swaggerUri": f"http://{host}/swagger.json",
        "host": host,
        "port": _SERVICE_PORT,
    }


def _wanted(desired: Sequence[Document]) -> str:
    workload = next(document for document in desired if document["kind"] == DEPLOYMENT.kind)
    return _revision_of(workload)


def _revision_of(workload: Document) -> str:
    labels = workload.get("spec", {}).get("template", {}).get("metadata", {}).get("labels", {})
    revision: str = labels.get(names.REVISION_LABEL, "")
    return revision


def _serving(rollout: _Rollout, ready: Counter[str]) -> str | None:
    """While two revisions serve, the one that served before: a new one counts once it is complete."""
    before = rollout.deployment.status.get("servingRevision")
    if not ready:
        return None
    return next(
        (label for label in ready if names.revision_name(rollout.deployment, label) == before),
        # By name among equals, so that the answer does not swing.
        min(ready, key=lambda label: (-ready[label], label)),
    )


def _problem(rollout: _Rollout, pod: Trouble | None) -> tuple[ReconcileError | None, Failure | None]:
    """The first of these that holds, in this order: causes before symptoms."""
    if _settled(rollout) and not (pod and pod.lasting):
        return None, None
    problem, failure = _paused(rollout), None
    if problem is None:
        problem, failure = _not_created(rollout)
    if problem is None and pod is not None:
        problem, failure = pod.problem, pod.failure
    problem = problem or _held_accelerator(rollout) or _unscheduled(rollout) or _progress(rollout)
    return _past_deadline(rollout, problem, failure)


def _settled(rollout: _Rollout) -> bool:
    """The wanted revision is all there is, with as many ready replicas as the spec asks for.

    Replicas that the autoscaler adds beyond its minimum come and go without making the deployment less ready.
    """
    status = rollout.status
    fixed = rollout.aks.replicas
    least = fixed or (rollout.aks.autoscale.min_replicas if rollout.aks.autoscale else 1)
    replicas = status.get("replicas", 0)
    wanted = _revision_of(rollout.workload)
    return (
        rollout.current
        and status.get("updatedReplicas", 0) == replicas
        and status.get("availableReplicas", 0) >= least
        and (fixed is None or replicas == fixed)
        # The cache of pods may be behind the cache of Deployments, or ahead of it.
        and any(pod.ready and not pod.terminating and pod.revision == wanted for pod in rollout.pods)
    )


def _worst(rollout: _Rollout) -> Trouble | None:
    """One pod's trouble stands for all: the pod that status names already if it still fails, else the first."""
    limit = memory_limit(rollout.aks)
    found = [told for pod in rollout.judged if (told := trouble.of(pod, limit, rollout.now))]
    named = (rollout.deployment.status.get("lastFailure") or {}).get("pod")
    found.sort(key=lambda told: (not isinstance(told.problem, Stalled), not told.lasting, told.pod != named, told.pod))
    return found[0] if found else None


def _paused(rollout: _Rollout) -> ReconcileError | None:
    if not rollout.workload.get("spec", {}).get("paused"):
        return None
    name = rollout.deployment.metadata.name
    return Stalled("RolloutPaused", f"Deployment {name} is paused: kubectl rollout resume deployment/{name} goes on.")


def _not_created(rollout: _Rollout) -> tuple[ReconcileError | None, Failure | None]:
    """Pods that the API server refused to the ReplicaSet."""
    told = rollout.condition("ReplicaFailure")
    cause = _POD_OF_THE_ATTEMPT.sub("", told.get("message", ""))
    # For an instant the controllers may not know an account that was made just now.
    if told.get("status") != "True" or "error looking up service account" in cause:
        return None, None
    if "exceeded quota" in cause:
        problem: ReconcileError = Waiting(
            "QuotaExceeded", f"Pods are refused, {cause}. Raise the quota, or lower spec.target.aks.resources."
        )
    elif "is forbidden" in told.get("message", ""):
        problem = Stalled("PodsForbidden", f"Pods are refused: {cause}")
    else:
        problem = Waiting("PodsNotCreated", f"Pods cannot be created: {cause}")
    return problem, Failure("Create", problem.reason, cause, told.get("lastTransitionTime") or rollout.now)


def _held_accelerator(rollout: _Rollout) -> ReconcileError | None:
    """A new pod waits for what an old one keeps, and the old one stays until the new one is ready: for ever."""
    if rollout.aks.rollout.max_unavailable > 0:
        return None
    for pod in rollout.judged:
        for resource in sorted(rollout.aks.resources.accelerators or ()):
            if f"Insufficient {resource}" not in (pod.unschedulable or ""):
                continue
            holder = next((o for o in rollout.pods if o.revision != rollout.wanted and o.holds(resource)), None)
            if holder is not None and rollout.wanted is not None:
                return Stalled(
                    "AcceleratorHeld",
                    f"The new revision finds no free {resource} while pod {holder.name} of the old one keeps it:"
                    " set spec.target.aks.rollout.maxUnavailable to 1, so that the old one may leave first.",
                )
    return None


def _unscheduled(rollout: _Rollout) -> ReconcileError | None:
    pod = next((pod for pod in rollout.judged if pod.unschedulable is not None), None)
    if pod is None:
        return None
    # What preemption might do changes from try to try, and tells the user nothing.
    cause = (pod.unschedulable or "").partition(" preemption:")[0].rstrip(".")
    return Waiting("Unschedulable", f"No node takes pod {pod.name}: {cause}.")


def _progress(rollout: _Rollout) -> ReconcileError:
    """Nothing is wrong. One sentence for the whole way, so that a calm rollout needs no further write."""
    revision = names.revision_name(rollout.deployment, rollout.wanted or _revision_of(rollout.workload))
    if rollout.condition("Progressing").get("reason") != "NewReplicaSetAvailable":
        return Waiting(ROLLING_OUT, f"Rolling out {revision}.")
    fixed = rollout.aks.replicas
    if fixed is not None and rollout.status.get("replicas", 0) != fixed:
        return Waiting(SCALING, f"Scaling {revision} to {fixed} replicas.")
    return Waiting(REPLICAS_UNAVAILABLE, f"Fewer replicas of {revision} are ready than asked for.")


def _past_deadline(
    rollout: _Rollout, problem: ReconcileError, failure: Failure | None
) -> tuple[ReconcileError, Failure | None]:
    """What was progress becomes a matter for the user once the deadline has passed."""
    progressing = rollout.condition("Progressing")
    if progressing.get("reason") != "ProgressDeadlineExceeded" or isinstance(problem, Stalled):
        return problem, failure
    seconds = rollout.aks.rollout.progress_deadline_seconds
    limit = f"No progress within {seconds} s (spec.target.aks.rollout.progressDeadlineSeconds)"
    if failure is not None:
        return Stalled(problem.reason, f"{problem.message} {limit}."), failure
    cause = _last_word(rollout, problem)
    at = progressing.get("lastUpdateTime") or rollout.now
    message = f"{limit}: {cause}"
    return Stalled("ProgressDeadlineExceeded", message), Failure("Rollout", "ProgressDeadlineExceeded", message, at)


def _last_word(rollout: _Rollout, problem: ReconcileError) -> str:
    if problem.reason not in (ROLLING_OUT, REPLICAS_UNAVAILABLE, SCALING):
        return problem.message
    pod = next((pod for pod in rollout.judged if not pod.ready), None)
    if pod is None:
        return f"kubectl describe deployment {rollout.deployment.metadata.name} tells more."
    waiting = next((c for c in pod.containers if c.waiting), None)
    state = (
        f"container {waiting.name} waits ({(waiting.waiting or {}).get('reason', '')})" if waiting else "is not ready"
    )
    return f"pod {pod.name}: {state}; kubectl describe pod {pod.name} tells more."
