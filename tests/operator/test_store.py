"""The store: what writes and watches tell of the same object, in any order, comes to one truth."""

from __future__ import annotations

from modeldeploy_operator.core.documents import MODEL_VERSION, POD, SECRET, Document, Key
from modeldeploy_operator.store import Store

KEY = Key(POD, "ml", "a")


def pod(
    version: int, *, uid: str = "u1", labels: dict[str, str] | None = None, owner: str | None = None, name: str = "a"
) -> Document:
    metadata: Document = {"name": name, "namespace": "ml", "uid": uid, "resourceVersion": str(version)}
    if labels:
        metadata["labels"] = labels
    if owner:
        metadata["ownerReferences"] = [{"uid": owner}]
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}


def version(store: Store, key: Key = KEY) -> str | None:
    found = store.get(key)
    return None if found is None else found["metadata"]["resourceVersion"]


def test_the_answer_to_a_write_is_seen_before_the_watch_tells_it() -> None:
    store = Store([POD])
    store.absorb(pod(7))
    assert version(store) == "7"


def test_what_was_absorbed_is_still_news_when_the_watch_confirms_it_but_only_once() -> None:
    store = Store([POD])
    store.absorb(pod(7))
    assert store.put(KEY, pod(7))[1] is True
    assert store.put(KEY, pod(7))[1] is False


def test_an_older_event_does_not_undo_a_newer_answer() -> None:
    store = Store([POD])
    store.absorb(pod(7))
    assert store.put(KEY, pod(6))[1] is False
    assert version(store) == "7"


def test_a_late_event_about_what_we_deleted_does_not_bring_it_back() -> None:
    store = Store([POD])
    store.put(KEY, pod(5))
    store.forget(KEY, "u1")
    assert store.put(KEY, pod(6))[1] is False
    assert version(store) is None


def test_a_successor_of_what_we_deleted_is_believed() -> None:
    store = Store([POD])
    store.put(KEY, pod(5))
    store.forget(KEY, "u1")
    assert store.put(KEY, pod(9, uid="u2"))[1] is True
    assert version(store) == "9"


def test_forgetting_a_former_object_spares_its_successor() -> None:
    store = Store([POD])
    store.put(KEY, pod(9, uid="u2"))
    store.forget(KEY, "u1")
    assert version(store) == "9"


def test_kinds_that_nobody_watches_are_never_kept() -> None:
    store = Store([POD])
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "k", "namespace": "ml", "resourceVersion": "3"},
    }
    store.absorb(secret)
    store.forget(Key(SECRET, "ml", "k"), "u1")
    assert store.all(POD) == []


def test_selection_follows_labels_as_they_change() -> None:
    store = Store([POD], indexed_labels=("app",))
    store.put(KEY, pod(1, labels={"app": "x", "tier": "1"}))
    store.put(Key(POD, "ml", "b"), pod(2, uid="u2", name="b", labels={"app": "x", "tier": "2"}))
    assert [d["metadata"]["name"] for d in store.select(POD, "ml", {"app": "x"})] == ["a", "b"]
    assert [d["metadata"]["name"] for d in store.select(POD, "ml", {"app": "x", "tier": "2"})] == ["b"]
    assert [d["metadata"]["name"] for d in store.select(POD, "ml", {"tier": "1"})] == ["a"]
    assert store.select(POD, "other", {"app": "x"}) == []
    store.put(KEY, pod(3, labels={"app": "y"}))
    assert [d["metadata"]["name"] for d in store.select(POD, "ml", {"app": "x"})] == ["b"]
    store.discard(Key(POD, "ml", "b"), "u2")
    assert store.select(POD, "ml", {"app": "x"}) == []


def test_owners_are_followed_as_they_change() -> None:
    store = Store([POD, MODEL_VERSION])
    store.put(KEY, pod(1, owner="md"))
    assert [d["metadata"]["name"] for d in store.owned_by("md")] == ["a"]
    store.put(KEY, pod(2, owner="other"))
    assert store.owned_by("md") == []
    store.discard(KEY, "u1")
    assert store.owned_by("other") == []


def test_a_store_is_synced_once_every_source_is() -> None:
    store, done = Store([POD]), [False, False]
    store.add_source(lambda: done[0])
    store.add_source(lambda: done[1])
    done[0] = True
    assert not store.synced
    done[1] = True
    assert store.synced
