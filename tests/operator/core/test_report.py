"""Status out of facts: what Ready sums up, what is kept, what a failure looks like, and when a write is due."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modeldeploy_operator.api.v1alpha1 import ModelDeployment, ModelFormat
from modeldeploy_operator.core import conditions
from modeldeploy_operator.core.facts import Assessment, Credentials, Facts, Failure, ResolvedModel
from modeldeploy_operator.core.report import internal_error, report
from modeldeploy_operator.core.writing import Urgency, urgency
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting

NOW, LATER = "2026-08-01T12:00:00Z", "2026-08-01T12:05:00Z"
DIGEST = f"sha256:{'0' * 64}"
MODEL = ResolvedModel("svc", 1, DIGEST, "https://models.example.com/svc.onnx", ModelFormat.ONNX, "req")
KEYS = Credentials("weather-keys", "uid-2", "1" * 12, "2" * 12, owned=True)
SERVING = Assessment(
    available=True,
    complete=True,
    problem=None,
    serving_revision="weather-b",
    desired_revision="weather-b",
    replicas=1,
    ready_replicas=1,
    selector="a=b",
    endpoint={"scoringUri": "http://w/score", "port": 80},
)
HEALTHY = Facts((MODEL,), KEYS, None, SERVING)
ROLLING = replace(SERVING, complete=False, problem=Waiting("RollingOut", "Rolling out weather-b."))
FAILURE = Failure("Init", "InitFailed", "init() raised.", "2026-08-01T11:59:00Z", pod="weather-b-1", exit_code=13)


def _deployment(status: dict[str, Any] | None = None, generation: int = 1, **spec: Any) -> ModelDeployment:
    models = [{"name": "svc", "source": {"uri": MODEL.uri}}]
    return ModelDeployment.model_validate(
        {
            "metadata": {"name": "weather", "namespace": "demo", "uid": "uid-1", "generation": generation},
            "spec": {"models": models, "target": {"aks": {}}, **spec},
            "status": status or {},
        }
    )


def _failing(problem: ReconcileError, failure: Failure | None = FAILURE) -> Facts:
    return replace(HEALTHY, assessment=replace(SERVING, complete=False, problem=problem, failure=failure))


def _told(status: dict[str, Any], kind: str) -> tuple[object, ...]:
    found = conditions.find(status["conditions"], kind)
    return tuple(found.get(name) for name in ("status", "reason", "message"))


@pytest.mark.parametrize(
    ("facts", "reason", "kind"),
    [
        pytest.param(
            replace(HEALTHY, models=Stalled("SourceNotFound", "Gone.")), "SourceNotFound", "Stalled", id="models"
        ),
        pytest.param(replace(HEALTHY, code=Waiting("CodeNotFound", "Gone.")), "CodeNotFound", "Reconciling", id="code"),
        pytest.param(
            replace(HEALTHY, credentials=Stalled("KeysInvalid", "Empty.")), "KeysInvalid", "Stalled", id="keys"
        ),
        pytest.param(replace(HEALTHY, action_problem=Unavailable("Busy", "429.")), "Busy", "Reconciling", id="actions"),
        pytest.param(replace(HEALTHY, assessment=ROLLING), "RollingOut", "Reconciling", id="rollout"),
        pytest.param(
            replace(HEALTHY, models=Waiting("Registering", "Reading."), credentials=Stalled("KeysInvalid", "Empty.")),
            "KeysInvalid",
            "Stalled",
            id="what only the user can mend comes before what goes on by itself",
        ),
        pytest.param(
            replace(_failing(Stalled("InitFailed", "x")), models=Waiting("Registering", "Reading.")),
            "Registering",
            "Reconciling",
            id="the old revision's troubles come after the new one's registration",
        ),
    ],
)
def test_ready_names_the_first_problem_and_its_class(facts: Facts, reason: str, kind: str) -> None:
    status = report(_deployment(), facts, NOW)
    assert _told(status, "Ready")[:2] == ("False", reason)
    assert _told(status, kind)[:2] == ("True", reason)
    assert {c["type"] for c in status["conditions"]} & {"Reconciling", "Stalled"} == {kind}


def test_a_healthy_deployment_is_ready_and_nothing_else() -> None:
    status = report(_deployment(), HEALTHY, NOW)
    assert _told(status, "Ready") == ("True", "Ready", "weather-b is rolled out and serves.")
    assert _told(status, "Available") == ("True", "Serving", "weather-b takes requests.")
    assert _told(status, "Registered") == ("True", "Registered", "Registered: svc:1.")
    assert _told(status, "CredentialsReady") == ("True", "KeysReady", "Secret weather-keys holds the keys.")
    assert [c["type"] for c in status["conditions"]] == ["Registered", "CredentialsReady", "Available", "Ready"]
    assert "lastFailure" not in status


def test_available_stays_true_while_a_new_revision_rolls_out() -> None:
    status = report(_deployment(), replace(HEALTHY, assessment=ROLLING), NOW)
    assert _told(status, "Available")[0] == "True"
    assert _told(status, "Ready")[0] == "False"


def test_a_transition_time_changes_only_with_the_status() -> None:
    first = report(_deployment(), replace(HEALTHY, assessment=ROLLING), NOW)
    second = report(_deployment(first), _failing(Waiting("InitFailed", "init() raised.")), LATER)
    third = report(_deployment(second), HEALTHY, LATER)
    assert conditions.find(second["conditions"], "Ready")["lastTransitionTime"] == NOW
    assert conditions.find(third["conditions"], "Ready")["lastTransitionTime"] == LATER
    assert conditions.find(third["conditions"], "Available")["lastTransitionTime"] == NOW


def test_what_a_pass_could_not_find_out_keeps_its_value() -> None:
    ready = report(_deployment(), HEALTHY, NOW)
    facts = replace(HEALTHY, models=Unavailable("Busy", "429."), credentials=None)
    status = report(_deployment(ready, generation=2), facts, LATER)
    assert status["models"] == ready["models"]
    assert status["auth"] == ready["auth"]
    assert _told(status, "CredentialsReady")[0] == "True"


def test_keys_that_were_never_seen_are_pending() -> None:
    status = report(_deployment(), replace(HEALTHY, credentials=None), NOW)
    assert _told(status, "CredentialsReady") == (
        "False",
        "Pending",
        "Secret weather-keys is made once the steps before it are done.",
    )


def test_without_authentication_no_key_is_named() -> None:
    ready = report(_deployment(), HEALTHY, NOW)
    status = report(_deployment(ready, auth={"mode": "None"}), replace(HEALTHY, credentials=None), NOW)
    assert status["auth"] == {"mode": "None"}
    assert _told(status, "CredentialsReady")[:2] == ("True", "NotRequired")


def test_keys_stand_in_status_only_where_they_were_handed_over() -> None:
    assert "primaryKey" not in report(_deployment(), HEALTHY, NOW)["auth"]
    published = replace(HEALTHY, credentials=replace(KEYS, primary="first", secondary="second"))
    auth = report(_deployment(), published, NOW)["auth"]
    assert (auth["primaryKey"], auth["secondaryKey"]) == ("first", "second")
    assert "first" not in repr(published)


def test_the_same_failure_again_keeps_its_first_time() -> None:
    first = report(_deployment(), _failing(Waiting("InitFailed", "init() raised.")), NOW)
    crashed_again = replace(FAILURE, at="2026-08-01T12:04:00Z")
    second = report(_deployment(first), _failing(Waiting("InitFailed", "init() raised."), crashed_again), LATER)
    assert second == first
    other = replace(FAILURE, exception="ValueError: no", at="2026-08-01T12:04:00Z")
    third = report(_deployment(first), _failing(Waiting("InitFailed", "init() raised."), other), LATER)
    assert third["lastFailure"]["at"] == "2026-08-01T12:04:00Z"


def test_the_last_failure_stays_until_ready_and_leaves_with_it() -> None:
    failed = report(_deployment(), _failing(Stalled("InitFailed", "init() raised.")), NOW)
    rolling = report(_deployment(failed, generation=2), replace(HEALTHY, assessment=ROLLING), LATER)
    assert rolling["lastFailure"] == failed["lastFailure"]
    assert "lastFailure" not in report(_deployment(rolling, generation=2), HEALTHY, LATER)


def test_a_failed_registration_is_the_last_failure() -> None:
    fetch = Failure("Fetch", "SourceNotFound", "404.", NOW, pod="weather-register-0")
    facts = replace(HEALTHY, models=Stalled("SourceNotFound", "404."), registration_failure=fetch)
    assert report(_deployment(), facts, NOW)["lastFailure"] == {
        "phase": "Fetch",
        "reason": "SourceNotFound",
        "message": "404.",
        "at": NOW,
        "pod": "weather-register-0",
    }


def test_a_long_exception_is_cut_to_what_the_crd_takes() -> None:
    long = replace(FAILURE, message="m" * 9000, exception="e" * 9000)
    status = report(_deployment(), _failing(Stalled("InitFailed", "x" * 9000), long), NOW)
    assert len(status["lastFailure"]["message"]) == len(status["lastFailure"]["exception"]) == 4000
    assert len(_told(status, "Ready")[2]) == 2048  # type: ignore[arg-type]


def test_suspending_keeps_ready_and_drops_reconciling() -> None:
    rolling = report(_deployment(), replace(HEALTHY, assessment=ROLLING), NOW)
    idle = replace(SERVING, available=False, replicas=0, ready_replicas=0, serving_revision=None)
    status = report(_deployment(rolling, generation=2, suspend=True), replace(HEALTHY, assessment=idle), LATER)
    assert _told(status, "Ready") == _told(rolling, "Ready")
    assert _told(status, "Reconciling") == (None, None, None)
    assert _told(status, "Suspended")[:2] == ("True", "Suspended")
    assert _told(status, "Available")[0] == "False"
    assert (status["observedGeneration"], status["replicas"]) == (2, 0)
    resumed = report(_deployment(status, generation=3), HEALTHY, LATER)
    assert _told(resumed, "Suspended") == (None, None, None)


def test_an_object_suspended_from_birth_says_so_in_ready() -> None:
    status = report(_deployment(suspend=True), HEALTHY, NOW)
    assert _told(status, "Ready")[:2] == ("False", "Suspended")


def test_a_bug_of_ours_makes_ready_unknown_and_leaves_the_rest() -> None:
    ready = report(_deployment(), HEALTHY, NOW)
    status = internal_error(_deployment(ready), LATER)
    assert _told(status, "Ready")[:2] == ("Unknown", "InternalError")
    assert status["models"] == ready["models"]
    assert internal_error(_deployment(status), "2026-08-01T13:00:00Z") == status


_FIRST = report(_deployment(), replace(HEALTHY, models=Waiting("Registering", "Reading."), credentials=None), NOW)
_ROLLS = report(_deployment(_FIRST), replace(HEALTHY, assessment=ROLLING), NOW)
_READY = report(_deployment(_ROLLS), HEALTHY, NOW)
_LOST = report(_deployment(_READY), replace(HEALTHY, assessment=replace(ROLLING, available=False)), NOW)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        pytest.param({}, _FIRST, Urgency.NOW, id="the first status"),
        pytest.param(_FIRST, _FIRST, Urgency.NONE, id="no change"),
        pytest.param(_FIRST, _ROLLS, Urgency.SOON, id="registered, and on its way"),
        pytest.param(_ROLLS, _READY, Urgency.NOW, id="ready"),
        pytest.param(_READY, _ROLLS, Urgency.SOON, id="a replica stumbles while others serve"),
        pytest.param(_READY, _LOST, Urgency.NOW, id="nothing serves any more"),
        pytest.param(_LOST, _ROLLS, Urgency.SOON, id="something serves again, Ready will follow"),
        pytest.param(_READY, {**_ROLLS, "observedGeneration": 2}, Urgency.NOW, id="a new generation"),
        pytest.param(_READY, {**_READY, "replicas": 2}, Urgency.SOON, id="the autoscaler adds a replica"),
        pytest.param(
            _ROLLS, report(_deployment(_ROLLS), _failing(Waiting("InitFailed", "x")), NOW), Urgency.NOW, id="a failure"
        ),
        pytest.param(
            _ROLLS,
            report(_deployment(_ROLLS), _failing(Stalled("InitFailed", "x"), None), NOW),
            Urgency.NOW,
            id="stalled",
        ),
        pytest.param(_READY, report(_deployment(_READY, suspend=True), HEALTHY, NOW), Urgency.NOW, id="suspended"),
    ],
)
def test_only_what_a_user_acts_upon_is_written_at_once(
    old: dict[str, Any], new: dict[str, Any], expected: Urgency
) -> None:
    assert urgency(old, new) is expected


_problems = st.none() | st.builds(
    lambda kind, reason: kind(reason, f"{reason} holds."),
    st.sampled_from([Stalled, Waiting, Unavailable]),
    st.sampled_from(["One", "Two", "Three"]),
)
_failures = st.none() | st.builds(
    Failure, st.just("Init"), st.sampled_from(["A", "B"]), st.text(max_size=20), st.sampled_from([NOW, LATER])
)
_facts = st.builds(
    Facts,
    _problems.map(lambda problem: problem or (MODEL,)),
    _problems.map(lambda problem: problem or KEYS),
    _problems,
    st.builds(
        lambda problem, failure, available: replace(
            SERVING, problem=problem, complete=problem is None, failure=failure, available=available
        ),
        _problems,
        _failures,
        st.booleans(),
    ),
    _problems,
    _failures,
)


@given(before=_facts, facts=_facts, suspend=st.booleans())
def test_a_report_on_the_same_facts_is_the_same_status(before: Facts, facts: Facts, suspend: bool) -> None:
    old = report(_deployment(), before, "2026-08-01T11:00:00Z")
    status = report(_deployment(old, suspend=suspend), facts, NOW)
    assert report(_deployment(status, suspend=suspend), facts, LATER) == status
