"""Wrong values are refused before anything is installed, with a sentence that says which and why."""

from __future__ import annotations

from typing import Any

import pytest

from tests.charts.conftest import CHART, Helm

REFUSALS = [
    pytest.param({"replica": 2}, "additional properties 'replica' not allowed", id="a misspelt value"),
    pytest.param({"image": {"name": "x"}}, "at '/image': additional properties 'name' not allowed", id="nested"),
    pytest.param({"replicas": 0}, "at '/replicas': minimum: got 0, want 1", id="no replica"),
    pytest.param({"replicas": "2"}, "at '/replicas': got string, want integer", id="a number as text"),
    pytest.param(
        {"logLevel": "verbose"},
        "at '/logLevel': value must be one of 'debug', 'info', 'warning', 'error'",
        id="an unknown log level",
    ),
    pytest.param(
        {"imagePullPolicy": "Sometimes"},
        "at '/imagePullPolicy': value must be one of 'IfNotPresent', 'Always', 'Never'",
        id="an unknown pull policy",
    ),
    pytest.param(
        {"watchNamespaces": ["Team_A"]},
        "at '/watchNamespaces/0': 'Team_A' does not match pattern '^[a-z0-9]([-a-z0-9]*[a-z0-9])?$'",
        id="a name that no namespace can have",
    ),
    pytest.param({"watchNamespaces": "team-a"}, "at '/watchNamespaces': got string, want array", id="not a list"),
    pytest.param({"watchNamespaces": ["a", "a"]}, "at '/watchNamespaces': items at 0 and 1 are equal", id="twice"),
    pytest.param({"ports": {"health": 80}}, "at '/ports/health': minimum: got 80, want 1,024", id="a port of root"),
    pytest.param(
        {"resources": {"limits": {"memory": "1 GB"}}}, "at '/resources/limits/memory': '1 GB' does not match pattern",
        id="a quantity that is none",
    ),
    pytest.param({"crds": {"keep": "yes"}}, "at '/crds/keep': got string, want boolean", id="yes instead of true"),
    pytest.param(
        {"replicas": 2, "leaderElection": {"enabled": False}},
        "leaderElection.enabled must be true with replicas: 2, or the replicas would work against each other",
        id="two replicas without a leader",
    ),
    pytest.param(
        {"ports": {"health": 9090}},
        "ports.health and ports.metrics are both 9090: give each a port of its own",
        id="one port twice",
    ),
    pytest.param(
        {"serviceAccount": {"create": False}},
        "serviceAccount.name is needed with serviceAccount.create: false: name the ServiceAccount that the operator"
        " runs as",
        id="no service account",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("values", "sentence"), REFUSALS)
def test_a_wrong_value_is_refused_with_a_sentence(helm: Helm, values: dict[str, Any], sentence: str) -> None:
    assert sentence in helm.refusal(values)


def test_a_cluster_that_is_too_old_is_refused(helm: Helm) -> None:
    done = helm.run("template", "modeldeploy", str(CHART), "--kube-version", "1.29.0")
    assert done.returncode != 0
    assert "chart requires kubeVersion: >=1.30.0-0 which is incompatible with Kubernetes v1.29.0" in done.stderr
