"""Usage events: the billable facts, each with the span it came from."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Query
from starlette.requests import Request

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .bodies import object_of
from .desk import AtDesk, CustomerId, OfTenant

router = APIRouter(prefix="/v1/usage-events", tags=["usage events"])


@router.get("", response_class=Answer)
def usage_events(
    desk: AtDesk,
    tenant: OfTenant,
    customer_id: CustomerId = None,
    metric_name: Annotated[str | None, Query(alias="metricName", description="Only of this metric.")] = None,
    session_id: Annotated[str | None, Query(alias="sessionId", description="Only of this session.")] = None,
    trace_id: Annotated[
        str | None, Query(alias="traceId", pattern="^[0-9a-fA-F]{32}$", description="Only of this trace.")
    ] = None,
    corrections: Annotated[
        bool, Query(description="With the events that were taken back, and by what.")
    ] = False,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """Usage events, net of corrections."""
    return page(
        desk.reading.usage_events(
            tenant.tenant_no,
            customer_id=customer_id,
            metric_name=metric_name,
            session_id=session_id,
            trace_id=trace_id,
            cursor=cursor,
            limit=limit,
            corrections=corrections,
        )
    )


# The id of an event that was submitted is its sender's key and may hold slashes, hence `:path`.
@router.get("/{event_id:path}/history", response_class=Answer)
def history(desk: AtDesk, tenant: OfTenant, event_id: str, customer_id: CustomerId = None) -> Answer:
    """All bookings of an event, oldest first: as it was recorded, voids, and what was recorded instead."""
    bookings = found(desk.reading.history(tenant.tenant_no, event_id), f"event {event_id!r}")
    own = [booking for booking in bookings if customer_id in (None, booking["customerId"])]
    return Answer(found(own or None, f"event {event_id!r}"))


@router.post("/{event_id:path}/void", response_class=Answer)
def void(desk: AtDesk, tenant: OfTenant, event_id: str) -> Answer:
    """Take an event back by a correction event; again changes nothing. All metrics of its occurrence go."""
    voided = desk.corrections.void(tenant.tenant_no, event_id)
    return Answer(desk.reading.history(tenant.tenant_no, event_id), voided=voided)


@router.post("/{event_id:path}/amend", response_class=Answer)
async def amend(request: Request, desk: AtDesk, tenant: OfTenant, event_id: str) -> Answer:
    """Book a submitted event again with the fields of the body changed; the event as it was is voided."""
    changes = await object_of(request, desk.bodies)
    amended = await to_thread.run_sync(desk.corrections.amend, tenant.tenant_no, event_id, changes)
    told = await to_thread.run_sync(desk.reading.history, tenant.tenant_no, event_id)
    return Answer(told, amended=amended)
