"""What the generator makes of a type, and what it refuses, by field name."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, ClassVar

import pytest
from modeldeploy_operator.api.schema import UnsupportedSchema, structural
from modeldeploy_operator.api.shapes import Rule, Shape, keyed_by
from pydantic import Field

Short = Annotated[str, Field(max_length=10)]
POSITIVE = Rule("self.all(k, k != '')", "give the key a name")


class Colour(StrEnum):
    """What it looks like."""

    RED = "Red"
    BLUE = "Blue"


class Inner(Shape):
    """An inner object."""

    rules: ClassVar[tuple[Rule, ...]] = (Rule("self.size > 0", "size must be more than 0"),)

    size: Annotated[int, Field(ge=1, le=9)] = Field(default=3, description="How big.")
    colour: Colour = Field(default=Colour.RED, description="Which colour.")
    note: Short | None = Field(default=None, description="A note.")


class Outer(Shape):
    """The whole."""

    long_name: Annotated[str, Field(pattern="^a+$", min_length=1, max_length=5)] = Field(description="A name.")
    inner: Inner = Field(default=Inner(), description="What is within.")
    optional: Inner | None = Field(default=None, description="May be absent.")
    items: Annotated[list[Inner], Field(min_length=1, max_length=4)] = Field(
        description="Several.", json_schema_extra=keyed_by("colour")
    )
    dimensions: Annotated[list[int | None], Field(max_length=2)] = Field(description="Null where unknown.")
    labels: Annotated[dict[str, Short], Field(max_length=2), POSITIVE] | None = Field(default=None, description="L.")
    ratio: Annotated[float, Field(ge=0, le=1)] = Field(default=0.5, description="A share.")
    total: Annotated[int, Field(ge=0)] = Field(default=0, description="A sum.")


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return structural(Outer, "spec")


def test_fields_are_named_in_camel_case_and_those_without_default_are_required(schema: dict[str, Any]) -> None:
    assert next(iter(schema["properties"])) == "longName"
    assert schema["required"] == ["longName", "items", "dimensions"]


def test_bounds_and_patterns_are_kept(schema: dict[str, Any]) -> None:
    assert schema["properties"]["longName"] == {
        "description": "A name.",
        "type": "string",
        "pattern": "^a+$",
        "minLength": 1,
        "maxLength": 5,
    }


def test_an_object_is_inlined_with_its_description_its_rules_and_its_fields_own_defaults(
    schema: dict[str, Any],
) -> None:
    inner = schema["properties"]["inner"]
    assert inner["description"] == "What is within."
    assert inner["default"] == {"size": 3, "colour": "Red"}
    assert inner["properties"]["colour"] == {
        "description": "Which colour.",
        "type": "string",
        "default": "Red",
        "enum": ["Red", "Blue"],
    }
    assert inner["x-kubernetes-validations"] == [{"rule": "self.size > 0", "message": "size must be more than 0"}]


def test_an_optional_field_is_neither_required_nor_nullable_nor_defaulted(schema: dict[str, Any]) -> None:
    optional = schema["properties"]["optional"]
    assert optional["type"] == "object"
    assert not {"default", "nullable", "anyOf"} & set(optional)


def test_an_item_that_may_be_null_is_nullable(schema: dict[str, Any]) -> None:
    assert schema["properties"]["dimensions"]["items"] == {"type": "integer", "nullable": True, "format": "int64"}


def test_a_list_says_how_it_is_merged(schema: dict[str, Any]) -> None:
    items = schema["properties"]["items"]
    assert (items["x-kubernetes-list-type"], items["x-kubernetes-list-map-keys"]) == ("map", ["colour"])
    assert (items["minItems"], items["maxItems"]) == (1, 4)
    assert schema["properties"]["dimensions"]["x-kubernetes-list-type"] == "atomic"


def test_a_map_keeps_its_rules_and_the_type_of_its_values(schema: dict[str, Any]) -> None:
    assert schema["properties"]["labels"] == {
        "description": "L.",
        "type": "object",
        "maxProperties": 2,
        "additionalProperties": {"type": "string", "maxLength": 10},
        "x-kubernetes-validations": [{"rule": "self.all(k, k != '')", "message": "give the key a name"}],
    }


def test_an_integer_is_32_bits_wide_only_where_its_bound_fits(schema: dict[str, Any]) -> None:
    assert schema["properties"]["inner"]["properties"]["size"]["format"] == "int32"
    assert schema["properties"]["total"]["format"] == "int64"
    assert "format" not in schema["properties"]["ratio"]


class FreeForm(Shape):
    """Refused."""

    field: dict[str, Any]


class AnyValue(Shape):
    """Refused."""

    field: Any


class UnboundedText(Shape):
    """Refused."""

    field: str


class UnboundedList(Shape):
    """Refused."""

    field: list[Short]


class UnboundedMap(Shape):
    """Refused."""

    field: dict[str, Short]


class UnboundedItem(Shape):
    """Refused."""

    field: Annotated[list[Annotated[dict[str, str], Field(max_length=1)]], Field(max_length=1)]


class Union(Shape):
    """Refused."""

    field: int | Short


class Tuple(Shape):
    """Refused."""

    field: tuple[int, int]


class UniqueItems(Shape):
    """Refused."""

    field: Annotated[set[int], Field(max_length=3)]


class ExclusiveBound(Shape):
    """Refused."""

    field: Annotated[int, Field(gt=0)]


class LookAhead(Shape):
    """Refused."""

    field: Annotated[str, Field(max_length=3, json_schema_extra={"pattern": "(?!a)"})]


class KeyPattern(Shape):
    """Refused."""

    field: Annotated[dict[Annotated[str, Field(pattern="^a$")], Short], Field(max_length=3)]


class OtherDefault(Shape):
    """Refused."""

    field: Inner = Inner(size=4)


@pytest.mark.parametrize(
    ("shape", "sentence"),
    [
        (FreeForm, "spec.field: a free-form object; name its fields, or the type of a map's values"),
        (AnyValue, "spec.field: type None has no structural schema; name a type with fields of its own"),
        (UnboundedText, "spec.field: has no upper bound, give maxLength so that CEL rules can be priced"),
        (UnboundedList, "spec.field: has no upper bound, give maxItems so that CEL rules can be priced"),
        (UnboundedMap, "spec.field: has no upper bound, give maxProperties so that CEL rules can be priced"),
        (UnboundedItem, "spec.field[].*: has no upper bound, give maxLength so that CEL rules can be priced"),
        (Union, "spec.field: a union; a structural schema knows one type, or that type and null"),
        (Tuple, "spec.field: prefixItems cannot stand in a structural schema of type array"),
        (UniqueItems, "spec.field: uniqueItems cannot stand in a structural schema of type array"),
        (ExclusiveBound, "spec.field: exclusiveMinimum cannot stand in a structural schema of type integer"),
        (LookAhead, "spec.field: the pattern uses (?, which the API server's RE2 may not know"),
        (KeyPattern, "spec.field: patternProperties cannot stand in a structural schema of type object"),
        (
            OtherDefault,
            "spec.field: its default {'size': 4, 'colour': 'Red'} is not what its fields' own defaults give,"
            " {'size': 3, 'colour': 'Red'}",
        ),
    ],
)
def test_what_no_structural_schema_can_say_is_refused_by_field(shape: type[Shape], sentence: str) -> None:
    with pytest.raises(UnsupportedSchema) as refused:
        structural(shape, "spec")
    assert str(refused.value) == sentence
