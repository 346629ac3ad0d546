"""Bodies of requests that change something: JSON, checked, and done once for one `Idempotency-Key`."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Annotated, Any, TypeVar

import msgspec
from anyio import to_thread
from fastapi import Header
from starlette.requests import Request

from aforo_collector.service.repeats import Keep, KeyReused

from .answers import Answer
from .bodies import read_body
from .credentials import Tenant
from .desk import Desk
from .problems import Problem

JSON = "application/json"
BODY = {"requestBody": {"required": True, "content": {JSON: {"schema": {"type": "object"}}}}}
IdempotencyKey = Annotated[
    str | None,
    Header(min_length=1, max_length=255, description="The same key again gets the same answer, for a week."),
]
_T = TypeVar("_T")


def described(kind: type[Any]) -> dict[str, Any]:
    """A struct as the body that a route takes, for the OpenAPI document; everything in it may be left out."""
    _, schemas = msgspec.json.schema_components([kind])
    return {"requestBody": {"content": {JSON: {"schema": schemas[kind.__name__]}}}}


async def json_body(request: Request, desk: Desk) -> bytes:
    """The body of a request that has to be JSON; raises `Problem` 413, 415."""
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in ("", JSON):
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", f"content type {content_type}; send {JSON}")
    return await read_body(request, desk.bodies, desk.settings.body_bytes_max)


def read_as(kind: type[_T], body: bytes) -> _T:
    """The body as a struct, no body as one without anything; raises `Problem` 400, 422."""
    try:
        return msgspec.json.decode(body or b"{}", type=kind)
    except msgspec.ValidationError as error:
        detail, _, path = str(error).partition(" - at ")
        field = path.strip("`").removeprefix("$.") if path else ""
        errors = [{"parameter": field, "message": detail}]
        raise Problem(422, "INVALID_BODY", f"{error}; nothing was changed", errors=errors) from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise Problem(400, "MALFORMED_BODY", f"{error}; nothing was changed") from None


async def once(
    request: Request, desk: Desk, tenant: Tenant, key: str | None, body: bytes, do: Callable[[Keep], Any]
) -> Answer:
    """Answer 201 with what `do` makes, once for one idempotency key; `meta.replayed` tells a repetition.

    Raises `Problem` 409 for a key that came with another request.
    """
    asked = sha256(b"\0".join((request.method.encode(), request.url.path.encode(), body))).digest()
    try:
        answer, replayed = await to_thread.run_sync(desk.repeats.answer, tenant.tenant_no, key, asked, do)
    except KeyReused as error:
        raise Problem(409, "IDEMPOTENCY_KEY_REUSED", str(error)) from None
    return Answer(answer, 201, **({"replayed": True} if replayed else {}))
