"""What the operator counts about itself. Nothing is decided by these figures."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Metrics:
    """One registry of its own, so that tests and processes never share figures."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self.calls = Counter(
            "modeldeploy_api_calls",
            "Calls to the Kubernetes API server, by RBAC verb, resource and status.",
            ("verb", "resource", "code"),
            registry=self.registry,
        )
        self.reconciles = Histogram(
            "modeldeploy_reconcile_seconds",
            "Passes over one object, by result.",
            ("result",),
            buckets=SECONDS,
            registry=self.registry,
        )
        self.watch_changes = Counter(
            "modeldeploy_watch_changes", "Changes that watches told, by kind.", ("kind",), registry=self.registry
        )

    def count_call(self, verb: str, resource: str, code: str) -> None:
        """One call."""
        self.calls.labels(verb, resource, code).inc()

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """A figure that is asked for when it is read."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self.registry)
