"""When a status is written, when it is held back, and when an Event goes with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.core.documents import Document, Key
from modeldeploy_operator.statuses import Statuses, event

from tests.operator.recording import KEY, UID, RecordingStatusWriter, deployment_document

NOW = "2026-08-01T12:00:00Z"


def status(ready: str = "False", reason: str = "RollingOut", generation: int = 1, **more: Any) -> Document:
    kinds = {"Ready": (ready, reason), **dict.fromkeys(more.pop("also", ()), ("True", reason))}
    conditions = [
        {"type": kind, "status": value, "reason": why, "message": why} for kind, (value, why) in kinds.items()
    ]
    return {"observedGeneration": generation, "conditions": conditions, **more}


@dataclass
class World:
    objects: dict[Key, Document] = field(default_factory=lambda: {KEY: deployment_document()})
    time: float = 0.0
    patience: float = 5.0

    def __post_init__(self) -> None:
        self.writer = RecordingStatusWriter(self.objects)
        self.statuses = Statuses(self.writer, lambda: self.time, lambda: self.patience)

    async def bring(self, wanted: Document) -> float | None:
        deployment = ModelDeployment.model_validate(self.objects[KEY])
        return await self.statuses.bring(KEY, deployment, wanted, NOW)

    @property
    def written(self) -> int:
        return len(self.writer.statuses)


async def test_progress_is_held_back_until_its_time_has_come() -> None:
    world = World()
    assert await world.bring(status()) is None
    assert await world.bring(status(replicas=1)) == 5.0
    world.time = 3.0
    assert await world.bring(status(replicas=2)) == 2.0
    assert world.written == 1
    world.time = 5.0
    assert await world.bring(status(replicas=3)) is None
    assert world.writer.statuses[-1]["replicas"] == 3
    assert world.written == 2


async def test_the_wait_begins_anew_after_each_write() -> None:
    world = World()
    await world.bring(status())
    await world.bring(status(replicas=1))
    world.time = 5.0
    await world.bring(status(replicas=1))
    assert await world.bring(status(replicas=2)) == 5.0


async def test_what_went_back_to_what_stands_there_is_not_written_and_not_waited_for() -> None:
    world = World()
    await world.bring(status())
    await world.bring(status(replicas=1))
    world.time = 4.0
    assert await world.bring(status()) is None
    assert await world.bring(status(replicas=2)) == 5.0
    assert world.written == 1


async def test_readiness_does_not_wait() -> None:
    world = World()
    await world.bring(status())
    assert await world.bring(status(replicas=1)) == 5.0
    assert await world.bring(status("True", "Ready", replicas=1)) is None
    assert world.written == 2


async def test_a_status_that_the_api_server_prunes_is_written_once() -> None:
    world = World()
    world.writer.prune = "novelty"
    await world.bring(status(novelty=1))
    assert await world.bring(status(novelty=1)) is None
    world.time = 99.0
    assert await world.bring(status(novelty=1)) is None
    assert world.written == 1
    await world.bring(status("True", "Ready", novelty=1))
    assert world.written == 2


async def test_a_third_partys_edit_of_a_pruned_status_is_put_right() -> None:
    world = World()
    world.writer.prune = "novelty"
    await world.bring(status(novelty=1))
    world.objects[KEY] = {**world.objects[KEY], "status": status("True", "Ready")}
    world.time = 99.0
    await world.bring(status(novelty=1))
    world.time = 199.0
    await world.bring(status(novelty=1))
    assert world.written == 2


async def test_new_trouble_is_told_by_one_event() -> None:
    world = World()
    await world.bring(status())
    await world.bring(status(reason="ScriptInvalid", also=["Stalled"]))
    await world.bring(status(reason="ScriptInvalid", also=["Stalled"], replicas=1))
    world.time = 9.0
    await world.bring(status(reason="ScriptInvalid", also=["Stalled"], replicas=1))
    assert world.written == 3
    assert [(found["type"], found["reason"], found["message"]) for found in world.writer.events] == [
        ("Warning", "ScriptInvalid", "ScriptInvalid")
    ]


async def test_a_failure_that_is_not_for_the_user_alone_is_told_too() -> None:
    world = World()
    await world.bring(status(lastFailure={"phase": "Init", "reason": "InitFailed", "message": "ValueError: x"}))
    assert [found["message"] for found in world.writer.events] == ["ValueError: x"]


async def test_an_object_that_is_gone_gets_no_status_and_leaves_nothing_behind() -> None:
    world = World()
    deployment = ModelDeployment.model_validate(world.objects.pop(KEY))
    assert await world.statuses.bring(KEY, deployment, status(), NOW) is None
    world.statuses.forget(KEY)


def test_the_same_trouble_has_the_same_event_and_a_long_one_is_cut() -> None:
    first, again = event(KEY, UID, "InitFailed", "ö" * 3000, NOW), event(KEY, UID, "InitFailed", "ö" * 3000, "later")
    assert first["metadata"]["name"] == again["metadata"]["name"]
    assert len(first["message"].encode()) <= 1024
    assert first["metadata"]["name"] != event(KEY, "other", "InitFailed", "x", NOW)["metadata"]["name"]
