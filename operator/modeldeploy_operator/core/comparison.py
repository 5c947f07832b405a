"""Whether an observed object already says everything that a desired document says.

Only what we send is compared: defaults of the API, fields of other managers and elements that others add to keyed
lists are none of our business. Nothing about particular kinds enters, but for the keys of their lists.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from modeldeploy_operator.core import quantities

# List fields that server-side apply merges by key instead of replacing, with their keys. A name that is missing here
# is compared by position and length, as the atomic lists of the API are.
_MERGE_KEYS: dict[str, tuple[str, ...]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "volumes": ("name",),
    "env": ("name",),
    "imagePullSecrets": ("name",),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
}
_PORT_KEYS = {"containerPort": ("containerPort", "protocol"), "targetPort": ("port", "protocol")}
# Maps whose values the API server rewrites to the canonical form of a quantity.
_QUANTITIES = frozenset({"requests", "limits", "sizeLimit"})


def satisfied(desired: object, observed: object) -> bool:
    """True when every field of `desired` is in `observed` with an equal value."""
    return difference(desired, observed) is None


def difference(desired: object, observed: object) -> str | None:
    """The path of the first field of `desired` that `observed` lacks or has otherwise; None without one."""
    return _difference(desired, observed, (), quantity=None)


def _difference(desired: object, observed: object, path: tuple[str, ...], quantity: str | None) -> str | None:
    # Documents are JSON: the concrete types are many times quicker to ask for than the abstract ones.
    if isinstance(desired, dict):
        return _mapping_difference(desired, observed, path, quantity)
    if isinstance(desired, list | tuple):
        return _list_difference(desired, observed, path)
    equal = type(desired) is type(observed) and desired == observed
    if equal or (quantity is not None and _same_quantity(desired, observed)):
        return None
    return ".".join(path)


def _mapping_difference(
    desired: Mapping[str, object], observed: object, path: tuple[str, ...], quantity: str | None
) -> str | None:
    if not isinstance(observed, dict):
        return ".".join(path)
    for name, value in desired.items():
        below = (*path, name)
        if name not in observed:
            return ".".join(below)
        # Only resources.requests and the like hold quantities; data of a ConfigMap may use the same words.
        is_quantity = name if name in _QUANTITIES and "data" not in path else quantity
        found = _difference(value, observed[name], below, is_quantity)
        if found is not None:
            return found
    return None


def _list_difference(desired: Sequence[object], observed: object, path: tuple[str, ...]) -> str | None:
    if not isinstance(observed, list | tuple):
        return ".".join(path)
    keys = _keys(path[-1] if path else "", desired)
    if keys is None:
        if len(desired) != len(observed):
            return ".".join(path)
        pairs = list(zip(desired, observed, strict=True))
    else:
        by_key = {_identity(element, keys): element for element in observed}
        pairs = [(element, by_key.get(_identity(element, keys))) for element in desired]
    for position, (wanted, found) in enumerate(pairs):
        unlike = _difference(wanted, found, (*path, str(position)), quantity=None)
        if unlike is not None:
            return unlike
    return None


def _keys(name: str, desired: Sequence[object]) -> tuple[str, ...] | None:
    if name == "ports":
        first = desired[0] if desired else None
        return next((keys for sign, keys in _PORT_KEYS.items() if isinstance(first, dict) and sign in first), None)
    return _MERGE_KEYS.get(name)


def _identity(element: object, keys: tuple[str, ...]) -> tuple[object, ...]:
    if not isinstance(element, dict):
        return (element,)
    return tuple(element.get(key, "TCP" if key == "protocol" else None) for key in keys)


def _same_quantity(desired: object, observed: object) -> bool:
    wanted = quantities.parse(desired)
    return wanted is not None and wanted == quantities.parse(observed)
