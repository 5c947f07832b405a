"""What the demo decides without a cluster."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo import __main__ as program
from demo import cluster as clusters
from demo.stories import Story, close
from demo.terminal import DemoError, run


@pytest.mark.parametrize(
    ("expected", "got", "same"),
    [
        pytest.param({"result": [1]}, {"result": [1]}, True, id="equal answers are the same"),
        pytest.param({"proba": [0.5]}, {"proba": [0.50001]}, True, id="the last digits may differ"),
        pytest.param({"proba": [0.5]}, {"proba": [0.51]}, False, id="a wrong number is wrong"),
        pytest.param([1, 2], [1], False, id="a missing row is wrong"),
        pytest.param({"a": 1}, {"b": 1}, False, id="another name is wrong"),
        pytest.param("error", [0.2], False, id="a word is not a number"),
    ],
)
def test_answers_are_compared_by_value(expected: object, got: object, same: bool) -> None:
    assert close(expected, got) is same


def test_a_story_provides_every_config_map_that_its_deployment_names(tmp_path: Path) -> None:
    story = Story("weather", tmp_path)
    names = set()
    import yaml

    deployment = yaml.safe_load((story.folder / "deployment.yaml").read_text())
    for model in deployment["spec"]["models"]:
        name, key = model["source"]["uri"].removeprefix("configmap://").split("/")
        folder = tmp_path / "models" / model["name"] / "1"
        folder.mkdir(parents=True)
        (folder / key).write_bytes(b"\x00model")
        names.add(name)
    documents = list(story.documents())
    assert documents[-1]["kind"] == "ModelDeployment"
    given = {document["metadata"]["name"]: document for document in documents[:-1]}
    assert names <= given.keys()
    for name in names:
        assert {base64.b64decode(value) for value in given[name]["binaryData"].values()} == {b"\x00model"}


def test_a_kubeconfig_that_does_not_exist_is_named() -> None:
    with pytest.raises(DemoError) as error:
        clusters.chosen({"KUBECONFIG": "/nowhere/config"})
    assert str(error.value) == "KUBECONFIG names /nowhere/config, which does not exist"


def test_without_a_kubeconfig_the_devcluster_is_used() -> None:
    chosen = clusters.chosen({})
    assert chosen.own
    assert str(chosen) == "the devcluster of this checkout"


def test_the_devclusters_own_kubeconfig_is_the_devcluster() -> None:
    assert clusters.chosen({"KUBECONFIG": str(clusters.STATE / "kubeconfig")}).own


def test_a_failing_program_is_quoted() -> None:
    with pytest.raises(DemoError) as error:
        run([sys.executable, "-c", "raise SystemExit('no such namespace')"])
    assert str(error.value).endswith("ended with 1:\nno such namespace")


def test_the_command_line_explains_itself() -> None:
    done = subprocess.run([sys.executable, "-m", "demo", "--help"], capture_output=True, text=True, check=True)
    assert "--namespace" in done.stdout


def test_a_missing_kubeconfig_ends_with_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/nowhere/config")
    assert program.main(["up"]) == 1
    assert capsys.readouterr().err.strip() == "KUBECONFIG names /nowhere/config, which does not exist"


@pytest.mark.parametrize("name", program.EXAMPLES)
def test_every_example_has_what_the_demo_shows(name: str, tmp_path: Path) -> None:
    story = Story(name, tmp_path)
    assert json.dumps(story.request)
    assert json.dumps(story.expected)
    assert os.access(story.folder / "train.py", os.R_OK)
