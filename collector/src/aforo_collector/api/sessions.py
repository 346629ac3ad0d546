"""Sessions: listed, shown with their totals, closed, and their trace trees."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from aforo_collector.domain.session import State

from .answers import LIMIT_DEFAULT, Answer, Cursor, Limit, found, page
from .desk import AtDesk, CustomerId, Desk, OfTenant

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])


@router.get("", response_class=Answer)
def sessions(
    desk: AtDesk,
    tenant: OfTenant,
    customer_id: CustomerId = None,
    state: Annotated[State | None, Query(description="Only in this state.")] = None,
    cursor: Cursor = None,
    limit: Limit = LIMIT_DEFAULT,
) -> Answer:
    """Sessions, newest first."""
    return page(
        desk.reading.sessions(
            tenant.tenant_no, customer_id=customer_id, state=state, cursor=cursor, limit=limit
        )
    )


# A session id is the user's own and may hold slashes, hence `:path`; the longer routes come first.
@router.get("/{session_id:path}/trace", response_class=Answer)
def trace(desk: AtDesk, tenant: OfTenant, session_id: str, customer_id: CustomerId = None) -> Answer:
    """The tree of a session's spans, each with its tokens, its cost and the usage events it became."""
    tree = desk.reading.trace(tenant.tenant_no, session_id, customer_id=customer_id)
    return Answer(found(tree, f"session {session_id!r}"))


@router.post("/{session_id:path}/close", response_class=Answer)
def close(desk: AtDesk, tenant: OfTenant, session_id: str, customer_id: CustomerId = None) -> Answer:
    """Close a session after everything that was acknowledged before; closing again changes nothing."""
    desk.close(tenant.tenant_no, session_id, customer_id)
    return _session(desk, tenant.tenant_no, session_id, customer_id)


@router.get("/{session_id:path}", response_class=Answer)
def session(desk: AtDesk, tenant: OfTenant, session_id: str, customer_id: CustomerId = None) -> Answer:
    """One session with its totals."""
    return _session(desk, tenant.tenant_no, session_id, customer_id)


def _session(desk: Desk, tenant_no: int, session_id: str, customer_id: str | None) -> Answer:
    view = desk.reading.session(tenant_no, session_id, customer_id=customer_id)
    return Answer(found(view, f"session {session_id!r}"))
