"""What the watches have told, by key, owner and label: the only place where the operator looks things up.

It is written by informers, and by the answers to the operator's own writes, so that a pass never decides on a state
that it has itself already changed. No I/O enters.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from typing import Any

from modeldeploy_operator.core.documents import KINDS, Document, Key, Kind, key_of
from modeldeploy_operator.projection import kept

REMEMBERED_DELETIONS = 20_000


class Store:
    """Slim documents of every watched kind. Documents are shared: readers must not change them."""

    def __init__(self, kinds: Sequence[Kind], *, indexed_labels: Sequence[str] = ()) -> None:
        self._objects: dict[Kind, dict[Key, Document]] = {kind: {} for kind in kinds}
        self._indexed = tuple(indexed_labels)
        self._by_label: dict[tuple[Kind, str, str, str], dict[Key, None]] = {}
        self._by_owner: dict[str, dict[Key, None]] = {}
        self._absorbed: set[Key] = set()
        self._deleted: OrderedDict[str, None] = OrderedDict()
        self._sources: list[Callable[[], bool]] = []

    # ---- reading

    @property
    def synced(self) -> bool:
        """Whether every informer has listed its kind at least once. Before that, absence means nothing."""
        return all(source() for source in self._sources)

    def get(self, key: Key) -> Document | None:
        """The object, or None where there is none."""
        return self._objects[key.kind].get(key)

    def all(self, kind: Kind) -> list[Document]:
        """Every object of one kind."""
        return list(self._objects[kind].values())

    def keys(self, kind: Kind) -> Iterator[Key]:
        """The keys of one kind; do not await while iterating."""
        return iter(self._objects[kind])

    def count(self, kind: Kind) -> int:
        """How many objects of one kind there are."""
        return len(self._objects[kind])

    def owned_by(self, uid: str) -> list[Document]:
        """Every object with an ownerReference to this uid."""
        return [self._objects[key.kind][key] for key in self._by_owner.get(uid, ())]

    def select(self, kind: Kind, namespace: str, labels: Mapping[str, str]) -> list[Document]:
        """Objects of one kind and namespace that carry all these labels; quick for an indexed label."""
        objects = self._objects[kind]
        label = next((name for name in self._indexed if name in labels), None)
        keys = (
            [key for key in objects if key.namespace == namespace]
            if label is None
            else list(self._by_label.get((kind, namespace, label, labels[label]), ()))
        )
        found = (objects[key] for key in keys)
        return [document for document in found if labels.items() <= labels_of(document).items()]

    # ---- writing

    def add_source(self, synced: Callable[[], bool]) -> None:
        """An informer that must have listed before the store counts as synced."""
        self._sources.append(synced)

    def absorb(self, document: Document) -> None:
        """The answer to a write of our own. The watch repeats it later; until then a pass already sees it."""
        kind = KINDS.get((document.get("apiVersion", ""), document.get("kind", "")))
        if kind is None or kind not in self._objects:
            return
        key = key_of(document)
        if self._is_news(key, document):
            self._put(key, kept(document))
            self._absorbed.add(key)

    def forget(self, key: Key, uid: str) -> None:
        """The answer to a deletion of our own: late events about this very object are not believed any more."""
        if key.kind not in self._objects:
            return
        self._deleted[uid] = None
        while len(self._deleted) > REMEMBERED_DELETIONS:
            self._deleted.popitem(last=False)
        stored = self.get(key)
        if stored is not None and uid_of(stored) == uid:
            self._drop(key)

    def put(self, key: Key, document: Document) -> tuple[Document | None, bool]:
        """What a watch or a list tells: the document before, and whether anybody needs to hear of it."""
        before = self.get(key)
        if self._is_news(key, document):
            self._absorbed.discard(key)
            self._put(key, document)
            return before, True
        confirmed = key in self._absorbed and before is not None and version_of(before) == version_of(document)
        if confirmed:
            self._absorbed.discard(key)
        return before, confirmed

    def discard(self, key: Key, uid: str) -> Document | None:
        """What a watch or a list tells to be gone: the document that was dropped, None where it is not this one."""
        stored = self.get(key)
        if stored is None or uid_of(stored) != uid:
            return None
        self._drop(key)
        return stored

    def _is_news(self, key: Key, document: Document) -> bool:
        if uid_of(document) in self._deleted:
            return False
        stored = self._objects[key.kind].get(key)
        return stored is None or version_of(document) > version_of(stored)

    def _put(self, key: Key, document: Document) -> None:
        if key in self._objects[key.kind]:
            self._unindex(key)
        self._objects[key.kind][key] = document
        for owner in owners_of(document):
            self._by_owner.setdefault(owner, {})[key] = None
        for entry in self._label_entries(key, document):
            self._by_label.setdefault(entry, {})[key] = None

    def _drop(self, key: Key) -> None:
        self._unindex(key)
        self._absorbed.discard(key)
        del self._objects[key.kind][key]

    def _unindex(self, key: Key) -> None:
        document = self._objects[key.kind][key]
        for owner in owners_of(document):
            _take_out(self._by_owner, owner, key)
        for entry in self._label_entries(key, document):
            _take_out(self._by_label, entry, key)

    def _label_entries(self, key: Key, document: Document) -> list[tuple[Kind, str, str, str]]:
        labels = labels_of(document)
        return [(key.kind, key.namespace, label, labels[label]) for label in self._indexed if label in labels]


def _take_out(index: dict[Any, dict[Key, None]], entry: Hashable, key: Key) -> None:
    members = index.get(entry)
    if members is None:
        return
    members.pop(key, None)
    if not members:
        del index[entry]


def uid_of(document: Document) -> str:
    """metadata.uid."""
    return str(document["metadata"].get("uid", ""))


def version_of(document: Document) -> int:
    """metadata.resourceVersion as the number that it is: Kubernetes orders them since 1.35, and always has in fact."""
    return int(document["metadata"].get("resourceVersion") or 0)


def labels_of(document: Document) -> Mapping[str, str]:
    """metadata.labels, never None."""
    return document["metadata"].get("labels") or {}


def owners_of(document: Document) -> list[str]:
    """The uids in metadata.ownerReferences."""
    return [str(reference.get("uid", "")) for reference in document["metadata"].get("ownerReferences") or ()]
