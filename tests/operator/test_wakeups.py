"""Whose key comes up when something changes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from modeldeploy_operator.core.documents import CONFIG_MAP, MODEL_DEPLOYMENT, MODEL_VERSION, POD, Document, Key, Kind
from modeldeploy_operator.core.names import DEPLOYMENT_LABEL
from modeldeploy_operator.wakeups import REFERENCE_SECONDS, SETTLE_SECONDS, Wakeups


@dataclass
class World:
    woken: list[tuple[str, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.wakeups = Wakeups(lambda key, delay: self.woken.append((f"{key.namespace}/{key.name}", delay)))

    def deployed(self, name: str, spec: Document, namespace: str = "ml") -> Document:
        document = of(MODEL_DEPLOYMENT, name, namespace, spec=spec)
        self.wakeups.deployment_changed(None, document)
        self.woken.clear()
        return document


def of(kind: Kind, name: str, namespace: str = "ml", **fields: Any) -> Document:
    metadata = {"name": name, "namespace": namespace, **fields.pop("metadata", {})}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}


def version(model: str, number: int = 1, namespace: str = "ml") -> Document:
    return of(MODEL_VERSION, f"{model}-{number}", namespace, spec={"model": model, "version": number})


BY_VERSION = {"models": [{"name": "svc", "version": "1"}]}
BY_SOURCE = {"models": [{"name": "svc", "source": {"uri": "https://models.test/svc.onnx"}}]}
BY_CONFIG_MAP = {"models": [{"name": "svc", "source": {"uri": "configmap://bytes/svc.onnx"}}]}
WITH_CODE = {**BY_SOURCE, "code": {"configMapRef": {"name": "code"}}}


def test_a_deployment_wakes_itself_at_once_also_when_it_goes() -> None:
    world = World()
    document = of(MODEL_DEPLOYMENT, "weather", spec=BY_VERSION)
    world.wakeups.deployment_changed(None, document)
    world.wakeups.deployment_changed(document, None)
    assert world.woken == [("ml/weather", 0.0), ("ml/weather", 0.0)]


def test_a_child_wakes_the_deployment_that_its_label_names() -> None:
    world = World()
    child = of(POD, "weather-1", metadata={"labels": {DEPLOYMENT_LABEL: "weather"}})
    world.wakeups.child_changed(None, child)
    world.wakeups.child_changed(child, None)
    world.wakeups.child_changed(None, of(POD, "stranger"))
    assert world.woken == [("ml/weather", SETTLE_SECONDS), ("ml/weather", SETTLE_SECONDS)]


def test_a_child_that_lost_its_label_still_wakes_its_deployment() -> None:
    world = World()
    child = of(POD, "weather-1", metadata={"labels": {DEPLOYMENT_LABEL: "weather"}})
    world.wakeups.child_changed(child, of(POD, "weather-1"))
    assert world.woken == [("ml/weather", SETTLE_SECONDS)]


def test_a_new_version_wakes_those_who_wait_for_it_and_not_those_who_made_it() -> None:
    world = World()
    world.deployed("asks", BY_VERSION)
    world.deployed("makes", BY_SOURCE)
    world.deployed("elsewhere", BY_VERSION, namespace="other")
    world.wakeups.version_changed(None, version("svc"))
    assert world.woken == [("ml/asks", REFERENCE_SECONDS)]


def test_a_deleted_version_wakes_all_who_use_its_model() -> None:
    world = World()
    world.deployed("asks", BY_VERSION)
    world.deployed("makes", BY_SOURCE)
    world.wakeups.version_changed(version("svc"), None)
    assert {key for key, _ in world.woken} == {"ml/asks", "ml/makes"}


def test_a_config_map_wakes_those_whose_code_or_model_lies_in_it() -> None:
    world = World()
    world.deployed("code", WITH_CODE)
    world.deployed("model", BY_CONFIG_MAP)
    world.wakeups.config_map_changed(None, of(CONFIG_MAP, "code"))
    world.wakeups.config_map_changed(None, of(CONFIG_MAP, "bytes"))
    world.wakeups.config_map_changed(None, of(CONFIG_MAP, "unrelated"))
    assert [key for key, _ in world.woken] == ["ml/code", "ml/model"]


def test_a_reference_that_was_given_up_wakes_nobody() -> None:
    world = World()
    before = world.deployed("weather", WITH_CODE)
    world.wakeups.deployment_changed(before, of(MODEL_DEPLOYMENT, "weather", spec=BY_SOURCE))
    world.woken.clear()
    world.wakeups.config_map_changed(None, of(CONFIG_MAP, "code"))
    assert world.woken == []


def test_nothing_is_remembered_of_a_deployment_that_is_gone() -> None:
    world = World()
    before = world.deployed("weather", {**WITH_CODE, **BY_CONFIG_MAP})
    world.wakeups.deployment_changed(before, None)
    assert world.wakeups._referring == {}


def test_two_who_share_a_config_map_keep_it_when_one_goes() -> None:
    world = World()
    one = world.deployed("one", WITH_CODE)
    world.deployed("two", WITH_CODE)
    world.wakeups.deployment_changed(one, None)
    world.woken.clear()
    world.wakeups.config_map_changed(None, of(CONFIG_MAP, "code"))
    assert [key for key, _ in world.woken] == ["ml/two"]


def test_an_object_that_lacks_everything_wakes_itself_alone() -> None:
    world = World()
    world.wakeups.deployment_changed(None, {"apiVersion": MODEL_DEPLOYMENT.api_version, "kind": "ModelDeployment",
                                            "metadata": {"name": "a", "namespace": "b"}})  # fmt: skip
    assert world.woken == [("b/a", 0.0)]
    assert Key(CONFIG_MAP, "b", "") not in world.wakeups._referring
