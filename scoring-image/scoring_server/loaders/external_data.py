"""Weights that an ONNX file keeps in other files must be the model's own files.

onnxruntime refuses a location with `..`, an absolute one and a symbolic link that leave the folder, but it follows a
hard link to any file on the volume. So every location in the model, those in subgraphs and functions included, is
looked at before onnxruntime sees the file. Weights are stepped over, not read.
"""

from __future__ import annotations

import mmap
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

Buffer = bytes | mmap.mmap
Span = tuple[int, int]

_DEEPEST_GRAPH = 64

# Where messages that may lead to a tensor stand in onnx.proto: message → field number → message.
_FIELDS: Mapping[str, Mapping[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "SparseTensor"},
    "Node": {5: "Attribute"},
    "Attribute": {5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "SparseTensor", 23: "SparseTensor"},
    "SparseTensor": {1: "Tensor", 2: "Tensor"},
    "Tensor": {13: "Entry"},
}


class ExternalDataRefused(Exception):
    """A location leads outside the model's folder, or the file is no protobuf; the message says which."""


def check(path: Path) -> None:
    """Refuse the model file at `path` if its external data is not made of plain files in its own folder."""
    if path.stat().st_size == 0:
        raise ExternalDataRefused("the file is empty")
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        names = set(locations(data))
    for name in sorted(names):
        _check_location(path.parent, name)


def locations(data: Buffer) -> Iterator[str]:
    """Every location that any tensor of a serialized onnx.ModelProto names."""
    yield from _walk(data, (0, len(data)), "Model", 0)


def _check_location(folder: Path, name: str) -> None:
    refused = f"its external data {name!r}"
    parts = PurePosixPath(name).parts
    if not name or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
        raise ExternalDataRefused(f"{refused} is not a file name within the model's folder")
    at = folder
    for part in parts:
        at = at / part
        try:
            status = at.lstat()
        except OSError:
            raise ExternalDataRefused(f"{refused} is missing from the model's folder") from None
        if stat.S_ISLNK(status.st_mode):
            raise ExternalDataRefused(f"{refused} is a symbolic link")
    if not stat.S_ISREG(status.st_mode):
        raise ExternalDataRefused(f"{refused} is not a regular file")
    if status.st_nlink > 1:
        raise ExternalDataRefused(
            f"{refused} is a hard link to a file that has {status.st_nlink} names; copy it instead"
        )


def _walk(data: Buffer, span: Span, message: str, depth: int) -> Iterator[str]:
    if depth > _DEEPEST_GRAPH:
        raise ExternalDataRefused(f"its graphs are nested more than {_DEEPEST_GRAPH} deep")
    wanted = _FIELDS[message]
    for number, inner in _spans(data, span):
        kind = wanted.get(number)
        if kind == "Entry":
            entry = {key: bytes(data[slice(*value)]) for key, value in _spans(data, inner) if key in (1, 2)}
            if entry.get(1) == b"location":
                yield entry.get(2, b"").decode("utf-8", "backslashreplace")
        elif kind is not None:
            yield from _walk(data, inner, kind, depth + 1)


def _spans(data: Buffer, span: Span) -> Iterator[tuple[int, Span]]:
    """(field number, span) of each field with a length; numbers are stepped over."""
    at, end = span
    while at < end:
        tag, at = _varint(data, at, end)
        match tag & 7:
            case 0:
                _, at = _varint(data, at, end)
                continue
            case 1:
                length = 8
            case 2:
                length, at = _varint(data, at, end)
            case 5:
                length = 4
            case other:
                raise ExternalDataRefused(f"it is no ONNX model: wire type {other} at byte {at}")
        if length > end - at:
            raise ExternalDataRefused(f"it is no ONNX model: it ends in the middle of a field at byte {at}")
        if tag & 7 == 2:
            yield tag >> 3, (at, at + length)
        at += length


def _varint(data: Buffer, at: int, end: int) -> tuple[int, int]:
    value = shift = 0
    while at < end and shift < 64:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ExternalDataRefused(f"it is no ONNX model: no number ends at byte {at}")
