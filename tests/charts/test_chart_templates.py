"""What the chart installs, for the settings people use."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from tests.charts.conftest import CHART, ROOT, Document, Helm

Rendered = Callable[..., list[Document]]

VALUE_SETS = [
    pytest.param({}, id="the defaults"),
    pytest.param({"replicas": 2}, id="two replicas"),
    pytest.param({"watchNamespaces": ["team-a", "team-b"]}, id="two watched namespaces"),
    pytest.param({"crds": {"install": False}}, id="CRDs installed elsewhere"),
    pytest.param(
        {
            "image": {"repository": "localhost/modeldeploy-operator", "tag": "dev"},
            "imagePullPolicy": "Never",
            "imagePullSecrets": ["pull"],
            "priorityClassName": "system-cluster-critical",
            "podLabels": {"team": "platform"},
            "podAnnotations": {"note": "1"},
            "nodeSelector": {"kubernetes.io/os": "linux"},
            "tolerations": [{"operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "serviceAccount": {"annotations": {"a": "b"}},
            "metrics": {"service": {"annotations": {"prometheus.io/scrape": "true"}}},
            "leaderElection": {"enabled": False},
        },
        id="every optional block",
    ),
]


def environment(deployment: Document) -> dict[str, str]:
    """The operator's plain environment variables."""
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}


@pytest.mark.parametrize("values", VALUE_SETS)
def test_lint_finds_nothing(helm: Helm, values: dict[str, Any]) -> None:
    done = helm.run("lint", "--strict", str(CHART), values=values)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("values", VALUE_SETS)
def test_every_object_is_labelled_as_part_of_the_release(helm: Helm, values: dict[str, Any]) -> None:
    documents = helm.template(values)
    assert documents
    for document in documents:
        labels = document["metadata"]["labels"]
        assert labels["app.kubernetes.io/part-of"] == "modeldeploy", document["kind"]
        assert labels["app.kubernetes.io/instance"] == "modeldeploy"
        assert labels["app.kubernetes.io/managed-by"] == "Helm"


@pytest.mark.parametrize("values", VALUE_SETS)
def test_no_two_objects_have_the_same_name(helm: Helm, values: dict[str, Any]) -> None:
    names = [(d["kind"], d["metadata"].get("namespace"), d["metadata"]["name"]) for d in helm.template(values)]
    assert len(names) == len(set(names)), names


@pytest.mark.parametrize("values", VALUE_SETS)
def test_the_pods_meet_the_restricted_standard(rendered: Rendered, values: dict[str, Any]) -> None:
    (deployment,) = rendered("Deployment", values)
    pod = deployment["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["allowPrivilegeEscalation"] is False
        assert context["readOnlyRootFilesystem"] is True
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert set(container["resources"]) == {"requests", "limits"}
        assert {"startupProbe", "livenessProbe", "readinessProbe"} <= set(container)


def test_the_default_images_stand_beside_the_operators(rendered: Rendered) -> None:
    (deployment,) = rendered("Deployment", {"image": {"repository": "registry.example.com/ml/modeldeploy-operator"}})
    version = yaml.safe_load((CHART / "Chart.yaml").read_text())["appVersion"]
    container = deployment["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == f"registry.example.com/ml/modeldeploy-operator:{version}"
    variables = environment(deployment)
    assert variables["MODELDEPLOY_IMAGE_LEAN"] == f"registry.example.com/ml/modeldeploy-scoring:{version}"
    assert variables["MODELDEPLOY_IMAGE_SKLEARN"] == f"registry.example.com/ml/modeldeploy-scoring-sklearn:{version}"


def test_images_without_a_registry_stay_without_one(rendered: Rendered) -> None:
    (deployment,) = rendered("Deployment", {"image": {"tag": "7"}})
    assert environment(deployment)["MODELDEPLOY_IMAGE_LEAN"] == "modeldeploy-scoring:7"


def test_settings_reach_the_operator(rendered: Rendered) -> None:
    values = {
        "scoring": {
            "images": {"lean": "localhost/lean:1", "sklearn": "localhost/sklearn:2"},
            "sources": {"allowHosts": ["store.example.com", "10.0.0.7"], "denyPrivate": True},
        },
        "imagePullPolicy": "Never",
        "watchNamespaces": ["team-a", "team-b"],
        "leaderElection": {"enabled": False},
        "ports": {"health": 8081, "metrics": 9091},
        "workers": 4,
        "logLevel": "debug",
    }
    (deployment,) = rendered("Deployment", values)
    assert environment(deployment) == {
        "MODELDEPLOY_IMAGE_LEAN": "localhost/lean:1",
        "MODELDEPLOY_IMAGE_SKLEARN": "localhost/sklearn:2",
        "MODELDEPLOY_IMAGE_PULL_POLICY": "Never",
        "MODELDEPLOY_SOURCES_ALLOW_HOSTS": "store.example.com,10.0.0.7",
        "MODELDEPLOY_SOURCES_DENY_PRIVATE": "true",
        "MODELDEPLOY_WATCH_NAMESPACES": "team-a,team-b",
        "MODELDEPLOY_LEADER_ELECTION": "false",
        "MODELDEPLOY_HEALTH_PORT": "8081",
        "MODELDEPLOY_METRICS_PORT": "9091",
        "MODELDEPLOY_WORKERS": "4",
        "MODELDEPLOY_LOG_LEVEL": "debug",
    }
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert {p["name"]: p["containerPort"] for p in container["ports"]} == {"health": 8081, "metrics": 9091}


def test_every_variable_is_a_setting_of_the_operator(rendered: Rendered) -> None:
    from modeldeploy_operator.settings import Settings

    (deployment,) = rendered("Deployment")
    names = {entry["name"] for entry in deployment["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert names <= {f"MODELDEPLOY_{field.upper()}" for field in Settings.model_fields}


def test_without_leader_election_two_pods_never_overlap(rendered: Rendered) -> None:
    (with_leader,) = rendered("Deployment")
    (without,) = rendered("Deployment", {"leaderElection": {"enabled": False}})
    assert with_leader["spec"]["strategy"]["type"] == "RollingUpdate"
    assert without["spec"]["strategy"] == {"type": "Recreate"}


def test_the_budget_and_the_metrics_service_select_the_operators_pods(rendered: Rendered) -> None:
    (deployment,) = rendered("Deployment")
    (budget,) = rendered("PodDisruptionBudget")
    (service,) = rendered("Service")
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert budget["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert service["spec"]["selector"].items() <= labels.items()


def test_crds_are_installed_and_outlive_the_release(rendered: Rendered) -> None:
    crds = rendered("CustomResourceDefinition")
    assert {crd["metadata"]["name"] for crd in crds} == {
        "modeldeployments.modeldeploy.dev",
        "modelversions.modeldeploy.dev",
    }
    assert all(crd["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep" for crd in crds)


def test_crds_go_with_the_release_when_asked(rendered: Rendered) -> None:
    crds = rendered("CustomResourceDefinition", {"crds": {"keep": False}})
    assert crds
    assert not any("helm.sh/resource-policy" in crd["metadata"].get("annotations", {}) for crd in crds)


def test_crds_can_be_left_to_somebody_else(rendered: Rendered) -> None:
    assert rendered("CustomResourceDefinition", {"crds": {"install": False}}) == []


def test_the_charts_crds_are_the_generated_ones(rendered: Rendered) -> None:
    generated = {path.name: path.read_bytes() for path in (ROOT / "crds").glob("*.yaml")}
    assert generated
    assert {path.name: path.read_bytes() for path in (CHART / "crd-files").glob("*.yaml")} == generated
    by_name = {d["metadata"]["name"]: d for d in (yaml.safe_load(text) for text in generated.values())}
    for crd in rendered("CustomResourceDefinition"):
        assert crd["spec"] == by_name[crd["metadata"]["name"]]["spec"]


def test_notes_say_how_to_serve_the_first_model(helm: Helm) -> None:
    notes = helm.notes()
    assert "kubectl --namespace modeldeploy-system rollout status deployment/modeldeploy-operator" in notes
    example = notes.partition("<<'YAML'\n")[2].partition("  YAML\n")[0]
    assert yaml.safe_load(example)["kind"] == "ModelDeployment"
    assert "kubectl wait --for=condition=Ready mldep/my-model" in notes
    assert "helm uninstall" not in notes


def test_notes_warn_where_uninstalling_would_delete_models(helm: Helm) -> None:
    notes = helm.notes({"crds": {"keep": False}})
    assert "crds.keep is false: `helm uninstall` will delete every ModelDeployment and ModelVersion" in notes


def test_the_readme_names_every_value() -> None:
    readme = (CHART / "README.md").read_text()
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert [name for name in values if f"`{name}" not in readme] == []
