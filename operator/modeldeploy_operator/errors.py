"""What may go wrong, sorted by who must act. Adapters map their library's errors into these, and nothing else does.

ReconcileError(reason, message)
├─ Stalled       the user must act: no retry until the object, or something it refers to, changes
├─ Waiting       expected and in progress: come back after `retry_after` seconds, or when an event arrives
└─ Unavailable   network, 409, 429, 5xx, time-outs: come back with capped, jittered backoff
"""

from __future__ import annotations


class ReconcileError(Exception):
    """A reconcile step that cannot go on. `reason` is CamelCase, `message` a sentence for the user."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Stalled(ReconcileError):
    """Only the user can mend this."""


class Waiting(ReconcileError):
    """Something expected has not happened yet.

    `retry_after` is in seconds; None means that an event will wake the object.
    """

    def __init__(self, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after


class Unavailable(ReconcileError):
    """A service did not answer, or asked to be left alone for `retry_after` seconds."""

    def __init__(self, reason: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(reason, message)
        self.retry_after = retry_after
