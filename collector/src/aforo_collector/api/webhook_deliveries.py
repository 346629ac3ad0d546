"""The log of webhooks: what was delivered, and replaying it."""

from __future__ import annotations

import asyncio
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from starlette.responses import Response

from aforo_collector.doors.webhooks.provider import BadSignature
from aforo_collector.service.webhook_log import delivery_no_of
from aforo_collector.service.webhooks import Receipt

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .desk import AtDesk, OfTenant
from .problems import Problem

router = APIRouter(prefix="/v1/webhook-deliveries", tags=["webhooks"])

_WHAT = "webhook delivery of that id"


@router.get("", response_class=Answer)
def deliveries(
    desk: AtDesk,
    tenant: OfTenant,
    source_id: Annotated[str | None, Query(alias="sourceId", description="Only of this source.")] = None,
    outcome: Annotated[str | None, Query(description="accepted, duplicate, filtered or rejected.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """Deliveries, latest first."""
    return page(
        desk.webhooks.log.page(
            tenant.tenant_no, source_id=source_id, outcome=outcome, cursor=cursor, limit=limit
        )
    )


@router.get("/{delivery_id}", response_class=Answer)
def delivery(desk: AtDesk, tenant: OfTenant, delivery_id: str) -> Answer:
    """A delivery: its raw payload, the headers that matter, and what became of each event."""
    return Answer(found(desk.webhooks.log.get(tenant.tenant_no, delivery_no_of(delivery_id)), _WHAT))


@router.post("/{delivery_id}/replay", response_class=Answer)
async def replay(
    desk: AtDesk,
    tenant: OfTenant,
    delivery_id: str,
    dry_run: Annotated[bool, Query(alias="dryRun", description="Only say what would become of it.")] = False,
) -> Response:
    """Make of a delivery what its source makes of it now; an event that was recorded before is a duplicate."""
    number = delivery_no_of(delivery_id)
    try:
        future = await to_thread.run_sync(lambda: desk.webhooks.replay(tenant.tenant_no, number, dry=dry_run))
    except BadSignature as error:
        detail = f"nobody known has signed this delivery ({error}); nothing was recorded"
        raise Problem(409, "INVALID_SIGNATURE", detail) from None
    result = await asyncio.wrap_future(found(future, _WHAT))
    return Answer(result.view() if isinstance(result, Receipt) else result)
