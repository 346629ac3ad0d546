"""The books of what came in: the balance, and what was set aside with its reason."""

from __future__ import annotations

from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Path
from starlette.requests import Request

from aforo_collector.domain.submission import Fate
from aforo_collector.views import Wire

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .bodies import object_of
from .desk import AtDesk, OfTenant
from .problems import Problem

router = APIRouter(prefix="/v1/intake", tags=["intake"])


@router.get("/balance", response_class=Answer)
def balance(desk: AtDesk, tenant: OfTenant) -> Answer:
    """The balance: received = recorded + duplicates + conflicts + rejected, over all doors and for each."""
    return Answer(desk.reading.intake_balance(tenant.tenant_no))


@router.get("/quarantine", response_class=Answer)
def quarantine(desk: AtDesk, tenant: OfTenant, cursor: Cursor = None, limit: Limit = LIMIT_DEFAULT) -> Answer:
    """What was set aside, latest first."""
    return page(desk.reading.quarantine(tenant.tenant_no, cursor=cursor, limit=limit))


QuarantineNo = Annotated[int, Path(alias="quarantineId", ge=1, le=2**63 - 1)]


@router.post("/quarantine/{quarantineId}/assign", response_class=Answer)
async def assign(request: Request, desk: AtDesk, tenant: OfTenant, number: QuarantineNo) -> Answer:
    """Let the `customerId` of the body pay: for all spans of the trace that name nobody, or for the event.

    `outcome` is what became of the event, as of one that is replayed.
    """
    customer = (await object_of(request, desk.bodies)).get("customerId")
    if not isinstance(customer, str) or not customer.strip():
        raise Problem(422, "INVALID_PARAMETER", "customerId is missing; nothing was changed")
    fate = await to_thread.run_sync(desk.corrections.assign, tenant.tenant_no, number, customer)
    return Answer({"customerId": customer, **_told(fate, number)})


@router.post("/quarantine/{quarantineId}/replay", response_class=Answer)
async def replay(request: Request, desk: AtDesk, tenant: OfTenant, number: QuarantineNo) -> Answer:
    """Submit an event again, with the fields of the body changed; it leaves the quarantine unless refused again.

    The spans of a trace are looked at again instead: `outcome` is `reviewed`.
    """
    changes = await object_of(request, desk.bodies)
    fate = await to_thread.run_sync(desk.corrections.replay, tenant.tenant_no, number, changes)
    return Answer(_told(fate, number))


def _told(fate: Fate | None, number: int) -> Wire:
    fate = found(fate, f"item {number} in quarantine")
    refusal = fate.refusal._asdict() if fate.refusal is not None else None
    return {"outcome": fate.verdict, "idempotencyKey": fate.key or None, "refusal": refusal}
