"""Errors as RFC 9457 problem documents with a stable `code` and the id of the request.

Whatever a route or the framework raises becomes a `Problem`: a status, a code, and a sentence that says what
happened and what to do.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from aforo_collector.domain.catalog_file import CatalogError
from aforo_collector.doors.webhooks.terms import InvalidTerms
from aforo_collector.pipeline.admit import Refused
from aforo_collector.service.corrections import NoSuchEvent, NotCorrectable
from aforo_collector.service.reading import InvalidQuery
from aforo_collector.service.writer import QueueFull

logger = logging.getLogger(__name__)

PROBLEM = "application/problem+json"
_TYPES = "https://errors.aforo.ai/"
"""What the types of problems begin with in the contract; a problem's own follows from its code."""
_CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE", 400: "BAD_REQUEST"}
_PROBLEMS_SHOWN_MAX = 20


class Problem(Exception):
    """An answer that is not what was asked for; `headers` go with it, `members` into the document."""

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[dict[str, Any]] | None = None,
        members: dict[str, Any] | None = None,
        **headers: str,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors
        self.members = members or {}
        self.headers = {name.replace("_", "-").title(): value for name, value in headers.items()}
        if status == HTTPStatus.UNAUTHORIZED:
            self.headers["WWW-Authenticate"] = "Bearer"


def problem_response(problem: Problem, request: Request) -> Response:
    """The document of a problem."""
    document: dict[str, Any] = {
        "type": f"{_TYPES}{problem.code.lower().replace('_', '-')}",
        "title": problem.code.replace("_", " ").capitalize(),
        "status": problem.status,
        "code": problem.code,
        "detail": problem.detail,
        "instance": request.url.path,
        "requestId": request.scope.get("aforo.request_id"),
        **problem.members,
    }
    if problem.errors is not None:
        document["errors"] = problem.errors
    return Response(msgspec.json.encode(document), problem.status, problem.headers, PROBLEM)


async def _raised(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return problem_response(error, request)


async def _of_framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "REQUEST_FAILED")
    detail = str(error.detail)
    if error.status_code == HTTPStatus.NOT_FOUND:
        detail = f"there is nothing at {request.url.path}; /openapi.json lists what is"
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        detail = f"{request.method} is not possible at {request.url.path}"
    problem = Problem(error.status_code, code, detail)
    problem.headers.update(error.headers or {})
    return problem_response(problem, request)


async def _of_parameters(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = [
        {"parameter": ".".join(map(str, one["loc"][1:])), "message": one["msg"]}
        for one in error.errors()[:_PROBLEMS_SHOWN_MAX]
    ]
    detail = "; ".join(f"{one['parameter']}: {one['message']}" for one in errors)
    return problem_response(Problem(422, "INVALID_PARAMETER", detail, errors=errors), request)


async def _of_query(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidQuery)
    errors = [{"parameter": error.field, "message": error.detail}]
    return problem_response(Problem(422, "INVALID_PARAMETER", str(error), errors=errors), request)


async def _of_catalog(request: Request, error: Exception) -> Response:
    assert isinstance(error, CatalogError)
    errors = [
        {"parameter": path, "message": message}
        for path, _, message in (problem.partition(": ") for problem in error.problems[:_PROBLEMS_SHOWN_MAX])
    ]
    return problem_response(Problem(422, "INVALID_CATALOG", str(error), errors=errors), request)


async def _of_correction(request: Request, error: Exception) -> Response:
    if isinstance(error, NoSuchEvent):
        return problem_response(Problem(404, "NOT_FOUND", f"{error}; nothing was changed"), request)
    if isinstance(error, Refused):
        errors = [{"parameter": error.field, "message": str(error)}] if error.field else None
        return problem_response(
            Problem(422, error.code, f"{error}; nothing was changed", errors=errors), request
        )
    return problem_response(Problem(409, "NOT_CORRECTABLE", f"{error}; nothing was changed"), request)


async def _of_terms(request: Request, error: Exception) -> Response:
    assert isinstance(error, InvalidTerms)
    errors = [
        {"parameter": name, "message": message} for name, message in error.problems[:_PROBLEMS_SHOWN_MAX]
    ]
    detail = f"{error}; nothing was changed"
    return problem_response(Problem(422, "INVALID_WEBHOOK_SOURCE", detail, errors=errors), request)


async def _of_writer(request: Request, error: Exception) -> Response:
    detail = f"{error}; nothing was changed, send it again after 2 s"
    return problem_response(Problem(503, "BUSY", detail, retry_after="2"), request)


async def _of_store(request: Request, error: Exception) -> Response:
    logger.error("the store failed", exc_info=error)
    detail = f"the store does not work ({error}); nothing is lost that was answered, send it again after 2 s"
    return problem_response(Problem(503, "BUSY", detail, retry_after="2"), request)


async def _unexpected(request: Request, _: Exception) -> Response:
    # The server logs the traceback itself.
    detail = "the collector failed on this request; nothing was recorded, the reason is in its log"
    return problem_response(Problem(500, "INTERNAL_ERROR", detail), request)


_Handler = Callable[[Request, Exception], Awaitable[Response]]
HANDLERS: tuple[tuple[type[Exception], _Handler], ...] = (
    (Problem, _raised),
    (HTTPException, _of_framework),
    (RequestValidationError, _of_parameters),
    (InvalidQuery, _of_query),
    (CatalogError, _of_catalog),
    (NoSuchEvent, _of_correction),
    (NotCorrectable, _of_correction),
    (Refused, _of_correction),
    (InvalidTerms, _of_terms),
    (QueueFull, _of_writer),
    (sqlite3.OperationalError, _of_store),  # a full disk, a lock: only waiting helps
    (Exception, _unexpected),
)


def answer_with_problems(app: FastAPI) -> None:
    """Turn every error of an application into a problem document."""
    for kind, handler in HANDLERS:
        app.add_exception_handler(kind, handler)
