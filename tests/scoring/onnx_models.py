"""Small ONNX models for tests, each made of the few nodes that the test is about."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Info = onnx.ValueInfoProto

_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 2)]


def save(
    path: Path, nodes: Sequence[onnx.NodeProto], inputs: Sequence[Info], outputs: Sequence[Info], **metadata: str
) -> Path:
    graph = helper.make_graph(list(nodes), "graph", list(inputs), list(outputs), _constants)
    model = helper.make_model(graph, opset_imports=_OPSETS, ir_version=9)
    helper.set_model_props(model, metadata)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, path)
    return path


_constants = [
    numpy_helper.from_array(np.array([1], dtype=np.int64), "last_axis"),
    numpy_helper.from_array(np.array(0.0, dtype=np.float32), "zero"),
    numpy_helper.from_array(np.array(2.0, dtype=np.float32), "two"),
]


def tensor(name: str, dtype: int, shape: Sequence[int | str | None]) -> Info:
    return helper.make_tensor_value_info(name, dtype, list(shape))


def doubler(path: Path, columns: int = 3, **metadata: str) -> Path:
    """[rows, columns] floats, each times two."""
    node = helper.make_node("Mul", ["X", "two"], ["Y"])
    shape = ["N", columns]
    return save(
        path, [node], [tensor("X", TensorProto.FLOAT, shape)], [tensor("Y", TensorProto.FLOAT, shape)], **metadata
    )


def summer(path: Path, **metadata: str) -> Path:
    """[rows, any] floats, summed to one column."""
    node = helper.make_node("ReduceSum", ["X", "last_axis"], ["sum"], keepdims=1)
    inputs = [tensor("X", TensorProto.FLOAT, ["N", 3])]
    return save(path, [node], inputs, [tensor("sum", TensorProto.FLOAT, ["N", 1])], **metadata)


def classifier(path: Path) -> Path:
    """Label: whether the sum of three features is positive; probabilities: the softmax of the features."""
    nodes = [
        helper.make_node("ReduceSum", ["X", "last_axis"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "zero"], ["positive"]),
        helper.make_node("Cast", ["positive"], ["label"], to=TensorProto.INT64),
        helper.make_node("Softmax", ["X"], ["probabilities"]),
    ]
    outputs = [tensor("label", TensorProto.INT64, ["N"]), tensor("probabilities", TensorProto.FLOAT, ["N", 3])]
    return save(path, nodes, [tensor("X", TensorProto.FLOAT, ["N", 3])], outputs)


def map_classifier(path: Path) -> Path:
    """As converters of scikit-learn write it by default: a text label and a map from class to probability."""
    classes = ["no", "maybe", "yes"]
    nodes = [
        helper.make_node("Softmax", ["X"], ["p"]),
        helper.make_node("ArgMax", ["p"], ["index"], axis=1, keepdims=0),
        helper.make_node(
            "LabelEncoder", ["index"], ["label"], domain="ai.onnx.ml", keys_int64s=[0, 1, 2], values_strings=classes
        ),
        helper.make_node("ZipMap", ["p"], ["maps"], domain="ai.onnx.ml", classlabels_strings=classes),
    ]
    probability = helper.make_map_type_proto(TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    maps = helper.make_value_info("maps", helper.make_sequence_type_proto(probability))
    return save(
        path, nodes, [tensor("X", TensorProto.FLOAT, ["N", 3])], [tensor("label", TensorProto.STRING, ["N"]), maps]
    )


def table(path: Path) -> Path:
    """One input a column, as converters of data frames write them: a number, a whole number, a text, a truth."""
    kinds = {"size": TensorProto.FLOAT, "count": TensorProto.INT64, "kind": TensorProto.STRING, "new": TensorProto.BOOL}
    nodes = [helper.make_node("Identity", [name], [f"same_{name}"]) for name in kinds]
    inputs = [tensor(name, kind, ["N", 1]) for name, kind in kinds.items()]
    outputs = [tensor(f"same_{name}", kind, ["N", 1]) for name, kind in kinds.items()]
    return save(path, nodes, inputs, outputs)


def logarithm(path: Path) -> Path:
    """[rows, 1] floats: NaN for negative ones, minus infinity for zero."""
    node = helper.make_node("Log", ["X"], ["Y"])
    shape = ["N", 1]
    return save(path, [node], [tensor("X", TensorProto.FLOAT, shape)], [tensor("Y", TensorProto.FLOAT, shape)])


def counter(path: Path) -> Path:
    """Counts to the number given, one turn of a loop at a time: as slow as one asks for."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["condition"], ["go_on"]),
            helper.make_node("Add", ["value", "one"], ["next"]),
        ],
        "body",
        [
            tensor("turn", TensorProto.INT64, []),
            tensor("condition", TensorProto.BOOL, []),
            tensor("value", TensorProto.INT64, []),
        ],
        [tensor("go_on", TensorProto.BOOL, []), tensor("next", TensorProto.INT64, [])],
        [numpy_helper.from_array(np.array(1, dtype=np.int64), "one")],
    )
    nodes = [
        helper.make_node("Constant", [], ["true"], value=numpy_helper.from_array(np.array(True))),
        helper.make_node("Constant", [], ["start"], value=numpy_helper.from_array(np.array(0, dtype=np.int64))),
        helper.make_node("ReduceMax", ["turns"], ["most"], keepdims=0),
        helper.make_node("Loop", ["most", "true", "start"], ["count"], body=body),
    ]
    return save(path, nodes, [tensor("turns", TensorProto.INT64, ["N"])], [tensor("count", TensorProto.INT64, [])])


def external(path: Path, location: str) -> Path:
    """A model whose weights are said to lie in another file."""
    weights = TensorProto()
    weights.name = "W"
    weights.data_type = TensorProto.FLOAT
    weights.dims.append(4)
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["W"], ["Y"])], "graph", [], [tensor("Y", TensorProto.FLOAT, [4])], [weights]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(model.SerializeToString())
    return path
