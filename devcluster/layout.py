"""Where everything of one instance lies, and which ports it has. No process is started and no file read in here.

An instance is a directory of the checkout: `.devcluster`, or `.devcluster-NAME` for `--instance NAME`. The cache is
shared by all checkouts of a user and holds only what is found again by the hash of what it was made from.
"""

from __future__ import annotations

import hashlib
import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError

# A unix socket's path has at most 107 bytes; the longest name below the root of an instance is the kubelet's
# kubelet/device-plugins/kubelet.sock.
LONGEST_ROOT = 60
# Above the registered service ports, below node ports (30000) and the kernel's ephemeral range (32768): a port of a
# stopped component is not taken by some outgoing connection before the component is started again.
FIRST_PORT, LAST_PORT = 20000, 29999
PORT_NAMES = (
    "apiserver",
    "etcd-client",
    "etcd-peer",
    "etcd-health",
    "controller-manager",
    "scheduler",
    "kubelet",
    "kubelet-health",
    "kube-proxy-health",
    "kube-proxy-metrics",
    "coredns",
    "coredns-health",
    "coredns-ready",
    "metrics-server",
    "kwok",
)


@dataclass(frozen=True)
class Layout:
    """The paths of one instance. `root` holds what may have a long path, `run` what must have a short one."""

    instance: str
    root: Path
    run: Path

    @property
    def kubeconfig(self) -> Path:
        return self.root / "kubeconfig"

    @property
    def bin(self) -> Path:
        return self.root / "bin"

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def config(self) -> Path:
        return self.root / "config"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def pids(self) -> Path:
        return self.root / "pids"

    @property
    def etcd_data(self) -> Path:
        return self.root / "etcd"

    @property
    def audit_log(self) -> Path:
        return self.root / "audit.log"

    @property
    def state(self) -> Path:
        return self.root / "state.json"

    def lock(self, cache: Path) -> Path:
        """Not within the root: `down` removes that while it holds the lock."""
        return cache / "locks" / f"{hashlib.sha256(os.fsencode(self.root)).hexdigest()[:16]}.lock"

    @property
    def kubelet_root(self) -> Path:
        return self.run / "kubelet"

    @property
    def containerd_root(self) -> Path:
        return self.root / "containerd"

    @property
    def containerd_state(self) -> Path:
        return self.run / "containerd-state"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def cni_config(self) -> Path:
        return self.config / "cni"

    @property
    def pod_logs(self) -> Path:
        return self.root / "pod-logs"

    @property
    def directories(self) -> tuple[Path, ...]:
        """What `down` removes."""
        return (self.root,) if self.run == self.root else (self.root, self.run)

    def kubeconfig_of(self, component: str) -> Path:
        return self.config / f"{component}.kubeconfig"


def instance_layout(checkout: Path, instance: str) -> Layout:
    """The layout of the instance named so in that checkout; the empty name is the default instance."""
    if instance and not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,30}[a-z0-9])?", instance):
        raise DevclusterError(
            f"The instance name {instance!r} is not usable: give at most 32 lower-case letters, digits and hyphens."
        )
    root = checkout.resolve() / (f".devcluster-{instance}" if instance else ".devcluster")
    if len(os.fsencode(root)) <= LONGEST_ROOT:
        return Layout(instance=instance, root=root, run=root)
    digest = hashlib.sha256(os.fsencode(root)).hexdigest()[:10]
    return Layout(instance=instance, root=root, run=Path("/var/lib") / f"devcluster-{digest}")


def cache_directory(environment: Mapping[str, str]) -> Path:
    """`$XDG_CACHE_HOME/modeldeploy-devcluster`, by default below `~/.cache`."""
    base = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "/root"), ".cache")
    return Path(base) / "modeldeploy-devcluster"


def port_is_free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def choose_ports(root: Path, is_free: Callable[[int], bool]) -> dict[str, int]:
    """A block of neighbouring free ports, sought from a place that the root's path decides.

    The same instance gets the same ports again, and two instances rarely begin their search at one place.
    """
    size = len(PORT_NAMES)
    blocks = (LAST_PORT - FIRST_PORT) // size
    start = int.from_bytes(hashlib.sha256(os.fsencode(root)).digest()[:4], "big") % blocks
    for step in range(blocks):
        first = FIRST_PORT + ((start + step) % blocks) * size
        if all(is_free(first + offset) for offset in range(size)):
            return {name: first + offset for offset, name in enumerate(PORT_NAMES)}
    raise DevclusterError(f"No {size} neighbouring TCP ports are free between {FIRST_PORT} and {LAST_PORT}.")
