"""`/livez`, `/readyz` and `/metrics`: for orchestrators and Prometheus, without a key."""

from __future__ import annotations

import asyncio
import sqlite3

from fastapi import APIRouter, Response

from aforo_collector.service.writer import QueueFull

from .desk import AtDesk
from .problems import Problem

READY_TIMEOUT_S = 2
router = APIRouter(tags=["health"])


@router.get("/livez")
async def live() -> dict[str, str]:
    """The process answers."""
    return {"status": "ok"}


@router.get("/readyz")
async def ready(desk: AtDesk) -> dict[str, str]:
    """The whole way to the disk works: a transaction that writes went through the queue of the writer."""
    try:
        passed = asyncio.wrap_future(desk.writer.probe())
        await asyncio.wait_for(passed, READY_TIMEOUT_S)
    except (QueueFull, TimeoutError):
        detail = "the writer is behind; nothing is lost that was answered, ask again shortly"
        raise Problem(503, "NOT_READY", detail, retry_after="2") from None
    except (sqlite3.Error, OSError, MemoryError) as error:
        detail = f"the store cannot be written to ({error}); nothing is lost that was answered"
        raise Problem(503, "NOT_READY", detail, retry_after="2") from None
    return {"status": "ok"}


@router.get("/metrics", response_class=Response)
def metrics(desk: AtDesk) -> Response:
    """Figures of this process and its books, in Prometheus text format."""
    from prometheus_client import CONTENT_TYPE_LATEST

    from .exposition import exposition

    return Response(exposition(desk), media_type=CONTENT_TYPE_LATEST)
