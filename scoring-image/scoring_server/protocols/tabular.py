"""The JSON of models served without code: rows, records, columns and tensors, to arrays and back.

Request, exactly one of:

    {"data": [[5.1, 3.5], …]}                                rows
    {"data": [{"length": 5.1, "width": 3.5}, …]}             records
    {"input_data": …}                                        rows, records, or a pandas split as below (Azure ML)
    {"dataframe_split": {"columns": […], "data": [[…], …]}}  a pandas split (MLflow)
    {"dataframe_records": [{…}, …]}                          records (MLflow)
    {"inputs": …}                                            rows, or {"input name": values, …} (MLflow, tensors)

besides `"proba": true` for a classifier's probabilities and `"model": "name"` where several are served.
Answer: {"result": …}; one value a row, or an object by output name where the model has several outputs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from scoring_server.errors import InputInvalid
from scoring_server.signature import Signature, Tensor

Array = np.ndarray[Any, Any]
Feeds = dict[str, Array]

PAYLOADS = ("data", "input_data", "inputs", "dataframe_split", "dataframe_records")
_OPTIONS = ("model", "proba", "params")


def parse(body: bytes) -> dict[str, Any]:
    """The request's document, with exactly one payload in it."""
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InputInvalid(f"The body is not valid JSON: {error}. {_EXPECTED}") from None
    if type(document) is not dict:
        raise InputInvalid(f"The body is {_kind(document)}, not an object. {_EXPECTED}")
    found = [key for key in document if key in PAYLOADS]
    if len(found) != 1:
        what = f"The body has {' and '.join(found)}; give only one." if found else "The body has no data."
        raise InputInvalid(f"{what} {_EXPECTED}")
    unknown = [key for key in document if key not in PAYLOADS and key not in _OPTIONS]
    if unknown or document.get("params"):
        name = unknown[0] if unknown else "params"
        raise InputInvalid(f"{name!r} in the body is not understood. {_EXPECTED}")
    return document


def feeds(document: Mapping[str, Any], signature: Signature) -> Feeds:
    """The arrays of a parsed document. Raises InputInvalid naming the input and what it takes."""
    for key in PAYLOADS:
        if key in document:
            return _feeds(document[key], signature)
    raise InputInvalid(f"The body has no data. {_EXPECTED}")


def answer(values: Sequence[Any], names: Sequence[str], signature: Signature) -> bytes:
    """The answer's body from the model's outputs, in the order of `names`."""
    if signature.label is not None and names[0] == signature.label:
        document: dict[str, Any] = {"result": _plain(values[0])}
        if len(values) > 1:
            document |= _probabilities(values[1])
    elif len(values) == 1:
        document = {"result": _plain(values[0])}
    else:
        document = {"result": {name: _plain(value) for name, value in zip(names, values, strict=True)}}
    return orjson.dumps(document, default=_foreign, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)


def wanted(document: Mapping[str, Any], query_asks: str | None, signature: Signature) -> tuple[str, ...]:
    """The outputs that this request needs: a classifier's probabilities cost time and are for who asks."""
    asked = document.get("proba", False)
    if type(asked) is not bool:
        raise InputInvalid(f"'proba' is {_kind(asked)}; write true or false.")
    if query_asks is not None:
        asked = query_asks.lower() in ("true", "1", "")
    if signature.label is None or signature.probabilities is None:
        if asked:
            raise InputInvalid("'proba' is for classifiers; this model is none.")
        return tuple(output.name for output in signature.outputs)
    return (signature.label, signature.probabilities) if asked else (signature.label,)


_EXPECTED = (
    'Expected an object with one of "data", "input_data", "inputs", "dataframe_split" or "dataframe_records", '
    'such as {"data": [[1.0, 2.0]]}; /swagger.json shows a sample for this model.'
)


def _feeds(value: Any, signature: Signature) -> Feeds:
    if type(value) is dict:
        return _split(value, signature) if "data" in value else _by_name(value, signature)
    if type(value) is not list or not value:
        raise InputInvalid(f"The data is {_kind(value)}; expected a list of rows or records. {_takes(signature)}")
    if type(value[0]) is dict:
        return _records(value, signature)
    if len(signature.inputs) == 1:
        tensor = signature.inputs[0]
        return {tensor.name: _array(value, tensor)}
    return _columns(value, [tensor.name for tensor in signature.inputs], signature)


def _split(value: Mapping[str, Any], signature: Signature) -> Feeds:
    rows, columns = value["data"], value.get("columns")
    if columns is None:
        return _feeds(rows, signature)
    if type(rows) is not list or type(columns) is not list or not rows:
        raise InputInvalid('A pandas split is {"columns": [names], "data": [rows]} with at least one row.')
    columns = [str(name) for name in columns]
    for number, row in enumerate(rows, 1):
        if type(row) is not list or len(row) != len(columns):
            raise InputInvalid(f"Row {number} does not have one value for each of the {len(columns)} columns.")
    if len(signature.inputs) > 1:
        return _columns(rows, columns, signature)
    order = _order(columns, signature)
    if order is not None:
        rows = [[row[at] for at in order] for row in rows]
    tensor = signature.inputs[0]
    return {tensor.name: _array(rows, tensor)}


def _records(records: Sequence[Any], signature: Signature) -> Feeds:
    names = [str(name) for name in records[0]]
    known = set(records[0])
    for number, record in enumerate(records, 1):
        if type(record) is not dict or record.keys() != known:
            raise InputInvalid(f"Record {number} does not have the columns of the first: {', '.join(names)}.")
    rows = [list(map(record.__getitem__, names)) for record in records]
    return _split({"columns": names, "data": rows}, signature)


def _by_name(value: Mapping[str, Any], signature: Signature) -> Feeds:
    """{"input name": values}. A column of plain values fits an input of one column."""
    names = [tensor.name for tensor in signature.inputs]
    missing = [name for name in names if name not in value]
    unknown = [name for name in value if name not in names]
    if missing or unknown:
        wrong = f"{missing[0]!r} is missing" if missing else f"{unknown[0]!r} is none of them"
        raise InputInvalid(f"The model's inputs are {', '.join(map(repr, names))}; {wrong}.")
    return {tensor.name: _array(_column(value[tensor.name], tensor), tensor) for tensor in signature.inputs}


def _columns(rows: Sequence[Any], columns: Sequence[str], signature: Signature) -> Feeds:
    """A table for a model with one input a column."""
    for number, row in enumerate(rows, 1):
        if type(row) is not list or len(row) != len(columns):
            raise InputInvalid(f"Row {number} does not have {len(columns)} values. {_takes(signature)}")
    turned = dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True))
    return _by_name(turned, signature)


def _column(values: Any, tensor: Tensor) -> Any:
    if len(tensor.shape) == 2 and tensor.shape[1] in (1, None) and type(values) is list:
        return [value if type(value) is list else [value] for value in values]
    return values


def _order(columns: Sequence[str], signature: Signature) -> list[int] | None:
    """Where each of the model's features stands in `columns`; None where the model does not name its features."""
    if not signature.columns:
        return None
    missing = [name for name in signature.columns if name not in columns]
    if missing:
        known = ", ".join(signature.columns)
        raise InputInvalid(f"The column {missing[0]!r} is missing; the model's columns are {known}.")
    return [columns.index(name) for name in signature.columns]


def _array(values: Any, tensor: Tensor) -> Array:
    try:
        array = _typed(values, tensor.dtype)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputInvalid(f"Input {tensor} cannot be made of this data: {_reason(values, error)}.") from None
    shape = array.shape
    if len(shape) != len(tensor.shape):
        raise InputInvalid(f"Input {tensor} takes {len(tensor.shape)} dimensions; the data has {len(shape)}.")
    for size, expected in zip(shape, tensor.shape, strict=True):
        if expected is not None and size != expected:
            raise InputInvalid(f"Input {tensor} does not take data of the shape {list(shape)}.")
    return array


def _typed(values: Any, dtype: str) -> Array:
    if dtype.startswith("float"):
        try:
            # An infinity in place of a large number would be scored without a word.
            with np.errstate(over="raise"):
                return np.asarray(values, dtype=dtype)
        except FloatingPointError:
            raise OverflowError(f"every value must be from {np.finfo(dtype).min} to {np.finfo(dtype).max}") from None
    array = np.asarray(values) if dtype != "object" else np.asarray(values, dtype=object)
    if dtype == "object":
        if not all(type(value) is str for value in array.flat):
            raise TypeError("every value must be a text")
        return array
    if dtype == "bool":
        if array.dtype.kind != "b":
            raise TypeError("every value must be true or false")
        return array
    # numpy would cut 1.5 down to 1 without a word, and wrap a number that does not fit.
    if array.dtype.kind not in "iu" and not (array.dtype.kind == "f" and bool(np.all(array == np.floor(array)))):
        raise TypeError("every value must be a whole number")
    limits = np.iinfo(dtype)
    if array.size and (array.min() < limits.min or array.max() > limits.max):
        raise OverflowError(f"every value must be from {limits.min} to {limits.max}")
    return array.astype(dtype)


def _reason(values: Any, error: Exception) -> str:
    if type(values) is list and "inhomogeneous" in str(error):
        lengths = [len(row) if type(row) is list else None for row in values]
        for number, length in enumerate(lengths, 1):
            if length != lengths[0]:
                ours, first = (f"{size} values" if size is not None else "no list" for size in (length, lengths[0]))
                return f"row {number} has {ours}, row 1 has {first}"
        return "its nested lists differ in length"
    return str(error)


def _takes(signature: Signature) -> str:
    return f"The model takes {', '.join(map(str, signature.inputs))}."


def _kind(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return "an empty list" if value == [] else kinds.get(type(value), "a number")


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        if value.ndim == 2 and value.shape[1] == 1:
            # One value a row is a list of values, not a list of lists of one.
            value = value[:, 0]
        if value.dtype.kind == "O":
            return value.tolist()
        return np.ascontiguousarray(value)
    return value


def _probabilities(value: Any) -> dict[str, Any]:
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return {"proba": [list(row.values()) for row in value], "classes": list(value[0])}
    return {"proba": np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value}


def _foreign(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    raise TypeError(type(value).__name__)
