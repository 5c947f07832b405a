"""Scoring by an Azure ML script: text in, `run()` on a thread, JSON out."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from scoring_server import errors, logs
from scoring_server.engine import Engine
from scoring_server.exchange import Request
from scoring_server.loaders import script as scripts
from scoring_server.protocols import azureml, swagger
from scoring_server.scoring import Scored

logger = logging.getLogger("scoring_server.script")


class ScriptScorer:
    error_field = "message"

    def __init__(self, script: scripts.Script, documents: swagger.Documents, engine: Engine) -> None:
        self._script = script
        self._documents = documents
        self._engine = engine
        self._name = script.path.stem
        self.models: Sequence[str] = (self._name,)

    @property
    def described(self) -> swagger.Described:
        return self._documents.described

    def swagger(self, version: str) -> dict[str, Any] | None:
        return self._documents.get(version)

    async def score(self, request: Request, headers: Mapping[bytes, bytes], request_id: str) -> Scored:
        raw_data = azureml.raw_data(request.method, request.query, headers.get(b"content-type", b""), request.body)
        wanted = azureml.request_headers(request.headers) if self._script.wants_headers else None
        decoded = time.perf_counter()
        (body, run, encode), waited = await self._engine.run(
            request.arrival, lambda: self._run(raw_data, wanted, request_id)
        )
        return Scored(body, self._name, queue=waited, decode=decoded - request.arrival, run=run, encode=encode)

    def _run(self, raw_data: str, headers: Mapping[str, str] | None, request_id: str) -> tuple[bytes, float, float]:
        """On a worker's thread. Everything that is logged or printed here carries the request's id."""
        token = logs.request_id.set(request_id)
        began = time.perf_counter()
        try:
            result = self._script.call(raw_data, headers)
            ended = time.perf_counter()
            body = azureml.encode(result)
        except errors.ResultInvalid as error:
            logger.error("%s", error, exc_info=error)
            raise
        except BaseException as error:
            what = scripts.describe(error)
            logger.error("run() raised %s", what, exc_info=scripts.user_part(error, self._script.path))
            raise errors.RunFailed(what) from error
        finally:
            sys.stdout.flush()
            logs.request_id.reset(token)
        return body, ended - began, time.perf_counter() - ended
