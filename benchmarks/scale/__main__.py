"""`make bench`: apply 1,000 ModelDeployments at once, wait, measure, leave them idle, measure again, write the page."""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .fleet import ROOT, STATE, Fleet, running
from .measure import Process, all_ready, calls, create, reads, writes

PAGE = ROOT / "docs" / "benchmarks" / "scale.md"
# KServe's controller on such a machine, as design notes have it: see the page.
KSERVE = (121, 21, 154, 33)


@dataclass(frozen=True)
class Outcome:
    """The figures of one run."""

    objects: int
    ready_seconds: float
    cpu_seconds: float
    peak_bytes: int
    found: Counter[str]
    idle_seconds: int
    idle_found: Counter[str]
    idle_cpu_seconds: float


@contextmanager
def running_operator(kubeconfig: Path) -> Iterator[Process]:
    """The operator as a process of this machine, with the rights of that kubeconfig."""
    environ = {
        **os.environ, "KUBECONFIG": str(kubeconfig), "MODELDEPLOY_IMAGE_LEAN": "scoring:lean",
        "MODELDEPLOY_IMAGE_SKLEARN": "scoring:sklearn", "MODELDEPLOY_NAMESPACE": "modeldeploy-system",
    }  # fmt: skip
    with (STATE / "logs" / "operator.log").open("w") as log:
        command = [sys.executable, "-m", "modeldeploy_operator"]
        operator = subprocess.Popen(command, env=environ, stdout=log, stderr=log, cwd=ROOT)
        try:
            yield Process(operator.pid)
        finally:
            operator.terminate()
            operator.wait(30)


async def measure(fleet: Fleet, kubeconfig: Path, objects: int, idle_seconds: int) -> Outcome:
    """One run against a fresh cluster."""
    audit = STATE / "audit.log"
    with running_operator(kubeconfig) as process:
        sampling = asyncio.create_task(process.sample())
        watching = asyncio.Event()
        ready = asyncio.create_task(all_ready(fleet, objects, watching))
        await watching.wait()
        print(f"applying {objects} ModelDeployments", flush=True)
        started = time.monotonic()
        await create(fleet, objects)
        print(f"  all applied after {time.monotonic() - started:.1f} s", flush=True)
        await asyncio.wait_for(ready, timeout=1800)
        seconds = time.monotonic() - started
        await asyncio.sleep(10)
        cpu, (found, end) = process.cpu_seconds, calls(audit, fleet.user)
        print(f"idle for {idle_seconds} s", flush=True)
        await asyncio.sleep(idle_seconds)
        idle, _ = calls(audit, fleet.user, end)
        sampling.cancel()
        spent = process.cpu_seconds - cpu
        return Outcome(objects, seconds, cpu, process.peak_bytes, found, idle_seconds, idle, spent)


def page(outcome: Outcome) -> str:
    """The page, as Markdown."""
    o = outcome
    seconds, cpu, memory, _ = KSERVE
    rows = [
        ("all Ready", f"{o.ready_seconds:.1f} s", f"{seconds} s"),
        ("CPU of the controller", f"{o.cpu_seconds:.1f} s", f"{cpu} s"),
        ("highest resident memory", f"{o.peak_bytes / 1e6:.0f} MB", f"{memory} MB"),
        ("API writes an object by the operator", f"{writes(o.found) / o.objects:.2f}", "not counted alone"),
        (f"writes in {o.idle_seconds} s without a change", str(writes(o.idle_found)), ""),
        (f"reads in {o.idle_seconds} s without a change", str(reads(o.idle_found)), ""),
        ("CPU while idle", f"{100 * o.idle_cpu_seconds / max(1, o.idle_seconds):.2f} % of a core", ""),
    ]
    table = "\n".join(f"| {name} | {ours} | {theirs} |" for name, ours, theirs in rows)
    by_call = "\n".join(
        f"| {call} | {count} | {count / o.objects:.2f} |"
        for call, count in sorted(o.found.items(), key=lambda x: -x[1])
    )
    return f"""# {o.objects} ModelDeployments at once

`make bench` wrote this page: {os.cpu_count()} cores, {platform.system()} {platform.machine()}. A real control plane
(API server with GOGC=400, controller manager, scheduler, etcd), kwok in place of nodes, the operator as one process
with exactly the rights that the chart grants. Every object is an ONNX model to register, with keys and autoscaling.
Registration pods report at once what a real one would; nothing is downloaded.

| | modeldeploy | KServe's controller |
|---|---|---|
{table}

KServe's figures were measured earlier on such a machine with 1,000 InferenceServices; they were not taken in this
run.

## Calls of the operator until all were Ready
| call | in all | an object |
|---|---|---|
{by_call}
"""


def main() -> int:
    """Parse the command line, measure, write the page."""
    parser = argparse.ArgumentParser(prog="benchmarks.scale", description=__doc__)
    parser.add_argument("--objects", type=int, default=1000, help="how many (default: 1000)")
    parser.add_argument("--idle-seconds", type=int, default=600, help="how long to watch them idle (default: 600)")
    options = parser.parse_args()
    with running() as (fleet, kubeconfig):
        outcome = asyncio.run(measure(fleet, kubeconfig, options.objects, options.idle_seconds))
    text = page(outcome)
    print(text)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(text)
    print(f"written to {PAGE.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
