"""What a model's URI needs of a pod: volumes to read it from, and ports to reach it by. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from modeldeploy_operator.core import names
from modeldeploy_operator.core.documents import Document

SOURCES_ROOT = "/sources"
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class SourceVolume:
    """A volume of the pod, and the read-only mount of it in the fetch container."""

    volume: Document
    mount: Document


def volumes(uris: Iterable[str]) -> tuple[SourceVolume, ...]:
    """One volume for each claim and each ConfigMap, however many models lie in it."""
    return tuple({made.mount["mountPath"]: made for made in _volumes(uris)}.values())


def ports(uris: Iterable[str]) -> tuple[int, ...]:
    """The TCP ports by which sources outside the cluster are reached."""
    found = {part.port or _DEFAULT_PORTS[part.scheme] for part in _network(uris) if _namespace(part, "") is None}
    return tuple(sorted(found))


def namespaces(uris: Iterable[str], own: str) -> tuple[str, ...]:
    """The namespaces of the Services that sources are read from.

    A policy is judged by the port of the pod behind a Service, which its URI does not tell.
    """
    found = {_namespace(part, own) for part in _network(uris)}
    return tuple(sorted(namespace for namespace in found if namespace is not None))


def _network(uris: Iterable[str]) -> Iterator[SplitResult]:
    return (part for part in map(urlsplit, uris) if part.scheme in _DEFAULT_PORTS)


def _namespace(part: SplitResult, own: str) -> str | None:
    """`store` is a Service of our own namespace, `store.ml.svc…` one of namespace ml; the rest is outside."""
    labels = (part.hostname or "").rstrip(".").split(".")
    if len(labels) == 1:
        return own
    return labels[1] if labels[2:3] == ["svc"] else None


def _volumes(uris: Iterable[str]) -> Iterator[SourceVolume]:
    for uri in uris:
        scheme, _, rest = uri.partition("://")
        name = rest.partition("/")[0]
        match scheme:
            case "pvc":
                source: Document = {"persistentVolumeClaim": {"claimName": name, "readOnly": True}}
            case "configmap":
                source = {"configMap": {"name": name}}
            case _:
                continue
        # Names of claims and ConfigMaps may be longer than a volume's, and hold dots.
        volume = f"{scheme}-{names.short_hash(name)}"
        yield SourceVolume(
            volume={"name": volume, **source},
            mount={"name": volume, "mountPath": f"{SOURCES_ROOT}/{scheme}/{name}", "readOnly": True},
        )
