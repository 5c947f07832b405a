"""What is rendered from which field, where the golden files would show it only by the way."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from modeldeploy_operator.api.v1alpha1 import ModelDeployment, ModelFormat
from modeldeploy_operator.core import names
from modeldeploy_operator.core.decide import Scale, decide
from modeldeploy_operator.core.documents import Document, key_of
from modeldeploy_operator.core.facts import Credentials, Images, ResolvedModel, ScoringCode, Wish
from modeldeploy_operator.targets.aks import sources
from modeldeploy_operator.targets.aks.render import MANAGED_KINDS, AksRenderer

from tests.operator.api_server import stored

KEYS = Credentials("weather-keys", "uid-2", "1" * 12, "2" * 12, owned=True)
IMAGES = Images("lean:1", "sklearn:1", "IfNotPresent")
DIGEST = f"sha256:{'0' * 64}"


def _model(name: str, form: ModelFormat = ModelFormat.ONNX, version: int = 1) -> ResolvedModel:
    return ResolvedModel(name, version, DIGEST, f"https://models.example.com/{name}", form, "r")


def _deployment(**spec: Any) -> ModelDeployment:
    given = {"models": [{"name": "svc", "version": "1"}], "target": {"aks": {}}, **spec}
    metadata = {"name": "weather", "namespace": "demo", "uid": "uid-1"}
    return ModelDeployment.model_validate({"metadata": metadata, "spec": given})


WISH = Wish((_model("svc"),), KEYS, None, IMAGES)


def _render(wish: Wish = WISH, **spec: Any) -> dict[str, Document]:
    return {document["kind"]: document for document in AksRenderer().desired(_deployment(**spec), wish)}


def _pod(wish: Wish = WISH, **spec: Any) -> dict[str, Any]:
    pod: dict[str, Any] = _render(wish, **spec)["Deployment"]["spec"]["template"]["spec"]
    return pod


def _env(container: dict[str, Any]) -> dict[str, str]:
    return {entry["name"]: entry["value"] for entry in container["env"]}


@pytest.mark.parametrize(
    ("formats", "spec", "fetch", "scoring"),
    [
        pytest.param([ModelFormat.ONNX], {}, "lean:1", "lean:1", id="ONNX alone is served lean"),
        pytest.param(
            [ModelFormat.ONNX, ModelFormat.SKLEARN], {}, "sklearn:1", "sklearn:1", id="anything else needs scikit-learn"
        ),
        pytest.param([ModelFormat.CUSTOM], {}, "sklearn:1", "sklearn:1", id="an unknown format, too"),
        pytest.param(
            [ModelFormat.SKLEARN],
            {"environment": {"image": "mine:1"}},
            "lean:1",
            "mine:1",
            id="a user's image serves, ours fetches",
        ),
    ],
)
def test_the_image_follows_the_models_formats(
    formats: list[ModelFormat], spec: dict[str, Any], fetch: str, scoring: str
) -> None:
    models = tuple(_model(f"m{number}", form) for number, form in enumerate(formats))
    pod = _pod(replace(WISH, models=models), **spec)
    assert pod["initContainers"][0]["image"] == fetch
    assert pod["containers"][0]["image"] == scoring


def test_one_model_is_found_in_its_version_folder_and_several_above_theirs() -> None:
    one = _env(_pod(replace(WISH, models=(_model("svc", version=7),)))["containers"][0])
    two = _env(_pod(replace(WISH, models=(_model("svc"), _model("scaler"))))["containers"][0])
    assert one["AZUREML_MODEL_DIR"] == "/models/svc/7"
    assert two["AZUREML_MODEL_DIR"] == "/models"


def test_both_containers_are_told_the_same_models() -> None:
    pod = _pod()
    told = [_env(container)["SCORING_MODELS"] for container in (pod["initContainers"][0], pod["containers"][0])]
    assert told[0] == told[1]
    assert json.loads(told[0]) == [
        {"name": "svc", "version": "1", "uri": "https://models.example.com/svc", "digest": DIGEST, "format": "ONNX"}
    ]


def test_without_authentication_there_is_no_key_to_mount() -> None:
    pod = _pod(replace(WISH, credentials=None), auth={"mode": "None"})
    assert _env(pod["containers"][0])["SCORING_AUTH_MODE"] == "None"
    assert [volume["name"] for volume in pod["volumes"]] == ["models", "tmp"]


def test_the_init_timeout_leaves_the_server_time_to_write_down_why() -> None:
    probe = _pod(scoring={"initTimeoutSeconds": 20})["containers"][0]["startupProbe"]
    assert probe["failureThreshold"] * probe["periodSeconds"] == 50


def test_the_revision_changes_with_what_is_served_and_with_nothing_else() -> None:
    def revision(wish: Wish = WISH, **spec: Any) -> str:
        label: str = _render(wish, **spec)["Deployment"]["spec"]["template"]["metadata"]["labels"][names.REVISION_LABEL]
        return label

    first = revision()
    assert revision(description="For people.", target={"aks": {"replicas": 3}}) == first
    assert revision(replace(WISH, models=(replace(_model("svc"), request="another"),))) == first
    rotated = replace(KEYS, primary_fingerprint="3" * 12, secret_uid="uid-3")
    assert revision(replace(WISH, credentials=rotated)) == first
    assert revision(replace(WISH, models=(_model("svc", version=2),))) != first
    assert revision(replace(WISH, code=ScoringCode("score.py", {"score.py": ""}, "0" * 10))) != first


def test_fixed_replicas_need_no_autoscaler() -> None:
    fixed = _render(target={"aks": {"replicas": 3}})
    assert "HorizontalPodAutoscaler" not in fixed
    assert fixed["Deployment"]["spec"]["replicas"] == 3
    assert "replicas" not in _render()["Deployment"]["spec"]
    assert _render()["HorizontalPodAutoscaler"]["spec"]["maxReplicas"] == 10


def test_the_disruption_budget_hangs_on_the_keys_secret_only_where_that_is_ours() -> None:
    def owner(wish: Wish) -> tuple[str, str]:
        reference = _render(wish)["PodDisruptionBudget"]["metadata"]["ownerReferences"][0]
        return reference["kind"], reference["uid"]

    assert owner(WISH) == ("Secret", "uid-2")
    assert owner(replace(WISH, credentials=replace(KEYS, owned=False))) == ("ModelDeployment", "uid-1")


def test_a_deployment_with_keys_is_never_rendered_without_them() -> None:
    with pytest.raises(AssertionError, match="only once it has credentials"):
        _render(replace(WISH, credentials=None))


@pytest.mark.parametrize(
    ("uris", "ports", "namespaces"),
    [
        pytest.param(["https://a.example.com/m"], (443,), (), id="https"),
        pytest.param(
            ["http://a.example.com/m", "https://b.example.com:8443/m"], (80, 8443), (), id="http and another port"
        ),
        pytest.param(["http://store/m"], (), ("demo",), id="a Service beside us"),
        pytest.param(
            ["http://store.ml.svc/m", "https://s.ml.svc.cluster.local/m"], (), ("ml",), id="of another namespace"
        ),
        pytest.param(["pvc://claim/m", "configmap://name/m"], (), (), id="volumes need no network"),
        pytest.param(["http://10.0.0.7/m"], (80,), (), id="an address"),
    ],
)
def test_a_policy_lets_out_what_the_sources_need(
    uris: list[str], ports: tuple[int, ...], namespaces: tuple[str, ...]
) -> None:
    assert sources.ports(uris) == ports
    assert sources.namespaces(uris, "demo") == namespaces


def test_a_policy_without_network_sources_lets_nothing_out() -> None:
    local = replace(WISH, models=(replace(_model("svc"), uri="pvc://claim/svc.onnx"),))
    spec = _render(local, target={"aks": {"networkPolicy": True}})["NetworkPolicy"]["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    assert "egress" not in spec
    assert "NetworkPolicy" not in _render(local)


def test_two_models_of_one_claim_share_a_volume() -> None:
    found = sources.volumes(["pvc://claim/a", "pvc://claim/b", "configmap://claim/a"])
    assert [volume.mount["mountPath"] for volume in found] == ["/sources/pvc/claim", "/sources/configmap/claim"]
    assert all(volume.mount["readOnly"] for volume in found)


_quantities = st.sampled_from(["100m", "0.5", "1", "1500m", "2.0"]), st.sampled_from(["500Mi", "1024Mi", "1Gi", "2G"])
_targets = st.fixed_dictionaries(
    {
        "resources": st.fixed_dictionaries({"cpu": _quantities[0], "memory": _quantities[1]}),
        "networkPolicy": st.booleans(),
        "rollout": st.fixed_dictionaries({"maxUnavailable": st.integers(0, 2)}),
    },
    optional={
        "replicas": st.integers(1, 9),
        "nodeSelector": st.dictionaries(st.sampled_from(["pool", "zone"]), st.sampled_from(["", "a"])),
        "tolerations": st.lists(st.sampled_from([{"operator": "Exists"}, {"key": "gpu", "value": ""}]), max_size=2),
    },
)
_uris = st.sampled_from(["https://h/m.onnx", "pvc://claim/m", "configmap://name/m", "http://store.ml.svc/m"])
_wishes = st.builds(
    lambda uris, code: replace(
        WISH, code=code, models=tuple(replace(_model(f"m{number}"), uri=uri) for number, uri in enumerate(uris))
    ),
    st.lists(_uris, min_size=1, max_size=4),
    st.none() | st.builds(ScoringCode, st.just("score.py"), st.just({"score.py": ""}), st.just("0" * 10)),
)


@given(wish=_wishes, target=_targets)
def test_whatever_is_rendered_needs_nothing_more_once_applied(wish: Wish, target: dict[str, Any]) -> None:
    desired = AksRenderer().desired(_deployment(target={"aks": target}), wish)
    held = {key_of(document): stored(document) for document in desired}
    for action in decide(desired, {}, "uid-1", MANAGED_KINDS):
        if isinstance(action, Scale):
            held[action.key]["spec"]["replicas"] = action.replicas
    assert decide(desired, held, "uid-1", MANAGED_KINDS) == ()


def test_the_fetching_container_alone_is_told_the_administrators_rules_on_sources() -> None:
    rules = {"SCORING_SOURCES_ALLOW_HOSTS": "store.example.com"}
    pod = _pod(replace(WISH, images=replace(IMAGES, source_rules=rules)))
    assert _env(pod["initContainers"][0])["SCORING_SOURCES_ALLOW_HOSTS"] == "store.example.com"
    assert "SCORING_SOURCES_ALLOW_HOSTS" not in _env(pod["containers"][0])
