"""Answers as `{"success": true, "data": …, "meta": {}}`, and the parameters that many routes share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
from fastapi import Query
from starlette.responses import Response

from .problems import Problem

LIMIT_DEFAULT = 100
LIMIT_MAX = 1000

Cursor = Annotated[str | None, Query(description="`meta.nextCursor` of the page before.")]
_encode = msgspec.json.Encoder(decimal_format="number").encode

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Most items of a page.")]
From = Annotated[
    str | None, Query(alias="from", description="First moment, RFC 3339; a day is its start in UTC.")
]
To = Annotated[str | None, Query(alias="to", description="First moment after it; like `from`.")]


class Answer(Response):
    """A successful answer; its `data` is what the reading use cases return, where money is text and a Decimal
    is a number that somebody's metadata holds.
    """

    media_type = "application/json"

    def __init__(self, data: Any, status_code: int = 200, **meta: Any) -> None:
        super().__init__(_encode({"success": True, "data": data, "meta": meta}), status_code)


def page(found: dict[str, Any]) -> Answer:
    """A page of a list: `data` is the list, `meta.nextCursor` where the next one starts, null on the last."""
    return Answer(found["items"], nextCursor=found["nextCursor"])


def found(data: Any, what: str) -> Any:
    """`data`, unless it is None: then there is no such thing, or it is another tenant's."""
    if data is None:
        raise Problem(404, "NOT_FOUND", f"there is no {what}")
    return data


def moment(text: str | None, parameter: str) -> datetime | None:
    """A moment in UTC from a parameter; raises `Problem` 422."""
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except (ValueError, OverflowError):
        message = f"{text!r} is not a moment like 2026-01-31 or 2026-01-31T12:00:00Z"
        errors = [{"parameter": parameter, "message": message}]
        raise Problem(422, "INVALID_PARAMETER", f"{parameter}: {message}", errors=errors) from None
