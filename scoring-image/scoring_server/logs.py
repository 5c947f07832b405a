"""JSON lines on stdout: one record a line, with the id of the request that it belongs to.

Everything the process says goes through here: our own records, uvicorn's, the user's `logging` and the user's
`print`. What must not enter: keys, request bodies, environment values.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, TextIO

#: The request being answered in this context; empty outside a request.
request_id: ContextVar[str] = ContextVar("request_id", default="")

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
# A user who prints a gigabyte without a line end must not make us hold it.
_LONGEST_LINE = 16_384


class JsonFormatter(logging.Formatter):
    """One record as one line of JSON; `extra={…}` fields stand beside the message."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        current = request_id.get()
        if current:
            fields["requestId"] = current
        for name, value in record.__dict__.items():
            if name not in _STANDARD and not name.startswith("_"):
                fields[name] = value
        if record.exc_info:
            fields["traceback"] = "".join(traceback.format_exception(*record.exc_info))
        return json.dumps(fields, ensure_ascii=False, default=str)


class PrintCapture(io.TextIOBase):
    """Stands in for `sys.stdout`/`sys.stderr`: what a script prints becomes a record a line, with its request id.

    A line is held per context until its end comes, so two requests that print at once do not mix.
    """

    def __init__(self, logger: logging.Logger, level: int) -> None:
        self._logger = logger
        self._level = level
        self._pending: ContextVar[str] = ContextVar(f"pending_{logger.name}", default="")

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str, /) -> int:
        *lines, rest = (self._pending.get() + text).split("\n")
        while len(rest) > _LONGEST_LINE:
            lines.append(rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        self._pending.set(rest)
        for line in lines:
            if line:
                self._logger.log(self._level, line)
        return len(text)

    def flush(self) -> None:
        rest = self._pending.get()
        if rest:
            self._pending.set("")
            self._logger.log(self._level, rest)


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send every record of the process as JSON lines to `stream` (the real stdout), at `level` and above."""
    handler = logging.StreamHandler(stream if stream is not None else sys.__stdout__)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logging.getLogger(name).handlers.clear()
        logging.getLogger(name).propagate = True


def capture_prints() -> None:
    """From here on the process's `print` becomes log records; our handler keeps the real stdout."""
    sys.stdout = PrintCapture(logging.getLogger("script.stdout"), logging.INFO)
    sys.stderr = PrintCapture(logging.getLogger("script.stderr"), logging.WARNING)
