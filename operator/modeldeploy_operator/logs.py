"""Log lines as JSON objects on standard error, those of libraries included."""

from __future__ import annotations

import logging
import sys

import structlog

LOUD = {
    "kopf": logging.WARNING,
    "kopf._core.reactor.running": logging.ERROR,  # it warns that signals are not its own: so it should be
    "kopf._cogs.clients": logging.CRITICAL,  # each attempt of an outage; the informers tell of it once
    "aiohttp": logging.WARNING,
    "asyncio": logging.WARNING,
    "kubernetes": logging.WARNING,
}
"""Libraries that tell of every step; from these levels on they are worth a line."""


def configure(level: str) -> None:
    """Send everything through one formatter."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="ts"),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(default=str),
        ],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name, least in LOUD.items():
        logging.getLogger(name).setLevel(max(least, logging.getLevelName(level)))
