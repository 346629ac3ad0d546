"""`POST /v1/ingest/webhook/{sourceId}`: what a provider pushes, answered after the commit.

    200   data: {deliveryId, outcome, events, …}; the outcome is accepted, duplicate, filtered or rejected
    401   none of the source's secrets has signed it; nothing was recorded, the attempt is in the log
    404   there is no such source               413   the body is too large
    503   it could not be written down now: the one answer after which a provider should try again

No API key: the signature is the credential, and the tenant is the source's. What the provider cannot mend (a
payload that maps to nothing, an unknown metric) is kept in the log as rejected and replayed once it is mended.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from typing import Any

import msgspec
from anyio import to_thread
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from aforo_collector.doors.webhooks.provider import Challenge, Incoming
from aforo_collector.service.webhooks import Prepared, Receipt, UnknownSource, unprocessable
from aforo_collector.service.writer import QueueFull
from aforo_collector.store.vault import SealBroken

from .answers import Answer
from .bodies import busy, read_body
from .desk import AtDesk, Desk
from .problems import PROBLEM, Problem

logger = logging.getLogger(__name__)

router = APIRouter(tags=["webhooks"])

BODY_BYTES_MAX = 10 * 1024 * 1024
PATH = "/v1/ingest/webhook/{source_id}"
_SHAPES: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}}},
    "default": {
        "description": "Nothing was recorded.",
        "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    },
}
_BODY: dict[str, Any] = {"requestBody": {"content": {"application/json": {"schema": {}}}}}


@router.post(PATH, response_class=JSONResponse, responses=_SHAPES, openapi_extra=_BODY)
@router.post(f"/api{PATH}", response_class=JSONResponse, include_in_schema=False)
async def receive(request: Request, desk: AtDesk, source_id: str) -> Response:
    """Take in a delivery of a source; the provider's signature over the raw bytes is the credential."""
    body = await read_body(request, desk.bodies, min(BODY_BYTES_MAX, desk.settings.body_bytes_max))
    desk.bodies.hold(len(body))
    try:
        incoming = Incoming(dict(request.headers), str(request.url), body)
        prepared = await to_thread.run_sync(desk.webhooks.prepare, source_id, incoming, time.time_ns())
        if isinstance(prepared, Challenge):
            return Response(msgspec.json.encode(prepared.answer), media_type="application/json")
        if prepared.problem:
            return await _refused(desk, prepared)
        return Answer((await _recorded(desk, prepared)).view())
    except UnknownSource:
        detail = "there is no active webhook source of that id; nothing was recorded"
        raise Problem(404, "NOT_FOUND", detail) from None
    except QueueFull as error:
        raise busy(str(error)) from None
    except SealBroken as error:
        logger.error("%s", error)  # noqa: TRY400  # what to do stands in the message
        raise busy("the secret of this source cannot be read, the collector's log says why") from None
    except (sqlite3.Error, OSError, MemoryError) as error:  # a full disk, a lock: only waiting helps
        raise busy(f"the store cannot be written to ({error})") from None
    finally:
        desk.bodies.release(len(body))


async def _recorded(desk: Desk, prepared: Prepared) -> Receipt:
    try:
        return await asyncio.wrap_future(desk.webhooks.record(prepared))
    except (UnknownSource, QueueFull, sqlite3.Error, OSError, MemoryError):
        raise
    except Exception:  # noqa: BLE001  # the writer logged it
        # Not a 5xx: a delivery that fails for what is in it would come back for days.
        return await asyncio.wrap_future(desk.webhooks.record(unprocessable(prepared)))


async def _refused(desk: Desk, prepared: Prepared) -> Response:
    try:
        await asyncio.wrap_future(desk.webhooks.record(prepared))
    except (QueueFull, sqlite3.Error, OSError):
        logger.warning("a webhook that nobody known has signed was not logged: the store is busy")
    detail = f"{prepared.problem}; nothing of this delivery was recorded"
    raise Problem(401, "INVALID_SIGNATURE", detail)
