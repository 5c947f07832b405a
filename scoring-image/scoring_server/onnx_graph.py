"""The signature of an ONNX file, read from its protobuf without loading or running the model.

A hostile or half file must yield a sentence, never a crash and never a large allocation: the file is mapped, weights
are stepped over, and only names, types and shapes are read. Knows nothing of sources and formats.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

Buffer = bytes | mmap.mmap
Shape = tuple[int | str, ...]

_LONGEST_TEXT = 4096
_DEEPEST_TYPE = 8
_MOST_TENSORS = 10_000
_UNKNOWN_RANK: Shape = ("*",)

# onnx.TensorProto.DataType, by the names that numpy and ml_dtypes give them.
_DTYPES = dict(
    enumerate(
        [
            "undefined",
            "float32",
            "uint8",
            "int8",
            "uint16",
            "int16",
            "int32",
            "int64",
            "string",
            "bool",
            "float16",
            "float64",
            "uint32",
            "uint64",
            "complex64",
            "complex128",
            "bfloat16",
            "float8_e4m3fn",
            "float8_e4m3fnuz",
            "float8_e5m2",
            "float8_e5m2fnuz",
            "uint4",
            "int4",
            "float4_e2m1fn",
            "float8_e8m0fnu",
            "uint2",
            "int2",
            "float6_e2m3fn",
            "float6_e3m2fn",
        ]
    )
)


class OnnxError(Exception):
    """The file is no ONNX model; the message says what was met instead."""


@dataclass(frozen=True)
class Tensor:
    """One input or output. A dimension is a size, the name of a free one, or `?` for a free one without a name; the
    shape `("*",)` is of unknown rank, and what is no tensor (a sequence, a map) has none."""

    name: str
    dtype: str
    shape: Shape

    def document(self) -> dict[str, Any]:
        """As a ModelVersion keeps it: null for a free dimension, no shape where the rank is unknown."""
        told: dict[str, Any] = {"name": self.name, "dtype": self.dtype}
        if self.shape != _UNKNOWN_RANK:
            told["shape"] = [size if isinstance(size, int) else None for size in self.shape]
        return told


@dataclass(frozen=True)
class Graph:
    """What a caller of the model must know, and the files beside it that hold its weights."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    external_files: tuple[str, ...]

    def signature(self) -> dict[str, Any]:
        return {
            "inputs": [tensor.document() for tensor in self.inputs],
            "outputs": [tensor.document() for tensor in self.outputs],
        }


@dataclass(frozen=True)
class _Message:
    """A span of the file that holds the fields of one message."""

    data: Buffer
    start: int
    end: int

    def fields(self) -> Iterator[tuple[int, int | _Message]]:
        """(field number, value) in the order of the file: an int, or the span of what has a length."""
        at = self.start
        while at < self.end:
            tag, at = self._varint(at)
            number, wire_type = tag >> 3, tag & 7
            if number == 0:
                raise OnnxError(f"a field without a number stands at byte {at}")
            if wire_type == 0:
                value, at = self._varint(at)
                yield number, value
                continue
            if wire_type == 2:
                length, at = self._varint(at)
            elif wire_type in (1, 5):
                length = 8 if wire_type == 1 else 4
            else:
                raise OnnxError(f"byte {at} is of the unknown wire type {wire_type}")
            if length > self.end - at:
                raise OnnxError(f"it ends at byte {self.end}, in the middle of a field of {length} bytes")
            yield number, _Message(self.data, at, at + length)
            at += length

    def messages(self, wanted: int) -> Iterator[_Message]:
        for number, value in self.fields():
            if number == wanted and isinstance(value, _Message):
                yield value

    def text(self) -> str:
        if self.end - self.start > _LONGEST_TEXT:
            raise OnnxError(f"a name of {self.end - self.start} bytes stands at byte {self.start}")
        try:
            return bytes(self.data[self.start : self.end]).decode()
        except UnicodeDecodeError as error:
            raise OnnxError(f"the name at byte {self.start} is not UTF-8") from error

    def _varint(self, at: int) -> tuple[int, int]:
        value = shift = 0
        while at < self.end:
            byte = self.data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value & 0xFFFFFFFFFFFFFFFF, at
            shift += 7
            if shift > 63:
                raise OnnxError(f"a number of more than 64 bits stands at byte {at}")
        raise OnnxError(f"it ends at byte {self.end}, in the middle of a number")


def read(stream: BinaryIO) -> Graph:
    """The graph of an open file, or OnnxError."""
    size = os.fstat(stream.fileno()).st_size
    if size == 0:
        raise OnnxError("it is empty")
    with mmap.mmap(stream.fileno(), size, access=mmap.ACCESS_READ) as data:
        return parse(data, size)


def parse(data: Buffer, size: int) -> Graph:
    """The graph of a serialized onnx.ModelProto, or OnnxError."""
    has_version, has_opset, graph = False, False, None
    for number, value in _Message(data, 0, size).fields():
        match number, value:
            case 1, int():
                has_version = True
            case 7, _Message():
                graph = value
            case 8, _Message():
                has_opset = True
            case _:
                continue
    if graph is None or not has_version or not has_opset:
        absent = "graph" if graph is None else "ir_version" if not has_version else "opset_import"
        raise OnnxError(f"it has no {absent}")
    return _graph(graph)


def looks_like_onnx(head: bytes) -> bool:
    """Whether the first bytes may begin a ModelProto: `ir_version`, then a field that one goes on with."""
    return len(head) > 2 and head[0] == 0x08 and 1 <= head[1] < 0x80 and head[2] in (0x12, 0x1A, 0x22, 0x2A, 0x3A, 0x42)


def _graph(graph: _Message) -> Graph:
    inputs: list[Tensor] = []
    outputs: list[Tensor] = []
    weights: set[str] = set()
    external: dict[str, None] = {}
    for number, value in graph.fields():
        if not isinstance(value, _Message):
            continue
        match number:
            case 5:
                name, location = _initializer(value)
                weights.add(name)
                if location is not None:
                    external[location] = None
            case 11:
                inputs.append(_tensor(value))
            case 12:
                outputs.append(_tensor(value))
        if len(inputs) + len(outputs) > _MOST_TENSORS:
            raise OnnxError(f"it has more than {_MOST_TENSORS} inputs and outputs")
    if not outputs:
        raise OnnxError("its graph has no outputs")
    # Before IR version 4 every weight stood among the inputs too; it is none that a caller gives.
    given = tuple(tensor for tensor in inputs if tensor.name not in weights)
    return Graph(given, tuple(outputs), tuple(external))


def _initializer(tensor: _Message) -> tuple[str, str | None]:
    name, location, is_external = "", None, False
    for number, value in tensor.fields():
        match number, value:
            case 8, _Message():
                name = value.text()
            case 13, _Message():
                pair = {key: entry.text() for key, entry in value.fields() if isinstance(entry, _Message)}
                location = pair.get(2, "") if pair.get(1) == "location" else location
            case 14, int():
                is_external = value == 1
            case _:
                continue
    return name, (location or "") if is_external else None


def _tensor(info: _Message) -> Tensor:
    name, dtype, shape = "", "undefined", _UNKNOWN_RANK
    for number, value in info.fields():
        if number == 1 and isinstance(value, _Message):
            name = value.text()
        elif number == 2 and isinstance(value, _Message):
            dtype, shape = _type(value, 0)
    if not name:
        raise OnnxError("an input or output has no name")
    return Tensor(name, dtype, shape)


def _type(kind: _Message, depth: int) -> tuple[str, Shape]:
    """A TypeProto: a tensor's element type and shape, or `sequence(…)`, `map(…)`, `optional(…)` without a shape."""
    if depth > _DEEPEST_TYPE:
        raise OnnxError(f"a type is nested more than {_DEEPEST_TYPE} deep")
    for number, value in kind.fields():
        if not isinstance(value, _Message):
            continue
        match number:
            case 1 | 8:
                return _tensor_type(value)
            case 4 | 9:
                inner = next((_type(element, depth + 1)[0] for element in value.messages(1)), "undefined")
                return f"{'sequence' if number == 4 else 'optional'}({inner})", ()
            case 5:
                keys = next((entry for key, entry in value.fields() if key == 1), 0)
                inner = next((_type(element, depth + 1)[0] for element in value.messages(2)), "undefined")
                return f"map({_dtype(keys)},{inner})", ()
    return "undefined", _UNKNOWN_RANK


def _tensor_type(kind: _Message) -> tuple[str, Shape]:
    dtype, shape = "undefined", _UNKNOWN_RANK
    for number, value in kind.fields():
        if number == 1:
            dtype = _dtype(value)
        elif number == 2 and isinstance(value, _Message):
            shape = tuple(_dimension(dimension) for dimension in value.messages(1))
    return dtype, shape


def _dtype(code: int | _Message) -> str:
    if not isinstance(code, int) or code not in _DTYPES:
        raise OnnxError("an input or output has an unknown element type")
    return _DTYPES[code]


def _dimension(dimension: _Message) -> int | str:
    for number, value in dimension.fields():
        # Some exporters write -1 for a free dimension; as a varint it is a number above 2^63.
        if number == 1 and isinstance(value, int) and value < 1 << 63:
            return value
        if number == 2 and isinstance(value, _Message) and value.start < value.end:
            return value.text()
    return "?"
