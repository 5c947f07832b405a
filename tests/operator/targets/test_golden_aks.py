"""Every story under tests/golden/aks: the files that `make golden` writes, and what must hold of every story."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import pytest
from modeldeploy_operator.api.status import ModelDeploymentStatus
from modeldeploy_operator.core import conditions, names
from modeldeploy_operator.core.decide import Apply, Scale, decide, stamped
from modeldeploy_operator.core.documents import DEPLOYMENT, Document, Key, key_of
from modeldeploy_operator.core.facts import Facts
from modeldeploy_operator.core.report import report
from modeldeploy_operator.core.writing import Urgency, urgency
from modeldeploy_operator.errors import Stalled
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS, AksRenderer

from tests.operator.api_server import stored
from tests.operator.targets.stories import GOLDEN, LATER, outcome, stories, texts, with_status

STORIES = stories()
RENDERED = [story for story in STORIES if outcome(story).desired]
# Most stories share their documents; one of each set is enough where only those matter.
DIFFERENT = sorted({names.short_hash(outcome(story).desired): story for story in RENDERED}.values())


@pytest.mark.parametrize("story", STORIES)
def test_the_golden_files_are_what_the_story_yields(story: str) -> None:
    for name, text in texts(story).items():
        assert (GOLDEN / story / name).read_text(encoding="utf-8") == text, f"{story}/{name}: run `make golden`"


@pytest.mark.parametrize("story", STORIES)
def test_status_has_only_fields_of_the_crd(story: str) -> None:
    status = outcome(story).status
    model = ModelDeploymentStatus.model_validate(status)
    assert model.model_dump(mode="json", by_alias=True, exclude_none=True) == status


@pytest.mark.parametrize("story", STORIES)
def test_a_second_report_a_minute_later_changes_nothing(story: str) -> None:
    found = outcome(story)
    deployment = with_status(found.deployment, found.status)
    assessment = AksRenderer().assess(deployment, found.desired, found.observed, LATER)
    again = Facts(
        found.facts.models,
        found.facts.credentials,
        found.facts.code,
        assessment,
        found.facts.action_problem,
        found.facts.registration_failure,
    )
    assert report(deployment, again, LATER) == found.status
    assert urgency(found.status, report(deployment, again, LATER)) is Urgency.NONE


@pytest.mark.parametrize("story", STORIES)
def test_status_follows_the_kstatus_rules(story: str) -> None:
    found = outcome(story)
    told = {condition["type"]: condition for condition in found.status["conditions"]}
    assert list(told) == [kind for kind in conditions.ORDER if kind in told]
    assert found.status["observedGeneration"] == found.deployment.metadata.generation
    assert "Ready" in told
    assert not (conditions.RECONCILING in told and conditions.STALLED in told)
    for kind in (conditions.RECONCILING, conditions.STALLED, conditions.SUSPENDED):
        assert told.get(kind, {"status": "True"})["status"] == "True"
    if not found.deployment.spec.suspend:
        unready = conditions.RECONCILING in told or conditions.STALLED in told
        assert (told["Ready"]["status"] == "False") == unready
        assert {condition["observedGeneration"] for condition in told.values()} == {
            found.deployment.metadata.generation
        }


@pytest.mark.parametrize("story", STORIES)
def test_messages_are_sentences_without_a_trace_of_python(story: str) -> None:
    for condition in outcome(story).status["conditions"]:
        assert condition["message"]
        for trace in ("None.", "{", "Traceback", "[]", ".."):
            assert trace not in condition["message"].replace("auth.mode is None.", "")


@pytest.mark.parametrize("story", RENDERED)
def test_what_was_applied_needs_nothing_more(story: str) -> None:
    found = outcome(story)
    desired = found.desired or ()
    held = _applied(desired)
    assert decide(desired, held, found.deployment.metadata.uid, MANAGED_KINDS) == ()


@pytest.mark.parametrize("story", DIFFERENT)
def test_a_change_to_any_field_that_we_send_is_put_right(story: str) -> None:
    desired = outcome(story).desired or ()
    for key, document in _applied(desired).items():
        wanted = next(candidate for candidate in desired if key_of(candidate) == key)
        for path in _leaves(wanted):
            if path[0] in ("apiVersion", "kind") or path in (("metadata", "name"), ("metadata", "namespace")):
                continue
            held = copy.deepcopy(document)
            _change(held, path)
            scaled = path == ("spec", "replicas")
            expected = Scale(key, wanted["spec"]["replicas"]) if scaled else Apply(stamped(wanted))
            assert decide([wanted], {key: held}, "uid-of-weather", MANAGED_KINDS) == (expected,), path


@pytest.mark.parametrize("story", RENDERED)
def test_pods_meet_the_restricted_level_of_pod_security(story: str) -> None:
    workload = next(d for d in outcome(story).desired or () if d["kind"] == DEPLOYMENT.kind)
    pod = workload["spec"]["template"]["spec"]
    assert restricted_violations(pod) == []
    assert pod["automountServiceAccountToken"] is False
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["resources"]["limits"]["memory"]
        assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


@pytest.mark.parametrize("story", RENDERED)
def test_nothing_is_sent_that_the_api_stores_as_absent(story: str) -> None:
    for document in outcome(story).desired or ():
        for path, value in _values(document):
            if path[-1] == "emptyDir" or "data" in path:
                continue
            assert value not in ("", [], {}, None), path


def test_the_restricted_check_sees_every_violation() -> None:
    workload = next(d for d in outcome("ready").desired or () if d["kind"] == DEPLOYMENT.kind)
    pod = workload["spec"]["template"]["spec"]
    container = {"name": "c", "securityContext": {"privileged": True, "allowPrivilegeEscalation": True}}
    worse = {
        **pod,
        "hostNetwork": True,
        "securityContext": {"runAsUser": 0},
        "containers": [container],
        "volumes": [{"name": "v", "hostPath": {"path": "/"}}],
    }
    assert len(restricted_violations(worse)) == 8


def test_a_failure_of_the_users_own_waits_for_two_restarts_before_it_is_stalled() -> None:
    assert not isinstance(outcome("init-raises-once").assessment.problem, Stalled)
    assert isinstance(outcome("init-raises-again-and-again").assessment.problem, Stalled)


def _applied(desired: Sequence[Document]) -> dict[Key, Document]:
    """What the API server holds once every action was taken."""
    held = {key_of(document): stored(document) for document in desired}
    for action in decide(desired, {}, "uid-of-weather", MANAGED_KINDS):
        if isinstance(action, Scale):
            held[action.key]["spec"]["replicas"] = action.replicas
    return held


def restricted_violations(pod: dict[str, Any]) -> list[str]:
    """The rules of the Pod Security Standards, level restricted, that a pod spec breaks."""
    context = pod.get("securityContext", {})
    found = [field for field in ("hostNetwork", "hostPID", "hostIPC") if pod.get(field)]
    found += ["runAsUser 0"] if context.get("runAsUser") == 0 else []
    found += ["seccomp"] if context.get("seccompProfile", {}).get("type") not in ("RuntimeDefault", "Localhost") else []
    allowed = {
        "configMap",
        "csi",
        "downwardAPI",
        "emptyDir",
        "ephemeral",
        "persistentVolumeClaim",
        "projected",
        "secret",
    }
    found += [f"volume {v['name']}" for v in pod.get("volumes", ()) if not v.keys() - {"name"} <= allowed]
    for container in (*pod.get("initContainers", ()), *pod["containers"]):
        own = container.get("securityContext", {})
        if not own.get("runAsNonRoot", context.get("runAsNonRoot", False)):
            found.append(f"{container['name']}: runAsNonRoot")
        if own.get("allowPrivilegeEscalation") is not False:
            found.append(f"{container['name']}: allowPrivilegeEscalation")
        if own.get("capabilities", {}).get("drop") != ["ALL"] or own.get("capabilities", {}).get("add"):
            found.append(f"{container['name']}: capabilities")
        if own.get("privileged"):
            found.append(f"{container['name']}: privileged")
    return found


def _values(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[tuple[Any, ...], Any]]:
    below = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return ([(path, value)] if path else []) + [found for name, part in below for found in _values(part, (*path, name))]


def _leaves(document: dict[str, Any]) -> list[tuple[Any, ...]]:
    return [path for path, value in _values(document) if not isinstance(value, dict | list)]


def _change(document: dict[str, Any], path: tuple[Any, ...]) -> None:
    holder: Any = document
    for name in path[:-1]:
        holder = holder[name]
    value = holder.get(path[-1]) if isinstance(holder, dict) else holder[path[-1]]
    holder[path[-1]] = (not value) if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}0x"
