"""Every place in a model that can name another file is found, however deep it hides."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from scoring_server.loaders import external_data


def outside(location: str) -> onnx.TensorProto:
    tensor = TensorProto(name="W", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="offset", value="0")
    tensor.external_data.add(key="location", value=location)
    return tensor


def graph(**parts: object) -> onnx.GraphProto:
    made = helper.make_graph([], "g", [], [])
    for name, value in parts.items():
        getattr(made, name).extend(value)
    return made


def in_attribute(**fields: object) -> onnx.NodeProto:
    node = helper.make_node("Constant", [], ["Y"])
    attribute = node.attribute.add(name="value")
    for name, value in fields.items():
        target = getattr(attribute, name)
        target.extend(value) if isinstance(value, list) else target.CopyFrom(value)
    return node


def sparse(location: str) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(values=outside(location), indices=outside(location + "-indices"), dims=[1])


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(helper.make_model(graph(initializer=[outside("deep")])), id="an initializer"),
        pytest.param(helper.make_model(graph(sparse_initializer=[sparse("deep")])), id="a sparse initializer"),
        pytest.param(helper.make_model(graph(node=[in_attribute(t=outside("deep"))])), id="a constant"),
        pytest.param(helper.make_model(graph(node=[in_attribute(tensors=[outside("deep")])])), id="constants"),
        pytest.param(
            helper.make_model(graph(node=[in_attribute(sparse_tensor=sparse("deep"))])), id="a sparse constant"
        ),
        pytest.param(
            helper.make_model(graph(node=[in_attribute(g=graph(initializer=[outside("deep")]))])), id="a subgraph"
        ),
        pytest.param(
            helper.make_model(
                graph(node=[in_attribute(graphs=[graph(node=[in_attribute(g=graph(initializer=[outside("deep")]))])])])
            ),
            id="a subgraph of a subgraph",
        ),
        pytest.param(
            helper.make_model(
                graph(), functions=[onnx.FunctionProto(name="f", domain="d", node=[in_attribute(t=outside("deep"))])]
            ),
            id="a function",
        ),
        pytest.param(
            onnx.ModelProto(training_info=[onnx.TrainingInfoProto(algorithm=graph(initializer=[outside("deep")]))]),
            id="training",
        ),
    ],
)
def test_a_location_is_found_wherever_it_stands(model: onnx.ModelProto) -> None:
    assert "deep" in set(external_data.locations(model.SerializeToString()))


def test_a_model_of_one_file_names_no_other() -> None:
    model = helper.make_model(graph(initializer=[helper.make_tensor("W", TensorProto.FLOAT, [2], [1.0, 2.0])]))
    assert list(external_data.locations(model.SerializeToString())) == []


def test_a_folder_or_link_on_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/weights").write_bytes(b"\0" * 4)
    (tmp_path / "model").mkdir()
    (tmp_path / "model/link").symlink_to("../elsewhere")
    (tmp_path / "model/folder").mkdir()
    for location, reason in (("link/weights", "is a symbolic link"), ("folder", "is not a regular file")):
        path = tmp_path / "model/m.onnx"
        path.write_bytes(helper.make_model(graph(initializer=[outside(location)])).SerializeToString())
        with pytest.raises(external_data.ExternalDataRefused, match=reason):
            external_data.check(path)


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=300))
def test_any_bytes_are_walked_through_or_refused(data: bytes) -> None:
    # Any other exception fails the test: a hostile file must not be able to end the start without a sentence.
    with suppress(external_data.ExternalDataRefused):
        assert all(isinstance(location, str) for location in external_data.locations(data))
