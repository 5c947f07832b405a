"""A small API server over real HTTP: lists in pages, watches, writes, and every fault that a watch can have.

It holds objects of any kind by their URL path. What it cannot show (schema, defaults, ownership of fields) is tested
on the devcluster.
"""

from __future__ import annotations

import asyncio
import copy
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from aiohttp import web
from kubernetes.aio.client.configuration import Configuration
from modeldeploy_operator.apiserver import ApiServer, Patience, item_path
from modeldeploy_operator.core.documents import MODEL_DEPLOYMENT, MODEL_VERSION, Document, Key, Kind

IMPATIENT = Patience(connect=1.0, answer=1.0, page=1.0, silence=30.0)
SOON_STALLED = replace(IMPATIENT, silence=0.4)


@dataclass
class Call:
    """One request that arrived."""

    method: str
    path: str
    query: dict[str, str]
    body: Any = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def verb(self) -> str:
        if self.method == "GET" and self.query.get("watch"):
            return "watch"
        return self.method.lower()


@dataclass
class Refusal:
    """What one call is answered with."""

    verb: str
    status: int
    reason: str
    message: str
    after: int


class SmallApiServer:
    """Its state may be changed directly, behind the client's back, by `put` and `remove`."""

    def __init__(self) -> None:
        self.objects: dict[str, Document] = {}
        self.version = 10
        self.compacted = 0
        self.calls: list[Call] = []
        self.answers: list[Refusal] = []
        self.mute = False
        self.away = False
        self.held: dict[str, asyncio.Event] = {}
        self.duplicate = False
        self._events: list[tuple[int, str, str, Document]] = []
        self._changed = asyncio.Event()
        self._streams: set[web.Request] = set()
        self._orders: dict[int, asyncio.Queue[Any]] = {}
        self.pages: dict[str, Document] = {}
        self.url = ""

    # ---- state

    def put(self, kind: Kind, name: str, namespace: str = "ml", **fields: Any) -> Document:
        """Create or change an object; a new one gets a new uid."""
        path = item_path(Key(kind, namespace, name))
        before = self.objects.get(path)
        self.version += 1
        metadata = {
            "name": name,
            "namespace": namespace,
            "uid": before["metadata"]["uid"] if before else f"uid-{self.version}",
            "resourceVersion": str(self.version),
            "managedFields": [{"manager": "somebody"}],
            **fields.pop("metadata", {}),
        }
        document = {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, **fields}
        self._store(path, "MODIFIED" if before else "ADDED", document)
        return document

    def remove(self, kind: Kind, name: str, namespace: str = "ml") -> None:
        """Delete an object."""
        path = item_path(Key(kind, namespace, name))
        document = copy.deepcopy(self.objects.pop(path))
        self.version += 1
        document["metadata"]["resourceVersion"] = str(self.version)
        self._events.append((self.version, "DELETED", path, document))
        self._changed.set()

    def _store(self, path: str, what: str, document: Document) -> None:
        self.objects[path] = copy.deepcopy(document)
        self._events.append((self.version, what, path, copy.deepcopy(document)))
        self._changed.set()

    def tell_kinds(self) -> None:
        """Serve as much of discovery as kopf waits for."""
        ours = [_resource(kind.plural, kind.kind, namespaced=True) for kind in (MODEL_DEPLOYMENT, MODEL_VERSION)]
        core = [_resource("namespaces", "Namespace", namespaced=False), _resource("events", "Event", namespaced=True)]
        crds = [_resource("customresourcedefinitions", "CustomResourceDefinition", namespaced=False)]
        groups = []
        for name, version, resources in (("modeldeploy.dev", "v1alpha1", ours), ("apiextensions.k8s.io", "v1", crds)):
            told = {"groupVersion": f"{name}/{version}", "version": version}
            groups.append({"name": name, "versions": [told], "preferredVersion": told})
            self.pages[f"/apis/{name}/{version}"] = {"groupVersion": f"{name}/{version}", "resources": resources}
        self.pages["/apis"] = {"kind": "APIGroupList", "groups": groups}
        self.pages["/api"] = {"kind": "APIVersions", "versions": ["v1"]}
        self.pages["/api/v1"] = {"groupVersion": "v1", "resources": core}

    # ---- faults

    def compact(self) -> None:
        """Forget history: a watch from an earlier version is answered with 410."""
        self.compacted = self.version
        self._events.clear()

    def answer_next(self, verb: str, status: int, reason: str = "", message: str = "no", *, after: int = 0) -> None:
        """Refuse a call of that verb (get, watch, post, patch, put, delete): the next one, or the one `after` more."""
        self.answers.append(Refusal(verb, status, reason, message, after))

    def order(self, what: Any) -> None:
        """To every open watch: "cut", or an event to send as it is."""
        for queue in self._orders.values():
            queue.put_nowait(what)
        self._changed.set()

    def bookmark(self) -> None:
        self.order({"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": str(self.version)}}})

    @property
    def watching(self) -> int:
        return len(self._orders)

    def count(self, verb: str) -> int:
        return sum(1 for call in self.calls if call.verb == verb)

    # ---- HTTP

    async def handle(self, request: web.Request) -> web.StreamResponse:
        text = await request.text()
        body = json.loads(text) if text else None
        call = Call(request.method, request.path, dict(request.query), body, dict(request.headers))
        self.calls.append(call)
        if (gate := self.held.get(call.path.rpartition("/")[0].rpartition("/")[2])) is not None:
            await gate.wait()
        if self.away:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        refusal = next((refusal for refusal in self.answers if refusal.verb == call.verb), None)
        if refusal is not None and refusal.after > 0:
            refusal.after -= 1
        elif refusal is not None:
            self.answers.remove(refusal)
            return _status(refusal.status, refusal.reason, refusal.message)
        if request.path in self.pages:
            return web.json_response(self.pages[request.path])
        match call.verb:
            case "watch":
                return await self._watch(request, call)
            case "get" if request.path in self.objects:
                return web.json_response(self.objects[request.path])
            case "get":
                return self._list(call)
            case "post":
                return self._create(call)
            case "patch":
                return self._patch(call)
            case "put":
                return self._replace(call)
            case _:
                return self._delete(call)

    def _list(self, call: Call) -> web.Response:
        if not any(call.path.endswith(plural) for plural in _PLURALS):
            return _status(404, "NotFound", f'"{call.path}" not found')
        found = [
            document
            for path, document in sorted(self.objects.items())
            if _within(path, call.path) and _selected(document, call.query.get("labelSelector"))
        ]
        start = int(call.query.get("continue") or 0)
        limit = int(call.query.get("limit") or len(found) or 1)
        page = [_shown(document, call.headers) for document in found[start : start + limit]]
        metadata = {"resourceVersion": str(self.version)}
        if start + limit < len(found):
            metadata["continue"] = str(start + limit)
        for item in page:
            if "Partial" not in item.get("kind", ""):
                item.pop("kind"), item.pop("apiVersion")
        return web.json_response({"kind": "List", "metadata": metadata, "items": page})

    async def _watch(self, request: web.Request, call: Call) -> web.StreamResponse:
        position = int(call.query["resourceVersion"])
        if position < self.compacted:
            return _status(410, "Expired", "too old resource version")
        response = web.StreamResponse()
        await response.prepare(request)
        orders: asyncio.Queue[Any] = asyncio.Queue()
        self._orders[id(request)] = orders
        try:
            while True:
                while not orders.empty():
                    order = orders.get_nowait()
                    if order == "cut":
                        assert request.transport is not None
                        request.transport.abort()
                        return response
                    await _send(response, order)
                for version, what, path, document in list(self._events):
                    if version <= position or self.mute:
                        continue
                    position = version
                    if _within(path, call.path) and _selected(document, call.query.get("labelSelector")):
                        event = {"type": what, "object": _shown(document, call.headers)}
                        for _ in range(2 if self.duplicate else 1):
                            await _send(response, event)
                self._changed.clear()
                await self._changed.wait()
                await asyncio.sleep(0)
        except ConnectionError:
            return response
        finally:
            self._orders.pop(id(request), None)

    def _create(self, call: Call) -> web.Response:
        path = f"{call.path}/{call.body['metadata']['name']}"
        if path in self.objects:
            return _status(409, "AlreadyExists", f"{path} already exists")
        return web.json_response(self._born(path, call.body), status=201)

    def _born(self, path: str, body: Document) -> Document:
        self.version += 1
        metadata = {**body["metadata"], "uid": f"uid-{self.version}", "resourceVersion": str(self.version)}
        document = {**body, "metadata": metadata}
        self._store(path, "ADDED", document)
        return document

    def _patch(self, call: Call) -> web.Response:
        status = call.path.endswith("/status")
        path = call.path.removesuffix("/status")
        stored = self.objects.get(path)
        wanted = call.body.get("metadata", {})
        if stored is None:
            if status or "merge" in call.headers.get("Content-Type", ""):
                return _status(404, "NotFound", f"{path} not found")
            body = {**call.body, "metadata": {k: v for k, v in wanted.items() if k != "resourceVersion"}}
            return web.json_response(self._born(path, body), status=201)
        if wanted.get("resourceVersion") not in (None, stored["metadata"]["resourceVersion"]):
            return _status(409, "Conflict", "the object has been modified; please apply your changes to the latest")
        if wanted.get("uid") not in (None, stored["metadata"]["uid"]):
            return _status(409, "Conflict", "Precondition failed: UID in precondition: a, UID in object meta: b")
        return web.json_response(self._changed_to(path, stored, call.body, status=status))

    def _changed_to(self, path: str, stored: Document, body: Document, *, status: bool) -> Document:
        changed = {
            **stored,
            **({"status": body["status"]} if status else {k: body[k] for k in body if k != "metadata"}),
        }
        if changed == stored and not status:
            return stored
        self.version += 1
        changed["metadata"] = {**stored["metadata"], **body.get("metadata", {}), "resourceVersion": str(self.version)}
        self._store(path, "MODIFIED", changed)
        return changed

    def _replace(self, call: Call) -> web.Response:
        stored = self.objects.get(call.path)
        if stored is None:
            return _status(404, "NotFound", f"{call.path} not found")
        if call.body["metadata"].get("resourceVersion") != stored["metadata"]["resourceVersion"]:
            return _status(409, "Conflict", "the object has been modified")
        return web.json_response(self._changed_to(call.path, stored, call.body, status=False))

    def _delete(self, call: Call) -> web.Response:
        stored = self.objects.get(call.path)
        if stored is None:
            return _status(404, "NotFound", f"{call.path} not found")
        wanted = (call.body or {}).get("preconditions", {}).get("uid")
        if wanted not in (None, stored["metadata"]["uid"]):
            return _status(409, "Conflict", f"Precondition failed: UID in precondition: {wanted}")
        self.version += 1
        gone = self.objects.pop(call.path)
        gone["metadata"]["resourceVersion"] = str(self.version)
        self._events.append((self.version, "DELETED", call.path, gone))
        self._changed.set()
        return web.json_response({"kind": "Status", "status": "Success", "details": {"uid": gone["metadata"]["uid"]}})


_PLURALS = (
    "pods", "configmaps", "secrets", "services", "deployments", "modeldeployments", "modelversions", "leases",
    "replicasets", "serviceaccounts", "horizontalpodautoscalers", "poddisruptionbudgets", "networkpolicies",
)  # fmt: skip


def _resource(plural: str, kind: str, *, namespaced: bool) -> Document:
    verbs = ["get", "list", "watch", "patch"]
    return {"name": plural, "singularName": kind.lower(), "kind": kind, "namespaced": namespaced, "verbs": verbs}


async def _send(response: web.StreamResponse, event: Any) -> None:
    await response.write(json.dumps(event).encode() + b"\n")


def _within(path: str, collection: str) -> bool:
    """Whether an object lies in a collection, of one namespace or of all."""
    own = path.rpartition("/")[0]
    if own == collection:
        return True
    before, namespaces, rest = own.partition("/namespaces/")
    return bool(namespaces) and f"{before}/{rest.partition('/')[2]}" == collection


def _selected(document: Document, selector: str | None) -> bool:
    if not selector:
        return True
    labels = document["metadata"].get("labels") or {}
    if "!=" in selector:
        name, _, value = selector.partition("!=")
        return labels.get(name) != value
    name, _, value = selector.partition("=")
    return labels.get(name) == value


def _shown(document: Document, headers: dict[str, str]) -> Document:
    if "PartialObjectMetadata" not in headers.get("Accept", ""):
        return copy.deepcopy(document)
    return {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": copy.deepcopy(document["metadata"]),
    }


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message}
    headers = {"Retry-After": "1"} if code == 429 else {}
    return web.json_response(body, status=code, headers=headers)


@asynccontextmanager
async def running(server: SmallApiServer) -> AsyncIterator[SmallApiServer]:
    """Serve on a free port of the loopback."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()


@asynccontextmanager
async def connected(server: SmallApiServer, patience: Patience = IMPATIENT) -> AsyncIterator[ApiServer]:
    """The operator's own client to it."""

    async def configure() -> Configuration:
        return Configuration(host=server.url)

    client = ApiServer(configure, count=lambda *_: None, patience=patience)
    try:
        yield client
    finally:
        await client.close()


def by_verb(calls: list[Call]) -> dict[str, int]:
    """How many calls there were of each verb."""
    counted: dict[str, int] = defaultdict(int)
    for call in calls:
        counted[call.verb] += 1
    return dict(counted)
