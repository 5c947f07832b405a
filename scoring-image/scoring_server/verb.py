"""What the verbs `fetch` and `register` share: run, report what came of it, and yield the exit code."""

from __future__ import annotations

import json
import logging
import random
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from types import FrameType
from typing import Any

from scoring_server import logs, termination
from scoring_server.source_errors import SourceError
from scoring_server.termination import Failure

_log = logging.getLogger(__name__)

TERMINATION_LOG = "/dev/termination-log"
_LEVELS = frozenset({"DEBUG", "INFO", "WARNING", "ERROR"})


def run(environ: Mapping[str, str], work: Callable[[], Mapping[str, Any] | None]) -> int:
    """Do the work; a document that it returns, or the failure it raises, becomes the termination message."""
    level = environ.get("SCORING_LOG_LEVEL", "").upper()
    logs.configure(level if level in _LEVELS else "INFO")
    _stop_on_sigterm()
    path = environ.get("SCORING_TERMINATION_LOG") or TERMINATION_LOG
    try:
        document = work()
    except SourceError as error:
        return _failed(Failure("Fetch", error.reason, error.message, listing=error.listing), path)
    except OSError as error:
        message = f"{error.filename or 'A file'} cannot be used: {error.strerror or error}."
        return _failed(
            Failure("Fetch", "SourceUnavailable", message, exception=f"{type(error).__name__}: {error}"), path
        )
    if document is not None:
        _log.info("%s", json.dumps(document))
        _leave(document, path)
    return 0


def jitter() -> float:
    """Spreads the retries of many pods that failed together."""
    return random.uniform(0.5, 1.0)  # noqa: S311 -- spreads load, guards nothing


def _failed(failure: Failure, path: str) -> int:
    _log.error("%s: %s", failure.reason, failure.message)
    _leave(failure, path)
    return failure.exit_code


def _leave(document: Failure | Mapping[str, Any], path: str) -> None:
    try:
        termination.write(document, path)
    except OSError as error:
        # Outside Kubernetes there is no such file, and the log has said it all.
        _log.warning("The termination message could not be written to %s: %s", path, error.strerror)


def _stop_on_sigterm() -> None:
    """As process 1 of a container we would ignore SIGTERM, and a deleted pod would wait out its grace period."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, _stop)


def _stop(number: int, frame: FrameType | None) -> None:
    del frame
    sys.exit(128 + number)
