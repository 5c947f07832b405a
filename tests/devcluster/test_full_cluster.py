"""The whole cluster ended and begun again: nothing may remain of it on the machine.

Last of all tests (conftest.py sees to it), because it takes away the cluster that the others share.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from devcluster import claim, iptables, layout, mounts, node, process, settings

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.exclusive,
    pytest.mark.skipif("KUBECONFIG" in os.environ, reason="the cluster of KUBECONFIG is not ours to end"),
]

CHECKOUT = Path(__file__).resolve().parents[2]
PLACE = layout.instance_layout(CHECKOUT, "")
# What leaves traces: a memory-backed volume, a Secret, a bind mount of one file, a port of the node.
POD = """
apiVersion: v1
kind: ConfigMap
metadata: {name: traces}
data: {one: "1"}
---
apiVersion: v1
kind: Pod
metadata: {name: traces}
spec:
  containers:
  - name: one
    image: localhost/pause:1
    ports: [{containerPort: 80, hostPort: 28080}]
    volumeMounts:
    - {name: memory, mountPath: /memory}
    - {name: one, mountPath: /one, subPath: one}
  volumes:
  - {name: memory, emptyDir: {medium: Memory}}
  - {name: one, configMap: {name: traces}}
"""


def devcluster(*arguments: str) -> None:
    command = [sys.executable, "-m", "devcluster", *arguments]
    result = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=540)
    assert result.returncode == 0, result.stderr


def kubectl(*arguments: str, given: str = "") -> str:
    command = [str(PLACE.bin / "kubectl"), f"--kubeconfig={PLACE.kubeconfig}", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=True, timeout=90).stdout


def saved_rules() -> str:
    return "".join(
        subprocess.run([f"{family}-save"], capture_output=True, text=True, check=True).stdout
        for family in ("iptables", "ip6tables")
    )


def pairs_on_our_bridge() -> set[str]:
    ports = Path("/sys/class/net", settings.BRIDGE, "brif")
    return {port.name for port in ports.iterdir()} if ports.exists() else set()


def test_down_leaves_nothing_behind_and_up_begins_anew() -> None:
    devcluster("up")
    kubectl("apply", "-f", "-", given=POD)
    kubectl("wait", "--for=condition=Ready", "pod/traces", "--timeout=60s")
    pairs = pairs_on_our_bridge()
    sysctls = json.loads((PLACE.config / "sysctls.json").read_text())
    assert pairs
    assert "CNI-HOSTPORT-DNAT" in saved_rules()
    assert any("subpath" in str(path) for path in mounts.below(PLACE.run, mounts.current()))

    devcluster("down")

    assert claim.alive(PLACE) == []
    assert not [path for directory in PLACE.directories for path in mounts.below(directory, mounts.current())]
    assert not any(directory.exists() for directory in PLACE.directories)
    assert iptables.removal(saved_rules()) == ""
    assert settings.BRIDGE not in saved_rules()
    assert pairs.isdisjoint(path.name for path in Path("/sys/class/net").iterdir())
    assert not Path("/sys/class/net", settings.BRIDGE).exists()
    assert node.pod_cgroups(node.CGROUPS) == []
    assert node.cni_results(Path("/var/lib/cni/results")) == []
    assert not [link for link in Path("/var/log/containers").glob("*") if link.is_symlink() and not link.exists()]
    assert {name: Path("/proc/sys", name).read_text().strip() for name in sysctls} == sysctls
    assert claim.holder(claim.RECORD) is None

    devcluster("up")
    devcluster("images")
    assert process.wait_until(lambda: "devcluster" in kubectl("top", "node"), 60)
    assert "traces" not in kubectl("get", "pods", "-A")
