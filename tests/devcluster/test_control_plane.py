"""A control plane of its own beside whatever else runs: up, answering, a component stopped and started, down."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from devcluster import claim, layout, process

pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("control-plane-instance")]

CHECKOUT = Path(__file__).resolve().parents[2]
INSTANCE = f"test-{os.getpid()}"
PLACE = layout.instance_layout(CHECKOUT, INSTANCE)


def devcluster(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "devcluster", *arguments, "--instance", INSTANCE]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=540)


def kubectl(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [str(PLACE.bin / "kubectl"), f"--kubeconfig={PLACE.kubeconfig}", *arguments]
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=60)


def status() -> dict[str, Any]:
    document = json.loads(devcluster("status", "--json").stdout)
    assert isinstance(document, dict)
    return document


@pytest.fixture(scope="module", autouse=True)
def control_plane() -> Iterator[None]:
    result = devcluster("up", "--control-plane-only")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{PLACE.kubeconfig}\n"
    yield
    assert devcluster("down").returncode == 0


def audited(name: str) -> list[dict[str, Any]]:
    events = [json.loads(line) for line in PLACE.audit_log.read_text().splitlines()]
    return [event for event in events if event.get("objectRef", {}).get("name") == name]


def test_every_component_is_healthy_and_the_version_is_the_modules() -> None:
    document = status()
    assert document["running"] is True
    assert [row["name"] for row in document["components"] if row["healthy"]] == [
        *["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]
    ]
    assert json.loads(kubectl("get", "--raw", "/version").stdout)["gitVersion"] == "v1.34.4"


def test_controllers_work_and_the_audit_log_tells_who_did_it_once() -> None:
    created = kubectl("create", "deployment", "web", "--image=localhost/none", "--replicas=2")
    assert created.returncode == 0, created.stderr

    def pods() -> int:
        return kubectl("get", "pods", "-l", "app=web", "-o", "name").stdout.count("pod/")

    assert process.wait_until(lambda: pods() == 2, 30)
    events = [event for event in audited("web") if event["objectRef"]["resource"] == "deployments"]
    creations = [event for event in events if event["verb"] == "create"]
    assert [(event["user"]["username"], event["stage"], event["level"]) for event in creations] == [
        ("devcluster-admin", "ResponseComplete", "Metadata")
    ]


def test_a_second_up_changes_nothing() -> None:
    before = status()
    assert devcluster("up", "--control-plane-only").returncode == 0
    assert status() == before


def test_an_instance_is_not_turned_into_another_kind() -> None:
    result = devcluster("up")
    assert result.returncode == 1
    expected = f"devcluster: {PLACE.root} holds a control-plane cluster; `down` it first, or give another --instance.\n"
    assert result.stderr.endswith(expected)


def test_a_stopped_api_server_is_seen_and_started_again_with_its_objects() -> None:
    assert kubectl("create", "configmap", "kept").returncode == 0
    controllers = {row["name"]: row["pid"] for row in status()["components"]}
    assert devcluster("stop-component", "kube-apiserver").returncode == 0
    stopped = {row["name"]: row for row in status()["components"]}
    assert stopped["kube-apiserver"]["pid"] is None
    assert devcluster("status").returncode == 1
    assert devcluster("start-component", "kube-apiserver").returncode == 0
    assert kubectl("get", "configmap", "kept").returncode == 0
    after = {row["name"]: row["pid"] for row in status()["components"]}
    unchanged = ("etcd", "kube-controller-manager", "kube-scheduler")
    assert [after[name] for name in unchanged] == [controllers[name] for name in unchanged]


def test_logs_are_printed_and_an_unknown_component_is_refused() -> None:
    assert "Serving securely" in devcluster("logs", "kube-scheduler").stdout
    refused = devcluster("logs", "kubelet")
    assert refused.returncode == 1
    assert "There is no component 'kubelet' in this cluster" in refused.stderr


def test_down_leaves_no_process_and_no_file_and_says_so_when_asked() -> None:
    assert len(claim.alive(PLACE)) == 4
    result = devcluster("down")
    assert result.returncode == 0, result.stderr
    assert claim.alive(PLACE) == []
    assert not PLACE.root.exists()
    answer = devcluster("status")
    assert (answer.returncode, answer.stdout) == (1, f"no devcluster at {PLACE.root}\n")
    missing = devcluster("start-component", "etcd")
    assert missing.stderr == (
        f"devcluster: No devcluster lies at {PLACE.root}; start one with `python -m devcluster up`.\n"
    )
