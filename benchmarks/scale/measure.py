"""What is measured: when objects are Ready, what the operator's process used, and which calls it made."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from .fleet import NAMESPACE, Fleet

DEPLOYMENTS = f"/apis/modeldeploy.dev/v1alpha1/namespaces/{NAMESPACE}/modeldeployments"


def deployment(number: int) -> dict[str, Any]:
    """One of the fleet: an ONNX model without code, keys and autoscaling by default."""
    name = f"model-{number:05}"
    return {
        "apiVersion": "modeldeploy.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {
            "models": [{"name": name, "source": {"uri": f"https://models.example.com/{name}.onnx"}}],
            "target": {"aks": {}},
        },
    }


async def create(fleet: Fleet, count: int) -> None:
    """All of them at once, over 32 connections."""
    async with fleet.client() as client:

        async def one(number: int) -> None:
            answer = await client.post(DEPLOYMENTS, json=deployment(number))
            answer.raise_for_status()

        await asyncio.gather(*(one(number) for number in range(count)))


async def current(client: httpx.AsyncClient) -> AsyncIterator[dict[str, Any]]:
    """Every deployment as it is and as it changes, for ever: a list and a watch, again when the watch is closed."""
    while True:
        answer = await client.get(DEPLOYMENTS)
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            await asyncio.sleep(float(answer.headers.get("Retry-After", "1")))
            continue
        listed = answer.raise_for_status().json()
        for document in listed["items"]:
            yield document
        parameters = {"watch": "1", "resourceVersion": listed["metadata"]["resourceVersion"]}
        async with client.stream("GET", DEPLOYMENTS, params=parameters, timeout=None) as stream:
            async for line in stream.aiter_lines():
                event = json.loads(line)
                if event["type"] == "ERROR":
                    break
                yield event["object"]


async def all_ready(fleet: Fleet, count: int, watching: asyncio.Event) -> None:
    """Return once that many are Ready; print every tenth part."""
    ready: set[str] = set()
    told = 0
    started = time.monotonic()
    async with fleet.client() as client:
        asyncio.get_running_loop().call_later(1, watching.set)
        async for document in current(client):
            conditions = document.get("status", {}).get("conditions", [])
            if any(c["type"] == "Ready" and c["status"] == "True" for c in conditions):
                ready.add(document["metadata"]["name"])
            if len(ready) >= told + max(1, count // 10):
                told = len(ready)
                print(f"  {told} Ready after {time.monotonic() - started:.1f} s", flush=True)
            if len(ready) == count:
                return


class Process:
    """CPU seconds and the highest resident memory of one process, sampled four times a second."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self.peak_bytes = 0

    @property
    def cpu_seconds(self) -> float:
        """User and system time so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    async def sample(self) -> None:
        """Until cancelled."""
        while True:
            self.peak_bytes = max(self.peak_bytes, self._process.memory_info().rss)
            await asyncio.sleep(0.25)


def calls(audit_log: Path, user: str, since: int = 0) -> tuple[Counter[str], int]:
    """The user's calls by verb and resource from that byte on, and where the log now ends. Watches count as `watch`."""
    found: Counter[str] = Counter()
    with audit_log.open("rb") as file:
        file.seek(since)
        for line in file:
            event = json.loads(line)
            if event["user"]["username"] == user and "objectRef" in event:
                reference = event["objectRef"]
                resource = "/".join(filter(None, (reference["resource"], reference.get("subresource"))))
                found[f"{event['verb']} {resource}"] += 1
        return found, file.tell()


WRITES = ("create", "patch", "update", "delete", "deletecollection")


def writes(found: Counter[str]) -> int:
    """Calls that change something, Leases apart: they belong to the operator, not to an object."""
    return sum(n for call, n in found.items() if call.split()[0] in WRITES and not call.endswith(" leases"))


def reads(found: Counter[str]) -> int:
    """Gets and lists, Leases apart."""
    return sum(n for call, n in found.items() if call.split()[0] in ("get", "list") and not call.endswith(" leases"))
