"""The demo on a cluster that is not its own: the one these tests share."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


def demo(verb: str, namespace: str, kubeconfig: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "demo", verb, "--namespace", namespace]
    environ = {**os.environ, "KUBECONFIG": str(kubeconfig)}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=False, timeout=400)


@pytest.mark.cluster
def test_the_demo_answers_as_expected_and_keeps_an_operator_that_is_not_its_own(
    kubeconfig: str, kube: Any, operator: str, namespace: str, tmp_path: Path
) -> None:
    copy = tmp_path / "kubeconfig"  # by its path it is not the devcluster's, so it is somebody else's
    shutil.copyfile(kubeconfig, copy)
    up = demo("up", namespace, copy)
    assert up.returncode == 0, up.stdout + up.stderr
    assert "2 of 2 examples answered as expected" in up.stdout
    assert "release modeldeploy is used as it is" in up.stdout
    down = demo("down", namespace, copy)
    assert down.returncode == 0, down.stdout + down.stderr
    assert "the operator was not installed by the demo: it stays" in down.stdout
