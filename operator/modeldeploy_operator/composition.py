"""Puts the parts together, and runs them from the first list to a clean end. No decision about any object."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp
import structlog

from modeldeploy_operator import access
from modeldeploy_operator.apiserver import ApiServer, Concurrency, Configure
from modeldeploy_operator.cluster import Cluster
from modeldeploy_operator.core import names, writing
from modeldeploy_operator.core.documents import (
    AUTOSCALER,
    CONFIG_MAP,
    DEPLOYMENT,
    DISRUPTION_BUDGET,
    LEASE,
    MODEL_DEPLOYMENT,
    MODEL_VERSION,
    NETWORK_POLICY,
    POD,
    REPLICA_SET,
    SERVICE,
    SERVICE_ACCOUNT,
    Document,
    Key,
    Kind,
)
from modeldeploy_operator.core.facts import Images
from modeldeploy_operator.handlers import Listener
from modeldeploy_operator.health import Health, health_app, metrics_app, serve
from modeldeploy_operator.informer import Informer, OnChange, Scope, Selector
from modeldeploy_operator.leadership import Leadership
from modeldeploy_operator.metrics import Metrics
from modeldeploy_operator.reconciler import Reconciler, Steps
from modeldeploy_operator.registry.cluster.adapter import ClusterRegistry
from modeldeploy_operator.settings import Settings
from modeldeploy_operator.statuses import Statuses
from modeldeploy_operator.store import Store
from modeldeploy_operator.targets.aks.adapter import AksPort
from modeldeploy_operator.targets.aks.code import CodeReader
from modeldeploy_operator.targets.aks.keys import KeyKeeper
from modeldeploy_operator.targets.aks.render import AksRenderer
from modeldeploy_operator.wakeups import SETTLE_SECONDS, Wakeups
from modeldeploy_operator.workqueue import Backoff, WorkQueue

log = structlog.get_logger(__name__)

LEASE_NAME = "modeldeploy-operator"
CHILDREN = (
    DEPLOYMENT, SERVICE, SERVICE_ACCOUNT, CONFIG_MAP, AUTOSCALER, DISRUPTION_BUDGET, NETWORK_POLICY, REPLICA_SET, POD,
)  # fmt: skip
CROWD = 50
CROWDED_SECONDS = 30.0
FINISH_SECONDS = 6.0
KOPF_CONNECTIONS = 16
CONCURRENCY = Concurrency(calls=8, apart={SERVICE.plural: 2})
"""The API server gives out cluster IPs one by one (a lock around a write to etcd, Kubernetes 1.34)."""


@dataclass(frozen=True)
class Parts:
    """A wired operator that does not run yet."""

    server: ApiServer
    store: Store
    queue: WorkQueue[Key]
    informers: tuple[Informer, ...]
    leadership: Leadership | None
    wakeups: Wakeups
    metrics: Metrics


def assemble(settings: Settings, configure: Configure = access.configuration) -> Parts:
    """Wire everything. Needs a running loop, makes no call."""
    metrics = Metrics()
    server = ApiServer(configure, count=metrics.count_call, concurrency=CONCURRENCY)
    store = Store(
        (MODEL_DEPLOYMENT, MODEL_VERSION, *CHILDREN), indexed_labels=(names.DEPLOYMENT_LABEL, names.MODEL_LABEL)
    )
    leadership = _leadership(settings, server, store) if settings.leader_election else None
    cluster = Cluster(server, store, may_write=leadership.may_write if leadership else _always)
    images = Images(
        settings.image_lean, settings.image_sklearn, settings.image_pull_policy, source_rules=settings.source_rules()
    )

    def patience() -> float:
        return CROWDED_SECONDS if len(queue) > CROWD else writing.SOON_SECONDS

    steps = Steps(
        registry=ClusterRegistry(cluster, store, images, _utc_now),
        keys=KeyKeeper(cluster, store, os.urandom),
        code=CodeReader(cluster, store),
        renderer=AksRenderer(),
        port=AksPort(cluster, store),
        statuses=Statuses(cluster, time.monotonic, patience),
        images=images,
    )
    reconciler = Reconciler(store, steps, _rfc3339_now)

    async def work(key: Key) -> None:
        began = time.perf_counter()
        verdict = await reconciler.reconcile(key)
        metrics.reconciles.labels(verdict.result).observe(time.perf_counter() - began)
        if verdict.failed:
            queue.retry(key, at_least=verdict.after or 0.0)
            return
        queue.forget(key)
        if verdict.after is not None:
            queue.add(key, verdict.after)

    queue: WorkQueue[Key] = WorkQueue(work, workers=settings.workers, clock=time.monotonic, backoff=Backoff())
    wakeups = Wakeups(queue.add)
    informers = _informers(settings, server, store, wakeups, metrics)
    _watch_figures(metrics, queue, store, leadership)
    return Parts(server, store, queue, informers, leadership, wakeups, metrics)


async def run(settings: Settings, stop: asyncio.Event) -> int:
    """Run until `stop`, or until another replica leads. Yields the exit code."""
    parts = assemble(settings)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(parts.server.close)
        await serve(stack, health_app(Health(parts.informers, time.monotonic)), settings.health_port)
        await serve(stack, metrics_app(parts.metrics.text), settings.metrics_port)
        background = [asyncio.create_task(informer.run(), name=str(informer)) for informer in parts.informers]
        if parts.leadership is not None:
            background.append(asyncio.create_task(parts.leadership.run(), name="leadership"))
        worker = asyncio.create_task(_work(parts, settings), name="work")
        stack.callback(_cancel, [*background, worker])
        return await _until_the_end(parts, background, worker, stop)


async def _until_the_end(
    parts: Parts, background: list[asyncio.Task[None]], worker: asyncio.Task[None], stop: asyncio.Event
) -> int:
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, worker, *background}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if parts.leadership is not None and parts.leadership.lost.is_set():
        return 1  # another replica writes: no farewell, not even the pass at hand
    for task in done - {stopping}:
        log.error("task.ended", task=task.get_name(), exc_info=task.exception())
    parts.queue.close()
    if parts.leadership is None or parts.leadership.gained.is_set():
        await asyncio.wait({worker}, timeout=FINISH_SECONDS)
    if parts.leadership is not None:
        await parts.leadership.release()
    return 0 if stopping in done else 1


async def _work(parts: Parts, settings: Settings) -> None:
    """Wait for a complete picture and for the Lease, then work off the queue."""
    await asyncio.gather(*(informer.listed.wait() for informer in parts.informers))
    log.info("store.synced", deployments=parts.store.count(MODEL_DEPLOYMENT))
    listener = _listener(parts, settings)
    listener.start()
    try:
        if parts.leadership is not None:
            await parts.leadership.gained.wait()
        await parts.queue.run()
    finally:
        listener.stop(seconds=1.0)


def _listener(parts: Parts, settings: Settings) -> Listener:
    loop = asyncio.get_running_loop()

    def heard(kind: Kind, document: Document) -> None:
        metadata = document["metadata"]
        if kind == MODEL_DEPLOYMENT:
            parts.queue.add(Key(kind, metadata.get("namespace", ""), metadata["name"]), SETTLE_SECONDS)
        else:
            parts.wakeups.version_changed(None, document)

    def tell(kind: Kind, document: Document) -> None:
        loop.call_soon_threadsafe(heard, kind, document)

    async def login() -> tuple[str, aiohttp.ClientSession]:
        found = await access.configuration()
        return str(found.host), access.session(found, connections=KOPF_CONNECTIONS, headers=await access.bearer(found))

    return Listener(tell, login, settings.watch_namespaces)


def _informers(
    settings: Settings, server: ApiServer, store: Store, wakeups: Wakeups, metrics: Metrics
) -> tuple[Informer, ...]:
    ours = Selector(names.MANAGED_BY, names.FIELD_MANAGER)
    theirs = Selector(names.MANAGED_BY, names.FIELD_MANAGER, negated=True)
    scopes: list[tuple[Scope, OnChange]] = []
    for namespace in settings.watch_namespaces or (None,):
        scopes.append((Scope(MODEL_DEPLOYMENT, namespace), wakeups.deployment_changed))
        scopes.append((Scope(MODEL_VERSION, namespace), wakeups.version_changed))
        scopes.extend((Scope(kind, namespace, ours), wakeups.child_changed) for kind in CHILDREN)
        scopes.append((Scope(CONFIG_MAP, namespace, theirs, metadata_only=True), wakeups.config_map_changed))
    return tuple(
        Informer(server, store, scope, _counted(metrics, scope.kind, on_change)) for scope, on_change in scopes
    )


def _counted(metrics: Metrics, kind: Kind, on_change: OnChange) -> OnChange:
    counter = metrics.watch_changes.labels(kind.kind)

    def counted(before: Document | None, after: Document | None) -> None:
        counter.inc()
        on_change(before, after)

    return counted


def _leadership(settings: Settings, server: ApiServer, store: Store) -> Leadership:
    return Leadership(
        Cluster(server, store, may_write=_always),
        Key(LEASE, settings.namespace, LEASE_NAME),
        settings.identity(),
        clock=time.monotonic,
        now=_utc_now,
    )


def _watch_figures(metrics: Metrics, queue: WorkQueue[Key], store: Store, leadership: Leadership | None) -> None:
    metrics.watch("modeldeploy_queue_depth", "ModelDeployments that wait to be looked at.", lambda: len(queue))
    metrics.watch("modeldeploy_queue_active", "ModelDeployments that are looked at.", lambda: queue.active)
    metrics.watch(
        "modeldeploy_deployments", "ModelDeployments in the watched namespaces.", lambda: store.count(MODEL_DEPLOYMENT)
    )
    metrics.watch(
        "modeldeploy_leading", "1 while this replica may write.", lambda: int(leadership is None or leadership.leading)
    )


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _always() -> None:
    """Without a Lease there is but one replica."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _rfc3339_now() -> str:
    return _utc_now().strftime("%Y-%m-%dT%H:%M:%SZ")
