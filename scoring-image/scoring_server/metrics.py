"""Counters and histograms, and their Prometheus text. Written from the event loop's thread only, so no locks.

The usual client library costs a tenth of a second of start-up and several microseconds an observation; what is
needed here is a handful of integers.
"""

from __future__ import annotations

import os
import resource
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

BOUNDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)

_TEXT_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


class Histogram:
    """Seconds in fixed buckets; one list increment an observation."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(BOUNDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(BOUNDS, seconds)] += 1
        self.total += seconds


class Stages:
    """Where the time of one model's requests goes."""

    __slots__ = ("decode", "encode", "queue", "run")

    def __init__(self) -> None:
        self.queue = Histogram()
        self.decode = Histogram()
        self.run = Histogram()
        self.encode = Histogram()

    def observe(self, queue: float, decode: float, run: float, encode: float) -> None:
        self.queue.observe(queue)
        self.decode.observe(decode)
        self.run.observe(run)
        self.encode.observe(encode)

    def items(self) -> tuple[tuple[str, Histogram], ...]:
        return ("queue", self.queue), ("decode", self.decode), ("run", self.run), ("encode", self.encode)


class Metrics:
    """Everything `/metrics` shows. `gauges` are read when somebody asks."""

    def __init__(self, started: float) -> None:
        self.requests: dict[tuple[str, int], int] = {}
        self.errors: dict[str, int] = {}
        self.duration = Histogram()
        self.stages: dict[str, Stages] = {}
        self.load_seconds: dict[str, float] = {}
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._started = started

    def count(self, path: str, status: int) -> None:
        key = (path, status)
        self.requests[key] = self.requests.get(key, 0) + 1

    def count_error(self, reason: str) -> None:
        self.errors[reason] = self.errors.get(reason, 0) + 1

    def stages_of(self, model: str) -> Stages:
        return self.stages.setdefault(model, Stages())

    def exposition(self) -> bytes:
        return ("\n".join(self._lines()) + "\n").encode()

    def _lines(self) -> Iterator[str]:
        yield from _head("scoring_requests_total", "counter", "Requests answered, by path and status code.")
        for (path, status), count in sorted(self.requests.items()):
            yield f"scoring_requests_total{_labels({'path': path, 'code': str(status)})} {count}"
        yield from _head("scoring_errors_total", "counter", "Scoring requests that failed, by reason.")
        for reason, count in sorted(self.errors.items()):
            yield f"scoring_errors_total{_labels({'reason': reason})} {count}"
        name = "scoring_request_duration_seconds"
        yield from _head(name, "histogram", "Time from a complete scoring request to its answer.")
        yield from _histogram(name, {}, self.duration)
        name = "scoring_stage_duration_seconds"
        yield from _head(name, "histogram", "Time of scoring requests by model and stage.")
        for model, stages in sorted(self.stages.items()):
            for stage, histogram in stages.items():
                yield from _histogram(name, {"model": model, "stage": stage}, histogram)
        yield from _head("scoring_model_load_seconds", "gauge", "Time to load the model, init() included.")
        for model, seconds in sorted(self.load_seconds.items()):
            yield f"scoring_model_load_seconds{_labels({'model': model})} {seconds:.6f}"
        for name, (text, read) in sorted(self.gauges.items()):
            yield from _head(name, "gauge", text)
            yield f"{name} {read():g}"
        yield from self._process()

    def _process(self) -> Iterator[str]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        yield from _head("process_cpu_seconds_total", "counter", "User and system CPU time of the process.")
        yield f"process_cpu_seconds_total {usage.ru_utime + usage.ru_stime:.3f}"
        yield from _head("process_resident_memory_bytes", "gauge", "Resident memory of the process.")
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        yield f"process_resident_memory_bytes {pages * os.sysconf('SC_PAGE_SIZE')}"
        yield from _head("process_start_time_seconds", "gauge", "Start of the process, in seconds since 1970.")
        yield f"process_start_time_seconds {self._started:.3f}"


def _head(name: str, kind: str, text: str) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"


def _histogram(name: str, labels: Mapping[str, str], histogram: Histogram) -> Iterator[str]:
    cumulative = 0
    for bound, count in zip((*map(str, BOUNDS), "+Inf"), histogram.counts, strict=True):
        cumulative += count
        yield f"{name}_bucket{_labels({**labels, 'le': bound})} {cumulative}"
    yield f"{name}_sum{_labels(labels)} {histogram.total:.9f}"
    yield f"{name}_count{_labels(labels)} {cumulative}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{value.translate(_TEXT_ESCAPES)}"' for name, value in labels.items()) + "}"
