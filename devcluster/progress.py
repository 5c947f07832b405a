"""One printed line for every part of a job, with the seconds it took. Nothing else prints while a job runs."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """Prints `name ... 1.2s` when a part ends, and on a terminal also what runs right now."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._live = stream.isatty()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        if self._live:
            self._write(f"  {name} …\r")
        try:
            yield
        except BaseException:
            self.line(f"{name} failed after {time.monotonic() - began:.1f}s")
            raise
        self.line(f"{name:<58} {time.monotonic() - began:6.1f}s")

    def doing(self, name: str, began: float) -> None:
        """What a long part does at the moment; `began` is the monotonic second it started at."""
        text = f"  {name} ({time.monotonic() - began:.0f}s)"
        self._write(f"{text:<78.78}\r" if self._live else text + "\n")

    def line(self, text: str) -> None:
        self._write(f"  {text:<78}\n" if self._live else f"  {text}\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def to_stderr() -> Progress:
    return Progress(sys.stderr)
