"""What is kept of an object, and that nothing is lost that a decision needs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from modeldeploy_operator.core.comparison import satisfied
from modeldeploy_operator.core.decide import stamped
from modeldeploy_operator.core.documents import Document
from modeldeploy_operator.projection import LAST_APPLIED, kept
from modeldeploy_operator.targets.aks.render import AksRenderer

from tests.operator.api_server import stored
from tests.operator.targets.stories import NOW, outcome, stories


def of(kind: str, **fields: Any) -> Document:
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", **fields.pop("metadata", {})}, **fields}


@pytest.mark.parametrize("story", stories())
def test_every_child_that_we_send_is_still_recognised(story: str) -> None:
    for document in outcome(story).desired or ():
        assert satisfied(stamped(document), kept(stored(document)))


@pytest.mark.parametrize("story", stories())
def test_the_same_judgement_is_made_of_what_is_kept(story: str) -> None:
    full = outcome(story)
    slim = {key: kept(document) for key, document in full.observed.items()}
    found = AksRenderer().assess(full.deployment, full.desired, slim, NOW)
    assert replace(found, problem=None) == replace(full.assessment, problem=None)
    assert repr(found.problem) == repr(full.assessment.problem)


def test_what_others_wrote_down_for_themselves_is_dropped() -> None:
    metadata = {"managedFields": [{}], "annotations": {LAST_APPLIED: "{}", "a": "b"}, "selfLink": "x"}
    assert kept(of("Service", metadata=metadata))["metadata"] == {"name": "a", "annotations": {"a": "b"}}


def test_a_pod_keeps_its_state_and_which_config_maps_it_mounts() -> None:
    spec = {
        "nodeName": "n1",
        "containers": [
            {"name": "scoring", "image": "i", "env": [{"name": "X"}], "resources": {"limits": {"gpu": "1"}}}
        ],
        "volumes": [{"name": "code", "configMap": {"name": "c"}}, {"name": "tmp", "emptyDir": {}}],
    }
    status = {"phase": "Running", "conditions": [], "containerStatuses": [{"name": "scoring"}], "podIP": "10.0.0.1"}
    found = kept(of("Pod", spec=spec, status=status))
    assert found["spec"] == {
        "nodeName": "n1",
        "containers": [{"name": "scoring", "image": "i", "resources": {"limits": {"gpu": "1"}}}],
        "volumes": [{"name": "code", "configMap": {"name": "c"}}],
    }
    assert found["status"] == {"phase": "Running", "conditions": [], "containerStatuses": [{"name": "scoring"}]}


def test_short_texts_are_held_once_and_long_ones_stay_what_they_are() -> None:
    long = "x" * 500
    one, other = (kept(of("ConfigMap", data={"a": "".join(["Al", "ways"]), "b": long, "n": 1})) for _ in range(2))
    assert one == other == of("ConfigMap", data={"a": "Always", "b": long, "n": 1})
    assert one["data"]["a"] is other["data"]["a"]


@pytest.mark.parametrize("kind", ["Pod", "ReplicaSet", "Service", "HorizontalPodAutoscaler"])
def test_an_object_that_lacks_everything_is_no_bug(kind: str) -> None:
    assert kept(of(kind))["metadata"] == {"name": "a"}
