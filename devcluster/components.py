"""Every process of a cluster with its flags: a table to read, from settings to command lines. Nothing is started here.

The reasons stand beside the flags that are not self-evident; most of them took an evening to find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from devcluster import settings as settings_module
from devcluster.errors import DevclusterError
from devcluster.settings import Extent, Settings


@dataclass(frozen=True)
class Component:
    """One process: what to run and the address that answers 200 once it is healthy."""

    name: str
    command: tuple[str, ...]
    health: str
    environment: Mapping[str, str] = field(default_factory=dict)
    stop_seconds: float = 10.0


def components(settings: Settings) -> tuple[Component, ...]:
    """In the order of starting; stopping goes backwards."""
    control_plane = (_etcd(settings), _apiserver(settings), _controller_manager(settings), _scheduler(settings))
    if settings.extent is Extent.CONTROL_PLANE:
        return control_plane
    return (
        *control_plane,
        _containerd(settings),
        _kubelet(settings),
        _kube_proxy(settings),
        _coredns(settings),
        _metrics_server(settings),
    )


def component(settings: Settings, name: str) -> Component:
    known = {one.name: one for one in components(settings)}
    if name not in known:
        raise DevclusterError(f"There is no component {name!r} in this cluster; it has {', '.join(known)}.")
    return known[name]


def _program(settings: Settings, name: str) -> str:
    return str(settings.layout.bin / name)


def _pki(settings: Settings, name: str) -> str:
    return str(settings.layout.pki / name)


def _local(scheme: str, port: int, path: str) -> str:
    return f"{scheme}://127.0.0.1:{port}{path}"


def _etcd(settings: Settings) -> Component:
    ports = settings.ports
    client = _local("https", ports["etcd-client"], "")
    peer = _local("http", ports["etcd-peer"], "")
    return Component(
        name="etcd",
        command=(
            _program(settings, "etcd"),
            "--name=devcluster",
            f"--data-dir={settings.layout.etcd_data}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=devcluster={peer}",
            f"--listen-metrics-urls={_local('http', ports['etcd-health'], '')}",
            f"--cert-file={_pki(settings, 'etcd.crt')}",
            f"--key-file={_pki(settings, 'etcd.key')}",
            # Without client certificates every user of the machine would be the cluster's administrator.
            "--client-cert-auth",
            f"--trusted-ca-file={_pki(settings, 'ca.crt')}",
            # A fixture may lose its last second in a power cut; fsync is most of what a small cluster waits for.
            "--unsafe-no-fsync",
            "--quota-backend-bytes=8589934592",
            "--log-level=warn",
        ),
        health=_local("http", ports["etcd-health"], "/health"),
    )


def _apiserver(settings: Settings) -> Component:
    return Component(
        name="kube-apiserver",
        command=(
            _program(settings, "kube-apiserver"),
            # The endpoints of the Service kubernetes; a loopback address is refused there.
            f"--advertise-address={settings.node_address}",
            "--bind-address=0.0.0.0",
            f"--secure-port={settings.ports['apiserver']}",
            f"--etcd-servers={_local('https', settings.ports['etcd-client'], '')}",
            f"--etcd-cafile={_pki(settings, 'ca.crt')}",
            f"--etcd-certfile={_pki(settings, 'etcd-client.crt')}",
            f"--etcd-keyfile={_pki(settings, 'etcd-client.key')}",
            f"--client-ca-file={_pki(settings, 'ca.crt')}",
            f"--tls-cert-file={_pki(settings, 'kube-apiserver.crt')}",
            f"--tls-private-key-file={_pki(settings, 'kube-apiserver.key')}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged",
            f"--service-cluster-ip-range={settings_module.SERVICE_CIDR}",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            f"--service-account-key-file={_pki(settings, 'service-accounts.pub')}",
            f"--service-account-signing-key-file={_pki(settings, 'service-accounts.key')}",
            f"--kubelet-certificate-authority={_pki(settings, 'ca.crt')}",
            f"--kubelet-client-certificate={_pki(settings, 'kube-apiserver-kubelet-client.crt')}",
            f"--kubelet-client-key={_pki(settings, 'kube-apiserver-kubelet-client.key')}",
            # By default the node's host name comes first, which no DNS knows: logs and exec would fail.
            "--kubelet-preferred-address-types=InternalIP",
            # metrics-server has no pod; its Service is reached through the endpoints themselves.
            "--enable-aggregator-routing",
            f"--requestheader-client-ca-file={_pki(settings, 'front-proxy-ca.crt')}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            f"--proxy-client-cert-file={_pki(settings, 'front-proxy-client.crt')}",
            f"--proxy-client-key-file={_pki(settings, 'front-proxy-client.key')}",
            f"--audit-policy-file={settings.layout.config / 'audit-policy.yaml'}",
            f"--audit-log-path={settings.layout.audit_log}",
            # 0 would mean 100 MB, and what is read by the tests must not move away.
            "--audit-log-maxsize=100000",
            f"--cert-dir={settings.layout.config}",
            "--profiling=false",
            # Otherwise it waits for the watches of everybody until it is killed.
            "--shutdown-send-retry-after",
        ),
        health=_local("https", settings.ports["apiserver"], "/readyz"),
        # Collecting garbage less often makes writes in scale runs faster by a tenth, for 200 MB more.
        environment={"GOGC": "400"} if settings.extent is Extent.CONTROL_PLANE else {},
        stop_seconds=20,
    )


def _controller(settings: Settings, name: str, port: str) -> tuple[str, ...]:
    """The flags that the controller manager and the scheduler have in common."""
    kubeconfig = settings.layout.kubeconfig_of(name)
    return (
        _program(settings, name),
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        "--bind-address=127.0.0.1",
        f"--secure-port={settings.ports[port]}",
        f"--cert-dir={settings.layout.config / name}",
        # There is one of each. With a lease they would end themselves when a test stops the API server.
        "--leader-elect=false",
        "--kube-api-qps=500",
        "--kube-api-burst=1000",
        "--profiling=false",
    )


def _controller_manager(settings: Settings) -> Component:
    if settings.extent is Extent.FULL:
        special: tuple[str, ...] = (
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--horizontal-pod-autoscaler-downscale-stabilization=15s",
        )
    else:
        special = (
            # Without kubelet there are no metrics, and a thousand HPAs would only log that.
            "--controllers=*,-horizontal-pod-autoscaler-controller",
            # Fake nodes report late under load; their pods would turn NotReady and stay so.
            "--node-monitor-grace-period=20m",
        )
    return Component(
        name="kube-controller-manager",
        command=(
            *_controller(settings, "kube-controller-manager", "controller-manager"),
            f"--root-ca-file={_pki(settings, 'ca.crt')}",
            f"--service-account-private-key-file={_pki(settings, 'service-accounts.key')}",
            f"--cluster-signing-cert-file={_pki(settings, 'ca.crt')}",
            f"--cluster-signing-key-file={_pki(settings, 'ca.key')}",
            "--use-service-account-credentials",
            "--allocate-node-cidrs",
            f"--cluster-cidr={settings_module.CLUSTER_CIDR}",
            f"--service-cluster-ip-range={settings_module.SERVICE_CIDR}",
            *special,
        ),
        health=_local("https", settings.ports["controller-manager"], "/healthz"),
    )


def _scheduler(settings: Settings) -> Component:
    return Component(
        name="kube-scheduler",
        command=_controller(settings, "kube-scheduler", "scheduler"),
        health=_local("https", settings.ports["scheduler"], "/healthz"),
    )


def _containerd(settings: Settings) -> Component:
    return Component(
        name="containerd",
        command=("containerd", "--config", str(settings.layout.config / "containerd.toml")),
        health=f"unix://{settings.layout.containerd_socket}",
    )


def _kubelet(settings: Settings) -> Component:
    return Component(
        name="kubelet",
        command=(
            _program(settings, "kubelet"),
            f"--config={settings.layout.config / 'kubelet.yaml'}",
            f"--kubeconfig={settings.layout.kubeconfig_of('kubelet')}",
            f"--hostname-override={settings_module.NODE_NAME}",
            f"--node-ip={settings.node_address}",
            f"--root-dir={settings.layout.kubelet_root}",
            f"--cert-dir={settings.layout.config / 'kubelet'}",
        ),
        health=_local("http", settings.ports["kubelet-health"], "/healthz"),
    )


def _kube_proxy(settings: Settings) -> Component:
    return Component(
        name="kube-proxy",
        command=(
            _program(settings, "kube-proxy"),
            f"--config={settings.layout.config / 'kube-proxy.yaml'}",
            f"--hostname-override={settings_module.NODE_NAME}",
        ),
        health=_local("http", settings.ports["kube-proxy-health"], "/livez"),
    )


def _coredns(settings: Settings) -> Component:
    return Component(
        name="coredns",
        command=(_program(settings, "coredns"), "-conf", str(settings.layout.config / "Corefile")),
        health=_local("http", settings.ports["coredns-ready"], "/ready"),
    )


def _metrics_server(settings: Settings) -> Component:
    kubeconfig = settings.layout.kubeconfig_of("metrics-server")
    return Component(
        name="metrics-server",
        command=(
            _program(settings, "metrics-server"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            f"--secure-port={settings.ports['metrics-server']}",
            f"--tls-cert-file={_pki(settings, 'metrics-server-server.crt')}",
            f"--tls-private-key-file={_pki(settings, 'metrics-server-server.key')}",
            f"--kubelet-certificate-authority={_pki(settings, 'ca.crt')}",
            "--kubelet-preferred-address-types=InternalIP",
            "--kubelet-use-node-status-port",
            # The shortest that it takes, so that the HPA sees load after seconds and not after a minute.
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
        ),
        # /readyz waits for two rounds of figures, which takes some 20 s: `up` does not.
        health=_local("https", settings.ports["metrics-server"], "/livez"),
    )
