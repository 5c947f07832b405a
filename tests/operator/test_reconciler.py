"""One pass: which steps are taken, in which order, what their errors lead to, and when the next pass is due."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from modeldeploy_operator.core.documents import (
    AUTOSCALER,
    DEPLOYMENT,
    MODEL_DEPLOYMENT,
    SERVICE,
    SERVICE_ACCOUNT,
    Document,
    Key,
)
from modeldeploy_operator.core.facts import Images
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting
from modeldeploy_operator.reconciler import REFUSED_SECONDS, Reconciler, Steps, Verdict
from modeldeploy_operator.statuses import Statuses
from modeldeploy_operator.targets.aks.code import scoring_code
from modeldeploy_operator.targets.aks.render import AksRenderer

from tests.operator.recording import (
    KEY,
    FixedCode,
    FixedKeys,
    FixedRegistry,
    RecordingPort,
    RecordingStatusWriter,
    deployment_document,
)

NOW = "2026-08-01T12:00:00Z"


@dataclass
class World:
    """A reconciler whose every port is in memory."""

    objects: dict[Key, Document] = field(default_factory=lambda: {KEY: deployment_document()})
    registry: FixedRegistry = field(default_factory=FixedRegistry)
    keys: FixedKeys = field(default_factory=FixedKeys)
    code: FixedCode = field(default_factory=FixedCode)
    port: RecordingPort = field(default_factory=RecordingPort)
    time: float = 0.0

    def __post_init__(self) -> None:
        self.writer = RecordingStatusWriter(self.objects)
        images = Images("lean:1", "sklearn:1", "IfNotPresent")
        statuses = Statuses(self.writer, lambda: self.time, lambda: 5.0)
        steps = Steps(self.registry, self.keys, self.code, AksRenderer(), self.port, statuses, images)
        self.reconciler = Reconciler(self, steps, lambda: NOW)

    def get(self, key: Key) -> Document | None:
        return self.objects.get(key)

    async def a_pass(self) -> Verdict:
        return await self.reconciler.reconcile(KEY)

    async def ready(self) -> None:
        await self.a_pass()
        self.port.roll_out()
        await self.a_pass()
        assert self.condition("Ready")["status"] == "True"
        self.port.calls.clear()
        self.writer.statuses.clear()

    @property
    def status(self) -> Document:
        found: Document = self.objects[KEY]["status"]
        return found

    def condition(self, kind: str) -> Document:
        return next((c for c in self.status["conditions"] if c["type"] == kind), {})


async def test_the_first_pass_makes_every_child_and_reports_what_it_saw_before() -> None:
    world = World()
    verdict = await world.a_pass()
    made = [kind for verb, kind in world.port.calls if verb == "create"]
    assert made == ["ServiceAccount", "Service", "Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"]
    assert world.condition("Available")["status"] == "False"
    assert world.status["replicas"] == 0
    assert verdict == Verdict("waiting", None, failed=False)


async def test_a_calm_life_is_two_statuses_and_no_event() -> None:
    world = World(registry=FixedRegistry(Waiting("Registering", "reading")))
    await world.a_pass()
    world.registry.models = FixedRegistry().models
    await world.a_pass()
    world.time += 2.0
    await world.a_pass()
    world.port.roll_out()
    await world.a_pass()
    await world.a_pass()
    assert len(world.writer.statuses) == 2
    assert world.condition("Ready")["status"] == "True"
    assert world.writer.events == []


async def test_an_idle_object_is_written_to_by_nobody() -> None:
    world = World()
    await world.ready()
    assert await world.a_pass() == Verdict("ready", None, failed=False)
    assert (world.port.calls, world.writer.statuses) == ([], [])


@pytest.mark.parametrize("step", ["models", "keys", "code"])
async def test_a_step_that_fails_before_rendering_touches_no_child(step: str) -> None:
    world = World()
    await world.ready()
    problem = Waiting("Missing", "not there yet", retry_after=7.0)
    match step:
        case "models":
            world.registry.models = problem
        case "keys":
            world.keys.credentials = problem
        case _:
            world.code.code = problem
    children = set(world.port.objects)
    verdict = await world.a_pass()
    assert world.port.calls == []
    assert set(world.port.objects) == children
    assert verdict.after is not None
    assert verdict.after <= 7.0
    world.time += 10.0
    await world.a_pass()
    assert world.condition("Ready")["reason"] == "Missing"
    assert world.condition("Available")["status"] == "True"


async def test_an_edited_child_is_put_right() -> None:
    world = World()
    await world.ready()
    world.port.objects[Key(SERVICE, "ml", "weather")]["spec"]["ports"][0]["port"] = 8080
    await world.a_pass()
    assert world.port.calls == [("apply", "Service")]
    assert world.port.objects[Key(SERVICE, "ml", "weather")]["spec"]["ports"][0]["port"] == 80


async def test_a_deleted_child_is_made_again() -> None:
    world = World()
    await world.ready()
    del world.port.objects[Key(SERVICE, "ml", "weather")]
    await world.a_pass()
    assert world.port.calls == [("create", "Service")]


async def test_what_is_not_desired_any_more_is_removed() -> None:
    world = World()
    await world.ready()
    spec = {"target": {"aks": {"replicas": 1}}}
    world.objects[KEY] = deployment_document(spec=spec, metadata={"generation": 2, "resourceVersion": "50"})
    await world.a_pass()
    assert ("delete", "HorizontalPodAutoscaler") in world.port.calls


async def test_one_refusal_does_not_keep_the_rest_from_being_done() -> None:
    world = World()
    world.port.refusals[AUTOSCALER] = Stalled("Forbidden", "no")
    verdict = await world.a_pass()
    assert ("create", "PodDisruptionBudget") in world.port.calls
    assert world.condition("Stalled")["reason"] == "Forbidden"
    assert verdict.after == REFUSED_SECONDS
    assert not verdict.failed


async def test_an_api_server_that_is_away_ends_the_pass_and_is_tried_again() -> None:
    world = World()
    world.port.refusals[SERVICE_ACCOUNT] = Unavailable("ApiServerUnavailable", "gone")
    verdict = await world.a_pass()
    assert world.port.calls == [("create", "ServiceAccount")]
    assert verdict.failed


async def test_a_bug_in_one_action_is_found_out_after_the_others_have_ended() -> None:
    world = World()
    world.port.refusals[SERVICE] = ZeroDivisionError("bug")
    assert (await world.a_pass()).result == "error"
    assert ("create", "PodDisruptionBudget") in world.port.calls


async def test_what_pods_refer_to_is_there_before_they_are() -> None:
    world = World(code=FixedCode(scoring_code("score.py", {"score.py": ""})))
    await world.a_pass()
    made = [kind for _, kind in world.port.calls]
    assert set(made[:2]) == {"ServiceAccount", "ConfigMap"}
    assert "Deployment" in made[2:]


async def test_a_refusal_that_names_a_time_is_tried_again_at_that_time() -> None:
    world = World()
    world.port.refusals[DEPLOYMENT] = Unavailable("ApiServerUnavailable", "slow down", retry_after=60.0)
    verdict = await world.a_pass()
    assert (verdict.after, verdict.failed) == (60.0, False)


async def test_the_soonest_of_several_times_counts() -> None:
    world = World(registry=FixedRegistry(Waiting("Registering", "reading", retry_after=20.0), retry_after=3.0))
    assert (await world.a_pass()).after == 3.0


async def test_a_bug_that_lasts_is_told_in_status_and_backed_off() -> None:
    world = World(registry=FixedRegistry(bug=ZeroDivisionError("bug")))
    assert await world.a_pass() == Verdict("error", None, failed=True)
    world.time += 6.0
    assert await world.a_pass() == Verdict("error", None, failed=True)
    assert (world.condition("Ready")["status"], world.condition("Ready")["reason"]) == ("Unknown", "InternalError")
    world.registry.bug = None
    await world.a_pass()
    world.time += 10.0
    await world.a_pass()
    assert world.condition("Ready")["reason"] == "RollingOut"


async def test_a_bug_while_the_api_server_is_away_raises_nothing() -> None:
    world = World(registry=FixedRegistry(bug=ZeroDivisionError("bug")))
    world.writer.refusals.append(Unavailable("ApiServerUnavailable", "gone"))
    assert (await world.a_pass()).failed


async def test_suspended_means_looking_and_nothing_else() -> None:
    world = World()
    await world.ready()
    asked = world.registry.asked
    world.objects[KEY] = deployment_document(
        spec={"suspend": True}, metadata={"generation": 2, "resourceVersion": "50"}, status=world.status
    )
    del world.port.objects[Key(SERVICE, "ml", "weather")]
    await world.a_pass()
    assert world.port.calls == []
    assert world.registry.asked == asked
    assert world.condition("Suspended")["status"] == "True"
    assert world.condition("Ready")["status"] == "True"


@pytest.mark.parametrize("gone", [pytest.param(True, id="gone"), pytest.param(False, id="going")])
async def test_an_object_that_is_going_is_left_to_the_garbage_collector(gone: bool) -> None:
    world = World()
    await world.ready()
    if gone:
        del world.objects[KEY]
    else:
        world.objects[KEY] = deployment_document(metadata={"deletionTimestamp": NOW, "resourceVersion": "50"})
    assert await world.a_pass() == Verdict("gone")
    assert (world.port.calls, world.writer.statuses) == ([], [])
    assert world.keys.forgotten == ["weather"]


async def test_a_name_that_is_taken_stalls_and_the_others_object_stays() -> None:
    world = World()
    theirs = {
        "apiVersion": "v1", "kind": "Service", "spec": {"type": "NodePort"},
        "metadata": {"name": "weather", "namespace": "ml", "labels": {}},
    }  # fmt: skip
    world.port.objects[Key(SERVICE, "ml", "weather")] = theirs
    await world.a_pass()
    assert world.condition("Stalled")["reason"] == "NameTaken"
    assert world.port.objects[Key(SERVICE, "ml", "weather")] == theirs


async def test_an_object_that_cannot_be_read_is_backed_off_and_nothing_is_touched() -> None:
    world = World()
    world.objects[KEY] = deployment_document(spec={"models": []})
    assert await world.a_pass() == Verdict("unreadable", failed=True)
    assert world.port.calls == []


@pytest.mark.parametrize(
    ("error", "after", "failed"),
    [
        pytest.param(Unavailable("ApiServerUnavailable", "gone"), None, True, id="away"),
        pytest.param(Stalled("Forbidden", "no"), REFUSED_SECONDS, False, id="forbidden"),
        pytest.param(Waiting("NamespaceTerminating", "going", retry_after=10.0), 10.0, False, id="namespace going"),
    ],
)
async def test_a_status_that_cannot_be_written_is_tried_again(
    error: ReconcileError, after: float | None, failed: bool
) -> None:
    world = World()
    world.writer.refusals.append(error)
    verdict = await world.a_pass()
    assert (verdict.after, verdict.failed) == (after, failed)


async def test_the_pass_of_one_object_knows_nothing_of_another() -> None:
    world = World()
    assert await world.reconciler.reconcile(Key(MODEL_DEPLOYMENT, "ml", "other")) == Verdict("gone")
    assert world.port.calls == []
