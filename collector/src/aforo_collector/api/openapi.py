"""`/openapi.json`: what the framework knows of the routes, and what it cannot know."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from aforo_collector.domain.credential import Scope

from .access import INGEST, OPEN, Access, access_of
from .openapi_ingest import SCHEMAS, ingest_paths
from .problems import PROBLEM

_PROBLEM_SCHEMA = {
    "title": "Problem",
    "description": "RFC 9457. `code` is stable, `errors` names the parameters that are wrong.",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "instance", "requestId"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "requestId": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"parameter": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_ENVELOPE_SCHEMA = {
    "title": "Answer",
    "type": "object",
    "required": ["success", "data", "meta"],
    "properties": {"success": {"const": True}, "data": {}, "meta": {"type": "object"}},
}
_OTLP = {"application/x-protobuf": {"schema": {"type": "string", "format": "binary"}},
         "application/json": {"schema": {"type": "object"}}}  # fmt: skip
_TRACES = {
    "tags": ["otlp"],
    "operationId": "traces_v1_traces_post",
    "summary": "Take in spans: an OTLP ExportTraceServiceRequest",
    "description": "Answered after the commit, in the content type of the request, errors too.",
    "requestBody": {"required": True, "content": _OTLP},
    "responses": {
        "200": {"description": "Recorded; `partialSuccess` names what could not be.", "content": _OTLP},
        "4XX": {"description": "Nothing was recorded; google.rpc.Status.", "content": _OTLP},
        "503": {"description": "Nothing was recorded; send it again after `Retry-After`.", "content": _OTLP},
    },
}
_SECURITY = {
    "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
    "Bearer": {"type": "http", "scheme": "bearer"},
    "Client": {
        "type": "oauth2",
        "flows": {
            "clientCredentials": {
                "tokenUrl": "/oauth/token",
                "scopes": {scope.value: scope.name.replace("_", " ").capitalize() for scope in Scope},
            }
        },
    },
}


def describe(app: FastAPI) -> None:
    """Make an application describe itself; the document is built when it is first asked for."""
    of_framework = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(of_framework())
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _complete(document: dict[str, Any]) -> dict[str, Any]:
    paths = document["paths"]
    for path, operations in paths.items():
        for method, operation in operations.items():
            access = access_of(path, method.upper())
            if access is not None and access is not OPEN:
                operation["security"] = _security(access)
                operation["responses"] = _responses(operation["responses"])
    for path, operations in {"/v1/traces": {"post": dict(_TRACES)}, **ingest_paths()}.items():
        operations["post"]["security"] = _security(INGEST)
        paths[path] = operations
    document["components"] = {
        "securitySchemes": _SECURITY,
        "schemas": {"Problem": _PROBLEM_SCHEMA, "Answer": _ENVELOPE_SCHEMA, **SCHEMAS},
    }
    return document


def _security(access: Access) -> list[dict[str, list[str]]]:
    return [{"ApiKey": []}, {"Bearer": []}, {"Client": [access.scope]}]


def _responses(known: dict[str, Any]) -> dict[str, Any]:
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}
    problem = {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    [status] = [status for status in known if status.startswith("2")]
    content = known[status].get("content", answer)
    return {
        status: {
            "description": known[status]["description"],
            "content": answer if "application/json" in content else content,
        },
        "default": {"description": "What went wrong.", "content": problem},
    }
