"""Which ModelDeployments must be looked at when something changes: the object itself, its owner, or who refers to it.

Only keys come out of here; what a change means is found out by the pass.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from modeldeploy_operator.core.documents import CONFIG_MAP, MODEL_DEPLOYMENT, MODEL_VERSION, Document, Key, key_of
from modeldeploy_operator.core.names import DEPLOYMENT_LABEL
from modeldeploy_operator.store import labels_of

SETTLE_SECONDS = 0.1
"""Children change in bursts; a pass over each burst is enough."""

REFERENCE_SECONDS = 0.5
"""What many deployments refer to may change often."""

Wake = Callable[[Key, float], None]


class Wakeups:
    """Remembers who refers to what, and calls `wake` with a key and the seconds that it may wait."""

    def __init__(self, wake: Wake) -> None:
        self._wake = wake
        self._referring: dict[Key, dict[Key, bool]] = {}

    def deployment_changed(self, before: Document | None, after: Document | None) -> None:
        """A ModelDeployment itself."""
        document = after or before
        if document is None:
            return
        key = key_of(document)
        for referred, _ in references(before) if before else ():
            members = self._referring.get(referred, {})
            members.pop(key, None)
            if not members:
                self._referring.pop(referred, None)
        for referred, made_here in references(after) if after else ():
            self._referring.setdefault(referred, {})[key] = made_here
        self._wake(key, 0.0)

    def child_changed(self, before: Document | None, after: Document | None) -> None:
        """Something that carries a deployment's label."""
        for document in (before, after):
            if document is not None and (owner := labels_of(document).get(DEPLOYMENT_LABEL)):
                self._wake(Key(MODEL_DEPLOYMENT, document["metadata"].get("namespace", ""), owner), SETTLE_SECONDS)

    def version_changed(self, before: Document | None, after: Document | None) -> None:
        """A ModelVersion. Those who registered it know that it has come, but not that it has gone."""
        document = after or before
        if document is not None:
            model = Key(MODEL_VERSION, document["metadata"].get("namespace", ""), document["spec"]["model"])
            self._wake_referring(model, news_for_makers=before is not None)

    def config_map_changed(self, before: Document | None, after: Document | None) -> None:
        """A ConfigMap of a user, of which the metadata is known."""
        document = after or before
        if document is not None:
            metadata = document["metadata"]
            config_map = Key(CONFIG_MAP, metadata.get("namespace", ""), metadata["name"])
            self._wake_referring(config_map, news_for_makers=True)

    def _wake_referring(self, referred: Key, *, news_for_makers: bool) -> None:
        for key, made_here in self._referring.get(referred, {}).items():
            if news_for_makers or not made_here:
                self._wake(key, REFERENCE_SECONDS)


def references(deployment: Document) -> Iterator[tuple[Key, bool]]:
    """What a deployment names, and whether it makes that itself: models (by name alone) and ConfigMaps."""
    namespace = deployment["metadata"].get("namespace", "")
    spec = deployment.get("spec") or {}
    for model in spec.get("models") or ():
        source = model.get("source")
        yield Key(MODEL_VERSION, namespace, model.get("name", "")), source is not None
        scheme, _, rest = ((source or {}).get("uri") or "").partition("://")
        if scheme == "configmap":
            yield _config_map(namespace, rest.partition("/")[0])
    if name := ((spec.get("code") or {}).get("configMapRef") or {}).get("name"):
        yield _config_map(namespace, name)


def _config_map(namespace: str, name: str) -> tuple[Key, bool]:
    return Key(CONFIG_MAP, namespace, name), False
