"""From a source to a ModelVersion: what the registry does in each state of the world, and with how many calls."""

from __future__ import annotations

import pytest
from modeldeploy_operator.core.documents import CONFIG_MAP, MODEL_VERSION, POD, Key, key_of
from modeldeploy_operator.core.facts import Images
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting
from modeldeploy_operator.registry.port import Resolution

from tests.operator.registry.kubernetes_memory import (
    DIGEST_A,
    DIGEST_B,
    NAMESPACE,
    Kubernetes,
    Scene,
    config_map,
    failed,
    model,
    succeeded,
    version_document,
)


def problem(resolution: Resolution) -> ReconcileError:
    assert isinstance(resolution.models, ReconcileError)
    return resolution.models


def versions(resolution: Resolution) -> list[tuple[str, int]]:
    assert not isinstance(resolution.models, ReconcileError), resolution.models
    return [(resolved.name, resolved.version) for resolved in resolution.models]


async def test_a_calm_registration_takes_three_writes_and_leaves_only_the_version() -> None:
    scene = Scene(model())
    first = await scene.resolve()
    assert isinstance(problem(first), Waiting)
    assert problem(first).reason == "Registering"
    assert problem(first).message == "Model svc: a registration pod reads https://models.test/svc.onnx."
    (pod,) = scene.kubernetes.pods()
    scene.kubernetes.set_status(pod, {"phase": "Running"})
    assert problem(await scene.resolve()).message == problem(first).message
    scene.kubernetes.set_status(pod, succeeded())
    assert versions(await scene.resolve_and_report()) == [("svc", 1)]
    assert versions(await scene.resolve_and_report()) == [("svc", 1)]
    assert scene.kubernetes.pods() == []
    assert scene.kubernetes.calls == [("create", "Pod"), ("create", "ModelVersion"), ("delete", "Pod")]


async def test_a_resolved_deployment_makes_no_call() -> None:
    scene = Scene(model())
    await scene.register()
    scene.kubernetes.calls.clear()
    resolution = await scene.resolve()
    assert versions(resolution) == [("svc", 1)]
    assert resolution.retry_after is None
    assert scene.kubernetes.calls == []


async def test_the_version_carries_bytes_metadata_and_no_owner() -> None:
    lineage = {"runId": "run-7", "gitCommit": "abc"}
    scene = Scene(model(description="support vectors", tags={"team": "weather"}, lineage=lineage))
    signature = {"inputs": [{"name": "x", "dtype": "float32", "shape": [None, 4]}], "outputs": []}
    await scene.register(signature=signature)
    version = scene.kubernetes.versions()["svc-1"]
    assert "ownerReferences" not in version["metadata"]
    assert version["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "modeldeploy-operator",
        "modeldeploy.dev/model": "svc",
    }
    assert version["spec"] == {
        "model": "svc",
        "version": 1,
        "digest": DIGEST_A,
        "uri": "https://models.test/svc.onnx",
        "format": "ONNX",
        "sizeBytes": 7,
        "description": "support vectors",
        "tags": {"team": "weather"},
        "lineage": lineage,
        "signature": signature,
    }


async def test_a_source_is_not_read_again_while_the_request_stands() -> None:
    scene = Scene(model())
    await scene.register()
    scene.document["metadata"]["generation"] = 9
    scene.kubernetes.calls.clear()
    assert versions(await scene.resolve()) == [("svc", 1)]
    assert scene.kubernetes.calls == []


async def test_the_refresh_annotation_reads_again_and_new_bytes_are_the_next_version() -> None:
    scene = Scene(model())
    await scene.register()
    scene.annotate(**{"modeldeploy.dev/refresh-requested-at": "2026-03-02"})
    assert versions(await scene.register(DIGEST_B)) == [("svc", 2)]
    scene.annotate(**{"modeldeploy.dev/refresh-requested-at": "2026-03-03"})
    assert versions(await scene.register(DIGEST_A)) == [("svc", 1)]
    assert list(scene.kubernetes.versions()) == ["svc-1", "svc-2"]


async def test_the_same_bytes_from_another_place_are_the_same_version_and_are_fetched_from_there() -> None:
    scene = Scene(model())
    await scene.register()
    scene.respec(model(uri="https://elsewhere.test/svc.onnx"))
    resolution = await scene.register()
    assert versions(resolution) == [("svc", 1)]
    assert not isinstance(resolution.models, ReconcileError)
    assert resolution.models[0].uri == "https://elsewhere.test/svc.onnx"


async def test_other_metadata_is_another_version() -> None:
    scene = Scene(model())
    await scene.register()
    scene.respec(model(tags={"stage": "production"}))
    assert versions(await scene.register()) == [("svc", 2)]


async def test_a_deleted_version_is_registered_again_under_its_own_number() -> None:
    scene = Scene(model())
    await scene.register()
    scene.respec(model(description="second"))
    await scene.register()
    scene.kubernetes.remove(Key(MODEL_VERSION, NAMESPACE, "svc-2"))
    assert problem(await scene.resolve()).reason == "Registering"
    assert versions(await scene.register()) == [("svc", 2)]


async def test_other_bytes_never_get_the_number_of_a_deleted_version() -> None:
    scene = Scene(model())
    await scene.register(DIGEST_A)
    scene.kubernetes.remove(Key(MODEL_VERSION, NAMESPACE, "svc-1"))
    assert versions(await scene.register(DIGEST_B)) == [("svc", 2)]


async def test_models_are_registered_side_by_side() -> None:
    scene = Scene(model("scaler"), model("svc"))
    await scene.resolve()
    assert len(scene.kubernetes.pods()) == 2
    first, second = scene.kubernetes.pods()
    scene.kubernetes.set_status(first, succeeded(DIGEST_A))
    scene.kubernetes.set_status(second, failed())
    resolution = await scene.resolve()
    assert problem(resolution).reason == "SourceNotFound"
    assert len(scene.kubernetes.versions()) == 1


async def test_a_pod_whose_request_is_no_longer_made_is_removed() -> None:
    scene = Scene(model())
    await scene.resolve()
    (old,) = scene.kubernetes.pods()
    scene.respec(model(uri="https://models.test/new.onnx"))
    await scene.resolve()
    (new,) = scene.kubernetes.pods()
    assert new["metadata"]["name"] != old["metadata"]["name"]


FAILURES = [
    pytest.param("SourceNotFound", Stalled, id="a missing file"),
    pytest.param("DigestMismatch", Stalled, id="other bytes than pinned"),
    pytest.param("SourceForbidden", Stalled, id="no right to read"),
    pytest.param("SourceRefused", Stalled, id="an address that must not be read"),
    pytest.param("SourceInvalid", Stalled, id="something that is no model"),
    pytest.param("SourceUnavailable", Unavailable, id="a server that does not answer"),
]


@pytest.mark.parametrize(("reason", "kind"), FAILURES)
async def test_a_failed_attempt_is_reported_in_the_containers_own_words(
    reason: str, kind: type[ReconcileError]
) -> None:
    scene = Scene(model())
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], failed(reason, "the very sentence"))
    resolution = await scene.resolve()
    found = problem(resolution)
    assert type(found) is kind
    assert (found.reason, found.message) == (reason, "Model svc: the very sentence.")
    assert resolution.retry_after == 5
    assert resolution.failure is not None
    assert resolution.failure.phase == "Fetch"
    assert resolution.failure.message == "the very sentence."
    assert resolution.failure.exit_code == 10
    assert resolution.failure.at == "2026-03-01T12:00:00Z"
    assert resolution.failure.pod == scene.kubernetes.pods()[0]["metadata"]["name"]


async def test_attempts_follow_after_5_10_20_seconds_and_the_cause_stands_meanwhile() -> None:
    scene = Scene(model())
    await scene.resolve()
    for attempt, rest in enumerate((5, 10, 20, 40), start=1):
        (pod,) = scene.kubernetes.pods()
        assert pod["metadata"]["annotations"]["modeldeploy.dev/attempt"] == str(attempt)
        scene.kubernetes.set_status(pod, failed(at=scene.clock.now))
        resting = await scene.resolve()
        assert resting.retry_after == rest
        scene.clock.advance(rest - 0.5)
        await scene.resolve()
        assert scene.kubernetes.pods()[0]["metadata"]["uid"] == pod["metadata"]["uid"]
        scene.clock.advance(0.5)
        replaced = await scene.resolve()
        assert problem(replaced).message == problem(resting).message
        assert replaced.failure == resting.failure
        assert scene.kubernetes.pods()[0]["metadata"]["uid"] != pod["metadata"]["uid"]
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], succeeded())
    recovered = await scene.resolve_and_report()
    assert versions(recovered) == [("svc", 1)]
    assert recovered.failure is None


async def test_a_missing_config_map_is_waited_for_without_a_pod() -> None:
    scene = Scene(model(uri="configmap://weather-models/svc.onnx"))
    resolution = await scene.resolve()
    assert isinstance(problem(resolution), Waiting)
    assert problem(resolution).reason == "ConfigMapNotFound"
    assert problem(resolution).message == "Model svc: ConfigMap weather-models does not exist in namespace ml."
    assert scene.kubernetes.writes == []
    scene.kubernetes.put(config_map("weather-models"))
    assert problem(await scene.resolve()).reason == "Registering"
    assert scene.kubernetes.writes == [("create", "Pod")]


async def test_a_config_map_that_changes_ends_the_rest_of_a_failed_attempt() -> None:
    scene = Scene(model(uri="configmap://weather-models/svc.onnx"))
    scene.kubernetes.put(config_map("weather-models"))
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], failed())
    assert (await scene.resolve()).retry_after == 5
    scene.kubernetes.put(config_map("weather-models"))
    await scene.resolve()
    (pod,) = scene.kubernetes.pods()
    assert pod.get("status") is None
    assert pod["metadata"]["annotations"]["modeldeploy.dev/attempt"] == "1"


async def test_a_config_map_deleted_after_a_failure_is_named() -> None:
    scene = Scene(model(uri="configmap://weather-models/svc.onnx"))
    scene.kubernetes.put(config_map("weather-models"))
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], failed())
    scene.kubernetes.remove(Key(CONFIG_MAP, NAMESPACE, "weather-models"))
    assert problem(await scene.resolve()).reason == "ConfigMapNotFound"


async def test_a_pod_that_cannot_pull_its_image_is_replaced_when_the_image_is_mended() -> None:
    scene = Scene(model())
    await scene.resolve()
    waiting = {"reason": "ErrImagePull", "message": "manifest unknown"}
    status = {"phase": "Pending", "containerStatuses": [{"name": "register", "state": {"waiting": waiting}}]}
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], status)
    resolution = await scene.resolve()
    assert problem(resolution).reason == "ImagePullFailed"
    assert problem(resolution).message == ("Model svc: Image registry.test/lean:1 cannot be pulled: manifest unknown.")
    scene.images = Images("registry.test/lean:2", "registry.test/sklearn:2", "IfNotPresent")
    await scene.resolve()
    (pod,) = scene.kubernetes.pods()
    assert pod["spec"]["containers"][0]["image"] == "registry.test/lean:2"


async def test_a_pod_at_work_is_not_disturbed_by_another_image() -> None:
    scene = Scene(model())
    await scene.resolve()
    (pod,) = scene.kubernetes.pods()
    scene.kubernetes.set_status(pod, {"phase": "Running"})
    scene.images = Images("registry.test/lean:2", "registry.test/sklearn:2", "IfNotPresent")
    await scene.resolve()
    assert scene.kubernetes.pods()[0]["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_a_quota_is_reported_and_looked_at_again() -> None:
    scene = Scene(model())
    sentence = 'pods "weather-register-1" is forbidden: exceeded quota: tiny'
    scene.kubernetes.refusals["create Pod"] = Waiting("QuotaExceeded", sentence, retry_after=10)
    resolution = await scene.resolve()
    assert (problem(resolution).reason, problem(resolution).message) == ("QuotaExceeded", sentence)
    assert resolution.retry_after == 10
    scene.kubernetes.refusals.clear()
    assert problem(await scene.resolve()).reason == "Registering"


async def test_a_forbidden_pod_is_the_users_and_looked_at_again() -> None:
    scene = Scene(model())
    scene.kubernetes.refusals["create Pod"] = Stalled("Forbidden", "violates PodSecurity")
    resolution = await scene.resolve()
    assert isinstance(problem(resolution), Stalled)
    assert resolution.retry_after == 60


async def test_a_namespace_without_its_default_account_is_waited_for() -> None:
    scene = Scene(model())
    sentence = 'error looking up service account ml/default: serviceaccount "default" not found'
    scene.kubernetes.refusals["create Pod"] = Stalled("Forbidden", sentence)
    resolution = await scene.resolve()
    assert isinstance(problem(resolution), Waiting)
    assert problem(resolution).reason == "ServiceAccountNotFound"
    assert resolution.retry_after == 2


async def test_an_api_server_in_trouble_costs_no_finished_pod() -> None:
    scene = Scene(model())
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], succeeded())
    scene.kubernetes.refusals["create ModelVersion"] = Unavailable("ApiServerUnavailable", "503")
    assert isinstance(problem(await scene.resolve()), Unavailable)
    assert len(scene.kubernetes.pods()) == 1
    scene.kubernetes.refusals.clear()
    assert versions(await scene.resolve_and_report()) == [("svc", 1)]


async def test_a_report_that_is_refused_is_asked_for_again() -> None:
    scene = Scene(model())
    await scene.resolve()
    (pod,) = scene.kubernetes.pods()
    scene.kubernetes.set_status(pod, succeeded())
    scene.kubernetes.refusals["create ModelVersion"] = Stalled("Invalid", "spec.signature: Invalid value.")
    resolution = await scene.resolve()
    assert isinstance(problem(resolution), Stalled)
    assert problem(resolution).message == "Model svc: spec.signature: Invalid value."
    assert resolution.retry_after == 5
    scene.clock.advance(5)
    await scene.resolve()
    (again,) = scene.kubernetes.pods()
    assert again["metadata"]["uid"] != pod["metadata"]["uid"]
    scene.kubernetes.refusals.clear()
    scene.kubernetes.set_status(again, succeeded())
    assert versions(await scene.resolve_and_report()) == [("svc", 1)]


async def test_a_right_that_the_operator_lacks_costs_no_second_reading() -> None:
    scene = Scene(model())
    await scene.resolve()
    (pod,) = scene.kubernetes.pods()
    scene.kubernetes.set_status(pod, succeeded())
    scene.kubernetes.refusals["create ModelVersion"] = Stalled("Forbidden", "modelversions is forbidden")
    assert problem(await scene.resolve()).reason == "Forbidden"
    scene.clock.advance(3600)
    assert (await scene.resolve()).retry_after == 60
    assert scene.kubernetes.pods()[0]["metadata"]["uid"] == pod["metadata"]["uid"]


async def test_a_pod_that_cannot_be_removed_now_is_removed_later_and_hurts_nothing() -> None:
    scene = Scene(model())
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], succeeded())
    await scene.resolve_and_report()
    scene.kubernetes.refusals["delete Pod"] = Unavailable("ApiServerUnavailable", "503")
    resolution = await scene.resolve()
    assert versions(resolution) == [("svc", 1)]
    assert resolution.retry_after == 15
    scene.kubernetes.refusals.clear()
    await scene.resolve()
    assert scene.kubernetes.pods() == []


async def test_a_pod_of_a_deleted_deployment_of_the_same_name_is_not_believed() -> None:
    scene = Scene(model())
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], succeeded())
    scene.document["metadata"]["uid"] = "another-life"
    resolution = await scene.resolve()
    assert problem(resolution).reason == "Registering"
    assert resolution.retry_after == 2
    assert scene.kubernetes.versions() == {}


async def test_a_pod_that_is_going_away_is_waited_for() -> None:
    scene = Scene(model())
    await scene.resolve()
    (pod,) = scene.kubernetes.pods()
    metadata = {**pod["metadata"], "deletionTimestamp": "2026-03-01T12:00:01Z"}
    scene.kubernetes.put({**pod, "metadata": metadata, "status": succeeded()})
    assert problem(await scene.resolve()).reason == "Registering"
    scene.kubernetes.remove(key_of(pod))
    await scene.resolve()
    assert len(scene.kubernetes.pods()) == 1


# ---- versions that the spec names


async def test_a_version_that_does_not_exist_names_those_that_do() -> None:
    scene = Scene({"name": "svc", "version": "3"})
    for number in (1, 2, 10):
        scene.kubernetes.put(version_document("svc", number))
    scene.kubernetes.put(version_document("svc-1", 3))
    resolution = await scene.resolve()
    assert isinstance(problem(resolution), Waiting)
    assert problem(resolution).reason == "VersionNotFound"
    assert problem(resolution).message == "Model svc has no version 3 in namespace ml; registered are 1, 2, 10."
    scene.kubernetes.put(version_document("svc", 3, DIGEST_B, uri="pvc://store/svc.onnx", format="Sklearn"))
    arrived = await scene.resolve()
    assert not isinstance(arrived.models, ReconcileError)
    (resolved,) = arrived.models
    assert (resolved.version, resolved.digest, resolved.uri, resolved.format.value) == (
        3,
        DIGEST_B,
        "pvc://store/svc.onnx",
        "Sklearn",
    )


async def test_a_model_that_nobody_registered_is_waited_for() -> None:
    scene = Scene({"name": "svc", "version": "latest"})
    found = problem(await scene.resolve())
    assert found.message == "Model svc has no registered version in namespace ml; version latest is asked for."


async def test_latest_is_resolved_when_it_is_asked_for_and_then_stays() -> None:
    scene = Scene({"name": "svc", "version": "latest"})
    scene.kubernetes.put(version_document("svc", 9))
    scene.kubernetes.put(version_document("svc", 10, DIGEST_B))
    assert versions(await scene.resolve_and_report()) == [("svc", 10)]
    scene.kubernetes.put(version_document("svc", 11))
    assert versions(await scene.resolve_and_report()) == [("svc", 10)]
    scene.annotate(**{"modeldeploy.dev/refresh-requested-at": "now"})
    assert versions(await scene.resolve_and_report()) == [("svc", 11)]
    scene.kubernetes.remove(Key(MODEL_VERSION, NAMESPACE, "svc-11"))
    assert versions(await scene.resolve_and_report()) == [("svc", 10)]


# ---- races and kills


async def test_a_kill_after_any_write_ends_in_the_same_state() -> None:
    for life in range(1, 4):
        scene = Scene(model())
        kubernetes = scene.kubernetes
        for _ in range(12):
            before = len(kubernetes.writes)
            resolution = await scene.resolve()
            killed = len(kubernetes.writes) > before and len(kubernetes.writes) == life
            if not killed and not isinstance(resolution.models, ReconcileError):
                scene.remember(*resolution.models)
            for pod in kubernetes.pods():
                kubernetes.set_status(pod, succeeded())
        assert list(kubernetes.versions()) == ["svc-1"]
        assert kubernetes.pods() == []


async def test_a_store_that_lags_behind_makes_no_second_version() -> None:
    scene = Scene(model())
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], succeeded())
    scene.kubernetes.lagging = True
    assert versions(await scene.resolve()) == [("svc", 1)]
    assert versions(await scene.resolve()) == [("svc", 1)]
    assert list(scene.kubernetes.versions()) == ["svc-1"]


async def test_a_store_that_lags_behind_makes_no_second_pod() -> None:
    scene = Scene(model())
    scene.kubernetes.lagging = True
    await scene.resolve()
    again = await scene.resolve()
    assert problem(again).reason == "Registering"
    assert again.retry_after == 2
    assert len(scene.kubernetes.pods()) == 1


async def test_a_store_that_has_not_heard_of_a_remembered_version_starts_no_pod() -> None:
    scene = Scene(model())
    await scene.resolve()
    scene.kubernetes.set_status(scene.kubernetes.pods()[0], succeeded())
    scene.kubernetes.lagging = True
    await scene.resolve_and_report()
    scene.kubernetes.calls.clear()
    assert versions(await scene.resolve()) == [("svc", 1)]
    assert scene.kubernetes.calls == [("get", "ModelVersion"), ("delete", "Pod")]


async def test_two_deployments_that_register_other_bytes_at_once_get_two_numbers() -> None:
    kubernetes = Kubernetes()
    scenes = [Scene(model(), kubernetes=kubernetes, name=name) for name in ("one", "two")]
    for scene in scenes:
        await scene.resolve()
    for pod, digest in zip(kubernetes.pods(), (DIGEST_A, DIGEST_B), strict=True):
        kubernetes.set_status(pod, succeeded(digest))
    kubernetes.lagging = True
    assert [versions(await scene.resolve()) for scene in scenes] == [[("svc", 1)], [("svc", 2)]]


async def test_two_deployments_that_register_the_same_bytes_at_once_share_the_version() -> None:
    kubernetes = Kubernetes()
    scenes = [Scene(model(), kubernetes=kubernetes, name=name) for name in ("one", "two")]
    for scene in scenes:
        await scene.resolve()
    for pod in kubernetes.pods():
        kubernetes.set_status(pod, succeeded(DIGEST_A))
    kubernetes.lagging = True
    assert [versions(await scene.resolve()) for scene in scenes] == [[("svc", 1)], [("svc", 1)]]
    assert list(kubernetes.versions()) == ["svc-1"]


async def test_an_unlabelled_version_made_by_hand_never_gives_its_number_away() -> None:
    scene = Scene(model())
    by_hand = version_document("svc", 1, DIGEST_B)
    del by_hand["metadata"]["labels"]
    scene.kubernetes.put(by_hand)
    assert versions(await scene.register(DIGEST_A)) == [("svc", 2)]


async def test_the_pod_is_named_after_what_is_asked() -> None:
    scene = Scene(model())
    await scene.resolve()
    pod = scene.kubernetes.pods()[0]
    assert key_of(pod).kind == POD
    assert pod["metadata"]["name"] == "weather-register-77003366c0"
