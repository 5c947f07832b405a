"""The golden stories' deployments and statuses, judged by the CRDs: what the operator reports can be written."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from modeldeploy_operator.api.schema import structural
from modeldeploy_operator.api.status import ModelDeploymentStatus
from modeldeploy_operator.api.v1alpha1 import ModelDeploymentSpec

from tests.operator.api.structural import validator

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
STORIES = sorted(path.parent for path in GOLDEN.glob("*/*/status.yaml"))
SPEC = validator(structural(ModelDeploymentSpec, "spec"), additional=False)
STATUS = validator(structural(ModelDeploymentStatus, "status"), additional=False)


def test_there_are_stories() -> None:
    assert len(STORIES) >= 10


@pytest.mark.parametrize("story", STORIES, ids=lambda story: story.name)
def test_a_storys_status_and_deployment_are_accepted_by_the_crd(story: Path) -> None:
    deployment = yaml.safe_load((story / "deployment.yaml").read_text())
    status = yaml.safe_load((story / "status.yaml").read_text())
    assert [error.message for error in STATUS.iter_errors(status)] == []
    assert [error.message for error in STATUS.iter_errors(deployment.get("status", {}))] == []
    assert [error.message for error in SPEC.iter_errors(deployment["spec"])] == []
