"""Invoice previews, and the usage events behind each of their lines."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path

from .answers import LIMIT_DEFAULT, Answer, Cursor, From, Limit, To, found, moment, page
from .desk import AtDesk, OfTenant, Payer

router = APIRouter(prefix="/v1/invoices", tags=["invoices"])


@router.get("/preview", response_class=Answer)
def preview(desk: AtDesk, tenant: OfTenant, customer_id: Payer, start: From = None, end: To = None) -> Answer:
    """What a customer owes for a period so far; the current month in UTC by default."""
    invoice = desk.reading.invoice_preview(
        tenant.tenant_no, customer_id, start=moment(start, "from"), end=moment(end, "to")
    )
    return Answer(found(invoice, f"customer {customer_id!r}"))


@router.get("/preview/lines/{line}/events", response_class=Answer)
def line_events(
    desk: AtDesk,
    tenant: OfTenant,
    line: Annotated[int, Path(ge=0, description="Number of the line, from 0.")],
    customer_id: Payer,
    start: From = None,
    end: To = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """The usage events that a line counts."""
    events = desk.reading.line_events(
        tenant.tenant_no,
        customer_id,
        line,
        start=moment(start, "from"),
        end=moment(end, "to"),
        cursor=cursor,
        limit=limit,
    )
    return page(found(events, f"line {line} on the invoice of customer {customer_id!r}"))
