"""What a developer needs when a test on the cluster fails: status, children, pods, events, the operator's log."""

from __future__ import annotations

import httpx
import yaml

from tests.e2e import install
from tests.e2e.kube import CHILD_KINDS, ApiError, Document, Kube


def describe(kube: Kube, namespace: str) -> str:
    """The state of a namespace as text. It never raises: it is read when something has failed already."""
    parts = (_deployments, _children, _pods, _events, _operator)
    texts = []
    for part in parts:
        try:
            texts.append(part(kube, namespace))
        except (ApiError, httpx.HTTPError, KeyError) as error:
            texts.append(f"--- {part.__name__.strip('_')}: {error!r}")
    return "\n".join(text for text in texts if text)


def _deployments(kube: Kube, namespace: str) -> str:
    texts = []
    for found in kube.list("ModelDeployment", namespace):
        head = {"generation": found["metadata"]["generation"], "status": found.get("status")}
        texts.append(f"--- ModelDeployment {found['metadata']['name']}\n{yaml.safe_dump(head, sort_keys=False)}")
    return "\n".join(texts)


def _children(kube: Kube, namespace: str) -> str:
    names = [
        f"{kind}/{found['metadata']['name']}"
        for kind in ("ModelVersion", *CHILD_KINDS)
        for found in kube.list(kind, namespace)
    ]
    return f"--- objects: {', '.join(names)}"


def _pods(kube: Kube, namespace: str) -> str:
    texts = []
    for pod in kube.list("Pod", namespace):
        name, status = pod["metadata"]["name"], pod.get("status", {})
        texts.append(f"--- pod {name}: {status.get('phase')}")
        for c in status.get("conditions", []):
            if c["status"] != "True" and c.get("message"):
                texts.append(f"  {c['type']}={c['status']} {c.get('reason')}: {c['message']}")
        for c in (*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])):
            texts.append(f"  {c['name']} restarts={c['restartCount']} {_state(c)}")
            if not c.get("ready") and (c["state"].get("terminated") or c.get("lastState")):
                query = {"tailLines": 15, "container": c["name"]}
                answer = kube.request("GET", kube.path("Pod", namespace, name) + "/log", params=query)
                texts.extend(f"    | {line[:300]}" for line in answer.text.splitlines())
    return "\n".join(texts)


def _state(container: Document) -> str:
    last = container.get("lastState", {}).get("terminated")
    return f"{container['state']}" + (f" last={last}" if last else "")


def _events(kube: Kube, namespace: str) -> str:
    found = kube.list("Event", namespace)
    found.sort(key=lambda e: e.get("lastTimestamp") or e.get("eventTime") or "")
    lines = []
    for event in found[-20:]:
        when, about = event.get("lastTimestamp") or event.get("eventTime"), event["involvedObject"]
        said = event.get("message", "")[:300]
        lines.append(f"  {when} {about['kind']}/{about.get('name')} {event['reason']}: {said}")
    return "\n".join(["--- events", *lines])


def _operator(kube: Kube, namespace: str) -> str:
    return install.log_tail(kube, about="" if namespace == install.NAMESPACE else namespace)
