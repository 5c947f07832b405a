"""What the examples' deployment.yaml names, their README makes, and what the README shows is what the files hold."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import jsonschema
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").iterdir() if path.is_dir())


def manifest(example: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((ROOT / "examples" / example / "deployment.yaml").read_text())
    return document


def readme(example: str) -> str:
    return (ROOT / "examples" / example / "README.md").read_text()


def strict(schema: Any) -> Any:
    """The schema refusing what it does not know, where the API server would prune it with a warning."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    known = {name: strict(value) for name, value in schema.items()}
    return {**known, "additionalProperties": False} if "properties" in schema else known


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_manifest_meets_the_crd_and_names_no_unknown_field(example: str) -> None:
    crd = yaml.safe_load((ROOT / "crds" / "modeldeployments_modeldeploy_dev.yaml").read_text())
    (version,) = crd["spec"]["versions"]
    spec = strict(version["schema"]["openAPIV3Schema"]["properties"]["spec"])
    jsonschema.validate(manifest(example)["spec"], spec)


@pytest.mark.parametrize("example", EXAMPLES)
def test_every_config_map_of_the_manifest_is_made_in_the_readme(example: str) -> None:
    spec, commands = manifest(example)["spec"], readme(example).replace("\\\n", " ")
    code = spec["code"]
    assert re.search(
        rf"kubectl create configmap {code['configMapRef']['name']} .*--from-file={code['entryScript']}", commands
    )
    for model in spec["models"]:
        uri = urlsplit(model["source"]["uri"])
        assert uri.scheme == "configmap"
        made = rf"kubectl create configmap {uri.netloc} .*--from-file=\S+/{model['name']}/1{uri.path}\b"
        assert re.search(made, commands)


@pytest.mark.parametrize("example", EXAMPLES)
def test_the_readme_shows_the_request_and_its_answer(example: str) -> None:
    shown = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", readme(example), re.DOTALL)]
    folder = ROOT / "examples" / example
    assert shown == [json.loads((folder / name).read_text()) for name in ("request.json", "expected.json")]
