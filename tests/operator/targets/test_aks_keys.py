"""Keys: made once, adopted, never overwritten, healed, and never shown where nobody asked for them."""

from __future__ import annotations

import base64
import copy
import hashlib
import logging
from dataclasses import dataclass, field
from typing import Any

import pytest
from modeldeploy_operator.cluster import AlreadyExists
from modeldeploy_operator.core.documents import DISRUPTION_BUDGET, SECRET, Document, Key
from modeldeploy_operator.core.facts import Credentials
from modeldeploy_operator.errors import ReconcileError, Unavailable, Waiting
from modeldeploy_operator.targets.aks.keys import KeyKeeper

from tests.operator.recording import UID, deployment

SECRET_KEY = Key(SECRET, "ml", "weather-keys")
GUARD = Key(DISRUPTION_BUDGET, "ml", "weather")


@dataclass
class Vault:
    """Secrets in memory, and every call."""

    secrets: dict[Key, Document] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    watched: dict[Key, Document] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.drawn = 0
        self.keeper = KeyKeeper(self, Watched(self.watched), self.entropy)

    def entropy(self, count: int) -> bytes:
        self.drawn += 1
        return bytes([self.drawn]) * count

    async def get(self, key: Key) -> Document | None:
        self.calls.append("get")
        return copy.deepcopy(self.secrets.get(key))

    async def create(self, document: Document) -> Document:
        self.calls.append("create")
        if SECRET_KEY in self.secrets:
            raise AlreadyExists("AlreadyExists", "there is one")
        metadata = {**document["metadata"], "uid": f"uid-{len(self.calls)}"}
        self.secrets[SECRET_KEY] = {**document, "metadata": metadata}
        return copy.deepcopy(self.secrets[SECRET_KEY])


@dataclass
class Watched:
    objects: dict[Key, Document]

    def get(self, key: Key) -> Document | None:
        return self.objects.get(key)


def secret(owner: dict[str, Any] | None = None, **data: str) -> Document:
    encoded = {name: base64.b64encode(value.encode()).decode() for name, value in data.items()}
    metadata: Document = {"name": "weather-keys", "namespace": "ml", "uid": "uid-theirs"}
    if owner:
        metadata["ownerReferences"] = [{"controller": True, **owner}]
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded}


async def refused(vault: Vault, **changes: Any) -> ReconcileError:
    with pytest.raises(ReconcileError) as caught:
        await vault.keeper.ensure(deployment(**changes))
    return caught.value


async def test_a_new_deployment_gets_two_keys_of_32_random_bytes_in_one_call() -> None:
    vault = Vault()
    credentials = await vault.keeper.ensure(deployment())
    made = vault.secrets[SECRET_KEY]
    values = {name: base64.b64decode(value) for name, value in made["data"].items()}
    assert values == {
        "primaryKey": base64.urlsafe_b64encode(b"\x01" * 32).rstrip(b"="),
        "secondaryKey": base64.urlsafe_b64encode(b"\x02" * 32).rstrip(b"="),
    }
    assert vault.calls == ["create"]
    assert made["metadata"]["ownerReferences"][0]["uid"] == UID
    prints = [hashlib.sha256(values[name]).hexdigest()[:12] for name in ("primaryKey", "secondaryKey")]
    assert credentials == Credentials("weather-keys", "uid-1", *prints, owned=True)


async def test_an_idle_deployment_costs_no_call() -> None:
    vault = Vault()
    for _ in range(5):
        await vault.keeper.ensure(deployment())
    assert vault.calls == ["create"]


async def test_after_a_restart_the_secret_is_read_and_not_written() -> None:
    vault = Vault()
    first = await vault.keeper.ensure(deployment())
    again = Vault(secrets=vault.secrets)
    status = {"auth": {"mode": "Key", "keysSecretRef": {"name": "weather-keys"}}}
    assert await again.keeper.ensure(deployment(status=status)) == first
    assert again.calls == ["get"]


async def test_a_new_generation_reads_the_secret_again() -> None:
    vault = Vault()
    await vault.keeper.ensure(deployment())
    vault.secrets[SECRET_KEY]["data"]["primaryKey"] = base64.b64encode(b"rotated").decode()
    status = {"auth": {"mode": "Key"}}
    credentials = await vault.keeper.ensure(deployment(metadata={"generation": 2}, status=status))
    assert credentials is not None
    assert credentials.primary_fingerprint == hashlib.sha256(b"rotated").hexdigest()[:12]
    assert vault.calls == ["create", "get"]


async def test_a_secret_that_was_there_is_adopted_and_stays_as_it_is() -> None:
    theirs = secret(primaryKey="one", secondaryKey="two")
    vault = Vault(secrets={SECRET_KEY: copy.deepcopy(theirs)})
    credentials = await vault.keeper.ensure(deployment())
    assert credentials is not None
    assert not credentials.owned
    assert credentials.primary_fingerprint == "7692c3ad3540"
    assert vault.secrets[SECRET_KEY] == theirs


async def test_a_name_of_the_users_choice_is_used() -> None:
    vault = Vault()
    credentials = await vault.keeper.ensure(deployment(spec={"auth": {"keysSecretName": "chosen"}}))
    assert credentials is not None
    assert credentials.secret_name == "chosen"


@pytest.mark.parametrize(
    ("data", "missing"),
    [
        pytest.param({"primaryKey": "one"}, "secondaryKey", id="one key only"),
        pytest.param({"primaryKey": " ", "secondaryKey": "two"}, "primaryKey", id="an empty key"),
        pytest.param({"password": "one"}, "primaryKey", id="other names"),
    ],
)
async def test_a_secret_that_lacks_a_key_is_named_with_the_key(data: dict[str, str], missing: str) -> None:
    vault = Vault(secrets={SECRET_KEY: secret(**data)})
    error = await refused(vault)
    assert isinstance(error, Waiting)
    assert error.reason == "KeysSecretInvalid"
    assert error.message == (
        f"Secret weather-keys has no {missing}: it must hold primaryKey and secondaryKey, neither of them empty."
    )
    assert error.retry_after == 30.0


async def test_a_secret_that_is_no_base64_is_invalid_and_not_a_bug() -> None:
    broken = secret(primaryKey="one", secondaryKey="two")
    broken["data"]["primaryKey"] = "§"
    assert (await refused(Vault(secrets={SECRET_KEY: broken}))).reason == "KeysSecretInvalid"


async def test_the_secret_of_a_deleted_namesake_is_not_adopted_but_waited_for() -> None:
    former = secret({"kind": "ModelDeployment", "name": "weather", "uid": "former"}, primaryKey="a", secondaryKey="b")
    vault = Vault(secrets={SECRET_KEY: former})
    error = await refused(vault)
    assert isinstance(error, Waiting)
    assert error.message == "Secret weather-keys of a deleted ModelDeployment of this name is still being removed."
    assert error.retry_after == 1.0
    del vault.secrets[SECRET_KEY]
    assert await vault.keeper.ensure(deployment()) is not None


async def test_the_secret_of_another_deployment_is_shared() -> None:
    theirs = secret({"kind": "ModelDeployment", "name": "other", "uid": "u"}, primaryKey="a", secondaryKey="b")
    credentials = await Vault(secrets={SECRET_KEY: theirs}).keeper.ensure(deployment())
    assert credentials is not None
    assert not credentials.owned


async def test_a_deleted_secret_is_made_anew_once_its_guard_is_gone() -> None:
    vault = Vault()
    first = await vault.keeper.ensure(deployment())
    vault.watched[GUARD] = {}
    await vault.keeper.ensure(deployment())
    del vault.secrets[SECRET_KEY]
    assert await vault.keeper.ensure(deployment()) == first
    del vault.watched[GUARD]
    status = {"auth": {"mode": "Key"}}
    again = await vault.keeper.ensure(deployment(status=status))
    assert first is not None
    assert again is not None
    assert again.primary_fingerprint != first.primary_fingerprint
    assert vault.calls == ["create", "get", "create"]


async def test_a_guard_that_is_not_there_yet_causes_no_reading() -> None:
    vault = Vault()
    for _ in range(3):
        await vault.keeper.ensure(deployment())
    assert vault.calls == ["create"]


async def test_without_key_authentication_no_secret_is_touched() -> None:
    vault = Vault()
    assert await vault.keeper.ensure(deployment(spec={"auth": {"mode": "None"}})) is None
    assert vault.calls == []


async def test_keys_are_shown_only_where_they_are_to_be_published() -> None:
    vault = Vault(secrets={SECRET_KEY: secret(primaryKey="one", secondaryKey="two")})
    hidden = await vault.keeper.ensure(deployment())
    shown = await vault.keeper.ensure(
        deployment(spec={"auth": {"publishKeysInStatus": True}}, metadata={"generation": 2}, status={"auth": {}})
    )
    assert hidden is not None
    assert shown is not None
    assert (hidden.primary, hidden.secondary) == (None, None)
    assert (shown.primary, shown.secondary) == ("one", "two")
    assert "one" not in repr(shown)


async def test_no_key_is_ever_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    vault = Vault()
    await vault.keeper.ensure(deployment())
    key = base64.urlsafe_b64encode(b"\x01" * 32).rstrip(b"=").decode()
    assert key not in caplog.text


async def test_a_secret_that_comes_and_goes_is_tried_again() -> None:
    vault = Vault(secrets={SECRET_KEY: secret(primaryKey="a", secondaryKey="b")})

    async def gone(_: Key) -> None:
        return None

    vault.get = gone  # type: ignore[method-assign, assignment]
    assert isinstance(await refused(vault), Unavailable)


async def test_a_deployment_that_is_forgotten_is_looked_at_anew() -> None:
    vault = Vault()
    await vault.keeper.ensure(deployment())
    vault.keeper.forget("ml", "weather")
    await vault.keeper.ensure(deployment(status={"auth": {"mode": "Key"}}))
    assert vault.calls == ["create", "get"]
