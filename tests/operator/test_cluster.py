"""The door to the API server, over real HTTP: what each refusal becomes, and what writes tell the store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest
from modeldeploy_operator.cluster import AlreadyExists, Cluster
from modeldeploy_operator.core.documents import MODEL_DEPLOYMENT, POD, SECRET, SERVICE, Document, Key
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting
from modeldeploy_operator.store import Store

from tests.operator.small_api_server import SmallApiServer, connected, running

KEY = Key(SERVICE, "ml", "weather")


@dataclass
class World:
    server: SmallApiServer
    store: Store
    cluster: Cluster


@pytest.fixture
async def world() -> AsyncIterator[World]:
    server = SmallApiServer()
    store = Store([SERVICE, POD, MODEL_DEPLOYMENT])
    async with running(server), connected(server) as client:
        yield World(server, store, Cluster(client, store, may_write=lambda: None))


def service(**spec: object) -> Document:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "weather", "namespace": "ml"}, "spec": spec}


async def failure(call: Awaitable[object]) -> ReconcileError:
    with pytest.raises(ReconcileError) as caught:
        await call
    return caught.value


@pytest.mark.parametrize(
    ("status", "reason", "message", "kind", "expected", "sentence", "retry_after"),
    [
        pytest.param(
            403, "Forbidden",
            'pods "a" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
            Waiting, "QuotaExceeded",
            'Service ml/weather is held up by a quota: pods "a" is forbidden: exceeded quota: q, requested: pods=1,'
            " used: pods=1, limited: pods=1", 10.0, id="quota",
        ),
        pytest.param(
            403, "Forbidden", "unable to create new content in namespace ml because it is being terminated",
            Waiting, "NamespaceTerminating",
            "Service ml/weather cannot be made: unable to create new content in namespace ml because it is being"
            " terminated", 10.0, id="namespace going away",
        ),
        pytest.param(
            403, "Forbidden", 'services is forbidden: User "x" cannot patch', Stalled, "Forbidden",
            'The operator may not patch Service ml/weather: services is forbidden: User "x" cannot patch', None,
            id="no permission",
        ),
        pytest.param(
            404, "NotFound", 'namespaces "ml" not found', Waiting, "NamespaceMissing",
            'Service ml/weather cannot be made: namespaces "ml" not found', 10.0, id="no namespace",
        ),
        pytest.param(
            422, "Invalid", "spec.ports: Required value", Stalled, "Invalid",
            "The API server refuses Service ml/weather: spec.ports: Required value", None, id="invalid",
        ),
        pytest.param(
            409, "Conflict", "the object has been modified", Unavailable, "Conflict",
            "Service ml/weather was changed by somebody else meanwhile: the object has been modified", None,
            id="conflict",
        ),
        pytest.param(
            429, "TooManyRequests", "slow down", Unavailable, "ApiServerUnavailable",
            "The Kubernetes API server cannot patch Service ml/weather now (429): slow down", 1.0, id="too many",
        ),
        pytest.param(
            503, "ServiceUnavailable", "etcd leader changed", Unavailable, "ApiServerUnavailable",
            "The Kubernetes API server cannot patch Service ml/weather now (503): etcd leader changed", None,
            id="unavailable",
        ),
    ],
)  # fmt: skip
async def test_each_refusal_tells_who_must_act(
    world: World,
    status: int,
    reason: str,
    message: str,
    kind: type[ReconcileError],
    expected: str,
    sentence: str,
    retry_after: float | None,
) -> None:
    world.server.answer_next("patch", status, reason, message)
    error = await failure(world.cluster.apply(service()))
    assert type(error) is kind
    assert (error.reason, error.message) == (expected, sentence)
    assert getattr(error, "retry_after", None) == retry_after


@pytest.mark.parametrize("away", [pytest.param(True, id="hangs up"), pytest.param(False, id="cannot be reached")])
async def test_no_answer_is_unavailable(away: bool) -> None:
    server = SmallApiServer()
    server.away = away
    server.url = "http://127.0.0.1:1"
    async with running(SmallApiServer()) as other, connected(other if away else server) as client:
        other.away = away
        cluster = Cluster(client, Store([SERVICE]), may_write=lambda: None)
        error = await failure(cluster.get(KEY))
    assert isinstance(error, Unavailable)
    assert error.reason == "ApiServerUnavailable"
    assert error.message.startswith("The Kubernetes API server gave no answer: ")


async def test_an_applied_object_is_in_the_store_at_once(world: World) -> None:
    await world.cluster.apply(service(type="ClusterIP"))
    found = world.store.get(KEY)
    assert found is not None
    assert found["spec"] == {"type": "ClusterIP"}


async def test_apply_sends_the_document_by_force_in_our_name(world: World) -> None:
    await world.cluster.apply(service(type="ClusterIP"))
    call = world.server.calls[-1]
    assert (call.method, call.path) == ("PATCH", "/api/v1/namespaces/ml/services/weather")
    assert call.query == {"fieldManager": "modeldeploy-operator", "force": "true"}
    assert call.headers["Content-Type"] == "application/apply-patch+yaml"
    assert call.body == service(type="ClusterIP")


async def test_a_first_apply_makes_what_is_not_there(world: World) -> None:
    made = await world.cluster.apply_new(service(type="ClusterIP"))
    assert made["metadata"]["uid"]
    assert world.store.get(KEY) is not None


async def test_a_first_apply_leaves_what_is_there_untouched(world: World) -> None:
    theirs = world.server.put(SERVICE, "weather", spec={"type": "NodePort"})
    assert isinstance(await failure(world.cluster.apply_new(service(type="ClusterIP"))), AlreadyExists)
    assert world.server.objects["/api/v1/namespaces/ml/services/weather"] == theirs


async def test_creating_what_exists_says_so(world: World) -> None:
    world.server.put(SERVICE, "weather")
    assert isinstance(await failure(world.cluster.create(service())), AlreadyExists)


async def test_absence_is_an_answer_to_get(world: World) -> None:
    assert await world.cluster.get(KEY) is None
    world.server.put(SERVICE, "weather")
    found = await world.cluster.get(KEY)
    assert found is not None


async def test_deleting_what_is_gone_is_a_success(world: World) -> None:
    await world.cluster.delete(KEY)


async def test_a_deleted_object_leaves_the_store_and_late_news_of_it_are_not_believed(world: World) -> None:
    made = await world.cluster.apply(service())
    await world.cluster.delete(KEY, uid=made["metadata"]["uid"])
    assert world.store.get(KEY) is None
    assert world.store.put(KEY, made)[1] is False


async def test_deleting_by_uid_spares_what_was_made_anew(world: World) -> None:
    world.server.put(SERVICE, "weather")
    await world.cluster.delete(KEY, uid="another")
    assert "/api/v1/namespaces/ml/services/weather" in world.server.objects


async def test_status_goes_to_the_subresource_of_this_very_object(world: World) -> None:
    deployment = world.server.put(MODEL_DEPLOYMENT, "weather")
    key, uid = Key(MODEL_DEPLOYMENT, "ml", "weather"), deployment["metadata"]["uid"]
    made = await world.cluster.apply_status(key, uid, {"replicas": 1})
    assert made is not None
    assert made["status"] == {"replicas": 1}
    assert world.server.calls[-1].path.endswith("/modeldeployments/weather/status")
    found = world.store.get(key)
    assert found is not None
    assert found["status"] == {"replicas": 1}


@pytest.mark.parametrize("exists", [pytest.param(True, id="made anew"), pytest.param(False, id="gone")])
async def test_the_status_of_an_object_that_is_no_more_is_written_nowhere(world: World, exists: bool) -> None:
    if exists:
        world.server.put(MODEL_DEPLOYMENT, "weather")
    key = Key(MODEL_DEPLOYMENT, "ml", "weather")
    assert await world.cluster.apply_status(key, "former", {"replicas": 1}) is None


async def test_without_the_lease_nothing_is_written_but_reading_goes_on(world: World) -> None:
    def may_write() -> None:
        raise Unavailable("NotLeading", "not now")

    cluster = Cluster(world.cluster._server, world.store, may_write=may_write)
    writes: list[Callable[[], Awaitable[object]]] = [
        lambda: cluster.apply(service()),
        lambda: cluster.apply_new(service()),
        lambda: cluster.create(service()),
        lambda: cluster.replace(service()),
        lambda: cluster.merge(KEY, {}),
        lambda: cluster.delete(KEY),
        lambda: cluster.apply_status(KEY, "u", {}),
    ]
    for write in writes:
        assert (await failure(write())).reason == "NotLeading"
    assert world.server.calls == []
    assert await cluster.get(KEY) is None


async def test_secrets_never_enter_the_store(world: World) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "keys", "namespace": "ml"}, "data": {"a": "b"}}
    await world.cluster.create(secret)
    assert await world.cluster.get(Key(SECRET, "ml", "keys")) is not None
    assert not any(world.store.count(kind) for kind in (SERVICE, POD, MODEL_DEPLOYMENT))
