"""The configuration files of the components, as text. Pure: the caller knows the machine and writes them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devcluster import settings as settings_module
from devcluster.settings import Settings

PAUSE_IMAGE = "localhost/pause:1"


@dataclass(frozen=True)
class Machine:
    """What the files depend on and differs from machine to machine."""

    snapshotter: str
    may_lower_oom_score: bool
    cni_plugins: Path
    resolv_conf: Path
    nameservers: tuple[str, ...]


def control_plane_files(settings: Settings) -> dict[Path, str]:
    return {settings.layout.config / "audit-policy.yaml": yaml.safe_dump(audit_policy(), sort_keys=False)}


def node_files(settings: Settings, machine: Machine) -> dict[Path, str]:
    config = settings.layout.config
    return {
        config / "containerd.toml": containerd(settings, machine),
        config / "kubelet.yaml": yaml.safe_dump(kubelet(settings, machine), sort_keys=False),
        config / "kube-proxy.yaml": yaml.safe_dump(kube_proxy(settings), sort_keys=False),
        config / "Corefile": corefile(settings, machine),
        settings.layout.cni_config / "10-devcluster.conflist": json.dumps(cni(settings), indent=2),
    }


def audit_policy() -> dict[str, Any]:
    """Who did what to which object, once for each request; without the components' own reading and heartbeats."""
    components = [
        "system:apiserver",
        "system:kube-controller-manager",
        "system:kube-scheduler",
        "system:kube-proxy",
        "devcluster:coredns",
        "devcluster:metrics-server",
    ]
    reading = ["get", "list", "watch"]
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived", "ResponseStarted"],
        "omitManagedFields": True,
        "rules": [
            {"level": "None", "nonResourceURLs": ["/healthz*", "/readyz*", "/livez*", "/version"]},
            {"level": "None", "users": components, "verbs": reading},
            {"level": "None", "userGroups": ["system:nodes"], "verbs": reading},
            {
                "level": "None",
                "userGroups": ["system:serviceaccounts:kube-system", "system:nodes"],
                "verbs": reading,
            },
            {
                "level": "None",
                "userGroups": ["system:nodes"],
                "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
            },
            {
                "level": "None",
                "users": components,
                "resources": [{"group": "coordination.k8s.io", "resources": ["leases"]}],
            },
            {"level": "Metadata"},
        ],
    }


def containerd(settings: Settings, machine: Machine) -> str:
    layout = settings.layout
    restrict = "false" if machine.may_lower_oom_score else "true"
    cri = 'plugins."io.containerd.grpc.v1.cri"'
    return f"""\
version = 2
root = "{layout.containerd_root}"
state = "{layout.containerd_state}"
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
  "io.containerd.internal.v1.tracing",
]

[grpc]
address = "{layout.containerd_socket}"

[plugins."io.containerd.internal.v1.opt"]
path = "{layout.containerd_root}/opt"

[{cri}]
sandbox_image = "{PAUSE_IMAGE}"
# A machine without CAP_SYS_RESOURCE cannot lower a score: each sandbox would die with
# "can't get final child's PID from pipe: EOF".
restrict_oom_score_adj = {restrict}
tolerate_missing_hugetlb_controller = true
# So that every mount of ours lies below the instance's directory, and none below /run/netns.
netns_mounts_under_state_dir = true
max_concurrent_downloads = 3

[{cri}.containerd]
snapshotter = "{machine.snapshotter}"
default_runtime_name = "runc"

[{cri}.containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[{cri}.containerd.runtimes.runc.options]
SystemdCgroup = false

[{cri}.cni]
bin_dir = "{machine.cni_plugins}"
conf_dir = "{layout.cni_config}"
"""


def kubelet(settings: Settings, machine: Machine) -> dict[str, Any]:
    layout = settings.layout
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": "0.0.0.0",
        "port": settings.ports["kubelet"],
        "readOnlyPort": 0,
        "healthzBindAddress": "127.0.0.1",
        "healthzPort": settings.ports["kubelet-health"],
        "tlsCertFile": str(layout.pki / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(layout.pki / "kubelet-server.key"),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(layout.pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "containerRuntimeEndpoint": f"unix://{layout.containerd_socket}",
        "clusterDomain": "cluster.local",
        "clusterDNS": [settings_module.DNS_ADDRESS],
        "resolvConf": str(machine.resolv_conf),
        "podLogsDir": str(layout.pod_logs),
        "volumePluginDir": str(layout.root / "volume-plugins"),
        # cgroup v1 machines, machines with swap, and root file systems whose device cadvisor does not know.
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": False,
        "failSwapOn": False,
        "localStorageCapacityIsolation": False,
        "oomScoreAdj": 0,
        "maxPods": 110,
        # A developer's disk may be fuller than a node's ought to be, and no image comes back from a registry.
        "evictionHard": {"memory.available": "50Mi", "nodefs.available": "0%", "imagefs.available": "0%"},
        "imageGCHighThresholdPercent": 100,
        "imageMinimumGCAge": "8760h",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        # Mounted Secrets and ConfigMaps are renewed at each pod's sync: a new key reaches its pods in ten seconds.
        "syncFrequency": "10s",
        "configMapAndSecretChangeDetectionStrategy": "Watch",
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 3,
        "shutdownGracePeriod": "0s",
        "enableDebuggingHandlers": True,
    }


def kube_proxy(settings: Settings) -> dict[str, Any]:
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": str(settings.layout.kubeconfig_of("kube-proxy"))},
        "mode": "iptables",
        "clusterCIDR": settings_module.CLUSTER_CIDR,
        "healthzBindAddress": f"127.0.0.1:{settings.ports['kube-proxy-health']}",
        "metricsBindAddress": f"127.0.0.1:{settings.ports['kube-proxy-metrics']}",
        "oomScoreAdj": 0,
        # The machine's own limits stay as they are; in a container they could not be written anyway.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    }


def corefile(settings: Settings, machine: Machine) -> str:
    forward = f"    forward . {' '.join(machine.nameservers)}\n" if machine.nameservers else ""
    return f"""\
.:{settings.ports["coredns"]} {{
    bind {settings.node_address}
    errors
    health 127.0.0.1:{settings.ports["coredns-health"]}
    ready 127.0.0.1:{settings.ports["coredns-ready"]}
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig {settings.layout.kubeconfig_of("coredns")}
        ttl 5
    }}
{forward}    cache 5
}}
"""


def cni(settings: Settings) -> dict[str, Any]:
    return {
        "cniVersion": "0.4.0",
        "name": settings_module.NETWORK,
        "plugins": [
            {
                "type": "bridge",
                "bridge": settings_module.BRIDGE,
                "isGateway": True,
                # Leaving the cluster is masqueraded by one rule of network.py, which `down` can find again.
                "ipMasq": False,
                # A pod may call its own Service.
                "hairpinMode": True,
                "ipam": {
                    "type": "host-local",
                    "dataDir": str(settings.layout.root / "ipam"),
                    "ranges": [[{"subnet": settings_module.NODE_CIDR}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                },
            },
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }


def nameservers(resolv_conf: str) -> tuple[str, ...]:
    """The usable servers of a resolv.conf: one on loopback answers the node and never a pod."""
    found = []
    for line in resolv_conf.splitlines():
        words = line.split()
        if len(words) >= 2 and words[0] == "nameserver" and not words[1].startswith("127."):
            found.append(words[1].split("%", maxsplit=1)[0])
    return tuple(found)
