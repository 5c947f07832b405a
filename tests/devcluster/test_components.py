"""Flags and files of the components: what must hold together across them."""

from __future__ import annotations

import json
import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from devcluster import addons, cluster, components, configuration, layout, pki, programs, settings
from devcluster.configuration import Machine
from devcluster.errors import DevclusterError
from devcluster.settings import Extent, Settings

MACHINE = Machine(
    snapshotter="overlayfs",
    may_lower_oom_score=True,
    cni_plugins=Path("/usr/lib/cni"),
    resolv_conf=Path("/etc/resolv.conf"),
    nameservers=("192.0.2.53",),
)


def of(extent: Extent) -> Settings:
    place = layout.instance_layout(Path("/src"), "")
    return Settings(
        layout=place,
        extent=extent,
        node_address="192.0.2.7",
        boot_id="b",
        ports=layout.choose_ports(place.root, lambda _: True),
    )


def flags(current: Settings, name: str) -> dict[str, str]:
    command = components.component(current, name).command
    return dict(flag.partition("=")[::2] for flag in command[1:])


def test_a_control_plane_has_no_node() -> None:
    names = [component.name for component in components.components(of(Extent.CONTROL_PLANE))]
    assert names == ["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"]


def test_a_full_cluster_starts_containerd_before_the_kubelet_and_after_the_control_plane() -> None:
    names = [component.name for component in components.components(of(Extent.FULL))]
    assert names == [
        *["etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"],
        *["containerd", "kubelet", "kube-proxy", "coredns", "metrics-server"],
    ]


def test_an_unknown_component_is_answered_with_those_there_are() -> None:
    with pytest.raises(DevclusterError) as caught:
        components.component(of(Extent.CONTROL_PLANE), "kubelet")
    assert str(caught.value) == (
        "There is no component 'kubelet' in this cluster; "
        "it has etcd, kube-apiserver, kube-controller-manager, kube-scheduler."
    )


def test_every_component_but_containerd_is_a_name_that_a_compiled_program_is_called_by() -> None:
    links = {link for program in programs.PROGRAMS.values() for link in program.links}
    ours = [component for component in components.components(of(Extent.FULL)) if component.name != "containerd"]
    assert all(Path(component.command[0]).name in links for component in ours)
    assert all(component.command[0].startswith("/src/.devcluster/bin/") for component in ours)


def test_the_controllers_survive_an_api_server_that_is_gone_for_a_while() -> None:
    current = of(Extent.FULL)
    for name in ("kube-controller-manager", "kube-scheduler"):
        assert flags(current, name)["--leader-elect"] == "false"


def test_hpas_react_within_seconds_on_the_full_cluster_and_do_not_run_without_metrics() -> None:
    full = flags(of(Extent.FULL), "kube-controller-manager")
    assert full["--horizontal-pod-autoscaler-sync-period"] == "5s"
    assert full["--horizontal-pod-autoscaler-downscale-stabilization"] == "15s"
    scale = flags(of(Extent.CONTROL_PLANE), "kube-controller-manager")
    assert scale["--controllers"] == "*,-horizontal-pod-autoscaler-controller"
    assert scale["--node-monitor-grace-period"] == "20m"


def test_every_key_and_certificate_that_a_flag_names_is_made(tmp_path: Path) -> None:
    current = of(Extent.FULL)
    pki.write_all(tmp_path / "pki", "192.0.2.7", datetime.now(UTC))
    text = json.dumps([component.command for component in components.components(current)])
    text += "".join(configuration.node_files(current, MACHINE).values())
    named = set(re.findall(r"/src/\.devcluster/pki/([-\w.]+)", text))
    assert len(named) > 10
    assert named <= {path.name for path in (tmp_path / "pki").iterdir()}


def test_every_port_is_used_by_one_thing_only() -> None:
    current = of(Extent.FULL)
    listening = [
        flags(current, "kube-apiserver")["--secure-port"],
        flags(current, "kube-controller-manager")["--secure-port"],
        flags(current, "kube-scheduler")["--secure-port"],
        flags(current, "metrics-server")["--secure-port"],
        flags(current, "etcd")["--listen-client-urls"].rpartition(":")[2],
        flags(current, "etcd")["--listen-peer-urls"].rpartition(":")[2],
        flags(current, "etcd")["--listen-metrics-urls"].rpartition(":")[2],
    ]
    assert len(set(listening)) == len(listening)


def test_the_audit_log_holds_one_event_for_each_request() -> None:
    policy = configuration.audit_policy()
    assert policy["omitStages"] == ["RequestReceived", "ResponseStarted"]
    assert policy["rules"][-1] == {"level": "Metadata"}


def test_the_audit_policy_drops_only_what_the_components_do() -> None:
    """A rule without users and groups may drop health probes and nothing else: all others' calls are counted."""
    dropping = [rule for rule in configuration.audit_policy()["rules"] if rule["level"] == "None"]
    anonymous = [rule for rule in dropping if "users" not in rule and "userGroups" not in rule]
    assert [list(rule) for rule in anonymous] == [["level", "nonResourceURLs"]]


def test_containerds_file_is_toml_with_our_paths() -> None:
    current = of(Extent.FULL)
    document = tomllib.loads(configuration.containerd(current, MACHINE))
    cri = document["plugins"]["io.containerd.grpc.v1.cri"]
    assert document["grpc"]["address"] == "/src/.devcluster/containerd.sock"
    assert cri["sandbox_image"] == configuration.PAUSE_IMAGE
    assert cri["netns_mounts_under_state_dir"] is True
    assert cri["containerd"]["snapshotter"] == "overlayfs"
    assert cri["restrict_oom_score_adj"] is False


def test_a_machine_that_may_not_lower_oom_scores_restricts_them() -> None:
    document = tomllib.loads(configuration.containerd(of(Extent.FULL), replace(MACHINE, may_lower_oom_score=False)))
    assert document["plugins"]["io.containerd.grpc.v1.cri"]["restrict_oom_score_adj"] is True


def test_the_kubelet_talks_to_the_containerd_we_start_and_renews_secrets_quickly() -> None:
    current = of(Extent.FULL)
    document = configuration.kubelet(current, MACHINE)
    assert document["containerRuntimeEndpoint"] == components.component(current, "containerd").health
    assert document["clusterDNS"] == [settings.DNS_ADDRESS]
    assert document["syncFrequency"] == "10s"
    assert document["failCgroupV1"] is False


def test_the_kubelets_directory_is_not_the_link_to_the_kubelet() -> None:
    place = of(Extent.FULL).layout
    assert place.kubelet_root != place.bin / "kubelet"


def test_dns_is_forwarded_only_where_somebody_answers_pods() -> None:
    current = of(Extent.FULL)
    assert "forward . 192.0.2.53" in configuration.corefile(current, MACHINE)
    assert "forward" not in configuration.corefile(current, replace(MACHINE, nameservers=()))


def test_a_nameserver_on_loopback_is_left_out() -> None:
    servers = ("127.0.0.53", "192.0.2.53", "fe80::1%eth0")
    text = "search example\n# nameserver 192.0.2.54\n" + "".join(f"nameserver {one}\n" for one in servers)
    assert configuration.nameservers(text) == ("192.0.2.53", "fe80::1")


def test_the_service_address_of_dns_is_the_one_pods_are_told() -> None:
    documents = addons.manifests(of(Extent.FULL), b"ca")
    services = {one["metadata"]["name"]: one for one in documents if one["kind"] == "Service"}
    assert services["kube-dns"]["spec"]["clusterIP"] == settings.DNS_ADDRESS
    slices = [one for one in documents if one["kind"] == "EndpointSlice"]
    assert {one["endpoints"][0]["addresses"][0] for one in slices} == {"192.0.2.7"}


def test_files_are_readable_by_what_reads_them() -> None:
    current = of(Extent.FULL)
    texts = {**configuration.control_plane_files(current), **configuration.node_files(current, MACHINE)}
    for path, text in texts.items():
        match path.suffix:
            case ".yaml":
                assert yaml.safe_load(text)["apiVersion"]
            case ".conflist":
                assert json.loads(text)["plugins"][0]["bridge"] == settings.BRIDGE


def test_etcd_gets_nothing_of_the_callers_settings_and_only_containerd_a_proxy() -> None:
    given = {"HOME": "/h", "ETCD_NAME": "x", "KUBECONFIG": "/k", "HTTPS_PROXY": "http://192.0.2.9"}
    current = of(Extent.FULL)
    etcd = cluster.component_environment(given, components.component(current, "etcd"))
    assert set(etcd) == {"PATH", "HOME"}
    containerd = cluster.component_environment(given, components.component(current, "containerd"))
    assert containerd["HTTPS_PROXY"] == "http://192.0.2.9"


def test_settings_survive_the_way_through_their_file(tmp_path: Path) -> None:
    place = layout.Layout(instance="", root=tmp_path, run=tmp_path)
    assert settings.read(place) is None
    written = replace(of(Extent.CONTROL_PLANE), layout=place)
    settings.write(written)
    assert settings.read(place) == written
