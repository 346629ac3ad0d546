"""The books of what came in: the balance, and what was set aside with its reason."""

from __future__ import annotations

from fastapi import APIRouter

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, page
from .desk import AtDesk, OfTenant

router = APIRouter(prefix="/v1/intake", tags=["intake"])


@router.get("/balance", response_class=Answer)
def balance(desk: AtDesk, tenant: OfTenant) -> Answer:
    """The balance: received = recorded + duplicates + conflicts + rejected, over all doors and for each."""
    return Answer(desk.reading.intake_balance(tenant.tenant_no))


@router.get("/quarantine", response_class=Answer)
def quarantine(desk: AtDesk, tenant: OfTenant, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT) -> Answer:
    """What was set aside, latest first."""
    return page(desk.reading.quarantine(tenant.tenant_no, cursor=cursor, limit=limit))
