"""The values that every component's flags and files are made from, and their record in state.json."""

from __future__ import annotations

import enum
import json
import socket
from dataclasses import dataclass
from pathlib import Path

from devcluster.errors import DevclusterError
from devcluster.layout import Layout

NODE_NAME = "devcluster"
SERVICE_CIDR = "10.96.0.0/16"
DNS_ADDRESS = "10.96.0.10"
CLUSTER_CIDR = "10.244.0.0/16"
# The controller manager gives the first node the first /24 of the cluster's range, and there is but one node.
NODE_CIDR = "10.244.0.0/24"
BRIDGE = "mdc0"
NETWORK = "modeldeploy-devcluster"


class Extent(enum.Enum):
    """How much of Kubernetes an instance runs."""

    FULL = "full"
    CONTROL_PLANE = "control-plane"


@dataclass(frozen=True)
class Settings:
    layout: Layout
    extent: Extent
    node_address: str
    boot_id: str
    ports: dict[str, int]

    @property
    def server(self) -> str:
        return f"https://{self.node_address}:{self.ports['apiserver']}"


def write(settings: Settings) -> None:
    document = {
        "extent": settings.extent.value,
        "nodeAddress": settings.node_address,
        "bootId": settings.boot_id,
        "ports": settings.ports,
    }
    unfinished = settings.layout.state.with_suffix(".unfinished")
    unfinished.write_text(json.dumps(document, indent=2) + "\n")
    unfinished.replace(settings.layout.state)


def read(layout: Layout) -> Settings | None:
    """The settings of the instance that lies there, None when there is none."""
    try:
        document = json.loads(layout.state.read_text())
    except FileNotFoundError:
        return None
    return Settings(
        layout=layout,
        extent=Extent(document["extent"]),
        node_address=document["nodeAddress"],
        boot_id=document["bootId"],
        ports=document["ports"],
    )


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def node_address() -> str:
    """The address that the machine would send from; connecting a UDP socket picks it and sends nothing."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("203.0.113.1", 9))
        except OSError as error:
            raise DevclusterError(
                f"The machine has no route to anywhere ({error}); the devcluster needs an address other than loopback."
            ) from error
        address = str(probe.getsockname()[0])
    if address.startswith("127."):
        raise DevclusterError("The machine has only a loopback address; the devcluster needs another one.")
    return address
