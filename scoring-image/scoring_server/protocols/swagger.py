"""The service's description, versions 2, 3 and 3.1, in the shape that Azure ML's clients and studio read.

A file beside the script wins: `swagger.json` or `swagger2.json` for version 2, `swagger3.json` for 3,
`swagger3.1.json` for 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]

VERSIONS = ("2", "3", "3.1")
ALIASES = {"2": "2", "2.0": "2", "3": "3", "3.0": "3", "3.1": "3.1"}
FILES = {"2": ("swagger.json", "swagger2.json"), "3": ("swagger3.json",), "3.1": ("swagger3.1.json",)}

_HEALTHY = "If service is up and running, this response will be returned with the content 'Healthy'"
_FAILED = "The service failed to execute due to an error."
_SCORED = "The service processed the input correctly and provided a result prediction, if applicable."
_HEALTH = "Simple health check endpoint to ensure the service is up at any given point."
_RUN = "Run web service's model and get the prediction output"
_PAYLOAD = "The input payload for executing the real-time machine learning service."
_BEARER = {
    "type": "apiKey",
    "name": "Authorization",
    "in": "header",
    "description": "For example: Bearer abc123",
}

#: What an undecorated script takes and gives: anything.
ANYTHING: Document = {"type": "object", "example": {}}


@dataclass(frozen=True)
class Service:
    """`error_field` is the name under which an answer tells what went wrong."""

    name: str
    version: str
    prefix: str = ""
    error_field: str = "message"

    @property
    def error(self) -> Document:
        return {"type": "object", "properties": {self.error_field: {"type": "string"}}}

    @property
    def root(self) -> str:
        return f"/{self.prefix}" if self.prefix else ""


@dataclass(frozen=True)
class Described:
    """Of what a description is made: the service, and the schemas of what it takes and gives."""

    service: Service
    request: Document
    answer: Document
    several_models: bool = False


@dataclass(frozen=True)
class Documents:
    """The documents by version; `get` knows the aliases. `described` is what they, and others, are made of."""

    described: Described
    by_version: Mapping[str, Document] = field(default_factory=dict)

    def get(self, version: str) -> Document | None:
        return self.by_version.get(ALIASES.get(version, ""))


def documents(described: Described, own: Mapping[str, Document]) -> Documents:
    """All versions; `own` are the user's files by version."""
    service, request, answer = described.service, described.request, described.answer
    made = {
        "2": version_2(service, request, answer),
        "3": version_3(service, request, answer),
        "3.1": {**version_3(service, request, answer), "openapi": "3.1.0"},
    }
    return Documents(described, {**made, **own})


def version_2(service: Service, request: Document, answer: Document) -> Document:
    failed = {"description": _FAILED, "schema": {"$ref": "#/definitions/ErrorResponse"}}
    health = {
        "description": _HEALTHY,
        "schema": {"type": "string"},
        "examples": {"application/json": "Healthy"},
    }
    payload = {
        "name": "serviceInputPayload",
        "in": "body",
        "description": _PAYLOAD,
        "schema": {"$ref": "#/definitions/ServiceInput"},
    }
    scored = {"description": _SCORED, "schema": {"$ref": "#/definitions/ServiceOutput"}}
    description = {"description": "The Swagger specification.", "schema": {"type": "string"}}
    version = {"name": "version", "in": "query", "required": False, "type": "integer", "enum": [2, 3]}
    return {
        "swagger": "2.0",
        "info": _info(service),
        "schemes": ["https"],
        "consumes": ["application/json"],
        "produces": ["application/json"],
        "securityDefinitions": {"Bearer": _BEARER},
        "paths": {
            f"{service.root}/": {
                "get": {
                    "operationId": "ServiceHealthCheck",
                    "description": _HEALTH,
                    "responses": {"200": health, "default": failed},
                }
            },
            f"{service.root}/score": {
                "post": {
                    "operationId": "RunMLService",
                    "description": _RUN,
                    "security": [{"Bearer": []}],
                    "parameters": [payload],
                    "responses": {"200": scored, "default": failed},
                }
            },
            f"{service.root}/swagger.json": {
                "get": {
                    "operationId": "GetSwaggerSpec",
                    "description": "Get the Swagger specification.",
                    "parameters": [version],
                    "responses": {"200": description, "default": failed},
                }
            },
        },
        "definitions": {"ServiceInput": request, "ServiceOutput": answer, "ErrorResponse": service.error},
    }


def version_3(service: Service, request: Document, answer: Document) -> Document:
    failed = {"description": _FAILED, "content": _json("ErrorResponse")}
    health = {
        "description": _HEALTHY,
        "content": {"text/plain": {"schema": {"type": "string", "example": "Healthy"}}},
    }
    description = {
        "description": "The Swagger specification.",
        "content": {"text/plain": {"schema": {"type": "string"}}},
    }
    version = {"name": "version", "in": "query", "required": False, "schema": {"type": "integer", "enum": [2, 3]}}
    return {
        "openapi": "3.0.3",
        "info": _info(service),
        "security": [{"Bearer": []}],
        "paths": {
            f"{service.root}/": {
                "get": {
                    "operationId": "ServiceHealthCheck",
                    "description": _HEALTH,
                    "responses": {"200": health, "default": failed},
                }
            },
            f"{service.root}/score": {
                "post": {
                    "operationId": "RunMLService",
                    "description": _RUN,
                    "security": [{"Bearer": []}],
                    "requestBody": {"description": _PAYLOAD, "content": _json("ServiceInput")},
                    "responses": {
                        "200": {"description": _SCORED, "content": _json("ServiceOutput")},
                        "default": failed,
                    },
                }
            },
            f"{service.root}/swagger.json": {
                "get": {
                    "operationId": "GetSwaggerSpec",
                    "description": "Get the Swagger specification.",
                    "parameters": [version],
                    "responses": {"200": description, "default": failed},
                }
            },
        },
        "components": {
            "schemas": {"ServiceInput": request, "ServiceOutput": answer, "ErrorResponse": service.error},
            "securitySchemes": {"Bearer": _BEARER},
        },
    }


def _info(service: Service) -> Document:
    return {
        "title": service.name,
        "description": f"API specification for the Azure Machine Learning service {service.name}",
        "version": service.version,
    }


def _json(schema: str) -> Document:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
