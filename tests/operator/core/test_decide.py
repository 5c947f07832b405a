"""From what should be and what is to what must be done."""

from __future__ import annotations

from typing import Any

import pytest
from modeldeploy_operator.core import names
from modeldeploy_operator.core.decide import Apply, Delete, Scale, decide, stamped
from modeldeploy_operator.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    POD,
    REPLICA_SET,
    SERVICE,
    Document,
    Key,
    Kind,
    key_of,
)
from modeldeploy_operator.errors import Stalled

UID = "uid-1"
KINDS = (SERVICE, DEPLOYMENT, AUTOSCALER, CONFIG_MAP)


def _child(kind: Kind, name: str = "weather", owner: str | None = UID, **body: Any) -> Document:
    metadata: dict[str, Any] = {"name": name, "namespace": "demo"}
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **body}


def _held(*documents: Document) -> dict[Key, Document]:
    return {key_of(document): document for document in documents}


def _decide(desired: list[Document], *observed: Document) -> tuple[object, ...]:
    return decide(desired, _held(*observed), UID, KINDS)


SERVICE_80 = _child(SERVICE, spec={"ports": [{"port": 80, "targetPort": "http", "protocol": "TCP"}]})


def test_a_missing_child_is_applied_without_force() -> None:
    assert _decide([SERVICE_80]) == (Apply(stamped(SERVICE_80), force=False),)


def test_an_idle_child_needs_nothing() -> None:
    assert _decide([SERVICE_80], stamped(SERVICE_80)) == ()


def test_a_changed_child_is_applied() -> None:
    edited = {**stamped(SERVICE_80), "spec": {"ports": [{"port": 81, "targetPort": "http"}]}}
    assert _decide([SERVICE_80], edited) == (Apply(stamped(SERVICE_80)),)


def test_a_field_that_is_no_longer_desired_leads_to_an_apply_that_takes_it_away() -> None:
    before = {**SERVICE_80, "spec": {**SERVICE_80["spec"], "externalTrafficPolicy": "Local"}}
    assert _decide([SERVICE_80], stamped(before)) == (Apply(stamped(SERVICE_80)),)


def test_a_child_that_is_going_is_waited_for() -> None:
    going = {**SERVICE_80, "metadata": {**SERVICE_80["metadata"], "deletionTimestamp": "2026-08-01T12:00:00Z"}}
    assert _decide([SERVICE_80], going) == ()
    assert _decide([], going) == ()


def test_an_object_of_somebody_else_is_neither_overwritten_nor_deleted() -> None:
    with pytest.raises(Stalled) as caught:
        _decide([SERVICE_80], _child(SERVICE, owner="uid-2"))
    assert caught.value.reason == "NameTaken"
    assert caught.value.message == (
        "Service weather exists already and was not made for this ModelDeployment: delete or rename it, or give the"
        " ModelDeployment another name."
    )
    assert _decide([], _child(SERVICE, owner="uid-2"), _child(SERVICE, name="plain", owner=None)) == ()


def test_a_child_of_an_earlier_life_of_the_deployment_is_taken_over() -> None:
    earlier = _child(SERVICE, owner="uid-of-an-earlier-life")
    earlier["metadata"]["labels"] = {names.MANAGED_BY: names.FIELD_MANAGER}
    assert _decide([SERVICE_80], earlier) == (Apply(stamped(SERVICE_80)),)


def test_a_child_that_lost_its_labels_is_still_known_by_the_owner_that_it_should_have() -> None:
    of_a_secret = _child(SERVICE, owner="uid-of-a-secret", spec={"ports": []})
    assert _decide([of_a_secret], of_a_secret) == (Apply(stamped(of_a_secret)),)


def test_a_child_that_is_no_longer_desired_is_deleted() -> None:
    assert _decide([], SERVICE_80) == (Delete(key_of(SERVICE_80)),)


def test_pods_and_replica_sets_are_left_to_their_controllers() -> None:
    assert _decide([], _child(POD), _child(REPLICA_SET)) == ()


_CODE = _child(CONFIG_MAP, name="weather-code-0")
_MOUNT = {"volumes": [{"name": "code", "configMap": {"name": "weather-code-0"}}]}


@pytest.mark.parametrize(
    ("user", "kept"),
    [
        pytest.param(_child(POD, spec=_MOUNT), True, id="a pod"),
        pytest.param(_child(REPLICA_SET, spec={"replicas": 2, "template": {"spec": _MOUNT}}), True, id="a ReplicaSet"),
        pytest.param(
            _child(REPLICA_SET, spec={"replicas": 0, "template": {"spec": _MOUNT}}, status={"replicas": 1}),
            True,
            id="a ReplicaSet whose last pod is going",
        ),
        pytest.param(
            _child(REPLICA_SET, spec={"replicas": 0, "template": {"spec": _MOUNT}}), False, id="an empty ReplicaSet"
        ),
        pytest.param(
            _child(POD, spec={"volumes": [{"name": "x", "emptyDir": {}}]}), False, id="a pod with other volumes"
        ),
    ],
)
def test_an_old_copy_of_the_code_stays_while_something_mounts_it(user: Document, kept: bool) -> None:
    assert _decide([], _CODE, user) == (() if kept else (Delete(key_of(_CODE)),))


def _workload(replicas: int | None, **spec: Any) -> Document:
    return _child(DEPLOYMENT, spec={**({"replicas": replicas} if replicas else {}), "template": {"spec": {}}, **spec})


_AUTOSCALER = _child(AUTOSCALER, spec={"minReplicas": 3, "maxReplicas": 9})
_KEY = key_of(_workload(None))


def _running(replicas: int) -> Document:
    held = stamped(_workload(None))
    return {**held, "spec": {**held["spec"], "replicas": replicas}}


@pytest.mark.parametrize(
    ("desired", "observed", "actions"),
    [
        pytest.param([_workload(4)], [_running(4)], (), id="four are four"),
        pytest.param(
            [_workload(4)], [_running(2)], (Scale(_KEY, 4),), id="a hand-made change of a fixed number is put right"
        ),
        pytest.param(
            [_workload(4)], [], (Apply(stamped(_workload(None)), force=False), Scale(_KEY, 4)), id="born, then scaled"
        ),
        pytest.param([_workload(1)], [], (Apply(stamped(_workload(None)), force=False),), id="born with one"),
        pytest.param(
            [_workload(None), _AUTOSCALER], [_running(7), stamped(_AUTOSCALER)], (), id="the autoscaler's number stays"
        ),
        pytest.param(
            [_workload(None), _AUTOSCALER],
            [_running(4)],
            (Apply(stamped(_AUTOSCALER), force=False),),
            id="fixed becomes autoscaled without a drop",
        ),
        pytest.param(
            [_workload(4)],
            [_running(7), stamped(_AUTOSCALER)],
            (Delete(key_of(_AUTOSCALER)), Scale(_KEY, 4)),
            id="autoscaled becomes fixed once the autoscaler goes",
        ),
        pytest.param(
            [_workload(None), _AUTOSCALER],
            [stamped(_AUTOSCALER)],
            (Apply(stamped(_workload(None)), force=False), Scale(_KEY, 3)),
            id="a Deployment that comes back starts at the autoscaler's minimum",
        ),
    ],
)
def test_replicas_are_scaled_and_never_applied(
    desired: list[Document], observed: list[Document], actions: tuple[object, ...]
) -> None:
    assert _decide(desired, *observed) == actions
    assert all("replicas" not in a.document["spec"] for a in actions if isinstance(a, Apply))
