"""`POST /v1/traces`: OTLP/HTTP, protobuf and JSON, answered after the commit.

    200   everything that could be billed is on disk; `partialSuccess` names what could not
    400   the body is not what its content type says        401   unknown key
    403   a key that may not send
    413   the body is too large; 429 too many requests      415   another content type
    422   the collector fails on what is in it; a sender that splits the batch finds the span
    503   too much waits to be written; nothing was recorded, send it again

Answers have the content type of the request, errors too (google.rpc.Status), as the OTLP specification says.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3

import msgspec
from anyio import CapacityLimiter, to_thread
from starlette.requests import Request
from starlette.responses import Response

from aforo_collector.doors.otlp import (
    JSON,
    PROTOBUF,
    BodyTooLarge,
    MalformedBody,
    answer,
    decode,
    unpack,
)
from aforo_collector.service.intake import Delivery
from aforo_collector.service.writer import QueueFull

from .access import INGEST
from .bodies import busy, read_body
from .credentials import Caller
from .desk import Desk
from .problems import Problem

logger = logging.getLogger(__name__)

SPAN_SIZE_BYTES = 600
"""A typical span on the wire; only for guessing how many a body holds, so that transactions stay small."""

_RPC_CODES = {400: 3, 401: 16, 403: 7, 413: 8, 415: 3, 422: 13, 429: 8, 503: 14}
_unpacking = CapacityLimiter(2)


async def traces(request: Request) -> Response:
    """Take in the spans of one request."""
    desk: Desk = request.app.state.desk
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in (PROTOBUF, JSON):
        said = repr(content_type) if content_type else "none"
        raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", f"content type {said}; send {PROTOBUF} or {JSON}")
    held = 0
    try:
        caller = desk.credentials.caller(request.headers, INGEST)
        body = await read_body(request, desk.bodies, desk.settings.body_bytes_max)
        encoding = request.headers.get("content-encoding", "").strip().lower()
        if encoding:
            limit = desk.settings.unpacked_bytes_max
            body = await to_thread.run_sync(unpack, body, encoding, limit, limiter=_unpacking)
        desk.bodies.hold(len(body))
        held = len(body)
        return await _deliver(desk, caller, content_type, body)
    except Problem as problem:
        return _status(problem, content_type)
    except MalformedBody as error:
        return _status(Problem(400, "MALFORMED_BODY", str(error)), content_type)
    except BodyTooLarge as error:
        return _status(Problem(413, "BODY_TOO_LARGE", str(error)), content_type)
    finally:
        desk.bodies.release(held)


async def _deliver(desk: Desk, caller: Caller, content_type: str, body: bytes) -> Response:
    def make(now_ns: int) -> Delivery:
        payer = caller.identity
        spans = decode(body, content_type, now_ns, payer)
        return Delivery(caller.tenant.tenant_no, content_type, body, spans, payer)

    try:
        future = desk.writer.deliver(make, max(1, len(body) // SPAN_SIZE_BYTES))
    except QueueFull as error:
        raise busy(str(error)) from None
    try:
        receipt = await asyncio.wrap_future(future)
    except MalformedBody:
        raise
    except (sqlite3.Error, OSError, MemoryError) as error:  # a full disk, a lock: only waiting helps
        raise busy(f"the store cannot be written to ({error})") from None
    except Exception as error:
        # Not a 5xx: a request that fails for what is in it would come back for ever and hold up the others.
        logger.exception("a request could not be processed")
        detail = "the collector fails on this request, its log says why; nothing of it was recorded"
        raise Problem(422, "UNPROCESSABLE", detail) from error
    return Response(answer(receipt.rejections, content_type), media_type=content_type)


def _status(problem: Problem, content_type: str) -> Response:
    """A problem as google.rpc.Status, {1: code, 2: message} in protobuf."""
    code, message = _RPC_CODES[problem.status], f"{problem.code}: {problem.detail}"
    if content_type == JSON:
        body = msgspec.json.encode({"code": code, "message": message})
    else:
        text = message.encode()
        body = b"\x08" + _varint(code) + b"\x12" + _varint(len(text)) + text
    return Response(body, problem.status, problem.headers, content_type)


def _varint(number: int) -> bytes:
    data = bytearray()
    while number > 127:
        data.append(number & 127 | 128)
        number >>= 7
    data.append(number)
    return bytes(data)
