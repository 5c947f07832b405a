"""Why a model's bytes cannot be had. The reasons are the contract with the operator, which puts them into status.

What must not enter a message: the user information and the query of a URI, for both may hold secrets.
"""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "SourceNotFound", "DigestMismatch", "SourceUnavailable", "SourceForbidden", "SourceRefused", "SourceInvalid"
]


class SourceError(Exception):
    """The bytes cannot be had: `reason` for machines, the message for the person who must act."""

    def __init__(self, reason: Reason, message: str, listing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.message = message
        self.listing = listing


class Interrupted(SourceError):
    """What a second attempt may cure: the network, an overloaded server. Raised only where a retry follows."""

    def __init__(self, message: str, retry_after: float = 0.0) -> None:
        super().__init__("SourceUnavailable", message)
        self.retry_after = retry_after
