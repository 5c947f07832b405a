"""The field types that several resources share: names, quantities, labels. Every one is bounded, which CEL needs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from .shapes import Rule

DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=63)]
ObjectName = Annotated[
    str,
    Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$", min_length=1, max_length=253),
]
ModelName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", min_length=1, max_length=50)]
Quantity = Annotated[str, Field(pattern=r"^[0-9]+([.][0-9]+)?(m|k|M|G|T|P|E|Ki|Mi|Gi|Ti|Pi|Ei)?$", max_length=20)]
LabelValue = Annotated[str, Field(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)]
LabelKey = Annotated[
    str,
    Field(
        pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
        min_length=1,
        max_length=317,
    ),
]
Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$", max_length=71)]
Prose = Annotated[str, Field(max_length=1024)]

Tags = Annotated[
    dict[str, Annotated[str, Field(max_length=256)]],
    Field(max_length=32),
    Rule("self.all(k, k.size() >= 1 && k.size() <= 63)", "a tag's name has 1 to 63 characters: shorten it"),
]
NodeLabels = Annotated[
    dict[str, LabelValue],
    Field(max_length=16),
    Rule(
        "self.all(k, k.matches('^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
        "a node label is named name or domain/name, such as kubernetes.io/arch",
    ),
]
Accelerators = Annotated[
    dict[str, Annotated[int, Field(ge=1, le=64)]],
    Field(max_length=8),
    Rule(
        "self.all(k, k.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$'))",
        "an accelerator is named with its domain, such as nvidia.com/gpu; cpu and memory have fields of their own",
    ),
]
