"""What every API type has in common: camelCase on the wire, CEL rules beside the fields they bind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema

GROUP = "modeldeploy.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

RULES = "x-kubernetes-validations"


@dataclass(frozen=True)
class Rule:
    """One CEL rule (x-kubernetes-validations) and the sentence that tells a user what to write instead.

    Stands in the `rules` of a Shape, or in the Annotated of a map.
    """

    rule: str
    message: str

    def __get_pydantic_json_schema__(self, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        return {**schema, RULES: [*schema.get(RULES, []), self.document()]}

    def document(self) -> dict[str, str]:
        """The rule as the CRD carries it."""
        return {"rule": self.rule, "message": self.message}


class Shape(BaseModel):
    """A frozen object of the API. Unknown fields are ignored here: the API server has pruned or refused them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    rules: ClassVar[tuple[Rule, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema: dict[str, Any] = handler(core_schema)
        if cls.rules:
            handler.resolve_ref_schema(schema)[RULES] = [rule.document() for rule in cls.rules]
        return schema

    def document(self) -> dict[str, Any]:
        """As it stands in YAML, defaults included: what is absent is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


def keyed_by(field: str) -> dict[str, Any]:
    """Schema of a list whose items are told apart by `field`: unique, and merged item by item when applied."""
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [field]}
