"""What the cluster itself must hold before pods can use it: DNS, the metrics API and the rights of both.

DNS and metrics-server are host processes, so their Services have no selector: an EndpointSlice names the node.

There is no storage provisioner. A test that needs a claim makes a PersistentVolume of its own with `hostPath` on a
directory that its user may read, and a PersistentVolumeClaim with `storageClassName: ""` and the volume's name.
"""

from __future__ import annotations

import base64
import json
import subprocess
from typing import Any

from devcluster import settings as settings_module
from devcluster.errors import DevclusterError
from devcluster.progress import Progress
from devcluster.settings import Settings


def manifests(settings: Settings, ca: bytes) -> list[dict[str, Any]]:
    dns_port, metrics_port = settings.ports["coredns"], settings.ports["metrics-server"]
    dns = [("dns", "UDP", 53, dns_port), ("dns-tcp", "TCP", 53, dns_port)]
    return [
        *_service(settings, "kube-dns", dns, {"clusterIP": settings_module.DNS_ADDRESS}),
        *_service(settings, "metrics-server", [("https", "TCP", 443, metrics_port)], {}),
        *_reader(
            "coredns",
            [
                {"apiGroups": [""], "resources": ["services", "namespaces", "pods"], "verbs": ["list", "watch"]},
                {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
            ],
        ),
        *_reader(
            "metrics-server",
            [
                {"apiGroups": [""], "resources": ["nodes/metrics"], "verbs": ["get"]},
                {"apiGroups": [""], "resources": ["pods", "nodes"], "verbs": ["get", "list", "watch"]},
                {
                    "apiGroups": ["authentication.k8s.io"],
                    "resources": ["tokenreviews"],
                    "verbs": ["create"],
                },
                {
                    "apiGroups": ["authorization.k8s.io"],
                    "resources": ["subjectaccessreviews"],
                    "verbs": ["create"],
                },
                {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"]},
            ],
        ),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": {"name": "metrics-server", "namespace": "kube-system"},
                "caBundle": base64.b64encode(ca).decode(),
            },
        },
    ]


def apply(settings: Settings, progress: Progress) -> None:
    ca = (settings.layout.pki / "ca.crt").read_bytes()
    document = {"apiVersion": "v1", "kind": "List", "items": manifests(settings, ca)}
    with progress.part("DNS and metrics Services"):
        kubectl(settings, "apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(document))


def wait_for_node(settings: Settings) -> None:
    # `kubectl wait` fails on what does not exist yet, unless it is told to wait for that first.
    name = f"node/{settings_module.NODE_NAME}"
    kubectl(settings, "wait", "--for=create", name, "--timeout=60s")
    kubectl(settings, "wait", "--for=condition=Ready", name, "--timeout=60s")


def wait_for_metrics(settings: Settings) -> None:
    """An aggregated API that does not answer hampers `helm` and the deletion of namespaces."""
    kubectl(settings, "wait", "--for=condition=Available", "apiservice/v1beta1.metrics.k8s.io", "--timeout=120s")


def kubectl(settings: Settings, *arguments: str, given: str = "") -> str:
    command = [str(settings.layout.bin / "kubectl"), f"--kubeconfig={settings.layout.kubeconfig}", *arguments]
    result = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if result.returncode:
        raise DevclusterError(f"`kubectl {' '.join(arguments)}` failed: {result.stderr.strip()}")
    return result.stdout


def _service(
    settings: Settings, name: str, ports: list[tuple[str, str, int, int]], spec: dict[str, Any]
) -> list[dict[str, Any]]:
    metadata = {"name": name, "namespace": "kube-system"}
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                **spec,
                "ports": [
                    {"name": port, "protocol": protocol, "port": number, "targetPort": target}
                    for port, protocol, number, target in ports
                ],
            },
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**metadata, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [settings.node_address], "conditions": {"ready": True}}],
            "ports": [{"name": port, "protocol": protocol, "port": target} for port, protocol, _, target in ports],
        },
    ]


def _reader(name: str, rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    full = f"devcluster:{name}"
    group = "rbac.authorization.k8s.io"
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": full}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": full},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": full},
            "subjects": [{"apiGroup": group, "kind": "User", "name": full}],
        },
    ]
