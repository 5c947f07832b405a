"""Ways to take the floor from under the operator, for tests that have the cluster for themselves."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.e2e import install
from tests.e2e.kube import Kube


def devcluster(*arguments: str) -> None:
    """One command of the devcluster that runs on this machine."""
    command = [sys.executable, "-m", "devcluster", *arguments]
    done = subprocess.run(command, cwd=install.ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{' '.join(arguments)}: {done.stderr}"


def restart(*components: str) -> None:
    """Stop and start components of the devcluster, one after the other."""
    for component in components:
        devcluster("stop-component", component)
        devcluster("start-component", component)


def need_own_node(kube: Kube) -> None:
    """Skip where the cluster's processes are not this machine's."""
    own = install.ROOT / ".devcluster" / "kubeconfig"
    if not own.exists() or Path(kube.kubeconfig).resolve() != own.resolve():
        pytest.skip("the cluster is not the devcluster of this checkout: its processes are out of reach")


def until(moment: float) -> None:
    """Let the time pass, on purpose: the length of an outage is what the test is about."""
    while time.monotonic() < moment:
        time.sleep(0.02)
