"""Why a pod does not serve: each cause with its reason, its class and its exact sentence."""

from __future__ import annotations

import json
from typing import Any

import pytest
from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import DEPLOYMENT, POD, Document, Key
from modeldeploy_operator.core.facts import Assessment
from modeldeploy_operator.errors import Stalled, Waiting
from modeldeploy_operator.targets.aks.assess import assess

NOW = "2026-08-01T12:00:00Z"
REVISION = "aaaaaaaaaa"
IMAGE = "registry.example.com/scoring:1"


def _deployment(aks: dict[str, Any] | None = None, status: dict[str, Any] | None = None) -> ModelDeployment:
    return ModelDeployment.model_validate(
        {
            "metadata": {"name": "weather", "namespace": "demo", "uid": "uid-1"},
            "spec": {
                "models": [{"name": "svc", "source": {"uri": "https://models.example.com/svc.onnx"}}],
                "target": {"aks": aks or {}},
            },
            "status": status or {},
        }
    )


def _workload(**status: Any) -> Document:
    labels = {names.REVISION_LABEL: REVISION}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "weather", "namespace": "demo", "generation": 1},
        "spec": {"template": {"metadata": {"labels": labels}}},
        "status": {"observedGeneration": 1, **status},
    }


def _pod(name: str = "p1", ready: bool = False, revision: str = REVISION, **status: Any) -> Document:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}, *status.pop("conditions", [])]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "demo",
            "labels": {**names.labels(_deployment()), names.REVISION_LABEL: revision},
        },
        "spec": {"containers": [{"name": "scoring"}]},
        "status": {"conditions": conditions, **status},
    }


def _scoring(restarts: int = 0, **state: Any) -> dict[str, Any]:
    status = {"name": "scoring", "image": IMAGE, "restartCount": restarts, "started": False, **state}
    return {"containerStatuses": [status]}


def _waiting(reason: str, message: str = "") -> dict[str, Any]:
    return _scoring(state={"waiting": {"reason": reason, "message": message}})


def _ended(code: int, message: str = "", reason: str = "Error") -> dict[str, Any]:
    return {
        "terminated": {"exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-08-01T11:59:00Z"}
    }


def _account(phase: str, reason: str, message: str = "It failed.", **more: Any) -> str:
    return json.dumps({"phase": phase, "reason": reason, "message": message, **more})


def _assess(
    *pods: Document,
    workload: Document | None = None,
    aks: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    now: str = NOW,
) -> Assessment:
    observed = {Key(POD, "demo", pod["metadata"]["name"]): pod for pod in pods}
    wanted = _workload()
    return assess(
        _deployment(aks, status), [wanted], {**observed, Key(DEPLOYMENT, "demo", "weather"): workload or wanted}, now
    )


def _told(assessment: Assessment) -> tuple[str, str, str]:
    assert assessment.problem is not None
    return type(assessment.problem).__name__, assessment.problem.reason, assessment.problem.message


PULL = f"Image {IMAGE} cannot be pulled: correct spec.environment.image, or give the nodes access to its registry."


@pytest.mark.parametrize(
    ("status", "told"),
    [
        pytest.param(
            _waiting("ErrImagePull", f"rpc error: {IMAGE}: not found"),
            ("Stalled", "ImagePullFailed", PULL),
            id="an image that does not exist",
        ),
        pytest.param(
            _waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: 401 Unauthorized'),
            ("Stalled", "ImagePullFailed", PULL),
            id="an image that may not be read",
        ),
        pytest.param(_waiting("InvalidImageName"), ("Stalled", "ImagePullFailed", PULL), id="a wrong image name"),
        pytest.param(
            _waiting("ErrImagePull", "dial tcp: i/o timeout"),
            ("Waiting", "ImagePullFailed", PULL),
            id="a registry that does not answer may answer later",
        ),
        pytest.param(
            _waiting("CreateContainerConfigError", 'secret "weather-keys" not found'),
            (
                "Stalled",
                "ContainerNotStarted",
                'Container scoring of pod p1 cannot be started: secret "weather-keys" not found',
            ),
            id="a container that cannot be configured",
        ),
        pytest.param(
            _scoring(
                state=_ended(13, _account("Init", "InitFailed", exception="ValueError: no", script="a.py", line=3))
            ),
            ("Waiting", "InitFailed", "It failed. ValueError: no (a.py, line 3)"),
            id="init() failed once",
        ),
        pytest.param(
            _scoring(2, state={"running": {}}, lastState=_ended(13, _account("Init", "InitFailed"))),
            ("Stalled", "InitFailed", "It failed."),
            id="init() failed a third time, and is being tried again",
        ),
        pytest.param(
            _scoring(1, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=_ended(1, "boom\n")),
            ("Waiting", "ContainerEnded", "Container scoring ended with exit code 1: boom"),
            id="an end without an account shows the log's last words",
        ),
        pytest.param(
            _scoring(state=_ended(255)),
            (
                "Waiting",
                "ContainerEnded",
                "Container scoring ended with exit code 255: it left no message; see its log",
            ),
            id="an end without a word",
        ),
        pytest.param(
            _scoring(state=_ended(12, '{"phase": 3}')),
            ("Waiting", "ContainerEnded", 'Container scoring ended with exit code 12: {"phase": 3}'),
            id="JSON that is no account is shown as it is",
        ),
        pytest.param(
            _scoring(state=_ended(137, reason="OOMKilled")),
            (
                "Waiting",
                "OutOfMemory",
                "Container scoring used more memory than its limit of 500Mi: raise"
                " spec.target.aks.resources.memoryLimit.",
            ),
            id="killed for memory",
        ),
        pytest.param(
            _scoring(state=_ended(12, _account("Load", "ModelInvalid"))),
            ("Stalled", "ModelInvalid", "It failed."),
            id="a model that cannot be loaded fails for good at once",
        ),
        pytest.param(
            {
                "initContainerStatuses": [
                    {
                        "name": "fetch",
                        "image": IMAGE,
                        "restartCount": 7,
                        "state": {"running": {}},
                        "lastState": _ended(10, _account("Fetch", "SourceUnavailable", "No answer.")),
                    }
                ]
            },
            ("Waiting", "SourceUnavailable", "No answer."),
            id="the network may come back however often it was tried",
        ),
        pytest.param(
            {"initContainerStatuses": [{"name": "fetch", "image": IMAGE, "restartCount": 1, "state": _ended(0)}]},
            ("Waiting", "RollingOut", "Rolling out weather-aaaaaaaaaa."),
            id="a fetch that succeeded the second time is no trouble",
        ),
        pytest.param(
            _scoring(3, started=True, state={"running": {}}, lastState=_ended(13, _account("Init", "InitFailed"))),
            ("Waiting", "RollingOut", "Rolling out weather-aaaaaaaaaa."),
            id="a server that started since is no trouble while its readiness comes",
        ),
        pytest.param(
            {
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes."}
                ]
            },
            ("Waiting", "Unschedulable", "No node takes pod p1: 0/3 nodes."),
            id="no node",
        ),
    ],
)
def test_a_pods_trouble_has_a_reason_a_class_and_a_sentence(status: dict[str, Any], told: tuple[str, str, str]) -> None:
    assert _told(_assess(_pod(**status))) == told


@pytest.mark.parametrize(
    ("message", "told"),
    [
        pytest.param(
            'pods "weather-1-x" is forbidden: exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2',
            (
                "Waiting",
                "QuotaExceeded",
                "Pods are refused, exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2."
                " Raise the quota, or lower spec.target.aks.resources.",
            ),
            id="quota",
        ),
        pytest.param(
            'pods "weather-1-x" is forbidden: minimum memory usage per Pod is 1Gi, but request is 500Mi',
            ("Stalled", "PodsForbidden", "Pods are refused: minimum memory usage per Pod is 1Gi, but request is 500Mi"),
            id="limit range",
        ),
        pytest.param(
            'Internal error occurred: failed calling webhook "x"',
            (
                "Waiting",
                "PodsNotCreated",
                'Pods cannot be created: Internal error occurred: failed calling webhook "x"',
            ),
            id="a webhook that is down",
        ),
        pytest.param(
            'pods "weather-1-x" is forbidden: error looking up service account demo/weather: serviceaccount "weather"'
            " not found",
            ("Waiting", "RollingOut", "Rolling out weather-aaaaaaaaaa."),
            id="an account made an instant ago",
        ),
    ],
)
def test_pods_that_may_not_be_created_tell_why(message: str, told: tuple[str, str, str]) -> None:
    refused = _workload(conditions=[{"type": "ReplicaFailure", "status": "True", "message": message}])
    assert _told(_assess(workload=refused)) == told


DONE = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}


def test_complete_means_that_only_the_wanted_revision_is_left() -> None:
    assert _assess(_pod(ready=True), workload=_workload(**DONE)).complete
    assert not _assess(_pod(ready=True), workload=_workload(**{**DONE, "replicas": 3})).complete
    assert not _assess(_pod(ready=True), workload=_workload(**{**DONE, "observedGeneration": 0})).complete
    assert not _assess(_pod(ready=True, revision="bbbbbbbbbb"), workload=_workload(**DONE)).complete
    assert not _assess(_pod(ready=True), workload=_workload(**DONE), aks={"replicas": 3}).complete
    assert not _assess(_pod(ready=True), workload=_workload(**DONE), aks={"replicas": 1}).complete
    assert not _assess(_pod(ready=True), workload=_workload(**DONE), aks={"autoscale": {"minReplicas": 3}}).complete


def test_conditions_of_an_earlier_generation_are_yesterdays_news() -> None:
    refused = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: q"}
    assert _told(_assess(workload=_workload(conditions=[refused])))[1] == "QuotaExceeded"
    assert _told(_assess(workload=_workload(conditions=[refused], observedGeneration=0)))[1] == "RollingOut"


def test_the_revision_that_served_before_is_the_serving_one_until_the_new_one_is_complete() -> None:
    old, new = _pod("old", ready=True, revision="bbbbbbbbbb"), [_pod(f"new{n}", ready=True) for n in (1, 2)]
    before = {"servingRevision": "weather-bbbbbbbbbb"}
    assert _assess(old, *new, status=before).serving_revision == "weather-bbbbbbbbbb"
    assert _assess(*new, status=before).serving_revision == f"weather-{REVISION}"
    assert _assess(old, *new, status=before, workload=_workload(**DONE)).serving_revision == f"weather-{REVISION}"


def test_a_replica_beyond_the_minimum_may_start_without_making_the_deployment_unready() -> None:
    some = _workload(replicas=3, updatedReplicas=3, readyReplicas=2, availableReplicas=2)
    starting = _pod("p2", **_scoring(1, state=_ended(1, "once")))
    assert _assess(_pod("p1", ready=True), starting, workload=some).complete


def test_a_replica_that_crashed_twice_makes_the_deployment_unready_though_others_serve() -> None:
    some = _workload(replicas=3, updatedReplicas=3, readyReplicas=2, availableReplicas=2)
    crashing = _pod("p2", **_scoring(2, state={"waiting": {"reason": "CrashLoopBackOff"}}, lastState=_ended(1, "boom")))
    found = _assess(_pod("p1", ready=True), crashing, workload=some)
    assert _told(found) == ("Stalled", "ContainerEnded", "Container scoring ended with exit code 1: boom")
    assert found.available
    assert found.failure is not None
    assert found.failure.pod == "p2"


def test_a_crash_loop_is_over_when_the_longest_back_off_has_passed() -> None:
    crashed = _scoring(2, started=True, state={"running": {}}, lastState=_ended(137, reason="OOMKilled"))
    pod = _pod(ready=True, **crashed)
    looping = _assess(pod, workload=_workload(**DONE), now="2026-08-01T12:00:00Z")
    assert isinstance(looping.problem, Stalled)
    assert looping.recheck_after == 240
    over = _assess(pod, workload=_workload(**DONE), now="2026-08-01T12:04:00Z")
    assert (over.complete, over.recheck_after) == (True, None)


def test_failures_on_the_way_up_are_forgiven_once_it_is_up() -> None:
    pod = _pod(ready=True, **_scoring(5, started=True, state={"running": {}}, lastState=_ended(13)))
    assert _assess(pod, workload=_workload(**DONE)).complete


def test_the_pod_that_status_names_stays_the_one_that_is_told_of() -> None:
    pods = [_pod(name, **_scoring(state=_ended(1, name))) for name in ("p1", "p2")]
    named = _assess(*pods, status={"lastFailure": {"pod": "p2"}}).failure
    assert named is not None
    assert named.pod == "p2"


def test_a_terminating_or_evicted_pod_neither_serves_nor_troubles() -> None:
    evicted = _pod(ready=True, phase="Failed", **_scoring(state=_ended(1)))
    going = _pod("p2", ready=True)
    going["metadata"]["deletionTimestamp"] = NOW
    found = _assess(evicted, going)
    assert not found.available
    assert _told(found)[1] == "RollingOut"


def test_a_deadline_makes_a_passing_cause_final() -> None:
    late = _workload(conditions=[{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded"}])
    found = _assess(_pod(**_waiting("ErrImagePull", "i/o timeout")), workload=late)
    assert _told(found) == (
        "Stalled",
        "ImagePullFailed",
        f"{PULL} No progress within 600 s (spec.target.aks.rollout.progressDeadlineSeconds).",
    )


def test_a_paused_deployment_says_how_to_go_on() -> None:
    paused = _workload()
    paused["spec"]["paused"] = True
    assert _told(_assess(workload=paused)) == (
        "Stalled",
        "RolloutPaused",
        "Deployment weather is paused: kubectl rollout resume deployment/weather goes on.",
    )


def test_an_accelerator_may_be_waited_for_where_the_old_replica_leaves_first() -> None:
    gpu = {"accelerators": {"nvidia.com/gpu": 1}}
    unscheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    pending = _pod("new", conditions=[{**unscheduled, "message": "0/1 nodes: 1 Insufficient nvidia.com/gpu."}])
    holder = _pod("old", ready=True, revision="bbbbbbbbbb")
    holder["spec"]["containers"][0]["resources"] = {"limits": {"nvidia.com/gpu": "1"}}
    assert _told(_assess(pending, holder, aks={"resources": gpu}))[:2] == ("Stalled", "AcceleratorHeld")
    allowed = {"resources": gpu, "rollout": {"maxUnavailable": 1}}
    assert _told(_assess(pending, holder, aks=allowed))[:2] == ("Waiting", "Unschedulable")


def test_the_cause_of_an_image_pull_is_told_alike_in_turn() -> None:
    error = _assess(_pod(**_waiting("ErrImagePull", "gone: not found"))).failure
    backing_off = _assess(
        _pod(**_waiting("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: gone: not found'))
    )
    assert error == backing_off.failure


def test_without_a_desired_revision_the_old_one_is_judged_and_nothing_is_complete() -> None:
    observed = {Key(DEPLOYMENT, "demo", "weather"): _workload(**DONE), Key(POD, "demo", "p1"): _pod(ready=True)}
    found = assess(_deployment(), None, observed, NOW)
    assert (found.available, found.complete, found.problem) == (True, False, None)
    assert found.serving_revision == f"weather-{REVISION}"


def test_waiting_problems_need_no_timer() -> None:
    problem = _assess().problem
    assert isinstance(problem, Waiting)
    assert problem.retry_after is None
