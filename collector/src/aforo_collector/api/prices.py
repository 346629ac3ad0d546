"""What models cost a tenant: its own prices before the public ones."""

from __future__ import annotations

from time import time_ns
from typing import Annotated

from fastapi import APIRouter, Query

from .answers import Answer, moment
from .desk import AtDesk, OfTenant

router = APIRouter(prefix="/v1", tags=["prices"])


@router.get("/prices/{model:path}", response_class=Answer)
def price(
    desk: AtDesk,
    tenant: OfTenant,
    model: str,
    provider: Annotated[
        str, Query(description="As spans name it; empty asks for the model's own maker.")
    ] = "",
    at: Annotated[str | None, Query(description="Moment of the price, RFC 3339; now by default.")] = None,
) -> Answer:
    """What a model costs, in US dollars per million tokens by pool, and where the price is from."""
    when = moment(at, "at")
    at_ns = time_ns() if when is None else int(when.timestamp()) * 1_000_000_000
    return Answer(desk.catalogs.book(tenant.tenant_no).describe(provider, model, at_ns))


@router.get("/unpriced", response_class=Answer)
def unpriced(desk: AtDesk, tenant: OfTenant) -> Answer:
    """Calls of unknown cost by model and reason; a price that arrives later is booked for them."""
    return Answer(desk.unpriced(tenant.tenant_no))
