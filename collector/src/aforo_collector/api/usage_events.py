"""Usage events: the billable facts, each with the span it came from."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, page
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
