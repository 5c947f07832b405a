"""What a scorer is: from a request to the body of its answer, with the time each stage took.

The application asks a scorer and maps what it raises; the scorer knows the wire shape and drives the engine.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

from scoring_server.exchange import Request
from scoring_server.protocols.swagger import Described


class Scored:
    """A good answer. Times in seconds."""

    __slots__ = ("body", "decode", "encode", "model", "queue", "run")

    def __init__(self, body: bytes, model: str, *, queue: float, decode: float, run: float, encode: float) -> None:
        self.body = body
        self.model = model
        self.queue = queue
        self.decode = decode
        self.run = run
        self.encode = encode


class Scorer(Protocol):
    @property
    def error_field(self) -> str:
        """The name under which errors of input and run are told: Azure ML scripts say `message`."""

    @property
    def models(self) -> Sequence[str]: ...

    def score(self, request: Request, headers: Mapping[bytes, bytes], request_id: str) -> Scored | Awaitable[Scored]:
        """At once where a run is short, otherwise later. Raises ScoringError, now or when awaited."""

    @property
    def described(self) -> Described: ...

    def swagger(self, version: str) -> dict[str, Any] | None:
        """The document for version 2, 3 or 3.1, or None where there is none."""
