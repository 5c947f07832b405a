"""Which instance has this machine's one kubelet: bridge, iptables chains and control groups have machine-wide names."""

from __future__ import annotations

import json
from pathlib import Path

from devcluster import process
from devcluster.layout import Layout

RECORD = Path("/run/modeldeploy-devcluster.json")


def holder(record: Path) -> Layout | None:
    try:
        document = json.loads(record.read_text())
    except FileNotFoundError:
        return None
    return Layout(instance=document["instance"], root=Path(document["root"]), run=Path(document["run"]))


def take(record: Path, place: Layout) -> None:
    document = {"instance": place.instance, "root": str(place.root), "run": str(place.run)}
    record.write_text(json.dumps(document) + "\n")


def release(record: Path, place: Layout) -> None:
    if holder(record) == place:
        record.unlink()


def alive(place: Layout) -> list[process.Identity]:
    """The instance's processes by their command lines: also those whose record was lost with a deleted checkout."""
    programs, own = f"{place.bin}/", {str(place.config / "containerd.toml"), str(place.containerd_socket)}

    def belongs(arguments: list[str]) -> bool:
        return arguments[0].startswith(programs) or not own.isdisjoint(arguments)

    return process.matching(belongs)
