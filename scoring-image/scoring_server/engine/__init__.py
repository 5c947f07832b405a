"""Who runs when: places, deadlines, threads, and what was counted. Knows no HTTP and no model format."""

from __future__ import annotations

from dataclasses import dataclass

from scoring_server.engine.admission import Admission
from scoring_server.engine.workers import Workers


@dataclass(frozen=True)
class Engine:
    """What every scorer shares: the places, the threads, and the time from arrival to answer."""

    admission: Admission
    workers: Workers
    timeout_seconds: float
