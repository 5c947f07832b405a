"""Who runs when: places, deadlines and threads. Knows no HTTP and no model format."""

from scoring_server.engine.engine import Engine

__all__ = ["Engine"]
