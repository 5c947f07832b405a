"""Formats are told by names and first bytes; a signature is read without running anything, and nothing crashes it."""

from __future__ import annotations

import contextlib
import os

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from scoring_server import detection, onnx_graph
from scoring_server.detection import Detected
from scoring_server.source_errors import SourceError


def _model(inputs, outputs, weights=(), version=10):
    node = helper.make_node("Identity", [inputs[0].name], [outputs[0].name])
    graph = helper.make_graph([node], "g", inputs, outputs, list(weights))
    return helper.make_model(graph, ir_version=version)


def _plain(name, dtype=TensorProto.FLOAT, shape=("N", 3)):
    return helper.make_tensor_value_info(name, dtype, None if shape is None else list(shape))


SMALL = _model([_plain("X")], [_plain("Y")]).SerializeToString()


def unopened(name):
    raise AssertionError(f"{name!r} must not be opened")


def opened(content):
    """An opener of a real file, for a mapping needs one."""

    @contextlib.contextmanager
    def opener(name):
        with os.fdopen(os.memfd_create("model"), "w+b") as stream:
            stream.write(content)
            stream.flush()
            yield stream

    return opener


@pytest.mark.parametrize(
    ("name", "head", "wanted", "found"),
    [
        ("m.pkl", b"\x80\x04", None, "Sklearn"),
        ("m.PICKLE", b"", None, "Sklearn"),
        ("m.joblib", b"", None, "Sklearn"),
        ("m.pkl", b"\x80\x04", "Custom", "Custom"),
        ("m.bin", b"\x80\x04", "Sklearn", "Sklearn"),
        ("m.onnx", b"", "Custom", "Custom"),
        ("m.tar.gz", b"\x1f\x8b", None, "Custom"),
        ("weights", b"", None, "Custom"),
        ("m.pkl", SMALL[:64], None, "Sklearn"),
    ],
)
def test_a_file_is_told_by_its_name_without_opening_it(name, head, wanted, found):
    assert detection.of_file("pvc://c/m", name, head, wanted, unopened) == Detected(found)


def test_a_file_that_begins_like_onnx_is_onnx_whatever_its_name():
    found = detection.of_file("pvc://c/m", "latest", SMALL[:64], None, opened(SMALL))
    assert (found.format, found.signature["inputs"][0]["name"]) == ("ONNX", "X")


def test_a_file_that_only_begins_like_onnx_is_custom():
    content = SMALL[:3] + b"\xff" * 60
    assert detection.of_file("pvc://c/m", "latest", content, None, opened(content)) == Detected("Custom")


@pytest.mark.parametrize(
    ("names", "wanted", "found"),
    [
        (["MLmodel", "model.onnx"], None, "MLflow"),
        (["MLmodel"], "MLflow", "MLflow"),
        (["MLmodel"], "Custom", "Custom"),
        (["sub/MLmodel"], None, "Custom"),
        (["a.onnx", "b.onnx"], None, "Custom"),
        (["m.pkl"], "Sklearn", "Sklearn"),
        (["m.pkl", "vocabulary.txt"], None, "Custom"),
    ],
)
def test_a_folder_is_told_by_its_files(names, wanted, found):
    assert detection.of_folder("pvc://c/m", names, wanted, unopened) == Detected(found)


@pytest.mark.parametrize(
    ("names", "wanted", "sentence"),
    [
        (["a"], "MLflow", "pvc://c/m is declared as MLflow but has no file MLmodel at its top."),
        (["a"], "ONNX", "pvc://c/m is declared as ONNX but holds 0 files that end in .onnx, not one."),
        (["a.onnx", "b.onnx"], "ONNX", "pvc://c/m is declared as ONNX but holds 2 files that end in .onnx, not one."),
    ],
)
def test_a_folder_that_is_not_what_it_is_declared_as_is_refused(names, wanted, sentence):
    with pytest.raises(SourceError) as caught:
        detection.of_folder("pvc://c/m", names, wanted, unopened)
    assert (caught.value.reason, caught.value.message) == ("SourceInvalid", sentence)


def test_one_file_is_no_mlflow_model():
    with pytest.raises(SourceError) as caught:
        detection.of_file("pvc://c/m", "m", b"", "MLflow", unopened)
    assert caught.value.message == "pvc://c/m is one file, but a model of MLflow is a folder with MLmodel."


@pytest.mark.parametrize("dtype", [code for code in TensorProto.DataType.values() if code])
def test_every_element_type_of_onnx_has_the_name_that_numpy_gives_it(dtype):
    model = _model([_plain("X", dtype)], [_plain("Y", dtype)])
    found = onnx_graph.parse(model.SerializeToString(), model.ByteSize()).inputs[0].dtype
    expected = "string" if dtype == TensorProto.STRING else str(helper.tensor_dtype_to_np_dtype(dtype))
    assert found == expected


@pytest.mark.parametrize(
    ("shape", "found"),
    [
        (("N", 3), ("N", 3)),
        ((None, 3), ("?", 3)),
        ((-1, 3), ("?", 3)),
        ((0,), (0,)),
        ((), ()),
        (None, ("*",)),
        ((2**40,), (2**40,)),
    ],
    ids=str,
)
def test_a_shape_keeps_sizes_and_names_of_free_dimensions(shape, found):
    model = _model([_plain("X", shape=shape)], [_plain("Y", shape=shape)])
    assert onnx_graph.parse(model.SerializeToString(), model.ByteSize()).inputs[0].shape == found


def test_a_free_dimension_is_told_as_null_and_an_unknown_rank_as_no_shape():
    graph = onnx_graph.parse(*_with_size(_model([_plain("X", shape=("N", None, 3))], [_plain("Y", shape=None)])))
    assert graph.signature() == {
        "inputs": [{"name": "X", "dtype": "float32", "shape": [None, None, 3]}],
        "outputs": [{"name": "Y", "dtype": "float32"}],
    }


def test_sequences_and_maps_are_named_by_what_they_hold():
    tensor = helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    mapping = helper.make_map_type_proto(TensorProto.INT64, tensor)
    outputs = [
        onnx.ValueInfoProto(name="a", type=helper.make_sequence_type_proto(mapping)),
        onnx.ValueInfoProto(name="b", type=helper.make_optional_type_proto(tensor)),
        onnx.ValueInfoProto(name="c"),
    ]
    graph = onnx_graph.parse(*_with_size(_model([_plain("X")], outputs)))
    assert [(tensor.dtype, tensor.shape) for tensor in graph.outputs] == [
        ("sequence(map(int64,float32))", ()),
        ("optional(float32)", ()),
        ("undefined", ("*",)),
    ]


def _with_size(model):
    content = model.SerializeToString()
    return content, len(content)


def test_weights_that_old_models_list_among_the_inputs_are_none():
    weights = numpy_helper.from_array(np.ones(3, dtype=np.float32), "W")
    model = _model([_plain("X"), _plain("W", shape=(3,))], [_plain("Y")], [weights], version=3)
    graph = onnx_graph.parse(*_with_size(model))
    assert [tensor.name for tensor in graph.inputs] == ["X"]


@pytest.mark.parametrize("size", range(len(SMALL)))
def test_no_half_file_passes_for_a_whole_one(size):
    with pytest.raises(onnx_graph.OnnxError):
        onnx_graph.parse(SMALL[:size], size)


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused(content):
    with contextlib.suppress(onnx_graph.OnnxError):
        onnx_graph.parse(content, len(content))


@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_model_is_read_or_refused(changes):
    content = bytearray(SMALL)
    for at, byte in changes:
        content[at] = byte
    with contextlib.suppress(onnx_graph.OnnxError):
        onnx_graph.parse(bytes(content), len(content)).signature()


def _field(number, payload):
    length, size = [], len(payload)
    while size > 127:
        length.append(size & 127 | 128)
        size >>= 7
    return bytes([number << 3 | 2, *length, size]) + payload


@pytest.mark.parametrize(
    ("graph", "why"),
    [
        (_field(12, b""), "an input or output has no name"),
        (_field(12, _field(1, b"\xff")), "the name at byte 8 is not UTF-8"),
        (_field(12, _field(1, b"n" * 5000)), "a name of 5000 bytes stands at byte 11"),
        (
            _field(12, _field(1, b"y") + _field(2, _field(1, b"\x08\x63"))),
            "an input or output has an unknown element type",
        ),
        (_field(1, b""), "its graph has no outputs"),
        (b"\x0b", "byte 5 is of the unknown wire type 3"),
        (b"\x08" + b"\xff" * 11, "a number of more than 64 bits stands at byte 15"),
    ],
    ids=["no name", "not UTF-8", "long name", "unknown type", "no outputs", "group", "varint"],
)
def test_what_is_wrong_with_a_graph_is_said(graph, why):
    content = b"\x08\x0a" + _field(7, graph) + _field(8, b"\x10\x11")
    with pytest.raises(onnx_graph.OnnxError) as caught:
        onnx_graph.parse(content, len(content))
    assert str(caught.value) == why


def test_a_type_nested_for_ever_is_refused():
    kind = _field(1, b"\x08\x01")
    for _ in range(2000):
        kind = _field(4, _field(1, kind))
    content = b"\x08\x0a" + _field(7, _field(12, _field(1, b"y") + _field(2, kind))) + _field(8, b"\x10\x11")
    with pytest.raises(onnx_graph.OnnxError, match="a type is nested more than 8 deep"):
        onnx_graph.parse(content, len(content))


def test_weights_are_stepped_over_not_read():
    class Watched(bytes):
        read = 0

        def __getitem__(self, key):
            Watched.read += 1
            return super().__getitem__(key)

    weights = numpy_helper.from_array(np.ones(250_000, dtype=np.float32), "W")
    content = _model([_plain("X")], [_plain("Y")], [weights]).SerializeToString()
    assert len(content) > 1_000_000
    onnx_graph.parse(Watched(content), len(content))
    assert Watched.read < 1000
