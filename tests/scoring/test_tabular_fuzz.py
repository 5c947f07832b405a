"""Whatever a client sends to a model without code: an answer or a 400, never a 500."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scoring_server import errors
from scoring_server.protocols import azureml, tabular
from scoring_server.signature import Signature, Tensor

SIGNATURES = [
    Signature((Tensor("X", "float32", (None, 3)),), (Tensor("Y", "float32", (None, 1)),)),
    Signature((Tensor("X", "float32", (None, 2)),), (), columns=("a", "b")),
    Signature((Tensor("a", "int64", (None, 1)), Tensor("b", "object", (None,)), Tensor("c", "bool", (1,))), ()),
    Signature((Tensor("X", "uint8", (None, 2, 2)),), (), label="l", probabilities="p"),
]
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcX") | st.text(max_size=2), inner),
    max_leaves=8,
)
documents = st.dictionaries(
    st.sampled_from([*tabular.PAYLOADS, "proba", "model", "params", "columns"]), values, max_size=3
) | st.fixed_dictionaries({"dataframe_split": st.fixed_dictionaries({"columns": values, "data": values})})


@settings(max_examples=200, deadline=None)
@given(document=documents, signature=st.sampled_from(SIGNATURES))
def test_any_document_is_arrays_or_an_input_error(document: Any, signature: Signature) -> None:
    try:
        body = orjson.dumps(document)
    except orjson.JSONEncodeError:
        return
    try:
        parsed = tabular.parse(body)
        tabular.wanted(parsed, None, signature)
        feeds = tabular.feeds(parsed, signature)
    except errors.InputInvalid:
        return
    for tensor in signature.inputs:
        array = feeds[tensor.name]
        assert array.dtype == np.dtype(tensor.dtype)
        assert array.ndim == len(tensor.shape)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200))
def test_any_bytes_are_a_document_or_an_input_error(body: bytes) -> None:
    with suppress(errors.InputInvalid):
        assert sum(key in tabular.PAYLOADS for key in tabular.parse(body)) == 1


def test_a_number_beyond_the_inputs_type_is_an_input_error() -> None:
    signature = SIGNATURES[0]
    with pytest.raises(errors.InputInvalid) as caught:
        tabular.feeds(tabular.parse(b'{"data": [[1, 2, 3.5e38]]}'), signature)
    assert str(caught.value) == (
        f"Input {signature.inputs[0]} cannot be made of this data: every value must be from -3.4028234663852886e+38"
        " to 3.4028234663852886e+38."
    )


def test_nesting_beyond_reason_is_an_input_error() -> None:
    signature = SIGNATURES[0]
    for depth in (70, 100_000):
        body = b'{"data":' + b"[" * depth + b"]" * depth + b"}"
        try:
            tabular.feeds(tabular.parse(body), signature)
        except errors.InputInvalid:
            continue
        raise AssertionError(f"{depth} levels were taken")


@settings(max_examples=200, deadline=None)
@given(value=values)
def test_any_result_of_a_script_is_valid_json(value: Any) -> None:
    orjson.loads(azureml.encode(value) or b"")
