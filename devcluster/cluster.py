"""A cluster's life: up, down, status, and single components stopped and started. The order of things is here."""

from __future__ import annotations

import datetime
import enum
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from devcluster import (
    addons,
    claim,
    components,
    configuration,
    health,
    images,
    layout,
    node,
    pki,
    prerequisites,
    process,
    programs,
    settings,
)
from devcluster.components import Component
from devcluster.errors import DevclusterError
from devcluster.layout import Layout
from devcluster.progress import Progress
from devcluster.settings import Extent, Settings

START_SECONDS = 90.0
# What a component needs of the caller's environment. ETCD_…, KUBECONFIG and the like must not reach it.
ENVIRONMENT = ("HOME", "LANG", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


def programs_of(extent: Extent) -> tuple[str, ...]:
    return ("kube", "helm", "metrics-server") if extent is Extent.FULL else ("kube", "helm")


class Rival(enum.Enum):
    """What to do when another checkout's cluster has this machine's kubelet."""

    REFUSE = "refuse"
    REPLACE = "replace"


def up(place: Layout, extent: Extent, *, rival: Rival, cache: Path, progress: Progress) -> Settings:
    """Starts what does not run yet; a running cluster is left as it is."""
    if extent is Extent.FULL:
        node.require_root()
        prerequisites.ensure(prerequisites.KUBELET, progress)
    programs.build(programs_of(extent), cache, progress)
    current = _existing(place, extent, progress)
    if extent is Extent.FULL:
        _claim_machine(place, rival, progress)
    if current is None:
        current = _create(place, extent, progress)
    programs.link(place.bin, programs.PROGRAMS, cache)
    _write_files(current, extent)
    for component in components.components(current):
        if component.name == "containerd":
            node.prepare_network(current)
        _ensure_running(current, component, progress)
        match component.name:
            case "kube-scheduler" if extent is Extent.FULL:
                addons.apply(current, progress)
            case "containerd":
                images.ensure_pause(current, cache, progress)
    if extent is Extent.FULL:
        with progress.part("node is Ready"):
            addons.wait_for_node(current)
        with progress.part("metrics API is available"):
            addons.wait_for_metrics(current)
    return current


def down(place: Layout, progress: Progress) -> None:
    """Stops everything and removes everything, also what a killed `up` or a deleted checkout left behind."""
    current = settings.read(place)
    full = claim.holder(claim.RECORD) == place
    if full:
        node.require_root()
    for component in reversed(components.components(current)) if current else ():
        if component.name == "containerd" and current:
            node.end_pods(current, progress)
        with progress.part(f"{component.name} stopped"):
            process.stop(_pid_file(place, component.name), component.stop_seconds)
    for lost in claim.alive(place):
        process.end(lost, 5)
    if full:
        with progress.part("node cleaned"):
            node.clean(place)
        claim.release(claim.RECORD, place)
    for directory in place.directories:
        if directory.exists():
            shutil.rmtree(directory)


def stop_component(place: Layout, name: str) -> None:
    component = components.component(_required(place), name)
    process.stop(_pid_file(place, component.name), component.stop_seconds)


def start_component(place: Layout, name: str, progress: Progress) -> None:
    current = _required(place)
    _ensure_running(current, components.component(current, name), progress)


def status(place: Layout) -> dict[str, Any]:
    """For a person and for a program: what runs, what answers, where the kubeconfig is."""
    current = settings.read(place)
    if current is None:
        return {"running": False, "root": str(place.root), "components": []}
    rows = []
    for component in components.components(current):
        running = process.recorded(_pid_file(place, component.name))
        rows.append(
            {
                "name": component.name,
                "pid": running.pid if running else None,
                "healthy": running is not None and health.answers(component.health),
                "log": str(_log(place, component.name)),
            }
        )
    return {
        "running": all(row["healthy"] for row in rows),
        "root": str(place.root),
        "extent": current.extent.value,
        "kubeconfig": str(place.kubeconfig),
        "server": current.server,
        "components": rows,
    }


def log_of(place: Layout, name: str) -> Path:
    return _log(place, components.component(_required(place), name).name)


def component_environment(environment: Mapping[str, str], component: Component) -> dict[str, str]:
    """The little of the caller's environment that a component gets; only containerd may go through a proxy."""
    names = ENVIRONMENT + (PROXIES if component.name == "containerd" else ())
    kept = {name: environment[name] for name in names if name in environment}
    return {"PATH": prerequisites.SYSTEM_PATH, **kept, **component.environment}


def _required(place: Layout) -> Settings:
    current = settings.read(place)
    if current is None:
        raise DevclusterError(f"No devcluster lies at {place.root}; start one with `python -m devcluster up`.")
    return current


def _existing(place: Layout, extent: Extent, progress: Progress) -> Settings | None:
    """The instance that lies there, unless it is of another boot, address or extent: then it is removed."""
    current = settings.read(place)
    if current is None:
        return None
    if current.extent is not extent:
        raise DevclusterError(
            f"{place.root} holds a {current.extent.value} cluster; `down` it first, or give another --instance."
        )
    if current.boot_id == settings.boot_id() and current.node_address == settings.node_address():
        return current
    progress.line("the machine was restarted or has another address: beginning afresh")
    down(place, progress)
    return None


def _claim_machine(place: Layout, rival: Rival, progress: Progress) -> None:
    holder = claim.holder(claim.RECORD)
    if holder is None:
        node.refuse_foreign_node()
    elif holder != place:
        if rival is Rival.REFUSE and claim.alive(holder):
            raise DevclusterError(
                f"Another devcluster with pods runs on this machine, in {holder.root}. Run `python -m devcluster down` "
                "in that checkout first, give --replace to have it ended, or take --control-plane-only."
            )
        progress.line(f"removing the devcluster of {holder.root}")
        down(holder, progress)
    claim.take(claim.RECORD, place)


def _create(place: Layout, extent: Extent, progress: Progress) -> Settings:
    roots = place.directories if extent is Extent.FULL else (place.root,)
    for directory in (*roots, place.config, place.logs, place.pids, place.bin):
        directory.mkdir(parents=True, exist_ok=True)
    created = Settings(
        layout=place,
        extent=extent,
        node_address=settings.node_address(),
        boot_id=settings.boot_id(),
        ports=layout.choose_ports(place.root, layout.port_is_free),
    )
    with progress.part("keys and certificates"):
        issuer = pki.write_all(place.pki, created.node_address, datetime.datetime.now(datetime.UTC))
        for name in pki.CLIENTS:
            text = pki.kubeconfig(created.server, issuer, pki.read_pair(place.pki, name))
            path = place.kubeconfig if name == "admin" else place.kubeconfig_of(name)
            pki.write_private(path, text.encode())
    settings.write(created)
    return created


def _write_files(current: Settings, extent: Extent) -> None:
    machine = node.machine(current) if extent is Extent.FULL else None
    texts = configuration.node_files(current, machine) if machine else {}
    for path, text in {**configuration.control_plane_files(current), **texts}.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        # kube-proxy ends itself when its file is written, even with what was there before.
        if not path.exists() or path.read_text() != text:
            path.write_text(text)


def _ensure_running(current: Settings, component: Component, progress: Progress) -> None:
    place = current.layout
    if process.recorded(_pid_file(place, component.name)) is not None and health.answers(component.health):
        return
    with progress.part(component.name):
        if process.recorded(_pid_file(place, component.name)) is None:
            process.start(
                component.command,
                component_environment(os.environ, component),
                _log(place, component.name),
                _pid_file(place, component.name),
            )
        health.wait(component, place, START_SECONDS)


def _pid_file(place: Layout, name: str) -> Path:
    return place.pids / f"{name}.json"


def _log(place: Layout, name: str) -> Path:
    return place.logs / f"{name}.log"
