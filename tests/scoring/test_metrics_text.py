"""What /metrics says is what Prometheus reads; its own parser is the judge."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families
from scoring_server.metrics import BOUNDS, Metrics


def families(metrics: Metrics) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[tuple(sorted(sample.labels.items()))] = sample.value
    return found


def test_counters_and_gauges_come_out_as_they_went_in() -> None:
    metrics = Metrics(started=12.5)
    metrics.count("/score", 200)
    metrics.count("/score", 200)
    metrics.count("/score", 500)
    metrics.count_error("RunFailed")
    metrics.load_seconds['odd "name"\\\n'] = 0.25
    metrics.gauges["scoring_requests_in_flight"] = ("Running.", lambda: 3)
    found = families(metrics)
    assert found["scoring_requests_total"] == {
        (("code", "200"), ("path", "/score")): 2,
        (("code", "500"), ("path", "/score")): 1,
    }
    assert found["scoring_errors_total"] == {(("reason", "RunFailed"),): 1}
    assert found["scoring_model_load_seconds"] == {(("model", 'odd "name"\\\n'),): 0.25}
    assert found["scoring_requests_in_flight"] == {(): 3}
    assert found["process_start_time_seconds"] == {(): 12.5}
    assert found["process_resident_memory_bytes"][()] > 1e6


def test_a_histogram_is_cumulative_and_its_bounds_are_inclusive() -> None:
    metrics = Metrics(started=0)
    for seconds in (0.0001, 0.001, 0.2, 1000.0):
        metrics.stages_of("m").observe(seconds, 0.0, seconds, 0.0)
    found = families(metrics)["scoring_stage_duration_seconds_bucket"]
    buckets = {
        dict(labels)["le"]: value
        for labels, value in found.items()
        if ("stage", "run") in labels and ("model", "m") in labels
    }
    assert len(buckets) == len(BOUNDS) + 1
    assert (buckets["0.0005"], buckets["0.001"], buckets["0.25"], buckets["60.0"], buckets["+Inf"]) == (1, 2, 3, 3, 4)
    assert families(metrics)["scoring_stage_duration_seconds_sum"][("model", "m"), ("stage", "run")] == 1000.2011
