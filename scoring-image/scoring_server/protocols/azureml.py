"""What Azure ML's server hands to `run()` and how it encodes what `run()` returns.

Differences on purpose: NaN and infinities become null, and numpy and pandas results are encoded.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

from scoring_server import errors
from scoring_server.exchange import Header

# Azure ML's server reads forms away before the script sees the body: a script gets an empty text.
_FORMS = (b"application/x-www-form-urlencoded", b"multipart/form-data")

_encoder = json.JSONEncoder(allow_nan=False)


def raw_data(method: str, query: bytes, content_type: bytes, body: bytes) -> str:
    """The text that an undecorated `run()` gets. Raises InputInvalid for a body that is not UTF-8."""
    if method == "GET":
        return json.dumps(_query_values(query))
    if content_type.partition(b";")[0].strip().lower() in _FORMS:
        return ""
    try:
        return body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise errors.InputInvalid(f"Input cannot be decoded as UTF-8: {error}") from None


def request_headers(headers: Sequence[Header]) -> dict[str, str]:
    """The headers as `run(…, request_headers)` gets them: Title-Case names, repeated ones joined by commas."""
    result: dict[str, str] = {}
    for name, value in headers:
        title = name.decode("latin-1").title()
        text = value.decode("latin-1")
        result[title] = f"{result[title]},{text}" if title in result else text
    return result


def encode(result: Any) -> bytes:
    """The JSON body of a script's result, byte for byte as Azure ML's server writes it where that is valid JSON.

    Raises ResultInvalid for what no JSON can say.
    """
    if result is None:
        return b"{}"
    try:
        return _encoder.encode(result).encode("ascii")
    except (TypeError, ValueError, RecursionError):
        # Rare: numpy, pandas, NaN, or truly impossible. Only now is it worth walking through the result.
        pass
    try:
        return _encoder.encode(_plain(result)).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise errors.ResultInvalid(f"run() returned what cannot be written as JSON: {error}") from error


def _query_values(query: bytes) -> dict[str, Any]:
    values: dict[str, list[Any]] = {}
    for name, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        values.setdefault(name, []).append(_value(text))
    return {name: found[0] if len(found) == 1 else found for name, found in values.items()}


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _plain(value: Any) -> Any:
    """The same value made of what JSON knows: dict, list, str, int, float, bool, None."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return _foreign(value)


def _foreign(value: Any) -> Any:
    """Values of libraries that are only here if the script imported them."""
    if (numpy := sys.modules.get("numpy")) is not None:
        if isinstance(value, numpy.ndarray):
            return _plain(value.astype(str).tolist() if value.dtype.kind in "mM" else value.tolist())
        if isinstance(value, (numpy.datetime64, numpy.timedelta64)):
            return str(value)
        if isinstance(value, numpy.generic):
            return _plain(value.item())
    if (pandas := sys.modules.get("pandas")) is not None:
        return _plain(_pandas(value, pandas))
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _pandas(value: Any, pandas: Any) -> Any:
    if isinstance(value, pandas.DataFrame):
        return value.to_dict(orient="records")
    if isinstance(value, (pandas.Series, pandas.Index)):
        return value.tolist()
    if value is pandas.NaT or value is pandas.NA:
        return None
    if isinstance(value, (pandas.Timestamp, pandas.Timedelta)):
        return value.isoformat()
    raise TypeError(f"Object of type {type(value).__name__} is not JSON serializable")


def _key(key: Any) -> Any:
    numpy = sys.modules.get("numpy")
    if numpy is not None and isinstance(key, numpy.generic):
        return key.item()
    return key
