"""Routes, identity, key check and the mapping of errors to answers. No model, no socket, no thread.

`Application.answer` takes a whole request and gives a whole response, at once where it can: the connection writes
it without a task in between. The same object is an ASGI application, for tests and for other servers.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from scoring_server import errors, logs
from scoring_server.auth import Keys
from scoring_server.description import Description
from scoring_server.exchange import Header, Request, Response
from scoring_server.metrics import Metrics
from scoring_server.protocols import identity, swagger
from scoring_server.scoring import Scored, Scorer

logger = logging.getLogger("scoring_server.access")

_JSON: Header = (b"content-type", b"application/json")
_HTML: Header = (b"content-type", b"text/html; charset=utf-8")
_NOT_FAILED: Header = (b"x-ms-run-function-failed", b"False")
_FAILED: Header = (b"x-ms-run-function-failed", b"True")

_NOT_FOUND = (
    "The requested URL was not found on the server. "
    "If you entered the URL manually please check your spelling and try again."
)
_WRONG_METHOD = "The method is not allowed for the requested URL."
_RUN_FAILED = "An unexpected error occurred in scoring script. Check the logs for more info."
_INTERNAL = "An unexpected internal error occurred. Check the logs for more info."
_UNAUTHORIZED = "A valid key is required: send it as 'Authorization: Bearer <key>'."
_NOT_READY = "The model is not loaded yet. Try again."

# So many threads lost in runs that never return, and being started again is the only way out.
_LEFT_BEHIND_LIMIT = 64


_Handler = Callable[[Request, Mapping[bytes, bytes]], Response | Awaitable[Response]]


class Application:
    """What is served. It answers from the first moment on; `scorer` is set once the model is ready."""

    def __init__(
        self, *, metrics: Metrics, keys: Keys | None, server_version: str, left_behind: Callable[[], int] = lambda: 0
    ) -> None:
        self.scorer: Scorer | None = None
        self.draining = False
        self._metrics = metrics
        self._keys = keys
        self._server_version = server_version.encode()
        self._left_behind = left_behind
        self._description = Description(self.answer, has_keys=keys is not None)
        self._routes: dict[str, tuple[tuple[str, ...], _Handler]] = {
            "/": (("GET", "HEAD", "OPTIONS"), self._liveness),
            "/swagger.json": (("GET", "HEAD", "OPTIONS"), self._swagger),
            "/openapi.json": (("GET", "HEAD", "OPTIONS"), self._openapi),
            "/metrics": (("GET", "HEAD"), self._exposition),
            "/healthz/live": (("GET", "HEAD"), self._live),
            "/healthz/ready": (("GET", "HEAD"), self._ready),
        }

    def answer(self, request: Request) -> Response | Awaitable[Response]:
        try:
            if request.path == "/score":
                return self._score(request)
            return self._plain(request)
        except Exception:
            logger.exception("An answer failed")
            return _problem(500, "message", _INTERNAL)

    def refusal(self, request: Request) -> Response | None:
        """An answer that no body could change: for large bodies, before they are read."""
        if request.path == "/score" and self._keys is not None and request.method in ("GET", "POST"):
            headers = dict(request.headers)
            if not self._keys.accepts(headers):
                return self._unauthorized((), request)
        return None

    def protocol_error(self, status: int, message: str) -> Response:
        self._metrics.count("none", status)
        logger.warning("Refused: %s", message, extra={"status": status})
        return _problem(status, "error", message)

    async def __call__(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """ASGI. Limits of size and time are the server's in front."""
        if scope["type"] != "http":
            raise NotImplementedError(f"only http is served here, not {scope['type']}")
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        request = Request(
            scope["method"],
            scope["path"],
            scope["query_string"],
            headers=list(scope["headers"]),
            body=body,
            arrival=time.perf_counter(),
        )
        answer = self.answer(request)
        response = answer if isinstance(answer, Response) else await answer
        headers = [(b"content-length", b"%d" % len(response.body)), *response.headers]
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else response.body})

    # /score

    def _score(self, request: Request) -> Response | Awaitable[Response]:
        headers = dict(request.headers)
        try:
            ids = identity.of(headers, self._server_version)
        except identity.IdentityInvalid as error:
            return self._done(request, "", _problem(431, "message", str(error), error.headers))
        early = self._before_score(request, headers, ids)
        if early is not None:
            return self._done(request, ids.request_id, early)
        assert self.scorer is not None
        try:
            scored = self.scorer.score(request, headers, ids.request_id)
        except errors.ScoringError as error:
            return self._done(request, ids.request_id, self._failure(error, ids.headers))
        if isinstance(scored, Scored):
            return self._done(request, ids.request_id, self._success(scored, ids.headers))
        return self._score_later(request, scored, ids)

    async def _score_later(self, request: Request, scored: Awaitable[Scored], ids: identity.Identity) -> Response:
        try:
            response = self._success(await scored, ids.headers)
        except errors.ScoringError as error:
            response = self._failure(error, ids.headers)
        except Exception:
            logger.exception("Scoring failed inside the server", extra={"requestId": ids.request_id})
            self._metrics.count_error("Internal")
            response = _problem(500, "message", _INTERNAL, ids.headers)
        return self._done(request, ids.request_id, response)

    def _before_score(
        self, request: Request, headers: Mapping[bytes, bytes], ids: identity.Identity
    ) -> Response | None:
        method = request.method
        if method == "OPTIONS":
            return Response(200, b"", (_HTML, _NOT_FAILED, *ids.headers))
        if method == "HEAD":
            return _problem(405, "message", "Method not allowed", ids.headers)
        if method not in ("GET", "POST"):
            return _problem(405, "message", _WRONG_METHOD)
        return self._closed(request, headers, ids.headers)

    def _success(self, scored: Scored, headers: tuple[Header, ...]) -> Response:
        self._metrics.stages_of(scored.model).observe(scored.queue, scored.decode, scored.run, scored.encode)
        elapsed = b"%.3f" % (scored.run * 1000)
        return Response(200, scored.body, (_JSON, _NOT_FAILED, (b"x-ms-run-fn-exec-ms", elapsed), *headers))

    def _failure(self, error: errors.ScoringError, headers: tuple[Header, ...]) -> Response:
        self._metrics.count_error(type(error).__name__)
        field = self.scorer.error_field if self.scorer is not None else "error"
        match error:
            case errors.InputInvalid():
                return _problem(400, field, str(error), headers)
            case errors.ModelUnknown():
                return _problem(404, field, str(error), headers)
            case errors.Overloaded():
                retry: Header = (b"retry-after", b"%d" % error.retry_after)
                return _problem(429, "error", str(error), (*headers, retry))
            case errors.DeadlineExceeded():
                return _problem(408, "error", str(error), headers, failed=_FAILED)
            case errors.RunFailed():
                text = _RUN_FAILED if field == "message" else str(error)
                return _problem(500, field, text, headers, failed=_FAILED)
            case _:
                return _problem(500, field, _INTERNAL, headers)

    def _unauthorized(self, headers: tuple[Header, ...], request: Request) -> Response:
        self._metrics.count_error("Unauthorized")
        return _problem(401, "error", _UNAUTHORIZED, (*headers, (b"www-authenticate", b"Bearer")))

    def _done(self, request: Request, request_id: str, response: Response) -> Response:
        seconds = time.perf_counter() - request.arrival
        status = response.status
        self._metrics.count("/score", status)
        self._metrics.duration.observe(seconds)
        if status >= 400:
            self._log(logging.ERROR if status >= 500 else logging.WARNING, request, request_id, response, seconds)
        elif logger.isEnabledFor(logging.DEBUG):
            self._log(logging.DEBUG, request, request_id, response, seconds)
        return response

    def _log(self, level: int, request: Request, request_id: str, response: Response, seconds: float) -> None:
        token = logs.request_id.set(request_id)
        fields = {
            "status": response.status,
            "latencyMs": round(seconds * 1000, 3),
            "bytesIn": len(request.body),
            "bytesOut": len(response.body),
        }
        logger.log(level, "%s %s %d", request.method, request.path, response.status, extra=fields)
        logs.request_id.reset(token)

    # The other routes

    def _plain(self, request: Request) -> Response | Awaitable[Response]:
        route = self._routes.get(request.path)
        if route is None:
            self._metrics.count("other", 404)
            return _problem(404, "message", _NOT_FOUND)
        methods, handler = route
        if request.method not in methods:
            return self._counted(request, _problem(405, "message", _WRONG_METHOD))
        headers = dict(request.headers)
        try:
            ids = identity.of(headers, self._server_version)
        except identity.IdentityInvalid as error:
            return self._counted(request, _problem(431, "message", str(error), error.headers))
        if request.method == "OPTIONS":
            allow: Header = (b"allow", ", ".join(methods).encode())
            return self._counted(request, Response(200, b"", (_HTML, allow)), ids)
        answer = handler(request, headers)
        if isinstance(answer, Response):
            return self._counted(request, answer, ids)
        return self._plain_later(request, answer, ids)

    async def _plain_later(self, request: Request, answer: Awaitable[Response], ids: identity.Identity) -> Response:
        try:
            response = await answer
        except Exception:
            logger.exception("An answer failed")
            response = _problem(500, "message", _INTERNAL)
        return self._counted(request, response, ids)

    def _counted(self, request: Request, response: Response, ids: identity.Identity | None = None) -> Response:
        self._metrics.count(request.path, response.status)
        if ids is None:
            return response
        return Response(response.status, response.body, (*response.headers, *ids.headers))

    def _liveness(self, request: Request, headers: Mapping[bytes, bytes]) -> Response:
        return Response(200, b"Healthy", (_HTML,))

    def _live(self, request: Request, headers: Mapping[bytes, bytes]) -> Response:
        lost = self._left_behind()
        if lost >= _LEFT_BEHIND_LIMIT:
            return _json(503, {"status": "stuck", "reason": f"{lost} runs overran their timeout and never returned"})
        return _json(200, {"status": "live"})

    def _ready(self, request: Request, headers: Mapping[bytes, bytes]) -> Response:
        if self.draining:
            return _json(503, {"status": "draining"})
        if self.scorer is None:
            return _json(503, {"status": "loading"})
        return _json(200, {"status": "ready", "models": list(self.scorer.models)})

    def _exposition(self, request: Request, headers: Mapping[bytes, bytes]) -> Response:
        content_type: Header = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
        return Response(200, self._metrics.exposition(), (content_type,))

    def _closed(
        self, request: Request, headers: Mapping[bytes, bytes], ids: tuple[Header, ...] = ()
    ) -> Response | None:
        """Why what only callers with a key may have, and only of a loaded model, is not to be had."""
        if self._keys is not None and not self._keys.accepts(headers):
            return self._unauthorized(ids, request)
        if self.scorer is None:
            return _problem(503, "error", _NOT_READY, (*ids, (b"retry-after", b"1")))
        return None

    def _openapi(self, request: Request, headers: Mapping[bytes, bytes]) -> Response | Awaitable[Response]:
        closed = self._closed(request, headers)
        if closed is not None:
            return closed
        assert self.scorer is not None
        return self._description.answer(request, self.scorer.described)

    def _swagger(self, request: Request, headers: Mapping[bytes, bytes]) -> Response:
        closed = self._closed(request, headers)
        if closed is not None:
            return closed
        assert self.scorer is not None
        version = parse_qs(request.query.decode("latin-1"), keep_blank_values=True).get("version", ["2"])[0]
        document = self.scorer.swagger(version)
        if document is not None:
            return _json(200, document)
        supported = ", ".join(item for item in swagger.VERSIONS if self.scorer.swagger(item) is not None)
        if version in swagger.ALIASES:
            message = f"Swagger version [{version}] is not supported for the scoring script. "
            return _problem(404, "message", f"{message}Supported swagger versions: [{supported}].")
        message = f"Swagger version [{version}] is not valid. Supported versions: [{supported}]."
        return _problem(404, "message", message)


def _json(status: int, document: Mapping[str, Any]) -> Response:
    return Response(status, json.dumps(document).encode(), (_JSON, _NOT_FAILED))


def _problem(
    status: int, field: str, message: str, headers: tuple[Header, ...] = (), failed: Header = _NOT_FAILED
) -> Response:
    return Response(status, json.dumps({field: message}).encode(), (_JSON, failed, *headers))
