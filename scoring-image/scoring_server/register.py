"""The verb `register`: read the source of `SCORING_SOURCE` once and report what a ModelVersion says of it.

Digest, size, number of files, format and, for ONNX, the signature go to the termination message. The bytes pass by;
they touch the disk only where an ONNX file of the network must be looked into.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, BinaryIO

from scoring_server import detection, digest, local_sources, sinks, sources, verb
from scoring_server.detection import Detected, Format
from scoring_server.download import Download
from scoring_server.source_errors import SourceError
from scoring_server.sources import HttpSource, Options, VolumeSource

# What a ModelVersion takes; a model with more is registered without its signature.
_MOST_TENSORS, _MOST_DIMENSIONS, _LONGEST_NAME, _LONGEST_WORD = 256, 16, 256, 64


@dataclass(frozen=True)
class Request:
    """`SCORING_SOURCE`, checked."""

    source: sources.Source
    expected: str | None
    format: Format | None


@dataclass(frozen=True)
class Registration:
    """What the source holds."""

    digest: str
    size_bytes: int
    files: int
    detected: Detected

    def document(self) -> dict[str, Any]:
        """The termination message of success. A signature too long for it is left out by `termination`."""
        return {
            "digest": self.digest,
            "sizeBytes": self.size_bytes,
            "format": self.detected.format,
            "files": self.files,
            "signature": self.detected.signature if _fits(self.detected.signature) else None,
        }


def main(environ: Mapping[str, str]) -> int:
    def work() -> dict[str, Any]:
        options = Options.from_environ(environ)
        return register(request(environ.get("SCORING_SOURCE", "")), options).document()

    return verb.run(environ, work)


def request(text: str) -> Request:
    """`SCORING_SOURCE` taken apart; SourceInvalid when it cannot be read."""
    try:
        entry = json.loads(text)
    except ValueError as error:
        raise SourceError("SourceInvalid", f"SCORING_SOURCE is no JSON: {error}.") from error
    if not isinstance(entry, dict) or not isinstance(entry.get("uri"), str):
        raise SourceError("SourceInvalid", "SCORING_SOURCE must be a JSON object with name and uri.")
    expected = entry.get("sha256")
    return Request(
        sources.parse(entry["uri"]),
        digest.parse(str(expected)) if expected else None,
        detection.declared(entry.get("format")),
    )


def register(wanted: Request, options: Options) -> Registration:
    match wanted.source:
        case HttpSource() as source:
            return _register_download(source, wanted, options)
        case VolumeSource() as source:
            return _register_volume(source, wanted, options)


def _register_download(source: HttpSource, wanted: Request, options: Options) -> Registration:
    def needs_file(head: bytes) -> bool:
        return detection.needs_file(source.local_name, head, wanted.format)

    path = options.models_root / ".register.part"
    with closing(sinks.Inspection(path, needs_file)) as sink:
        Download(source.location, sink, options, expected=wanted.expected, jitter=verb.jitter).run()
        sink.finish()

        def opener(_: str) -> BinaryIO:
            return path.open("rb")

        detected = detection.of_file(str(source), source.local_name, sink.head, wanted.format, opener)
        return Registration(sink.digest, sink.position, 1, detected)


def _register_volume(source: VolumeSource, wanted: Request, options: Options) -> Registration:
    volume = local_sources.open_volume(source, options)
    files = {file.name: file for file in volume.files()}
    digests: list[tuple[str, str]] = []
    size, head = 0, b""
    for name, file in files.items():
        with volume.open(file) as stream:
            head = stream.read(detection.HEAD_BYTES)
            stream.seek(0)
            read = digest.Counted(stream, options.max_bytes - size, str(source))
            digests.append((name, digest.of_stream(read)))
            size += read.count
    actual = digest.of_folder(digests) if volume.is_folder else digests[0][1]
    if wanted.expected is not None:
        digest.verify(wanted.expected, actual, str(source))

    @contextmanager
    def opener(name: str) -> Iterator[BinaryIO]:
        with volume.open(files[name]) as stream:
            yield stream

    if volume.is_folder:
        detected = detection.of_folder(str(source), tuple(files), wanted.format, opener)
    else:
        detected = detection.of_file(str(source), source.local_name, head, wanted.format, opener)
    return Registration(actual, size, len(files), detected)


def _fits(signature: Mapping[str, Any] | None) -> bool:
    if signature is None:
        return True
    tensors = [tensor for side in ("inputs", "outputs") for tensor in signature[side]]
    return all(len(signature[side]) <= _MOST_TENSORS for side in ("inputs", "outputs")) and all(
        len(tensor["name"]) <= _LONGEST_NAME
        and len(tensor["dtype"]) <= _LONGEST_WORD
        and len(tensor.get("shape", ())) <= _MOST_DIMENSIONS
        for tensor in tensors
    )
