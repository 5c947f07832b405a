"""How long a failed registration rests before the next attempt. Pure: the state lies in the failed pod."""

from __future__ import annotations

from datetime import datetime, timedelta

FIRST = timedelta(seconds=5)
LONGEST = timedelta(seconds=300)


def delay(attempt: int) -> timedelta:
    """5, 10, 20 … 300 s after the first, second, third … failed attempt."""
    doublings = min(max(attempt, 1) - 1, 16)
    return min(FIRST * (1 << doublings), LONGEST)


def remaining(attempt: int, finished: datetime, now: datetime) -> float:
    """Seconds until the next attempt is due, 0 when it is.

    A node's clock may be ahead of ours; then the rest is no longer than a whole delay.
    """
    rest = delay(attempt)
    return max(0.0, min((finished + rest - now).total_seconds(), rest.total_seconds()))
