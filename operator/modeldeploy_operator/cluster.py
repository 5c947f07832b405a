"""Reads and writes of Kubernetes objects, with the API server's refusals sorted into the operator's errors.

Nothing is decided here beyond that. Answers of writes go straight into the store, so that the next pass sees them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from modeldeploy_operator.apiserver import (
    APPLY,
    MERGE,
    Answer,
    ApiServer,
    NoAnswer,
    Refused,
    Request,
    collection_path,
    item_path,
)
from modeldeploy_operator.core.documents import Document, Key, key_of
from modeldeploy_operator.core.names import FIELD_MANAGER
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting

UNFORCED = {"fieldManager": FIELD_MANAGER}
FORCED = {**UNFORCED, "force": "true"}
NO_VERSION = "1"


class AlreadyExists(ReconcileError):
    """A create met an object of that name. Whoever creates decides what that means."""


class Cache(Protocol):
    """Where the answers of writes go."""

    def absorb(self, document: Document) -> None:
        """An object as the API server has just stored it."""

    def forget(self, key: Key, uid: str) -> None:
        """An object that the API server has just removed."""


class Cluster:
    """The door to the API server. Every method raises only ReconcileError.

    `may_write` is asked before each write and raises Unavailable where another replica may be leading.
    """

    def __init__(self, server: ApiServer, cache: Cache, *, may_write: Callable[[], None]) -> None:
        self._server = server
        self._cache = cache
        self._may_write = may_write

    async def get(self, key: Key) -> Document | None:
        """The object as it is now, None where there is none."""
        try:
            document: Document = (await self._call(Request("get", key.kind.plural, "GET", item_path(key)), key)).body
        except _Absent:
            return None
        return document

    async def apply(self, document: Document) -> Document:
        """Server-side apply: the fields given here become ours, fields given formerly and not now are dropped.

        Fields that others have set otherwise are taken over.
        """
        return await self._apply(document, document)

    async def apply_new(self, document: Document) -> Document:
        """As `apply`, for an object that must not exist yet: AlreadyExists where one does, which stays untouched.

        A resourceVersion that no object can have makes the API server compare it, if there is anything to compare.
        """
        body = {**document, "metadata": {**document["metadata"], "resourceVersion": NO_VERSION}}
        try:
            return await self._apply(document, body)
        except Unavailable as error:
            if error.reason != "Conflict":
                raise
            raise AlreadyExists("AlreadyExists", f"{key_of(document)} exists already.") from error

    async def merge(self, key: Key, patch: Document) -> Document:
        """JSON merge patch: changes these fields and leaves server-side apply's ownership of all others alone."""
        request = Request("patch", key.kind.plural, "PATCH", item_path(key), UNFORCED, patch, content_type=MERGE)
        return self._remember((await self._write(request, key)).body)

    async def create(self, document: Document) -> Document:
        """POST. AlreadyExists where the name is taken."""
        key = key_of(document)
        path = collection_path(key.kind, key.namespace)
        made = (await self._write(Request("create", key.kind.plural, "POST", path, UNFORCED, document), key)).body
        return self._remember(made)

    async def replace(self, document: Document) -> Document:
        """PUT. metadata.resourceVersion must be the stored one, else Unavailable("Conflict")."""
        key = key_of(document)
        request = Request("update", key.kind.plural, "PUT", item_path(key), UNFORCED, document)
        return self._remember((await self._write(request, key)).body)

    async def apply_status(self, key: Key, uid: str, status: Document) -> Document | None:
        """Server-side apply of the whole status. None where the object is gone or was made anew."""
        body = {
            "apiVersion": key.kind.api_version,
            "kind": key.kind.kind,
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "status": status,
        }
        path = f"{item_path(key)}/status"
        request = Request("patch", f"{key.kind.plural}/status", "PATCH", path, FORCED, body, content_type=APPLY)
        try:
            return self._remember((await self._write(request, key)).body)
        except _Absent:
            return None

    async def delete(self, key: Key, uid: str | None = None) -> None:
        """Remove an object; gone already is a success. With a uid, an object made anew under the name is spared."""
        options: Document = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        request = Request("delete", key.kind.plural, "DELETE", item_path(key), body=options)
        try:
            answer = (await self._write(request, key)).body
        except _Absent:
            if uid is not None:
                self._cache.forget(key, uid)
            return
        if answer.get("kind") != "Status" and lingers(answer):
            self._remember(answer)
        elif gone := str((answer.get("details") or answer.get("metadata") or {}).get("uid") or uid or ""):
            self._cache.forget(key, gone)

    async def _apply(self, document: Document, body: Document) -> Document:
        key = key_of(document)
        request = Request("patch", key.kind.plural, "PATCH", item_path(key), FORCED, body, content_type=APPLY)
        return self._remember((await self._write(request, key)).body)

    async def _write(self, request: Request, key: Key) -> Answer:
        self._may_write()
        return await self._call(request, key)

    async def _call(self, request: Request, key: Key) -> Answer:
        try:
            return await self._server.call(request)
        except NoAnswer as error:
            raise Unavailable("ApiServerUnavailable", f"The Kubernetes API server gave no answer: {error}.") from error
        except Refused as error:
            raise reconcile_error(request.verb, key, error) from error

    def _remember(self, document: Document) -> Document:
        self._cache.absorb(document)
        return document


class _Absent(Stalled):
    """404 on one object. Callers for whom absence is an answer catch it."""


def lingers(document: Document) -> bool:
    """Whether a deleted object stays until somebody else has finished with it."""
    metadata = document.get("metadata") or {}
    return bool(metadata.get("finalizers") or metadata.get("deletionGracePeriodSeconds"))


def reconcile_error(verb: str, key: Key, refused: Refused) -> ReconcileError:  # noqa: PLR0911 - a table
    """Who must act on a refusal: the user, time, or nobody but the retry."""
    said = refused.message
    match refused.status:
        case 403 if "exceeded quota" in said:
            return Waiting("QuotaExceeded", f"{key} is held up by a quota: {said}", retry_after=10.0)
        case 403 if "because it is being terminated" in said:
            return Waiting("NamespaceTerminating", f"{key} cannot be made: {said}", retry_after=10.0)
        case 403:
            return Stalled("Forbidden", f"The operator may not {verb} {key}: {said}")
        case 404 if verb == "create" or "namespaces " in said:
            return Waiting("NamespaceMissing", f"{key} cannot be made: {said}", retry_after=10.0)
        case 404:
            return _Absent("NotFound", f"{key} is not there: {said}")
        case 409 if "Precondition failed: UID" in said:
            return _Absent("NotFound", f"{key} is another object by now: {said}")
        case 409 if refused.reason == "AlreadyExists":
            return AlreadyExists("AlreadyExists", f"{key} exists already.")
        case 409:
            return Unavailable("Conflict", f"{key} was changed by somebody else meanwhile: {said}")
        case 400 | 405 | 413 | 415 | 422:
            return Stalled("Invalid", f"The API server refuses {key}: {said}")
        case _:
            sentence = f"The Kubernetes API server cannot {verb} {key} now ({refused.status}): {said}"
            return Unavailable("ApiServerUnavailable", sentence, retry_after=refused.retry_after)
