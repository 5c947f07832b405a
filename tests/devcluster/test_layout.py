"""Paths and ports of an instance."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from devcluster import layout
from devcluster.errors import DevclusterError


def test_the_default_instance_lies_in_the_checkout() -> None:
    checkout = Path("/src/app")
    assert layout.instance_layout(checkout, "").kubeconfig == Path("/src/app/.devcluster/kubeconfig")
    assert layout.instance_layout(checkout, "bench").root == Path("/src/app/.devcluster-bench")


def test_a_long_checkout_path_gets_a_short_directory_for_sockets() -> None:
    long, short = layout.instance_layout(Path("/" + "x" * 80), ""), layout.instance_layout(Path("/src"), "")
    assert short.run == short.root
    assert long.run != long.root
    assert long.directories == (long.root, long.run)


@pytest.mark.parametrize("length", [5, 47, 48, 49, 50, 200])
def test_no_checkout_is_so_deep_that_a_socket_cannot_be_made(length: int) -> None:
    place = layout.instance_layout(Path("/" + "x" * (length - 1)), "")
    for socket_path in (place.kubelet_root / "device-plugins/kubelet.sock", place.run / "containerd.sock.ttrpc"):
        assert len(str(socket_path)) <= 107


def test_two_long_checkouts_do_not_share_that_directory() -> None:
    one, other = (layout.instance_layout(Path("/" + letter * 80), "") for letter in "xy")
    assert one.run != other.run


@pytest.mark.parametrize("name", ["../etc", "A", "a b", "-a", "a" * 33, "a/b"])
def test_an_unusable_instance_name_is_refused(name: str) -> None:
    with pytest.raises(DevclusterError, match="give at most 32 lower-case letters, digits and hyphens"):
        layout.instance_layout(Path("/src"), name)


def test_ports_are_distinct_and_below_node_and_ephemeral_ports() -> None:
    ports = layout.choose_ports(Path("/src/.devcluster"), lambda _: True)
    assert set(ports) == set(layout.PORT_NAMES)
    assert len(set(ports.values())) == len(ports)
    assert all(layout.FIRST_PORT <= port <= layout.LAST_PORT for port in ports.values())


def test_the_same_instance_gets_the_same_ports_and_another_one_others() -> None:
    def first(name: str) -> dict[str, int]:
        return layout.choose_ports(Path(name), lambda _: True)

    assert first("/src/.devcluster") == first("/src/.devcluster")
    assert set(first("/src/.devcluster").values()).isdisjoint(first("/src/.devcluster-bench").values())


def test_a_block_with_one_taken_port_is_passed_over() -> None:
    wanted = layout.choose_ports(Path("/src/.devcluster"), lambda _: True)
    taken = wanted["etcd-peer"]
    chosen = layout.choose_ports(Path("/src/.devcluster"), lambda port: port != taken)
    assert taken not in chosen.values()
    assert set(chosen.values()).isdisjoint(wanted.values())


def test_no_free_ports_are_told() -> None:
    with pytest.raises(DevclusterError, match="neighbouring TCP ports are free between 20000 and 29999"):
        layout.choose_ports(Path("/src"), lambda _: False)


def test_a_port_somebody_listens_at_is_not_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert not layout.port_is_free(port)


def test_the_cache_honours_the_environment() -> None:
    assert layout.cache_directory({"XDG_CACHE_HOME": "/c", "HOME": "/h"}) == Path("/c/modeldeploy-devcluster")
    assert layout.cache_directory({"HOME": "/h"}) == Path("/h/.cache/modeldeploy-devcluster")
