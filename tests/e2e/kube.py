"""A small client of the Kubernetes API for tests: plain documents, waiting for conditions, failures that explain.

It stands on a kubeconfig and knows nothing of the product but the names of its kinds.
"""

from __future__ import annotations

import json
import secrets
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

import httpx
from kubernetes import client, config

Document = dict[str, Any]
T = TypeVar("T")

FIELD_MANAGER = "e2e"
POLL_SECONDS = 0.2
END_MARK = "e2e/end-of-recording"

_CORE = "api/v1"
COLLECTIONS: Mapping[str, tuple[str, str]] = {
    "ModelDeployment": ("apis/modeldeploy.dev/v1alpha1", "modeldeployments"),
    "ModelVersion": ("apis/modeldeploy.dev/v1alpha1", "modelversions"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "ReplicaSet": ("apis/apps/v1", "replicasets"),
    "HorizontalPodAutoscaler": ("apis/autoscaling/v2", "horizontalpodautoscalers"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "EndpointSlice": ("apis/discovery.k8s.io/v1", "endpointslices"),
    "ClusterRole": ("apis/rbac.authorization.k8s.io/v1", "clusterroles"),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles"),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions"),
    "Pod": (_CORE, "pods"),
    "Service": (_CORE, "services"),
    "ServiceAccount": (_CORE, "serviceaccounts"),
    "Secret": (_CORE, "secrets"),
    "ConfigMap": (_CORE, "configmaps"),
    "Event": (_CORE, "events"),
    "Namespace": (_CORE, "namespaces"),
    "Node": (_CORE, "nodes"),
    "ResourceQuota": (_CORE, "resourcequotas"),
    "PersistentVolume": (_CORE, "persistentvolumes"),
    "PersistentVolumeClaim": (_CORE, "persistentvolumeclaims"),
}

CHILD_KINDS = (
    "Deployment", "ReplicaSet", "Pod", "Service", "HorizontalPodAutoscaler", "PodDisruptionBudget", "NetworkPolicy",
    "ServiceAccount", "Secret", "ConfigMap",
)  # fmt: skip


class ApiError(AssertionError):
    """The API server's refusal, in its own words."""

    def __init__(self, method: str, path: str, response: httpx.Response) -> None:
        try:
            self.message = str(response.json().get("message", response.text))
        except ValueError:
            self.message = response.text
        self.status = response.status_code
        super().__init__(f"{method} {path}: {self.status} {self.message}")


def condition(document: Document | None, kind: str) -> Document:
    """One condition of an object's status; empty where there is none."""
    conditions = ((document or {}).get("status") or {}).get("conditions") or []
    return next((c for c in conditions if c["type"] == kind), {})


def is_ready(document: Document | None) -> bool:
    """Ready for the spec as it is now, not for an earlier one."""
    if document is None:
        return False
    current = (document.get("status") or {}).get("observedGeneration") == document["metadata"]["generation"]
    return current and condition(document, "Ready").get("status") == "True"


def owned_by(document: Document, uid: str) -> bool:
    """Whether the object carries an ownerReference to that uid."""
    return any(owner["uid"] == uid for owner in document["metadata"].get("ownerReferences", []))


class Kube:
    """One connection pool to one cluster. Methods raise ApiError; a 404 of `get` and `delete` is None."""

    def __init__(self, kubeconfig: str) -> None:
        settings = client.Configuration()
        config.load_kube_config(kubeconfig, client_configuration=settings, persist_config=False)
        context = ssl.create_default_context(cafile=settings.ssl_ca_cert)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file)
        token = settings.api_key.get("authorization")
        self.kubeconfig = kubeconfig
        self.explain: Callable[[str], str] = lambda namespace: ""
        self._http = httpx.Client(
            base_url=settings.host,
            verify=context,
            headers={"Authorization": token} if token else {},
            timeout=httpx.Timeout(30, connect=5),
            limits=httpx.Limits(max_connections=64),
        )

    def close(self) -> None:
        self._http.close()

    # -- requests -----------------------------------------------------------------------------------------------

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request, repeated only where the server says it is too busy."""
        for _ in range(20):
            response = self._http.request(method, path, **options)
            if response.status_code != 429:
                break
            time.sleep(POLL_SECONDS)
        return response

    def call(self, method: str, path: str, **options: Any) -> Any:
        """The JSON of an answer, None for a 404, ApiError for any other refusal."""
        response = self.request(method, path, **options)
        if response.status_code == 404:
            return None
        if response.is_error:
            raise ApiError(method, path, response)
        return response.json()

    @staticmethod
    def path(kind: str, namespace: str | None = None, name: str | None = None) -> str:
        """The REST path of a collection or an object."""
        prefix, plural = COLLECTIONS[kind]
        parts = [prefix, *(("namespaces", namespace) if namespace else ()), plural, *((name,) if name else ())]
        return "/" + "/".join(parts)

    def get(self, kind: str, namespace: str | None, name: str) -> Document | None:
        found: Document | None = self.call("GET", self.path(kind, namespace, name))
        return found

    def must_get(self, kind: str, namespace: str | None, name: str) -> Document:
        """An object that has to be there."""
        found = self.get(kind, namespace, name)
        assert found is not None, f"no {kind} {namespace}/{name}\n{self.explain(namespace or '')}"
        return found

    def list(self, kind: str, namespace: str | None, selector: str = "") -> list[Document]:
        answer = self.call("GET", self.path(kind, namespace), params={"labelSelector": selector})
        return [{"kind": kind, **item} for item in (answer or {}).get("items", [])]

    def table(self, kind: str, namespace: str) -> tuple[list[Document], list[list[Any]]]:
        """What `kubectl get -o wide` prints: column definitions and the cells of each row."""
        headers = {"Accept": "application/json;as=Table;v=v1;g=meta.k8s.io"}
        answer = self.call("GET", self.path(kind, namespace), headers=headers)
        return answer["columnDefinitions"], [row["cells"] for row in answer.get("rows", [])]

    def create(self, document: Document) -> Document:
        metadata = document["metadata"]
        path = self.path(document["kind"], metadata.get("namespace"))
        made: Document | None = self.call("POST", path, json=document, params={"fieldManager": FIELD_MANAGER})
        assert made is not None, f"POST {path}: 404"
        return made

    def apply(self, document: Document, *, dry_run: bool = False) -> Document:
        """Server-side apply, as `kubectl apply --server-side --force-conflicts` does it."""
        metadata = document["metadata"]
        path = self.path(document["kind"], metadata.get("namespace"), metadata["name"])
        params = {"fieldManager": FIELD_MANAGER, "force": "true", **({"dryRun": "All"} if dry_run else {})}
        headers = {"Content-Type": "application/apply-patch+yaml"}
        applied: Document | None = self.call(
            "PATCH", path, content=json.dumps(document), params=params, headers=headers
        )
        assert applied is not None, f"PATCH {path}: 404"
        return applied

    def patch(self, kind: str, namespace: str | None, name: str, change: Document, subresource: str = "") -> Document:
        """A JSON merge patch, as `kubectl patch --type=merge` and `kubectl edit` send it."""
        path = self.path(kind, namespace, name) + (f"/{subresource}" if subresource else "")
        headers = {"Content-Type": "application/merge-patch+json"}
        changed: Document | None = self.call("PATCH", path, json=change, headers=headers)
        assert changed is not None, f"PATCH {path}: 404"
        return changed

    def delete(self, kind: str, namespace: str | None, name: str, *, grace: int | None = None) -> None:
        options: Document = {"propagationPolicy": "Background"}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        self.call("DELETE", self.path(kind, namespace, name), json=options)

    def log(self, namespace: str, pod: str, *, lines: int = 60, previous: bool = False) -> str:
        """The end of a pod's log, or why there is none."""
        params = {"tailLines": lines, "previous": str(previous).lower()}
        response = self.request("GET", self.path("Pod", namespace, pod) + "/log", params=params)
        return response.text

    # -- waiting ------------------------------------------------------------------------------------------------

    def wait(
        self, what: str, probe: Callable[[], T | None], *, namespace: str = "", seconds: float = 90, poll: float = 0.0
    ) -> T:
        """The probe's first truthy value. A server that does not answer is asked again until the time is up."""
        deadline = time.monotonic() + seconds
        trouble: Exception | None = None
        while True:
            try:
                found = probe()
                trouble = None
            except httpx.TransportError as error:
                found, trouble = None, error
            except ApiError as error:
                if error.status < 500:
                    raise
                found, trouble = None, error
            if found:
                return found
            if time.monotonic() >= deadline:
                raise AssertionError(
                    f"not within {seconds:g} s: {what}" + (f" (last: {trouble!r})" if trouble else "")
                    + f"\n{self.explain(namespace)}"
                )  # fmt: skip
            time.sleep(poll or POLL_SECONDS)

    def wait_gone(self, kind: str, namespace: str | None, name: str, *, seconds: float = 60) -> None:
        """Until the object is not there."""
        self.wait(
            f"{kind} {name} is gone",
            lambda: self.get(kind, namespace, name) is None,
            namespace=namespace or "",
            seconds=seconds,
        )

    def wait_ready(self, namespace: str, name: str, *, seconds: float = 120) -> Document:
        """The ModelDeployment once it is Ready for its present spec."""

        def probe() -> Document | None:
            found = self.get("ModelDeployment", namespace, name)
            return found if is_ready(found) else None

        return self.wait(f"ModelDeployment {name} is Ready", probe, namespace=namespace, seconds=seconds)

    def wait_condition(
        self,
        namespace: str,
        name: str,
        kind: str,
        test: Callable[[Document], bool],
        *,
        what: str = "as expected",
        seconds: float = 60,
    ) -> Document:
        """The ModelDeployment once its condition, of the present generation, passes the test."""

        def probe() -> Document | None:
            found = self.get("ModelDeployment", namespace, name)
            current = condition(found, kind)
            if found is None or current.get("observedGeneration") != found["metadata"]["generation"]:
                return None
            return found if test(current) else None

        return self.wait(f"{kind} of {name} is {what}", probe, namespace=namespace, seconds=seconds)

    # -- recording ----------------------------------------------------------------------------------------------

    @contextmanager
    def recording(self, kind: str, namespace: str, name: str) -> Iterator[list[Document]]:
        """Every state of one object while the block runs, by a watch; the last one is marked by an annotation."""
        selector = {"fieldSelector": f"metadata.name={name}"}
        version = self.call("GET", self.path(kind, namespace), params=selector)["metadata"]["resourceVersion"]
        seen: list[Document] = []
        trouble: list[str] = []
        mark = secrets.token_hex(4)
        started = threading.Event()

        def follow() -> None:
            params = {**selector, "watch": "true", "resourceVersion": version, "timeoutSeconds": "300"}
            timeout = httpx.Timeout(320, connect=5)
            with self._http.stream("GET", self.path(kind, namespace), params=params, timeout=timeout) as stream:
                started.set()
                for line in stream.iter_lines():
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        trouble.append(line)
                        return
                    seen.append(event["object"])
                    if event["object"]["metadata"].get("annotations", {}).get(END_MARK) == mark:
                        return
                trouble.append("the watch ended early")

        thread = threading.Thread(target=follow, daemon=True)
        thread.start()
        assert started.wait(10), "the watch did not start"
        yield seen
        self.patch(kind, namespace, name, {"metadata": {"annotations": {END_MARK: mark}}})
        thread.join(10)
        assert not thread.is_alive(), "the watch did not deliver the mark at its end"
        assert not trouble, trouble
