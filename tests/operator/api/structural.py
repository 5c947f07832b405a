"""Structural schemas as JSON schemas that judge as the API server does, and the nulls that it takes away."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import jsonschema


def _pattern(validator: Any, pattern: str, instance: Any, schema: Any) -> Iterator[jsonschema.ValidationError]:
    # RE2's $ is the end of the text; Python's also matches before a last newline.
    if isinstance(instance, str) and not re.search(re.sub(r"\$$", r"\\Z", pattern), instance):
        yield jsonschema.ValidationError(f"{instance!r} does not match {pattern}")


_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, {"pattern": _pattern})


def validator(schema: dict[str, Any], *, additional: bool = True) -> Any:
    """A jsonschema validator of a structural schema; with `additional` False unknown fields are errors."""
    return _Validator(_as_json_schema(schema, additional))


def _as_json_schema(schema: dict[str, Any], additional: Any) -> dict[str, Any]:
    plain: dict[str, Any] = {key: value for key, value in schema.items() if not key.startswith("x-")}
    if plain.pop("nullable", False):
        plain["type"] = [plain["type"], "null"]
    if "properties" in plain:
        plain["properties"] = {name: _as_json_schema(child, additional) for name, child in plain["properties"].items()}
        plain["additionalProperties"] = additional
        return plain
    for key in ("items", "additionalProperties"):
        if key in plain:
            plain[key] = _as_json_schema(plain[key], additional)
    return plain


def persisted(schema: dict[str, Any], value: Any) -> Any:
    """`value` without the nulls that the API server prunes: those of fields and map values that are not nullable."""
    if isinstance(value, dict) and schema.get("type") == "object":
        children = {name: schema.get("properties", {}).get(name, schema.get("additionalProperties")) for name in value}
        return {
            name: persisted(children[name], child) if children[name] else child
            for name, child in value.items()
            if child is not None or not children[name] or children[name].get("nullable")
        }
    if isinstance(value, list) and "items" in schema:
        return [persisted(schema["items"], child) for child in value]
    return value
