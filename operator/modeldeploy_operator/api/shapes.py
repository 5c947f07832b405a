"""What every API type has in common: camelCase on the wire, CEL rules beside the fields they bind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

GROUP = "modeldeploy.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"


@dataclass(frozen=True)
class Rule:
    """One CEL rule (x-kubernetes-validations) and the sentence that tells a user what to write instead."""

    rule: str
    message: str


class Shape(BaseModel):
    """A frozen object of the API. Unknown fields are ignored here: the API server has pruned or refused them."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    rules: ClassVar[tuple[Rule, ...]] = ()
