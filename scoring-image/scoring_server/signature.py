"""What a model takes and gives: names, element types and shapes. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tensor:
    """One input or output. `dtype` is numpy's name (`object` for texts); None in `shape` is a free dimension."""

    name: str
    dtype: str
    shape: tuple[int | None, ...]

    def __str__(self) -> str:
        free = "rows" if len(self.shape) > 1 else "values"
        sizes = [str(size) if size is not None else (free if at == 0 else "any") for at, size in enumerate(self.shape)]
        kind = "text" if self.dtype == "object" else self.dtype
        return f"{self.name!r} ({kind}, shape [{', '.join(sizes)}])"


@dataclass(frozen=True)
class Signature:
    """`columns` are the features' names in order, where the model tells them; otherwise empty.

    For a classifier `label` and `probabilities` name the outputs that hold them.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    columns: tuple[str, ...] = ()
    label: str | None = None
    probabilities: str | None = None
