"""What one client may take: time, bytes, connections. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Seconds, bytes and counts. A body or answer that moves at the minimum rate may take longer."""

    body_bytes: int
    head_bytes: int = 16 * 1024
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    bytes_per_second: int = 64 * 1024
    idle_seconds: float = 75.0
    write_seconds: float = 30.0
    connections: int = 4096
