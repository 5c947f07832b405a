"""What can go wrong with one request, in the domain's words. How it looks on a wire is decided elsewhere.

ScoringError
├─ InputInvalid       the client must send something else; says what was expected
├─ ModelUnknown       the client named a model that is not served here
├─ Overloaded         no free place within the time a request may wait; try again after `retry_after` seconds
├─ DeadlineExceeded   the answer was not there in time
├─ RunFailed          the model or script raised; `__cause__` is its own exception
└─ ResultInvalid      the script returned something that no JSON can say
"""

from __future__ import annotations


class ScoringError(Exception):
    """Base of everything a single request can fail with."""


class InputInvalid(ScoringError):
    pass


class ModelUnknown(ScoringError):
    pass


class Overloaded(ScoringError):
    def __init__(self, limit: int, waited_seconds: float, retry_after: int = 1) -> None:
        super().__init__(
            f"{limit} requests are running, and none finished within {waited_seconds * 1000:.0f} ms. Try again."
        )
        self.retry_after = retry_after


class DeadlineExceeded(ScoringError):
    def __init__(self, timeout_seconds: float) -> None:
        super().__init__(f"Scoring timeout after {timeout_seconds * 1000:.0f} ms")


class RunFailed(ScoringError):
    pass


class ResultInvalid(ScoringError):
    pass
