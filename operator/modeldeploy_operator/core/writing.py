"""When a changed status is worth a write.

A calm way from apply to Ready passes through states that nobody needs to see one by one. The shell writes what is
urgent at once; anything else it holds back for `SOON_SECONDS`, and writes whatever stands then. So a calm object is
written twice, when work on a generation begins and when it is Ready, and a slow one once or twice more.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from typing import Any

from modeldeploy_operator.core import conditions

SOON_SECONDS = 5.0
"""How long the shell may hold back a status that is only worth writing soon, counted from the first change."""

_Status = Mapping[str, Any]


class Urgency(Enum):
    """What to do about a new status."""

    NONE = "nothing changed"
    SOON = "write within SOON_SECONDS, unless something urgent comes first"
    NOW = "write at once"


def urgency(old: _Status, new: _Status) -> Urgency:
    """NOW: a new generation, Ready gained, Available lost, Stalled, Suspended or the failure changed. SOON: the rest.

    Ready's loss is not urgent by itself: a replica that stumbles is often back before anybody need know. Neither is
    Available's gain, since Ready follows it at once.
    """
    if old == new:
        return Urgency.NONE
    urgent = _headline(old) != _headline(new) or _holds(new, conditions.READY) > _holds(old, conditions.READY)
    return (
        Urgency.NOW if urgent or _holds(new, conditions.AVAILABLE) < _holds(old, conditions.AVAILABLE) else Urgency.SOON
    )


def _headline(status: _Status) -> tuple[object, ...]:
    """What a user acts upon."""
    found = status.get("conditions") or ()
    failure = status.get("lastFailure") or {}
    return (
        status.get("observedGeneration"),
        conditions.find(found, conditions.STALLED).get("reason"),
        conditions.find(found, conditions.SUSPENDED).get("status"),
        tuple(failure.get(name) for name in ("phase", "reason", "exception", "pod")),
    )


def _holds(status: _Status, kind: str) -> bool:
    return conditions.find(status.get("conditions") or (), kind).get("status") == "True"
