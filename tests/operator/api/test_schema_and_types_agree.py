"""The API server judges by the structural schema, the operator reads by the pydantic type: both must say the same."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from modeldeploy_operator.api.schema import structural
from modeldeploy_operator.api.shapes import Shape
from modeldeploy_operator.api.status import ModelDeploymentStatus
from modeldeploy_operator.api.v1alpha1 import ModelDeploymentSpec, ModelVersionSpec
from pydantic import ValidationError

from tests.operator.api.structural import persisted, validator

SHAPES: dict[str, type[Shape]] = {
    "ModelDeployment spec": ModelDeploymentSpec,
    "ModelDeployment status": ModelDeploymentStatus,
    "ModelVersion spec": ModelVersionSpec,
}
SCHEMAS = {name: structural(shape, name) for name, shape in SHAPES.items()}
WEIRD = st.sampled_from(
    [
        None,
        True,
        -1,
        0,
        1.5,
        10**9,
        "",
        " ",
        "x" * 70,
        "UPPER_case",
        "a\n",
        "ä",
        "-",
        "1Gi",
        [],
        [1],
        [None],
        {},
        {"a": 1},
    ]
)
SETTINGS = settings(max_examples=50, deadline=None, database=None)


def _valid(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    strategy = _valid_unless_null(schema)
    return st.none() | strategy if schema.get("nullable") else strategy


def _valid_unless_null(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    match schema:
        case {"enum": values}:
            return st.sampled_from(values)
        case {"type": "boolean"}:
            return st.booleans()
        case {"type": "integer"}:
            return st.integers(schema.get("minimum", -100), schema.get("maximum", 2**62))
        case {"type": "string", "pattern": pattern}:
            texts = st.from_regex(re.sub(r"\$$", r"\\Z", pattern))
            return texts.filter(lambda text: schema.get("minLength", 0) <= len(text) <= schema["maxLength"])
        case {"type": "string"}:
            longest = min(schema["maxLength"], 80)
            return st.text("aZ0 -_./:ä\n", min_size=schema.get("minLength", 0), max_size=longest)
        case {"type": "array"}:
            longest = min(schema["maxItems"], 3)
            return st.lists(_valid(schema["items"]), min_size=schema.get("minItems", 0), max_size=longest)
        case {"type": "object", "properties": properties}:
            required = set(schema.get("required", []))
            return st.fixed_dictionaries(
                {name: _valid(child) for name, child in properties.items() if name in required},
                optional={name: _valid(child) for name, child in properties.items() if name not in required},
            )
        case {"type": "object", "additionalProperties": values}:
            return st.dictionaries(st.text("aZ/.-", max_size=9), _valid(values), max_size=3)
    raise AssertionError(f"no strategy for {schema}")


DOCUMENTS = {name: _valid(schema) for name, schema in SCHEMAS.items()}


def _places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield (*path, key)
        yield from _places(child, (*path, key))


@st.composite
def _one_place_changed(draw: st.DrawFn, documents: st.SearchStrategy[Any]) -> Any:
    document = draw(documents)
    places = list(_places(document))
    if not places:
        return draw(WEIRD)
    *above, last = draw(st.sampled_from(places))
    parent = document
    for key in above:
        parent = parent[key]
    if draw(st.booleans()):
        parent[last] = draw(WEIRD)
    else:
        del parent[last]
    return document


VALIDATORS = {name: validator(schema) for name, schema in SCHEMAS.items()}


def _schema_accepts(name: str, document: Any) -> bool:
    return bool(VALIDATORS[name].is_valid(document))


def _type_accepts(name: str, document: Any) -> bool:
    try:
        SHAPES[name].model_validate_json(json.dumps(document), strict=True)
    except ValidationError:
        return False
    return True


@pytest.mark.parametrize("name", SHAPES)
def test_what_is_made_by_the_schema_is_accepted_by_both_and_survives_reading_and_writing(name: str) -> None:
    @SETTINGS
    @given(DOCUMENTS[name])
    def agree(document: Any) -> None:
        stored = persisted(SCHEMAS[name], document)
        assert _schema_accepts(name, stored)
        assert _type_accepts(name, stored)
        shape = SHAPES[name].model_validate(stored)
        assert _schema_accepts(name, shape.document())
        assert SHAPES[name].model_validate(shape.document()) == shape

    agree()


@pytest.mark.parametrize("name", SHAPES)
def test_what_one_of_them_refuses_the_other_refuses_too(name: str) -> None:
    refused = 0

    @SETTINGS
    @given(_one_place_changed(DOCUMENTS[name]))
    def agree(document: Any) -> None:
        nonlocal refused
        stored = persisted(SCHEMAS[name], document)
        verdict = _schema_accepts(name, stored)
        assert _type_accepts(name, stored) == verdict
        refused += not verdict

    agree()
    assert refused >= 10
