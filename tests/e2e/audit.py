"""The API server's audit log, read for what the operator asked of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import install
from tests.e2e.kube import Document

OPERATOR = f"system:serviceaccount:{install.NAMESPACE}:{install.OPERATOR}"

Right = tuple[str, str, str]
"""API group, resource with its subresource, verb."""


@dataclass(frozen=True)
class AuditLog:
    """The devcluster's log from some moment on."""

    path: Path
    offset: int

    def requests(self, namespace: str | None = None) -> list[Document]:
        """The operator's requests since then, each once; of one namespace, or all."""
        return list(self._requests(namespace))

    def _requests(self, namespace: str | None) -> Iterator[Document]:
        seen: set[str] = set()
        with self.path.open("rb") as file:
            file.seek(self.offset)
            for line in file:
                if not line.endswith(b"\n"):
                    return  # being written just now
                event = json.loads(line)
                about = event.get("objectRef")
                if event["user"]["username"] != OPERATOR or about is None or event["stage"] == "RequestReceived":
                    continue
                if event["auditID"] in seen or (namespace and about.get("namespace") != namespace):
                    continue
                seen.add(event["auditID"])
                yield event


def from_now_on(kubeconfig: str) -> AuditLog:
    """The part of the log that is yet to be written."""
    path = Path(kubeconfig).parent / "audit.log"
    if not path.exists():
        pytest.skip("no audit log beside the kubeconfig: the cluster is not a devcluster")
    return AuditLog(path, path.stat().st_size)


def rights(request: Document) -> set[Right]:
    """What a request needed: creating by server-side apply needs create beside patch."""
    about = request["objectRef"]
    resource = about["resource"] + (f"/{about['subresource']}" if about.get("subresource") else "")
    verbs = {request["verb"]}
    if request["verb"] == "patch" and request.get("responseStatus", {}).get("code") == 201:
        verbs.add("create")
    return {(about.get("apiGroup", ""), resource, verb) for verb in verbs}


def told(request: Document) -> str:
    """A request in one line."""
    about, status = request["objectRef"], request.get("responseStatus", {})
    where = "/".join(filter(None, (about.get("namespace"), about["resource"], about.get("name"))))
    return f"{request['requestReceivedTimestamp']} {request['verb']} {where} {status.get('code')}"
