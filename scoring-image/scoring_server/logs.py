"""JSON lines on stdout: one record a line, with the id of the request that it belongs to.

Everything the process says goes through here: our own records, the user's `logging` and the user's
`print`. What must not enter: keys, request bodies, environment values.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
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

    A line is held per thread until its end comes, so two requests that print at once do not mix. Records go to
    `handler` directly: through the logger tree, a user's own handler on stderr would feed on its own output.
    """

    def __init__(self, name: str, level: int, handler: logging.Handler) -> None:
        self._name = name
        self._level = level
        self._handler = handler
        self._held = threading.local()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return "utf-8"

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return False

    def write(self, text: str, /) -> int:
        *lines, rest = (getattr(self._held, "text", "") + text).split("\n")
        while len(rest) > _LONGEST_LINE:
            lines.append(rest[:_LONGEST_LINE])
            rest = rest[_LONGEST_LINE:]
        self._held.text = rest
        for line in lines:
            self._emit(line)
        return len(text)

    def flush(self) -> None:
        rest = getattr(self._held, "text", "")
        if rest:
            self._held.text = ""
            self._emit(rest)

    def _emit(self, line: str) -> None:
        if line:
            self._handler.handle(logging.LogRecord(self._name, self._level, "", 0, line, None, None))


def configure(level: str, stream: TextIO | None = None) -> None:
    """Send every record of the process as JSON lines to `stream` (the real stdout), at `level` and above."""
    handler = logging.StreamHandler(stream if stream is not None else sys.__stdout__)
    handler.setFormatter(JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def capture_prints() -> None:
    """From here on the process's `print` becomes log records, whatever the level: a user printed on purpose."""
    handler = logging.getLogger().handlers[0]
    sys.stdout = PrintCapture("script.stdout", logging.INFO, handler)
    sys.stderr = PrintCapture("script.stderr", logging.WARNING, handler)


def release_prints() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__
