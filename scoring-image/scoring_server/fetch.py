"""The verb `fetch`: every model of `SCORING_MODELS` as verified local files, before the server starts.

A file has its final name only once its digest is right, so a restarted container finds either the whole model, which
is not fetched again, or a part, which is gone on with.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from scoring_server import digest, local_sources, sinks, sources, verb
from scoring_server.download import Download
from scoring_server.source_errors import SourceError
from scoring_server.sources import HttpSource, Options, VolumeSource

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wanted:
    """One entry of `SCORING_MODELS`, checked."""

    name: str
    version: str
    source: sources.Source
    digest: str

    def target(self, root: Path) -> Path:
        """`<root>/<name>/<version>/<last segment of the URI>`, or the version's folder for a volume's root."""
        return root / self.name / self.version / self.source.local_name


def main(environ: Mapping[str, str]) -> int:
    def work() -> None:
        options = Options.from_environ(environ)
        for wanted in models(environ.get("SCORING_MODELS", "")):
            fetch(wanted, options)

    return verb.run(environ, work)


def models(text: str) -> list[Wanted]:
    """The entries of `SCORING_MODELS`; SourceInvalid when they cannot be read."""
    try:
        entries = json.loads(text or "[]")
    except ValueError as error:
        raise SourceError("SourceInvalid", f"SCORING_MODELS is no JSON: {error}.") from error
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise SourceError("SourceInvalid", "SCORING_MODELS must be a JSON list of objects, one for each model.")
    return [_wanted(entry) for entry in entries]


def fetch(wanted: Wanted, options: Options) -> None:
    """Make the model's files be there, right to the last bit."""
    target = wanted.target(options.models_root)
    if target.exists() and digest.of_tree(target) == wanted.digest:
        _log.info("%s %s is already there", wanted.name, wanted.version)
        return
    started = time.monotonic()
    _log.info("fetching %s %s from %s", wanted.name, wanted.version, wanted.source)
    match wanted.source:
        case HttpSource() as source:
            size = _download(source, target, wanted.digest, options)
        case VolumeSource() as source:
            size = _copy(source, target, wanted.digest, options)
    seconds = round(time.monotonic() - started, 3)
    _log.info("fetched %s %s", wanted.name, wanted.version, extra={"bytes": size, "seconds": seconds})


def _download(source: HttpSource, target: Path, expected: str, options: Options) -> int:
    with sinks.PartFile(target) as part:
        try:
            Download(source.location, part, options, expected=expected, jitter=verb.jitter).run()
        except SourceError as error:
            if error.reason != "SourceUnavailable":
                part.discard()
            raise
        part.commit()
        return part.position


def _copy(source: VolumeSource, target: Path, expected: str, options: Options) -> int:
    volume = local_sources.open_volume(source, options)
    part = target.with_name(f"{target.name}.part")
    _remove(part)
    try:
        copied, size = _copy_files(volume, part, options)
        actual = digest.of_folder(copied) if volume.is_folder else copied[0][1]
        digest.verify(expected, actual, str(source))
        _remove(target)
        part.rename(target)
    finally:
        _remove(part)
    return size


def _copy_files(volume: local_sources.Volume, part: Path, options: Options) -> tuple[list[tuple[str, str]], int]:
    copied: list[tuple[str, str]] = []
    size = 0
    for file in volume.files():
        path = part / file.name if file.name else part
        path.parent.mkdir(parents=True, exist_ok=True)
        with volume.open(file) as stream, path.open("wb") as out:
            read = digest.Counted(stream, options.max_bytes - size, str(volume.source))
            write = partial(sinks.write_all, out, path)
            copied.append((file.name, digest.of_stream(read, write)))
            size += read.count
    return copied, size


def _wanted(entry: Mapping[str, Any]) -> Wanted:
    for field in ("name", "version", "uri", "digest"):
        if not isinstance(entry.get(field), str | int) or not str(entry[field]):
            raise SourceError("SourceInvalid", f"SCORING_MODELS has an entry without {field}.")
    return Wanted(
        sources.path_segment(str(entry["name"]), "The name of a model"),
        sources.path_segment(str(entry["version"]), "The version of a model"),
        sources.parse(str(entry["uri"])),
        digest.parse(str(entry["digest"])),
    )


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
