"""Kubernetes quantities as numbers, so that 1024Mi and 1Gi, or 0.5 and 500m, are the same."""

from __future__ import annotations

import re
from fractions import Fraction

_PATTERN = re.compile(r"^([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)([numkMGTPE]|[KMGTPE]i)?$")
_UNITS: dict[str, Fraction] = {
    "n": Fraction(1, 10**9),
    "u": Fraction(1, 10**6),
    "m": Fraction(1, 10**3),
    "": Fraction(1),
    **{suffix: Fraction(10**power) for suffix, power in zip("kMGTPE", range(3, 21, 3), strict=True)},
    **{f"{suffix}i": Fraction(2**power) for suffix, power in zip("KMGTPE", range(10, 70, 10), strict=True)},
}


def parse(value: object) -> Fraction | None:
    """The number that a quantity stands for; None for anything that is no quantity."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    found = _PATTERN.match(str(value))
    return None if found is None else Fraction(found[1]) * _UNITS[found[2] or ""]
