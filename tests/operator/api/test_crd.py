"""The CRDs as they lie in the repository, and the command that writes and checks them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from modeldeploy_operator.api import crd
from modeldeploy_operator.api.v1alpha1 import ModelDeploymentSpec

ROOT = Path(__file__).resolve().parents[3]


def _nodes(schema: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from _nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _nodes(schema[key], f"{path}[]")


def _fields(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    root = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    parts = [(part, root["properties"][part]) for part in ("spec", "status") if part in root["properties"]]
    return [node for part, schema in parts for node in _nodes(schema, part)]


def test_the_generated_files_in_the_repository_are_what_the_types_say() -> None:
    directories = [ROOT / directory for directory in crd.DIRECTORIES]
    assert crd.stale(crd.files(directories, ROOT / crd.REFERENCE), directories) == []


def test_the_charts_copies_are_byte_identical() -> None:
    ours, charts = (ROOT / directory for directory in crd.DIRECTORIES)
    assert {path.name: path.read_bytes() for path in ours.glob("*.yaml")} == {
        path.name: path.read_bytes() for path in charts.glob("*.yaml")
    }


def test_every_field_of_every_crd_has_a_description() -> None:
    bare = [
        path
        for document in crd.definitions()
        for path, schema in _fields(document)
        if not path.endswith("[]") and not schema.get("description")
    ]
    assert bare == []


def test_every_rule_has_a_sentence_without_a_full_stop() -> None:
    rules = [
        rule
        for document in crd.definitions()
        for _, schema in _fields(document)
        for rule in schema.get("x-kubernetes-validations", [])
    ]
    assert len(rules) > 20
    assert [rule for rule in rules if not rule["message"] or rule["message"].endswith(".")] == []


def test_the_names_are_those_that_users_type() -> None:
    deployments, versions = (document["spec"] for document in crd.definitions())
    assert deployments["names"] == {
        "kind": "ModelDeployment",
        "listKind": "ModelDeploymentList",
        "plural": "modeldeployments",
        "singular": "modeldeployment",
        "shortNames": ["mldep"],
        "categories": ["ml"],
    }
    assert (versions["names"]["shortNames"], versions["names"]["categories"]) == (["mlv"], ["ml"])
    assert {deployments["scope"], versions["scope"]} == {"Namespaced"}


def test_scale_sets_the_fixed_number_of_replicas() -> None:
    deployments, versions = (document["spec"]["versions"][0] for document in crd.definitions())
    assert deployments["subresources"] == {
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.target.aks.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    }
    assert "subresources" not in versions


def test_every_column_reads_a_field_that_exists() -> None:
    for document in crd.definitions():
        paths = {path for path, _ in _fields(document)}
        for column in document["spec"]["versions"][0]["additionalPrinterColumns"]:
            wanted = column["jsonPath"].lstrip(".").replace("[*]", "[]")
            before, _, after = wanted.partition("[?(@.type==")
            plain = f"{before}[]{after.partition(')]')[2]}" if after else before
            assert plain in paths | {"metadata.creationTimestamp"}, column["jsonPath"]


def test_write_makes_every_file_and_check_is_then_content(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory, page = tmp_path / "crds", tmp_path / "docs" / "api.md"
    arguments = ["--reference", str(page), str(directory)]
    assert crd.main(["--check", *arguments]) == 1
    assert f"{page} is out of date: run make crds" in capsys.readouterr().err.splitlines()
    assert crd.main(["--write", *arguments]) == 0
    assert crd.main(["--check", *arguments]) == 0
    assert {yaml.safe_load(path.read_text())["spec"]["names"]["kind"] for path in directory.glob("*.yaml")} == {
        "ModelDeployment",
        "ModelVersion",
    }


def test_check_names_the_file_that_was_edited_by_hand_and_the_one_that_is_left_over(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "api.md"
    arguments = ["--reference", str(page), str(tmp_path)]
    crd.main(["--write", *arguments])
    edited, left_over = tmp_path / "modelversions_modeldeploy_dev.yaml", tmp_path / "renamed.yaml"
    edited.write_text(edited.read_text().replace("maximum: 999999999", "maximum: 9"))
    left_over.write_text("{}")
    capsys.readouterr()
    assert crd.main(["--check", *arguments]) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"{edited} is out of date: run make crds",
        f"{left_over} is out of date: run make crds",
    ]
    assert crd.main(["--write", *arguments]) == 0
    assert not left_over.exists()
    assert crd.main(["--check", *arguments]) == 0


def test_the_command_wants_to_know_whether_to_write_or_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        crd.main([])
    assert ended.value.code == 2
    assert "one of the arguments --write --check is required" in capsys.readouterr().err


def test_the_reference_shows_every_field_and_every_sentence() -> None:
    page = (ROOT / crd.REFERENCE).read_text()
    for document in crd.definitions():
        for path, schema in _fields(document):
            name = path.rpartition(".")[2].removesuffix("[]")
            assert path in {"spec", "status"} or f"`{name}`" in page, path
            for rule in schema.get("x-kubernetes-validations", []):
                assert f"- {rule['message']}" in page


def test_the_least_a_user_can_write_gets_every_default() -> None:
    least = {"models": [{"name": "m", "version": "1"}], "target": {"aks": {}}}
    spec = ModelDeploymentSpec.model_validate(least).document()
    assert spec == {
        **least,
        "scoring": {
            "timeoutMs": 60000,
            "maxConcurrentRequests": 8,
            "maxQueueWaitMs": 500,
            "initTimeoutSeconds": 300,
        },
        "auth": {"mode": "Key", "publishKeysInStatus": False},
        "target": {
            "aks": {
                "resources": {"cpu": "100m", "memory": "500Mi"},
                "rollout": {"maxUnavailable": 0, "progressDeadlineSeconds": 600},
                "networkPolicy": False,
            }
        },
        "suspend": False,
    }
