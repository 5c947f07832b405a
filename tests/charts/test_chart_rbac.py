"""The operator's roles give what it needs, and nothing that would let it become more."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.charts.conftest import Document

Rendered = Callable[..., list[Document]]


def operator_rules(rendered: Rendered, values: dict[str, Any]) -> list[Document]:
    """All rules of the roles that are bound to the operator's ServiceAccount."""
    bindings = rendered("ClusterRoleBinding", values) + rendered("RoleBinding", values)
    bound = {(b["roleRef"]["kind"], b["metadata"].get("namespace"), b["roleRef"]["name"]) for b in bindings}
    for binding in bindings:
        subject = {"kind": "ServiceAccount", "name": "modeldeploy-operator", "namespace": "modeldeploy-system"}
        assert binding["subjects"] == [subject]
    roles = rendered("ClusterRole", values) + rendered("Role", values)
    return [
        rule
        for role in roles
        if (role["kind"], role["metadata"].get("namespace"), role["metadata"]["name"]) in bound
        for rule in role["rules"]
    ]


VALUES = [pytest.param({}, id="whole cluster"), pytest.param({"watchNamespaces": ["team-a"]}, id="one namespace")]


@pytest.mark.parametrize("values", VALUES)
def test_nothing_is_granted_by_a_star(rendered: Rendered, values: dict[str, Any]) -> None:
    rules = operator_rules(rendered, values)
    assert rules
    for rule in rules:
        assert "*" not in rule["apiGroups"] + rule["resources"] + rule["verbs"], rule


@pytest.mark.parametrize("values", VALUES)
def test_secrets_can_be_neither_listed_nor_watched(rendered: Rendered, values: dict[str, Any]) -> None:
    verbs = {v for rule in operator_rules(rendered, values) if "secrets" in rule["resources"] for v in rule["verbs"]}
    assert verbs
    assert not verbs & {"list", "watch", "delete", "deletecollection"}


@pytest.mark.parametrize("values", VALUES)
def test_the_operator_cannot_make_itself_more(rendered: Rendered, values: dict[str, Any]) -> None:
    for rule in operator_rules(rendered, values):
        assert not {"escalate", "bind", "impersonate"} & set(rule["verbs"]), rule
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"], rule
        assert not {"pods/exec", "pods/attach", "serviceaccounts/token", "nodes"} & set(rule["resources"]), rule


@pytest.mark.parametrize("values", VALUES)
def test_the_operator_changes_no_spec_of_its_users(rendered: Rendered, values: dict[str, Any]) -> None:
    for rule in operator_rules(rendered, values):
        if "modeldeployments" in rule["resources"]:
            assert set(rule["verbs"]) <= {"get", "list", "watch"}
        if "modelversions" in rule["resources"]:
            assert not {"update", "patch", "delete"} & set(rule["verbs"])


def test_watched_namespaces_get_roles_and_the_cluster_none(rendered: Rendered) -> None:
    values = {"watchNamespaces": ["team-a", "team-b"], "rbac": {"aggregate": False}}
    assert rendered("ClusterRole", values) == []
    assert rendered("ClusterRoleBinding", values) == []
    namespaces = [role["metadata"]["namespace"] for role in rendered("Role", values)]
    assert sorted(namespaces) == ["modeldeploy-system", "team-a", "team-b"]


def test_the_lease_is_reached_in_the_operators_own_namespace_alone(rendered: Rendered) -> None:
    (role,) = rendered("Role")
    assert role["metadata"]["namespace"] == "modeldeploy-system"
    assert all(rule["resources"] == ["leases"] for rule in role["rules"])
    assert rendered("Role", {"leaderElection": {"enabled": False}}) == []


def test_the_same_rules_hold_in_a_namespace_and_in_the_cluster(rendered: Rendered) -> None:
    (cluster,) = [r for r in rendered("ClusterRole") if r["metadata"]["name"] == "modeldeploy-operator"]
    (namespaced,) = [
        role for role in rendered("Role", {"watchNamespaces": ["team-a"]}) if role["metadata"]["namespace"] == "team-a"
    ]
    assert namespaced["rules"] == cluster["rules"]


def test_roles_can_be_left_to_somebody_else(rendered: Rendered) -> None:
    values = {"rbac": {"create": False, "aggregate": False}}
    assert not any(rendered(k, values) for k in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"))


def test_users_reach_their_models_by_the_clusters_own_roles(rendered: Rendered) -> None:
    roles = {r["metadata"]["name"]: r for r in rendered("ClusterRole")}
    view = roles["modeldeploy-view"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert all(set(rule["verbs"]) == {"get", "list", "watch"} for rule in view["rules"])
    edit = roles["modeldeploy-edit"]
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert not any("modeldeployments/status" in rule["resources"] for rule in edit["rules"])
