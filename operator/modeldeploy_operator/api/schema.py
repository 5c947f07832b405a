"""Pydantic types → structural OpenAPI v3 schema of a CRD. Whatever cannot be said in one is refused, by field name.

Structural means: every node has one type, and no $ref or anyOf. Every string, list and map must have an upper
bound, because the API server rejects a CRD whose rules it cannot price. No I/O and no file enters here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .shapes import RULES, Shape

Schema = dict[str, Any]

INT32_MAX = 2**31 - 1
LIST_TYPE = "x-kubernetes-list-type"
LIST_KEYS = "x-kubernetes-list-map-keys"

_EVERYWHERE = {"type", "title", "description", "default", "nullable", RULES}
_KNOWN: Mapping[str, set[str]] = {
    "boolean": set(),
    "integer": {"minimum", "maximum"},
    "number": {"minimum", "maximum"},
    "string": {"minLength", "maxLength", "pattern", "enum", "format"},
    "array": {"minItems", "maxItems", "items", LIST_TYPE, LIST_KEYS},
    "object": {"properties", "required", "additionalProperties", "minProperties", "maxProperties"},
}
_ORDER = (
    "description", "type", "nullable", "format", "default", "enum", "pattern", "minLength", "maxLength", "minimum",
    "maximum", "minItems", "maxItems", "minProperties", "maxProperties", LIST_TYPE, LIST_KEYS, "required",
    "properties", "additionalProperties", "items", RULES,
)  # fmt: skip


class UnsupportedSchema(Exception):
    """A type that no structural schema can express, or that would have no bound. Names the field."""


def structural(shape: type[Shape], path: str) -> Schema:
    """The structural schema of `shape`; `path` is where it stands in the object, such as spec."""
    document = shape.model_json_schema(by_alias=True, mode="validation")
    return _node(document, document.get("$defs", {}), path)


def _node(raw: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    schema = _flat(raw, definitions, path)
    kind = str(schema.get("type"))
    if kind not in _KNOWN:
        raise UnsupportedSchema(f"{path}: type {kind} has no structural schema; name a type with fields of its own")
    unknown = sorted(set(schema) - _KNOWN[kind] - _EVERYWHERE)
    if unknown:
        raise UnsupportedSchema(f"{path}: {', '.join(unknown)} cannot stand in a structural schema of type {kind}")
    match kind:
        case "integer":
            schema["format"] = "int32" if abs(schema.get("maximum", INT32_MAX + 1)) <= INT32_MAX else "int64"
        case "string":
            _bounded_string(schema, path)
        case "array":
            _bounded(schema, "maxItems", path)
            schema["items"] = _node(schema.get("items", {}), definitions, f"{path}[]")
            schema.setdefault(LIST_TYPE, "atomic")
        case "object":
            _object(schema, definitions, path)
    return _ordered(schema)


def _flat(raw: Schema, definitions: Mapping[str, Schema], path: str) -> Schema:
    """`raw` without $ref and anyOf: what stands beside a $ref (description, default) wins over what it refers to.

    An optional field (null is its default) becomes one that may be absent, an item that may be null a nullable one.
    """
    schema = {key: value for key, value in raw.items() if key not in {"$ref", "anyOf", "$defs"}}
    if "$ref" in raw:
        target = definitions[raw["$ref"].removeprefix("#/$defs/")]
        return _flat({**target, **schema}, definitions, path)
    if "anyOf" not in raw:
        return schema
    members = [member for member in raw["anyOf"] if member.get("type") != "null"]
    if len(members) != 1:
        raise UnsupportedSchema(f"{path}: a union; a structural schema knows one type, or that type and null")
    if "default" not in schema:
        return _flat({**members[0], **schema, "nullable": True}, definitions, path)
    return _flat({**members[0], **{k: v for k, v in schema.items() if (k, v) != ("default", None)}}, definitions, path)


def _bounded(schema: Schema, bound: str, path: str) -> None:
    if bound not in schema:
        raise UnsupportedSchema(f"{path}: has no upper bound, give {bound} so that CEL rules can be priced")


def _bounded_string(schema: Schema, path: str) -> None:
    if "enum" not in schema:
        _bounded(schema, "maxLength", path)
    # RE2, which the API server uses, knows neither look-around nor back-references.
    if "(?" in schema.get("pattern", ""):
        raise UnsupportedSchema(f"{path}: the pattern uses (?, which the API server's RE2 may not know")


def _object(schema: Schema, definitions: Mapping[str, Schema], path: str) -> None:
    if "properties" in schema:
        schema["properties"] = {
            name: _node(child, definitions, f"{path}.{name}") for name, child in schema["properties"].items()
        }
        if "default" in schema:
            schema["default"] = _object_default(schema, path)
        return
    values = schema.get("additionalProperties")
    if not isinstance(values, dict):
        raise UnsupportedSchema(f"{path}: a free-form object; name its fields, or the type of a map's values")
    _bounded(schema, "maxProperties", path)
    schema["additionalProperties"] = _node(values, definitions, f"{path}.*")


def _object_default(schema: Schema, path: str) -> Schema:
    """The fields' own defaults, all of them: the API server judges a default by the rules before it fills it in."""
    given = {key: value for key, value in schema["default"].items() if value is not None}
    fields = {key: child["default"] for key, child in schema["properties"].items() if "default" in child}
    if given != fields:
        raise UnsupportedSchema(f"{path}: its default {given} is not what its fields' own defaults give, {fields}")
    return given


def _ordered(schema: Schema) -> Schema:
    if RULES in schema:
        schema[RULES] = [dict(rule) for rule in schema[RULES]]
    return {key: schema[key] for key in _ORDER if key in schema}
