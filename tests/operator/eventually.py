"""Waiting for a condition instead of for a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


async def until(condition: Callable[[], bool], seconds: float = 5.0, tell: Callable[[], object] = str) -> None:
    """Return as soon as the condition holds; fail with what `tell` yields when it never does."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {tell()}"
        await asyncio.sleep(0.005)
