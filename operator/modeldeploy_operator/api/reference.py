"""docs/api.md from the CRDs: every field with type, default, bounds and description, every rule's sentence."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from .schema import LIST_KEYS, Schema
from .shapes import RULES

INTRODUCTION = """\
# API reference

Generated from the types in `operator/modeldeploy_operator/api` by `make crds`; do not edit.

The API server refuses an object that breaks a type, a bound or a rule on this page, so `kubectl apply` tells at once.
**Required** fields have no default. A field that is absent and has no default is simply not there.
"""


def page(definitions: Sequence[dict[str, Any]]) -> str:
    """The whole page."""
    return "\n".join([INTRODUCTION, *(line for document in definitions for line in _resource(document))])


def _resource(document: dict[str, Any]) -> Iterator[str]:
    names, version = document["spec"]["names"], document["spec"]["versions"][0]
    root = version["schema"]["openAPIV3Schema"]
    yield f"## {names['kind']}\n"
    yield f"{root['description']}\n"
    yield (
        f"`apiVersion: {document['spec']['group']}/{version['name']}`, `kind: {names['kind']}`; "
        f"`kubectl get {names['plural']}`, short `{names['shortNames'][0]}`, also in `kubectl get ml`.\n"
    )
    columns = [f"{c['name'].upper()}{' (wide)' if c['priority'] else ''}" for c in version["additionalPrinterColumns"]]
    yield f"Columns of `kubectl get`: {', '.join(columns)}.\n"
    if "scale" in version.get("subresources", {}):
        yield f"`kubectl scale` sets `{version['subresources']['scale']['specReplicasPath'].lstrip('.')}`.\n"
    yield from _rules(root[RULES])
    for part in ("spec", "status"):
        if part in root["properties"]:
            yield f"### {names['kind']} {part}\n"
            yield from _objects(root["properties"][part], part)


def _objects(schema: Schema, path: str) -> Iterator[str]:
    """A table of the fields of `schema`, its rules, then the same of each object within."""
    if path not in {"spec", "status"}:
        yield f"#### {path}\n"
    yield f"{schema['description']}\n"
    yield "| field | type | default | description |"
    yield "|---|---|---|---|"
    required = schema.get("required", [])
    for name, child in schema["properties"].items():
        default = "**required**" if name in required else _default(child)
        yield f"| `{name}` | {_cell(_type(child))} | {default} | {_cell(child.get('description', ''))} |"
    yield ""
    yield from _rules(schema.get(RULES, []))
    for name, child in schema["properties"].items():
        if "properties" not in child and child.get(RULES):
            yield f"Of `{name}`:\n"
            yield from _rules(child[RULES])
    for name, child in schema["properties"].items():
        inner, suffix = (child["items"], "[]") if child.get("type") == "array" else (child, "")
        if "properties" in inner:
            yield from _objects(inner, f"{path}.{name}{suffix}")


def _rules(rules: Sequence[dict[str, str]]) -> Iterator[str]:
    if rules:
        yield "Rules:\n"
        yield from (f"- {rule['message']}" for rule in rules)
        yield ""


def _default(schema: Schema) -> str:
    match schema.get("default"):
        case None:
            return ""
        case dict():
            return "its fields' defaults"
        case value:
            return f"`{json.dumps(value)}`"


def _type(schema: Schema) -> str:
    match schema["type"]:
        case "array":
            keys = schema.get(LIST_KEYS)
            unique = f", unique by `{keys[0]}`" if keys else ""
            return f"list of {_item(schema['items'])}; {_range(schema, 'Items', 'items')}{unique}"
        case "object" if "additionalProperties" in schema:
            values = _type(schema["additionalProperties"])
            return f"map of string to {values}; {_range(schema, 'Properties', 'entries')}"
        case "string":
            return _string(schema)
        case "integer" if "maximum" in schema:
            return f"integer, {schema['minimum']} to {schema['maximum']}"
        case "integer" if "minimum" in schema:
            return f"integer, at least {schema['minimum']}"
        case kind:
            return str(kind)


def _item(schema: Schema) -> str:
    return f"{_type(schema)} or null" if schema.get("nullable") else _type(schema)


def _string(schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(f"`{value}`" for value in schema["enum"])
    if schema.get("format") == "date-time":
        return "time (RFC 3339)"
    pattern = f", `{schema['pattern']}`" if "pattern" in schema else ""
    return f"string, {_range(schema, 'Length', 'characters')}{pattern}"


def _range(schema: Schema, bound: str, unit: str) -> str:
    least, most = schema.get(f"min{bound}"), schema[f"max{bound}"]
    return f"{least} to {most} {unit}" if least is not None else f"at most {most} {unit}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
