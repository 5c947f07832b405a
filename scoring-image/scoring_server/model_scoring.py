"""Scoring by models without code: JSON to arrays, run, arrays to JSON.

Where a run is short it happens on the event loop, which saves two thread switches; the cost of each model is
measured at the warm-up and followed from then on. What is long runs on a thread, where it can be left at its
deadline; onnxruntime is told to stop.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl

import onnxruntime as ort

from scoring_server import errors
from scoring_server.engine import Engine
from scoring_server.engine.watchdog import Watchdog
from scoring_server.exchange import Request
from scoring_server.loaders import onnx
from scoring_server.loaders.onnx import OnnxModel
from scoring_server.protocols import swagger, tabular
from scoring_server.scoring import Scored

logger = logging.getLogger("scoring_server.model")

# On the loop: bodies up to this size, and runs expected to be shorter than this.
_SHORT_BODY_BYTES = 16 * 1024
_SHORT_RUN_SECONDS = 0.001
# A run on the loop that lasts so long is stopped and done again on a thread.
_LONGEST_ON_LOOP_SECONDS = 0.2


class Cost:
    """What an answer of one model is expected to take, from what earlier ones took. Bigger bodies take longer."""

    __slots__ = ("_body_bytes", "_seconds")

    def __init__(self, seconds: float, body_bytes: int) -> None:
        self._seconds = seconds
        self._body_bytes = body_bytes

    def expected(self, body_bytes: int) -> float:
        return self._seconds * max(1.0, body_bytes / self._body_bytes)

    def learn(self, seconds: float, body_bytes: int) -> None:
        unit = seconds / max(1.0, body_bytes / self._body_bytes)
        self._seconds += (unit - self._seconds) * 0.1

    def overran(self) -> None:
        """One run held up everybody: stay off the loop for a long time."""
        self._seconds = max(self._seconds, 1.0)


class ModelScorer:
    error_field = "error"

    def __init__(
        self, models: Mapping[str, tuple[OnnxModel, Cost]], documents: swagger.Documents, engine: Engine
    ) -> None:
        self._models = models
        self._only = next(iter(models.values())) if len(models) == 1 else None
        self._documents = documents
        self._engine = engine
        self._watchdog = Watchdog(_LONGEST_ON_LOOP_SECONDS)
        self._watchdog.start()
        self._options = onnx.run_options()
        self.models: Sequence[str] = tuple(models)

    @property
    def described(self) -> swagger.Described:
        return self._documents.described

    def swagger(self, version: str) -> dict[str, Any] | None:
        return self._documents.get(version)

    def score(self, request: Request, headers: Mapping[bytes, bytes], request_id: str) -> Scored | Awaitable[Scored]:
        if request.method != "POST":
            raise errors.InputInvalid("A model without a script is scored by POST with a JSON body.")
        if len(request.body) > _SHORT_BODY_BYTES:
            return self._later(request, None)
        # A short body is decoded here in any case: which model it is for may stand in it.
        document = tabular.parse(request.body)
        model, cost, proba = self._choose(request, document)
        if cost.expected(len(request.body)) > _SHORT_RUN_SECONDS or not self._engine.admission.try_enter():
            return self._later(request, document)
        try:
            return self._now(request, document, model, cost, proba)
        except _HeldUp:
            return self._later(request, document)
        finally:
            self._engine.admission.leave()

    def _choose(self, request: Request, document: Mapping[str, Any]) -> tuple[OnnxModel, Cost, str | None]:
        query = dict(parse_qsl(request.query.decode("latin-1"), keep_blank_values=True)) if request.query else {}
        name = query.get("model") or document.get("model")
        if name is None:
            if self._only is not None:
                return (*self._only, query.get("proba"))
            served = ", ".join(self.models)
            raise errors.InputInvalid(
                f"{len(self.models)} models are served here: {served}. "
                'Choose one with /score?model=NAME or with "model" in the body.'
            )
        if name not in self._models:
            raise errors.ModelUnknown(f"There is no model {name!r} here; there is {', '.join(self.models)}.")
        return (*self._models[name], query.get("proba"))

    def _now(
        self, request: Request, document: Mapping[str, Any], model: OnnxModel, cost: Cost, proba: str | None
    ) -> Scored:
        options = self._options
        began = time.perf_counter()
        self._watchdog.guard(began, lambda: setattr(options, "terminate", True))
        try:
            scored = _answer(request, document, model, proba, options)
        except errors.RunFailed as error:
            if options.terminate:
                cost.overran()
                self._options = onnx.run_options()
                logger.warning("A run of %s held up the event loop; it goes to a thread", model.name)
                raise _HeldUp from error
            raise
        finally:
            self._watchdog.release()
        if options.terminate:
            self._options = onnx.run_options()
        ended = time.perf_counter()
        cost.learn(ended - began, len(request.body))
        if ended - request.arrival > self._engine.timeout_seconds:
            raise errors.DeadlineExceeded(self._engine.timeout_seconds)
        return scored

    async def _later(self, request: Request, document: Mapping[str, Any] | None) -> Scored:
        options = onnx.run_options()
        (scored, cost), waited = await self._engine.run(
            request.arrival,
            lambda: self._on_thread(request, document, options),
            on_timeout=lambda: setattr(options, "terminate", True),
        )
        scored.queue = waited
        cost.learn(scored.decode + scored.run + scored.encode, len(request.body))
        return scored

    def _on_thread(
        self, request: Request, document: Mapping[str, Any] | None, options: ort.RunOptions
    ) -> tuple[Scored, Cost]:
        parsed = tabular.parse(request.body) if document is None else document
        model, cost, proba = self._choose(request, parsed)
        return _answer(request, parsed, model, proba, options), cost


class _HeldUp(Exception):
    """A run on the event loop was stopped because it took too long there."""


def _answer(
    request: Request, document: Mapping[str, Any], model: OnnxModel, proba: str | None, options: ort.RunOptions
) -> Scored:
    began = time.perf_counter()
    signature = model.signature
    names = tabular.wanted(document, proba, signature)
    feeds = tabular.feeds(document, signature)
    decoded = time.perf_counter()
    values = model.run(feeds, names, options)
    ran = time.perf_counter()
    body = tabular.answer(values, names, signature)
    encoded = time.perf_counter()
    return Scored(body, model.name, queue=0.0, decode=decoded - began, run=ran - decoded, encode=encoded - ran)
