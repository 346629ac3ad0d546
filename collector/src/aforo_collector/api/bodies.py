"""Request bodies: read with a limit each, and with a limit on what is in memory at once."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request

from .problems import Problem

BODIES_BYTES_MAX = 64 * 1024 * 1024
RETRY_AFTER_S = "2"
OBJECT_BYTES_MAX = 256 * 1024
_decode = msgspec.json.Decoder(float_hook=Decimal).decode


@dataclass(slots=True)
class Bodies:
    """Bytes of bodies that are being read or wait to be written; touched by the event loop alone."""

    size_bytes: int = 0
    size_bytes_max: int = BODIES_BYTES_MAX

    def hold(self, more_bytes: int) -> None:
        """Count more bytes in; raises `Problem` 503 when they do not fit. A body alone always fits."""
        if self.size_bytes and self.size_bytes + more_bytes > self.size_bytes_max:
            raise busy(f"{self.size_bytes} bytes of requests wait to be written")
        self.size_bytes += more_bytes

    def release(self, size_bytes: int) -> None:
        """Count bytes out."""
        self.size_bytes -= size_bytes


async def read_body(request: Request, bodies: Bodies, size_bytes_max: int) -> bytes:
    """The body as it came. What was read of one that is refused is let go at once.

    Raises `Problem`: 413 over the limit, announced or found out while reading, 503 when memory is full.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > size_bytes_max:
        raise _too_large(size_bytes_max)
    chunks: list[bytes] = []
    size = 0
    try:
        async for chunk in request.stream():
            bodies.hold(len(chunk))
            size += len(chunk)
            if size > size_bytes_max:
                raise _too_large(size_bytes_max)
            chunks.append(chunk)
    except ClientDisconnect:
        raise Problem(400, "MALFORMED_BODY", "the connection ended before the body did") from None
    finally:
        bodies.release(size)
    return b"".join(chunks)


def busy(why: str) -> Problem:
    """The answer to a request that would have to wait too long."""
    detail = f"{why}; nothing of this request was recorded, send it again after {RETRY_AFTER_S} s"
    return Problem(503, "BUSY", detail, retry_after=RETRY_AFTER_S)


def _too_large(size_bytes_max: int) -> Problem:
    detail = f"the body is larger than {size_bytes_max} bytes; nothing was recorded, send smaller batches"
    return Problem(413, "BODY_TOO_LARGE", detail)


async def object_of(request: Request, bodies: Bodies) -> dict[str, Any]:
    """A small JSON object, {} for no body; numbers stay exact. Raises `Problem` 400."""
    return object_in(await read_body(request, bodies, OBJECT_BYTES_MAX))


def object_in(body: bytes) -> dict[str, Any]:
    """The JSON object in a body, {} for none; numbers stay exact. Raises `Problem` 400."""
    try:
        found = _decode(body) if body else {}
    except (msgspec.DecodeError, RecursionError, ArithmeticError) as error:
        raise Problem(400, "MALFORMED_BODY", f"the body is not JSON: {error}; nothing was changed") from None
    if not isinstance(found, dict):
        raise Problem(400, "MALFORMED_BODY", "the body is not a JSON object; nothing was changed")
    return found
