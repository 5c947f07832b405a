"""The script: inline or out of a ConfigMap, read once for each of its versions, with sentences for what is wrong."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Any

import pytest
from modeldeploy_operator.core.documents import CONFIG_MAP, Document, Key
from modeldeploy_operator.core.facts import ScoringCode
from modeldeploy_operator.errors import ReconcileError, Stalled, Waiting
from modeldeploy_operator.targets.aks.code import CodeReader, scoring_code

from tests.operator.recording import deployment

KEY = Key(CONFIG_MAP, "ml", "weather-code")
MANY = [f"f{number:02}.py" for number in range(25)]


@dataclass
class World:
    """ConfigMaps as they are, as the watch told them, and each GET."""

    objects: dict[Key, Document] = field(default_factory=dict)
    reads: int = 0

    def __post_init__(self) -> None:
        self.told: dict[Key, Document] = {}
        self.reader = CodeReader(self, Lookup(self.told))

    def put(self, version: int, **fields: Any) -> None:
        metadata = {"name": KEY.name, "namespace": KEY.namespace, "resourceVersion": str(version)}
        self.objects[KEY] = {"metadata": metadata, **fields}
        self.told[KEY] = {"metadata": metadata}

    async def get(self, key: Key) -> Document | None:
        self.reads += 1
        return self.objects.get(key)

    async def resolve(self, **code: Any) -> ScoringCode | None:
        return await self.reader.resolve(deployment(spec={"code": {"configMapRef": {"name": KEY.name}, **code}}))

    async def refused(self, **code: Any) -> ReconcileError:
        with pytest.raises(ReconcileError) as caught:
            await self.resolve(**code)
        return caught.value


@dataclass
class Lookup:
    objects: dict[Key, Document]

    def get(self, key: Key) -> Document | None:
        return self.objects.get(key)


async def test_no_code_is_no_code() -> None:
    world = World()
    assert await world.reader.resolve(deployment()) is None
    assert world.reads == 0


async def test_an_inline_script_is_one_file_under_its_name() -> None:
    code = {"inline": "def init(): ...\n", "entryScript": "main.py"}
    found = await World().reader.resolve(deployment(spec={"code": code}))
    assert found is not None
    assert (found.entry_script, found.files) == ("main.py", {"main.py": "def init(): ...\n"})


async def test_all_of_a_config_map_comes_along() -> None:
    world = World()
    world.put(1, data={"score.py": "import more\n", "more.py": "X = 1\n"})
    found = await world.resolve()
    assert found is not None
    assert dict(found.files) == {"score.py": "import more\n", "more.py": "X = 1\n"}


async def test_text_that_kubectl_took_for_binary_is_text_all_the_same() -> None:
    world = World()
    world.put(1, binaryData={"score.py": base64.b64encode("# ü\n".encode()).decode()})
    found = await world.resolve()
    assert found is not None
    assert dict(found.files) == {"score.py": "# ü\n"}


async def test_what_is_no_text_is_refused_with_the_way_out() -> None:
    world = World()
    world.put(1, data={"score.py": ""}, binaryData={"scaler.pkl": base64.b64encode(b"\x80\x04\x95").decode()})
    error = await world.refused()
    assert isinstance(error, Stalled)
    assert (error.reason, error.message) == (
        "CodeInvalid",
        "Key scaler.pkl of ConfigMap weather-code is not UTF-8 text: a model or other binary file belongs into"
        " spec.models, where it is registered and verified.",
    )


async def test_a_config_map_that_is_not_there_is_waited_for_without_a_read() -> None:
    world = World()
    error = await world.refused()
    assert isinstance(error, Waiting)
    assert (error.reason, error.message, error.retry_after) == (
        "CodeNotFound",
        "ConfigMap weather-code of spec.code.configMapRef does not exist in namespace ml.",
        None,
    )
    assert world.reads == 0


async def test_a_config_map_deleted_a_moment_ago_is_waited_for_too() -> None:
    world = World()
    world.put(1, data={"score.py": ""})
    del world.objects[KEY]
    assert (await world.refused()).reason == "CodeNotFound"


@pytest.mark.parametrize(
    ("data", "keys"),
    [
        pytest.param({"main.py": "", "b.py": ""}, "b.py, main.py", id="other files"),
        pytest.param({}, "none", id="empty"),
        pytest.param(dict.fromkeys(MANY, ""), ", ".join(MANY[:20]) + " and 5 more", id="many"),
    ],
)
async def test_a_missing_script_is_named_beside_the_keys_there_are(data: dict[str, str], keys: str) -> None:
    world = World()
    world.put(1, data=data)
    error = await world.refused()
    assert isinstance(error, Stalled)
    assert (error.reason, error.message) == (
        "EntryScriptNotFound",
        f"ConfigMap weather-code has no key score.py, which spec.code.entryScript names; its keys are: {keys}.",
    )


async def test_a_config_map_is_read_once_for_each_of_its_versions() -> None:
    world = World()
    world.put(1, data={"score.py": "1"})
    for _ in range(4):
        await world.resolve()
    assert world.reads == 1
    world.put(2, data={"score.py": "2"})
    found = await world.resolve()
    assert found is not None
    assert found.files["score.py"] == "2"
    assert world.reads == 2


async def test_a_missing_key_is_not_read_for_again_until_the_config_map_changes() -> None:
    world = World()
    world.put(1, data={"main.py": ""})
    await world.refused()
    await world.refused()
    assert world.reads == 1
    world.put(2, data={"score.py": ""})
    assert await world.resolve() is not None


async def test_news_that_are_newer_than_what_was_read_are_read_again() -> None:
    world = World()
    world.put(1, data={"score.py": "1"})
    world.objects[KEY] = {"metadata": {"resourceVersion": "2"}, "data": {"score.py": "2"}}
    await world.resolve()
    world.put(2, data={"score.py": "2"})
    found = await world.resolve()
    assert found is not None
    assert found.files["score.py"] == "2"


def test_the_same_files_are_the_same_code_in_any_order() -> None:
    one, other = scoring_code("a.py", {"a.py": "1", "b.py": "2"}), scoring_code("a.py", {"b.py": "2", "a.py": "1"})
    assert one.digest == other.digest
    assert one.digest != scoring_code("a.py", {"a.py": "1", "b.py": "3"}).digest
