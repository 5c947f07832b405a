"""Where a model's bytes lie: the URI, taken apart and checked, and the options of reading it. No I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from scoring_server import netguard
from scoring_server.source_errors import SourceError

_OBJECT_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}", re.ASCII)
_FILE_NAME_BYTES = 255

SCHEMES = ("http", "https", "pvc", "configmap")


@dataclass(frozen=True)
class HttpSource:
    """One file behind http or https."""

    location: netguard.Location

    def __str__(self) -> str:
        return str(self.location)

    @property
    def local_name(self) -> str:
        return self.location.file_name


@dataclass(frozen=True)
class VolumeSource:
    """A file or folder in a mounted volume: a claim (`pvc`) or one key of a ConfigMap (`configmap`)."""

    kind: str
    volume: str
    path: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind}://{'/'.join((self.volume, *self.path))}"

    @property
    def local_name(self) -> str:
        """Empty when the volume's root is meant: then its content lies in the version's folder itself."""
        return self.path[-1] if self.path else ""


Source = HttpSource | VolumeSource


@dataclass(frozen=True)
class Options:
    """How sources are read: `SCORING_*` of the environment, with the contract's defaults."""

    policy: netguard.Policy = field(default_factory=netguard.Policy)
    attempts: int = 4
    backoff_seconds: float = 1.0
    timeout_seconds: float = 30.0
    max_bytes: int = 50 << 30
    max_files: int = 10_000
    sources_root: Path = Path("/sources")
    models_root: Path = Path("/models")
    ca_file: str | None = None

    @staticmethod
    def from_environ(environ: Mapping[str, str]) -> Options:
        return Options(
            policy=netguard.Policy.from_environ(environ),
            attempts=int(_number(environ, "SCORING_FETCH_ATTEMPTS", default=4, least=1)),
            backoff_seconds=_number(environ, "SCORING_FETCH_BACKOFF_SECONDS", default=1, least=0),
            timeout_seconds=_number(environ, "SCORING_FETCH_TIMEOUT_SECONDS", default=30, least=0.001),
            max_bytes=int(_number(environ, "SCORING_SOURCE_MAX_BYTES", default=50 << 30, least=1)),
            sources_root=Path(environ.get("SCORING_SOURCES_ROOT") or "/sources"),
            models_root=Path(environ.get("SCORING_MODELS_ROOT") or "/models"),
            ca_file=environ.get("SSL_CERT_FILE") or None,
        )


def parse(uri: str) -> Source:
    """The source that the URI names, or a SourceError that says how it should be written."""
    scheme, separator, rest = uri.partition("://")
    match scheme.lower():
        case "http" | "https":
            source = HttpSource(netguard.parse(uri))
            _check_file_name(source.local_name, source)
            return source
        case "pvc":
            volume, path = _volume_and_path(rest, "pvc://<claim>/<file or folder>")
            return VolumeSource("pvc", volume, path)
        case "configmap":
            volume, path = _volume_and_path(rest, "configmap://<name>/<key>")
            if len(path) != 1 or not _KEY.fullmatch(path[0]):
                raise SourceError(
                    "SourceInvalid", f"configmap://{volume} needs one key; write configmap://<name>/<key>."
                )
            return VolumeSource("configmap", volume, path)
        case _:
            shown = f"The scheme '{scheme[:20]}' is not known" if separator else "The URI has no scheme"
            raise SourceError(
                "SourceRefused",
                f"{shown}; write https://host/path/file, pvc://claim/path or configmap://name/key.",
            )


def path_segment(text: object, field: str) -> str:
    """The text as one safe name of a file or folder."""
    if not isinstance(text, str) or not _is_segment(text):
        raise SourceError("SourceInvalid", f"{field} must be the name of one folder, not {str(text)[:80]!r}.")
    return text


def _volume_and_path(rest: str, form: str) -> tuple[str, tuple[str, ...]]:
    volume, _, path = rest.partition("/")
    if not _OBJECT_NAME.fullmatch(volume):
        raise SourceError("SourceInvalid", f"'{volume[:80]}' is not the name of an object in Kubernetes; write {form}.")
    segments = tuple(unquote(segment) for segment in path.split("/") if segment not in ("", "."))
    for segment in segments:
        if segment == "..":
            raise SourceError(
                "SourceRefused", f"The path of {form.partition(':')[0]}://{volume} holds '..'; write it without."
            )
        if not _is_segment(segment):
            raise SourceError(
                "SourceInvalid",
                f"The path of {form.partition(':')[0]}://{volume} holds {segment[:80]!r}; write {form}.",
            )
    return volume, segments


def _check_file_name(name: str, source: HttpSource) -> None:
    if not _is_segment(name):
        raise SourceError(
            "SourceInvalid", f"{source} does not end in the name of a file; write https://host/path/file.onnx."
        )


def _is_segment(text: str) -> bool:
    """One name: no separator, no control character, nothing that means another folder."""
    encodable = len(text.encode("utf-8", "replace")) <= _FILE_NAME_BYTES - len(".part")
    return encodable and text not in ("", ".", "..") and not any(c == "/" or c < " " or c == "\x7f" for c in text)


def _number(environ: Mapping[str, str], name: str, *, default: float, least: float) -> float:
    text = environ.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not least <= value < float("inf"):
        raise SourceError("SourceInvalid", f"{name}={text[:40]!r} is not a number of at least {least:g}.")
    return value
