"""ClusterRegistry: resolves the models of a spec by ModelVersions, and registers new ones by pods.

I/O only: what a pod's status means, which version bytes are and when to try again is decided in the pure modules
beside this one. All state lies in the cluster (status.models, registration pods, ModelVersions), so a kill at any
moment loses nothing: every step is repeated under the same name, and finds what it did before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

from modeldeploy_operator.api.v1alpha1 import ModelDeployment
from modeldeploy_operator.cluster import AlreadyExists, Cluster
from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import CONFIG_MAP, MODEL_VERSION, POD, Document, Key
from modeldeploy_operator.core.facts import Images
from modeldeploy_operator.errors import ReconcileError, Stalled, Unavailable, Waiting
from modeldeploy_operator.registry.port import Resolution
from modeldeploy_operator.store import Store

from . import answer, backoff, outcome, request, version
from . import pod as pods
from .answer import Answer
from .pod import Attempt
from .request import Request

_REFUSED_SECONDS = 60.0
_COLLISION_SECONDS = 2.0
_TRIES_FOR_A_NUMBER = 100


class ClusterRegistry:
    """Keeps versions as ModelVersion objects in the deployment's own namespace."""

    def __init__(self, cluster: Cluster, store: Store, images: Images, clock: Callable[[], datetime]) -> None:
        self._cluster = cluster
        self._store = store
        self._images = images
        self._clock = clock

    async def resolve(self, deployment: ModelDeployment) -> Resolution:
        """See the port. At most three writes for a new source: its pod, its ModelVersion, the pod's removal."""
        requests = [request.of(deployment, model) for model in deployment.spec.models]
        answers = [await self._answer(asked) for asked in requests]
        tidied = await self._tidy(deployment, {given.pod for given in answers})
        return answer.together(answers, tidied)

    async def _answer(self, asked: Request) -> Answer:
        """One model's trouble must not keep the others from being registered, nor cost a pod that is at work."""
        try:
            return await (self._registered(asked) if asked.model.source is None else self._from_source(asked))
        except (Stalled, Waiting, Unavailable) as error:
            wait = _REFUSED_SECONDS if isinstance(error, Stalled) else error.retry_after
            return Answer(error, retry_after=wait, pod=asked.pod)

    async def _registered(self, asked: Request) -> Answer:
        """A version that the spec names: by number, or the latest of the moment at which it was asked for."""
        wanted, name = asked.model.version or "latest", asked.model.name
        found: Document | None = None
        if wanted != "latest":
            found = await self._version(asked, int(wanted))
        elif asked.answered is not None:
            found = await self._version(asked, asked.answered.version)
        if found is None:
            existing = self._versions(asked)
            if wanted != "latest" or not existing:
                return Answer(version.not_found(name, wanted, asked.namespace, existing))
            found = max(existing, key=version.number)
        return answer.resolved(asked, found["spec"], found["spec"]["uri"])

    async def _from_source(self, asked: Request) -> Answer:
        """The remembered version while nothing new is asked and it exists; otherwise a registration."""
        if asked.answered is not None:
            found = await self._version(asked, asked.answered.version)
            if found is not None and found["spec"]["digest"] == asked.answered.digest:
                return answer.resolved(asked, found["spec"], asked.uri)
        return await self._register(asked)

    async def _register(self, asked: Request) -> Answer:
        """One step of a registration, from where its pod stands."""
        pod = self._store.get(Key(POD, asked.namespace, asked.pod))
        if pod is None:
            return await self._first(asked)
        if not _usable(pod, asked.deployment):
            return replace(answer.reading(asked), retry_after=_COLLISION_SECONDS)
        match outcome.read(pod):
            case version.Content() as content:
                return await self._finished(asked, pod, content)
            case outcome.Going(started=True) as going:
                return answer.going(asked, pod, going)
            case outcome.Going() as going:
                return await self._not_started(asked, pod, going)
            case outcome.Failed() as failed:
                return await self._failed(asked, pod, failed)

    async def _finished(self, asked: Request, pod: Document, content: version.Content) -> Answer:
        """The pod stays until status remembers its result: a kill in between would read the source once more."""
        try:
            spec = await self._record(asked, content)
        except Stalled as refusal:
            if refusal.reason != "Invalid":
                raise
            return await self._failed(asked, pod, outcome.refused(pod, refusal))
        return replace(answer.resolved(asked, spec, asked.uri), retry_after=answer.MISSED_EVENT_SECONDS, pod=asked.pod)

    async def _first(self, asked: Request) -> Answer:
        source = await self._source_version(asked)
        return answer.no_config_map(asked) if source is None else await self._start(asked, Attempt(1, source))

    async def _not_started(self, asked: Request, pod: Document, going: outcome.Going) -> Answer:
        """Kept as long as it would be rendered the same today; a mended image or node selector gets a new pod."""
        source = await self._source_version(asked)
        if source is None:
            return answer.no_config_map(asked)
        attempt = Attempt(outcome.attempt_number(pod), source, pods.annotation(pod, pods.FAILURE_ANNOTATION))
        today = pods.registration_pod(asked, self._images, attempt)
        if today["metadata"]["annotations"] == _ours(pod):
            return answer.going(asked, pod, going)
        return await self._replace(asked, pod, attempt)

    async def _failed(self, asked: Request, pod: Document, failed: outcome.Failed) -> Answer:
        """Replaced after its rest, or at once when the ConfigMap that it read has changed."""
        source = await self._source_version(asked)
        if source is None:
            return answer.no_config_map(asked)
        number = outcome.attempt_number(pod)
        rest = backoff.remaining(number, failed.finished, self._clock())
        other_source = pods.annotation(pod, pods.SOURCE_ANNOTATION) != source
        if rest > 0 and not other_source:
            return answer.failed(asked, failed.failure, rest)
        following = Attempt(1 if other_source else number + 1, source, outcome.encode(failed.failure))
        return await self._replace(asked, pod, following)

    async def _replace(self, asked: Request, pod: Document, attempt: Attempt) -> Answer:
        await self._cluster.delete(Key(POD, asked.namespace, asked.pod), uid=pod["metadata"]["uid"])
        return await self._start(asked, attempt)

    async def _start(self, asked: Request, attempt: Attempt) -> Answer:
        wanted = pods.registration_pod(asked, self._images, attempt)
        calm = answer.going(asked, wanted, outcome.NEW)
        try:
            await self._cluster.create(wanted)
        except AlreadyExists:
            # Ours, not in the store yet; or one that is still going away. Either brings an event.
            return replace(calm, retry_after=_COLLISION_SECONDS)
        except Stalled as refusal:
            if "serviceaccount" not in refusal.message or "not found" not in refusal.message:
                raise
            # A namespace of a moment ago: its default account comes within a second or two.
            raise Waiting("ServiceAccountNotFound", refusal.message, retry_after=_COLLISION_SECONDS) from refusal
        return calm

    async def _record(self, asked: Request, content: version.Content) -> dict[str, Any]:
        """The spec of the version that this content is, created when there is none.

        The store may lag behind: the POST decides. A name that is taken is looked at, and is either this very
        content, registered by an earlier life of ours or by another deployment, or a reason to take the next number.
        """
        spec = version.content_spec(asked.model, content)
        existing = self._versions(asked)
        if same := version.same(existing, spec):
            return dict(same["spec"])
        number = version.chosen(existing, asked.memory, content.digest)
        for _ in range(_TRIES_FOR_A_NUMBER):
            wanted = version.document(asked.namespace, spec, number)
            try:
                return dict((await self._cluster.create(wanted))["spec"])
            except AlreadyExists:
                taken = await self._cluster.get(Key(MODEL_VERSION, asked.namespace, wanted["metadata"]["name"]))
            if taken is None:
                continue
            if version.identity(taken["spec"]) == version.identity(spec):
                return dict(taken["spec"])
            number = max(number + 1, version.following(existing, asked.memory))
        raise Unavailable("VersionConflict", f"No free version number for model {asked.model.name} near {number}.")

    async def _version(self, asked: Request, number: int) -> Document | None:
        """One version. What the store lacks is asked for: it may be younger than the store's news."""
        key = Key(MODEL_VERSION, asked.namespace, names.version_object(asked.model.name, number))
        return self._store.get(key) or await self._cluster.get(key)

    def _versions(self, asked: Request) -> list[Document]:
        """All versions of the model's name, found by the label, which the store has an index on."""
        found = self._store.select(MODEL_VERSION, asked.namespace, {names.MODEL_LABEL: asked.model.name})
        return [document for document in found if document["spec"]["model"] == asked.model.name]

    async def _source_version(self, asked: Request) -> str | None:
        """The resourceVersion of the ConfigMap that the source lies in, "" for other sources, None when it is absent.

        A pod whose ConfigMap is absent would hang in ContainerCreating, with the kubelet's growing pauses. A missing
        claim needs no such care: the scheduler says so, and goes on as soon as it comes.
        """
        name = request.config_map_of(asked.model)
        if name is None:
            return ""
        key = Key(CONFIG_MAP, asked.namespace, name)
        found = self._store.get(key) or await self._cluster.get(key)
        return None if found is None else str(found["metadata"].get("resourceVersion", ""))

    async def _tidy(self, deployment: ModelDeployment, kept: set[str | None]) -> float | None:
        """Remove pods whose result status remembers, and those of requests that nobody makes any more."""
        retry_after: float | None = None
        for document in self._store.owned_by(deployment.metadata.uid):
            metadata = document["metadata"]
            if document["kind"] != POD.kind or (metadata.get("labels") or {}).get(names.COMPONENT) != "registration":
                continue
            if metadata["name"] in kept or metadata.get("deletionTimestamp"):
                continue
            try:
                await self._cluster.delete(Key(POD, metadata["namespace"], metadata["name"]), uid=metadata["uid"])
            except ReconcileError:
                # The models are resolved whether or not the pod goes now.
                retry_after = answer.MISSED_EVENT_SECONDS
        return retry_after


def _usable(pod: Document, deployment: ModelDeployment) -> bool:
    """Not of a deployment of the same name that was deleted, and not going away."""
    owners = {owner["uid"] for owner in pod["metadata"].get("ownerReferences") or []}
    return deployment.metadata.uid in owners and not pod["metadata"].get("deletionTimestamp")


def _ours(pod: Document) -> dict[str, str]:
    """The annotations that we render; a cluster's own tools may have added theirs."""
    return {name: value for name in pods.ANNOTATIONS if (value := pods.annotation(pod, name))}
