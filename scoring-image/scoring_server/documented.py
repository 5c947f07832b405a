"""The server's documented side as a FastAPI application: its routes, their answers, the keys, the model's schemas.

Every route passes its request to the same function that the connections ask, so what is described is what is served,
also when this application is mounted in another ASGI server. Imported by `description` alone: FastAPI is heavy.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import fastapi
from fastapi.params import Depends
from fastapi.security import APIKeyHeader, HTTPBearer
from pydantic import BaseModel

from scoring_server import exchange
from scoring_server.protocols.swagger import ANYTHING, Described, Document

Ask = Callable[[exchange.Request], exchange.Response | Awaitable[exchange.Response]]
Answers = dict[int | str, dict[str, Any]]

_TEXT: Document = {"schema": {"type": "string"}}


class Error(BaseModel):
    """What went wrong, in a sentence."""

    error: str


class Message(BaseModel):
    """What went wrong, in a sentence, as Azure ML's server says it."""

    message: str


class Health(BaseModel):
    status: str


class Stuck(Health):
    reason: str


class Readiness(Health):
    models: list[str]


def application(described: Described, ask: Ask, *, has_keys: bool) -> fastapi.FastAPI:
    """The whole service. `ask` answers every request but the one for the document itself."""
    api = fastapi.FastAPI(
        title=described.service.name,
        version=described.service.version,
        description="Scores with the model that is loaded here.",
        servers=[{"url": described.service.root or "/"}],
        openapi_url=None,
        telemetry={"tracing": False, "metrics": False},
    )
    keys = _keys() if has_keys else []
    _add_score(api, described, _forward(ask), keys)
    _add_health(api, _forward(ask))
    _add_descriptions(api, _forward(ask), keys)
    # Made here, on the thread that also pays for the imports; later requests get what is kept.
    api.openapi()
    return api


def _keys() -> Sequence[Depends]:
    """Either scheme will do. The application checks; here they are only named."""
    bearer = HTTPBearer(scheme_name="bearer", auto_error=False, description="The primary or the secondary key.")
    header = APIKeyHeader(
        name="api-key", scheme_name="apiKey", auto_error=False, description="The same keys, in a header of their own."
    )
    return [fastapi.Security(bearer), fastapi.Security(header)]


def _forward(ask: Ask) -> Callable[..., Awaitable[fastapi.Response]]:
    async def forward(request: fastapi.Request) -> fastapi.Response:
        asked = exchange.Request(
            request.method,
            request.url.path,
            request.url.query.encode("latin-1"),
            headers=request.headers.raw,
            body=await request.body(),
            arrival=time.perf_counter(),
        )
        answer = ask(asked)
        response = answer if isinstance(answer, exchange.Response) else await answer
        made = fastapi.Response(response.body, response.status)
        made.raw_headers.extend(response.headers)
        return made

    return forward


def _add_score(
    api: fastapi.FastAPI, described: Described, forward: Callable[..., Any], keys: Sequence[Depends]
) -> None:
    scored: Document = {"description": "The result.", "content": {"application/json": {"schema": described.answer}}}
    answers: Answers = {200: scored, **_refusals(described)}
    if keys:
        answers[401] = _UNAUTHORIZED
    payload = {"required": True, "content": {"application/json": {"schema": described.request}}}
    if described.request == ANYTHING:
        # A script says nothing of what it takes and gives.
        anything = {"schema": {"description": "Whatever run() of the script takes; it gets the text as it is."}}
        payload = {"required": False, "content": {"application/json": anything}}
        scored["content"] = {"application/json": {"schema": {"description": "Whatever run() of the script returns."}}}
        api.add_api_route(
            "/score",
            forward,
            methods=["GET"],
            operation_id="scoreQuery",
            summary="Score with the query's parameters, as a JSON object, for input",
            response_model=None,
            response_class=fastapi.Response,
            responses=answers,
            dependencies=keys,
        )
    api.add_api_route(
        "/score",
        forward,
        methods=["POST"],
        operation_id="score",
        summary="Score the body",
        response_model=None,
        response_class=fastapi.Response,
        responses=answers,
        dependencies=keys,
        openapi_extra={"requestBody": payload},
    )


def _refusals(described: Described) -> Answers:
    """By status, the field in which it is told: the application's own, or the one of Azure ML's server."""
    answers: Answers = {
        400: {"model": Error | Message, "description": "The request is not valid HTTP, or not what the model takes."},
        408: {"model": Error, "description": "The request did not arrive, or its run did not end, in time."},
        413: {"model": Error, "description": "The body is larger than this server takes."},
        429: {
            "model": Error,
            "description": "Too many requests run and wait.",
            "headers": {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}},
        },
        431: {"model": Error | Message, "description": "The head, or an id in it, is too long."},
        500: {"model": Error | Message, "description": "The run failed."},
        503: {"model": Error, "description": "The model is not loaded yet, or too many connections are open."},
    }
    if described.several_models:
        answers[404] = {"model": Error, "description": "There is no model of this name."}
    return answers


def _add_health(api: fastapi.FastAPI, forward: Callable[..., Any]) -> None:
    healthy: Answers = {200: {"description": "The process answers.", "content": {"text/html": _TEXT}}}
    _add_get(api, "/", ("health", "Whether the process answers, as Azure ML asks"), forward, healthy)
    live: Answers = {
        200: {"model": Health, "description": "Alive."},
        503: {"model": Stuck, "description": "Too many runs never returned: start me again."},
    }
    _add_get(api, "/healthz/live", ("live", "Whether the process may go on"), forward, live)
    ready: Answers = {
        200: {"model": Readiness, "description": "Requests are welcome."},
        503: {"model": Health, "description": "Loading or draining."},
    }
    _add_get(api, "/healthz/ready", ("ready", "Whether requests are welcome"), forward, ready)
    metrics: Answers = {200: {"description": "In Prometheus's text format.", "content": {"text/plain": _TEXT}}}
    _add_get(api, "/metrics", ("metrics", "Counters and times"), forward, metrics)


def _add_descriptions(api: fastapi.FastAPI, forward: Callable[..., Any], keys: Sequence[Depends]) -> None:
    document: Document = {"content": {"application/json": {"schema": {"type": "object"}}}}
    answers: Answers = {
        200: {"description": "The document.", **document},
        503: {"model": Error, "description": "The model is not loaded yet."},
    }
    if keys:
        answers[401] = _UNAUTHORIZED
    unknown: Answers = {404: {"model": Message, "description": "There is no such version."}}
    version = {
        "name": "version",
        "in": "query",
        "required": False,
        "schema": {"type": "string", "enum": ["2", "2.0", "3", "3.0", "3.1"], "default": "2"},
    }
    swagger = ("swagger", "What Azure ML's clients read")
    _add_get(api, "/swagger.json", swagger, forward, answers | unknown, keys=keys, extra={"parameters": [version]})

    async def own() -> fastapi.Response:
        return fastapi.responses.JSONResponse(api.openapi())

    _add_get(api, "/openapi.json", ("openapi", "This document"), own, answers, keys=keys)


def _add_get(
    api: fastapi.FastAPI,
    path: str,
    named: tuple[str, str],
    endpoint: Callable[..., Any],
    answers: Answers,
    *,
    keys: Sequence[Depends] = (),
    extra: Document | None = None,
) -> None:
    api.add_api_route(
        path,
        endpoint,
        methods=["GET"],
        operation_id=named[0],
        summary=named[1],
        response_model=None,
        response_class=fastapi.Response,
        responses=answers,
        dependencies=keys,
        openapi_extra=extra,
    )


_UNAUTHORIZED: Document = {
    "model": Error,
    "description": "No valid key was sent.",
    "headers": {"WWW-Authenticate": {"schema": {"type": "string", "const": "Bearer"}}},
}
