"""The conditions of a ModelDeployment: their order, what Ready sums up, and how new ones replace old ones.

kstatus rules: every condition tells the generation it speaks of, Reconciling, Stalled and Suspended are there only
while true, and lastTransitionTime changes only when the status does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from modeldeploy_operator.core.facts import Facts
from modeldeploy_operator.errors import ReconcileError, Stalled

REGISTERED = "Registered"
CREDENTIALS_READY = "CredentialsReady"
AVAILABLE = "Available"
READY = "Ready"
RECONCILING = "Reconciling"
STALLED = "Stalled"
SUSPENDED = "Suspended"

ORDER = (REGISTERED, CREDENTIALS_READY, AVAILABLE, READY, RECONCILING, STALLED, SUSPENDED)


@dataclass(frozen=True)
class Condition:
    """One condition of this pass; `status` is True, False or Unknown."""

    type: str
    status: str
    reason: str
    message: str


def _error(value: object) -> ReconcileError | None:
    return value if isinstance(value, ReconcileError) else None


READY_NEEDS: tuple[Callable[[Facts], ReconcileError | None], ...] = (
    lambda facts: _error(facts.models),
    lambda facts: _error(facts.code),
    lambda facts: _error(facts.credentials),
    lambda facts: facts.action_problem,
)
"""The steps of a pass that must be without a problem, in order; after them the rollout."""


def problem(facts: Facts) -> ReconcileError | None:
    """What keeps the deployment from being Ready.

    Of several steps the first that only the user can mend, else the first. The rollout counts only where the steps
    before it succeeded: what ails the old revision matters less than why the new one does not come.
    """
    found = [error for need in READY_NEEDS if (error := need(facts)) is not None]
    stalled = next((error for error in found if isinstance(error, Stalled)), None)
    return stalled or next(iter(found), None) or facts.assessment.problem


def merged(
    new: Iterable[Condition], old: Sequence[Mapping[str, Any]], generation: int, now: str
) -> list[dict[str, Any]]:
    """The new conditions on the wire, in the declared order, with the old ones' times where the status is the same."""
    before = {condition["type"]: condition for condition in old}
    ordered = sorted(new, key=lambda condition: ORDER.index(condition.type))
    return [_wire(condition, before.get(condition.type), generation, now) for condition in ordered]


def find(conditions: Iterable[Mapping[str, Any]], kind: str) -> Mapping[str, Any]:
    """The condition of that type on the wire; empty where there is none."""
    return next((condition for condition in conditions if condition["type"] == kind), {})


def _wire(condition: Condition, before: Mapping[str, Any] | None, generation: int, now: str) -> dict[str, Any]:
    same = before is not None and before["status"] == condition.status
    return {
        "type": condition.type,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else now,
        "observedGeneration": generation,
    }
